//! The thread that writes the durable log.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use nervebus_core::Reason;
use nervebus_core::ring::PopError;

use super::chunks::{Chunk, Chunks};
use super::core::Core;
use super::line;
use crate::context;
use crate::delivery::count;
use crate::delivery::dead_letters::Obituary;
use crate::delivery::directory::TopicState;
use crate::delivery::engine::{Engine, LOG_ERROR, LOG_OVERRUN};
use crate::delivery::envelope::Envelope;
use crate::delivery::failure::drop_quietly;
use crate::delivery::idle::rest;
use crate::delivery::lane::Queue;
use crate::delivery::log_tap::{Commit, Level};
use crate::delivery::worker::Ending;
use crate::event::OwnedEvent;
use crate::platform::log_store::Numbered;

/// A batch is written when it has this many lines or bytes, or when nothing more waits.
const BATCH_LINES: usize = 1_024;
const BATCH_BYTES: usize = 1 << 20;

/// How long the first and the longest pause is between attempts to open a store again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How the marks of chunks begin.
const CHUNK: &[u8] = b"k/";

/// Writes a bus's durable log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    engine: Arc<Engine>,
    core: Arc<Core>,
    queue: Arc<Queue>,
    chunks: Chunks,
    topics: Vec<Option<Arc<TopicState>>>,
    /// The position of the next line.
    next: u64,
    /// Whether there are lines that no sync has followed.
    unsynced: bool,
    /// Whether the store has failed and is to be opened again, from when on, and the pause after that.
    broken: bool,
    not_before: u64,
    pause: Duration,
}

/// Lines that are ready to be written.
#[derive(Debug, Default)]
struct Batch {
    lines: Vec<Numbered>,
    bytes: usize,
    waiting: Vec<(u64, Arc<Commit>)>,
    /// Whether somebody waits for a sync.
    sync: bool,
}

/// Tells everybody who waits still that the thread has ended, however it did.
struct Leaving<'a>(&'a Core);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.tap.abandon();
    }
}

impl LogWriter {
    /// A writer for a store that has just been opened.
    pub(crate) fn new(engine: Arc<Engine>, core: Arc<Core>) -> io::Result<Self> {
        let queue = Arc::clone(&core.tap.queue);
        let (next, chunks) = (core.next(), restore_chunks(&core, engine.clock.wall_nanos())?);
        core.account.held_bytes.store(chunks.bytes(), Ordering::Relaxed);
        let (topics, pause) = (Vec::new(), FIRST_PAUSE);
        Ok(Self { engine, core, queue, chunks, topics, next, unsynced: false, broken: false, not_before: 0, pause })
    }

    /// Runs until the lane is closed and drained.
    pub(crate) fn run(mut self) {
        context::become_worker(self.engine.bus, self.queue.id);
        let (queue, core) = (Arc::clone(&self.queue), Arc::clone(&self.core));
        let _ending = Ending(&queue);
        let _leaving = Leaving(&core);
        let (mut batch, mut idle) = (Batch::default(), 0);
        loop {
            match queue.ring.pop() {
                Ok(envelope) => {
                    idle = 0;
                    queue.after_pop();
                    self.add(&mut batch, envelope);
                    if batch.lines.len() >= BATCH_LINES || batch.bytes >= BATCH_BYTES {
                        self.commit(&mut batch);
                    }
                    continue;
                }
                Err(PopError::Closed) => break,
                Err(PopError::Empty) => {}
            }
            self.commit(&mut batch);
            if core.take_chores() {
                self.do_chores();
            }
            idle = rest(&queue, idle);
        }
        self.commit(&mut batch);
        self.do_chores();
        self.core.close();
    }

    fn add(&mut self, batch: &mut Batch, envelope: Envelope) {
        let index = envelope.topic as usize;
        if index >= self.topics.len() {
            self.topics.resize(index + 1, None);
        }
        let Some(place) = self.topics.get_mut(index) else { return };
        if place.is_none() {
            *place = self.engine.directory.by_id(envelope.topic);
        }
        let Some(topic) = place else { return };
        let commit = self.core.tap.take(envelope.head.seq);
        let written = line::write(&envelope.event(&topic.name, self.engine.bus));
        let line = match written {
            Ok(line) => line,
            Err(error) => {
                let topic = Arc::clone(topic);
                return self.cannot_serialize(&topic.name, envelope, commit, error);
            }
        };
        drop_quietly(envelope);
        let position = self.next + batch.lines.len() as u64;
        batch.bytes += line.len();
        batch.lines.push((position, line));
        if let Some(commit) = commit {
            batch.sync |= commit.level() == Level::Synced;
            batch.waiting.push((position, commit));
        }
    }

