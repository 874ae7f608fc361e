//! A bounded ring buffer for many producers and many consumers, over any storage.
//!
//! The state machine follows Dmitry Vyukov's bounded MPMC queue (1024cores.net, "Bounded MPMC queue"): every slot
//! carries a stamp that says which lap it belongs to and whether it holds a value, so producers and consumers meet
//! only in the slot they work on. Ours differs in three points: any capacity is allowed, not only powers of two;
//! stamps count laps and start at zero, so a ring can live in a `static`; and the tail carries a 'closed' bit, so that
//! closing is one atomic step after which no push can succeed.
//!
//! A position is `lap | mark | index`: the index in the low bits, one bit that says 'closed' in the tail and 'held' in the
//! head, and the number of the lap above. A slot's stamp is its `lap` when it waits for the value of that lap, `lap | FULL`
//! when it holds it, and `lap | HOLE` when a batch claimed it and had no value for it.

use core::fmt;
use core::marker::PhantomData;

use self::claim::{Claimed, Refusal};
use self::shape::{FULL, HOLE};
use crate::sync::{AtomicBool, AtomicUsize, Ordering, const_array, const_fn, look_again, spin_loop};

mod batch;
mod claim;
mod error;
mod inspect;
mod shape;
mod slot;
mod watch;

pub use self::error::{BatchError, CapacityError, PopError, PushError};
#[cfg(feature = "alloc")]
pub(crate) use self::slot::boxed;
pub use self::slot::{Slot, Storage};
pub(crate) use self::{error::Miss, shape::Shape, slot::Padded};

/// How often [`Ring::push_overwrite`] looks again when a slot is neither free nor ready, before it gives the value back.
const OVERWRITE_PATIENCE: usize = if cfg!(nervebus_loom) { 2 } else { 128 };

/// The largest capacity of a ring, in slots: positions need the other half of a machine word to count laps.
pub const MAX_CAPACITY: usize = 1 << (usize::BITS / 2 - 2);

/// A ring whose storage is an array inside it, so that it fits in a `static`.
///
/// # Examples
///
/// ```
/// use nervebus_core::ring::{PushError, StaticRing};
///
/// static RING: StaticRing<u32, 2> = StaticRing::new();
///
/// RING.try_push(1).unwrap();
/// RING.try_push(2).unwrap();
/// assert_eq!(RING.try_push(3), Err(PushError::Full(3)));
/// assert_eq!(RING.pop(), Ok(1));
/// ```
pub type StaticRing<T, const N: usize> = Ring<T, [Slot<T>; N]>;

/// A ring whose storage is on the heap and whose capacity is chosen at run time.
#[cfg(feature = "alloc")]
pub type BoxedRing<T> = Ring<T, alloc::boxed::Box<[Slot<T>]>>;

/// A bounded queue of `T` for many producers and many consumers.
///
/// Values leave in the order in which their slots were claimed. When the ring is full, [`try_push`](Self::try_push)
/// gives the value back; after [`close`](Self::close), pushes are refused and what is inside can still be popped.
/// Dropping a ring drops what it still holds, each value once, even when the `Drop` of one of them panics.
///
/// Where there is one producer and one consumer, [`Spsc`](crate::spsc::Spsc) does the same several times faster.
///
/// # Cost
///
/// No allocation after construction. Push and pop are one compare-exchange, one load and one store when nobody
/// interferes; they retry only when another thread has made progress. They are *non-blocking* but not lock-free in
/// the strict sense: a producer that is stopped between claiming a slot and publishing it hides what comes behind it
/// from consumers (they see [`PopError::Empty`]) until it runs again, and a consumer stopped while it takes a value
/// makes its slot look taken. Neither side ever waits inside a call. A consumer that finds nothing touches no line that
/// producers write, other than the slot it waits for.
pub struct Ring<T, S: Storage<T>> {
    tail: Padded<AtomicUsize>,
    head: Padded<AtomicUsize>,
    shape: Shape,
    /// Set before the mark of the tail, and written once: tells consumers without a look at the tail, a line that every
    /// push writes, that it may have been closed.
    closing: AtomicBool,
    slots: S,
    marker: PhantomData<T>,
}

// SAFETY: a ring owns its values and hands each to exactly one thread, so sending the ring sends values of `T`, which
// `T: Send` allows. `S` holds nothing but slots (the trait is sealed).
unsafe impl<T: Send, S: Storage<T>> Send for Ring<T, S> {}
// SAFETY: through a shared ring a value moves from the thread that pushed it to the one that pops it (`T: Send`). Only
// `inspect` lends a `&T`, and asks for `T: Sync` itself. Slots are written and emptied only between the claim of a position
// (compare-exchange on tail or head) and the store of the stamp that passes them on; they are looked at only while the mark
// in the head keeps all others from claiming them.
unsafe impl<T: Send, S: Storage<T>> Sync for Ring<T, S> {}

