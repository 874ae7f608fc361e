//! Events as a stream: for whoever would rather ask for the next event than be called.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_core::Stream;
use nervebus_core::SubscriptionId;
use nervebus_core::ring::{BoxedRing, PopError, PushError};
use nervebus_core::wait::{Wait, Waiter};

use crate::delivery::count;
use crate::delivery::engine::Engine;
use crate::delivery::failure::drop_quietly;
use crate::delivery::handler::owned_thunk;
use crate::error::{RecvError, SubscribeError};
use crate::event::OwnedEvent;
use crate::platform::signal::Seat;
use crate::platform::task::block_on;
use crate::subscribe::Subscribe;

/// How many events wait in a stream at most, unless its maker says otherwise.
pub(crate) const DEFAULT_CAPACITY: usize = 1_024;

/// The most events that may wait in a stream.
const MAX_CAPACITY: usize = 1 << 20;

/// The events of a pattern, one after the other; see [`Bus::stream`](crate::Bus::stream).
///
/// It holds what was emitted since it was made, up to its capacity. A reader that is too slow makes nobody wait: the
/// oldest event makes way for the newest and is counted as [missed](Self::missed). Events of one emitter come in the order
/// of the emits. After a shutdown it gives what is inside, and then ends. Dropping it unsubscribes.
///
/// It can be read as a [`Stream`], by a thread that waits ([`recv`](Self::recv)) or by one that looks
/// ([`try_next`](Self::try_next)), in any mixture. It does not keep its bus alive.
///
/// # Cost
///
/// The ring for its events is allocated when it is made, with 24 bytes for each event of its capacity. An event costs its
/// emitter up to four allocations and a push; no lock, unless the reader sleeps.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, json};
/// use std::time::Duration;
///
/// let bus = Bus::builder().build()?;
/// let mut logins = bus.stream("user.*")?;
/// bus.emit("user.login", json!({"username": "alice"}))?;
///
/// let event = logins.recv_timeout(Duration::from_secs(5))?;
/// assert_eq!(event["username"], "alice");
/// assert!(logins.try_next().is_none());
/// bus.shutdown(Duration::from_secs(5));
/// assert!(logins.recv().is_none(), "it has ended");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a stream unsubscribes it"]
pub struct EventStream {
    engine: Arc<Engine>,
    id: SubscriptionId,
    inbox: Arc<Inbox>,
    /// How many missed events [`take_missed`](Self::take_missed) has told of.
    told: u64,
    /// Among those who are told that the bus has shut down.
    _seat: Option<Seat>,
}

/// Where emitters put events, and the reader takes them.
struct Inbox {
    ring: BoxedRing<OwnedEvent>,
    reader: Waiter<Reader>,
    missed: AtomicU64,
}

/// The task that reads, while it sleeps.
#[derive(Default)]
struct Reader(Mutex<Option<Waker>>);

impl Reader {
    fn set(&self, waker: Option<Waker>) {
        let old = std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), waker);
        // After the lock: a waker of the user's may do anything when it is dropped.
        drop(old);
    }
}

impl Wait for Reader {
    /// A task sleeps by returning.
    fn wait(&self) {}

