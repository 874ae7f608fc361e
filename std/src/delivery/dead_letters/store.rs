//! Where the letters are: a bounded, ordered shelf behind a mutex, and its books.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nervebus_core::{Reason, SubscriptionId};

use crate::delivery::dead_letters::DeadLetter;
use crate::delivery::dead_letters::log::{Change, DeadLetterLogStats, LogHandle};
use crate::delivery::dead_letters::plan::{RetryError, Why};
use crate::delivery::dead_letters::query::Filter;
use crate::delivery::failure::drop_quietly;
use crate::delivery::parking::{Parking, Spot};
use crate::delivery::retry::Attempt;
use crate::event::OwnedEvent;
use crate::platform::clock::Clock;
use crate::platform::threads::poll_until;

/// The dead letters of a bus: the newest ones, up to a capacity; what is overwritten is counted.
///
/// A mutex and not the core's lock-free queue: letters are rare, and they must be listed without being taken.
#[derive(Debug)]
pub(crate) struct DeadLetterStore {
    shelf: Arc<Shelf>,
    log: Option<LogHandle>,
    /// What letters are dated by.
    pub(crate) clock: Clock,
}

/// What a failure has to say of itself.
#[derive(Debug)]
pub(crate) struct Obituary {
    pub(crate) reason: Reason,
    pub(crate) subscription: Option<SubscriptionId>,
    pub(crate) handler: Arc<str>,
    /// The pattern of the subscription; `None` when the event did not reach one.
    pub(crate) pattern: Option<Arc<str>>,
    pub(crate) error: String,
    pub(crate) attempts: u32,
}

/// A sequence whose next letter's turn has come.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) parking: Arc<Parking>,
    pub(crate) key: u64,
}

/// What became of the letters: `total` is the number kept and the other three together.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Account {
    pub(crate) total: u64,
    pub(crate) overwritten: u64,
    pub(crate) removed: u64,
    pub(crate) retried: u64,
}

/// The letters; shared with the thread that writes them to a file.
#[derive(Debug)]
pub(crate) struct Shelf {
    capacity: usize,
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    /// By rising number.
    places: VecDeque<Place>,
    account: Account,
    last_id: u64,
    /// The number of the last change that is on its way to the file.
    queued: u64,
}

#[derive(Debug)]
struct Place {
    letter: Arc<DeadLetter>,
    /// Whether somebody is handing it back to its handler.
    taken: bool,
    /// What its handler holds up, if the letter is a part of that.
    parking: Option<Arc<Parking>>,
}

impl Place {
    fn new(letter: Arc<DeadLetter>, parking: Option<Arc<Parking>>) -> Self {
        Self { letter, taken: false, parking }
    }

    fn sequence(&self) -> Option<(&Arc<Parking>, Spot)> {
        Some((self.parking.as_ref()?, self.letter.spot?))
    }

    /// Takes it out of its sequence; says whether the next one's turn has come.
    fn leave(&self) -> Option<Released> {
        let (parking, spot) = self.sequence()?;
        parking.forget(spot, self.letter.id).then(|| Released { parking: Arc::clone(parking), key: spot.key })
    }

    /// Whether it must stay behind another; if so, which is the first, if that is a letter.
    fn behind(&self) -> Option<Option<u64>> {
        let (parking, spot) = self.sequence()?;
        let first = parking.first(spot.key);
        (first != Some(self.letter.id)).then_some(first)
    }
}

/// The letters at one moment, for a file that is written anew.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) letters: Vec<Arc<DeadLetter>>,
    pub(crate) last_id: u64,
    /// The number of the last change that is in it.
    pub(crate) covers: u64,
}

/// The letters that a bus begins with.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// By rising number, no more than the store's capacity.
    pub(crate) letters: Vec<Arc<DeadLetter>>,
    pub(crate) last_id: u64,
}

