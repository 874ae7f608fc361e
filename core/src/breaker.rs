//! A circuit breaker: calls of what keeps failing are refused for a while, then tried one at a time.
//!
//! The pattern is Michael Nygard's ("Release It!", 2007).

use core::fmt;

use crate::sync::{AtomicU64, Ordering, const_fn, look_again};

mod rules;
mod window;
mod word;

pub use rules::{Rules, RulesError, Trip};
use window::Window;
use word::{FREE, PROBING, Word};

/// Decides whether a call may be made, by how the calls before it went.
///
/// **Closed**, it lets every call through, until its [`Rules`] say that too many have failed; then it **opens** and refuses
/// all calls. After `reset_after` the next call is let through as a probe, and the breaker is **half-open**: one probe at a
/// time, nobody else. A probe that succeeds closes it; one that fails opens it for another `reset_after`.
///
/// Whoever is let through gets a [`Permit`] and either [records](Self::record) how the call went or
/// [cancels](Self::cancel) the permit. A probe of which nothing is heard for `reset_after` is given up: the next caller
/// becomes the probe, and what the first one reports in the end changes nothing. So a permit that is lost delays recovery
/// by `reset_after`, and no longer.
///
/// Every change of state, every probe and every [`reset`](Self::reset) begins a new generation. What a permit of an earlier
/// generation reports changes nothing: a call that began before the breaker opened and succeeds at last does not close it.
/// (A generation is a number of 32 bits: a permit that is kept over 2^32 of them is taken for a present one.)
///
/// Time is the caller's, in nanoseconds since any origin, and should not go backwards. A reading that is earlier than one
/// before counts as if no time had passed in between; an open breaker waits until readings reach the promised time.
///
/// # Cost
///
/// No allocation, no waiting. While it is closed and nothing fails, [`admit`](Self::admit) is one load, and
/// [`record`](Self::record) is one more, or with [`Trip::Rate`] three and an exchange in the bucket of the present. Closed,
/// `admit` is wait-free; everything else is lock-free: an exchange that fails does so because another thread's succeeded.
///
/// # Examples
///
/// ```
/// use nervebus_core::breaker::{Breaker, Open, Rules, State, Transition, Trip};
///
/// let breaker = Breaker::new(Rules { trip: Trip::Consecutive(2), reset_after: 1_000 })?;
/// let mut changes = Vec::new();
/// for now in [10, 20] {
///     let permit = breaker.admit(now).expect("it is closed");
///     changes.extend(breaker.record(permit, false, now));
/// }
/// assert_eq!(changes, [Transition::Opened]);
/// assert_eq!(breaker.admit(1_019), Err(Open { until: 1_020 }));
///
/// let probe = breaker.admit(1_020).expect("it is time to try again");
/// assert_eq!((probe.is_probe(), probe.transition()), (true, Some(Transition::HalfOpened)));
/// assert!(breaker.admit(1_020).is_err()); // one at a time
/// assert_eq!(breaker.record(probe, true, 1_030), Some(Transition::Closed));
/// assert_eq!((breaker.state(), breaker.opened()), (State::Closed, 1));
/// # Ok::<(), nervebus_core::breaker::RulesError>(())
/// ```
pub struct Breaker {
    word: AtomicU64,
    /// When an open breaker lets a probe through, or gives a probe up. Never goes down. It goes up before the word that
    /// makes it count, so it may be ahead of the word, by no more than `reset_after` from the present.
    until: AtomicU64,
    opened: AtomicU64,
    rules: Rules,
    window: Window,
}

/// What a [`Breaker`] does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Lets all of them through.
    Closed,
    /// Refuses all of them, until it is time for a probe.
    Open,
    /// Lets one through at a time, as a probe.
    HalfOpen,
}

/// A change of a [`Breaker`]'s state. Exactly one caller learns of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// Too many calls failed, or the probe did.
    Opened,
    /// The first probe is let through.
    HalfOpened,
    /// The probe succeeded, or the breaker was reset.
    Closed,
}

/// A call was refused: the breaker is open, or half-open and its probe is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// When it will let the next probe through, at the latest, if nothing happens before.
    pub until: u64,
}

/// Leave to make one call; [`Breaker::record`] or [`Breaker::cancel`] takes it back.
///
/// It belongs to the breaker that gave it; what another one makes of it is not defined, but harmless.
#[must_use = "the breaker waits to hear how the call went"]
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    generation: u32,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ordinary,
    /// A probe; the first since the breaker opened, or one that follows on another.
    Probe {
        first: bool,
    },
}

