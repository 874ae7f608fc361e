//! Checking the chain of an audit log: whether somebody edited, removed, inserted or moved a line.

pub(crate) mod finding;
pub(crate) mod stream;
pub(crate) mod walk;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::records::audit::chain::Digits;
use crate::records::audit::segments::log_of;
use crate::records::reader::ReadError;
use crate::records::reader::part;
use crate::records::verify::finding::{Fault, Finding};
use crate::records::verify::stream::Stream;
use crate::records::verify::walk::Walk;

/// The longest line that is checked.
const LONGEST_LINE: usize = 16 << 20;

/// Checks that the lines of an audit log, over all its files and oldest first, are those that were written, in their
/// order: each line of a log with [a chain] carries the hash of itself and the line before it.
///
/// **What it cannot know.** A chain shows that lines belong together. It cannot show
///
/// - whether lines were cut off the end: what is left is a whole chain. Keep [`last_hash`](Verification::last_hash)
///   somewhere else, and give it as [`expect_last`](Self::expect_last), or as [`anchor`](Self::anchor) when the log has
///   grown since;
/// - whether somebody rewrote everything from some line on with hashes that fit: the hashes have no key. Only an anchor
///   behind that line shows it;
/// - what stood before the oldest line that is there, when older files were rotated away, or when a single rotated file
///   is checked: then the first line itself is not checked ([`Beginning::Unknown`]), unless the hash before it is given as
///   anchor;
/// - whether a line was changed or lines right before it were taken out, where numbers leave room for both: the finding
///   says so.
///
/// A piece of a line that a killed process left is accepted where the next line is the record of it that the next start
/// wrote.
///
/// [a chain]: crate::AuditLog
///
/// # Cost
///
/// Reads and hashes every byte once. Memory: as for [`AuditReader`](crate::AuditReader), and up to 64 lines, 1 MiB or two
/// lines, when a line does not fit.
///
/// # Examples
///
/// ```no_run
/// use nervebus::AuditVerifier;
///
/// let found = AuditVerifier::at("logs/events.jsonl").run()?;
/// match found.findings.first() {
///     Some(finding) => println!("{finding}"),
///     None => println!("{} lines fit; keep this: {:?}", found.lines, found.last_hash),
/// }
/// # Ok::<(), nervebus::ReadError>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a verifier checks nothing until it is run"]
pub struct AuditVerifier {
    path: PathBuf,
    anchor: Option<Digits>,
    expect_last: Option<Digits>,
}

impl AuditVerifier {
    /// A verifier of the log whose active file has this path.
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), anchor: None, expect_last: None }
    }

    /// The hash of some line that was kept elsewhere: the log must have it still, or begin right behind it.
    ///
    /// # Errors
    ///
    /// [`InvalidHash`] hands back what is not 64 hexadecimal digits.
    pub fn anchor(mut self, hash: &str) -> Result<Self, InvalidHash> {
        self.anchor = Some(digits(hash)?);
        Ok(self)
    }

    /// The hash that the last line must have.
    ///
    /// # Errors
    ///
    /// [`InvalidHash`] hands back what is not 64 hexadecimal digits.
    pub fn expect_last(mut self, hash: &str) -> Result<Self, InvalidHash> {
        self.expect_last = Some(digits(hash)?);
        Ok(self)
    }

    /// Checks the log as it is now.
    ///
    /// # Errors
    ///
    /// As [`AuditReader::open`](crate::AuditReader::open), and when a file cannot be read further.
    pub fn run(&self) -> Result<Verification, ReadError> {
        self.run_with(|_| ())
    }

    /// The same; `progress` is told from time to time how many bytes were checked.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub fn run_with(&self, mut progress: impl FnMut(u64)) -> Result<Verification, ReadError> {
        let mut parts = part::snapshot(&self.path)?;
        parts.reverse();
        let mut stream = Stream::new(parts, LONGEST_LINE);
        // What is one of several files begins in the middle, and one that is compressed was rotated away.
        let single = stream.files() == 1;
        let rotated_from = if single { log_of(&self.path) } else { None };
        let whole =
            single && rotated_from.is_none() && self.path.extension().is_none_or(|extension| extension != "zst");
        let mut walk = Walk::new(self.anchor, whole);
        walk.found.rotated_from = rotated_from;
        while let Some(line) = stream.next()? {
            walk.step(line, &mut stream)?;
            if walk.found.lines.is_multiple_of(4_096) {
                progress(walk.found.bytes);
            }
        }
        Ok(walk.finish(self.expect_last))
    }
}

/// What a log's chain says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// Files read.
    pub files: u64,
    /// Lines read, whatever they are.
    pub lines: u64,
    /// Bytes read, line feeds included; of compressed files, what they hold.
    pub bytes: u64,
    /// Lines whose hash fits.
    pub verified: u64,
    /// Lines without a hash that stand before the chain begins: written before it was switched on, or put there by
    /// somebody. Nothing is known of them.
    pub before_chain: u64,
    /// Records at the end of rotated files that say how much is in them, and are right.
    pub seals: u64,
    /// Rotated files that do not end with such a record, though the next file goes on behind them, or their name says that
    /// one does.
    pub unsealed: u64,
    /// Pieces of lines that a killed process left, each with the record of it.
    pub recovered: u64,
    /// How many bytes of an unfinished line stand at the end: somebody is writing it, or was killed at it.
    pub unfinished: u64,
    /// The log that the file belongs to, if it is a single one with the name of a rotated file: then the rest of the log
    /// was not looked at, what stood before the file is not known, and that is no finding.
    pub rotated_from: Option<PathBuf>,
    /// How the log begins.
    pub beginning: Beginning,
    /// The hash of the last line. Kept elsewhere, it shows later that nothing before it was touched.
    pub last_hash: Option<String>,
    /// What does not fit, in the order of the log: the first 100.
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub found: u64,
}

impl Verification {
    /// Whether everything that can be checked fits.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.found == 0
    }

    /// Whether nothing could be checked, for no line has a hash, and nobody said that there was one: the only finding is
    /// [`Fault::NoChain`]. That is how a log looks that was written without a chain, and how one does whose hashes were
    /// all taken out; so it is not [intact](Self::is_intact) either.
    #[must_use]
    pub fn is_unchained(&self) -> bool {
        self.found == 1 && matches!(self.findings.first(), Some(Finding { fault: Fault::NoChain, .. }))
    }
}

/// How a log begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Beginning {
    /// With the first line that was ever written to it.
    Whole,
    /// Right behind the line whose hash was given as anchor.
    Anchored,
    /// In the middle: what stood before was rotated away, or removed. The first line is not checked.
    Unknown,
}

/// Text that is not a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidHash(
    /// What was given.
    pub String,
);

impl fmt::Display for InvalidHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.0.chars().take(80).collect();
        write!(f, "a hash has 64 hexadecimal digits, and \"{}\" is none", shown.escape_debug())
    }
}

impl std::error::Error for InvalidHash {}

fn digits(text: &str) -> Result<Digits, InvalidHash> {
    let text = text.trim();
    let digits = Digits::try_from(text.as_bytes()).map(|digits| digits.map(|digit| digit.to_ascii_lowercase()));
    digits.ok().filter(|digits| digits.iter().all(u8::is_ascii_hexdigit)).ok_or_else(|| InvalidHash(text.to_owned()))
}
