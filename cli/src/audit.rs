//! Commands that look at audit logs, and what they share.

pub(crate) mod query;
pub(crate) mod report;
pub(crate) mod stats;
pub(crate) mod tail;
pub(crate) mod totals;
pub(crate) mod verify;

use std::io;
use std::time::SystemTime;

use nervebus::{AuditEntry, AuditReader, Pattern, ReadError, ReadTally};
#[cfg(feature = "durable")]
use nervebus::{Record, Topic};

use crate::Outcome;
use crate::options::{UsageError, Values};
use crate::output::{self, Output};
use crate::text::{safe, safe_json, short};
use crate::time;
#[cfg(feature = "durable")]
use crate::time::since_1970;

/// What `--help` says of the options that choose events.
macro_rules! filters_help {
    () => {
        "  --type PATTERN     Only this type, or those that the pattern matches: 'order.placed', 'chat.*', '*.failed'.
  --since TIME       Only events of this moment or later: 2026-01-31, 2026-01-31T23:59:59Z, seconds since 1970, or
                     how long ago: 90s, 15m, 2h, 1d, 1w.
  --until TIME       Only events from before this moment.
  --correlation ID   Only events with this correlation id.
  --source NAME      Only events from this source.
"
    };
}
pub(crate) use filters_help;

/// Which events somebody wants to see.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    pattern: Option<String>,
    since: Option<SystemTime>,
    until: Option<SystemTime>,
    correlation: Option<String>,
    source: Option<String>,
}

impl Filters {
    /// Takes an option if it is one of these.
    pub(crate) fn take(&mut self, name: &str, values: &mut Values<'_>) -> Result<bool, UsageError> {
        match name {
            "--type" => {
                let pattern = values.text()?;
                Pattern::new(&pattern).map_err(|error| values.wrong(error.to_string()))?;
                self.pattern = Some(pattern);
            }
            "--since" => self.since = Some(moment(values)?),
            "--until" => self.until = Some(moment(values)?),
            "--correlation" => self.correlation = Some(values.text()?),
            "--source" => self.source = Some(values.text()?),
            _ => return Ok(false),
        }
        match (self.since, self.until) {
            (Some(since), Some(until)) if since >= until => {
                Err(UsageError::Other("--since is not earlier than --until: nothing can lie between them".into()))
            }
            _ => Ok(true),
        }
    }

    /// The reader that gives these events.
    pub(crate) fn apply(self, mut reader: AuditReader) -> Result<AuditReader, ReadError> {
        if let Some(pattern) = self.pattern {
            reader = reader.topic(&pattern)?;
        }
        if let Some(since) = self.since {
            reader = reader.since(since);
        }
        if let Some(until) = self.until {
            reader = reader.until(until);
        }
        if let Some(id) = self.correlation {
            reader = reader.correlation_id(id);
        }
        if let Some(source) = self.source {
            reader = reader.source(source);
        }
        Ok(reader)
    }
}

#[cfg(feature = "durable")]
impl Filters {
    /// Whether an event is one of these.
    pub(crate) fn takes(&self, record: &Record) -> bool {
        let matches = |pattern: &String| match (Pattern::new(pattern), Topic::new(&record.event_type)) {
            (Ok(pattern), Ok(topic)) => pattern.matches(topic),
            _ => false,
        };
        let at = record.timestamp.and_then(since_1970);
        self.pattern.as_ref().is_none_or(matches)
            && self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at < until))
            && self.correlation.as_ref().is_none_or(|id| record.correlation_id.as_ref() == Some(id))
            && self.source.as_ref().is_none_or(|source| record.source.as_ref() == Some(source))
    }
}

/// The value of an option as a moment.
pub(crate) fn moment(values: &mut Values<'_>) -> Result<SystemTime, UsageError> {
    let text = values.text()?;
    time::moment(&text).map_err(|reason| values.wrong(reason))
}

/// A log that cannot be read, or was asked for what it cannot have.
pub(crate) fn refused(error: &ReadError) -> Outcome {
    output::complain(&error.to_string());
    if matches!(error, ReadError::InvalidPattern { .. }) { Outcome::Usage } else { Outcome::Failed }
}

/// Writes an event: the line as it stands in the log, or a row of a table.
pub(crate) fn write_event(out: &mut Output, entry: &AuditEntry, json: bool) -> io::Result<()> {
    if json {
        return out.line(&safe_json(entry.json()));
    }
    let record = &entry.record;
    let at = record.timestamp.map_or_else(|| "-".to_owned(), time::date);
    let name = short(&safe(&record.event_type), 60);
    let mut row = format!("{at:<24}  {name:<28}  {}", safe_json(&record.payload.to_string()));
    for (what, value) in [("source", &record.source), ("correlation", &record.correlation_id)] {
        if let Some(value) = value {
            row += &format!("  {what}={}", safe(value));
        }
    }
    out.row(&row)
}

/// Says on standard error what was skipped; the outcome of reading it.
pub(crate) fn account(tally: &ReadTally) -> Outcome {
    let Some(first) = tally.first_skipped.first() else { return Outcome::Clean };
    let lines = if tally.skipped == 1 { "1 line was" } else { &format!("{} lines were", tally.skipped) };
    output::complain(&format!("{lines} skipped, the first one at {first}"));
    Outcome::Damaged
}
