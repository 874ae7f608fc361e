//! What a verifier found, in words.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A place in a log that does not fit, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The file.
    pub path: Arc<Path>,
    /// The number of the line in its file, counted from 1.
    pub line: u64,
    /// The first byte of the line, counted from 0 at the beginning of the file; of a compressed file, of what that holds.
    pub offset: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with a line of a log with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The line is not the one that was written here.
    Edited,
    /// The line is as it was, and its hash is not.
    HashEdited,
    /// Lines that stood before this one are gone; or, the numbers leave room for both, this one was changed.
    Removed {
        /// How many numbers are missing, as far as numbers tell; some numbers were never written.
        missing: Option<u64>,
    },
    /// So many lines, this one first, did not stand here.
    Inserted {
        /// How many.
        lines: u64,
    },
    /// So many lines, this one first, stood elsewhere.
    Moved {
        /// How many.
        lines: u64,
    },
    /// The line is there twice.
    Repeated,
    /// The line has no hash, and is no piece of a line that a later record explains.
    NoHash,
    /// The line is too long to be checked.
    TooLong,
    /// The log begins in the middle, though no file of it was rotated away: the first line was changed, or lines before
    /// it were removed.
    NoBeginning,
    /// No line has a hash: the log was written without a chain, or somebody removed it.
    NoChain,
    /// The record at the end of a file says something else than what is there.
    WrongSeal {
        /// Lines and bytes that should stand before it.
        sealed: (u64, u64),
        /// Lines and bytes that do.
        there: (u64, u64),
    },
    /// The record of a piece of a line is there, and the piece is not, or is another one.
    WrongRecovery,
    /// The compressed file cannot be read from here on.
    Unreadable {
        /// What the decoder says.
        message: String,
    },
    /// No line has the hash that was given as anchor. Whatever was there was cut off, or rewritten with hashes that fit.
    NoAnchor,
    /// The last line has another hash than was expected. Lines were cut off or added, or rewritten with hashes that fit.
    NotTheLast,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited => f.write_str("the line was edited, or lines right before it were removed"),
            Self::HashEdited => f.write_str("the hash of the line was edited; the line itself was not"),
            Self::Removed { missing: Some(1) } => {
                f.write_str("lines before it were removed (1 number is missing), or the line was edited")
            }
            Self::Removed { missing: Some(missing) } => {
                write!(f, "lines before it were removed ({missing} numbers are missing), or the line was edited")
            }
            Self::Removed { missing: None } => f.write_str("lines before it were removed, or the line was edited"),
            Self::Inserted { lines: 1 } => f.write_str("the line was inserted"),
            Self::Inserted { lines } => write!(f, "{lines} lines from here on were inserted"),
            Self::Moved { lines: 1 } => f.write_str("the line was moved here: the order was changed"),
            Self::Moved { lines } => write!(f, "{lines} lines from here on were moved here: the order was changed"),
            Self::Repeated => f.write_str("the line is there a second time: it was inserted"),
            Self::NoHash => f.write_str("the line has no hash that can be read: it was edited or inserted"),
            Self::TooLong => f.write_str("the line is too long to be checked"),
            Self::NoBeginning => {
                f.write_str("the log does not begin here: lines before it were removed, or the line was edited")
            }
            Self::NoChain => {
                f.write_str("no line has a hash: the log was written without a chain, or the hashes were removed")
            }
            Self::WrongSeal { sealed, there } => write!(
                f,
                "the seal counts {} lines of {} bytes before it, and there are {} of {} bytes",
                sealed.0, sealed.1, there.0, there.1
            ),
            Self::WrongRecovery => f.write_str("the record speaks of a piece of a line that does not stand before it"),
            Self::Unreadable { message } => write!(f, "{}", message.escape_debug()),
            Self::NoAnchor => f.write_str("no line has the hash of the anchor: lines were cut off or rewritten"),
            Self::NotTheLast => {
                f.write_str("the last line is another one than expected: lines were cut off, added or rewritten")
            }
        }
    }
}

impl fmt::Display for Finding {
    /// `events.jsonl: line 7, byte 512: the line was inserted`, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display().to_string();
        write!(f, "{}: line {}, byte {}: {}", path.escape_debug(), self.line, self.offset, self.fault)
    }
}
