//! The events of a log as an iterator.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::records::audit::chain;
use crate::records::line::{LineError, Record};
use crate::records::reader::backward::Backward;
use crate::records::reader::filter::{Filter, Verdict, lost_line_end};
use crate::records::reader::forward::{Forward, Span};
use crate::records::reader::part::{Content, Part, Tail};
use crate::records::reader::tally::{ReadTally, SkipReason, SkippedLine};
use crate::records::reader::{AuditReader, ReadError};

/// An event of an audit log, and where it stands.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AuditEntry {
    /// The event.
    pub record: Record,
    /// The file it is in, by the name it had when it was opened.
    pub path: Arc<Path>,
    /// The first byte of its line, counted from 0 at the beginning of the file; of a compressed file, of what that holds.
    pub offset: u64,
    /// The number of its line in the file, counted from 1; `None` when it is not known, as when the file is read
    /// backwards.
    pub line: Option<u64>,
    text: Box<str>,
}

/// The keys behind the six fields.
#[derive(Deserialize)]
struct Further {
    seq: Option<u64>,
    causation_seq: Option<u64>,
}

impl AuditEntry {
    /// The line as it stands in the file, without its end: one JSON object.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.text
    }

    /// The number of the event on its bus, if the line has one. Reads the line once more.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        self.further()?.seq
    }

    /// The number of the event whose handler emitted this one, if the line has one. Reads the line once more.
    #[must_use]
    pub fn causation_seq(&self) -> Option<u64> {
        self.further()?.causation_seq
    }

    /// Both, with one reading of the line.
    pub(crate) fn numbers(&self) -> (Option<u64>, Option<u64>) {
        self.further().map_or((None, None), |further| (further.seq, further.causation_seq))
    }

    /// The hash that ties the line to the one before it, in a log that has a chain.
    #[must_use]
    pub fn hash(&self) -> Option<&str> {
        let (_, digits) = chain::split(self.text.as_bytes())?;
        std::str::from_utf8(digits).ok()
    }

    fn further(&self) -> Option<Further> {
        serde_json::from_str(&self.text).ok()
    }
}

/// What becomes of lines: a filter, and the account of what it let through.
#[derive(Debug)]
pub(crate) struct Sieve {
    filter: Filter,
    longest: usize,
    pub(crate) tally: ReadTally,
}

/// A line, and the file it is in.
pub(crate) struct Found<'a> {
    pub(crate) path: &'a Arc<Path>,
    /// Whether the log is still written to this file.
    pub(crate) active: bool,
    pub(crate) span: &'a Span,
    pub(crate) bytes: &'a [u8],
}

impl Sieve {
    pub(crate) fn new(reader: &AuditReader) -> Self {
        Self { filter: reader.filter.clone(), longest: reader.longest, tally: ReadTally::default() }
    }

    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The event of a line, if it is wanted; two, where the line feed between them was damaged.
    pub(crate) fn sift(&mut self, found: &Found<'_>) -> [Option<AuditEntry>; 2] {
        self.tally.bytes += found.span.length + u64::from(found.span.ended);
        let may_go_on = found.active && !found.span.ended;
        if found.span.kept.is_none() {
            let limit = self.longest;
            self.count_lost(found, may_go_on, || SkipReason::TooLong { limit });
            return [None, None];
        }
        // Windows' line ends have one byte more.
        let line = found.bytes.strip_suffix(b"\r").unwrap_or(found.bytes);
        match self.filter.judge(line) {
            Verdict::Bad(error) => self.sift_bad(found, line, may_go_on, error),
            verdict => [self.count(found, line, 0, verdict), None],
        }
    }

    #[cold]
    fn sift_bad(
        &mut self,
        found: &Found<'_>,
        line: &[u8],
        may_go_on: bool,
        error: LineError,
    ) -> [Option<AuditEntry>; 2] {
        if let Some((first, second)) = lost_line_end(line).and_then(|at| Some((line.get(..at)?, line.get(at + 1..)?))) {
            let verdicts = (self.filter.judge(first), self.filter.judge(second));
            if !matches!(verdicts, (Verdict::Bad(_), _) | (_, Verdict::Bad(_))) {
                self.tally.mended += 1;
                let behind = first.len() as u64 + 1;
                return [self.count(found, first, 0, verdicts.0), self.count(found, second, behind, verdicts.1)];
            }
        }
        self.count_lost(found, may_go_on, || SkipReason::Invalid(error));
        [None, None]
    }

