//! The log's files as its writer sees them: one that is appended to, and those that are rotated away.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::delivery::count;
use crate::platform::clock::{self, Clock};
use crate::platform::storage::{AppendFile, Standing, Storage, append_all};
use crate::records::audit::account::AuditAccount;
use crate::records::audit::backoff::Backoff;
use crate::records::audit::batch::Batch;
use crate::records::audit::chain::{self, Digits, Linker};
#[cfg(feature = "compress")]
use crate::records::audit::compression::Compression;
use crate::records::audit::line;
use crate::records::audit::segments::Names;
use crate::records::audit::sync::SyncPolicy;
use crate::records::audit::tail::{self, Fragment, Tail};

/// The topic of the line right behind a torn one that a start has found.
const RECOVERED: &str = "system.audit_recovered";

/// What a user wants of the log's files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    /// The most bytes of a file, and how many rotated ones are kept.
    pub(crate) rotate: Option<(u64, usize)>,
    pub(crate) rotate_every: Option<Duration>,
    #[cfg_attr(not(feature = "compress"), allow(dead_code, reason = "nothing can be compressed"))]
    pub(crate) compress: bool,
    pub(crate) sync: SyncPolicy,
    pub(crate) chain: bool,
}

impl Plan {
    /// Whether somebody else who appends to the file would break what is asked for.
    fn is_alone(&self) -> bool {
        self.rotate.is_some() || self.rotate_every.is_some() || self.compress || self.chain
    }
}

/// What has gone wrong, and in doing what.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) action: &'static str,
    pub(crate) error: io::Error,
}

/// Lines on their way into the file.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) text: Vec<u8>,
    /// How much of the text the file has.
    taken: usize,
    lines: u64,
    /// Whether the lines are the log's own, and no events.
    own: bool,
}

/// The log's files.
#[derive(Debug)]
pub(crate) struct Log {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) names: Names,
    pub(super) plan: Plan,
    pub(super) clock: Clock,
    pub(super) account: Arc<AuditAccount>,
    /// Tells the log's own lines of this run from those of others.
    run: u64,
    /// The file that is appended to; `None` while it has to be opened.
    pub(super) file: Option<Box<dyn AppendFile>>,
    /// Whether that is a file that can be renamed, and not a device or a pipe.
    pub(super) regular: bool,
    pub(super) size: u64,
    /// How many lines it holds; `None` if nobody has counted those of earlier runs.
    pub(super) lines: Option<u64>,
    /// When it was begun, or opened, and how old it was then, in nanoseconds.
    pub(super) begun: u64,
    pub(super) aged: u64,
    /// Whether it ends in the middle of a line, of which nothing more will come.
    torn: bool,
    /// Whether its last line says that it is the last.
    pub(super) sealed: bool,
    pub(super) out: Outgoing,
    linker: Linker,
    /// Lines that were written since the last sync, and when that was.
    pub(super) unsynced: u64,
    pub(super) synced_at: u64,
    /// Whether the file failed to sync, so that nothing more is to be written to it.
    pub(super) poisoned: bool,
    /// Whether the last sync failed, of this file or of the one before it.
    pub(super) sync_failed: bool,
    pub(super) backoff: Backoff,
    /// When to try again to rotate.
    pub(super) rotate_from: u64,
    #[cfg(feature = "compress")]
    pub(super) compression: Option<Compression>,
    /// What went wrong without keeping lines from being written.
    pub(super) troubles: Vec<Trouble>,
    /// Events whose lines were written, and that nobody has asked about.
    written: u64,
}

