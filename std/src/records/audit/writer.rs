//! The thread that writes the audit log.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use nervebus_core::Reason;
use nervebus_core::ring::PopError;

use crate::context;
use crate::delivery::count;
use crate::delivery::dead_letters::Obituary;
use crate::delivery::directory::TopicState;
use crate::delivery::engine::{AUDIT_ERROR, AUDIT_RESUMED, Engine};
use crate::delivery::envelope::Envelope;
use crate::delivery::failure::drop_quietly;
use crate::delivery::idle::rest;
use crate::delivery::lane::Queue;
use crate::delivery::worker::Ending;
use crate::event::OwnedEvent;
use crate::records::audit::account::AuditAccount;
use crate::records::audit::backoff::Backoff;
use crate::records::audit::batch::Batch;
use crate::records::audit::line::{write_line, write_placeholder};
use crate::records::audit::log::{Log, Trouble};
use crate::redact::screen::Screen;

/// A batch is written when it has this many bytes, or when nothing more waits.
const BATCH_BYTES: usize = 64 * 1024;

/// How long lines may gather before the next look, and how many looks in vain there are before the writer sleeps. Until
/// then no emitter has to wake it, which would cost more than the rest of the emit.
const GATHER: Duration = Duration::from_micros(200);
const LOOKS: u32 = 10;

/// More than any other way of resting asks for: then the lane's worker sleeps.
const SLEEP: u32 = u32::MAX / 2;

/// Writes a bus's audit log.
#[derive(Debug)]
pub(crate) struct AuditWriter {
    pub(crate) engine: Arc<Engine>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) account: Arc<AuditAccount>,
    pub(crate) log: Log,
    pub(crate) screen: Screen,
    /// When the timer wakes this thread.
    pub(crate) woken_at: Option<u64>,
    /// When the present episode of failures began.
    pub(crate) failing_since: u64,
}

impl AuditWriter {
    /// Runs until the lane is closed and drained, or given up.
    pub(crate) fn run(mut self) {
        context::become_worker(self.engine.bus, self.queue.id);
        let queue = Arc::clone(&self.queue);
        let _ending = Ending(&queue);
        let (mut batch, mut topics, mut idle) = (Batch::default(), Vec::new(), 0);
        // What was found at the start is said before anything else.
        self.flush(&mut batch);
        loop {
            match self.queue.ring.pop() {
                Ok(envelope) => {
                    idle = 0;
                    self.queue.after_pop();
                    self.add(&mut batch, &mut topics, envelope);
                    if batch.text.len() >= BATCH_BYTES {
                        self.flush(&mut batch);
                    }
                    continue;
                }
                Err(PopError::Closed) => break,
                Err(PopError::Empty) => {}
            }
            if batch.lines() > 0 {
                self.flush(&mut batch);
            } else if !self.upkeep() {
                idle = self.rest(idle);
            }
        }
        self.flush(&mut batch);
        self.end();
    }

    /// Waits for a moment, or until woken when there has been nothing to do for long; returns how idle it is now.
    fn rest(&mut self, idle: u32) -> u32 {
        if idle < LOOKS {
            self.engine.clock.wait(None).park(GATHER);
            return idle + 1;
        }
        self.have_woken();
        rest(&self.queue, SLEEP);
        0
    }

    fn add(&self, batch: &mut Batch, topics: &mut Vec<Option<Arc<TopicState>>>, envelope: Envelope) {
        let index = envelope.topic as usize;
        if index >= topics.len() {
            topics.resize(index + 1, None);
        }
        let Some(place) = topics.get_mut(index) else { return };
        if place.is_none() {
            *place = self.engine.directory.by_id(envelope.topic);
        }
        let Some(topic) = place else { return };
        let event = envelope.event(&topic.name, self.engine.bus);
        match write_line(&mut batch.text, &event, &self.screen) {
            Ok(()) => drop_quietly(envelope),
            Err(error) => self.cannot_serialize(batch, &topic.name, envelope, error),
        }
        batch.end_line();
    }

    /// An event whose payload has no JSON: its line says so, and it is a dead letter.
    #[cold]
    fn cannot_serialize(&self, batch: &mut Batch, topic: &str, envelope: Envelope, error: String) {
        write_placeholder(&mut batch.text, &envelope.event(topic, self.engine.bus), &error, &self.screen);
        let event = OwnedEvent(Arc::new(envelope.keep(topic, self.engine.bus)));
        let handler = Arc::from(&*self.queue.name);
        let reason = Reason::SerializationError;
        self.engine
            .dead_letters
            .push(event, Obituary { reason, subscription: None, handler, pattern: None, error, attempts: 1 });
    }

    /// Writes the batch, however often that has to be tried; only a shutdown's deadline ends it with lines that are lost.
    fn flush(&mut self, batch: &mut Batch) {
        let (mut backoff, mut hurried) = (Backoff::default(), false);
        loop {
            let result = self.log.write(batch);
            self.count_written();
            let Err(trouble) = result else { break };
            self.note(&trouble, batch.lines());
            // Nobody is to wait for a log that is not written.
            self.queue.watch.set_unserved(true);
            if !self.wait(backoff.next(), &mut hurried) {
                self.give_up(batch);
                break;
            }
        }
        batch.clear();
        let result = self.log.sync_if_due();
        self.note_troubles(result);
        self.resume();
        self.clear_if_asked();
    }

