//! The thread that emits what is in an outbox.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::params;
use serde::Serialize;
use serde_json::Value;

use super::error::OutboxError;
use super::{Outbox, Waiting};
use crate::bus::Bus;
use crate::context::baggage::Baggage;
use crate::context::trace::TraceContext;
use crate::emission::Emission;
use crate::error::EmitError;
use crate::platform::clock::{Clock, nanos};
use crate::platform::threads;
use crate::records::audit::backoff::Backoff;
use crate::weak_bus::WeakBus;

/// How often rows that were sent are looked through for those that may go.
const CLEAN_EVERY: Duration = Duration::from_secs(60);

/// The state of an [`OutboxRelay`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OutboxStats {
    /// Events that the bus has accepted.
    pub sent: u64,
    /// Of those, events that the bus's window for duplicates has taken out.
    pub duplicates: u64,
    /// Events that were set aside.
    pub refused: u64,
    /// Rows that were removed when their time had passed.
    pub removed: u64,
    /// How often it had to wait because the bus or the database refused.
    pub failures: u64,
    /// What the last of those said.
    pub last_error: Option<String>,
    /// Whether the thread has ended: it was stopped, or the bus is closed.
    pub ended: bool,
}

/// An outbox at work. Dropping it has the thread end when it has marked what it has emitted.
#[derive(Debug)]
pub struct OutboxRelay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stats: OutboxStats,
    woken: bool,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.woken.notify_all();
    }

    /// Waits for so long, or until it is stopped; until it is woken, unless something has `failed`.
    fn rest(&self, clock: &Clock, time: Duration, failed: bool) {
        let wait = clock.wait(Some(clock.after(time)));
        let mut state = self.lock();
        while !state.stopped && (failed || !state.woken) && !wait.is_over() {
            state = wait.sleep(&self.woken, state, Duration::MAX);
        }
        state.woken = false;
    }
}

impl OutboxRelay {
    /// Says that there is something to emit: after a commit.
    pub fn wake(&self) {
        self.shared.lock().woken = true;
        self.shared.woken.notify_all();
    }

    /// What it has done so far.
    pub fn stats(&self) -> OutboxStats {
        self.shared.lock().stats.clone()
    }

    /// Ends it, and waits until what it has emitted is marked. What was done.
    pub fn stop(mut self) -> OutboxStats {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // It has no panic to tell of: handlers' panics end in the bus.
            let _ = thread.join();
        }
        self.stats()
    }
}

impl Drop for OutboxRelay {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

pub(super) fn start(outbox: Outbox, bus: &Bus) -> Result<OutboxRelay, OutboxError> {
    let shared = Arc::new(Shared::default());
    let clock = bus.engine().clock.clone();
    let worker = Worker {
        outbox,
        bus: bus.downgrade(),
        clean_at: clock.now(),
        clock,
        shared: Arc::clone(&shared),
        unmarked: Vec::new(),
    };
    let thread = threads::spawn("nervebus-outbox".into(), || worker.run()).map_err(OutboxError::Thread)?;
    Ok(OutboxRelay { shared, thread: Some(thread) })
}

struct Worker {
    outbox: Outbox,
    bus: WeakBus,
    clock: Clock,
    shared: Arc<Shared>,
    /// What was emitted or set aside and is not marked yet, with why it was refused.
    unmarked: Vec<(i64, Option<String>)>,
    clean_at: u64,
}

/// Says that the thread has ended, however it did.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.lock().stats.ended = true;
    }
}

/// How a look at the outbox went.
enum Pass {
    /// There may be more.
    Full,
    Done,
    /// Something is tried again later.
    Failed(String),
    /// The bus is closed.
    Closed,
}

/// What became of an emit.
enum Sent {
    Accepted {
        duplicate: bool,
    },
    /// For good.
    Refused(String),
    /// For now.
    NotYet(String),
    Closed,
}

