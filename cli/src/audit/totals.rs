//! What an audit log holds, counted line by line in bounded memory.

use std::collections::HashMap;
use std::io::{self, BufRead};

use nervebus::{AuditEntries, ReadError, Record};

use crate::lines::{self, Line, MAX_LINE};
use crate::progress::Progress;

/// The largest number of types that are told apart. Events of further types are counted together.
const MAX_TYPES: usize = 10_000;
/// The longest type that is kept, in bytes; twice the longest topic. Longer ones are cut, and counted by what is left.
const MAX_TYPE: usize = 510;
/// The largest number of malformed lines whose reason is kept.
const MAX_REASONS: usize = 10;
/// The longest reason that is kept, in bytes: a reason may quote the line.
const MAX_REASON: usize = 500;

/// A malformed line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// The file, where there are several.
    pub(crate) file: Option<String>,
    /// Counted from 1 in its file; 0 where it is not known.
    pub(crate) line: u64,
    pub(crate) reason: String,
}

/// The totals over the lines seen so far.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    events: u64,
    empty: u64,
    malformed: u64,
    first_malformed: Vec<Malformed>,
    types: HashMap<String, u64>,
    further_types: u64,
    /// The earliest and the latest timestamp.
    span: Option<(f64, f64)>,
    files: u64,
    /// Lines that have no end yet.
    unfinished: u64,
}

impl Stats {
    /// Counts all lines of `input`.
    ///
    /// # Errors
    ///
    /// Whatever the reader reports.
    pub(crate) fn of(input: &mut dyn BufRead) -> io::Result<Self> {
        let (mut stats, mut line) = (Self::default(), Vec::new());
        loop {
            match lines::read(input, &mut line, MAX_LINE)? {
                Line::End => return Ok(stats),
                Line::TooLong => stats.refuse(format!("longer than {MAX_LINE} bytes")),
                Line::Whole => stats.count(&line),
            }
        }
    }

    /// Counts all lines of a log and its rotated files.
    ///
    /// # Errors
    ///
    /// Whatever the reader reports first.
    pub(crate) fn of_log(entries: &mut AuditEntries, progress: &mut Progress) -> Result<Self, ReadError> {
        let mut stats = Self::default();
        while let Some(entry) = entries.next() {
            stats.add(&entry?.record);
            if stats.events.is_multiple_of(4_096) {
                progress.at(entries.tally().bytes);
            }
        }
        let tally = entries.tally();
        (stats.files, stats.empty, stats.malformed) = (tally.files, tally.blank, tally.skipped);
        stats.unfinished = tally.unfinished;
        for skipped in tally.first_skipped.iter().take(MAX_REASONS) {
            let reason = cut(&skipped.reason.to_string(), MAX_REASON).to_string();
            let file = Some(skipped.path.display().to_string());
            stats.first_malformed.push(Malformed { file, line: skipped.line.unwrap_or(0), reason });
        }
        Ok(stats)
    }

    fn count(&mut self, line: &[u8]) {
        if line.trim_ascii().is_empty() {
            self.empty += 1;
            return;
        }
        match Record::from_jsonl(line) {
            Ok(record) => self.add(&record),
            Err(error) => self.refuse(error.to_string()),
        }
    }

    fn add(&mut self, record: &Record) {
        self.events += 1;
        let event_type = cut(&record.event_type, MAX_TYPE);
        if let Some(count) = self.types.get_mut(event_type) {
            *count += 1;
        } else if self.types.len() < MAX_TYPES {
            self.types.insert(event_type.to_string(), 1);
        } else {
            self.further_types += 1;
        }
        if let Some(at) = record.timestamp {
            let (earliest, latest) = self.span.unwrap_or((at, at));
            self.span = Some((earliest.min(at), latest.max(at)));
        }
    }

    fn refuse(&mut self, reason: String) {
        self.malformed += 1;
        if self.first_malformed.len() < MAX_REASONS {
            let reason = cut(&reason, MAX_REASON).to_string();
            self.first_malformed.push(Malformed { file: None, line: self.lines(), reason });
        }
    }

    /// All lines, of whatever kind.
    pub(crate) fn lines(&self) -> u64 {
        self.events + self.empty + self.malformed + self.unfinished
    }

    /// How many files there are; 0 for standard input.
    pub(crate) fn files(&self) -> u64 {
        self.files
    }

    /// Lines that have no end yet.
    pub(crate) fn unfinished(&self) -> u64 {
        self.unfinished
    }

    /// Lines that are an event.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Lines with nothing in them.
    pub(crate) fn empty(&self) -> u64 {
        self.empty
    }

    /// Lines that are neither an event nor empty.
    pub(crate) fn malformed(&self) -> u64 {
        self.malformed
    }

    /// The first malformed lines, in the order of the input.
    pub(crate) fn first_malformed(&self) -> &[Malformed] {
        &self.first_malformed
    }

    /// How many types were told apart.
    pub(crate) fn distinct_types(&self) -> usize {
        self.types.len()
    }

    /// Whether there were more types than are told apart.
    pub(crate) fn has_further_types(&self) -> bool {
        self.further_types > 0
    }

    /// The `most` most frequent types, ties by name.
    pub(crate) fn top(&self, most: usize) -> Vec<(&str, u64)> {
        let mut types: Vec<_> = self.types.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        types.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        types.truncate(most);
        types
    }

    /// The earliest and the latest timestamp in seconds since 1970, if any event has one.
    pub(crate) fn span(&self) -> Option<(f64, f64)> {
        self.span
    }
}

/// The longest beginning of `text` that has at most `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_by_the_number_of_types() {
        let mut text = String::new();
        for number in 0..MAX_TYPES + 5 {
            text += &format!("{{\"event_type\": \"type.number_{number}\", \"payload\": {{}}}}\n");
        }
        let stats = Stats::of(&mut text.as_bytes()).expect("reading from memory");
        assert_eq!(stats.events(), MAX_TYPES as u64 + 5);
        assert_eq!((stats.distinct_types(), stats.has_further_types()), (MAX_TYPES, true));
        assert_eq!(stats.further_types, 5);
    }

    #[test]
    fn a_line_over_the_limit_is_malformed_and_the_rest_is_counted() {
        let event = "{\"event_type\": \"a.b\", \"payload\": {}}\n";
        let text = format!("{event}{}\n{event}", "x".repeat(MAX_LINE + 1));
        let stats = Stats::of(&mut text.as_bytes()).expect("reading from memory");
        assert_eq!((stats.lines(), stats.events(), stats.malformed()), (3, 2, 1));
        assert_eq!(stats.first_malformed()[0].line, 2);
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
        assert_eq!(cut("", 3), "");
    }
}
