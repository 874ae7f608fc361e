//! Dead letters: events that a handler failed, or that a shutdown left, kept for inspection.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nervebus_core::{Reason, SubscriptionId};

use crate::delivery::count;
use crate::delivery::failure::drop_quietly;
use crate::event::OwnedEvent;
use crate::platform::clock;

/// An event that was not handled, and why.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The number of the letter on its bus, starting at 1.
    pub id: u64,
    /// The event.
    pub event: OwnedEvent,
    /// Why it is here.
    pub reason: Reason,
    /// The subscription that failed; `None` when the event did not reach one.
    pub subscription: Option<SubscriptionId>,
    /// The name of the handler that failed, or of the lane that was left.
    pub handler: Arc<str>,
    /// What the handler said.
    pub error: String,
    /// How often delivery was tried.
    pub attempts: u32,
    /// When it came here, in seconds since the Unix epoch.
    pub failed_at: f64,
}

/// The dead letters of a bus: the newest ones, up to a capacity; what is overwritten is counted.
///
/// A mutex and not the core's lock-free queue: letters are rare, and they must be listed without being taken.
#[derive(Debug)]
pub(crate) struct DeadLetterStore {
    letters: Mutex<VecDeque<Arc<DeadLetter>>>,
    capacity: usize,
    total: AtomicU64,
}

/// What a failure has to say of itself.
#[derive(Debug)]
pub(crate) struct Obituary {
    pub(crate) reason: Reason,
    pub(crate) subscription: Option<SubscriptionId>,
    pub(crate) handler: Arc<str>,
    pub(crate) error: String,
    pub(crate) attempts: u32,
}

impl DeadLetterStore {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { letters: Mutex::default(), capacity, total: AtomicU64::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<DeadLetter>>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, event: OwnedEvent, obituary: Obituary) {
        let Obituary { reason, subscription, handler, error, attempts } = obituary;
        let failed_at = clock::wall_nanos() as f64 / 1e9;
        let mut letters = self.lock();
        count::add(&self.total, 1);
        let id = count::read(&self.total);
        let overwritten = if letters.len() >= self.capacity { letters.pop_front() } else { None };
        if self.capacity > 0 {
            let letter = DeadLetter { id, event, reason, subscription, handler, error, attempts, failed_at };
            letters.push_back(Arc::new(letter));
        }
        // Outside the lock, and quietly: what the old event carries may use the bus when it is dropped, or panic.
        drop(letters);
        drop_quietly(overwritten);
    }
}

/// A look at a bus's dead letters; see [`Bus::dead_letters`](crate::Bus::dead_letters).
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, json};
///
/// let bus = Bus::builder().dead_letters(10).build()?;
/// bus.on("order.placed").inline().handle(|_| Err::<(), _>("no stock"))?;
/// bus.emit("order.placed", json!({"sku": 7}))?;
///
/// let letters = bus.dead_letters().list();
/// assert_eq!(letters[0].error, "no stock");
/// assert_eq!(letters[0].event.as_event()["sku"], 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct DeadLetters<'a>(pub(crate) &'a DeadLetterStore);

impl DeadLetters<'_> {
    /// How many letters are kept now.
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many letters are kept at most.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// How many letters there ever were.
    pub fn total(&self) -> u64 {
        count::read(&self.0.total)
    }

    /// How many letters made way for newer ones.
    pub fn overwritten(&self) -> u64 {
        let kept = self.0.lock();
        count::read(&self.0.total) - kept.len() as u64
    }

    /// The letters, oldest first.
    ///
    /// # Cost
    ///
    /// Clones up to [`capacity`](Self::capacity) letters; payloads are shared, not copied. Failing handlers on other
    /// threads wait meanwhile.
    pub fn list(&self) -> Vec<Arc<DeadLetter>> {
        self.0.lock().iter().cloned().collect()
    }

    /// How many kept letters there are for each reason.
    pub fn by_reason(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for letter in self.0.lock().iter() {
            *counts.entry(letter.reason.as_str()).or_insert(0) += 1;
        }
        counts
    }
}
