//! Keeping the order of each key where deliveries fail: which keys of a handler are held up, and what is next for each.
//!
//! This knows numbers only. The events that are held up are elsewhere: those that wait behind a retry beside their lane
//! (`again.rs`), all others among the dead letters.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::delivery::{count, key};
use crate::error::BuildError;
use crate::range;

const MAX_KEYS: u64 = 65_536;
const MAX_WAITING: u64 = 4_096;

/// How much a handler that [keeps order](crate::Subscribe::keep_order_per_key) may hold up.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, KeyOrder};
///
/// let bus = Bus::builder().build()?;
/// bus.on("order.*").key_order(KeyOrder::new().keys(100).waiting(8)).handle(|_| Ok::<(), &str>(()))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "it does nothing until a subscription takes it"]
pub struct KeyOrder {
    keys: usize,
    waiting: usize,
}

impl Default for KeyOrder {
    fn default() -> Self {
        Self { keys: 1_024, waiting: 64 }
    }
}

impl KeyOrder {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many keys may be held up at a time. Default: 1,024. Range: 1 to 65,536.
    ///
    /// The failure of one key more is a failure as without this setting: later events of that key are delivered. How often
    /// that was is [`ParkingStats::over_limit`](crate::ParkingStats::over_limit).
    pub fn keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    /// How many events of a key may wait behind a retry; those beyond are parked among the dead letters, and go back from
    /// there when their turn comes. Default: 64. Range: 0 to 4,096.
    pub fn waiting(mut self, events: usize) -> Self {
        self.waiting = events;
        self
    }

    /// Checks the ranges; `of` is what it is called where it was set.
    pub(crate) fn check(&self, of: &str) -> Result<(), BuildError> {
        range::number(|| format!("{of}.keys"), self.keys as u64, 1, MAX_KEYS)?;
        range::number(|| format!("{of}.waiting"), self.waiting as u64, 0, MAX_WAITING)
    }
}

/// A place in the sequence of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    /// The hash of the key.
    pub(crate) key: u64,
    /// Rises from event to event; later events have higher ones, those of later runs included.
    pub(crate) number: u64,
}

/// The keys of one handler that are held up.
///
/// A key is held up from its first failure until nothing of it is left: no delivery under way again, none waiting behind
/// one, and no dead letter. Its events are handled by one worker, one after the other; only dead letters are taken out by
/// others meanwhile.
#[derive(Debug)]
pub(crate) struct Parking {
    limits: KeyOrder,
    /// How many keys are held up: while none is, an event costs one look here.
    held: AtomicUsize,
    /// Events that became dead letters behind others.
    parked: AtomicU64,
    /// Failures whose key could not be held up.
    over_limit: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sequences: HashMap<u64, Sequence>,
    last_number: u64,
}

#[derive(Debug, Default)]
struct Sequence {
    /// Deliveries that are under way again, or wait behind one.
    under_way: usize,
    /// Dead letters: number here, and number of the letter. Two may have one number here if they come from two handlers of
    /// an earlier run that had the same name.
    letters: BTreeSet<(u64, u64)>,
    /// Whether what came before was taken out while the next was on its way to the letters.
    free: bool,
}

impl Sequence {
    /// The letter whose turn it is.
    fn first(&self) -> Option<u64> {
        if self.under_way > 0 { None } else { self.letters.first().map(|(_, id)| *id) }
    }
}

/// Where an event goes whose key is held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It need not wait after all.
    Front,
    /// Behind a delivery that waits for its retry.
    Behind,
    /// Among the dead letters.
    Letters,
}

/// What comes after a delivery that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// One that has waited behind it.
    Waiting,
    /// The first dead letter.
    Letter,
    /// Nothing: the key is not held up any more.
    Nothing,
}

/// What is held up at a moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HeldUp {
    pub(crate) keys: usize,
    pub(crate) under_way: usize,
    pub(crate) letters: usize,
    pub(crate) parked: u64,
    pub(crate) over_limit: u64,
}

