//! The file that dead letters are kept in: what a user says about it, and how it is read back.

pub(crate) mod file;
pub(crate) mod line;
#[cfg(test)]
mod tests;
pub(crate) mod writer;

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use crate::delivery::dead_letters::DeadLetter;
use crate::delivery::dead_letters::log::{LogAccount, LogHandle};
use crate::delivery::dead_letters::store::{DeadLetterStore, Restored};
use crate::platform::clock::Clock;
use crate::platform::storage::{AppendFile, Storage};
use crate::records::dead_letter_log::line::Line;
use crate::records::dead_letter_log::writer::{LetterWriter, open_alone};
use crate::redact::screen::Screen;

/// Where a bus keeps its dead letters beyond its own life: one JSON object a line.
///
/// **The file holds payloads as they are.** Whatever is secret in an event is readable there; give the file, or the
/// folder it is in, the rights that this asks for. They are kept when the file is written anew.
///
/// When the bus is built, the letters are read back: as many of the newest as it keeps. They are in
/// [`DeadLetters`](crate::DeadLetters) then as if they had come there now, with a payload that is JSON whatever it was
/// before, and without a subscription: they know their handler by its name and pattern. Numbers go on rising.
///
/// A line that was cut off when the process was killed, or that is no line of this log, is skipped and counted. A file
/// that holds lines, but none of such a log, is refused and left alone. One file belongs to one bus at a time, from the
/// build to the end of its shutdown: where the system has advisory locks, a second bus is refused when it is built, in
/// this process or another. What is taken out after a shutdown is written as
/// long as no other bus has had the file since.
///
/// A letter is written by a thread of the bus's own. The thread on which a handler failed hands it over and never waits
/// for the file: when the writer is so far behind that its [queue](Self::queue) is full, or the file cannot be written,
/// lines are lost and counted, and the file is written anew from the letters that are kept, with the next change that it
/// takes or when the bus shuts down. [`DeadLetterLogStats`](crate::DeadLetterLogStats) says how things stand.
///
/// Each line has the fields of the [audit log](crate::AuditLog), and `letter`: an object with `id`, `reason`,
/// `handler`, `pattern`, `error`, `attempts`, `retries`, `failed_at` and, where there is one, `history`. What is taken out is a line
/// `{"removed":id}`. The file is written anew, beside the old one (with `.new` behind its name) and then renamed, when
/// the bus is built, if there is anything to leave out, and later when it has more than 64 lines and more than twice as
/// many as there are letters. What was written survives the end of the process. It is brought to stable storage when
/// the file is written anew and when the bus shuts down; what came in between may be lost when the machine fails.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, DeadLetterLog, json};
///
/// let path = std::env::temp_dir().join(format!("nervebus-letters-doc-{}.jsonl", std::process::id()));
/// let bus = Bus::builder().dead_letter_log(DeadLetterLog::at(&path)).build()?;
/// bus.on("order.placed").inline().handle(|_| Err::<(), _>("no stock"))?;
/// bus.emit("order.placed", json!({"sku": 7}))?;
/// drop(bus);
///
/// let bus = Bus::builder().dead_letter_log(DeadLetterLog::at(&path)).build()?;
/// let letter = bus.dead_letters().get(1).ok_or("a letter that came back")?;
/// assert_eq!((letter.event.as_event()["sku"].as_u64(), &*letter.error), (Some(7), "no stock"));
/// # drop(bus);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a log of dead letters does nothing until a builder takes it"]
pub struct DeadLetterLog {
    pub(crate) path: PathBuf,
    pub(crate) queue: usize,
    pub(crate) is_redacted: bool,
}

