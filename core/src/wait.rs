//! How an idle consumer says that it sleeps, and how a producer finds out without paying for it.

use core::fmt;

use crate::sync::{AtomicBool, Ordering, const_fn, spin_loop};

/// A way to sleep and to be woken.
///
/// [`Spin`] never sleeps and is the one that needs no system. Parking a thread, waking a task, waiting for an interrupt
/// are a few lines each where threads, tasks and interrupts are; with a [`Waiter`] none of them misses a wake-up.
///
/// # Examples
///
/// A thread that parks. It says who it is before it waits for the first time; until then nobody has to wake it. With a
/// [`Spsc`](crate::spsc::Spsc) the producer announces before it wakes:
///
/// ```
/// use nervebus_core::ring::PopError;
/// use nervebus_core::spsc::BoxedSpsc;
/// use nervebus_core::wait::{Wait, Waiter};
/// use std::sync::{Arc, OnceLock};
/// use std::thread::{self, Thread};
///
/// #[derive(Default)]
/// struct Park(OnceLock<Thread>);
///
/// impl Wait for Park {
///     fn wait(&self) {
///         thread::park();
///     }
///     fn wake(&self) {
///         if let Some(thread) = self.0.get() {
///             thread.unpark();
///         }
///     }
/// }
///
/// let consumer = Arc::new(Waiter::<Park>::default());
/// let (mut sender, mut receiver) = BoxedSpsc::channel(8)?;
/// let bed = Arc::clone(&consumer);
/// let thread = thread::spawn(move || {
///     bed.how().0.get_or_init(thread::current);
///     let mut sum = 0;
///     loop {
///         match receiver.pop() {
///             Ok(number) => sum += number,
///             Err(PopError::Empty) => drop(bed.wait_unless(|| receiver.has_arrivals())),
///             Err(PopError::Closed) => return sum,
///         }
///     }
/// });
/// for number in 1..=3 {
///     sender.push(number).unwrap();
///     sender.announce();
///     consumer.wake();
/// }
/// drop(sender); // announces by itself
/// consumer.wake();
/// assert_eq!(thread.join().unwrap(), 6);
/// # Ok::<(), nervebus_core::ring::CapacityError>(())
/// ```
pub trait Wait {
    /// Sleeps. A [`wake`](Self::wake) that began before must not be missed: if it came first, this returns at once. It may
    /// return early for no reason.
    fn wait(&self);

    /// Ends the present [`wait`](Self::wait), or the next one. Called by any thread, and by interrupts where those push.
    fn wake(&self);
}

impl<W: Wait + ?Sized> Wait for &W {
    fn wait(&self) {
        (**self).wait();
    }

    fn wake(&self) {
        (**self).wake();
    }
}

/// Does not sleep: hints to the processor that this is a loop, and returns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spin;

impl Wait for Spin {
    #[inline]
    fn wait(&self) {
        spin_loop();
    }

    #[inline]
    fn wake(&self) {}
}

/// A place where one side sleeps, by any means, and others wake it: a [`Doorbell`] and a way to [`Wait`].
///
/// One sleeper at a time; a queue with several consumers has a waiter for each.
///
/// # Cost
///
/// While nobody sleeps, [`wake`](Self::wake) is one relaxed load.
///
/// # Examples
///
/// ```
/// use nervebus_core::ring::{PopError, StaticRing};
/// use nervebus_core::wait::{Spin, Waiter};
///
/// static RING: StaticRing<u32, 8> = StaticRing::new();
/// static CONSUMER: Waiter<Spin> = Waiter::new(Spin);
///
/// fn emit(value: u32) -> bool {
///     let taken = RING.try_push(value).is_ok();
///     CONSUMER.wake();
///     taken
/// }
///
/// fn consume() -> u32 {
///     loop {
///         match RING.pop() {
///             Ok(value) => return value,
///             Err(PopError::Empty) => CONSUMER.wait_unless(|| RING.has_arrivals()),
///             Err(PopError::Closed) => return 0,
///         };
///     }
/// }
///
/// emit(7);
/// assert_eq!(consume(), 7);
/// ```
#[derive(Debug, Default)]
pub struct Waiter<W> {
    bell: Doorbell,
    how: W,
}

