//! Requests: events that somebody answers.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::time::Duration;

use crate::bus::Bus;
use crate::context::{self, Deadline, Lineage};
use crate::delivery::emit::{Extra, How, Refused};
use crate::delivery::engine::Engine;
use crate::delivery::envelope::Meta;
use crate::delivery::failure::HandlerError;
use crate::delivery::handler::{HandlerResult, Thunk, guarded};
use crate::delivery::lane::Patience;
use crate::delivery::reply::{Reply, ReplySlot, ReplyTo};
use crate::delivery::timer::{ScheduleError, TimerKey};
use crate::error::{EmitError, RequestError};
use crate::event::Event;
use crate::payload::Payload;
use crate::platform::signal::Seat;
use crate::platform::task::block_on;

/// The answer to a request, as a future; see [`Bus::request_async`](crate::Bus::request_async).
#[must_use = "dropping it gives the answer up"]
pub struct Request<Q, R> {
    /// What is waited for, or why it is not; nothing when that was said.
    state: Option<Result<Waiting, RequestError<Q>>>,
    answer: PhantomData<fn() -> R>,
}

/// A request that has been emitted.
struct Waiting {
    engine: Arc<Engine>,
    reply: Arc<ReplySlot>,
    deadline: u64,
    timer: Option<TimerKey>,
    seat: Option<Seat>,
}

/// Ends a request when the bus has shut down.
impl Wake for ReplySlot {
    fn wake(self: Arc<Self>) {
        // The user's waker must not unwind whoever shuts down.
        let _ = guarded(|| {
            self.end(Reply::Closed);
            Ok(())
        });
    }
}

impl<Q: Payload, R: Send + Sync + 'static> Request<Q, R> {
    pub(crate) fn begin(bus: &Bus, topic: &str, payload: Q, timeout: Duration, patient: bool) -> Self {
        Self { state: Some(Waiting::begin(bus, topic, payload, timeout, patient)), answer: PhantomData }
    }

    /// Waits for the answer on this thread.
    ///
    /// # Errors
    ///
    /// As [`Bus::request`](crate::Bus::request).
    pub fn wait(mut self) -> Result<R, RequestError<Q>> {
        let Some(waiting) = self.state.take() else { return Err(RequestError::Closed) };
        let waiting = waiting?;
        let clock = &waiting.engine.clock;
        let reply = block_on(clock, Some(waiting.deadline), |context| waiting.reply.slot.poll(context));
        settle(reply.unwrap_or(Reply::TimedOut))
    }
}

/// What a reply means to who asked.
fn settle<Q, R: 'static>(reply: Reply) -> Result<R, RequestError<Q>> {
    match reply {
        Reply::Answer(answer, found) => match answer.downcast() {
            Ok(answer) => Ok(*answer),
            Err(_) => Err(RequestError::WrongType { expected: std::any::type_name::<R>(), found }),
        },
        Reply::Failed(error) => Err(RequestError::Failed { error }),
        Reply::Unanswered => Err(RequestError::Unanswered),
        Reply::TimedOut => Err(RequestError::TimedOut),
        Reply::Closed => Err(RequestError::Closed),
    }
}

impl Waiting {
    fn begin<Q: Payload>(
        bus: &Bus,
        topic: &str,
        payload: Q,
        timeout: Duration,
        patient: bool,
    ) -> Result<Self, RequestError<Q>> {
        let engine = Arc::clone(bus.engine());
        if engine.refuses_new(topic) {
            // As any emit of it is, so that it does not become known.
            let refused = engine.emit(topic, payload, How::PLAIN);
            return Err(refused.map_or_else(RequestError::Emit, |_| RequestError::Unanswered));
        }
        let responders = match responders(&engine, topic) {
            Ok(0) => return Err(RequestError::NoResponder { payload }),
            Ok(responders) => responders,
            Err(refused) => return Err(RequestError::Emit(refused.with(payload))),
        };
        let reply = Arc::new(ReplySlot::new(responders));
        let deadline = engine.clock.after(timeout);
        let timer = match (!patient).then(|| arm(&engine, &reply, deadline)) {
            None => None,
            Some(Ok(key)) => Some(key),
            Some(Err(ScheduleError::Full(_))) => return Err(RequestError::TooManyTimers { payload }),
            Some(Err(ScheduleError::Closed(_))) => return Err(RequestError::Emit(EmitError::Closed { payload })),
        };
        let waiting = Self { reply: Arc::clone(&reply), deadline, timer, seat: None, engine };
        waiting.emit(topic, payload, patient)
    }