impl DeadLetterLog {
    /// A log in this file, which is made if need be, with the folders above it. It is opened when the bus is built: a
    /// path that cannot be read or written fails there.
    pub fn at(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), queue: 1_024, is_redacted: true }
    }

    /// How many changes may wait to be written. Default: 1,024. Range: 1 to 1,048,576.
    pub fn queue(mut self, changes: usize) -> Self {
        self.queue = changes;
        self
    }

    /// Keeps payloads as they are in the file, though the bus [redacts](crate::Builder::redact) what it writes.
    ///
    /// A letter that comes back from a redacted file has markers in its payload, and so has what its handler gets if it is
    /// retried after a restart. Error texts are redacted all the same.
    pub fn unredacted(mut self) -> Self {
        self.is_redacted = false;
        self
    }

    /// Reads the file back and makes it ready to be written: a store with what was in it, and who writes down what
    /// becomes of that.
    pub(crate) fn open(
        &self,
        storage: &Arc<dyn Storage>,
        capacity: usize,
        clock: Clock,
        screen: &Screen,
    ) -> io::Result<(DeadLetterStore, LetterWriter)> {
        // What cannot be read back is refused before anything is made.
        storage.open_read(&self.path).map(drop)?;
        let (file, torn): (Box<dyn AppendFile>, bool) = open_alone(&**storage, &self.path)?;
        let found = Found::read(&mut *storage.open_read(&self.path)?, capacity)?;
        if found.foreign > 0 && found.own == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds other lines than dead letters"));
        }
        let account = Arc::new(LogAccount {
            path: self.path.clone(),
            restored: found.letters.len() as u64,
            surplus: found.surplus,
            skipped: found.torn + found.foreign,
            lines: found.lines().into(),
            ..LogAccount::default()
        });
        let untidy = torn || found.is_untidy();
        let (sender, entries) = mpsc::sync_channel(self.queue);
        let handle = LogHandle { sender, account: Arc::clone(&account) };
        let restored = Restored { letters: found.letters.into_values().collect(), last_id: found.last_id };
        let store = DeadLetterStore::with(capacity, clock, restored, Some(handle));
        let shelf = Arc::downgrade(store.shelf());
        let mut writer = LetterWriter::new(Arc::clone(storage), entries, shelf, account, file, torn);
        writer.screen = screen.clone();
        if untidy {
            // If it cannot be written anew it stays as it is, which can be read as well; that is tried again later.
            writer.rewrite();
        }
        Ok((store, writer))
    }
}

/// What a file holds.
#[derive(Debug, Default)]
struct Found {
    letters: BTreeMap<u64, Arc<DeadLetter>>,
    last_id: u64,
    surplus: u64,
    /// Lines of a log of dead letters.
    own: u64,
    /// Lines that were cut off, or are of something else.
    torn: u64,
    foreign: u64,
}

impl Found {
    /// Reads the lines in their order, which does again what the store did.
    fn read(file: &mut dyn BufRead, capacity: usize) -> io::Result<Self> {
        let (mut found, mut line) = (Self::default(), Vec::new());
        while file.read_until(b'\n', &mut line)? > 0 {
            found.add(line::read(&line), capacity);
            line.clear();
        }
        Ok(found)
    }

    fn add(&mut self, line: Line, capacity: usize) {
        match &line {
            Line::Torn => self.torn += 1,
            Line::Foreign => self.foreign += 1,
            Line::Kept(_) | Line::Removed(_) | Line::LastId(_) => self.own += 1,
        }
        match line {
            Line::Kept(letter) => {
                self.last_id = self.last_id.max(letter.id);
                self.letters.insert(letter.id, letter);
                if self.letters.len() > capacity {
                    self.surplus += 1;
                    self.letters.pop_first();
                }
            }
            Line::Removed(id) => {
                self.last_id = self.last_id.max(id);
                self.letters.remove(&id);
            }
            Line::LastId(id) => self.last_id = self.last_id.max(id),
            Line::Torn | Line::Foreign => {}
        }
    }

    fn lines(&self) -> u64 {
        self.own + self.torn + self.foreign
    }

    /// Whether there is more than the letters and a line that says which number was the last.
    fn is_untidy(&self) -> bool {
        self.torn + self.foreign + self.surplus > 0 || self.own > self.letters.len() as u64 + 1
    }
}
