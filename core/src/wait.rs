//! How an idle consumer says that it sleeps, and how a producer finds out without paying for it.

use core::fmt;

use crate::sync::{AtomicBool, Ordering, const_fn};

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