    fn emit<Q: Payload>(mut self, topic: &str, payload: Q, patient: bool) -> Result<Self, RequestError<Q>> {
        let Self { engine, reply, deadline, .. } = &self;
        let deadline = *deadline;
        let seat = engine.ended.enter(Arc::clone(reply).into());
        let patience = if patient { Patience::Until(deadline) } else { Patience::Never };
        let meta = Meta { reply: Some(Arc::new(ReplyTo(Arc::clone(reply)))), ..Meta::default() };
        let extra = Extra { meta: Some(Arc::new(meta)), lineage: Some(lineage(engine, deadline)), ..Extra::default() };
        engine.emit(topic, payload, How { extra: Some(&extra), ..How::with(patience) }).map_err(RequestError::Emit)?;
        self.seat = seat;
        Ok(self)
    }
}

/// Has the timer end the wait: a task cannot look at the clock while it sleeps.
fn arm(engine: &Engine, reply: &Arc<ReplySlot>, deadline: u64) -> Result<TimerKey, ScheduleError<Engine>> {
    let reply = Arc::clone(reply);
    engine.timer.schedule(deadline, Box::new(move |_: &Arc<Engine>| reply.end(Reply::TimedOut)))
}

/// How many may answer. A topic that is new becomes known, for patterns may ask for it. Who works for a lane cannot wait
/// when all of them are on that one.
fn responders(engine: &Engine, name: &str) -> Result<usize, Refused> {
    if engine.directory.get(name).is_none() {
        engine.names.check(name).map_err(Refused::InvalidTopic)?;
    }
    let topic = engine.directory.topic(name)?;
    let route = topic.table.load();
    let all = || route.entries().iter().filter(|entry| entry.handler.answers());
    match context::lane_of(engine.bus) {
        Some(own) if all().next().is_some() && all().all(|entry| entry.lane == own) => {
            Err(Refused::WouldDeadlock(engine.lane_name(own).to_owned()))
        }
        _ => Ok(all().count()),
    }
}

/// What the request hands down: what it inherits, and the deadline if that is not later.
fn lineage(engine: &Engine, deadline: u64) -> Arc<Lineage> {
    let inherited = context::lineage().as_deref().cloned().unwrap_or_default();
    let earlier = inherited.deadline.as_ref().map_or(u64::MAX, |inherited| inherited.on(engine.bus, &engine.clock));
    let deadline = Deadline { at: earlier.min(deadline), bus: engine.bus, clock: engine.clock.clone() };
    Arc::new(Lineage { deadline: Some(deadline), ..inherited })
}

/// Wraps a user's closure that answers requests. The answer goes where the event says, if it is a request.
pub(crate) fn answer_thunk<F, R, E>(handler: F) -> Thunk
where
    F: Fn(&Event<'_>) -> Result<R, E> + Send + Sync + 'static,
    R: Send + Sync + 'static,
    Result<(), E>: HandlerResult,
{
    Box::new(move |event| {
        let reply = event.head.meta.as_deref().and_then(|meta| meta.reply.as_deref());
        guarded(|| match handler(event) {
            Ok(answer) => {
                if let Some(reply) = reply {
                    reply.answer(answer);
                }
                Ok(())
            }
            // Who asked hears of it when it is not tried again.
            Err(error) => Err(error).into_result().map_err(HandlerError::Error),
        })
    })
}

impl<Q, R> Unpin for Request<Q, R> {}

impl<Q, R: 'static> Future for Request<Q, R> {
    type Output = Result<R, RequestError<Q>>;

    /// # Panics
    ///
    /// Never; polled after its end, it says that it is closed.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waiting = match &mut self.state {
            Some(Ok(waiting)) => waiting,
            _ => return Poll::Ready(Err(self.state.take().and_then(Result::err).unwrap_or(RequestError::Closed))),
        };
        let Poll::Ready(reply) = waiting.reply.slot.poll(context) else { return Poll::Pending };
        self.state = None;
        Poll::Ready(settle(reply))
    }
}

impl<Q, R> fmt::Debug for Request<Q, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = matches!(self.state, Some(Ok(_)));
        f.debug_struct("Request").field("waiting", &waiting).finish_non_exhaustive()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(key) = self.timer.take() {
            drop(self.engine.timer.cancel(key));
        }
    }
}
