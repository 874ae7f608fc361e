//! Retry: which failed deliveries are tried again, when, and how many of them.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::error::BuildError;
use crate::range;

const MAX_ATTEMPTS: u32 = 100;
const MAX_DELAY: Duration = Duration::from_secs(60 * 60 * 24);
const MAX_RESERVE: u64 = 10_000;

/// When a handler that has failed is called again with the same event.
///
/// The delay before each retry is random, evenly spread between nothing and a ceiling that doubles with each attempt:
/// the 'full jitter' of Marc Brooker, 'Exponential Backoff And Jitter', AWS Architecture Blog, 2015. So what failed
/// together does not come back together.
///
/// Retries have a [`budget`](Self::budget), so that they cannot multiply the load of something that is down. What is
/// out of attempts, out of budget or not worth another try becomes a dead letter with its
/// [history](crate::DeadLetter::history), and then a `system.handler_error` says so: once, not for each attempt. The
/// same becomes of a failure for whose retry there is no room: 65,536 may wait beside a lane, and as many on a bus.
///
/// Only the handler that failed is called again, by its lane's worker; other events are delivered meanwhile, so a retry
/// comes out of order, unless the handler [keeps the order of keys](crate::Subscribe::keep_order_per_key).
/// [`Event::attempt`](crate::Event::attempt) says which attempt it is. Handlers on the emitter's own
/// thread cannot be retried: it has gone on by then.
///
/// # Examples
///
/// ```
/// use nervebus::{HandlerError, Retry};
/// use std::time::Duration;
///
/// let retry = Retry::exponential(Duration::from_millis(50))
///     .attempts(5)
///     .max_delay(Duration::from_secs(2))
///     .only_if(|error| matches!(error, HandlerError::Error(_)));
/// # let _ = retry;
/// ```
#[derive(Clone)]
#[must_use = "a retry policy does nothing until a subscription takes it"]
pub struct Retry {
    first: Duration,
    max_delay: Duration,
    attempts: u32,
    percent: u8,
    reserve: u32,
    only_if: Option<Arc<Predicate>>,
}

type Predicate = dyn Fn(&HandlerError) -> bool + Send + Sync;

impl Retry {
    /// Tries again after up to `first`, then up to twice, four times, eight times that. The factor is always 2. Range:
    /// more than zero, at most a day.
    pub fn exponential(first: Duration) -> Self {
        let max_delay = Duration::from_secs(30);
        Self { first, max_delay, attempts: 3, percent: 10, reserve: 10, only_if: None }
    }

    /// How many times the handler is called at most, the first time included. Default: 3. Range: 1 to 100.
    pub fn attempts(mut self, total: u32) -> Self {
        self.attempts = total;
        self
    }

    /// The ceiling of all delays. Default: 30 s. Range: more than zero, at most a day.
    pub fn max_delay(mut self, limit: Duration) -> Self {
        self.max_delay = limit;
        self
    }

    /// Which failures are worth another try. Default: all, panics too. A predicate that panics says no.
    pub fn only_if(mut self, predicate: impl Fn(&HandlerError) -> bool + Send + Sync + 'static) -> Self {
        self.only_if = Some(Arc::new(predicate));
        self
    }

    /// How much retries may add to the subscription's traffic, in per cent of its first attempts. Default: 10. Range: 1
    /// to 100.
    ///
    /// Over any stretch of time there are at most that many retries, and the [`reserve`](Self::reserve). The idea is
    /// that of Finagle's `RetryBudget`: a first attempt pays a share of a token in, a retry takes a whole one out.
    pub fn budget(mut self, percent: u8) -> Self {
        self.percent = percent;
        self
    }

    /// How many retries may be saved up, so that a quiet subscription can retry at all. The budget begins with this
    /// many. Default: 10. Range: 1 to 10,000.
    pub fn reserve(mut self, retries: u32) -> Self {
        self.reserve = retries;
        self
    }

    /// How often the handler is called at most.
    pub(crate) fn most_attempts(&self) -> u32 {
        self.attempts
    }

    /// Checks the ranges; `of` is what the policy is called where it was set.
    pub(crate) fn check(&self, of: &str) -> Result<(), BuildError> {
        range::wait(|| format!("{of}.first"), self.first, MAX_DELAY)?;
        range::wait(|| format!("{of}.max_delay"), self.max_delay, MAX_DELAY)?;
        range::number(|| format!("{of}.attempts"), self.attempts.into(), 1, MAX_ATTEMPTS.into())?;
        range::number(|| format!("{of}.budget"), self.percent.into(), 1, 100)?;
        range::number(|| format!("{of}.reserve"), self.reserve.into(), 1, MAX_RESERVE)
    }

    /// How long to wait after attempt number `attempt`, counted from 1, has failed; `random` is 64 even bits.
    pub(crate) fn delay(&self, attempt: u32, random: u64) -> Duration {
        let ceiling = u128::from(self.ceiling(attempt));
        // The high half of the product lies evenly in 0..=ceiling.
        Duration::from_nanos(((u128::from(random) * (ceiling + 1)) >> 64) as u64)
    }