impl<T, const N: usize> StaticRing<T, N> {
    const_fn! {
        /// An empty ring of `N` slots; a capacity outside `1..=MAX_CAPACITY` fails to compile.
        ///
        /// ```compile_fail
        /// // Capacity 0: does not compile.
        /// static NOTHING: nervebus_core::ring::StaticRing<u8, 0> = nervebus_core::ring::StaticRing::new();
        /// ```
        pub const fn new() -> Self {
            const { assert!(N > 0 && N <= MAX_CAPACITY, "the capacity of a ring must be in 1..=MAX_CAPACITY") };
            Self::over(const_array!(Slot::new()), N)
        }
    }
}

impl<T, const N: usize> Default for StaticRing<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "alloc")]
impl<T> BoxedRing<T> {
    /// An empty ring of `capacity` slots.
    ///
    /// # Errors
    ///
    /// [`CapacityError`] when the capacity is outside `1..=MAX_CAPACITY`.
    ///
    /// # Cost
    ///
    /// One allocation, the only one in the ring's life.
    ///
    /// # Panics
    ///
    /// Panics or aborts, as a `Vec` does, where there is no memory for that many slots.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus_core::ring::BoxedRing;
    ///
    /// let ring = BoxedRing::with_capacity(1_000).unwrap();
    /// ring.try_push("hello").unwrap();
    /// assert_eq!(ring.len(), 1);
    /// assert!(BoxedRing::<u8>::with_capacity(0).is_err());
    /// ```
    pub fn with_capacity(capacity: usize) -> Result<Self, CapacityError> {
        Ok(Self::over(boxed(capacity)?, capacity))
    }
}

impl<T, S: Storage<T>> Ring<T, S> {
    const_fn! {
        /// An empty ring over as many slots as its capacity is.
        const fn over(slots: S, capacity: usize) -> Self {
            Self {
                tail: Padded(AtomicUsize::new(0)),
                head: Padded(AtomicUsize::new(0)),
                shape: Shape::of(capacity),
                closing: AtomicBool::new(false),
                slots,
                marker: PhantomData,
            }
        }
    }

    /// The arithmetic of this ring's positions; a constant for a ring in an array.
    #[inline(always)]
    fn shape(&self) -> Shape {
        S::shape(self.shape)
    }

    #[inline(always)]
    fn slot(&self, position: usize) -> &Slot<T> {
        &self.slots.slots()[self.shape().index(position)]
    }

    /// How many values the ring holds at most.
    pub const fn capacity(&self) -> usize {
        self.shape.capacity
    }

    /// Puts a value in, if there is room.
    ///
    /// A slot whose consumer has claimed it but not finished taking its value counts as taken.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] or [`PushError::Closed`], with the value.
    ///
    /// # Cost
    ///
    /// No allocation; one compare-exchange and one store. Non-blocking: it retries only after another push succeeded.
    #[inline]
    pub fn try_push(&self, value: T) -> Result<(), PushError<T>> {
        match self.claim() {
            Ok(claimed) => {
                claimed.fill(|| value);
                Ok(())
            }
            Err(refusal) => Err(refusal.with(value)),
        }
    }

    /// Makes a value in its slot, if there is room: a large one is then not moved there.
    ///
    /// The slot is claimed before `make` runs. Until it returns, consumers find the ring empty at that place, and
    /// producers may find it full: it should be short. A `make` that panics leaves a hole that consumers step over.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] or [`PushError::Closed`], with `make`, which has not run.
    ///
    /// # Cost
    ///
    /// That of [`try_push`](Self::try_push).
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus_core::ring::StaticRing;
    ///
    /// let ring: StaticRing<[u64; 16], 4> = StaticRing::new();
    /// assert!(ring.try_push_with(|| [7; 16]).is_ok());
    /// assert_eq!(ring.pop(), Ok([7; 16]));
    /// ```
    #[inline]
    pub fn try_push_with<F: FnOnce() -> T>(&self, make: F) -> Result<(), PushError<F>> {
        match self.claim() {
            Ok(claimed) => {
                claimed.fill(make);
                Ok(())
            }
            Err(refusal) => Err(refusal.with(make)),
        }
    }

