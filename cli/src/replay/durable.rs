//! The events of a durable log.

use std::ffi::OsStr;
use std::io;

use nervebus::DurableReader;

use super::source::{Counts, Item, Source};
use crate::Outcome;
use crate::audit::Filters;
use crate::output::complain;

/// The lines of a durable log, and what was met among them.
#[derive(Debug)]
pub(crate) struct DurableEvents {
    reader: DurableReader,
    filters: Filters,
    bytes: u64,
    left_out: u64,
    skipped: u64,
    /// Where the first one of those is.
    first_skipped: Option<u64>,
}

impl DurableEvents {
    pub(crate) fn open(folder: &OsStr, filters: Filters, from: u64) -> io::Result<Self> {
        let reader = DurableReader::open(folder)?.from_position(from);
        Ok(Self { reader, filters, bytes: 0, left_out: 0, skipped: 0, first_skipped: None })
    }
}

impl Source for DurableEvents {
    fn next(&mut self) -> Option<Result<Item, String>> {
        loop {
            let entry = match self.reader.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(format!("the durable log cannot be read further: {error}"))),
            };
            self.bytes += entry.line().len() as u64;
            let (Ok(record), Ok(json)) = (entry.record(), str::from_utf8(entry.line())) else {
                self.skipped += 1;
                self.first_skipped.get_or_insert(entry.position);
                continue;
            };
            if self.filters.takes(&record) {
                let (event_type, timestamp) = (record.event_type, record.timestamp);
                return Some(Ok(Item { json: json.to_owned(), event_type, timestamp }));
            }
            self.left_out += 1;
        }
    }

    fn counts(&self) -> Counts {
        let Self { bytes, left_out, skipped, .. } = *self;
        Counts { bytes, left_out, skipped, unfinished: 0, next: self.reader.next_position() }
    }

    fn settle(&self) -> Outcome {
        let Some(first) = self.first_skipped else { return Outcome::Clean };
        let lines = if self.skipped == 1 { "1 line was" } else { &format!("{} lines were", self.skipped) };
        complain(&format!("{lines} skipped, the first one at position {first}"));
        Outcome::Damaged
    }
}