    /// An event whose payload has no JSON is not in the log, which could not give it again; it is a dead letter.
    #[cold]
    fn cannot_serialize(&self, topic: &str, envelope: Envelope, commit: Option<Arc<Commit>>, error: String) {
        let event = OwnedEvent(Arc::new(envelope.keep(topic, self.engine.bus)));
        let (reason, handler) = (Reason::SerializationError, Arc::from(&*self.queue.name));
        let said = format!("its payload has no JSON: {error}");
        self.engine
            .dead_letters
            .push(event, Obituary { reason, subscription: None, handler, pattern: None, error, attempts: 1 });
        count::add(&self.core.account.lost, 1);
        count::add_alone(&self.queue.outcomes.failed, 1);
        count::add_alone(&self.queue.outcomes.finished, 1);
        if let Some(commit) = commit {
            commit.settle(Err(said.into()));
        }
    }

    /// Writes the batch, and syncs if somebody waits for that; tells everybody who waits.
    fn commit(&mut self, batch: &mut Batch) {
        if batch.lines.is_empty() {
            return;
        }
        let Batch { lines, waiting, sync, .. } = std::mem::take(batch);
        let events = lines.len() as u64;
        let result = self.append(&lines).and_then(|()| {
            if !sync {
                return Ok(());
            }
            // They need not wait for the sync.
            waiting.iter().filter(|(_, commit)| commit.level() < Level::Synced).for_each(|(position, commit)| {
                commit.settle(Ok(*position));
            });
            self.sync()
        });
        // Positions are not given twice, whatever became of these.
        self.next += events;
        let queue = Arc::clone(&self.queue);
        let said = match result {
            Ok(()) => {
                self.note_lines(&lines);
                count::add_alone(&queue.outcomes.handled, events);
                self.core.account.failing.store(false, Ordering::Relaxed);
                self.core.advance(self.next);
                None
            }
            Err(error) => {
                count::add(&self.core.account.lost, events);
                count::add_alone(&queue.outcomes.failed, events);
                self.note_error(&error);
                Some(Arc::from(error.to_string()))
            }
        };
        count::add_alone(&queue.outcomes.finished, events);
        // Last, so that whoever was told finds the books as they are.
        for (position, commit) in waiting {
            commit.settle(said.as_ref().map_or(Ok(position), |said: &Arc<str>| Err(Arc::clone(said))));
        }
    }

    fn append(&mut self, lines: &[Numbered]) -> io::Result<()> {
        self.mend()?;
        let result = self.core.with_store(|store| store.append(lines));
        if result.is_err() {
            count::add(&self.core.account.write_errors, 1);
            self.broken = true;
        } else {
            self.unsynced = true;
            count::add(&self.core.account.batches, 1);
        }
        result
    }

    fn sync(&mut self) -> io::Result<()> {
        let result = self.core.with_store(|store| store.sync());
        if result.is_err() {
            count::add(&self.core.account.sync_errors, 1);
            self.broken = true;
        } else {
            self.unsynced = false;
            count::add(&self.core.account.syncs, 1);
        }
        result
    }

