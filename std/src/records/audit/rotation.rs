//! Putting a full file aside and beginning another, and what goes with that: seals, syncs, compression.

use std::io::{self, BufRead};
use std::path::Path;
use std::time::Duration;

use crate::delivery::count;
use crate::platform::clock::nanos;
use crate::platform::storage::Storage;
use crate::records::audit::backoff::Backoff;
use crate::records::audit::log::{Log, Trouble};
use crate::records::audit::sync::SyncPolicy;

/// The topic of the line that ends a file.
const SEALED: &str = "system.audit_sealed";

/// How long to wait at most before another file is begun that may fail to sync as the last one did.
const SYNC_BACKOFF: Duration = Duration::from_secs(600);

/// How a rotation that could not go on leaves the log.
enum Stopped {
    /// Lines can be written to the file that there is.
    Writable(Trouble),
    /// They cannot.
    Unwritable(Trouble),
}

impl Stopped {
    fn writable(error: io::Error) -> Self {
        Self::Writable(Trouble { action: "rotate", error })
    }
}

impl Log {
    /// Whether the file is to be put aside before a line of this length is written.
    pub(super) fn is_rotation_due(&self, next: u64) -> bool {
        if !self.regular || self.size == 0 {
            return false;
        }
        let full = self.plan.rotate.is_some_and(|(bytes, _)| self.size.saturating_add(next) > bytes);
        let rotates = self.plan.rotate.is_some() || self.plan.rotate_every.is_some();
        let due = full || self.poisoned || (self.sealed && rotates) || self.is_old();
        due && (self.rotate_from == 0 || self.clock.now() >= self.rotate_from)
    }

    /// Whether the file has been written to for as long as one is.
    fn is_old(&self) -> bool {
        let age = || self.clock.now().saturating_sub(self.begun).saturating_add(self.aged);
        self.plan.rotate_every.is_some_and(|every| age() >= nanos(every))
    }

    /// Puts the file aside and begins another. If that cannot be done, but the file can be written to, it goes on with
    /// that, and says so.
    pub(super) fn rotate(&mut self) -> Result<(), Trouble> {
        match self.try_rotate() {
            Ok(()) => {
                self.rotate_from = 0;
                if !self.sync_failed {
                    self.backoff = Backoff::default();
                }
                Ok(())
            }
            Err(Stopped::Writable(trouble)) => {
                self.rotate_from = self.clock.after(self.backoff.next());
                self.troubles.push(trouble);
                Ok(())
            }
            Err(Stopped::Unwritable(trouble)) => Err(trouble),
        }
    }

    fn try_rotate(&mut self) -> Result<(), Stopped> {
        #[cfg(feature = "compress")]
        while self.compress_piece() {}
        self.shift().map_err(Stopped::writable)?;
        if !self.poisoned && !self.sealed {
            self.seal().map_err(Stopped::Unwritable)?;
            if self.file.is_none() {
                // It was moved away meanwhile: that is all that was to be done.
                return self.reopen().map_err(|error| Stopped::Unwritable(Trouble { action: "open", error }));
            }
        }
        self.sync_before_it_goes();
        self.storage.rename(self.names.active(), &self.names.rotated(1)).map_err(Stopped::writable)?;
        self.file = None;
        count::add(&self.account.rotations, 1);
        if self.plan.sync != SyncPolicy::Never {
            self.storage.sync_folder(self.names.folder());
        }
        self.reopen().map_err(|error| Stopped::Unwritable(Trouble { action: "open", error }))?;
        #[cfg(feature = "compress")]
        self.begin_compression();
        Ok(())
    }

    /// Makes room for a file with the number 1, from the highest number down: at every moment each file has one name.
    fn shift(&self) -> io::Result<()> {
        let listing = self.names.list(&*self.storage)?;
        let kept = self.plan.rotate.map_or(usize::MAX, |(_, files)| files);
        for leftover in &listing.leftovers {
            self.storage.remove(leftover)?;
        }
        // Those that there is no place for, and behind the first gap those that need not move.
        let run = listing.segments.iter().zip(1..).take_while(|(segment, number)| segment.number == *number).count();
        for (at, segment) in listing.segments.iter().enumerate().rev() {
            let number = segment.number as usize + usize::from(at < run);
            if number > kept {
                self.storage.remove(&segment.path)?;
            } else if at < run {
                let next = segment.number + 1;
                let to = if segment.compressed { self.names.compressed(next) } else { self.names.rotated(next) };
                self.storage.rename(&segment.path, &to)?;
            }
        }
        Ok(())
    }

    /// Writes the line that says that it is the last, and what stands before it.
    fn seal(&mut self) -> Result<(), Trouble> {
        let lines = match self.lines {
            Some(lines) => Some(lines),
            // Those of earlier runs have to be counted now; if they cannot be, the bytes will do.
            None => lines_of(&*self.storage, self.names.active()).ok(),
        };
        let payload = serde_json::json!({"lines": lines, "bytes": self.size});
        self.prepare_own(SEALED, payload);
        // Even if it is written later only: a file has one seal.
        self.sealed = true;
        self.put_out()
    }