impl Log {
    /// Opens the log, after what a killed process has left was cleaned up.
    pub(crate) fn open(
        storage: &Arc<dyn Storage>,
        path: &Path,
        plan: Plan,
        clock: Clock,
        account: Arc<AuditAccount>,
        run: u64,
    ) -> io::Result<Self> {
        let mut log = Self {
            storage: Arc::clone(storage),
            names: Names::of(path),
            clock,
            account,
            run,
            file: None,
            regular: false,
            size: 0,
            lines: None,
            begun: 0,
            aged: 0,
            torn: false,
            sealed: false,
            out: Outgoing::default(),
            linker: Linker::new(None),
            unsynced: 0,
            synced_at: 0,
            poisoned: false,
            sync_failed: false,
            backoff: Backoff::default(),
            rotate_from: 0,
            #[cfg(feature = "compress")]
            compression: None,
            troubles: Vec::new(),
            written: 0,
            plan,
        };
        let fragment = log.recover()?;
        log.clean_up();
        if let Some(fragment) = fragment {
            count::add(&log.account.torn, 1);
            log.say_recovered(&fragment);
        }
        Ok(log)
    }

    /// Opens the active file and finds out how it ends.
    fn recover(&mut self) -> io::Result<Option<Fragment>> {
        self.synced_at = self.clock.now();
        self.reopen()?;
        let path = self.names.active().to_owned();
        let tail = match Tail::of(&*self.storage, &path) {
            Ok(tail) => tail,
            // A file that may be written but not read is appended to all the same, unless a chain has to go on.
            Err(error) if self.plan.chain => return Err(error),
            Err(_) => None,
        };
        if self.plan.chain {
            let last = self.last_hash(tail.as_ref())?;
            self.linker = Linker::new(Some(last.unwrap_or(chain::BEGINNING)));
        }
        let Some(tail) = tail else { return Ok(None) };
        self.sealed = tail.sealed && tail.whole == tail.size;
        self.aged = self.age(&path);
        Ok(tail.fragment(&*self.storage, &path).unwrap_or(None))
    }

    /// Where the chain stands: behind the last line that has a hash, in the active file or in the newest rotated one.
    fn last_hash(&self, tail: Option<&Tail>) -> io::Result<Option<Digits>> {
        if let Some(tail) = tail
            && let Some(hash) = tail::last_hash(&*self.storage, self.names.active(), tail.whole)?
        {
            return Ok(Some(hash));
        }
        let Some(newest) = self.names.list(&*self.storage)?.segments.into_iter().next() else { return Ok(None) };
        if newest.compressed {
            return last_hash_compressed(&*self.storage, &newest.path);
        }
        let whole = Tail::of(&*self.storage, &newest.path)?.map_or(0, |tail| tail.whole);
        tail::last_hash(&*self.storage, &newest.path, whole)
    }

    /// How long ago, in nanoseconds, the first line of a file was written, by the wall clock.
    fn age(&self, path: &Path) -> u64 {
        let mut start = vec![0; 64 * 1024];
        let Some(_) = self.plan.rotate_every else { return 0 };
        let count = self.storage.read_at(path, 0, &mut start).unwrap_or(0);
        let first = start.get(..count).and_then(|text| text.split(|byte| *byte == b'\n').next());
        let record = first.and_then(|line| crate::records::line::Record::from_jsonl(line).ok());
        let Some(seconds) = record.and_then(|record| record.timestamp) else { return 0 };
        let begun = Duration::try_from_secs_f64(seconds).map_or(0, clock::nanos);
        self.clock.wall_nanos().saturating_sub(begun)
    }

    /// Prepares the line that says what a start has found.
    fn say_recovered(&mut self, found: &Fragment) {
        let payload = serde_json::json!({
            "offset": found.offset,
            "bytes": found.bytes,
            "fragment_hash": found.hash,
        });
        self.prepare_own(RECOVERED, payload);
    }

    /// Prepares a line of the log's own. Nothing else is on its way then.
    pub(super) fn prepare_own(&mut self, topic: &str, payload: serde_json::Value) {
        let number = count::read(&self.account.own_lines);
        let id = format!("{:016x}-{topic}-{number}", self.run);
        let mut text = Vec::new();
        line::write_own(&mut text, topic, payload, self.clock.wall_nanos() / 1_000, id);
        count::add(&self.account.own_lines, 1);
        self.linker.append(&mut self.out.text, &text);
        (self.out.lines, self.out.own) = (1, true);
    }

