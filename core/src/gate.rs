//! A gate that counts who goes in and how each comes out, and that can be closed for good.

use core::fmt;

use crate::sync::{AtomicBool, AtomicUsize, Ordering, const_array, const_fn};

/// Counts entries and, by kind, exits; once closed, it lets nobody in and tells when everybody is out.
///
/// It is the front door of a bus: `EXITS` are the ways in which an emit can end (routed, unrouted, refused), so that at
/// any quiet moment `entered = sum of exits`, the first line of the ledger; and a shutdown that has closed the gate and
/// found it [quiet](Self::is_quiet) knows that no emit is half-way.
///
/// Counts are spread over `STRIPES` cache lines; callers pass any number that is stable for their thread. Counters wrap
/// at the machine's word.
///
/// # Cost
///
/// One atomic addition on the caller's stripe to enter and one to leave; wait-free. No allocation.
///
/// # Examples
///
/// ```
/// use nervebus_core::gate::Gate;
///
/// let gate: Gate<2, 4> = Gate::new();
/// let pass = gate.enter(0).unwrap();
/// gate.close();
/// assert!(gate.enter(1).is_none());
/// assert!(!gate.is_quiet());       // one is still inside
/// pass.leave(0);
/// assert!(gate.is_quiet());
/// assert_eq!((gate.entered(), gate.left(0)), (1, 1));
/// ```
pub struct Gate<const EXITS: usize, const STRIPES: usize> {
    closed: AtomicBool,
    stripes: [Stripe<EXITS>; STRIPES],
}

#[cfg_attr(target_pointer_width = "64", repr(align(128)))]
struct Stripe<const EXITS: usize> {
    entered: AtomicUsize,
    /// Those who found the gate closed: counted in `entered` for a moment, never as an exit.
    turned_away: AtomicUsize,
    left: [AtomicUsize; EXITS],
}

/// A right to be inside; [`leave`](Self::leave) gives it back. Dropped (by a panic inside, say), it leaves by the last
/// exit.
#[must_use = "whoever enters must leave, or the gate never falls quiet"]
#[derive(Debug)]
pub struct Pass<'a, const EXITS: usize> {
    stripe: &'a Stripe<EXITS>,
}

impl<const EXITS: usize> Stripe<EXITS> {
    const_fn! {
        const fn new() -> Self {
            Self {
                entered: AtomicUsize::new(0),
                turned_away: AtomicUsize::new(0),
                left: const_array!(AtomicUsize::new(0)),
            }
        }
    }
}

impl<const EXITS: usize> Stripe<EXITS> {
    #[inline]
    fn leave(&self, kind: usize) {
        if let Some(exit) = self.left.get(kind).or(self.left.last()) {
            // Release pairs with the Acquire loads in `is_quiet` and `left`.
            exit.fetch_add(1, Ordering::Release);
        }
    }
}

impl<const EXITS: usize, const STRIPES: usize> Gate<EXITS, STRIPES> {
    const_fn! {
        /// An open gate with nobody inside; needs at least one stripe, or it fails to compile.
        pub const fn new() -> Self {
            const { assert!(STRIPES > 0, "a gate needs at least one stripe") };
            Self { closed: AtomicBool::new(false), stripes: const_array!(Stripe::new()) }
        }
    }

