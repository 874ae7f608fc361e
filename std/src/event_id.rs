//! The identity of an event.

use std::fmt;

/// The identity of an event; displays as text, 32 hexadecimal digits when the bus made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId<'a>(Id<'a>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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

impl fmt::Display for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Id::Given(text) => f.write_str(text),
            Id::Made { bus, seq } => write!(f, "{bus:016x}{seq:016x}"),
        }
    }
}
