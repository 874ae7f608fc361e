//! Emitting on durable topics, and waiting for the log.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::bus::Bus;
use crate::context;
use crate::delivery::emit::{Extra, How};
use crate::delivery::engine::Engine;
use crate::delivery::lane::Patience;
use crate::delivery::log_tap::{Commit, Level, LogTap, Outcome};
use crate::emission::Emission;
use crate::emit_async::EmitAsync;
use crate::error::EmitError;
use crate::payload::Payload;
use crate::receipt::Receipt;
use crate::records::durable::core::Core;

/// What became of an emit on a durable topic when it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DurableReceipt {
    receipt: Receipt,
    level: Level,
    position: Option<u64>,
}

impl DurableReceipt {
    /// How far the event has come for certain: as far as was asked for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Where it is in the log; `None` for [`Level::Accepted`], when that is not settled yet.
    pub fn position(&self) -> Option<u64> {
        self.position
    }

    /// What became of it on the lanes.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }
}

/// Why an emit has not brought its event as far as was asked for.
#[non_exhaustive]
pub enum DurableError<P> {
    /// It was refused, and nobody has seen it.
    Emit(EmitError<P>),
    /// The topic is not [durable](crate::DurableLog::topics), or the bus has no durable log. Nobody has seen the event.
    NotDurable {
        /// The topic.
        topic: String,
        /// What was to be emitted.
        payload: P,
    },
    /// A handler that runs on the log's own thread, as those of `system.log_error` do that are inline, cannot wait for that
    /// thread. Nobody has seen the event.
    WouldDeadlock {
        /// What was to be emitted.
        payload: P,
    },
    /// The same event was emitted before, within the [window for duplicates](crate::Builder::dedup), and was accepted then.
    /// This one was not.
    Duplicate {
        /// What became of the emit.
        receipt: Receipt,
    },
    /// The write or the sync failed, or the bus was shut down before. The event is on its lanes; it may be in the log, or
    /// not.
    NotStored {
        /// What was wrong.
        error: Arc<str>,
        /// What became of it on the lanes.
        receipt: Receipt,
    },
}

impl<P> DurableError<P> {
    /// What was to be emitted, where nobody has seen it.
    pub fn into_payload(self) -> Option<P> {
        match self {
            Self::Emit(error) => Some(error.into_payload()),
            Self::NotDurable { payload, .. } | Self::WouldDeadlock { payload } => Some(payload),
            Self::Duplicate { .. } | Self::NotStored { .. } => None,
        }
    }
}

impl<P> fmt::Display for DurableError<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Emit(error) => error.fmt(f),
            Self::NotDurable { topic, .. } => {
                write!(f, "topic {topic:?} is not durable: no pattern of a durable log of this bus matches it")
            }
            Self::WouldDeadlock { .. } => f.write_str("the durable log's thread cannot wait for itself"),
            Self::Duplicate { .. } => f.write_str("the event was emitted before"),
            Self::NotStored { error, .. } => write!(f, "the durable log may not have the event: {error}"),
        }
    }
}

impl<P> fmt::Debug for DurableError<P> {
    /// What was wrong; never the payload, which may hold what no log should.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableError({self})")
    }
}

impl<P> std::error::Error for DurableError<P> {}

/// An event for a durable topic that has not been emitted yet; see [`Emission::durable`].
#[derive(Debug)]
#[must_use = "nothing is emitted before `emit`"]
pub struct DurableEmission<'a, P> {
    pub(crate) emission: Emission<'a, P>,
    pub(crate) level: Option<Level>,
}

/// An event that may be emitted now, and what its emitter waits with.
type Ready<'a, P> = (&'a Bus, &'a LogTap, &'a str, P, u64, Extra, Arc<Commit>);

impl<'a, P: Payload> DurableEmission<'a, P> {
    /// Emits it and waits until it has come as far as was asked for; see [`Bus::emit_durable`].
    ///
    /// # Errors
    ///
    /// As [`Bus::emit_durable`].
    pub fn emit(self) -> Result<DurableReceipt, DurableError<P>> {
        let (bus, _, topic, payload, key, extra, commit) = self.ready()?;
        let how = How { key, extra: Some(&extra), ..How::with(Patience::Policy) };
        let receipt = bus.engine().emit(topic, payload, how).map_err(DurableError::Emit)?;
        if receipt.is_duplicate() {
            return Err(DurableError::Duplicate { receipt });
        }
        conclude(bus.engine(), &extra, receipt, commit.level(), commit.wait())
    }

    /// Emits it and awaits that; see [`Bus::emit_durable_async`].
    ///
    /// # Errors
    ///
    /// The future's output is that of [`emit`](Self::emit).
    pub fn emit_async(self) -> EmitDurableAsync<'a, P> {
        match self.ready() {
            Err(error) => EmitDurableAsync(Stage::Refused(Some(error))),
            Ok((bus, _, topic, payload, key, extra, commit)) => {
                let emit = EmitAsync::with(bus.engine(), topic, payload, key, extra.clone());
                EmitDurableAsync(Stage::Emitting(Box::new(Emitting { bus, emit, extra, commit, receipt: None })))
            }
        }
    }

    /// Looks whether the event may be emitted.
    fn ready(self) -> Result<Ready<'a, P>, DurableError<P>> {
        let Self { emission, level } = self;
        let (bus, topic, payload, key, mut extra) = emission.taken_apart(None);
        let engine = bus.engine();
        let Some(log) = engine.log.as_deref().filter(|_| engine.directory.is_logged(topic)) else {
            return Err(DurableError::NotDurable { topic: topic.to_owned(), payload });
        };
        let level = level.unwrap_or(log.level);
        if level > Level::Accepted && context::lane_of(engine.bus) == Some(log.queue.id) {
            return Err(DurableError::WouldDeadlock { payload });
        }
        let commit = Arc::new(Commit::new(level));
        extra.commit = Some(Arc::clone(&commit));
        Ok((bus, log, topic, payload, key, extra, commit))
    }
}

