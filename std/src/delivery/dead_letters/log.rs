//! What the store tells the log of dead letters, and what the log says of itself.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::delivery::count;
use crate::delivery::dead_letters::DeadLetter;

/// What has changed in the store.
#[derive(Debug)]
pub(crate) enum Change {
    /// The letter is new, or has changed.
    Kept(Arc<DeadLetter>),
    /// The letters of these numbers were taken out. Those that were overwritten are not told of: whoever reads the file
    /// back in the order of its lines overwrites the same ones.
    Gone(Vec<u64>),
    /// Nothing; but what came before must be brought to stable storage.
    Sync,
}

/// A change on its way to the file. The numbers rise by one.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) change: Change,
}

/// The store's end of the way to the file.
#[derive(Debug)]
pub(crate) struct LogHandle {
    pub(crate) sender: SyncSender<Entry>,
    pub(crate) account: Arc<LogAccount>,
}

impl LogHandle {
    /// Sends a change without waiting; one that finds no room is lost and counted.
    pub(crate) fn tell(&self, queued: &mut u64, change: Change) {
        // A change of many letters is as many lines.
        let lines = if let Change::Gone(ids) = &change { ids.len() } else { 1 };
        match self.sender.try_send(Entry { number: *queued + 1, change }) {
            Ok(()) => *queued += 1,
            Err(_) => self.account.lose(lines as u64),
        }
    }

    /// Asks for everything before to be on disk: the number of the request, or `None` if there is no room for it now.
    pub(crate) fn ask_for_sync(&self, queued: &mut u64) -> Option<u64> {
        match self.sender.try_send(Entry { number: *queued + 1, change: Change::Sync }) {
            Ok(()) => {
                *queued += 1;
                Some(*queued)
            }
            Err(TrySendError::Full(_)) => None,
            Err(TrySendError::Disconnected(_)) => {
                // Relaxed: it is all that is said.
                self.account.over.store(true, Ordering::Relaxed);
                None
            }
        }
    }

    /// Whether nobody writes any more.
    pub(crate) fn is_over(&self) -> bool {
        self.account.over.load(Ordering::Relaxed)
    }
}

/// What the log has done so far.
#[derive(Debug, Default)]
pub(crate) struct LogAccount {
    pub(crate) path: PathBuf,
    /// What was found when the bus was built; not changed later.
    pub(crate) restored: u64,
    pub(crate) surplus: u64,
    pub(crate) skipped: u64,
    /// How many lines the file has; written by the writer alone, as is the number of rewrites.
    pub(crate) lines: AtomicU64,
    pub(crate) rewrites: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) stale: AtomicBool,
    pub(crate) errors: AtomicU64,
    pub(crate) last_error: Mutex<Option<String>>,
    /// The number of the last change that was dealt with.
    pub(crate) done: AtomicU64,
    pub(crate) over: AtomicBool,
}

impl LogAccount {
    pub(crate) fn lose(&self, lines: u64) {
        count::add(&self.lost, lines);
        self.mark_stale();
    }

    /// Marks the file as lacking something.
    pub(crate) fn mark_stale(&self) {
        // Release pairs with the Acquire in `take_stale`: whoever takes the mark sees what was counted before it.
        self.stale.store(true, Ordering::Release);
    }

    pub(crate) fn is_stale(&self) -> bool {
        // Relaxed: whoever acts on it takes the mark first.
        self.stale.load(Ordering::Relaxed)
    }

    /// Takes the mark that the file lacks something.
    pub(crate) fn take_stale(&self) -> bool {
        // Acquire pairs with the Release in `mark_stale`.
        self.stale.swap(false, Ordering::Acquire)
    }

    pub(crate) fn note_error(&self, error: &std::io::Error) {
        count::add(&self.errors, 1);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }

    /// Says how many lines the file has, after it was written anew.
    pub(crate) fn set_lines(&self, lines: u64) {
        // Release pairs with the Acquire in `count::read`.
        self.lines.store(lines, Ordering::Release);
    }

    /// Says that everything up to this change was dealt with.
    pub(crate) fn finish(&self, number: u64) {
        // Release pairs with the Acquire in `is_done`.
        self.done.store(number, Ordering::Release);
    }

    /// Whether everything up to this change was dealt with.
    pub(crate) fn is_done(&self, number: u64) -> bool {
        // Acquire pairs with the Release in `finish`: whoever has waited sees what was counted before.
        self.done.load(Ordering::Acquire) >= number
    }

    pub(crate) fn stats(&self, queued: u64) -> DeadLetterLogStats {
        DeadLetterLogStats {
            path: self.path.clone(),
            restored: self.restored,
            surplus: self.surplus,
            skipped: self.skipped,
            lines: count::read(&self.lines),
            rewrites: count::read(&self.rewrites),
            lost: count::read(&self.lost),
            stale: self.is_stale(),
            errors: count::read(&self.errors),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            lag: queued.saturating_sub(count::read(&self.done)),
        }
    }
}

/// The state of the file that dead letters are kept in; part of [`DeadLetterStats`](crate::DeadLetterStats).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeadLetterLogStats {
    /// The file.
    pub path: PathBuf,
    /// Letters that were read back when the bus was built.
    pub restored: u64,
    /// Letters in the file that were older than those the capacity had room for; they are gone.
    pub surplus: u64,
    /// Lines that were cut off or are not a log's, when the bus was built.
    pub skipped: u64,
    /// Lines in the file now.
    pub lines: u64,
    /// How often the file was written anew by this bus.
    pub rewrites: u64,
    /// Lines that were not written: the writer was behind, or the file would not take them.
    pub lost: u64,
    /// Whether the file lacks some of them still. It is written anew with the next change that it takes, or when the bus
    /// shuts down, and then lacks nothing.
    pub stale: bool,
    /// Writes that failed.
    pub errors: u64,
    /// What the last failed write said.
    pub last_error: Option<String>,
    /// Changes waiting to be written.
    pub lag: u64,
}