    fn wake(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Inbox {
    fn push(&self, event: OwnedEvent) {
        match self.ring.push_overwrite(event, |oldest| self.miss(oldest)) {
            Ok(()) => drop(self.reader.wake()),
            // Somebody is in the middle of taking the oldest out: the newest goes instead.
            Err(PushError::Full(event)) => self.miss(event),
            Err(PushError::Closed(event)) => drop_quietly(event),
        }
    }

    fn miss(&self, event: OwnedEvent) {
        count::add(&self.missed, 1);
        drop_quietly(event);
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<OwnedEvent>> {
        if let Poll::Ready(next) = self.look() {
            return Poll::Ready(next);
        }
        self.reader.how().set(Some(context.waker().clone()));
        self.reader.bell().arm();
        // The read-modify-write that the bell asks for: whoever pushes after it finds the bell armed.
        if !self.ring.has_arrivals() {
            return Poll::Pending;
        }
        let next = self.look();
        if next.is_pending() {
            // Something was claimed and is about to be there.
            context.waker().wake_by_ref();
        }
        next
    }

    fn look(&self) -> Poll<Option<OwnedEvent>> {
        match self.ring.pop() {
            Ok(event) => Poll::Ready(Some(event)),
            Err(PopError::Closed) => Poll::Ready(None),
            Err(PopError::Empty) => Poll::Pending,
        }
    }
}

/// Ends the stream when the bus has shut down.
impl Wake for Inbox {
    fn wake(self: Arc<Self>) {
        self.ring.close();
        // The user's waker must not unwind whoever shuts down.
        drop_quietly(Guard(&self.reader));
    }
}

/// Wakes the reader, whether it has said that it sleeps or not, when it is dropped.
struct Guard<'a>(&'a Waiter<Reader>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.how().wake();
    }
}

impl EventStream {
    /// Subscribes a stream.
    pub(crate) fn begin(subscribe: Subscribe<'_>, capacity: usize) -> Result<Self, SubscribeError> {
        let out_of_range = || SubscribeError::OutOfRange {
            field: "stream.capacity".into(),
            value: capacity as u64,
            min: 1,
            max: MAX_CAPACITY as u64,
        };
        let ring = BoxedRing::with_capacity(capacity).ok().filter(|_| capacity <= MAX_CAPACITY);
        let ring = ring.ok_or_else(out_of_range)?;
        let inbox = Arc::new(Inbox { ring, reader: Waiter::default(), missed: AtomicU64::new(0) });
        let engine = Arc::clone(subscribe.engine());
        let sender = Arc::clone(&inbox);
        let id = subscribe.inline().add_owning(owned_thunk(move |event| {
            sender.push(event);
            Ok(())
        }))?;
        let seat = engine.ended.enter(Arc::clone(&inbox).into());
        if seat.is_none() {
            inbox.ring.close();
        }
        Ok(Self { engine, id, inbox, told: 0, _seat: seat })
    }

    /// The subscription behind it.
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// The next event that is there already; `None` when there is none now.
    pub fn try_next(&mut self) -> Option<OwnedEvent> {
        self.inbox.ring.pop().ok()
    }

    /// Waits for the next event; `None` when the bus has shut down and all events have been read.
    ///
    /// A handler on a lane that waits here holds up its lane.
    pub fn recv(&mut self) -> Option<OwnedEvent> {
        block_on(&self.engine.clock, None, |context| self.inbox.poll(context)).flatten()
    }

    /// Waits for the next event for this long at most.
    ///
    /// # Errors
    ///
    /// [`RecvError::TimedOut`], or [`RecvError::Closed`] when the bus has shut down and all events have been read.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<OwnedEvent, RecvError> {
        let clock = &self.engine.clock;
        let next = block_on(clock, Some(clock.after(timeout)), |context| self.inbox.poll(context));
        next.ok_or(RecvError::TimedOut)?.ok_or(RecvError::Closed)
    }

    /// How many events wait to be read.
    pub fn len(&self) -> usize {
        self.inbox.ring.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many events made way for newer ones because the reader was too slow.
    pub fn missed(&self) -> u64 {
        count::read(&self.inbox.missed)
    }

    /// How many more that are since the last call.
    pub fn take_missed(&mut self) -> u64 {
        let before = self.told;
        self.told = self.missed();
        self.told.saturating_sub(before)
    }
}

impl Stream for EventStream {
    type Item = OwnedEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<OwnedEvent>> {
        self.inbox.poll(context)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), None)
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (len, missed) = (self.len(), self.missed());
        f.debug_struct("EventStream").field("id", &self.id).field("len", &len).field("missed", &missed).finish()
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.engine.unsubscribe(self.id);
        // The handler may be kept for a while by a route that somebody still has; the events need not.
        self.inbox.ring.close();
        self.inbox.reader.how().set(None);
        while let Ok(event) = self.inbox.ring.pop() {
            drop_quietly(event);
        }
    }
}
