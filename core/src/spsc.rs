//! A bounded queue for one producer and one consumer, whose pushes and pops need no atomic read-modify-write.
//!
//! Where a topology has one producer and one consumer (an interrupt and a main loop, two stages of a pipeline), neither
//! has to claim anything: a flag in each slot says whose turn it is, and neither looks at the other's position. So the only
//! cache lines that cross are those of the values. The idea is FastForward's (Giacomoni, Moseley and Vachharajani,
//! PPoPP 2008).

use core::fmt;
use core::marker::PhantomData;

use crate::ring::{BatchError, MAX_CAPACITY, Padded, PopError, PushError, Shape, Slot, Storage};
use crate::sync::{AtomicBool, AtomicUsize, Ordering, const_array, const_fn};

#[cfg(feature = "alloc")]
use crate::ring::{CapacityError, boxed};

mod consumer;
mod producer;

pub use consumer::Consumer;
pub use producer::Producer;

/// The stamp of a slot that waits for a value.
const EMPTY: usize = 0;
/// The stamp of a slot that holds one.
const FULL: usize = 1;

/// A queue whose storage is an array inside it, so that it fits in a `static`.
///
/// # Examples
///
/// ```
/// use nervebus_core::ring::PushError;
/// use nervebus_core::spsc::StaticSpsc;
///
/// static SAMPLES: StaticSpsc<u32, 2> = StaticSpsc::new();
///
/// let (mut producer, mut consumer) = SAMPLES.split().expect("nobody has split it before");
/// producer.push(1)?;
/// producer.push(2)?;
/// assert_eq!(producer.push(3), Err(PushError::Full(3)));
/// assert_eq!(consumer.pop(), Ok(1));
/// # Ok::<(), PushError<u32>>(())
/// ```
pub type StaticSpsc<T, const N: usize> = Spsc<T, [Slot<T>; N]>;

/// A queue whose storage is on the heap and whose capacity is chosen at run time.
#[cfg(feature = "alloc")]
pub type BoxedSpsc<T> = Spsc<T, alloc::boxed::Box<[Slot<T>]>>;

/// A bounded queue of `T` for one [`Producer`] and one [`Consumer`].
///
/// Dropping the producer closes the queue for the consumer, once it has taken what is inside; dropping the consumer
/// closes it for the producer. Dropping the queue drops what it still holds, each value once, even when the `Drop` of one
/// of them panics.
///
/// # Cost
///
/// No allocation after construction. Push and pop are two loads and two stores, wait-free on every target. A
/// consumer that sleeps must be woken, and that does need an atomic read-modify-write: see [`Producer::announce`]. A
/// producer that waits for room polls.
pub struct Spsc<T, S: Storage<T>> {
    /// Where the next value goes; written and, other than for [`len`](Self::len), read by the producer alone.
    tail: Padded<AtomicUsize>,
    /// Where the oldest value is; the consumer's in the same way.
    head: Padded<AtomicUsize>,
    /// Where an announcing producer and a consumer about to sleep meet.
    announced: Padded<AtomicUsize>,
    /// The producer is gone.
    finished: AtomicBool,
    /// The consumer is gone.
    refused: AtomicBool,
    split: AtomicBool,
    shape: Shape,
    slots: S,
    marker: PhantomData<T>,
}

// SAFETY: a queue owns its values and hands each to exactly one thread, so sending the queue sends values of `T`, which
// `T: Send` allows. `S` holds nothing but slots (the trait is sealed).
unsafe impl<T: Send, S: Storage<T>> Send for Spsc<T, S> {}
// SAFETY: through a shared queue a value moves from the producer's thread to the consumer's (`T: Send`); nobody ever gets a
// `&T`. `split` makes one producer and one consumer at most, whose methods take `&mut self`: the producer alone touches a
// slot whose stamp says EMPTY, the consumer alone one that says FULL, and each passes it on with the store of the stamp.
unsafe impl<T: Send, S: Storage<T>> Sync for Spsc<T, S> {}

impl<T, const N: usize> StaticSpsc<T, N> {
    const_fn! {
        /// An empty queue of `N` slots; a capacity outside `1..=MAX_CAPACITY` fails to compile.
        ///
        /// ```compile_fail
        /// // Capacity 0: does not compile.
        /// static NOTHING: nervebus_core::spsc::StaticSpsc<u8, 0> = nervebus_core::spsc::StaticSpsc::new();
        /// ```
        pub const fn new() -> Self {
            const { assert!(N > 0 && N <= MAX_CAPACITY, "the capacity of a queue must be in 1..=MAX_CAPACITY") };
            Self::over(const_array!(Slot::new()), N)
        }
    }
}

impl<T, const N: usize> Default for StaticSpsc<T, N> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(feature = "alloc")]
impl<T> BoxedSpsc<T> {
    /// An empty queue of `capacity` slots.
    ///
    /// # Errors
    ///
    /// [`CapacityError`] when the capacity is outside `1..=MAX_CAPACITY`.
    ///
    /// # Cost
    ///
    /// One allocation, the only one in the queue's life.
    ///
    /// # Panics
    ///
    /// Panics or aborts, as a `Vec` does, where there is no memory for that many slots.
    pub fn with_capacity(capacity: usize) -> Result<Self, CapacityError> {
        Ok(Self::over(boxed(capacity)?, capacity))
    }

