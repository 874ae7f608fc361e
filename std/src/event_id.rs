//! The identity of an event.

use std::fmt;

use crate::platform::random;

/// The identity of an event; displays as text, 32 hexadecimal digits when the bus made it.
///
/// Those that buses make are 128 bits: the moment at which the bus was built, in milliseconds (42 bits), 22 bits of chance,
/// the event's number on its bus (48 bits), and 16 bits that are the process's own. So as numbers and as text they stand in
/// the order of the emits of one bus, and those of a bus after those of every bus that was built in an earlier
/// millisecond, be it in an earlier run of the program. Buses that run side by side are told apart by 38 bits of chance,
/// if they were built in the same millisecond at all.
///
/// # Cost
///
/// Nothing: no clock and no generator is asked, neither when an event is emitted nor when its identity is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId<'a>(Id<'a>);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Id<'a> {
    Given(&'a str),
    Made { bus: u64, seq: u64 },
}

impl<'a> EventId<'a> {
    pub(crate) const fn given(text: &'a str) -> Self {
        Self(Id::Given(text))
    }

    pub(crate) const fn made(bus: u64, seq: u64) -> Self {
        Self(Id::Made { bus, seq })
    }
}

impl EventId<'_> {
    /// The two halves of one that a bus made, or the text of another.
    pub(crate) fn halves(&self) -> Result<[u64; 2], &str> {
        match self.0 {
            Id::Given(text) => Err(text),
            Id::Made { bus, seq } => Ok([bus, low_half(seq)]),
        }
    }
}

/// What follows the bus's number in an identity: 2^48 events are more than a bus emits in a year.
pub(crate) fn low_half(seq: u64) -> u64 {
    (seq << 16) | u64::from(random::process())
}

impl fmt::Display for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Id::Given(text) => f.write_str(text),
            Id::Made { bus, seq } => write!(f, "{bus:016x}{:016x}", low_half(seq)),
        }
    }
}

/// Its text in quotes, by which it is found in logs; its parts are found nowhere.
impl fmt::Debug for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Id::Given(text) => write!(f, "EventId({text:?})"),
            Id::Made { .. } => write!(f, "EventId(\"{self}\")"),
        }
    }
}
