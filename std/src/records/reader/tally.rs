//! What a reader found besides the events it gave out.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::records::line::LineError;

/// The most skipped lines that are described.
const MOST_DESCRIBED: usize = 100;

/// What a reader of an audit log has looked at so far; every line is counted once:
/// `lines = matched + other + blank + skipped + unfinished`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadTally {
    /// Files begun.
    pub files: u64,
    /// Bytes of the lines, their line feeds included; of compressed files, what they hold.
    pub bytes: u64,
    /// Lines, whatever they are.
    pub lines: u64,
    /// Events that were given out.
    pub matched: u64,
    /// Lines that cannot be what was asked for. Whether they are whole was not looked at.
    pub other: u64,
    /// Lines with nothing on them.
    pub blank: u64,
    /// Lines that are no event, or longer than the limit, and places from which on a compressed file cannot be read.
    pub skipped: u64,
    /// Last lines of the file that is written to which have no end: somebody is writing them, or was killed at it.
    pub unfinished: u64,
    /// Line feeds that had been turned into another byte, between two records that were both read.
    pub mended: u64,
    /// The first 100 skipped lines, in the order in which they were met.
    pub first_skipped: Vec<SkippedLine>,
}

impl ReadTally {
    pub(crate) fn skip(&mut self, describe: impl FnOnce() -> SkippedLine) {
        self.skipped += 1;
        if self.first_skipped.len() < MOST_DESCRIBED {
            self.first_skipped.push(describe());
        }
    }
}

/// A line that is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SkippedLine {
    /// The file it is in.
    pub path: Arc<Path>,
    /// Its first byte, counted from 0 at the beginning of the file; of a compressed file, of what that holds.
    pub offset: u64,
    /// Its number in the file, counted from 1; `None` when the file is read backwards.
    pub line: Option<u64>,
    /// Its bytes, without the line feed.
    pub length: u64,
    /// What is wrong with it.
    pub reason: SkipReason,
}

impl fmt::Display for SkippedLine {
    /// `events.jsonl: line 7, byte 512: the line is empty`: one line, whatever the log holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display().to_string().escape_debug())?;
        if let Some(line) = self.line {
            write!(f, "line {line}, ")?;
        }
        write!(f, "byte {}: {}", self.offset, self.reason)
    }
}

/// What is wrong with a skipped line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// It is longer than the limit.
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// It is no event.
    Invalid(LineError),
    /// The compressed file cannot be read from here on.
    Damaged {
        /// What the decoder says.
        message: String,
    },
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "the line is longer than {limit} bytes"),
            Self::Invalid(error) => error.fmt(f),
            Self::Damaged { message } => write!(f, "{}", message.escape_debug()),
        }
    }
}