impl Contents {
    fn position(&self, id: u64) -> Option<usize> {
        self.places.binary_search_by_key(&id, |place| place.letter.id).ok()
    }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().places.len()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let contents = self.lock();
        let letters = contents.places.iter().map(|place| Arc::clone(&place.letter)).collect();
        Snapshot { letters, last_id: contents.last_id, covers: contents.queued }
    }
}

impl Drop for Shelf {
    /// What the events carry may panic when it is dropped, each of them.
    fn drop(&mut self) {
        let contents = self.contents.get_mut().unwrap_or_else(PoisonError::into_inner);
        contents.places.drain(..).for_each(drop_quietly);
    }
}

impl DeadLetterStore {
    pub(crate) fn new(capacity: usize, clock: Clock) -> Self {
        Self::with(capacity, clock, Restored::default(), None)
    }

    /// A store that begins with letters of an earlier run, and tells a log of what changes.
    pub(crate) fn with(capacity: usize, clock: Clock, restored: Restored, log: Option<LogHandle>) -> Self {
        let account = Account { total: restored.letters.len() as u64, ..Account::default() };
        let places = restored.letters.into_iter().map(|letter| Place::new(letter, None)).collect();
        let contents = Contents { places, account, last_id: restored.last_id, queued: 0 };
        Self { shelf: Arc::new(Shelf { capacity, contents: Mutex::new(contents) }), log, clock }
    }

    pub(crate) fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// Tells the log, if there is one. Under the store's lock, so that changes arrive in the order in which they were
    /// made; it does not wait.
    fn tell(&self, contents: &mut Contents, change: impl FnOnce() -> Change) {
        if let Some(log) = &self.log {
            log.tell(&mut contents.queued, change());
        }
    }

    pub(crate) fn push(&self, event: OwnedEvent, obituary: Obituary) {
        self.push_after(event, obituary, Vec::new(), None);
    }

    /// Takes a letter in that has a history of failed attempts, and perhaps a place in a sequence; says whether its turn
    /// has come at once.
    pub(crate) fn push_after(
        &self,
        event: OwnedEvent,
        obituary: Obituary,
        history: Vec<Attempt>,
        sequence: Option<(Arc<Parking>, Spot)>,
    ) -> Option<Released> {
        let Obituary { reason, subscription, handler, pattern, error, attempts } = obituary;
        let failed_at = self.clock.wall_seconds();
        let mut contents = self.shelf.lock();
        contents.account.total += 1;
        contents.last_id += 1;
        let id = contents.last_id;
        let (retries, history) = (0, history.into());
        let (parking, spot) = sequence.unzip();
        let letter = DeadLetter {
            id,
            event,
            reason,
            subscription,
            handler,
            pattern,
            error,
            attempts,
            retries,
            failed_at,
            history,
            spot,
        };
        let mut overwritten = None;
        if contents.places.len() >= self.shelf.capacity {
            contents.account.overwritten += 1;
            overwritten = contents.places.pop_front();
        }
        if let Some(place) = &overwritten
            && let Some((parking, spot)) = place.sequence()
        {
            parking.overwrite(spot, place.letter.id);
        }
        let (letter, mut released) = (Arc::new(letter), None);
        if self.shelf.capacity > 0 {
            if let (Some(parking), Some(spot)) = (&parking, spot)
                && parking.shelve(spot, id, reason == Reason::Parked)
            {
                released = Some(Released { parking: Arc::clone(parking), key: spot.key });
            }
            contents.places.push_back(Place::new(Arc::clone(&letter), parking));
            self.tell(&mut contents, || Change::Kept(Arc::clone(&letter)));
        }
        // Outside the lock, and quietly: what the old event carries may use the bus when it is dropped, or panic.
        drop(contents);
        drop_quietly(overwritten);
        drop_quietly(letter);
        released
    }

    pub(crate) fn len(&self) -> usize {
        self.shelf.len()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.shelf.capacity
    }

    pub(crate) fn account(&self) -> Account {
        self.shelf.lock().account
    }

