//! The thread that writes down what becomes of dead letters.

use std::io;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};

use crate::delivery::count;
use crate::delivery::dead_letters::log::{Change, Entry, LogAccount};
use crate::delivery::dead_letters::store::{Shelf, Snapshot};
use crate::delivery::failure::drop_quietly;
use crate::platform::storage::{AppendFile, Standing, Storage, append_all};
use crate::records::dead_letter_log::line;
use crate::redact::screen::Screen;

/// A batch is written when it has this many bytes, or when nothing more waits.
const BATCH_BYTES: usize = 64 * 1024;

/// A file with fewer lines than this is not worth writing anew.
const FEW_LINES: u64 = 64;

/// The most batches that go by before a file that could not be written anew is tried again.
const MAX_PATIENCE: u32 = 1_024;

/// Writes a bus's dead letters to their file.
#[derive(Debug)]
pub(crate) struct LetterWriter {
    storage: Arc<dyn Storage>,
    entries: Receiver<Entry>,
    /// Not kept alive: when the bus is gone there is nothing to write anew from.
    shelf: Weak<Shelf>,
    account: Arc<LogAccount>,
    /// What the letters pass.
    pub(crate) screen: Screen,
    /// The file, which nobody else may write to; `None` after a shutdown, when another bus may have it.
    file: Option<Box<dyn AppendFile>>,
    /// How large it was then.
    left: Option<u64>,
    /// Whether the file ends in the middle of a line, which must be ended before the next one begins.
    torn: bool,
    /// The number of the last change that was in the letters when the file was last written anew.
    covered: u64,
    /// How many batches go by after the next failure to write the file anew, and how many of them are still to come.
    patience: u32,
    wait: u32,
}

/// Changes that are written together.
#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    lines: u64,
    last: u64,
    sync: bool,
}

