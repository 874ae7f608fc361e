//! What events come from, one after the other.

use nervebus::{AuditEntries, Value};

use crate::Outcome;
use crate::audit::account;

/// An event as its log has it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) json: String,
    pub(crate) event_type: String,
    pub(crate) timestamp: Option<f64>,
}

/// What was met so far.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) bytes: u64,
    /// Events that the filters have left out.
    pub(crate) left_out: u64,
    /// Lines that are no events.
    pub(crate) skipped: u64,
    pub(crate) unfinished: u64,
    /// Where another run goes on.
    pub(crate) next: u64,
}

/// A log, read in order.
pub(crate) trait Source {
    /// The next event that passes the filters, or why there will be none.
    fn next(&mut self) -> Option<Result<Item, String>>;

    fn counts(&self) -> Counts;

    /// Says on standard error what was skipped; the outcome of reading it.
    fn settle(&self) -> Outcome;
}

impl Source for AuditEntries {
    fn next(&mut self) -> Option<Result<Item, String>> {
        let entry = match Iterator::next(self)? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error.to_string())),
        };
        let json = entry.json().to_owned();
        Some(Ok(Item { json, event_type: entry.record.event_type, timestamp: entry.record.timestamp }))
    }

    fn counts(&self) -> Counts {
        let (tally, next) = (self.tally(), self.next_line());
        let (bytes, left_out) = (tally.bytes, tally.other);
        Counts { bytes, left_out, skipped: tally.skipped, unfinished: tally.unfinished, next }
    }

    fn settle(&self) -> Outcome {
        account(self.tally())
    }
}

/// The number of the event on its bus, if its line has one.
pub(crate) fn seq(json: &str) -> Option<u64> {
    json.parse::<Value>().ok()?.get("seq")?.as_u64()
}
