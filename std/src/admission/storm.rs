//! Storms: topics with far more events than usual.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::error::BuildError;
use crate::range;

const MAX_PER_SECOND: u64 = 1_000_000;
const MIN_WINDOW: Duration = Duration::from_millis(100);
const MAX_WINDOW: Duration = Duration::from_secs(60);

/// A word of the detector holds the number of a window and, in this many low bits, a count: room for the most events
/// that a window may have (60,000,000), and for 217 years of the shortest windows.
const COUNT_BITS: u32 = 28;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
/// Counts end here, so that threads that add at the same time cannot carry into the window's number.
const MAX_COUNT: u64 = 1 << (COUNT_BITS - 1);

/// What a storm guard does about a storm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Storm {
    /// Lets the events pass. The bus says once that the storm has begun, and once that it has ended.
    #[default]
    Report,
    /// Says so too, and refuses every event of the topic, from the one that began the storm until it has ended.
    Refuse,
}

/// A guard against storms: topics on which somebody emits far more often than was ever meant, as a loop of events that
/// cause each other does. Each topic is watched by itself.
///
/// A storm begins with the event that is one too many for a [`window`](Self::window), and ends when the rate has stayed
/// within the limit for a whole window. Refused events count as well: a storm is over when the emitters are calm, not
/// when the guard is strict.
///
/// # Examples
///
/// ```
/// use nervebus::{Storm, StormGuard};
/// use std::time::Duration;
///
/// let guard = StormGuard::per_second(100).window(Duration::from_secs(5)).answer(Storm::Refuse);
/// # let _ = guard;
/// ```
#[derive(Debug, Clone)]
#[must_use = "a guard does nothing until a builder takes it"]
pub struct StormGuard {
    per_second: u32,
    window: Duration,
    answer: Storm,
}

impl StormGuard {
    /// How many events a second a topic may have. The usual number is 100. Range: 1 to 1,000,000.
    pub fn per_second(events: u32) -> Self {
        Self { per_second: events, window: Duration::from_secs(1), answer: Storm::default() }
    }

    /// Over how long events are counted: a longer window forgives longer bursts. Default: 1 s. Range: 100 ms to 60 s.
    ///
    /// What a window may hold is the rate times its length, rounded up.
    pub fn window(mut self, length: Duration) -> Self {
        self.window = length;
        self
    }

    /// What is done about a storm. Default: [`Storm::Report`].
    pub fn answer(mut self, answer: Storm) -> Self {
        self.answer = answer;
        self
    }

    /// How many events a second a topic may have.
    pub(crate) fn limit(&self) -> u32 {
        self.per_second
    }

    /// Over how long events are counted.
    pub(crate) fn length(&self) -> Duration {
        self.window
    }

    /// Whether the events of a storm are refused.
    pub(crate) fn refuses(&self) -> bool {
        self.answer == Storm::Refuse
    }

    /// Checks the ranges; `of` is what the guard is called where it was set.
    pub(crate) fn check(&self, of: &str) -> Result<(), BuildError> {
        range::number(|| format!("{of}.per_second"), self.per_second.into(), 1, MAX_PER_SECOND)?;
        // To the microsecond, so that what is a little too short is not rounded into the range.
        let micros = |window: Duration| u64::try_from(window.as_micros()).unwrap_or(u64::MAX);
        let field = || format!("{of}.window in microseconds");
        range::number(field, micros(self.window), micros(MIN_WINDOW), micros(MAX_WINDOW))
    }
}

/// What an event says about its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No storm.
    Calm,
    /// A storm begins with this event. One event an episode is told so.
    Began,
    /// The storm goes on.
    Raging,
    /// The storm is over; this event is calm. One event an episode is told so.
    Ended {
        /// From the window in which it began to the last one that had too many events, in nanoseconds, whole windows.
        lasted: u64,
        /// How many events there were from its beginning to its end; one that is observed while the episode ends may be
        /// counted to the next.
        events: u64,
    },
}

impl Verdict {
    /// Whether the event is part of a storm.
    pub(crate) fn is_storm(self) -> bool {
        matches!(self, Self::Began | Self::Raging)
    }
}

/// Watches one topic.
///
/// The rate is estimated from two windows on a fixed grid: the events of the present one, and of the one before it the
/// share that the sliding window still covers, as if they had come evenly ('sliding window counter', Cloudflare, 'How
/// we built rate limiting capable of scaling to millions of domains', 2017). The estimate is exact within a window and
/// off by what came unevenly in the one before, and by one event across both; a rate at the very limit is no storm.
///
/// Each word is changed by one atomic operation that depends on that word alone, so relaxed accesses suffice.
/// Between the change to a new window and the note of what the old one held, the latter counts as empty: a storm may
/// be noticed an event later than by one thread alone. Beginning and end are compare-and-swaps of one word: there is
/// exactly one of each an episode.
///
/// # Cost
///
/// 48 bytes. An event is a division, two loads and an addition, in a storm another addition; a compare-and-swap when
/// a window begins and when an episode begins or ends. Lock-free, no allocation.
#[derive(Debug)]
pub(crate) struct Detector {
    /// The length of a window in nanoseconds.
    window: u64,
    /// How many events a window may have.
    limit: u64,
    /// The present window and its events.
    current: AtomicU64,
    /// The window that had events before it, and those.
    previous: AtomicU64,
    /// In a storm, the last window that had too many events and how many windows the storm has lasted up to it. In a
    /// calm, the window in which the last storm ended, and 0.
    episode: AtomicU64,
    /// Events of the storm.
    events: AtomicU64,
}