    fn count(&mut self, found: &Found<'_>, line: &[u8], behind: u64, verdict: Verdict) -> Option<AuditEntry> {
        self.tally.lines += 1;
        match verdict {
            Verdict::Match(record) => {
                self.tally.matched += 1;
                let text = std::str::from_utf8(line).unwrap_or_default().into();
                let (path, offset) = (Arc::clone(found.path), found.span.offset + behind);
                let line = (found.span.number > 0).then_some(found.span.number);
                return Some(AuditEntry { record, path, offset, line, text });
            }
            Verdict::Blank => self.tally.blank += 1,
            Verdict::Other | Verdict::Bad(_) => self.tally.other += 1,
        }
        None
    }

    fn count_lost(&mut self, found: &Found<'_>, may_go_on: bool, reason: impl FnOnce() -> SkipReason) {
        self.tally.lines += 1;
        if may_go_on {
            self.tally.unfinished += 1;
            return;
        }
        let span = found.span;
        self.tally.skip(|| SkippedLine {
            path: Arc::clone(found.path),
            offset: span.offset,
            line: (span.number > 0).then_some(span.number),
            length: span.length,
            reason: reason(),
        });
    }

    /// A compressed file cannot be read from here on.
    pub(crate) fn note_damage(&mut self, path: &Arc<Path>, offset: u64, error: &io::Error) {
        self.tally.lines += 1;
        let message = error.to_string();
        let reason = SkipReason::Damaged { message };
        self.tally.skip(|| SkippedLine { path: Arc::clone(path), offset, line: None, length: 0, reason });
    }
}

/// The events of a log in the order that was asked for; see [`AuditReader`].
///
/// An error ends the file that it is about, and the next event is of the next file. After the last event, or once as many
/// were given out as were asked for, [`tally`](Self::tally) says what else there was.
#[derive(Debug)]
pub struct AuditEntries {
    parts: std::vec::IntoIter<Part>,
    newest_first: bool,
    current: Option<Current>,
    sieve: Sieve,
    left: usize,
    /// How many lines are passed over unread, and how many have been.
    pass: u64,
    passed: u64,
    /// The last line that is read, counted from 1 at the beginning of the oldest file.
    last: u64,
    /// The later one of two events that were found at once.
    waiting: Option<AuditEntry>,
}

/// The file that is being read.
#[derive(Debug)]
struct Current {
    path: Arc<Path>,
    active: bool,
    lines: Lines,
}

#[derive(Debug)]
enum Lines {
    Forward(Box<Forward<Content>>),
    Backward(Box<Backward<Tail>>),
}

impl Lines {
    fn next(&mut self) -> io::Result<Option<Span>> {
        match self {
            Self::Forward(lines) => Ok(lines.next()?.or_else(|| lines.rest())),
            Self::Backward(lines) => lines.next(),
        }
    }

    fn bytes(&self, span: &Span) -> &[u8] {
        match self {
            Self::Forward(lines) => lines.bytes(span),
            Self::Backward(lines) => lines.bytes(span),
        }
    }

    /// The place of the line that comes next; 0 where that is not known.
    fn offset(&self) -> u64 {
        match self {
            Self::Forward(lines) => lines.offset(),
            Self::Backward(_) => 0,
        }
    }
}

impl AuditEntries {
    pub(crate) fn newest_first(parts: Vec<Part>, reader: &AuditReader) -> Self {
        Self::new(parts, true, reader)
    }

    pub(crate) fn oldest_first(parts: Vec<Part>, reader: &AuditReader) -> Self {
        Self::new(parts, false, reader)
    }

    fn new(parts: Vec<Part>, newest_first: bool, reader: &AuditReader) -> Self {
        let (sieve, left) = (Sieve::new(reader), reader.limit);
        let (pass, passed, last) = (0, 0, u64::MAX);
        Self { parts: parts.into_iter(), newest_first, current: None, sieve, left, pass, passed, last, waiting: None }
    }