impl Permit {
    const fn ordinary(word: Word) -> Self {
        Self { generation: word.generation(), kind: Kind::Ordinary }
    }

    /// Whether this call decides if the breaker closes.
    pub const fn is_probe(&self) -> bool {
        matches!(self.kind, Kind::Probe { .. })
    }

    /// [`Transition::HalfOpened`] if that is what letting this call through did.
    pub const fn transition(&self) -> Option<Transition> {
        match self.kind {
            Kind::Probe { first: true } => Some(Transition::HalfOpened),
            _ => None,
        }
    }
}

impl Breaker {
    const_fn! {
        /// A closed breaker.
        ///
        /// # Errors
        ///
        /// [`RulesError`] when a setting is outside its range.
        ///
        /// # Examples
        ///
        /// In a `static`, where bad rules do not compile:
        ///
        /// ```
        /// use nervebus_core::breaker::{Breaker, Rules, Trip};
        ///
        /// const HALF_OF_A_SECOND: Trip = Trip::Rate { percent: 50, window: 1_000_000_000, min_calls: 20 };
        /// static BREAKER: Breaker = match Breaker::new(Rules { trip: HALF_OF_A_SECOND, reset_after: 5_000_000_000 }) {
        ///     Ok(breaker) => breaker,
        ///     Err(_) => panic!("a rule is out of range"),
        /// };
        /// assert!(BREAKER.admit(0).is_ok());
        /// ```
        pub const fn new(rules: Rules) -> Result<Self, RulesError> {
            if let Err(error) = rules.check() {
                return Err(error);
            }
            let length = match rules.trip {
                Trip::Rate { window, .. } => window,
                Trip::Consecutive(_) => 1,
            };
            Ok(Self {
                word: AtomicU64::new(Word::FIRST.0),
                until: AtomicU64::new(0),
                opened: AtomicU64::new(0),
                rules,
                window: Window::new(length),
            })
        }
    }

    /// Asks whether a call may be made at `now`.
    ///
    /// # Errors
    ///
    /// [`Open`] when it may not.
    #[inline]
    pub fn admit(&self, now: u64) -> Result<Permit, Open> {
        // Relaxed: a permit of a closed breaker stands for nothing but its generation.
        let word = self.load(Ordering::Relaxed);
        if word.state() == State::Closed {
            return Ok(Permit::ordinary(word));
        }
        self.admit_probe(now)
    }

    #[cold]
    fn admit_probe(&self, now: u64) -> Result<Permit, Open> {
        loop {
            // Acquire pairs with the Release in `change`: the time is not older than the state.
            let word = self.load(Ordering::Acquire);
            match (word.state(), word.count()) {
                (State::Closed, _) => return Ok(Permit::ordinary(word)),
                (State::HalfOpen, FREE) => {}
                _ => self.check_time(now)?,
            }
            self.wait_from(now);
            if let Some(next) = self.change(word, State::HalfOpen, PROBING) {
                let kind = Kind::Probe { first: word.state() == State::Open };
                return Ok(Permit { generation: next.generation(), kind });
            }
            look_again();
        }
    }

    fn check_time(&self, now: u64) -> Result<(), Open> {
        // Relaxed: the caller has acquired the word.
        let until = self.until.load(Ordering::Relaxed);
        if now < until { Err(Open { until }) } else { Ok(()) }
    }

    /// Says how the call went for which the permit was given; the change of state, if this caller brought it about.
    ///
    /// Changes nothing when the permit is of an earlier generation.
    #[inline]
    pub fn record(&self, permit: Permit, success: bool, now: u64) -> Option<Transition> {
        if permit.is_probe() {
            return self.record_probe(permit, success, now);
        }
        match self.rules.trip {
            Trip::Consecutive(_) if success => self.forget_failures(permit.generation),
            Trip::Consecutive(limit) => self.count_failure(permit.generation, limit, now),
            Trip::Rate { percent, min_calls, .. } => {
                self.window.record(permit.generation, success, now, || self.is_current(permit.generation));
                if success { None } else { self.check_rate(permit.generation, percent, min_calls, now) }
            }
        }
    }

    #[cold]
    fn record_probe(&self, permit: Permit, success: bool, now: u64) -> Option<Transition> {
        // Relaxed, here and below: whoever has a permit sees no word from before it, and the exchange finds out about later ones.
        let word = self.load(Ordering::Relaxed);
        if word.generation() != permit.generation {
            return None;
        }
        if success {
            return self.change(word, State::Closed, 0).map(|_| Transition::Closed);
        }
        self.open(word, now)
    }