    /// Claims the slot at the tail for this thread alone.
    #[inline(always)]
    fn claim(&self) -> Result<Claimed<'_, T>, Refusal> {
        let shape = self.shape();
        let mut tail = self.tail.0.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(tail);
            let free = shape.stamp(tail);
            // Acquire pairs with the Release store of the stamp in `pop`: the last value has been moved out.
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp != free {
                match self.why_not_free(tail, stamp) {
                    Obstacle::Closed => return Err(Refusal::Closed),
                    Obstacle::Full => return Err(Refusal::Full),
                    Obstacle::Stale(now) => tail = now,
                }
                continue;
            }
            // AcqRel pairs with the read-modify-write in `has_arrivals`, not with the slot: see there.
            match self.tail.0.compare_exchange_weak(tail, shape.next(tail), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(Claimed { slot, free }),
                Err(now) => tail = now,
            }
        }
    }

    /// Why the slot at `tail` with this stamp takes no value now. Apart, so that a push is small enough to be inlined.
    #[cold]
    #[inline(never)]
    fn why_not_free(&self, tail: usize, stamp: usize) -> Obstacle {
        if self.shape().is_marked(tail) {
            // A second look, for what `close` released with the mark: so a thread that was told 'closed' by a push is not
            // told 'empty' by a pop.
            let _ = self.is_closed();
            return Obstacle::Closed;
        }
        if self.shape().is_a_lap_behind(stamp, tail) {
            // The value of the lap before is still here, or its producer has not finished putting it in: either way
            // every slot is claimed, and the one that comes next is not ours to wait for.
            return Obstacle::Full;
        }
        // Another producer was here: the tail is old.
        look_again();
        Obstacle::Stale(self.tail.0.load(Ordering::Relaxed))
    }

    /// Takes the oldest value.
    ///
    /// # Errors
    ///
    /// [`PopError::Empty`] when nothing is ready or another thread [inspects](Self::inspect) the ring,
    /// [`PopError::Closed`] when nothing will ever come again.
    ///
    /// # Cost
    ///
    /// No allocation; one compare-exchange and one store. Non-blocking: it retries only after another pop succeeded.
    #[inline]
    pub fn pop(&self) -> Result<T, PopError> {
        self.take()
    }

    /// [`pop`](Self::pop) for whoever wants another error, for example the difference between 'empty' and 'held'. Made
    /// where it is found: to convert the result would be to copy the value.
    #[inline]
    pub(crate) fn take<E: From<Miss>>(&self) -> Result<T, E> {
        let shape = self.shape();
        let mut head = self.head.0.load(Ordering::Relaxed);
        loop {
            let slot = self.slot(head);
            let full = shape.stamp(head) | FULL;
            // Acquire pairs with the Release store of the stamp in `try_push`: the value is there to be read.
            let stamp = slot.stamp.load(Ordering::Acquire);
            if stamp != full {
                head = self.why_not_full(head, stamp)?;
                continue;
            }
            // AcqRel pairs with the read-modify-write in `has_room`, not with the slot: see there. Acquire also pairs
            // with the Release in `Held::drop`: who looked at the value is done with it.
            match self.head.0.compare_exchange_weak(head, shape.next(head), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => {
                    // SAFETY: only one compare-exchange moves the head from this position, so this thread alone holds
                    // the slot; the stamp said FULL, so a push put a value in; no producer touches the slot, and nobody
                    // reads it again, once the store below says that it waits for the next lap.
                    let value = unsafe { slot.take() };
                    self.release(slot, head);
                    return Ok(value);
                }
                Err(now) => head = now,
            }
        }
    }

    /// Passes the slot that was at `head`, now empty, on to the producer of the next lap.
    #[inline(always)]
    fn release(&self, slot: &Slot<T>, head: usize) {
        // Release pairs with the Acquire load in `try_push`: the value has left before the next comes.
        slot.stamp.store(self.shape().stamp(head).wrapping_add(self.shape().one_lap()), Ordering::Release);
    }

    /// Where to look next when the slot at `head` with this stamp has no value to give, or why not to.
    #[cold]
    #[inline(never)]
    fn why_not_full(&self, head: usize, stamp: usize) -> Result<usize, Miss> {
        let shape = self.shape();
        if shape.is_marked(head) {
            return Err(Miss::Held);
        }
        if stamp == shape.stamp(head) | HOLE {
            return Ok(self.step_over(head));
        }
        if stamp == shape.stamp(head) || shape.is_a_lap_behind(stamp, head) {
            // Waiting for this lap's value, or the consumer of the lap before has not finished taking its own: the head
            // cannot be past this slot, so `head` is not old.
            let drained =
                self.closing.load(Ordering::Relaxed) && self.tail.0.load(Ordering::Relaxed) == head | shape.mark;
            return Err(if drained { Miss::Closed } else { Miss::Empty });
        }
        // Another consumer was here: our head is old.
        look_again();
        Ok(self.head.0.load(Ordering::Relaxed))
    }

    /// Moves the head past the hole at `head`, unless another consumer is faster, and returns where it is now.
    #[cold]
    fn step_over(&self, head: usize) -> usize {
        let next = self.shape().next(head);
        // AcqRel as in `pop`: this frees a slot as well. It needs no Acquire look at the stamp: there is no value to read,
        // and that the last one has left was seen by the hole's producer before it claimed the tail, which the slot's next
        // producer claims after it.
        match self.head.0.compare_exchange_weak(head, next, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => {
                self.release(self.slot(head), head);
                next
            }
            Err(now) => now,
        }
    }

    /// Puts a value in, displacing the oldest ones when the ring is full; each displaced value goes to `displaced`.
    ///
    /// # Errors
    ///
    /// [`PushError::Closed`] when the ring is closed. [`PushError::Full`] only when somebody in the middle of a push, a
    /// pop, a batch or a look inside blocks the slot, be it a thread that was stopped there or the caller itself: this
    /// call gives up after a bounded number of looks rather than wait.
    ///
    /// # Panics
    ///
    /// Not by itself. When `displaced` panics, the new value is dropped.
    ///
    /// # Cost
    ///
    /// As [`try_push`](Self::try_push), plus one [`pop`](Self::pop) for each value displaced; bounded spin.
    pub fn push_overwrite(&self, value: T, mut displaced: impl FnMut(T)) -> Result<(), PushError<T>> {
        let mut value = value;
        let mut patience = OVERWRITE_PATIENCE;
        loop {
            match self.try_push(value) {
                Err(PushError::Full(back)) => value = back,
                done => return done,
            }
            // Where there is room, the slot's old value is still being taken out: displacing others would not free it.
            let oldest = if self.free_slots() == 0 { self.pop() } else { Err(PopError::Empty) };
            match oldest {
                Ok(oldest) => displaced(oldest),
                Err(_) if patience == 0 => return Err(PushError::Full(value)),
                Err(_) => {
                    patience -= 1;
                    spin_loop();
                }
            }
        }
    }

    /// Refuses every push from now on; values inside can still be popped. Returns whether this call closed it.
    ///
    /// # Cost
    ///
    /// One store and one atomic operation; wait-free on targets with native fetch-or.
    pub fn close(&self) -> bool {
        // Relaxed: the read-modify-write below releases it to `has_arrivals`, so that a consumer that was told to look
        // again finds it set. One that finds it unset takes the ring for empty, which it still was for that thread.
        self.closing.store(true, Ordering::Relaxed);
        // AcqRel: a push that succeeded before is ordered before, and `has_arrivals` sees the mark as it sees a claim.
        !self.shape().is_marked(self.tail.0.fetch_or(self.shape().mark, Ordering::AcqRel))
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        // Acquire pairs with the read-modify-write in `close`: a pop that follows finds `closing` set.
        self.shape().is_marked(self.tail.0.load(Ordering::Acquire))
    }

    /// Lets a ring that nobody has used yet start as if it had gone round `laps` times, for tests of the wrap.
    #[doc(hidden)]
    pub fn start_at_lap(&mut self, laps: usize) {
        let position = laps.wrapping_mul(self.shape().one_lap());
        self.tail.0.store(position, Ordering::Relaxed);
        self.head.0.store(position, Ordering::Relaxed);
        for slot in self.slots.slots() {
            slot.stamp.store(position, Ordering::Relaxed);
        }
    }
}

/// Why a producer cannot have the slot it looked at.
enum Obstacle {
    Closed,
    Full,
    /// It looked at an old tail; this is the present one.
    Stale(usize),
}

impl<T, S: Storage<T>> Drop for Ring<T, S> {
    fn drop(&mut self) {
        // Once more when the `Drop` of a value panics, for those behind it.
        let rest = Rest(self);
        while rest.0.pop().is_ok() {}
    }
}

/// Drops what is left in a ring.
struct Rest<'a, T, S: Storage<T>>(&'a Ring<T, S>);

impl<T, S: Storage<T>> Drop for Rest<'_, T, S> {
    fn drop(&mut self) {
        while self.0.pop().is_ok() {}
    }
}

impl<T, S: Storage<T>> fmt::Debug for Ring<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish()
    }
}