impl LetterWriter {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        entries: Receiver<Entry>,
        shelf: Weak<Shelf>,
        account: Arc<LogAccount>,
        file: Box<dyn AppendFile>,
        torn: bool,
    ) -> Self {
        Self {
            storage,
            entries,
            shelf,
            account,
            screen: Screen::default(),
            file: Some(file),
            left: None,
            torn,
            covered: 0,
            patience: 0,
            wait: 0,
        }
    }

    /// Runs until the bus is gone and everything is written.
    pub(crate) fn run(mut self) {
        while let Ok(first) = self.entries.recv() {
            let mut batch = Batch::default();
            self.add(&mut batch, first);
            while batch.text.len() < BATCH_BYTES
                && let Ok(entry) = self.entries.try_recv()
            {
                self.add(&mut batch, entry);
            }
            let written = self.append(&batch);
            if written && self.is_rewrite_due(batch.sync) {
                self.rewrite();
            }
            if batch.sync {
                self.close();
            }
            self.account.finish(batch.last);
        }
    }

    fn add(&self, batch: &mut Batch, entry: Entry) {
        batch.last = entry.number;
        // What was on its way while the file was written anew is in it already.
        let is_new = entry.number > self.covered;
        match entry.change {
            Change::Kept(letter) => {
                if is_new {
                    line::write_letter(&mut batch.text, &letter, &self.screen);
                    batch.lines += 1;
                }
                // It may have been taken out meanwhile, so that this is its end.
                drop_quietly(letter);
            }
            Change::Gone(ids) if is_new => {
                ids.iter().for_each(|id| line::write_removed(&mut batch.text, *id));
                batch.lines += ids.len() as u64;
            }
            Change::Gone(_) => {}
            Change::Sync => batch.sync = true,
        }
    }

    /// Appends a batch; what the file does not take is lost and counted. Says whether it took all.
    fn append(&mut self, batch: &Batch) -> bool {
        if batch.lines == 0 {
            return true;
        }
        let (sealed, taken, result) = match self.reopen() {
            Ok((file, torn)) => append_sealed(file, torn, &batch.text),
            Err(error) => (0, 0, Err(error)),
        };
        self.torn &= sealed == 0;
        let written = batch.text.get(..taken).unwrap_or_default();
        let lines = written.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.torn |= written.last().is_some_and(|byte| *byte != b'\n');
        count::add(&self.account.lines, lines + u64::from(sealed > 0));
        let Err(error) = result else { return true };
        self.account.lose(batch.lines - lines);
        self.account.note_error(&error);
        // The first batch that the file takes again is the sign to try at once.
        self.wait = 0;
        false
    }

    /// Whether the file lacks something, or has too much, and it is time to try.
    fn is_rewrite_due(&mut self, now: bool) -> bool {
        let Some(shelf) = self.shelf.upgrade() else { return false };
        let letters = shelf.len() as u64;
        drop_quietly(shelf);
        let lines = count::read(&self.account.lines);
        let due = self.account.is_stale() || (lines > FEW_LINES && lines > 2 * letters);
        if due && self.wait > 0 && !now {
            self.wait -= 1;
            return false;
        }
        due
    }

    /// Writes the file anew from the letters that are kept; if that fails, it stays as it is.
    pub(crate) fn rewrite(&mut self) {
        let Some(shelf) = self.shelf.upgrade() else { return };
        // Before the snapshot: what is lost after it marks the file again.
        let was_stale = self.account.take_stale();
        let snapshot = shelf.snapshot();
        drop_quietly(shelf);
        let (covers, result) = (snapshot.covers, self.replace(snapshot));
        match result {
            Ok((file, lines)) => {
                (self.file, self.torn, self.covered) = (Some(file), false, covers);
                (self.patience, self.wait) = (0, 0);
                self.account.set_lines(lines);
                count::add(&self.account.rewrites, 1);
            }
            Err(error) => {
                if was_stale {
                    self.account.mark_stale();
                }
                self.patience = (self.patience * 2).clamp(1, MAX_PATIENCE);
                self.wait = self.patience;
                self.account.note_error(&error);
            }
        }
    }

    /// Puts a file with these letters in the place of the present one: what to append to from now on, and its lines.
    fn replace(&mut self, snapshot: Snapshot) -> io::Result<(Box<dyn AppendFile>, u64)> {
        let Snapshot { letters, last_id, .. } = snapshot;
        // Nobody else may have the file that goes, nor the one that comes.
        let begun = self.reopen().map(drop).and_then(|()| self.storage.begin_replacing(&self.account.path));
        let mut file = match begun {
            Ok(file) => file,
            Err(error) => {
                letters.into_iter().for_each(drop_quietly);
                return Err(error);
            }
        };
        let (mut text, mut lines) = (Vec::new(), letters.len() as u64);
        if last_id > letters.last().map_or(0, |letter| letter.id) {
            line::write_last_id(&mut text, last_id);
            lines += 1;
        }
        let mut result = Ok(());
        // All of them, for each may be the last to hold its letter.
        for letter in letters {
            if result.is_ok() {
                line::write_letter(&mut text, &letter, &self.screen);
            }
            if text.len() >= BATCH_BYTES {
                result = result.and_then(|()| append_all(&mut *file, &text).1);
                text.clear();
            }
            drop_quietly(letter);
        }
        result.and_then(|()| append_all(&mut *file, &text).1)?;
        file.sync()?;
        // It is new, so this fails for nobody; whoever opens it by its name later finds it taken.
        file.claim(true);
        self.storage.finish_replacing(&self.account.path)?;
        Ok((file, lines))
    }

    /// The file, opened again if it was let go, and whether it ends in the middle of a line.
    fn reopen(&mut self) -> io::Result<(&mut dyn AppendFile, bool)> {
        if self.file.is_none() {
            let (file, torn) = open_alone(&*self.storage, &self.account.path)?;
            if self.storage.size(&self.account.path)? != self.left {
                // Its numbers are no longer ours to give out.
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another bus has written to it since"));
            }
            (self.file, self.torn) = (Some(file), torn);
        }
        let torn = self.torn;
        let file = self.file.as_deref_mut().ok_or(io::ErrorKind::NotFound)?;
        Ok((file, torn))
    }

    /// Brings what was written to stable storage and lets go of the file, for another bus may have it now.
    fn close(&mut self) {
        let Some(mut file) = self.file.take() else { return };
        if let Err(error) = file.sync() {
            self.account.note_error(&error);
        }
        // Before it is let go.
        self.left = self.storage.size(&self.account.path).unwrap_or(None);
    }
}

/// Appends lines behind the piece of one, if the file ends with that: how many bytes of its end and of the lines it took.
fn append_sealed(file: &mut dyn AppendFile, torn: bool, text: &[u8]) -> (usize, usize, io::Result<()>) {
    let seal: &[u8] = if torn { b"\n" } else { b"" };
    let (sealed, result) = append_all(file, seal);
    if result.is_err() {
        return (sealed, 0, result);
    }
    let (taken, result) = append_all(file, text);
    (sealed, taken, result)
}

/// Opens a file of dead letters for appending, and keeps all others from it until it is dropped; says as well whether it
/// ends in the middle of a line.
pub(super) fn open_alone(storage: &dyn Storage, path: &Path) -> io::Result<(Box<dyn AppendFile>, bool)> {
    const TRIES: usize = 16;
    for _ in 0..TRIES {
        let (mut file, torn) = storage.open_append(path)?;
        if !file.claim(true) {
            break;
        }
        // Whoever had it may have put another in its place before letting go; that one is not claimed yet.
        if file.standing() == Standing::InPlace {
            return Ok((file, torn));
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "another bus or command writes to it"))
}
