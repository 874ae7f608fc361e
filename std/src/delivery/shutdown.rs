//! Shutting down: nothing more in, everything inside out, and an account of what was left.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use nervebus_core::Reason;
use serde::Serialize;

use crate::context;
use crate::delivery::count;
use crate::delivery::dead_letters::Obituary;
use crate::delivery::engine::Engine;
use crate::delivery::envelope::Envelope;
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::Queue;
use crate::delivery::lane::flight::{Cargo, Waiting};
use crate::delivery::ledger::Ledger;
use crate::delivery::waking::Promise;
use crate::delivery::watch::{Deferred, Work};
use crate::event::OwnedEvent;
use crate::platform::pool;
use crate::platform::threads::{self, poll_until};

/// What a shutdown left of one lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LaneReport {
    /// The lane's name.
    pub name: String,
    /// Deliveries that succeeded, in the bus's whole life.
    pub handled: u64,
    /// Deliveries that failed, in the bus's whole life.
    pub failed: u64,
    /// Deliveries whose handler did not return in time, in the bus's whole life.
    pub timed_out: u64,
    /// Deliveries that came too late, in the bus's whole life.
    pub expired: u64,
    /// Events that nobody got to by the deadline, and retries that were not due by then. They are dead letters now, except
    /// in the lanes of the audit log and the durable log.
    pub left: u64,
    /// Whether the worker was still busy when the deadline passed. It is left to itself: its handler cannot be stopped.
    pub abandoned: bool,
    /// The handlers that have not returned in time, and not since: each still has a thread, which is left to it.
    pub stuck: Vec<String>,
}

/// The written account of a shutdown; see [`Bus::shutdown`](crate::Bus::shutdown).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Whether nothing was left waiting when the deadline passed: all handlers were called, and the audit log was written
    /// and synced. Lines that the log's file would not take are in the audit lane's `failed`.
    pub drained: bool,
    /// Deliveries that succeeded, in the bus's whole life.
    pub handled: u64,
    /// Deliveries that failed, in the bus's whole life.
    pub failed: u64,
    /// Deliveries whose handler did not return in time, in the bus's whole life.
    pub timed_out: u64,
    /// Deliveries that came too late, in the bus's whole life.
    pub expired: u64,
    /// Events that nobody got to and retries that were not due, over all lanes but audit.
    pub left: u64,
    /// Lane by lane; `audit` and `durable` last if there are such logs.
    pub lanes: Vec<LaneReport>,
    /// The books at the end.
    pub ledger: Ledger,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.drained { "drained" } else { "not drained" };
        write!(f, "{how}: {} handled, {} failed, {} left", self.handled, self.failed, self.left)?;
        if self.timed_out + self.expired > 0 {
            write!(f, ", {} timed out, {} expired", self.timed_out, self.expired)?;
        }
        for lane in self.lanes.iter().filter(|lane| lane.left > 0 || lane.abandoned) {
            let busy = if lane.abandoned { ", its worker still busy" } else { "" };
            write!(f, "; lane {:?}: {} left{busy}", lane.name, lane.left)?;
        }
        for lane in self.lanes.iter().filter(|lane| !lane.stuck.is_empty()) {
            write!(f, "; lane {:?}: handlers {:?} have not returned", lane.name, lane.stuck)?;
        }
        Ok(())
    }
}

/// The account of a shutdown that goes on by itself; see [`Bus::shutdown_async`](crate::Bus::shutdown_async).
///
/// It works on every executor. Dropping it stops nothing.
#[derive(Debug)]
#[must_use = "the shutdown goes on without it, but only this says how it ended"]
pub struct ShutdownAsync {
    report: Arc<Promise<ShutdownReport>>,
}

impl Future for ShutdownAsync {
    type Output = ShutdownReport;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ShutdownReport> {
        self.report.poll(context.waker())
    }
}

impl Engine {
    /// Lets no more events and subscriptions in. Harmless when repeated.
    pub(crate) fn close(&self) {
        self.directory.close();
        self.gate.close();
        // Futures wait before the gate; they hear now that there is nothing to wait for.
        self.queues.iter().chain(self.taps()).for_each(|queue| queue.room.wake_line());
    }