    /// The longest delay after this attempt, in nanoseconds.
    fn ceiling(&self, attempt: u32) -> u64 {
        let (first, max) = (range::nanos(self.first), range::nanos(self.max_delay));
        // Of 128 bits none is lost by 64 doublings, and more of them change nothing: the maximum has 64.
        let doubled = u128::from(first) << attempt.saturating_sub(1).min(64);
        doubled.min(max.into()) as u64
    }

    /// After attempt number `attempt`, counted from 1, has failed: when the next one is due, or why there is none. A
    /// retry that is granted has been paid for.
    pub(crate) fn next(
        &self,
        budget: &Budget,
        attempt: u32,
        error: &HandlerError,
        random: u64,
    ) -> Result<Duration, GiveUp> {
        if attempt >= self.attempts {
            return Err(GiveUp::LastAttempt);
        }
        if !self.is_retryable(error) {
            return Err(GiveUp::NotRetryable);
        }
        if !budget.withdraw() {
            return Err(GiveUp::OverBudget);
        }
        Ok(self.delay(attempt, random))
    }

    fn is_retryable(&self, error: &HandlerError) -> bool {
        let stays = matches!(
            error,
            HandlerError::WrongType { .. } | HandlerError::WrongVersion { .. } | HandlerError::SchemaMismatch(_)
        );
        if stays {
            // The event will be what it is.
            return false;
        }
        let Some(predicate) = &self.only_if else { return true };
        catch_unwind(AssertUnwindSafe(|| predicate(error))).unwrap_or_else(|panic| {
            drop_quietly(panic);
            false
        })
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("first", &self.first)
            .field("max_delay", &self.max_delay)
            .field("attempts", &self.attempts)
            .field("percent", &self.percent)
            .field("reserve", &self.reserve)
            .field("only_if", &self.only_if.is_some())
            .finish()
    }
}

/// Why a failed delivery is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GiveUp {
    LastAttempt,
    NotRetryable,
    OverBudget,
}

/// A token, in the unit in which the budget is kept: then a share in per cent is a whole number.
const TOKEN: u64 = 100;

/// How many retries a subscription may still have: a bucket that first attempts fill and retries empty.
///
/// It never holds more than the reserve. So over any stretch, retries are at most the reserve and the percentage of the
/// stretch's first attempts, however long the calm before it was.
///
/// # Cost
///
/// A first attempt is one relaxed load while the bucket is full, which it is while all goes well; else a
/// compare-and-swap. Lock-free, no allocation.
#[derive(Debug)]
pub(crate) struct Budget {
    share: u64,
    most: u64,
    saved: AtomicU64,
}

impl Budget {
    /// A full budget.
    pub(crate) fn new(retry: &Retry) -> Self {
        let most = u64::from(retry.reserve) * TOKEN;
        Self { share: retry.percent.into(), most, saved: AtomicU64::new(most) }
    }

    /// Pays in for a first attempt.
    #[inline]
    pub(crate) fn deposit(&self) {
        let more = |saved: u64| (saved < self.most).then(|| (saved + self.share).min(self.most));
        // Relaxed, here and below: the number is all there is, and nothing is published by it. A full bucket is left
        // alone, which is no failure.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes out what a retry costs; `false` if there is less.
    pub(crate) fn withdraw(&self) -> bool {
        let less = |saved: u64| saved.checked_sub(TOKEN);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// A subscription's policy at work.
#[derive(Debug)]
pub(crate) struct Retrying {
    pub(crate) policy: Retry,
    pub(crate) budget: Budget,
    /// Calls that were not the first with their event.
    pub(crate) retries: AtomicU64,
    /// Failures that were not tried again because the budget was spent, or because there was no room to wait in.
    pub(crate) over_budget: AtomicU64,
    pub(crate) no_room: AtomicU64,
}

impl Retrying {
    pub(crate) fn new(policy: Retry) -> Self {
        let (budget, [retries, over_budget, no_room]) = (Budget::new(&policy), [0; 3].map(AtomicU64::new));
        Self { policy, budget, retries, over_budget, no_room }
    }
}

/// An attempt to deliver an event that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// Its number, starting at 1.
    pub number: u32,
    /// What the handler said.
    pub error: String,
    /// When it failed, in seconds since the Unix epoch.
    pub at: f64,
}

/// The failed attempts of one delivery, oldest first: at most 100, as many as a policy allows.
#[derive(Clone, Debug, Default)]
pub(crate) struct History(Vec<Attempt>);

impl History {
    /// Writes an attempt down, with the text of its error, not the error: that is the user's, and may be large or do
    /// something when it is dropped.
    pub(crate) fn record(&mut self, error: String, at: f64) {
        if self.0.len() < MAX_ATTEMPTS as usize {
            self.0.push(Attempt { number: self.0.len() as u32 + 1, error, at });
        }
    }

    /// What a dead letter knows of its attempts. One that was tried once has no history: its error says it all.
    pub(crate) fn of(known: &[Attempt], attempts: u32, error: &str, at: f64) -> Self {
        let only = || Attempt { number: 1, error: error.to_owned(), at };
        Self(if known.is_empty() && attempts == 1 { vec![only()] } else { known.to_vec() })
    }

    pub(crate) fn into_attempts(self) -> Vec<Attempt> {
        self.0
    }
}

#[cfg(test)]
mod tests;
