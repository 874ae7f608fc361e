//! A gate that numbers who goes in, counts how each comes out, and can be closed for good.

use core::fmt;

use crate::sync::{AtomicU64, Ordering, const_array, const_fn};

/// Numbers those who come in, counts how each leaves, and, once closed, lets nobody in and tells when everybody is out.
///
/// It is the front door of a bus: `EXITS` are the ways in which an emit can end (routed, unrouted, refused and so on), so
/// that at any quiet moment `entered = sum of exits`, the first line of the ledger; the number is the event's; and a
/// shutdown that has closed the gate and found it [quiet](Self::is_quiet) knows that no emit is half-way.
///
/// Exits are counted on `STRIPES` cache lines; callers pass any number that is stable for their thread. Whether the gate
/// is open, and how many have come, is one word: coming in, being numbered and seeing that it is closed are one step.
///
/// # Cost
///
/// One atomic addition on a word that all share to enter, one on the caller's stripe to leave; wait-free. No allocation.
///
/// # Examples
///
/// ```
/// use nervebus_core::gate::Gate;
///
/// let gate: Gate<2, 4> = Gate::new();
/// let pass = gate.enter(0).unwrap();
/// assert_eq!(pass.number(), 1);
/// gate.close();
/// assert!(gate.enter(1).is_none());
/// assert!(!gate.is_quiet());       // one is still inside
/// pass.leave(0);
/// assert!(gate.is_quiet());
/// assert_eq!((gate.entered(), gate.left(0)), (1, 1));
/// ```
pub struct Gate<const EXITS: usize, const STRIPES: usize> {
    /// How many came, times two, plus one when closed.
    came: Came,
    stripes: [Stripe<EXITS>; STRIPES],
}

/// Everybody writes it: it has its own cache lines.
#[cfg_attr(target_pointer_width = "64", repr(align(128)))]
struct Came(AtomicU64);

#[cfg_attr(target_pointer_width = "64", repr(align(128)))]
struct Stripe<const EXITS: usize> {
    left: [AtomicU64; EXITS],
    /// Those who found the gate closed: counted as having come, never as an exit.
    turned_away: AtomicU64,
}

/// The bit of `came` that says that the gate is closed.
const CLOSED: u64 = 1;

/// What one comer adds to `came`.
const ONE: u64 = 2;

/// A right to be inside; [`leave`](Self::leave) gives it back. Dropped (by a panic inside, say), it leaves by the last
/// exit.
#[must_use = "whoever enters must leave, or the gate never falls quiet"]
#[derive(Debug)]
pub struct Pass<'a, const EXITS: usize> {
    stripe: &'a Stripe<EXITS>,
    number: u64,
}

impl<const EXITS: usize> Stripe<EXITS> {
    const_fn! {
        const fn new() -> Self {
            Self { left: const_array!(AtomicU64::new(0)), turned_away: AtomicU64::new(0) }
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
            Self { came: Came(AtomicU64::new(0)), stripes: const_array!(Stripe::new()) }
        }
    }

    /// Goes in, unless the gate is closed.
    #[inline]
    pub fn enter(&self, stripe: usize) -> Option<Pass<'_, EXITS>> {
        let stripe = &self.stripes[stripe % STRIPES];
        // Relaxed: all additions to this word and its closing have one order, so whoever comes before the close is in
        // what the closer reads. What was done inside is passed on by leaving.
        let before = self.came.0.fetch_add(ONE, Ordering::Relaxed);
        if before & CLOSED != 0 {
            // Release pairs with the Acquire in `entered`: whoever counts us here has counted us there.
            stripe.turned_away.fetch_add(1, Ordering::Release);
            return None;
        }
        Some(Pass { stripe, number: before / ONE + 1 })
    }

    /// Takes a number and leaves at once by the exit `kind`, even when the gate is closed: for what the owner does itself,
    /// and waits for by other means. A kind that does not exist counts as the last one.
    #[inline]
    pub fn pass_by(&self, stripe: usize, kind: usize) -> u64 {
        let before = self.came.0.fetch_add(ONE, Ordering::Relaxed);
        self.stripes[stripe % STRIPES].leave(kind);
        before / ONE + 1
    }

    /// Lets nobody in from now on. Returns whether this call closed it.
    pub fn close(&self) -> bool {
        // Relaxed: see `enter`.
        self.came.0.fetch_or(CLOSED, Ordering::Relaxed) & CLOSED == 0
    }

    /// Whether [`close`](Self::close) was called.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.came.0.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Whether nobody is inside. After this thread closed the gate (or saw it closed) and this said `true`, nobody is
    /// inside and nobody will be.
    pub fn is_quiet(&self) -> bool {
        // Those who are out first: were comers read first, somebody who is turned away after that would stand in for
        // somebody who is still inside.
        let out = self.stripes.iter().fold(0_u64, |out, stripe| {
            // Acquire: whoever is counted here is counted among the comers, which are read below.
            let away = stripe.turned_away.load(Ordering::Acquire);
            // Acquire pairs with the Release in `leave`: what was done inside happened before this.
            let left = stripe.left.iter().map(|exit| exit.load(Ordering::Acquire));
            left.fold(out.wrapping_add(away), u64::wrapping_add)
        });
        // Relaxed: a thread that has closed the gate, or seen it closed, reads the word no older than that.
        self.came.0.load(Ordering::Relaxed) / ONE == out
    }

    /// How many went in since the beginning; those who were turned away do not count.
    pub fn entered(&self) -> u64 {
        // Acquire on those turned away, and they first: each is among the comers that are read after it.
        let away = self.stripes.iter().map(|stripe| stripe.turned_away.load(Ordering::Acquire));
        let away = away.fold(0, u64::wrapping_add);
        (self.came.0.load(Ordering::Relaxed) / ONE).wrapping_sub(away)
    }

    /// How many left by the exit `kind`; 0 for a kind that does not exist.
    pub fn left(&self, kind: usize) -> u64 {
        // Acquire: so that a reader who takes exits first and entries second never sees more exits than entries.
        let exits = self.stripes.iter().filter_map(|stripe| stripe.left.get(kind));
        exits.fold(0, |sum, exit| sum.wrapping_add(exit.load(Ordering::Acquire)))
    }

    /// How many were turned away because the gate was closed.
    pub fn turned_away(&self) -> u64 {
        self.stripes.iter().fold(0, |sum, stripe| sum.wrapping_add(stripe.turned_away.load(Ordering::Relaxed)))
    }
}

impl<const EXITS: usize> Pass<'_, EXITS> {
    /// Which comer this is: 1 for the first. Numbers of those who are turned away are not given to anybody else.
    #[inline]
    pub const fn number(&self) -> u64 {
        self.number
    }

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