    /// Writes whole lines and takes them out of the batch. After a failure the same call goes on where it stopped.
    pub(crate) fn write(&mut self, batch: &mut Batch) -> Result<(), Trouble> {
        loop {
            self.put_out()?;
            let Some(first) = batch.first() else { return Ok(()) };
            let next = first.len() as u64 + self.linker.growth();
            if self.file.is_none() {
                self.reopen().map_err(|error| Trouble { action: "open", error })?;
            }
            if self.is_rotation_due(next) {
                self.rotate()?;
                continue;
            }
            self.fill(batch);
        }
    }

    /// Takes as many lines as the file has room for, and one at least.
    fn fill(&mut self, batch: &mut Batch) {
        // What cannot be put aside, or not now, takes all there is.
        let limit = self.plan.rotate.filter(|_| self.regular && self.rotate_from == 0);
        let most = limit.map_or(u64::MAX, |(bytes, _)| bytes.saturating_sub(self.size));
        let first = batch.first().map_or(0, <[u8]>::len) as u64;
        if self.size == 0 {
            (self.begun, self.aged) = (self.clock.now(), 0);
        }
        self.sealed = false;
        self.out.own = false;
        #[cfg(feature = "blake3")]
        if self.linker.is_on() {
            while let Some(line) = batch.first() {
                let next = (self.out.text.len() + line.len()) as u64 + self.linker.growth();
                if self.out.lines > 0 && next > most {
                    break;
                }
                self.linker.append(&mut self.out.text, line);
                batch.take_first();
                self.out.lines += 1;
            }
            return;
        }
        let (text, lines) = batch.take(most.max(first));
        self.out.text.extend_from_slice(text);
        self.out.lines = lines as u64;
    }

    /// Writes what is on its way. What comes back is left as it is, to be gone on with.
    pub(super) fn put_out(&mut self) -> Result<(), Trouble> {
        if self.out.text.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            self.reopen().map_err(|error| Trouble { action: "open", error })?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.torn {
            if let (0, Err(error)) = append_all(&mut **file, b"\n") {
                return Err(self.failed(error));
            }
            (self.torn, self.size) = (false, self.size + 1);
            self.lines = self.lines.map(|lines| lines + 1);
        }
        let (count, result) = append_all(&mut **file, self.out.text.get(self.out.taken..).unwrap_or_default());
        self.out.taken += count;
        self.size += count as u64;
        if let Err(error) = result {
            return Err(self.failed(error));
        }
        match file.standing() {
            Standing::InPlace => {}
            // Somebody has moved it aside, and these lines with it.
            Standing::Moved => self.file = None,
            Standing::Gone => {
                self.file = None;
                self.out.taken = 0;
                let error = io::Error::new(io::ErrorKind::NotFound, "the file was removed");
                return Err(Trouble { action: "write", error });
            }
        }
        self.settle(self.out.lines, self.out.text.len());
        self.out.text.clear();
        (self.out.taken, self.out.lines) = (0, 0);
        Ok(())
    }

    /// A write that failed: finds out whether there is any use in going on with the same file.
    #[cold]
    fn failed(&mut self, error: io::Error) -> Trouble {
        match self.file.as_mut().map(|file| file.standing()) {
            // The rest of the line that was cut off goes behind what there is of it.
            None | Some(Standing::InPlace) => self.settle_whole_lines(),
            Some(Standing::Gone) => (self.file, self.out.taken) = (None, 0),
            Some(Standing::Moved) => {
                self.settle_whole_lines();
                (self.file, self.out.taken) = (None, 0);
            }
        }
        Trouble { action: "write", error }
    }

    /// Counts the lines that the file has taken whole, and forgets them.
    fn settle_whole_lines(&mut self) {
        let taken = self.out.text.get(..self.out.taken).unwrap_or_default();
        let whole = taken.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines = taken.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.settle(lines, whole);
        self.out.text.drain(..whole);
        self.out.taken -= whole;
        self.out.lines -= lines;
    }