    /// Shuts down by the deadline. Inside a handler it leaves that to a thread of its own, because a handler cannot wait
    /// for itself, and reports at once.
    pub(crate) fn shutdown(self: &Arc<Self>, deadline: Duration) -> ShutdownReport {
        self.shut_down(deadline, !context::is_inside(self.bus));
        self.shutdown_report()
    }

    /// Shuts down by the deadline, for whoever drops the last handle: as [`shutdown`](Self::shutdown), and on a thread of a
    /// pool it does not wait either, for the lanes may be that thread's to serve.
    pub(crate) fn shutdown_at_last(self: &Arc<Self>, deadline: Duration) {
        self.shut_down(deadline, !context::is_inside(self.bus) && !pool::is_in_a_crew());
    }

    fn shut_down(self: &Arc<Self>, deadline: Duration, here: bool) {
        self.close();
        if here {
            self.drain(deadline);
        } else if !self.draining.swap(true, Ordering::Relaxed) {
            let engine = Arc::clone(self);
            if threads::spawn("nervebus-shutdown".into(), move || engine.drain(deadline)).is_err() {
                self.close_lanes();
                self.cancelled.give();
                self.ended.give();
            }
        }
    }

    /// Shuts down by the deadline on a thread of its own.
    pub(crate) fn shutdown_async(self: &Arc<Self>, deadline: Duration) -> ShutdownAsync {
        self.close();
        let report = Arc::new(Promise::new());
        if context::is_inside(self.bus) {
            // Leaves it to a thread, and reports at once: whoever awaits this here must not wait for itself.
            report.keep(self.shutdown(deadline));
            return ShutdownAsync { report };
        }
        let (engine, promise) = (Arc::clone(self), Arc::clone(&report));
        if threads::spawn("nervebus-shutdown".into(), move || promise.keep(engine.shutdown(deadline))).is_err() {
            self.close_lanes();
            self.cancelled.give();
            self.ended.give();
            report.keep(self.shutdown_report());
        }
        ShutdownAsync { report }
    }

    /// Where there is no thread to be had, nobody waits; the workers still drain what they have, and end.
    fn close_lanes(&self) {
        if let Some(log) = &self.log {
            log.feeding.stop();
        }
        self.queues.iter().chain(self.taps()).for_each(|queue| queue.close());
        self.timer.close().into_iter().for_each(drop_quietly);
    }

    fn drain(&self, deadline: Duration) {
        let end = self.clock.after(deadline);
        // The files get a share of the deadline that slow handlers cannot eat up.
        let files = self.taps().next().is_some() || self.dead_letters.has_log();
        let handlers_end = if files { self.clock.after(deadline - deadline / 8) } else { end };
        if let Some(log) = &self.log {
            // What durable subscriptions have not been given yet waits in the log for the next run.
            log.feeding.stop();
            log.feeding.ended.wait_until(&self.clock, handlers_end);
        }
        // What is due later than that is not waited for.
        self.queues.iter().for_each(|queue| self.leave(queue, queue.again.end_by(handlers_end)));
        // Emitters that are inside finish what they began; when nobody is, closing the rings cuts nobody short.
        // Handlers may still cause records, on any lane; when nothing is pending anywhere, nothing can.
        let drained = poll_until(&self.clock, handlers_end, || self.gate.is_quiet() && self.is_idle());
        if drained && self.taps().next().is_some() {
            // A log that cannot be written says so on the lanes, which are open for that.
            self.end_taps(end);
            poll_until(&self.clock, end, || self.is_idle());
        }
        self.queues.iter().for_each(|queue| queue.close());
        self.queues.iter().for_each(|queue| self.end(queue, handlers_end));
        self.cancel_futures();
        self.timer.close().into_iter().for_each(drop_quietly);
        self.timer.ended.wait_until(&self.clock, end);
        self.end_taps(end);
        self.dead_letters.flush(&self.clock, end);
        self.ended.give();
    }

