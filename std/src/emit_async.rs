//! Emitting from tasks: futures that wait for room and for handlers without making a thread wait.
//!
//! The wait comes before the gate, so that a future that is dropped has left no trace in the books. An attempt that finds a
//! lane full after all is taken back: it leaves the gate by an exit that the ledger does not count.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::delivery::directory::{RouteCache, TopicState};
use crate::delivery::emit::{Extra, How};
use crate::delivery::engine::Engine;
use crate::delivery::key;
use crate::delivery::lane::Patience;
use crate::delivery::report::{Report, Waiter};
use crate::delivery::turns::{Alarm, Look, Turns};
use crate::error::EmitError;
use crate::payload::Payload;
use crate::receipt::Receipt;

/// How often a poll tries before it lets other tasks run: others may be faster each time.
const ATTEMPTS: usize = 4;

/// What it is emitted on.
enum Target<'a> {
    Name(&'a str),
    Topic { topic: &'a TopicState, route: &'a mut RouteCache },
}

/// An emit that awaits room; see [`Bus::emit_async`](crate::Bus::emit_async).
///
/// Polled again after it was ready, it stays pending.
#[must_use = "nothing is emitted before it is polled"]
pub struct EmitAsync<'a, P> {
    engine: &'a Arc<Engine>,
    target: Target<'a>,
    /// Gone when the future is ready.
    payload: Option<P>,
    key: u64,
    extra: Option<Extra>,
    /// Until when it waits, if that is sooner than the lanes say.
    limit: Option<u64>,
    /// Its places in line, once it had to wait.
    turns: Option<Turns>,
    /// What it ends with, once the event is emitted and a lane keeps it beside its ring.
    emitted: Option<Receipt>,
}

/// The payload is moved out, and never pinned.
impl<P> Unpin for EmitAsync<'_, P> {}

impl<'a, P: Payload> EmitAsync<'a, P> {
    pub(crate) fn new(engine: &'a Arc<Engine>, topic: &'a str, payload: P) -> Self {
        Self::of(engine, Target::Name(topic), payload, None)
    }

    pub(crate) fn with(engine: &'a Arc<Engine>, topic: &'a str, payload: P, key: u64, extra: Extra) -> Self {
        Self::of(engine, Target::Name(topic), payload, Some(extra)).keyed(key)
    }

    pub(crate) fn on(engine: &'a Arc<Engine>, topic: &'a TopicState, route: &'a mut RouteCache, payload: P) -> Self {
        Self::of(engine, Target::Topic { topic, route }, payload, None)
    }

    pub(crate) fn with_extra(self, key: u64, extra: Option<Extra>) -> Self {
        Self { extra, ..self }.keyed(key)
    }

    /// It waits no longer than its event lives.
    fn keyed(self, key: u64) -> Self {
        let lineage = self.extra.as_ref().and_then(|extra| extra.lineage.as_ref());
        let deadline = lineage.and_then(|lineage| lineage.deadline.as_ref());
        let deadline = deadline.map(|deadline| deadline.on(self.engine.bus, &self.engine.clock));
        let expires = self.extra.as_ref().map(|extra| extra.expires).filter(|expires| *expires != 0);
        let limit = deadline.into_iter().chain(expires).min();
        Self { key, limit, ..self }
    }

    fn of(engine: &'a Arc<Engine>, target: Target<'a>, payload: P, extra: Option<Extra>) -> Self {
        Self { engine, target, payload: Some(payload), key: 0, extra, limit: None, turns: None, emitted: None }
    }

    fn attempt(&mut self, payload: P, patience: Patience) -> Result<Receipt, EmitError<P>> {
        if let Some(waiter) = self.extra.as_mut().and_then(|extra| extra.waiter.as_mut()) {
            // The last attempt has told the old one of deliveries that were not to be.
            *waiter = Arc::default();
        }
        let how = How { key: self.key, extra: self.extra.as_ref(), ..How::with(patience) };
        match &mut self.target {
            Target::Name(name) => self.engine.emit(name, payload, how),
            Target::Topic { topic, route } => self.engine.emit_to(topic, route.load(), payload, how),
        }
    }

    /// Looks for room where the event goes, and stands in line where there is none.
    fn look(&mut self, waker: &Waker) -> Look {
        if self.key == 0 {
            // An event without a key goes to the workers of a lane in turn. One that waits has to wait for one of them.
            self.key = key::any();
        }
        let turns = self.turns.get_or_insert_with(|| Turns::new(self.engine));
        match &mut self.target {
            Target::Name(name) => {
                let topic = self.engine.directory.get(name);
                let route = topic.map(|topic| topic.table.load());
                let logged = topic.is_some_and(|topic| topic.is_logged());
                turns.look(route.as_deref(), logged, self.key, self.limit, waker)
            }
            Target::Topic { route, topic } => {
                turns.look(Some(route.load()), topic.is_logged(), self.key, self.limit, waker)
            }
        }
    }