impl Detector {
    /// A calm topic.
    pub(crate) fn new(guard: &StormGuard) -> Self {
        let window = range::nanos(guard.window.clamp(MIN_WINDOW, MAX_WINDOW));
        let per_second = u64::from(guard.per_second).clamp(1, MAX_PER_SECOND);
        Self {
            window,
            limit: (per_second * window).div_ceil(1_000_000_000),
            current: AtomicU64::new(0),
            previous: AtomicU64::new(0),
            episode: AtomicU64::new(0),
            events: AtomicU64::new(0),
        }
    }

    /// Counts an event at `now` nanoseconds since an origin of the caller's. A clock that goes backwards stands still.
    #[inline]
    pub(crate) fn observe(&self, now: u64) -> Verdict {
        let (index, count) = self.count(now / self.window);
        let verdict = self.judge(index, self.is_above(index, count, now));
        if verdict.is_storm() {
            self.events.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }

    /// Looks without an event, so that the end of a storm is noticed on a topic that has fallen silent.
    pub(crate) fn look(&self, now: u64) -> Verdict {
        self.judge(now / self.window, false)
    }

    /// Events a second, estimated over the sliding window that ends now.
    #[cold]
    pub(crate) fn rate(&self, now: u64) -> f64 {
        let index = now / self.window;
        let [current, previous] = [&self.current, &self.previous].map(|word| word.load(Ordering::Relaxed));
        let count = |word: u64, of: u64| if index_of(word) == of { count_of(word) as f64 } else { 0.0 };
        let window = self.window as f64;
        let share = 1.0 - (now % self.window) as f64 / window;
        let before = if index == 0 { 0.0 } else { count(previous, index - 1) };
        (count(current, index) + before * share) * 1e9 / window
    }

    /// Counts an event in its window, or in a later one that has begun already: the window, and its events so far.
    fn count(&self, index: u64) -> (u64, u64) {
        let mut word = self.current.load(Ordering::Relaxed);
        loop {
            if index_of(word) >= index {
                if count_of(word) >= MAX_COUNT {
                    return (index_of(word), MAX_COUNT);
                }
                let before = self.current.fetch_add(1, Ordering::Relaxed);
                return (index_of(before), count_of(before) + 1);
            }
            match self.current.compare_exchange_weak(word, pack(index, 1), Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    // The largest: a thread that was stopped here must not bring back a window that is long past.
                    self.previous.fetch_max(word, Ordering::Relaxed);
                    return (index, 1);
                }
                Err(now) => word = now,
            }
        }
    }

    /// Whether the sliding window that ends now holds more than it may.
    fn is_above(&self, index: u64, count: u64, now: u64) -> bool {
        if count > self.limit {
            return true;
        }
        let previous = self.previous.load(Ordering::Relaxed);
        let before = count_of(previous);
        // Without this event: those that come evenly at the very limit are one more, both ends of the window included.
        let earlier = count - 1;
        if index_of(previous) + 1 != index || earlier + before <= self.limit {
            return false;
        }
        let into = now.saturating_sub(index * self.window).min(self.window);
        // The shares of the two windows, multiplied by a window's length.
        let covered =
            u128::from(earlier) * u128::from(self.window) + u128::from(before) * u128::from(self.window - into);
        covered > u128::from(self.limit) * u128::from(self.window)
    }

    /// Brings the episode up to a look in this window.
    fn judge(&self, index: u64, above: bool) -> Verdict {
        let mut episode = self.episode.load(Ordering::Relaxed);
        loop {
            let (last, length) = (index_of(episode), count_of(episode));
            let (next, verdict) = match (length, above) {
                (0, false) => return Verdict::Calm,
                // Somebody was stopped since the last storm, and saw that one.
                (0, true) if index < last => return Verdict::Calm,
                (0, true) => (pack(index, 1), Verdict::Began),
                (_, true) if index <= last => return Verdict::Raging,
                (_, true) => (pack(index, (length + index - last).min(MAX_COUNT)), Verdict::Raging),
                // The window after the last one with too many must be over as well.
                (_, false) if index <= last + 1 => return Verdict::Raging,
                (_, false) => (pack(index, 0), Verdict::Ended { lasted: length * self.window, events: 0 }),
            };
            match self.episode.compare_exchange_weak(episode, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return self.with_events(verdict),
                Err(now) => episode = now,
            }
        }
    }

    fn with_events(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Ended { lasted, .. } => Verdict::Ended { lasted, events: self.events.swap(0, Ordering::Relaxed) },
            other => other,
        }
    }
}

fn pack(index: u64, count: u64) -> u64 {
    (index << COUNT_BITS) | count
}

fn index_of(word: u64) -> u64 {
    word >> COUNT_BITS
}

fn count_of(word: u64) -> u64 {
    word & COUNT_MASK
}

#[cfg(test)]
mod tests;