impl Parking {
    pub(crate) fn new(limits: KeyOrder) -> Self {
        let (held, [parked, over_limit]) = (AtomicUsize::new(0), [0; 2].map(AtomicU64::new));
        Self { limits, held, parked, over_limit, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an event of this key must not be delivered now.
    #[inline]
    pub(crate) fn holds(&self, key: u64) -> bool {
        // Relaxed: a key is held up by the worker that asks, or was before the handler was subscribed.
        self.held.load(Ordering::Relaxed) != 0 && self.lock().sequences.contains_key(&key)
    }

    /// Holds a key up whose event has failed; `None` for an event without a key, or when as many are held up as may.
    pub(crate) fn begin(&self, key: u64) -> Option<Spot> {
        if !key::is_named(key) {
            return None;
        }
        let mut state = self.lock();
        if state.sequences.len() >= self.limits.keys && !state.sequences.contains_key(&key) {
            count::add(&self.over_limit, 1);
            return None;
        }
        Some(self.take_spot(&mut state, key))
    }

    fn take_spot(&self, state: &mut State, key: u64) -> Spot {
        state.last_number += 1;
        let number = state.last_number;
        state.sequences.entry(key).or_default().under_way += 1;
        self.tell(state);
        Spot { key, number }
    }

    /// Called with the lock held.
    fn tell(&self, state: &State) {
        // Relaxed: as in `holds`.
        self.held.store(state.sequences.len(), Ordering::Relaxed);
    }

    /// Has an event stand behind those of its key.
    pub(crate) fn line_up(&self, key: u64) -> (Spot, Place) {
        let mut state = self.lock();
        let place = match state.sequences.get(&key) {
            None => Place::Front,
            // The first of those that are under way is what the others wait for.
            Some(sequence) if sequence.letters.is_empty() && sequence.under_way <= self.limits.waiting => Place::Behind,
            Some(_) => Place::Letters,
        };
        (self.take_spot(&mut state, key), place)
    }

    /// A delivery has become a dead letter; says whether that letter need not stay, because what it was parked behind was
    /// taken out meanwhile.
    pub(crate) fn shelve(&self, spot: Spot, id: u64, parked: bool) -> bool {
        let mut state = self.lock();
        count::add(&self.parked, u64::from(parked));
        let Some(sequence) = state.sequences.get_mut(&spot.key) else { return false };
        sequence.under_way = sequence.under_way.saturating_sub(1);
        sequence.letters.insert((spot.number, id));
        std::mem::take(&mut sequence.free) && parked && sequence.first() == Some(id)
    }

    /// A delivery has ended without becoming a dead letter of its sequence: says what is next.
    pub(crate) fn step(&self, key: u64) -> Next {
        let mut state = self.lock();
        let Some(sequence) = state.sequences.get_mut(&key) else { return Next::Nothing };
        sequence.under_way = sequence.under_way.saturating_sub(1);
        if sequence.under_way > 0 {
            return Next::Waiting;
        }
        if sequence.letters.is_empty() {
            state.sequences.remove(&key);
            self.tell(&state);
            return Next::Nothing;
        }
        Next::Letter
    }

    /// A dead letter is gone; `true` if it was the first, so that the next one's turn has come.
    pub(crate) fn forget(&self, spot: Spot, id: u64) -> bool {
        let mut state = self.lock();
        let Some(sequence) = state.sequences.get_mut(&spot.key) else { return false };
        let was_first = sequence.letters.first() == Some(&(spot.number, id));
        sequence.letters.remove(&(spot.number, id));
        if sequence.letters.is_empty() && sequence.under_way == 0 {
            state.sequences.remove(&spot.key);
            self.tell(&state);
            return false;
        }
        sequence.free = was_first && sequence.letters.is_empty();
        was_first && sequence.under_way == 0
    }

    /// A dead letter has made way for a newer one: what is behind it stays.
    pub(crate) fn overwrite(&self, spot: Spot, id: u64) {
        self.forget(spot, id);
        if let Some(sequence) = self.lock().sequences.get_mut(&spot.key) {
            sequence.free = false;
        }
    }

    /// Takes in a dead letter that was there before the handler; `false` when as many keys are held up as may.
    pub(crate) fn adopt(&self, spot: Spot, id: u64) -> bool {
        let mut state = self.lock();
        if state.sequences.len() >= self.limits.keys && !state.sequences.contains_key(&spot.key) {
            count::add(&self.over_limit, 1);
            return false;
        }
        state.last_number = state.last_number.max(spot.number);
        state.sequences.entry(spot.key).or_default().letters.insert((spot.number, id));
        self.tell(&state);
        true
    }

    /// The letter of a key whose turn it is, if it is a letter's.
    pub(crate) fn first(&self, key: u64) -> Option<u64> {
        self.lock().sequences.get(&key)?.first()
    }

    /// What is held up now.
    pub(crate) fn held_up(&self) -> HeldUp {
        let state = self.lock();
        let sum = |of: fn(&Sequence) -> usize| state.sequences.values().map(of).sum();
        HeldUp {
            keys: state.sequences.len(),
            under_way: sum(|sequence| sequence.under_way),
            letters: sum(|sequence| sequence.letters.len()),
            parked: count::read(&self.parked),
            over_limit: count::read(&self.over_limit),
        }
    }
}