    fn poll_emit(&mut self, waker: &Waker) -> Poll<Result<Receipt, EmitError<P>>> {
        if self.emitted.is_some() {
            return self.poll_aside(waker).map(Ok);
        }
        // On a bus with more than handlers an attempt does more before it comes to the lanes than a look costs.
        let looks_first = self.turns.is_some() || !self.engine.is_bare;
        let mut look = if looks_first { self.look(waker) } else { Look::Try };
        for _ in 0..ATTEMPTS {
            if look == Look::Wait {
                return Poll::Pending;
            }
            let Some(payload) = self.payload.take() else { return Poll::Pending };
            let patience = if look == Look::GiveUp { Patience::Never } else { Patience::Later };
            match self.attempt(payload, patience) {
                // This is what an attempt that was taken back looks like.
                Err(EmitError::Full { lane, payload }) if lane.is_empty() => {
                    self.payload = Some(payload);
                    if self.extra.is_some() || !self.engine.is_bare {
                        self.extra.get_or_insert_default().admitted = true;
                    }
                }
                done => {
                    self.turns = None;
                    if let Ok(receipt) = &done
                        && receipt.aside
                    {
                        self.emitted = Some(Receipt { aside: false, ..*receipt });
                        return self.poll_aside(waker).map(Ok);
                    }
                    return Poll::Ready(done);
                }
            }
            look = self.look(waker);
        }
        if look != Look::Wait {
            waker.wake_by_ref();
        }
        Poll::Pending
    }
}

impl<P> EmitAsync<'_, P> {
    /// Waits until no lane keeps the event beside its ring, so that the task's next event cannot overtake it.
    fn poll_aside(&mut self, waker: &Waker) -> Poll<Receipt> {
        let Some(receipt) = self.emitted else { return Poll::Pending };
        if self.engine.queues.iter().any(|queue| queue.room.is_aside(receipt.seq, waker)) {
            return Poll::Pending;
        }
        self.emitted = None;
        Poll::Ready(receipt)
    }
}

impl<P: Payload> Future for EmitAsync<'_, P> {
    type Output = Result<Receipt, EmitError<P>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_emit(context.waker())
    }
}

impl<P> fmt::Debug for EmitAsync<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (is_waiting, is_emitted) = (self.payload.is_some(), self.emitted.is_some());
        f.debug_struct("EmitAsync")
            .field("is_waiting", &is_waiting)
            .field("is_emitted", &is_emitted)
            .finish_non_exhaustive()
    }
}

/// An emit that awaits room, and then the event's handlers; see
/// [`Bus::emit_and_wait_async`](crate::Bus::emit_and_wait_async).
///
/// Polled again after it was ready, it stays pending.
#[must_use = "nothing is emitted before it is polled"]
pub struct EmitAndWaitAsync<'a, P> {
    emit: EmitAsync<'a, P>,
    /// What the emit returned, while the handlers are awaited.
    receipt: Option<Receipt>,
    alarm: Option<Alarm>,
}

impl<'a, P: Payload> EmitAndWaitAsync<'a, P> {
    pub(crate) fn new(mut emit: EmitAsync<'a, P>) -> Self {
        emit.extra.get_or_insert_default().waiter = Some(Arc::default());
        Self { emit, receipt: None, alarm: None }
    }

    fn waiter(&self) -> Option<Arc<Waiter>> {
        self.emit.extra.as_ref()?.waiter.clone()
    }

    /// Waits for the handlers.
    fn poll_report(&mut self, receipt: Receipt, waker: &Waker) -> Poll<Report> {
        let Some(waiter) = self.waiter() else { return Poll::Pending };
        let (engine, end) = (self.emit.engine, self.emit.limit.unwrap_or_default());
        let report = waiter.poll(waker, false, receipt);
        // Without a timer nobody would end this wait.
        if report.is_ready() || (engine.clock.now() < end && Alarm::set(&mut self.alarm, engine, end, waker)) {
            return report;
        }
        waiter.poll(waker, true, receipt)
    }
}

impl<P: Payload> Future for EmitAndWaitAsync<'_, P> {
    type Output = Result<Report, EmitError<P>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let waker = context.waker();
        let engine = this.emit.engine;
        let most = engine.clock.after(engine.wait_limit);
        this.emit.limit = Some(this.emit.limit.map_or(most, |limit| limit.min(most)));
        let receipt = match this.receipt {
            Some(receipt) => receipt,
            None => match this.emit.poll_emit(waker) {
                Poll::Ready(Ok(receipt)) => *this.receipt.insert(receipt),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            },
        };
        let report = this.poll_report(receipt, waker);
        if report.is_ready() {
            this.receipt = None;
            Alarm::cancel(&mut this.alarm, engine);
        }
        report.map(Ok)
    }
}

impl<P> Drop for EmitAndWaitAsync<'_, P> {
    fn drop(&mut self) {
        Alarm::cancel(&mut self.alarm, self.emit.engine);
    }
}

impl<P> fmt::Debug for EmitAndWaitAsync<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmitAndWaitAsync")
            .field("emit", &self.emit)
            .field("is_emitted", &self.receipt.is_some())
            .finish_non_exhaustive()
    }
}
