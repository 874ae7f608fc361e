//! Shutting down: nothing more in, everything inside out, and an account of what was left.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nervebus_core::Reason;
use serde::Serialize;

use crate::context;
use crate::delivery::count;
use crate::delivery::dead_letters::Obituary;
use crate::delivery::engine::Engine;
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::Queue;
use crate::delivery::ledger::Ledger;
use crate::event::OwnedEvent;
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
    /// Events that nobody got to by the deadline. They are dead letters now, except in the audit lane.
    pub left: u64,
    /// Whether the worker was still busy when the deadline passed. It is left to itself: its handler cannot be stopped.
    pub abandoned: bool,
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
    /// Events that nobody got to, over all lanes but audit.
    pub left: u64,
    /// Lane by lane; `audit` last if there is one.
    pub lanes: Vec<LaneReport>,
    /// The books at the end.
    pub ledger: Ledger,
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.drained { "drained" } else { "not drained" };
        write!(f, "{how}: {} handled, {} failed, {} left", self.handled, self.failed, self.left)?;
        for lane in self.lanes.iter().filter(|lane| lane.left > 0 || lane.abandoned) {
            let busy = if lane.abandoned { ", its worker still busy" } else { "" };
            write!(f, "; lane {:?}: {} left{busy}", lane.name, lane.left)?;
        }
        Ok(())
    }
}

impl Engine {
    /// Lets no more events and subscriptions in. Harmless when repeated.
    pub(crate) fn close(&self) {
        self.directory.close();
        self.gate.close();
    }

    /// Shuts down by the deadline. Inside a handler it leaves that to a thread of its own, because a handler cannot wait
    /// for itself, and reports at once.
    pub(crate) fn shutdown(self: &Arc<Self>, deadline: Duration) -> ShutdownReport {
        self.close();
        if !context::is_inside(self.bus) {
            self.drain(deadline);
        } else if !self.draining.swap(true, Ordering::Relaxed) {
            let engine = Arc::clone(self);
            if threads::spawn("nervebus-shutdown".into(), move || engine.drain(deadline)).is_err() {
                // Without a thread, nobody waits; the workers still drain what they have, and end.
                self.queues.iter().chain(&self.tap).for_each(|queue| queue.close());
                self.timer.close().into_iter().for_each(drop_quietly);
                self.cancelled.give();
                self.ended.give();
            }
        }
        self.shutdown_report()
    }

    fn drain(&self, deadline: Duration) {
        let end = self.clock.after(deadline);
        // The files get a share of the deadline that slow handlers cannot eat up.
        let files = self.tap.is_some() || self.dead_letters.has_log();
        let handlers_end = if files { self.clock.after(deadline - deadline / 8) } else { end };
        // Emitters that are inside finish what they began; when nobody is, closing the rings cuts nobody short.
        // Handlers may still cause records, on any lane; when nothing is pending anywhere, nothing can.
        let drained = poll_until(&self.clock, handlers_end, || self.gate.is_quiet() && self.is_idle());
        if drained && let Some(tap) = &self.tap {
            // A log that cannot be written says so on the lanes, which are open for that.
            tap.close();
            self.end(tap, end);
            poll_until(&self.clock, end, || self.is_idle());
        }
        self.queues.iter().for_each(|queue| queue.close());
        self.queues.iter().for_each(|queue| self.end(queue, handlers_end));
        self.cancel_futures();
        self.timer.close().into_iter().for_each(drop_quietly);
        self.timer.ended.wait_until(&self.clock, end);
        if let Some(tap) = &self.tap {
            tap.close();
            self.end(tap, end);
        }
        self.dead_letters.flush(&self.clock, end);
        self.ended.give();
    }

    /// Has the futures that async handlers are still at dropped, and gives their workers a moment of real time for it: one
    /// that is in the middle of a poll cannot be stopped.
    fn cancel_futures(&self) {
        const LOOKS: u32 = 500;
        const REST: Duration = Duration::from_micros(200);
        if self.cancelled.give() {
            let wait = self.clock.wait(None);
            let mut looks = 0..LOOKS;
            while !self.queues.iter().all(|queue| queue.ended.is_open()) && looks.next().is_some() {
                wait.park(REST);
            }
        }
    }

    /// Whether no lane has anything to do. Events that went from lane to lane while we looked change the number of
    /// those that came in, and make us look again.
    fn is_idle(&self) -> bool {
        let came_in = || -> u64 { self.queues.iter().map(|queue| queue.came_in()).sum() };
        let before = came_in();
        self.queues.iter().all(|queue| queue.pending_events() == 0) && came_in() == before
    }

    /// Waits for a closed lane's worker, and takes what it has not got to by the deadline.
    fn end(&self, queue: &Arc<Queue>, deadline: u64) {
        if queue.ended.wait_until(&self.clock, deadline) {
            return;
        }
        queue.spill.close();
        while let Some(envelope) = queue.ring.pop().ok().or_else(|| queue.spill.pop()) {
            count::add(&queue.left, 1);
            queue.count_dropped(&envelope);
            count::add(&queue.taken_out, 1);
            let is_tap = self.tap.as_ref().is_some_and(|tap| Arc::ptr_eq(tap, queue));
            if let (false, Some(topic)) = (is_tap, self.directory.by_id(envelope.topic)) {
                let event = OwnedEvent(Arc::new(envelope.keep(&topic.name, self.bus)));
                let error = format!("the bus shut down before lane {:?} got to it", queue.name);
                let handler = Arc::from(&*queue.name);
                let reason = Reason::Shutdown;
                self.dead_letters
                    .push(event, Obituary { reason, subscription: None, handler, pattern: None, error, attempts: 0 });
            }
        }
    }

    /// Whether a lane's thread still has something in hand. A worker without an event has nothing; the audit log's still
    /// syncs the file when all lines are written.
    fn is_busy(&self, queue: &Arc<Queue>) -> bool {
        let is_tap = self.tap.as_ref().is_some_and(|tap| Arc::ptr_eq(tap, queue));
        queue.pending_events() > 0 || (is_tap && !queue.ended.is_open())
    }

    fn shutdown_report(&self) -> ShutdownReport {
        let ledger = self.ledger();
        let queues = self.queues.iter().chain(&self.tap);
        let lanes: Vec<LaneReport> = queues
            .map(|queue| LaneReport {
                name: queue.name.to_string(),
                handled: count::read(&queue.outcomes.handled),
                failed: count::read(&queue.outcomes.failed),
                left: count::read(&queue.left),
                abandoned: self.is_busy(queue),
            })
            .collect();
        let deliveries = ledger.deliveries();
        ShutdownReport {
            drained: ledger.emitting == 0 && lanes.iter().all(|lane| lane.left == 0 && !lane.abandoned),
            handled: deliveries.handled,
            failed: deliveries.failed,
            left: lanes.iter().take(self.queues.len()).map(|lane| lane.left).sum(),
            lanes,
            ledger,
        }
    }
}
