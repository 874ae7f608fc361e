//! Retrying letters by hand: which can go back to their handler, and why the others cannot.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use nervebus_core::Reason;

use crate::delivery::dead_letters::{DeadLetter, DeadLetterStore};
use crate::delivery::directory::Directory;
use crate::delivery::subscription::Subscription;

/// What a retry of dead letters would do; see [`DeadLetters::dry_run`](crate::DeadLetters::dry_run).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RetryPlan {
    /// The numbers of the letters that would go back to their handler, oldest first.
    pub letters: Vec<u64>,
    /// The numbers of the letters that were looked at and would stay, each with why.
    pub skipped: Vec<(u64, Why)>,
}

/// Why a letter would stay where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The subscription that failed has ended, and none of the same name and pattern has come in its place.
    NoHandler {
        /// The name of the handler.
        handler: String,
    },
    /// The event never reached a handler, so there is none that it could go back to.
    NotRetriable {
        /// Why the letter is here.
        reason: Reason,
    },
    /// It was sent back as often as it may be.
    TooManyRetries {
        /// How often that was.
        retries: u32,
    },
    /// It is being sent back already.
    Busy,
    /// Its handler [keeps order](crate::Subscribe::keep_order_per_key), and an earlier event of its key comes first.
    Parked {
        /// The letter that comes first; `None` while that event waits for a retry and is none.
        first: Option<u64>,
    },
    /// There is no room for it beside its handler's lane.
    Full {
        /// Which lane.
        lane: String,
    },
    /// The bus is shutting down.
    Closed,
}

impl Why {
    /// Why a letter stays that could not be sent; `None` for one that is gone.
    pub(crate) fn of(error: RetryError) -> Option<Self> {
        Some(match error {
            RetryError::NotFound { .. } => return None,
            RetryError::NoHandler { handler, .. } => Self::NoHandler { handler },
            RetryError::TooManyRetries { retries, .. } => Self::TooManyRetries { retries },
            RetryError::Busy { .. } => Self::Busy,
            RetryError::Parked { first, .. } => Self::Parked { first },
            RetryError::Full { lane, .. } => Self::Full { lane },
            RetryError::Closed { .. } => Self::Closed,
        })
    }
}

/// Why a letter was not sent.
#[derive(Debug)]
pub(crate) enum Unsent {
    Full { lane: String },
    Closed,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHandler { handler } => write!(f, "there is no handler {handler:?} with its pattern any more"),
            Self::NotRetriable { reason } => write!(f, "it never reached a handler: {reason}"),
            Self::TooManyRetries { retries } => write!(f, "it was sent back {retries} times"),
            Self::Busy => f.write_str("it is being sent back already"),
            Self::Parked { first: Some(first) } => write!(f, "dead letter {first} of its key comes first"),
            Self::Parked { first: None } => f.write_str("an event of its key that waits for a retry comes first"),
            Self::Full { lane } => write!(f, "lane {lane:?} has no room for it"),
            Self::Closed => f.write_str("the bus is shutting down"),
        }
    }
}

/// Why a letter was not sent back to its handler. It is where it was, if it was anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryError {
    /// No letter of this number is kept.
    NotFound {
        /// The number asked for.
        id: u64,
    },
    /// The handler that failed is not there any more, or the event never reached one.
    NoHandler {
        /// The letter's number.
        id: u64,
        /// The name of the handler, or of the lane that was left.
        handler: String,
    },
    /// It was sent back as often as it may be.
    TooManyRetries {
        /// The letter's number.
        id: u64,
        /// How often that was.
        retries: u32,
    },
    /// It is being sent back already, and has not been handled yet.
    Busy {
        /// The letter's number.
        id: u64,
    },
    /// Its handler [keeps order](crate::Subscribe::keep_order_per_key), and an earlier event of its key comes first.
    Parked {
        /// The letter's number.
        id: u64,
        /// The letter that comes first; `None` while that event waits for a retry and is none.
        first: Option<u64>,
    },
    /// There is no room for it beside its handler's lane.
    Full {
        /// The letter's number.
        id: u64,
        /// Which lane.
        lane: String,
    },
    /// The bus is shutting down.
    Closed {
        /// The letter's number.
        id: u64,
    },
}

impl fmt::Display for RetryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { id } => write!(f, "there is no dead letter {id}"),
            Self::NoHandler { id, handler } => {
                write!(f, "dead letter {id} has no handler to go back to: there is no {handler:?} with its pattern")
            }
            Self::TooManyRetries { id, retries } => write!(f, "dead letter {id} was sent back {retries} times"),
            Self::Busy { id } => write!(f, "dead letter {id} is being sent back already"),
            Self::Parked { id, first: Some(first) } => {
                write!(f, "dead letter {id} comes after dead letter {first} of the same key")
            }
            Self::Parked { id, first: None } => {
                write!(f, "dead letter {id} comes after an event of the same key that waits for a retry")
            }
            Self::Full { id, lane } => write!(f, "lane {lane:?} has no room for dead letter {id}"),
            Self::Closed { .. } => f.write_str("the bus is shutting down"),
        }
    }
}

impl std::error::Error for RetryError {}

/// The subscriptions of a bus, for finding those that letters can go back to.
#[derive(Debug)]
pub(crate) struct Targets {
    /// By rising identity.
    subscriptions: Vec<Arc<Subscription>>,
    /// The oldest of each name and pattern.
    named: HashMap<(Arc<str>, Box<str>), usize>,
}

impl Targets {
    pub(crate) fn of(directory: &Directory) -> Self {
        let subscriptions = directory.subscriptions();
        let mut named = HashMap::with_capacity(subscriptions.len());
        for (at, subscription) in subscriptions.iter().enumerate() {
            named.entry((Arc::clone(&subscription.name), subscription.pattern.clone())).or_insert(at);
        }
        Self { subscriptions, named }
    }

    /// Where a letter goes back to: the subscription that failed, or the oldest of the same name and pattern.
    pub(crate) fn find(&self, letter: &DeadLetter) -> Option<&Arc<Subscription>> {
        let by_id = |id| self.subscriptions.binary_search_by_key(&id, |subscription| subscription.id).ok();
        let by_name = || {
            let pattern = letter.pattern.as_deref()?;
            self.named.get(&(Arc::clone(&letter.handler), pattern.into())).copied()
        };
        self.subscriptions.get(letter.subscription.and_then(by_id).or_else(by_name)?)
    }
}

/// Looks through the letters, oldest first, until `limit` can go back to their handler.
pub(crate) fn plan_retry(store: &DeadLetterStore, directory: &Directory, limit: usize, max_retries: u32) -> RetryPlan {
    let targets = Targets::of(directory);
    let mut plan = RetryPlan::default();
    for (letter, held) in store.places() {
        if plan.letters.len() >= limit {
            break;
        }
        match refusal(&letter, held, &targets, max_retries) {
            None => plan.letters.push(letter.id),
            Some(why) => plan.skipped.push((letter.id, why)),
        }
    }
    plan
}

fn refusal(letter: &DeadLetter, held: Option<Why>, targets: &Targets, max_retries: u32) -> Option<Why> {
    if letter.pattern.is_none() {
        return Some(Why::NotRetriable { reason: letter.reason });
    }
    if letter.retries >= max_retries {
        return Some(Why::TooManyRetries { retries: letter.retries });
    }
    if held.is_some() {
        return held;
    }
    let gone = targets.find(letter).is_none();
    gone.then(|| Why::NoHandler { handler: letter.handler.to_string() })
}