fn conclude<P>(
    engine: &Engine,
    extra: &Extra,
    receipt: Receipt,
    level: Level,
    outcome: Outcome,
) -> Result<DurableReceipt, DurableError<P>> {
    match outcome {
        Ok(position) => Ok(DurableReceipt { receipt, level, position: (level > Level::Accepted).then_some(position) }),
        Err(error) => {
            // It may be emitted again.
            engine.forget_logged(extra);
            Err(DurableError::NotStored { error, receipt })
        }
    }
}

/// An emit that awaits room, and then the durable log; see [`Bus::emit_durable_async`].
///
/// Polled again after it was ready, it stays pending.
#[must_use = "nothing is emitted before it is polled"]
pub struct EmitDurableAsync<'a, P>(Stage<'a, P>);

enum Stage<'a, P> {
    Refused(Option<DurableError<P>>),
    Emitting(Box<Emitting<'a, P>>),
}

struct Emitting<'a, P> {
    bus: &'a Bus,
    emit: EmitAsync<'a, P>,
    extra: Extra,
    commit: Arc<Commit>,
    receipt: Option<Receipt>,
}

/// The payload is moved out, and never pinned.
impl<P> Unpin for EmitDurableAsync<'_, P> {}

impl<P: Payload> Future for EmitDurableAsync<'_, P> {
    type Output = Result<DurableReceipt, DurableError<P>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = match &mut self.get_mut().0 {
            Stage::Refused(error) => return error.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error))),
            Stage::Emitting(emitting) => emitting,
        };
        let receipt = match this.receipt {
            Some(receipt) => receipt,
            None => match Pin::new(&mut this.emit).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(DurableError::Emit(error))),
                Poll::Ready(Ok(receipt)) if receipt.is_duplicate() => {
                    return Poll::Ready(Err(DurableError::Duplicate { receipt }));
                }
                Poll::Ready(Ok(receipt)) => *this.receipt.insert(receipt),
            },
        };
        let Poll::Ready(outcome) = this.commit.poll(context.waker()) else { return Poll::Pending };
        Poll::Ready(conclude(this.bus.engine(), &this.extra, receipt, this.commit.level(), outcome))
    }
}

impl<P> fmt::Debug for EmitDurableAsync<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmitDurableAsync").finish_non_exhaustive()
    }
}

impl<'a, P: Payload> Emission<'a, P> {
    /// Has the emit wait until the event has come so far on its way into the durable log; see [`Bus::emit_durable`].
    ///
    /// ```
    /// use nervebus::{Bus, DurableLog, Level, json};
    ///
    /// let folder = std::env::temp_dir().join(format!("nervebus-level-doc-{}", std::process::id()));
    /// let bus = Bus::builder().durable(DurableLog::at(&folder).topics("order.*")).build()?;
    /// let receipt = bus.event("order.placed", json!({"id": 7})).key("shop-1").durable(Level::Written).emit()?;
    /// assert_eq!(receipt.position(), Some(1));
    /// # drop(bus);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn durable(self, level: Level) -> DurableEmission<'a, P> {
        DurableEmission { emission: self, level: Some(level) }
    }
}

impl Bus {
    /// Keeps what the threads of the durable log share.
    pub(crate) fn keep_durable(&self, core: Option<Arc<Core>>) {
        if let Some(core) = core {
            // The builder sets it once.
            let _ = self.owner.durable.set(core);
        }
    }

    pub(crate) fn durable(&self) -> Option<&Arc<Core>> {
        self.owner.durable.get()
    }

    /// Emits on a durable topic, and returns when the event has reached the log's [level](crate::DurableLog::level):
    /// written, or synced. In all else as [`emit`](Self::emit): handlers get the event while this waits. For another level
    /// see [`Emission::durable`].
    ///
    /// Emits that wait at the same time share one write and one sync. A handler on a lane may wait: the log's thread waits
    /// for nobody.
    ///
    /// # Errors
    ///
    /// [`DurableError`]. After [`NotStored`](DurableError::NotStored) the event is with its handlers, and it is not known
    /// whether the log has it; whoever emits it again gives it an [identity](Emission::event_id), by which handlers can
    /// tell.
    ///
    /// # Cost
    ///
    /// That of [`emit`](Self::emit) on a durable topic, a few allocations, and the time that the write and the sync take.
    pub fn emit_durable<P: Payload>(&self, topic: &str, payload: P) -> Result<DurableReceipt, DurableError<P>> {
        DurableEmission { emission: self.event(topic, payload), level: None }.emit()
    }

    /// As [`emit_durable`](Self::emit_durable), without making the thread wait.
    ///
    /// **Cancel safety.** Dropped before the event got in, it has emitted nothing, as [`emit_async`](Self::emit_async);
    /// dropped later, the event goes its way all the same, and only the answer is lost.
    ///
    /// # Errors
    ///
    /// The future's output is that of [`emit_durable`](Self::emit_durable).
    pub fn emit_durable_async<'a, P: Payload>(&'a self, topic: &'a str, payload: P) -> EmitDurableAsync<'a, P> {
        DurableEmission { emission: self.event(topic, payload), level: None }.emit_async()
    }
}