    /// Opens a store again that has failed, unless that was tried just now.
    fn mend(&mut self) -> io::Result<()> {
        if !self.broken {
            return Ok(());
        }
        let now = self.engine.clock.now();
        if now < self.not_before {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "the log has failed, and is opened again later"));
        }
        if let Err(error) = self.core.reopen() {
            self.not_before = self.engine.clock.after(self.pause);
            self.pause = LONGEST_PAUSE.min(self.pause * 2);
            return Err(error);
        }
        (self.broken, self.not_before, self.pause) = (false, 0, FIRST_PAUSE);
        // What the failed batch left in there may be read now as anything else.
        let found = self.core.with_store(|store| store.bounds())?;
        let behind = found.map_or(1, |(_, last)| last + 1);
        self.next = self.next.max(behind);
        self.core.advance(behind);
        Ok(())
    }

    fn note_lines(&mut self, lines: &[Numbered]) {
        let now = self.engine.clock.wall_nanos();
        let (mut bytes, mut marks) = (0, Vec::new());
        for (position, line) in lines {
            bytes += line.len() as u64;
            if let Some(full) = self.chunks.add(*position, line.len() as u64, now) {
                marks.push((chunk_key(full.first), Some(full.encode())));
            }
        }
        let account = &self.core.account;
        count::add(&account.lines, lines.len() as u64);
        count::add(&account.bytes, bytes);
        account.held_bytes.store(self.chunks.bytes(), Ordering::Relaxed);
        if !marks.is_empty() {
            // Lost with the process, they are made again from the lines.
            let _ = self.core.with_store(|store| store.set_marks(&marks));
            self.core.want_chores();
        }
    }

    /// Saves checkpoints, syncs what nobody has waited for, and lets go what need not be kept.
    fn do_chores(&mut self) {
        let done = self.mend().and_then(|()| {
            self.core.save().inspect_err(|_| {
                self.broken = true;
                count::add(&self.core.account.write_errors, 1);
            })
        });
        let done = done.and_then(|()| if self.unsynced { self.sync() } else { Ok(()) });
        let done = done.and_then(|()| self.retire());
        if let Err(error) = done {
            self.note_error(&error);
        }
    }

    /// Lets the oldest lines go, as far as the limits say and subscriptions allow.
    fn retire(&mut self) -> io::Result<()> {
        let now = self.engine.clock.wall_nanos();
        while let Some(chunk) = self.chunks.oldest().copied() {
            let (passed, lowest) = self.core.lowest();
            let settings = &self.core.settings;
            let over = |limit: Option<u64>| limit.is_some_and(|limit| self.chunks.bytes() > limit);
            let old =
                settings.keep_for.is_some_and(|time| now.saturating_sub(chunk.newest) > crate::range::nanos(time));
            let handled = !settings.keep_handled && lowest.is_some();
            let wanted = over(settings.keep_bytes) || old || handled;
            let forced = over(settings.hard_limit);
            let may = wanted && passed >= chunk.end;
            if !forced && !may {
                break;
            }
            self.core.begin_at(chunk.end);
            if passed < chunk.end {
                self.overrun(&chunk);
            }
            let dropped = self.core.with_store(|store| {
                store.drop_range(chunk.first, chunk.end)?;
                store.set_marks(&[(chunk_key(chunk.first), None)])
            });
            self.broken |= dropped.is_err();
            dropped?;
            self.chunks.pop();
            count::add(&self.core.account.retired, chunk.end - chunk.first);
            self.core.account.held_bytes.store(self.chunks.bytes(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Says that lines go which a subscription has not come to.
    #[cold]
    fn overrun(&self, chunk: &Chunk) {
        let missed = self.core.skip_to(chunk.end);
        let payload = serde_json::json!({
            "path": self.core.settings.path.display().to_string(),
            "first": chunk.first,
            "end": chunk.end,
            "missed": missed,
        });
        self.engine.emit_system(LOG_OVERRUN, payload, None);
    }

    /// Says of a failure, once until writing works again.
    #[cold]
    fn note_error(&self, error: &io::Error) {
        let account = &self.core.account;
        *account.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        // Relaxed: only this thread writes it.
        if account.failing.swap(true, Ordering::Relaxed) {
            return;
        }
        let payload = serde_json::json!({
            "path": self.core.settings.path.display().to_string(),
            "error": error.to_string(),
            "events_lost": count::read(&account.lost),
        });
        self.engine.emit_system(LOG_ERROR, payload, None);
    }
}

fn chunk_key(first: u64) -> Vec<u8> {
    [CHUNK, &first.to_be_bytes()].concat()
}

/// The chunks of a store that was written earlier: those that were closed, and the rest from the lines themselves.
fn restore_chunks(core: &Core, now: u64) -> io::Result<Chunks> {
    let mut chunks = Chunks::default();
    let mut at = core.first();
    let mut closed = Vec::new();
    for (key, value) in core.with_store(|store| store.marks())? {
        let first = key.strip_prefix(CHUNK).and_then(|rest| Some(u64::from_be_bytes(rest.try_into().ok()?)));
        closed.extend(first.and_then(|first| Chunk::decode(first, &value)));
    }
    closed.sort_by_key(|chunk| chunk.first);
    for chunk in closed.into_iter().filter(|chunk| chunk.end > core.first()) {
        // Beyond the last line there is none, whatever a mark says.
        if chunk.first < at || chunk.end > core.next() {
            break;
        }
        read_chunks(core, &mut chunks, at, chunk.first, now)?;
        chunks.restore(chunk);
        at = chunk.end;
    }
    read_chunks(core, &mut chunks, at, core.next(), now)?;
    Ok(chunks)
}

fn read_chunks(core: &Core, chunks: &mut Chunks, from: u64, below: u64, now: u64) -> io::Result<()> {
    let mut at = from;
    while at < below {
        let lines = core.with_store(|store| store.read(at, below, BATCH_LINES, BATCH_BYTES))?;
        let Some((last, _)) = lines.last() else { return Ok(()) };
        at = last + 1;
        for (position, line) in &lines {
            chunks.add(*position, line.len() as u64, now);
        }
    }
    Ok(())
}
