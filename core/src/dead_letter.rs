//! Events that could not be handled, kept for whoever looks after them.

use core::fmt;

use crate::ring::{Miss, Ring, Slot, StaticRing, Storage};
use crate::sync::{AtomicUsize, Ordering, const_fn, spin_loop};

#[cfg(feature = "alloc")]
use crate::ring::{BoxedRing, CapacityError};

/// How often [`DeadLetterQueue::take`] and its kin look again while another thread inspects the queue.
const PATIENCE: usize = if cfg!(nervebus_loom) { 6 } else { 1_024 };

/// Why an event became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A handler returned an error.
    HandlerError,
    /// A handler took longer than it may.
    HandlerTimeout,
    /// Every handler of the event failed.
    AllHandlersFailed,
    /// The event broke a rule it was checked against.
    ValidationError,
    /// The event could not be turned into bytes, or back.
    SerializationError,
    /// A queue was full.
    Overflow,
    /// The event's deadline passed before it was handled.
    Expired,
    /// The event was, directly or not, caused by itself too often.
    LoopDetected,
    /// The bus was shut down before the event was handled.
    Shutdown,
    /// An earlier event of the same key has not been handled, and this one must not come before it.
    Parked,
}

impl Reason {
    /// All of them, in the order in which they are declared.
    pub const ALL: [Self; 10] = [
        Self::HandlerError,
        Self::HandlerTimeout,
        Self::AllHandlersFailed,
        Self::ValidationError,
        Self::SerializationError,
        Self::Overflow,
        Self::Expired,
        Self::LoopDetected,
        Self::Shutdown,
        Self::Parked,
    ];

    /// The name of the reason in records and metrics, for example `handler_error`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HandlerError => "handler_error",
            Self::HandlerTimeout => "handler_timeout",
            Self::AllHandlersFailed => "all_handlers_failed",
            Self::ValidationError => "validation_error",
            Self::SerializationError => "serialization_error",
            Self::Overflow => "overflow",
            Self::Expired => "expired",
            Self::LoopDetected => "loop_detected",
            Self::Shutdown => "shutdown",
            Self::Parked => "parked",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An event that was not handled, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter<T> {
    /// The event.
    pub event: T,
    /// Why it is here.
    pub reason: Reason,
    /// How often delivery was tried.
    pub attempts: u16,
}

/// A queue of at most `N` dead letters that needs no allocator and fits in a `static`.
pub type StaticDeadLetterQueue<T, const N: usize> = DeadLetterQueue<T, [Slot<DeadLetter<T>>; N]>;

/// A queue of dead letters on the heap, whose capacity is chosen at run time.
#[cfg(feature = "alloc")]
pub type BoxedDeadLetterQueue<T> = DeadLetterQueue<T, alloc::boxed::Box<[Slot<DeadLetter<T>>]>>;

/// A bounded queue of dead letters that keeps the newest ones and counts those it loses.
///
/// Any number of threads may push, take and look. When the queue is full, a push displaces the oldest letter. At any quiet
/// moment, `pushed() = letters taken + overwritten() + len()`. Only a letter whose `Drop` panics when it is displaced breaks
/// that: it takes the new letter along, which then counts as pushed and nothing else.
///
/// # Cost
///
/// `push`: no allocation; bounded spin (it displaces until there is room, and gives up when another thread, stopped in
/// the middle of a push or take, blocks the slot; see [`push`](Self::push)). `take`: no allocation; non-blocking. The
/// lost letter's `Drop` runs in the push that displaces it.
///
/// # Examples
///
/// ```
/// use nervebus_core::{DeadLetter, Reason, dead_letter::StaticDeadLetterQueue};
///
/// static DEAD: StaticDeadLetterQueue<&str, 2> = StaticDeadLetterQueue::new();
///
/// for event in ["first", "second", "third"] {
///     DEAD.push(DeadLetter { event, reason: Reason::HandlerError, attempts: 1 });
/// }
/// assert_eq!((DEAD.len(), DEAD.overwritten(), DEAD.pushed()), (2, 1, 3));
/// assert_eq!(DEAD.peek().map(|letter| letter.event), Some("second"));
/// assert_eq!(DEAD.take().map(|letter| letter.event), Some("second"));
/// ```
pub struct DeadLetterQueue<T, S: Storage<DeadLetter<T>>> {
    ring: Ring<DeadLetter<T>, S>,
    pushed: AtomicUsize,
    overwritten: AtomicUsize,
}

impl<T, const N: usize> StaticDeadLetterQueue<T, N> {
    const_fn! {
        /// An empty queue; a capacity that a [`StaticRing`] cannot have fails to compile.
        pub const fn new() -> Self {
            Self { ring: StaticRing::new(), pushed: AtomicUsize::new(0), overwritten: AtomicUsize::new(0) }
        }
    }
}

impl<T, const N: usize> Default for StaticDeadLetterQueue<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "alloc")]
impl<T> BoxedDeadLetterQueue<T> {
    /// An empty queue for `capacity` letters.
    ///
    /// # Errors
    ///
    /// [`CapacityError`] when no ring can have this capacity.
    ///
    /// # Cost
    ///
    /// One allocation, the only one in the queue's life.
    pub fn with_capacity(capacity: usize) -> Result<Self, CapacityError> {
        let ring = BoxedRing::with_capacity(capacity)?;
        Ok(Self { ring, pushed: AtomicUsize::new(0), overwritten: AtomicUsize::new(0) })
    }
}

