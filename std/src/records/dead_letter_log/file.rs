//! A log of dead letters, looked at without a bus.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::delivery::dead_letters::DeadLetter;
use crate::platform::log_file::LogFile;
use crate::platform::storage::{Disk, append_all};
use crate::records::dead_letter_log::line::{self, Line};
use crate::records::dead_letter_log::writer::open_alone;
use crate::records::reader::forward::Forward;

/// The longest line that is read.
const LONGEST_LINE: usize = 64 << 20;

/// The file of a [`DeadLetterLog`](crate::DeadLetterLog), looked at without a bus.
///
/// It shows the file as it was when it was opened. Letters can be taken out, as long as no bus uses the file: a bus
/// keeps its letters in memory, does not look at what others append, and would bring a letter back when it writes the
/// file anew. A letter cannot be handed to its handler from here; its event can, by whoever reads
/// [`StoredLetter::event_json`].
///
/// # Cost
///
/// Opening reads the file once and keeps the number and place of each letter, some 50 bytes; letters are read when they
/// are asked for.
#[derive(Debug)]
pub struct DeadLetterFile {
    path: PathBuf,
    file: LogFile,
    /// Where the line of each letter begins, and its length.
    places: BTreeMap<u64, (u64, u64)>,
    skipped: u64,
}

/// A dead letter, and the line that it stands on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredLetter {
    /// The letter.
    pub letter: Arc<DeadLetter>,
    text: Box<str>,
}

impl StoredLetter {
    /// The line as it stands in the file, without its end: one JSON object, the event with what became of it in `letter`.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.text
    }

    /// The event alone, as a line of an audit log without its end.
    #[must_use]
    pub fn event_json(&self) -> String {
        // Our own writer puts it last. Within a text the quotes would be escaped.
        let cut = self.text.rfind(r#","letter":"#).and_then(|at| self.text.get(..at));
        let event = cut.map(|event| format!("{event}}}")).filter(|event| is_object_without_letter(event));
        event.unwrap_or_else(|| {
            let mut value: Value = serde_json::from_str(&self.text).unwrap_or_default();
            if let Some(fields) = value.as_object_mut() {
                fields.remove("letter");
            }
            value.to_string()
        })
    }
}

fn is_object_without_letter(text: &str) -> bool {
    let value: Option<Value> = serde_json::from_str(text).ok();
    value.is_some_and(|value| value.as_object().is_some_and(|fields| !fields.contains_key("letter")))
}

impl DeadLetterFile {
    /// Reads what is in the file.
    ///
    /// # Errors
    ///
    /// What the system says; `InvalidData` for a file that holds lines, but none of a log of dead letters.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        let file = LogFile::open(&path)?;
        let (mut places, mut skipped, mut own) = (BTreeMap::new(), 0, 0_u64);
        let mut lines = Forward::new(file.again()?, 0, 1, LONGEST_LINE);
        while let Some(span) = lines.next()?.or_else(|| lines.rest()) {
            let found = if span.kept.is_some() { line::read(lines.bytes(&span)) } else { Line::Torn };
            own += u64::from(!matches!(found, Line::Torn | Line::Foreign));
            match found {
                Line::Kept(letter) => {
                    places.insert(letter.id, (span.offset, span.length));
                }
                Line::Removed(id) => {
                    places.remove(&id);
                }
                Line::LastId(_) => {}
                Line::Torn | Line::Foreign => skipped += 1,
            }
        }
        if skipped > 0 && own == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds other lines than dead letters"));
        }
        Ok(Self { path, file, places, skipped })
    }

    /// How many letters there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Lines that are pieces of lines, or of something else.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The numbers of the letters, the oldest first.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.places.keys().copied()
    }

    /// The letter of this number.
    ///
    /// # Errors
    ///
    /// What the system says; `InvalidData` when its line is not there any more.
    pub fn get(&self, id: u64) -> io::Result<Option<StoredLetter>> {
        let Some((offset, length)) = self.places.get(&id).copied() else { return Ok(None) };
        let (mut file, mut text) = (self.file.again()?, Vec::new());
        file.go_to(offset);
        file.take(length).read_to_end(&mut text)?;
        let (Line::Kept(letter), Ok(text)) = (line::read(&text), String::from_utf8(text)) else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was read"));
        };
        Ok(Some(StoredLetter { letter, text: text.trim_end().into() }))
    }

    /// Takes letters out: appends a line for each that is there, and brings that to stable storage. Says how many there
    /// were.
    ///
    /// # Errors
    ///
    /// What the system says. What was not written is there still when the file is opened again.
    pub fn remove(&mut self, ids: &[u64]) -> io::Result<usize> {
        let there: BTreeSet<u64> = ids.iter().copied().filter(|id| self.places.contains_key(id)).collect();
        if there.is_empty() {
            return Ok(0);
        }
        let (mut file, torn) = open_alone(&Disk, &self.path)?;
        let mut text = if torn { b"\n".to_vec() } else { Vec::new() };
        there.iter().for_each(|id| line::write_removed(&mut text, *id));
        append_all(&mut *file, &text).1?;
        file.sync()?;
        self.places.retain(|id, _| !there.contains(id));
        Ok(there.len())
    }
}