    /// Syncs what is about to go out of sight, if anything is synced at all.
    fn sync_before_it_goes(&mut self) {
        if self.plan.sync != SyncPolicy::Never
            && !self.poisoned
            && self.unsynced > 0
            && let Some(Err(error)) = self.file.as_mut().map(|file| file.sync())
        {
            self.note_unsynced(error);
        }
    }

    /// A sync that failed is over: what it concerned may be lost, and another sync would say nothing about it.
    fn note_unsynced(&mut self, error: io::Error) {
        count::add(&self.account.unsynced, self.unsynced);
        (self.unsynced, self.poisoned) = (0, true);
        if std::mem::replace(&mut self.sync_failed, true) {
            // The file before this one failed as well. Where nothing can be synced, a file for each attempt helps nobody.
            self.rotate_from = self.clock.after(self.backoff.next_up_to(SYNC_BACKOFF));
        }
        self.troubles.push(Trouble { action: "sync", error });
    }

    /// Syncs if it is time to.
    pub(crate) fn sync_if_due(&mut self) -> Result<(), Trouble> {
        match self.sync_due() {
            Some(due) if due == 0 || self.clock.now() >= due => self.sync(),
            _ => Ok(()),
        }
    }

    /// When the next sync is due, 0 for at once; `None` if there is nothing to sync.
    fn sync_due(&self) -> Option<u64> {
        match self.plan.sync {
            _ if self.unsynced == 0 || self.poisoned => None,
            SyncPolicy::Never => None,
            SyncPolicy::Every(wait) => Some(self.synced_at.saturating_add(nanos(wait))),
            SyncPolicy::EachBatch => Some(0),
        }
    }

    /// Syncs now. A file that cannot be synced is given up, and another begun.
    pub(crate) fn sync(&mut self) -> Result<(), Trouble> {
        let Some(file) = &mut self.file else { return Ok(()) };
        self.synced_at = self.clock.now();
        match file.sync() {
            Ok(()) => {
                (self.unsynced, self.sync_failed) = (0, false);
                self.backoff = Backoff::default();
            }
            // A device or pipe cannot be synced, and has nothing to lose.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.unsynced = 0,
            Err(error) => {
                self.note_unsynced(error);
                if self.is_rotation_due(0) {
                    return self.rotate();
                }
            }
        }
        Ok(())
    }

    /// Rotates a file that has become old while nothing was written.
    pub(crate) fn rotate_if_old(&mut self) -> Result<(), Trouble> {
        if self.is_old() && self.file.is_some() && self.is_rotation_due(0) { self.rotate() } else { Ok(()) }
    }

    /// The next moment at which there is something to do although nothing is written.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let old = self.plan.rotate_every.filter(|_| self.regular && self.size > 0);
        let left = |every| nanos(every).saturating_sub(self.aged);
        let old = old.map(|every| self.begun.saturating_add(left(every)).max(self.rotate_from));
        self.sync_due().into_iter().chain(old).min()
    }

    /// Removes what a killed process has left, and goes on with what it was at.
    pub(super) fn clean_up(&mut self) {
        let result = self
            .names
            .list(&*self.storage)
            .and_then(|listing| listing.leftovers.iter().try_for_each(|leftover| self.storage.remove(leftover)));
        if let Err(error) = result
            && error.kind() != io::ErrorKind::Unsupported
        {
            self.troubles.push(Trouble { action: "clean up", error });
        }
        #[cfg(feature = "compress")]
        self.begin_compression();
    }
}

/// How many lines a file has.
fn lines_of(storage: &dyn Storage, path: &Path) -> io::Result<u64> {
    let (mut file, mut lines) = (storage.open_read(path)?, 0);
    loop {
        let piece = file.fill_buf()?;
        if piece.is_empty() {
            return Ok(lines);
        }
        lines += piece.iter().filter(|byte| **byte == b'\n').count() as u64;
        let count = piece.len();
        file.consume(count);
    }
}

#[cfg(feature = "compress")]
impl Log {
    /// Begins to compress the oldest of the rotated files that is not.
    fn begin_compression(&mut self) {
        use crate::records::audit::compression::Compression;

        if !self.plan.compress || self.compression.is_some() {
            return;
        }
        let listing = self.names.list(&*self.storage).unwrap_or_default();
        let Some(next) = listing.segments.iter().rev().find(|segment| !segment.compressed) else { return };
        match Compression::begin(&*self.storage, &self.names, next.number) {
            Ok(compression) => self.compression = Some(compression),
            Err(error) => self.troubles.push(Trouble { action: "compress", error }),
        }
    }

    /// Compresses a piece; whether there is more to compress. What fails is tried again after the next rotation.
    pub(crate) fn compress_piece(&mut self) -> bool {
        let Some(mut compression) = self.compression.take() else { return false };
        let result = match compression.step() {
            Ok(false) => {
                self.compression = Some(compression);
                return true;
            }
            Ok(true) => compression.finish(&*self.storage),
            Err(error) => {
                compression.give_up(&*self.storage);
                Err(error)
            }
        };
        match result {
            Ok(()) => self.begin_compression(),
            Err(error) => self.troubles.push(Trouble { action: "compress", error }),
        }
        self.compression.is_some()
    }
}
