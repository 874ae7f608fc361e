//! Counters that many threads add to without sharing a cache line.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Over how many cache lines a counter is spread.
pub(crate) const STRIPES: usize = 8;

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The stripe of this thread: the same at every call; threads take them in turn.
#[inline]
pub(crate) fn stripe() -> usize {
    STRIPE.with(|own| match own.get() {
        usize::MAX => {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            // Relaxed: any distribution will do.
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
            own.set(next);
            next
        }
        stripe => stripe,
    })
}

/// A count, spread out.
#[derive(Debug, Default)]
pub(crate) struct Striped {
    stripes: [Stripe; STRIPES],
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

impl Striped {
    /// Adds on this thread's stripe.
    #[inline]
    pub(crate) fn add(&self, stripe: usize, count: u64) {
        // Release pairs with the Acquire in `sum`: whoever sees this count sees what was counted before it.
        self.stripes[stripe % STRIPES].0.fetch_add(count, Ordering::Release);
    }

    /// The sum over all stripes; exact when nobody adds.
    pub(crate) fn sum(&self) -> u64 {
        // Acquire pairs with the Release in `add`.
        self.stripes.iter().map(|stripe| stripe.0.load(Ordering::Acquire)).sum()
    }
}

/// How the deliveries of a lane ended. One writer for the most part: the lane's worker.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Outcomes {
    pub(crate) handled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) cancelled: AtomicU64,
}

/// Adds to one of the [`Outcomes`].
#[inline]
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    if count != 0 {
        // Release pairs with the Acquire in `read`, as in `Striped`.
        counter.fetch_add(count, Ordering::Release);
    }
}

/// Reads one of the [`Outcomes`].
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    // Acquire pairs with the Release in `add`.
    counter.load(Ordering::Acquire)
}