impl Worker {
    fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.shared));
        let mut backoff = Backoff::default();
        while !self.shared.lock().stopped {
            match self.pass() {
                Ok(Pass::Full) => backoff = Backoff::default(),
                Ok(Pass::Done) => {
                    backoff = Backoff::default();
                    self.shared.rest(&self.clock, self.outbox.every, false);
                }
                Ok(Pass::Failed(error)) => self.fail(error, backoff.next()),
                Ok(Pass::Closed) => break,
                Err(error) => self.fail(error.to_string(), backoff.next()),
            }
        }
        // Else they are emitted again by the next one.
        let _ = self.mark();
    }

    fn fail(&self, error: String, wait: Duration) {
        let mut state = self.shared.lock();
        state.stats.failures += 1;
        state.stats.last_error = Some(error);
        drop(state);
        self.shared.rest(&self.clock, wait, true);
    }

    fn pass(&mut self) -> rusqlite::Result<Pass> {
        let Some(bus) = self.bus.upgrade().filter(|bus| !bus.engine().gate.is_closed()) else {
            return Ok(Pass::Closed);
        };
        // What is not marked is not emitted again: first the mark, then the look.
        self.mark()?;
        self.clean()?;
        let waiting = self.waiting()?;
        let is_full = waiting.len() as u64 == u64::from(self.outbox.batch);
        let mut pass = if is_full { Pass::Full } else { Pass::Done };
        for row in waiting {
            if self.shared.lock().stopped {
                break;
            }
            let seq = row.seq;
            let sent = send(&bus, row);
            let mut state = self.shared.lock();
            match sent {
                Sent::Accepted { duplicate } => {
                    self.unmarked.push((seq, None));
                    state.stats.sent += 1;
                    state.stats.duplicates += u64::from(duplicate);
                }
                Sent::Refused(rule) => {
                    self.unmarked.push((seq, Some(rule)));
                    state.stats.refused += 1;
                }
                Sent::NotYet(error) => {
                    pass = Pass::Failed(error);
                    break;
                }
                Sent::Closed => {
                    pass = Pass::Closed;
                    break;
                }
            }
        }
        self.mark()?;
        Ok(pass)
    }

    fn waiting(&self) -> rusqlite::Result<Vec<Waiting>> {
        let mut select = self.outbox.connection.prepare(Waiting::SELECT)?;
        select.query_map([self.outbox.batch], Waiting::read)?.collect()
    }

    /// Marks what was emitted or set aside, all of it or nothing.
    fn mark(&mut self) -> rusqlite::Result<()> {
        if self.unmarked.is_empty() {
            return Ok(());
        }
        let now = self.clock.wall_seconds();
        let transaction = self.outbox.connection.transaction()?;
        {
            let mut sent = transaction.prepare("UPDATE nervebus_outbox SET sent_at = ?2 WHERE seq = ?1")?;
            let mut refused = transaction.prepare("UPDATE nervebus_outbox SET refused = ?2 WHERE seq = ?1")?;
            for (seq, why) in &self.unmarked {
                match why {
                    None => sent.execute(params![seq, now])?,
                    Some(why) => refused.execute(params![seq, why])?,
                };
            }
        }
        transaction.commit()?;
        self.unmarked.clear();
        Ok(())
    }

    /// Removes what was sent long enough ago, now and then.
    fn clean(&mut self) -> rusqlite::Result<()> {
        let now = self.clock.now();
        if now < self.clean_at {
            return Ok(());
        }
        let before = self.clock.wall_seconds() - self.outbox.keep.as_secs_f64();
        let delete = "DELETE FROM nervebus_outbox WHERE sent_at <= ?1";
        let removed = self.outbox.connection.execute(delete, [before])?;
        self.shared.lock().stats.removed += removed as u64;
        self.clean_at = now.saturating_add(nanos(CLEAN_EVERY.min(self.outbox.keep)));
        Ok(())
    }
}

/// Emits a row, on a durable topic so that the log has it.
fn send(bus: &Bus, row: Waiting) -> Sent {
    let payload = match row.payload {
        Ok(payload) => payload,
        Err(error) => return Sent::Refused(error),
    };
    let mut emission = bus.event(&row.topic, payload);
    emission = emission.event_id(&*row.id).idempotency_key(&*row.id).timestamp(row.recorded_at);
    if let Some(key) = row.key {
        emission = emission.key(&*key);
    }
    if let Some(source) = row.source {
        emission = emission.source(source);
    }
    if let Some(correlation) = row.correlation {
        emission = emission.correlation_id(correlation);
    }
    if let Some(cause) = row.causation {
        emission = emission.causation_id(cause);
    }
    if let Some(version) = row.schema_version {
        emission = emission.schema_version(version);
    }
    if let Some(trace) = row.traceparent.as_deref().and_then(TraceContext::parse) {
        let trace = row.tracestate.iter().fold(trace, |trace, state| trace.with_state(state));
        emission = emission.trace_context(trace);
    }
    if let Some(baggage) = row.baggage.as_deref().and_then(Baggage::parse) {
        emission = emission.baggage(baggage);
    }
    emit(bus, &row.topic, emission)
}

#[cfg(feature = "durable")]
fn emit(bus: &Bus, topic: &str, emission: Emission<'_, Value>) -> Sent {
    use crate::durable_emission::DurableError;

    let engine = bus.engine();
    let Some(log) = engine.log.as_ref().filter(|_| engine.directory.is_logged(topic)) else {
        return plainly(emission);
    };
    match emission.durable(log.level).emit() {
        Ok(_) => Sent::Accepted { duplicate: false },
        Err(DurableError::Duplicate { .. }) => Sent::Accepted { duplicate: true },
        Err(DurableError::Emit(error)) => refusal(&error),
        Err(error) => Sent::NotYet(error.to_string()),
    }
}

#[cfg(not(feature = "durable"))]
fn emit(_: &Bus, _: &str, emission: Emission<'_, Value>) -> Sent {
    plainly(emission)
}

fn plainly(emission: Emission<'_, Value>) -> Sent {
    match emission.emit() {
        Ok(receipt) => Sent::Accepted { duplicate: receipt.is_duplicate() },
        Err(error) => refusal(&error),
    }
}

/// Whether a refusal passes. What is refused for what it is would keep those behind it waiting for ever.
fn refusal(error: &EmitError<Value>) -> Sent {
    match error {
        EmitError::Closed { .. } => Sent::Closed,
        EmitError::Full { .. }
        | EmitError::AuditFailing { .. }
        | EmitError::TooManyTopics { .. }
        | EmitError::RateLimited { .. }
        | EmitError::Storm { .. }
        | EmitError::NoHandler { .. } => Sent::NotYet(error.to_string()),
        _ => Sent::Refused(error.to_string()),
    }
}
