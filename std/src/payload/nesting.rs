//! JSON that is not nested deeper than it can be read again.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter};

/// How deep a payload may be nested in a line, which is one level itself: readers of JSON take no more than 127 as a rule,
/// ours among them. What writes it calls itself for each level, so that a bound is also one on the stack.
const LEVELS: u8 = 126;

/// Writes a value as [`serde_json::to_writer`] does, unless it is nested too deeply.
pub(super) fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Bounded { left: LEVELS }))
}

struct Bounded {
    left: u8,
}

impl Bounded {
    fn descend(&mut self) -> io::Result<()> {
        let too_deep = || io::Error::other(format!("it is nested deeper than {LEVELS} levels"));
        self.left = self.left.checked_sub(1).ok_or_else(too_deep)?;
        Ok(())
    }
}

impl Formatter for Bounded {
    #[inline]
    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.descend()?;
        CompactFormatter.begin_array(out)
    }

    #[inline]
    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.left += 1;
        CompactFormatter.end_array(out)
    }

    #[inline]
    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.descend()?;
        CompactFormatter.begin_object(out)
    }

    #[inline]
    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.left += 1;
        CompactFormatter.end_object(out)
    }
}