    /// Ends a row of failures.
    #[inline]
    fn forget_failures(&self, generation: u32) -> Option<Transition> {
        let mut word = self.load(Ordering::Relaxed);
        while word.generation() == generation && word.count() > 0 {
            match self.count(word, 0) {
                Ok(()) => break,
                Err(newer) => word = newer,
            }
        }
        None
    }

    #[cold]
    fn count_failure(&self, generation: u32, limit: u32, now: u64) -> Option<Transition> {
        let mut word = self.load(Ordering::Relaxed);
        while word.generation() == generation {
            let failures = word.count() + 1;
            if failures >= limit {
                if let Some(opened) = self.open(word, now) {
                    return Some(opened);
                }
                look_again();
                word = self.load(Ordering::Relaxed);
                continue;
            }
            match self.count(word, failures) {
                Ok(()) => break,
                Err(newer) => word = newer,
            }
        }
        None
    }

    #[cold]
    fn check_rate(&self, generation: u32, percent: u8, min_calls: u32, now: u64) -> Option<Transition> {
        let word = self.load(Ordering::Relaxed);
        let (calls, failures) = self.window.sum(generation, now);
        let trips = calls >= u64::from(min_calls) && failures * 100 >= u64::from(percent) * calls;
        // In a generation of this kind the word does not change, so an exchange that fails has nothing left to do.
        if trips && word.generation() == generation { self.open(word, now) } else { None }
    }

    /// Gives a permit back whose call is not made: nothing is counted, and if it was the probe, the next caller may be.
    pub fn cancel(&self, permit: Permit) {
        let word = self.load(Ordering::Relaxed);
        if permit.is_probe() && word.generation() == permit.generation {
            // Fails only if the generation has changed: then somebody else is the probe, or none is needed.
            let _ = self.count(word, FREE);
        }
    }

    /// Closes the breaker and forgets what it has counted; the change, if it was not closed.
    ///
    /// Calls that are under way no longer count, however they go.
    pub fn reset(&self) -> Option<Transition> {
        loop {
            let word = self.load(Ordering::Relaxed);
            if self.change(word, State::Closed, 0).is_some() {
                return (word.state() != State::Closed).then_some(Transition::Closed);
            }
            look_again();
        }
    }

    /// What it does with calls. Open stays open until a call comes and is let through as the probe.
    #[inline]
    pub fn state(&self) -> State {
        self.load(Ordering::Relaxed).state()
    }

    /// How often it has opened.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// The rules it goes by.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    #[inline(always)]
    fn load(&self, order: Ordering) -> Word {
        Word(self.word.load(order))
    }

    #[inline]
    fn is_current(&self, generation: u32) -> bool {
        self.load(Ordering::Relaxed).generation() == generation
    }

    /// Opens, for `reset_after` from `now`, unless another thread was faster.
    fn open(&self, word: Word, now: u64) -> Option<Transition> {
        self.wait_from(now);
        self.change(word, State::Open, 0)?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Some(Transition::Opened)
    }

    /// Puts the next probe off; before the change of state that it is for.
    fn wait_from(&self, now: u64) {
        // Relaxed: `change` releases it. The maximum, so that a thread that was stopped here does not bring back an old time.
        self.until.fetch_max(now.saturating_add(self.rules.reset_after), Ordering::Relaxed);
    }

    /// Goes from `word` to the next generation; what that is, unless another thread was faster.
    fn change(&self, word: Word, state: State, count: u32) -> Option<Word> {
        let next = word.next(state, count);
        // Release pairs with the Acquire in `admit_probe`, for the time of `wait_from`.
        self.word.compare_exchange(word.0, next.0, Ordering::Release, Ordering::Relaxed).ok()?;
        Some(next)
    }

    /// Changes the count alone; the present word if another thread was faster.
    fn count(&self, word: Word, count: u32) -> Result<(), Word> {
        // Relaxed: the time was released with the state, and an exchange hands that on.
        let changed = word.with_count(count);
        self.word.compare_exchange(word.0, changed.0, Ordering::Relaxed, Ordering::Relaxed).map(drop).map_err(Word)
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("state", &self.state())
            .field("opened", &self.opened())
            .field("rules", &self.rules)
            .finish()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the breaker is open until {} ns", self.until)
    }
}

impl core::error::Error for Open {}