    /// Counts events whose lines are in the file.
    fn count_written(&mut self) {
        let written = self.log.take_written();
        count::add_alone(&self.queue.outcomes.handled, written);
        count::add_alone(&self.queue.outcomes.finished, written);
    }

    /// Waits before another attempt; `false` if there is to be none. When the bus begins to shut down, the next one comes
    /// at once.
    fn wait(&self, wait: Duration, hurried: &mut bool) -> bool {
        let due = self.engine.clock.after(wait);
        loop {
            if self.queue.is_given_up() {
                return false;
            }
            if self.engine.clock.now() >= due {
                return true;
            }
            if self.queue.ring.is_closed() && !std::mem::replace(hurried, true) {
                return true;
            }
            self.engine.clock.park_until(Some(due));
        }
    }

    /// Lets go of what has not been written by the deadline of a shutdown.
    #[cold]
    fn give_up(&mut self, batch: &Batch) {
        let lost = self.log.give_up() + batch.lines() as u64;
        self.count_written();
        count::add(&self.account.lost, lost);
        count::add_alone(&self.queue.outcomes.failed, lost);
        count::add_alone(&self.queue.outcomes.finished, lost);
    }

    /// What is to be done while nothing is to be written; whether there is more of it.
    fn upkeep(&mut self) -> bool {
        let result = self.log.sync_if_due();
        self.note_troubles(result);
        let result = self.log.rotate_if_old();
        self.note_troubles(result);
        self.count_written();
        self.clear_if_asked();
        #[cfg(feature = "compress")]
        if self.log.compress_piece() {
            return true;
        }
        false
    }

    /// Has the timer wake this thread when there is something to do although nothing is written.
    fn have_woken(&mut self) {
        let now = self.engine.clock.now();
        let noted = self.woken_at.filter(|noted| *noted > now);
        let Some(due) = self.log.next_due().map(|due| due.max(now + 1)) else { return };
        if noted.is_some_and(|noted| noted <= due) {
            return;
        }
        let wake = Box::new(|engine: &Arc<Engine>| engine.tap.iter().for_each(|tap| tap.unpark_worker()));
        match self.engine.timer.schedule_always(due, wake) {
            Ok(_) => self.woken_at = Some(due),
            // The bus shuts down: the end comes before.
            Err(error) => drop_quietly(error.into_job()),
        }
    }

    /// Removes what was written, if somebody has asked for that and what came before is written.
    fn clear_if_asked(&mut self) {
        let outcomes = &self.queue.outcomes;
        let done = count::read(&outcomes.finished) + count::read(&self.queue.taken_out);
        for request in self.account.take_requests(done) {
            // Whoever has asked may have gone.
            let _ = request.answer.try_send(self.log.clear());
        }
    }

    /// Reports what went wrong, if anything did.
    fn note_troubles(&mut self, result: Result<(), Trouble>) {
        if let Err(trouble) = result {
            self.note(&trouble, 0);
        }
        while let Some(trouble) = self.log.take_trouble() {
            self.note(&trouble, 0);
        }
    }

    /// Counts a failure, and says so once until all works again.
    #[cold]
    fn note(&mut self, trouble: &Trouble, lines: usize) {
        let error = trouble.error.to_string();
        count::add(&self.account.errors, 1);
        *self.account.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        // Relaxed: only this thread writes it.
        if self.account.failing.swap(true, Ordering::Relaxed) {
            return;
        }
        self.failing_since = self.engine.clock.now();
        let payload = serde_json::json!({
            "path": self.log.path().display().to_string(),
            "action": trouble.action,
            "error": error,
            "lines_waiting": lines as u64 + self.log.lines_on_their_way(),
            "lines_lost": count::read(&self.account.lost),
        });
        self.engine.emit_system(AUDIT_ERROR, payload, None);
    }

    /// Says that all works again, if it did not and does.
    fn resume(&mut self) {
        // Relaxed: only this thread writes it.
        if !self.account.failing.load(Ordering::Relaxed) || !self.log.is_well() || self.queue.is_given_up() {
            return;
        }
        self.account.failing.store(false, Ordering::Relaxed);
        self.queue.watch.set_unserved(false);
        let payload = serde_json::json!({
            "path": self.log.path().display().to_string(),
            "failed_for_seconds": self.engine.clock.since(self.failing_since).as_secs_f64(),
            "errors": count::read(&self.account.errors),
            "lines_lost": count::read(&self.account.lost),
        });
        self.engine.emit_system(AUDIT_RESUMED, payload, None);
    }

    /// Ends the log: it is synced, and what was begun is finished while there is time.
    fn end(&mut self) {
        self.account.close_requests();
        #[cfg(feature = "compress")]
        while !self.queue.is_given_up() && self.log.compress_piece() {}
        let result = self.log.sync();
        self.note_troubles(result);
        // Before the bus says that it has ended: whoever waits for that may build another one on the same file.
        self.log.close();
    }
}