    /// Counts lines that are in the file.
    fn settle(&mut self, lines: u64, bytes: usize) {
        self.lines = self.lines.map(|before| before + lines);
        self.unsynced += lines;
        count::add(&self.account.bytes, bytes as u64);
        // Relaxed: only this thread writes it.
        self.account.file_bytes.store(self.size, Ordering::Relaxed);
        if !self.out.own {
            self.written += lines;
            count::add(&self.account.lines, lines);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.names.active()
    }

    /// Whether nothing is left over from a failure.
    pub(crate) fn is_well(&self) -> bool {
        self.out.text.is_empty() && self.file.is_some() && !self.sync_failed && self.rotate_from == 0
    }

    /// How many events' lines wait here to be written.
    pub(crate) fn lines_on_their_way(&self) -> u64 {
        if self.out.own { 0 } else { self.out.lines }
    }

    /// How many events' lines were written since the last call.
    pub(crate) fn take_written(&mut self) -> u64 {
        std::mem::take(&mut self.written)
    }

    /// What went wrong since the last call without keeping lines from being written.
    pub(crate) fn take_trouble(&mut self) -> Option<Trouble> {
        self.troubles.pop()
    }

    /// Gives up what is on its way; how many events lose their lines by that.
    pub(crate) fn give_up(&mut self) -> u64 {
        self.settle_whole_lines();
        let left = std::mem::take(&mut self.out.lines);
        self.out.text.clear();
        self.out.taken = 0;
        // What is left of a line at the file's end is ended before another begins.
        self.file = None;
        if self.out.own { 0 } else { left }
    }

    /// Lets go of the file: another bus may have it.
    pub(crate) fn close(&mut self) {
        self.file = None;
    }

    /// Opens the active file, which is made if it is not there.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        // If it is the same file, it must not be in its own way.
        self.file = None;
        let (file, torn) = self.storage.open_append(self.names.active())?;
        if !file.claim(self.plan.is_alone()) {
            let why = "another bus writes to it, and one of the two rotates, packs or chains it";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        let size = self.storage.size(self.names.active()).unwrap_or(None);
        (self.file, self.torn) = (Some(file), torn);
        (self.regular, self.size) = (size.is_some(), size.unwrap_or(0));
        self.lines = (self.size == 0).then_some(0);
        (self.begun, self.aged) = (self.clock.now(), 0);
        (self.sealed, self.poisoned, self.unsynced) = (false, false, 0);
        // Relaxed: only this thread writes it.
        self.account.file_bytes.store(self.size, Ordering::Relaxed);
        Ok(())
    }

    /// Removes all that is in the log, rotated files included, and begins anew.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        #[cfg(feature = "compress")]
        if let Some(compression) = self.compression.take() {
            compression.give_up(&*self.storage);
        }
        let listing = self.names.list(&*self.storage)?;
        // The oldest first: what a killed process leaves is the end of the log, and no piece from its middle.
        for path in listing.leftovers.iter().chain(listing.segments.iter().rev().map(|segment| &segment.path)) {
            self.storage.remove(path)?;
        }
        self.file = None;
        if self.regular {
            self.storage.remove(self.names.active())?;
        }
        self.linker = Linker::new(self.plan.chain.then_some(chain::BEGINNING));
        self.reopen()
    }
}

/// The last hash in a compressed file.
#[cfg(feature = "compress")]
fn last_hash_compressed(storage: &dyn Storage, path: &Path) -> io::Result<Option<Digits>> {
    use std::io::BufRead as _;

    let mut lines = io::BufReader::new(zstd::stream::read::Decoder::new(storage.open_read(path)?)?);
    let (mut line, mut last) = (Vec::new(), None);
    while lines.read_until(b'\n', &mut line)? > 0 {
        last = chain::split(&line).map(|(_, digits)| *digits).or(last);
        line.clear();
    }
    Ok(last)
}

#[cfg(not(feature = "compress"))]
fn last_hash_compressed(_: &dyn Storage, path: &Path) -> io::Result<Option<Digits>> {
    let what = format!("the chain cannot go on: {path:?} is compressed, and the feature `compress` is off");
    Err(io::Error::new(io::ErrorKind::Unsupported, what))
}