    /// Has the audit log and the durable log written out.
    fn end_taps(&self, end: u64) {
        self.taps().for_each(|tap| tap.close());
        self.taps().for_each(|tap| self.end(tap, end));
        if let Some(tap) = &self.tap {
            // A file that does not take its lines keeps them no longer, and they are counted.
            tap.give_up();
            self.wait_a_moment(|| tap.ended.is_open());
        }
    }

    /// Whether a queue is a log's.
    fn is_tap(&self, queue: &Arc<Queue>) -> bool {
        self.taps().any(|tap| Arc::ptr_eq(tap, queue))
    }

    /// Has the futures that async handlers are still at dropped, and gives their workers a moment of real time for it: one
    /// that is in the middle of a poll cannot be stopped.
    fn cancel_futures(&self) {
        if self.cancelled.give() {
            self.wait_a_moment(|| self.queues.iter().all(|queue| queue.ended.is_open()));
        }
    }

    /// Waits a tenth of a second of real time at most.
    fn wait_a_moment(&self, done: impl Fn() -> bool) {
        const LOOKS: u32 = 500;
        const REST: Duration = Duration::from_micros(200);
        let wait = self.clock.wait(None);
        let mut looks = 0..LOOKS;
        while !done() && looks.next().is_some() {
            wait.park(REST);
        }
    }

    /// Whether no lane has anything to do. Events that went from lane to lane while we looked change the number of
    /// those that came in, and make us look again.
    fn is_idle(&self) -> bool {
        let came_in = |queue: &Arc<Queue>| queue.came_in() + queue.again.underway.ever();
        let came_in = || self.inline_again.ever() + self.queues.iter().map(came_in).sum::<u64>();
        let before = came_in();
        let is_idle = |queue: &Arc<Queue>| queue.pending_events() == 0 && queue.again.underway.now() == 0;
        self.queues.iter().all(is_idle) && self.inline_again.now() == 0 && came_in() == before
    }

    /// Waits for a closed lane's worker, and takes what it has not got to by the deadline.
    fn end(&self, queue: &Arc<Queue>, deadline: u64) {
        // Nobody waits for a worker that a lane does not have, if it has nothing to do; nor for a thread of a pool to say so.
        let unmanned = || queue.crew.is_some() || queue.watch.is_vacant();
        let idle = || unmanned() && queue.pending_events() == 0 && queue.again.underway.now() == 0;
        if idle() || queue.ended.wait_until(&self.clock, deadline) {
            return;
        }
        queue.spill.close();
        self.give_up(queue);
        self.leave(queue, queue.again.close());
        while let Some(envelope) = queue.ring.pop().ok().or_else(|| queue.spill.pop()) {
            self.leave_event(queue, envelope);
        }
        // Last: the places that it frees are filled by nobody.
        self.give_up_flight(queue);
    }

    /// Ends an event that no handler has seen.
    fn leave_event(&self, queue: &Arc<Queue>, envelope: Envelope) {
        count::add(&queue.left, 1);
        queue.count_dropped(&envelope);
        count::add(&queue.taken_out, 1);
        let is_tap = self.is_tap(queue);
        if is_tap && let Some(commit) = self.log.as_ref().and_then(|log| log.take(envelope.head.seq)) {
            commit.settle(Err("the bus shut down before it was written".into()));
        }
        if let (false, Some(topic)) = (is_tap, self.directory.by_id(envelope.topic)) {
            self.bury_left(OwnedEvent(Arc::new(envelope.keep(&topic.name, self.bus))), queue);
        }
    }