    /// The account, with the number of letters kept at the same moment.
    pub(crate) fn books(&self) -> (usize, Account) {
        let contents = self.shelf.lock();
        (contents.places.len(), contents.account)
    }

    pub(crate) fn list(&self) -> Vec<Arc<DeadLetter>> {
        self.shelf.snapshot().letters
    }

    /// The letters, each with what keeps it from being handed back to its handler now.
    pub(crate) fn places(&self) -> Vec<(Arc<DeadLetter>, Option<Why>)> {
        let why = |place: &Place| match place.behind() {
            _ if place.taken => Some(Why::Busy),
            Some(first) => Some(Why::Parked { first }),
            None => None,
        };
        self.shelf.lock().places.iter().map(|place| (Arc::clone(&place.letter), why(place))).collect()
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<DeadLetter>> {
        let contents = self.shelf.lock();
        Some(Arc::clone(&contents.places.get(contents.position(id)?)?.letter))
    }

    pub(crate) fn find(&self, filter: &Filter<'_>) -> Vec<Arc<DeadLetter>> {
        let contents = self.shelf.lock();
        let letters = contents.places.iter().map(|place| &place.letter);
        let wanted = |letter: &&Arc<DeadLetter>| filter.passes(letter);
        if filter.newest_first {
            letters.rev().filter(wanted).take(filter.limit).cloned().collect()
        } else {
            letters.filter(wanted).take(filter.limit).cloned().collect()
        }
    }

    pub(crate) fn count_by<K: Ord>(&self, key: impl Fn(&DeadLetter) -> K) -> BTreeMap<K, usize> {
        let mut counts = BTreeMap::new();
        for place in &self.shelf.lock().places {
            *counts.entry(key(&place.letter)).or_insert(0) += 1;
        }
        counts
    }

    pub(crate) fn remove(&self, id: u64) -> Option<(Arc<DeadLetter>, Option<Released>)> {
        let mut contents = self.shelf.lock();
        let at = contents.position(id)?;
        let place = contents.places.remove(at)?;
        contents.account.removed += 1;
        let released = place.leave();
        self.tell(&mut contents, || Change::Gone(vec![id]));
        Some((place.letter, released))
    }

    /// Takes out what the filter asks for; says how many, and whose turn has come by that.
    pub(crate) fn clear(&self, filter: &Filter<'_>) -> (usize, Vec<Released>) {
        let (mut gone, mut released) = (Vec::new(), Vec::new());
        let mut contents = self.shelf.lock();
        let mut left = filter.limit;
        let mut decide = |place: Place| {
            let goes = left > 0 && filter.passes(&place.letter);
            left -= usize::from(goes);
            if goes {
                released.extend(place.leave());
                gone.push(place.letter);
                return None;
            }
            Some(place)
        };
        let places = std::mem::take(&mut contents.places);
        contents.places = if filter.newest_first {
            let mut kept: Vec<Place> = places.into_iter().rev().filter_map(&mut decide).collect();
            kept.reverse();
            kept.into()
        } else {
            places.into_iter().filter_map(&mut decide).collect()
        };
        contents.account.removed += gone.len() as u64;
        if !gone.is_empty() {
            self.tell(&mut contents, || Change::Gone(gone.iter().map(|letter| letter.id).collect()));
        }
        drop(contents);
        let count = gone.len();
        gone.into_iter().for_each(drop_quietly);
        (count, released)
    }

    /// Has a handler hold up what earlier ones of its name and pattern have left here, except those in `others`, which are
    /// there still.
    pub(crate) fn adopt(&self, parking: &Arc<Parking>, name: &str, pattern: &str, others: &HashSet<SubscriptionId>) {
        let mut contents = self.shelf.lock();
        for place in &mut contents.places {
            let letter = &place.letter;
            let is_left = &*letter.handler == name
                && letter.pattern.as_deref() == Some(pattern)
                && letter.subscription.is_none_or(|id| !others.contains(&id));
            if let (true, Some(spot)) = (is_left, letter.spot) {
                place.parking = parking.adopt(spot, letter.id).then(|| Arc::clone(parking));
            }
        }
    }
}

// Retrying by hand: a letter is taken, and then either put back or ticked off.
impl DeadLetterStore {
    /// Marks a letter as being handed back to its handler, so that nobody else does so at the same time. It stays on
    /// the shelf: it can be seen, removed and overwritten meanwhile.
    ///
    /// # Errors
    ///
    /// It is not kept any more, it never reached a handler, it was sent back `max_retries` times, or another thread
    /// has it. Whether its handler still exists is the caller's to find out.
    pub(crate) fn take_for_retry(&self, id: u64, max_retries: u32) -> Result<Arc<DeadLetter>, RetryError> {
        let mut contents = self.shelf.lock();
        let at = contents.position(id).ok_or(RetryError::NotFound { id })?;
        let place = contents.places.get_mut(at).ok_or(RetryError::NotFound { id })?;
        let letter = &place.letter;
        if letter.pattern.is_none() {
            return Err(RetryError::NoHandler { id, handler: letter.handler.to_string() });
        }
        if letter.retries >= max_retries {
            return Err(RetryError::TooManyRetries { id, retries: letter.retries });
        }
        if place.taken {
            return Err(RetryError::Busy { id });
        }
        if let Some(first) = place.behind() {
            return Err(RetryError::Parked { id, first });
        }
        place.taken = true;
        Ok(Arc::clone(letter))
    }