    /// The two ends of a new queue, to be sent to two threads.
    ///
    /// # Errors
    ///
    /// As [`with_capacity`](Self::with_capacity).
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus_core::ring::PopError;
    /// use nervebus_core::spsc::BoxedSpsc;
    ///
    /// let (mut producer, mut consumer) = BoxedSpsc::channel(64)?;
    /// let sender = std::thread::spawn(move || (0..10).for_each(|n| producer.push(n).unwrap()));
    /// sender.join().unwrap();
    /// let all: Vec<u32> = std::iter::from_fn(|| consumer.pop().ok()).collect();
    /// assert_eq!((all.len(), consumer.pop()), (10, Err(PopError::Closed)));
    /// # Ok::<(), nervebus_core::ring::CapacityError>(())
    /// ```
    pub fn channel(capacity: usize) -> Result<Ends<T, alloc::sync::Arc<Self>>, CapacityError> {
        let queue = alloc::sync::Arc::new(Self::with_capacity(capacity)?);
        // Relaxed: nobody else has it yet.
        queue.split.store(true, Ordering::Relaxed);
        Ok((Producer::new(alloc::sync::Arc::clone(&queue)), Consumer::new(queue)))
    }
}

/// The two ends of a queue.
pub type Ends<T, Q> = (Producer<T, Q>, Consumer<T, Q>);

impl<T, S: Storage<T>> Spsc<T, S> {
    const_fn! {
        /// An empty queue over as many slots as its capacity is.
        const fn over(slots: S, capacity: usize) -> Self {
            Self {
                tail: Padded(AtomicUsize::new(0)),
                head: Padded(AtomicUsize::new(0)),
                announced: Padded(AtomicUsize::new(0)),
                finished: AtomicBool::new(false),
                refused: AtomicBool::new(false),
                split: AtomicBool::new(false),
                shape: Shape::of(capacity),
                slots,
                marker: PhantomData,
            }
        }
    }

    /// The arithmetic of this queue's positions; a constant for a queue in an array.
    #[inline(always)]
    fn shape(&self) -> Shape {
        S::shape(self.shape)
    }

    #[inline(always)]
    fn slot(&self, position: usize) -> &Slot<T> {
        &self.slots.slots()[self.shape().index(position)]
    }

    /// The two ends, or `None` when the queue has been split before.
    pub fn split(&self) -> Option<Ends<T, &Self>> {
        // Relaxed: whoever gets the ends got the queue in a way that shows it as it was made.
        if self.split.swap(true, Ordering::Relaxed) {
            return None;
        }
        Some((Producer::new(self), Consumer::new(self)))
    }

    /// How many values the queue holds at most.
    pub const fn capacity(&self) -> usize {
        self.shape.capacity
    }

    /// How many values are inside; may be off by those being put in and taken out at this moment.
    pub fn len(&self) -> usize {
        // Relaxed: both are statistics; the slots' stamps say what may be touched.
        let head = self.head.0.load(Ordering::Relaxed);
        self.shape().distance(head, self.tail.0.load(Ordering::Relaxed))
    }

    /// Whether [`len`](Self::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many pushes would succeed now if nobody popped.
    pub fn free_slots(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Whether one of the ends is gone.
    pub fn is_closed(&self) -> bool {
        self.finished.load(Ordering::Relaxed) || self.refused.load(Ordering::Relaxed)
    }
}

impl<T, S: Storage<T>> Drop for Spsc<T, S> {
    fn drop(&mut self) {
        // Once more when the `Drop` of a value panics, for those behind it.
        let rest = Rest(self);
        rest.empty();
    }
}

/// Drops what is left in a queue that has lost both ends, for they hold it.
struct Rest<'a, T, S: Storage<T>>(&'a Spsc<T, S>);

impl<T, S: Storage<T>> Rest<'_, T, S> {
    fn empty(&self) {
        for slot in self.0.slots.slots() {
            // Relaxed, here and below: who drops the queue comes after all that was done with it.
            if slot.stamp.load(Ordering::Relaxed) == FULL {
                slot.stamp.store(EMPTY, Ordering::Relaxed);
                // SAFETY: FULL said that a push put a value in and that no pop took it out. Nobody else is there, and the
                // store above keeps this from being done twice.
                drop(unsafe { slot.take() });
            }
        }
    }
}

impl<T, S: Storage<T>> Drop for Rest<'_, T, S> {
    fn drop(&mut self) {
        self.empty();
    }
}

impl<T, S: Storage<T>> fmt::Debug for Spsc<T, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spsc")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// A position that goes on in a register and is written back at the end of a batch, also when that ends in a panic.
struct Moving<'a> {
    word: &'a AtomicUsize,
    position: usize,
}

impl<'a> Moving<'a> {
    #[inline(always)]
    fn of(word: &'a AtomicUsize) -> Self {
        // Relaxed, here and below: each position is one side's own.
        Self { word, position: word.load(Ordering::Relaxed) }
    }
}

impl Drop for Moving<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.word.store(self.position, Ordering::Relaxed);
    }
}

/// How an end holds its queue: by reference, or with `alloc` in an `Arc`.
pub trait Held<T>: sealed::Sealed {
    /// Where the queue keeps its slots.
    type Storage: Storage<T>;

    /// The queue; the same at every call.
    fn queue(&self) -> &Spsc<T, Self::Storage>;
}

mod sealed {
    pub trait Sealed {}
    impl<T, S: super::Storage<T>> Sealed for &super::Spsc<T, S> {}
    #[cfg(feature = "alloc")]
    impl<T, S: super::Storage<T>> Sealed for alloc::sync::Arc<super::Spsc<T, S>> {}
}

impl<T, S: Storage<T>> Held<T> for &Spsc<T, S> {
    type Storage = S;

    #[inline(always)]
    fn queue(&self) -> &Spsc<T, S> {
        self
    }
}

#[cfg(feature = "alloc")]
impl<T, S: Storage<T>> Held<T> for alloc::sync::Arc<Spsc<T, S>> {
    type Storage = S;

    #[inline(always)]
    fn queue(&self) -> &Spsc<T, S> {
        self
    }
}