impl<W> Waiter<W> {
    const_fn! {
        /// A waiter at which nobody sleeps.
        pub const fn new(how: W) -> Self {
            Self { bell: Doorbell::new(), how }
        }
    }

    /// The bell, for a sleeper that does not sleep in a call: an `async` consumer arms it, looks once more, and returns
    /// `Pending`.
    pub const fn bell(&self) -> &Doorbell {
        &self.bell
    }

    /// The way to wait.
    pub const fn how(&self) -> &W {
        &self.how
    }
}

impl<W: Wait> Waiter<W> {
    /// Sleeps once, unless `busy` says that there is something to do; it is called after the bell was armed, and must look
    /// with a read-modify-write as [`Doorbell`] says. Returns whether it slept.
    ///
    /// It may return early; the caller looks for work and calls it again.
    pub fn wait_unless(&self, busy: impl FnOnce() -> bool) -> bool {
        self.bell.arm();
        let idle = !busy();
        if idle {
            self.how.wait();
        }
        self.bell.disarm();
        idle
    }

    /// Wakes the sleeper if there is one; to be called after the work for it is in place, which for a
    /// [`Spsc`](crate::spsc::Spsc) includes [`announce`](crate::spsc::Producer::announce). Returns whether there was one.
    #[inline]
    pub fn wake(&self) -> bool {
        let asleep = self.bell.ring();
        if asleep {
            self.how.wake();
        }
        asleep
    }
}

/// A flag between one side that may sleep and others that must wake it.
///
/// The sleeper arms the bell, looks once more for work with a *read-modify-write of the same word that the waking side
/// writes with a read-modify-write* ([`Ring::has_arrivals`](crate::ring::Ring::has_arrivals) is one), and sleeps only
/// if there is none. The waking side does its work and then calls [`ring`](Self::ring); when that says `true`, it must
/// wake the sleeper by whatever means sleeping uses: unparking a thread, waking a task, sending an event.
///
/// No wake-up is lost, and no sequentially consistent fence is needed: the two read-modify-writes are ordered by the
/// word they share, and the later one acquires what came before the earlier.
///
/// # Cost
///
/// When nobody sleeps, [`ring`](Self::ring) is one relaxed load. Wait-free.
///
/// # Examples
///
/// ```
/// use nervebus_core::ring::StaticRing;
/// use nervebus_core::wait::Doorbell;
///
/// let (ring, bell) = (StaticRing::<u8, 4>::new(), Doorbell::new());
/// bell.arm();
/// assert!(!ring.has_arrivals());      // nothing came: the consumer may sleep
/// ring.try_push(1).unwrap();
/// assert!(bell.ring());               // the producer learns that it must wake it
/// assert!(!bell.ring());              // once is enough
/// ```
pub struct Doorbell {
    armed: AtomicBool,
}

impl Doorbell {
    const_fn! {
        /// A bell that nobody waits at.
        pub const fn new() -> Self {
            Self { armed: AtomicBool::new(false) }
        }
    }

    /// Says that the caller is about to sleep.
    #[inline]
    pub fn arm(&self) {
        // Relaxed is enough: the read-modify-write that must follow releases it. A swap and not a store, because loom
        // does not know that nothing comes between a swap in `ring` and the value it has read.
        self.armed.swap(true, Ordering::Relaxed);
    }

    /// Says that the caller does not sleep after all, or has woken.
    #[inline]
    pub fn disarm(&self) {
        // Relaxed: a wake-up that comes late is a spare one, which sleepers must bear anyway. A swap as in `arm`.
        self.armed.swap(false, Ordering::Relaxed);
    }

    /// Whether the caller must wake the sleeper; `true` for one caller each time the bell was armed.
    #[inline]
    pub fn ring(&self) -> bool {
        // Relaxed: what orders this load after `arm` is the word that both sides write (see the type).
        // The swap decides between several who ring at once.
        self.armed.load(Ordering::Relaxed) && self.armed.swap(false, Ordering::Relaxed)
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").field("armed", &self.armed.load(Ordering::Relaxed)).finish()
    }
}