    /// Puts a letter that was taken back in its place: as it was, if it could not be sent, or with what the new failure
    /// says. Nothing happens if it was removed or overwritten meanwhile: that was counted. One that comes back without its
    /// place in its sequence has left that.
    pub(crate) fn put_back(&self, letter: Arc<DeadLetter>) -> Option<Released> {
        let mut contents = self.shelf.lock();
        let (mut replaced, mut released) = (None, None);
        if let Some(at) = contents.position(letter.id)
            && let Some(place) = contents.places.get_mut(at)
        {
            place.taken = false;
            if letter.spot.is_none() {
                released = place.leave();
                place.parking = None;
            }
            if !Arc::ptr_eq(&place.letter, &letter) {
                replaced = Some(std::mem::replace(&mut place.letter, Arc::clone(&letter)));
                self.tell(&mut contents, || Change::Kept(Arc::clone(&letter)));
            }
        }
        drop(contents);
        drop_quietly(replaced);
        drop_quietly(letter);
        released
    }

    /// Takes out a letter that was handled after all. Nothing happens if it is gone already: that was counted.
    pub(crate) fn tick_off(&self, id: u64) {
        let mut contents = self.shelf.lock();
        let Some(place) = contents.position(id).and_then(|at| contents.places.remove(at)) else { return };
        contents.account.retried += 1;
        // Whoever made the call looks what is next.
        place.leave();
        self.tell(&mut contents, || Change::Gone(vec![id]));
        drop(contents);
        drop_quietly(place);
    }
}

// The log.
impl DeadLetterStore {
    pub(crate) fn has_log(&self) -> bool {
        self.log.is_some()
    }

    pub(crate) fn log_stats(&self) -> Option<DeadLetterLogStats> {
        let queued = self.shelf.lock().queued;
        self.log.as_ref().map(|log| log.account.stats(queued))
    }

    /// Waits until what has changed so far is in the file and the file is on its disk; says whether that came about
    /// before the deadline. Without a log there is nothing to wait for.
    pub(crate) fn flush(&self, clock: &Clock, deadline: u64) -> bool {
        let Some(log) = &self.log else { return true };
        let mut wanted = None;
        poll_until(clock, deadline, || {
            if wanted.is_none() {
                wanted = log.ask_for_sync(&mut self.shelf.lock().queued);
            }
            log.is_over() || wanted.is_some_and(|number| log.account.is_done(number))
        })
    }
}