impl<T, S: Storage<DeadLetter<T>>> DeadLetterQueue<T, S> {
    /// Puts a letter in, displacing the oldest one when the queue is full.
    ///
    /// When another thread was stopped in the middle of its own push or take and blocks the slot, this call does not
    /// wait for it: then it is the new letter that is lost, and counted as [`overwritten`](Self::overwritten).
    ///
    /// # Cost
    ///
    /// No allocation; bounded spin.
    pub fn push(&self, letter: DeadLetter<T>) {
        // Relaxed, here and below: the counters are statistics, and no access to a letter depends on them.
        self.pushed.fetch_add(1, Ordering::Relaxed);
        let lost = |_letter: DeadLetter<T>| {
            self.overwritten.fetch_add(1, Ordering::Relaxed);
        };
        if let Err(refused) = self.ring.push_overwrite(letter, lost) {
            lost(refused.into_inner());
        }
    }

    /// Takes the oldest letter. `None` when there is none, and also when another thread [inspects](Self::inspect) the
    /// queue and does not come to an end soon.
    ///
    /// # Cost
    ///
    /// No allocation; bounded spin while another thread inspects the queue, else non-blocking: repeats only after another
    /// take or an overwriting push succeeded.
    pub fn take(&self) -> Option<DeadLetter<T>> {
        for _ in 0..PATIENCE {
            match self.ring.take::<Miss>() {
                Ok(letter) => return Some(letter),
                Err(Miss::Held) => spin_loop(),
                Err(_) => return None,
            }
        }
        None
    }

    /// A copy of the oldest letter, which stays inside. `None` as for [`take`](Self::take).
    ///
    /// # Cost
    ///
    /// As [`inspect`](Self::inspect) of one letter, and a clone.
    pub fn peek(&self) -> Option<DeadLetter<T>>
    where
        T: Clone + Sync,
    {
        let mut oldest = None;
        self.inspect(1, |letter| oldest = Some(letter.clone()));
        oldest
    }

    /// Shows up to `max` letters to `look`, oldest first, and leaves them inside. Returns how many there were.
    ///
    /// Meanwhile nobody else can take or inspect, and a push to a full queue loses the new letter, counted as
    /// [`overwritten`](Self::overwritten): `look` should be short.
    ///
    /// # Cost
    ///
    /// No allocation; bounded spin while another thread inspects the queue, else two atomic operations and a load for each
    /// letter.
    pub fn inspect(&self, max: usize, mut look: impl FnMut(&DeadLetter<T>)) -> usize
    where
        T: Sync,
    {
        for _ in 0..PATIENCE {
            match self.ring.look(max, &mut look) {
                Ok(seen) => return seen,
                Err(Miss::Held) => spin_loop(),
                Err(_) => return 0,
            }
        }
        0
    }

    /// Takes letters one by one until none is left, or as many as the queue holds, so that it ends even while others
    /// push.
    pub fn drain(&self) -> Drain<'_, T, S> {
        Drain { queue: self, left: self.capacity() }
    }

    /// How many letters are inside, counting those being put in and taken out; exact when nobody does either.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether [`len`](Self::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// How many letters the queue holds at most.
    pub const fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// How many letters were ever pushed. The count wraps at the machine's word.
    pub fn pushed(&self) -> usize {
        self.pushed.load(Ordering::Relaxed)
    }

    /// How many letters were lost because the queue was full. The count wraps at the machine's word.
    pub fn overwritten(&self) -> usize {
        self.overwritten.load(Ordering::Relaxed)
    }
}

impl<T, S: Storage<DeadLetter<T>>> fmt::Debug for DeadLetterQueue<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterQueue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("pushed", &self.pushed())
            .field("overwritten", &self.overwritten())
            .finish()
    }
}

/// Takes letters out of a queue; made by [`DeadLetterQueue::drain`]. What it has not taken when dropped stays inside.
#[must_use = "a drain takes letters only when it is iterated"]
pub struct Drain<'a, T, S: Storage<DeadLetter<T>>> {
    queue: &'a DeadLetterQueue<T, S>,
    left: usize,
}

impl<T, S: Storage<DeadLetter<T>>> Iterator for Drain<'_, T, S> {
    type Item = DeadLetter<T>;

    fn next(&mut self) -> Option<DeadLetter<T>> {
        self.left = self.left.checked_sub(1)?;
        self.queue.take()
    }
}

impl<T, S: Storage<DeadLetter<T>>> fmt::Debug for Drain<'_, T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").field("left", &self.left).finish_non_exhaustive()
    }
}
