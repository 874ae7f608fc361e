//! Load shedding: a lane that fills up lets the less important events go first.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::delivery::class::Class;
use crate::delivery::count;
use crate::error::BuildError;
use crate::range;

/// When a lane sheds load: what it does before it is full, so that important events still find room.
///
/// The marks are shares of the lane's capacity in per cent. A lane begins to shed when as many events wait as the high
/// water mark says, and stops when no more wait than the low one says; in between it does what it did before. While
/// it sheds, the number of waiting events decides which new events are dropped and counted:
///
/// | waiting | dropped |
/// |---|---|
/// | more than the low water mark | [`Class::Low`] |
/// | half of the way from the high water mark to full | [`Class::Normal`] too |
/// | seven eighths of that way | [`Class::High`] too |
/// | any number | never [`Class::Critical`]: for it the lane's overflow policy decides |
///
/// # Examples
///
/// ```
/// use nervebus::Shed;
///
/// let shed = Shed::new().high_water(90).low_water(50);
/// # let _ = shed;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "shedding does nothing until a lane takes it"]
pub struct Shed {
    high_water: u8,
    low_water: u8,
}

impl Default for Shed {
    fn default() -> Self {
        Self { high_water: 80, low_water: 60 }
    }
}

impl Shed {
    /// Shedding with the default marks.
    pub fn new() -> Self {
        Self::default()
    }

    /// From how full on the lane sheds, in per cent of its capacity, rounded up to whole events. Default: 80. Range:
    /// 1 to 100.
    pub fn high_water(mut self, percent: u8) -> Self {
        self.high_water = percent;
        self
    }

    /// Down to how full the lane sheds once it has begun, in per cent of its capacity, rounded down to whole events.
    /// Default: 60. Range: 0 to one less than the high water mark.
    pub fn low_water(mut self, percent: u8) -> Self {
        self.low_water = percent;
        self
    }

    /// Checks the ranges; `of` is what the shedding is called where it was set.
    pub(crate) fn check(&self, of: &str) -> Result<(), BuildError> {
        range::number(|| format!("{of}.high_water"), self.high_water.into(), 1, 100)?;
        range::number(|| format!("{of}.low_water"), self.low_water.into(), 0, u64::from(self.high_water) - 1)
    }
}

/// That an episode of shedding begins or ends. Each is told to one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Began,
    Ended,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether it goes; it has been counted.
    pub(crate) shed: bool,
    /// What is to be said of the lane.
    pub(crate) turn: Option<Turn>,
}

/// A lane's shedding, at work.
///
/// Whether the lane sheds is one flag. Who changes it, by compare-and-swap, tells of the episode; so beginnings and ends
/// take turns, one caller each. The number of waiting events that a caller brings may be a little old by then, which
/// can make an episode a little early, late or short.
///
/// # Cost
///
/// An event is one relaxed load and a comparison while the lane does not shed. While it does, one that goes is an
/// addition as well. Wait-free, no allocation.
#[derive(Debug)]
pub(crate) struct Shedder {
    /// From how many waiting events on it begins, up to how many it stops.
    high: usize,
    low: usize,
    /// From how many on these go; low ones always do.
    normal_from: usize,
    high_from: usize,
    shedding: AtomicBool,
    /// How many went, of the classes that can.
    shed: [AtomicU64; 3],
}

impl Shedder {
    /// Shedding for a lane of this capacity; the configuration has been checked.
    pub(crate) fn new(config: &Shed, capacity: usize) -> Self {
        let percent = |share: u8| capacity as u128 * u128::from(share.min(100));
        let high = (percent(config.high_water).div_ceil(100) as usize).max(1);
        let low = ((percent(config.low_water) / 100) as usize).min(high - 1);
        let rest = capacity.saturating_sub(high);
        Self {
            high,
            low,
            normal_from: high + rest / 2,
            high_from: high + rest - rest / 8,
            shedding: AtomicBool::new(false),
            shed: Default::default(),
        }
    }

    /// Whether an event of this class goes when `len` events wait, and whether an episode begins or ends with that.
    #[inline]
    pub(crate) fn should_shed(&self, class: Class, len: usize) -> Verdict {
        // Relaxed: the flag orders nothing, and the compare-and-swap in `turn` settles who changes it.
        if !self.shedding.load(Ordering::Relaxed) && len < self.high {
            return Verdict { shed: false, turn: None };
        }
        self.decide(class, len)
    }

    /// Looks without an event, for whoever takes events out: the end of an episode is told when the lane has drained
    /// and not only when the next event comes. One relaxed load while the lane does not shed.
    #[inline]
    pub(crate) fn drained_to(&self, len: usize) -> Option<Turn> {
        if !self.shedding.load(Ordering::Relaxed) || len > self.low {
            return None;
        }
        self.turn(false)
    }

    /// Whether the lane sheds.
    pub(crate) fn is_shedding(&self) -> bool {
        self.shedding.load(Ordering::Relaxed)
    }

    /// How many events of this class went.
    pub(crate) fn shed(&self, class: Class) -> u64 {
        self.shed.get(class as usize).map_or(0, count::read)
    }

    #[cold]
    fn decide(&self, class: Class, len: usize) -> Verdict {
        if len <= self.low {
            return Verdict { shed: false, turn: self.turn(false) };
        }
        let turn = if len >= self.high { self.turn(true) } else { None };
        let shed = match class {
            Class::Low => true,
            Class::Normal => len >= self.normal_from,
            Class::High => len >= self.high_from,
            Class::Critical => false,
        };
        if let Some(counter) = self.shed.get(class as usize).filter(|_| shed) {
            count::add(counter, 1);
        }
        Verdict { shed, turn }
    }

    /// Begins or ends the episode, unless somebody else has.
    fn turn(&self, on: bool) -> Option<Turn> {
        // The load spares the lane's other callers the swap: while it sheds, most find the flag as it should be.
        if self.shedding.load(Ordering::Relaxed) == on {
            return None;
        }
        let turned = self.shedding.compare_exchange(!on, on, Ordering::Relaxed, Ordering::Relaxed);
        turned.ok().map(|_| if on { Turn::Began } else { Turn::Ended })
    }
}

#[cfg(test)]
mod tests;