    /// Goes in, unless the gate is closed.
    #[inline]
    pub fn enter(&self, stripe: usize) -> Option<Pass<'_, EXITS>> {
        let stripe = &self.stripes[stripe % STRIPES];
        // AcqRel pairs with the read-modify-write in `is_quiet`: either that one counts us, or we acquire it and with
        // it the closed flag, which its thread stored before.
        stripe.entered.fetch_add(1, Ordering::AcqRel);
        if self.closed.load(Ordering::Relaxed) {
            // Release pairs with the Acquire in `entered`: whoever counts us here has counted us there.
            stripe.turned_away.fetch_add(1, Ordering::Release);
            return None;
        }
        Some(Pass { stripe })
    }

    /// Lets nobody in from now on. Returns whether this call closed it.
    pub fn close(&self) -> bool {
        // Relaxed: the flag guards nothing by itself. The order against `enter` comes from `is_quiet`.
        !self.closed.swap(true, Ordering::Relaxed)
    }

    /// Whether [`close`](Self::close) was called.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether nobody is inside. After this thread closed the gate (or saw it closed) and this said `true`, nobody is
    /// inside and nobody will be.
    ///
    /// # Cost
    ///
    /// One atomic read-modify-write for each stripe; for shutting down, not for the hot path.
    pub fn is_quiet(&self) -> bool {
        self.stripes.iter().all(|stripe| {
            // Exits first: were entries read first, somebody who is turned away after that would stand in for somebody
            // who is still inside.
            // Relaxed: who was turned away has done nothing inside.
            let away = stripe.turned_away.load(Ordering::Relaxed);
            // Acquire pairs with the Release in `leave`: what was done inside happened before this.
            let left = stripe.left.iter().map(|exit| exit.load(Ordering::Acquire));
            let out = left.fold(away, usize::wrapping_add);
            // AcqRel pairs with `enter`. A plain load could be old and miss somebody who has just gone in.
            stripe.entered.fetch_add(0, Ordering::AcqRel) == out
        })
    }

    /// How many went in since the beginning; those who were turned away do not count.
    pub fn entered(&self) -> usize {
        self.stripes.iter().fold(0, |sum: usize, stripe| {
            // Acquire on the first: a newcomer counted there is not yet missing from the second.
            let away = stripe.turned_away.load(Ordering::Acquire);
            sum.wrapping_add(stripe.entered.load(Ordering::Relaxed).wrapping_sub(away))
        })
    }

    /// How many left by the exit `kind`; 0 for a kind that does not exist.
    pub fn left(&self, kind: usize) -> usize {
        // Acquire: so that a reader who takes exits first and entries second never sees more exits than entries.
        let exits = self.stripes.iter().filter_map(|stripe| stripe.left.get(kind));
        exits.fold(0, |sum, exit| sum.wrapping_add(exit.load(Ordering::Acquire)))
    }

    /// How many were turned away because the gate was closed.
    pub fn turned_away(&self) -> usize {
        self.stripes.iter().fold(0, |sum, stripe| sum.wrapping_add(stripe.turned_away.load(Ordering::Relaxed)))
    }
}

impl<const EXITS: usize> Pass<'_, EXITS> {
    /// Leaves by the exit `kind`. A kind that does not exist counts as the last one.
    #[inline]
    pub fn leave(self, kind: usize) {
        self.stripe.leave(kind);
        core::mem::forget(self);
    }

    /// Leaves by the exit `kind`, faster: for callers who know that no other thread uses their stripe meanwhile. If one
    /// does, exits are lost, and the gate never falls quiet.
    ///
    /// # Cost
    ///
    /// One load and one store instead of an atomic addition.
    #[inline]
    pub fn leave_alone(self, kind: usize) {
        if let Some(exit) = self.stripe.left.get(kind).or(self.stripe.left.last()) {
            // Relaxed: the caller's own store, or one it has synchronised with when it got the stripe.
            let left = exit.load(Ordering::Relaxed);
            // Release pairs with the Acquire loads in `is_quiet` and `left`.
            exit.store(left.wrapping_add(1), Ordering::Release);
        }
        core::mem::forget(self);
    }
}

impl<const EXITS: usize> Drop for Pass<'_, EXITS> {
    fn drop(&mut self) {
        self.stripe.leave(EXITS);
    }
}

impl<const EXITS: usize, const STRIPES: usize> Default for Gate<EXITS, STRIPES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const EXITS: usize, const STRIPES: usize> fmt::Debug for Gate<EXITS, STRIPES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("closed", &self.is_closed()).field("entered", &self.entered()).finish()
    }
}

impl<const EXITS: usize> fmt::Debug for Stripe<EXITS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stripe").finish_non_exhaustive()
    }
}