    /// Takes what waits for a key that is in flight; and, from a lane without a worker, what is in flight.
    fn give_up_flight(&self, queue: &Arc<Queue>) {
        let Some(flight) = &queue.flight else { return };
        for waiting in flight.take_waiting() {
            match waiting {
                Waiting::Event(envelope) => self.leave_event(queue, envelope),
                Waiting::Again(again) => self.leave(queue, vec![again]),
            }
        }
        let mut given_up = Vec::new();
        // Nobody else is the worker, or acts for it, as long as this holds.
        queue.watch.while_vacant(|| {
            // The place of what the worker before is stuck in.
            flight.recover();
            let mut from = 0;
            while let Some(mut flying) = flight.next(&mut from) {
                let cargo = flying.take_cargo();
                if let Some(Cargo::Event(work)) = &cargo {
                    give_up_work(queue, work);
                }
                flight.vacate(&flying);
                given_up.push((flying, cargo));
            }
        });
        for (mut flying, cargo) in given_up {
            self.runtime.within(|| flying.end());
            match cargo {
                Some(Cargo::Event(work)) => {
                    drop_quietly(work.progress().ticket.take());
                    let failures = std::mem::take(&mut work.progress().failures);
                    let event = OwnedEvent(Arc::new(work));
                    self.bury(event.clone(), &queue.name, &failures);
                    drop_quietly(failures);
                    self.bury_left(event, queue);
                }
                Some(Cargo::Again(retried)) => self.leave(queue, vec![retried.again]),
                None => {}
            }
        }
    }

    /// Takes the event that a lane without a worker has not got through.
    fn give_up(&self, queue: &Arc<Queue>) {
        let mut ticket = None;
        let finished = |work: &Work| {
            give_up_work(queue, work);
            ticket = work.progress().ticket.take();
        };
        let given_up = queue.watch.give_up(finished);
        // Outside the locks: it wakes whoever waits, which may be a task of the user's.
        drop_quietly(ticket);
        if let Some(work) = given_up {
            self.bury_left(OwnedEvent(Arc::new(*work)), queue);
        }
    }

    fn bury_left(&self, event: OwnedEvent, queue: &Queue) {
        let error = format!("the bus shut down before lane {:?} got to it", queue.name);
        let (reason, handler) = (Reason::Shutdown, Arc::from(&*queue.name));
        let obituary = Obituary { reason, subscription: None, handler, pattern: None, error, attempts: 0 };
        self.dead_letters.push(event, obituary);
    }

    /// Whether a lane's thread still has something in hand. A worker without an event has nothing; the audit log's still
    /// syncs the file when all lines are written.
    fn is_busy(&self, queue: &Arc<Queue>) -> bool {
        let is_tap = self.is_tap(queue);
        queue.pending_events() > 0 || queue.again.underway.now() > 0 || (is_tap && !queue.ended.is_open())
    }

    fn shutdown_report(&self) -> ShutdownReport {
        let ledger = self.ledger();
        let queues = self.queues.by_lane().chain(self.taps().map(std::slice::from_ref));
        let lanes: Vec<LaneReport> = queues
            .map(|queues| {
                let sum = |of: fn(&Queue) -> &AtomicU64| queues.iter().map(|queue| count::read(of(queue))).sum();
                LaneReport {
                    name: queues.first().map_or_else(String::new, |queue| queue.name.to_string()),
                    handled: sum(|queue| &queue.outcomes.handled),
                    failed: sum(|queue| &queue.outcomes.failed),
                    timed_out: sum(|queue| &queue.outcomes.timed_out),
                    expired: sum(|queue| &queue.outcomes.expired),
                    left: sum(|queue| &queue.left),
                    abandoned: queues.iter().any(|queue| self.is_busy(queue)),
                    stuck: queues.iter().flat_map(|queue| queue.watch.stuck()).collect(),
                }
            })
            .collect();
        let deliveries = ledger.deliveries();
        ShutdownReport {
            drained: ledger.emitting == 0
                && self.inline_again.now() == 0
                && lanes.iter().all(|lane| lane.left == 0 && !lane.abandoned),
            handled: deliveries.handled,
            failed: deliveries.failed,
            timed_out: deliveries.timed_out,
            expired: deliveries.expired,
            left: lanes.iter().take(self.queues.by_lane().count()).map(|lane| lane.left).sum(),
            lanes,
            ledger,
        }
    }
}

/// Writes the account of an event that is given up. For whoever acts for the worker of a lane that has none.
fn give_up_work(queue: &Queue, work: &Work) {
    count::add(&queue.left, 1);
    let ended = work.progress().tally.settle(&queue.outcomes, Deferred::default());
    count::add(&queue.outcomes.dropped, u64::from(work.envelope().expected).saturating_sub(ended));
    count::add(&queue.dropped_events, 1);
    count::add_alone(&queue.outcomes.finished, 1);
}