    /// Passes over the lines before this one, counted from 1 over all files in the order of reading. They are not looked
    /// at, and not in the tally. To be said before the first event is asked for.
    ///
    /// # Examples
    ///
    /// Reading an audit log in pieces:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use nervebus::{AuditLog, AuditReader, Bus};
    /// # let path = std::env::temp_dir().join(format!("nervebus-from-line-doc-{}.jsonl", std::process::id()));
    /// # let bus = Bus::builder().audit(AuditLog::at(&path)).build()?;
    /// # (0..5_u64).try_for_each(|id| bus.emit("chat.sent", id).map(drop))?;
    /// # bus.shutdown(Duration::from_secs(5));
    /// let reader = AuditReader::open(&path)?.limit(3);
    /// let mut first = reader.oldest_first()?;
    /// assert_eq!(first.by_ref().count(), 3);
    /// let second = reader.oldest_first()?.from_line(first.next_line());
    /// assert_eq!(second.count(), 2);
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn from_line(mut self, first: u64) -> Self {
        self.pass = first.saturating_sub(1);
        self
    }

    /// Nothing behind this line is read.
    pub(crate) fn until_line(mut self, last: u64) -> Self {
        self.last = last;
        self
    }

    /// The line with which another reading in the same order goes on [from here](Self::from_line). Oldest first, that
    /// stays what it is when files are rotated or compressed, but not when the oldest is removed. A last line without an
    /// end that is no event comes again, because its writer may go on with it.
    #[must_use]
    pub fn next_line(&self) -> u64 {
        let comes_again = self.waiting.is_some() || self.sieve.tally.unfinished > 0;
        self.line() + 1 - u64::from(comes_again)
    }

    /// The number of the line that was read last, counted over all files.
    pub(crate) fn line(&self) -> u64 {
        // Two events that were found in one line were counted as two.
        self.passed + self.sieve.tally.lines - self.sieve.tally.mended
    }

    /// What was looked at so far.
    #[must_use]
    pub fn tally(&self) -> &ReadTally {
        &self.sieve.tally
    }

    /// Opens the next file; `None` if there is no more.
    fn begin(&mut self) -> Option<Result<(), ReadError>> {
        let part = self.parts.next()?;
        self.sieve.tally.files += 1;
        let (path, active, longest) = (Arc::clone(&part.path), part.active, self.sieve.longest());
        let lines = if self.newest_first {
            part.backward(longest).map(|(lines, damage)| {
                if let Some(error) = damage {
                    self.sieve.note_damage(&path, 0, &error);
                }
                Lines::Backward(Box::new(lines))
            })
        } else {
            part.forward(longest).map(|lines| Lines::Forward(Box::new(lines)))
        };
        Some(match lines {
            Ok(lines) => {
                self.current = Some(Current { path, active, lines });
                Ok(())
            }
            Err(error) => Err(ReadError::Unreadable { path: path.to_path_buf(), error }),
        })
    }

    /// The next event of the present file; `Ok(None)` at its end.
    fn advance(&mut self) -> Result<Option<AuditEntry>, ReadError> {
        let end = self.last;
        loop {
            if self.line() >= end {
                return Ok(None);
            }
            let Some(current) = &mut self.current else { return Ok(None) };
            let span = match current.lines.next() {
                Ok(Some(_)) if self.passed < self.pass => {
                    self.passed += 1;
                    continue;
                }
                Ok(Some(span)) => span,
                Ok(None) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    if self.passed < self.pass {
                        self.passed += 1;
                        return Ok(None);
                    }
                    self.sieve.note_damage(&current.path, current.lines.offset(), &error);
                    return Ok(None);
                }
                Err(error) => return Err(ReadError::Unreadable { path: current.path.to_path_buf(), error }),
            };
            let bytes = current.lines.bytes(&span);
            let found = Found { path: &current.path, active: current.active, span: &span, bytes };
            let [first, second] = self.sieve.sift(&found);
            let (now, later) = if self.newest_first { (second, first) } else { (first, second) };
            let (now, later) = if now.is_some() { (now, later) } else { (later, None) };
            if now.is_some() {
                self.waiting = later;
                return Ok(now);
            }
        }
    }
}

impl Iterator for AuditEntries {
    type Item = Result<AuditEntry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        if let Some(waiting) = self.waiting.take() {
            return Some(Ok(waiting));
        }
        loop {
            match self.advance() {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => self.current = None,
                Err(error) => {
                    self.current = None;
                    return Some(Err(error));
                }
            }
            match self.begin() {
                None => {
                    self.left = 0;
                    return None;
                }
                Some(Ok(())) => {}
                Some(Err(error)) => return Some(Err(error)),
            }
        }
    }
}
