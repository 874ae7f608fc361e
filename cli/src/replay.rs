//! `nervebus replay`: the events of a log once more, in order and at a pace.

#[cfg(feature = "durable")]
mod durable;
mod source;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{AuditReader, Speed, json};

use self::source::{Counts, Item, Source, seq};
use crate::Outcome;
use crate::audit::{Filters, filters_help, refused};
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::{Output, complain, outcome};
use crate::progress::Progress;
use crate::text::safe_json;

pub(crate) const COMMAND: Command = Command {
    name: "replay",
    arguments: "FILE",
    summary: "The events once more, in order and at a pace, as JSON lines.",
    help: concat!(
        "\
nervebus replay: the events of a log once more, in the order in which they were recorded and at the pace asked for

Usage:
  nervebus replay FILE [OPTIONS]

FILE is the file that an audit log is written to; its rotated and compressed files come before it. Or it is the folder
of a durable log that no bus has open, where this command was built with the feature 'durable'. Events are written to
standard output as the lines that they are, one JSON object each, for a program that emits them again: it reads a
line with Record::from_jsonl and gives it to Bus::emit_record. Memory does not depend on how much there is. The bus's
own records (system.*) are left out unless --type asks for them.

Options:
",
        filters_help!(),
        "  --from POSITION    Begin at this line, counted from 1 over all files of the log; or at this position of a
                     durable log.
  --from-seq N       Only events that had this number or a higher one on their bus, which counts anew in each run.
  --limit N          At most so many.
  --speed SPEED      as-recorded: with the pauses that the timestamps have between them; 10: ten times as fast as that;
                     500/s: so many a second, evenly; max: as fast as they are taken, which is the default.
  --json             Print the account on standard error as one JSON object.

At the end standard error says how many events there were, and with which --from another run goes on. That position
stays right when files are rotated or compressed, but not when the oldest is removed.

Examples:
  nervebus replay events.jsonl --type 'order.*' --since 2h --speed 10 | your-service --events -
  nervebus replay events.jsonl --from 1201 --limit 100 --speed 50/s > piece.jsonl
  nervebus replay durable-log --type 'order.*' --from 5000

Exit codes: 0 replayed, whether something was found or not; 1 some lines were skipped; 2 wrong command line; 3 cannot
read or write.
"
    ),
    run,
};

/// What somebody asks for beside the filters.
#[derive(Debug)]
struct Plan {
    from: u64,
    from_seq: Option<u64>,
    limit: u64,
    speed: Speed,
    /// Whether the bus's own records are meant as well.
    own: bool,
}

/// What came of it.
#[derive(Debug, Default)]
struct Account {
    given: u64,
    left_out: u64,
    completed: bool,
}

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let mut plan = Plan { from: 1, from_seq: None, limit: u64::MAX, speed: Speed::Fastest, own: false };
    let mut filters = Filters::default();
    arguments.each(|name, values| {
        match name {
            "--from" => plan.from = values.number()?,
            "--from-seq" => plan.from_seq = Some(values.number()?),
            "--limit" => plan.limit = values.number()?,
            "--speed" => {
                let text = values.text()?;
                plan.speed = speed(&text).ok_or_else(|| values.wrong(format!("'{text}': {SPEEDS}")))?;
            }
            _ => {
                plan.own |= name == "--type";
                return filters.take(name, values);
            }
        }
        Ok(true)
    })?;
    let log = arguments.file()?;
    arguments.end()?;
    if Path::new(&log).is_dir() {
        return Ok(replay_folder(&log, filters, &plan, arguments.json));
    }
    let reader = AuditReader::open(log).and_then(|reader| filters.apply(reader));
    Ok(match reader.and_then(|reader| reader.oldest_first()) {
        Ok(entries) => outcome(write(entries.from_line(plan.from), &plan, arguments.json)),
        Err(error) => refused(&error),
    })
}

/// The folder of a durable log.
#[cfg(feature = "durable")]
fn replay_folder(folder: &OsStr, filters: Filters, plan: &Plan, json: bool) -> Outcome {
    match durable::DurableEvents::open(folder, filters, plan.from) {
        Ok(events) => outcome(write(events, plan, json)),
        Err(error) => {
            complain(&format!("cannot read the durable log {}: {error}", folder.display()));
            Outcome::Failed
        }
    }
}

#[cfg(not(feature = "durable"))]
fn replay_folder(folder: &OsStr, _: Filters, _: &Plan, _: bool) -> Outcome {
    complain(&format!(
        "{} is a folder. A durable log is one, but this command was built without the feature 'durable' that reads it; \
         'cargo install nervebus-cli --features durable' builds one with it. Of an audit log, name the file.",
        folder.display()
    ));
    Outcome::Failed
}

/// What a speed may be written as.
const SPEEDS: &str = "a speed is as-recorded, max, a factor above zero (10), or a rate above zero (500/s)";

fn speed(text: &str) -> Option<Speed> {
    match text {
        "as-recorded" => return Some(Speed::AsRecorded),
        "max" => return Some(Speed::Fastest),
        _ => {}
    }
    if let Some(rate) = text.strip_suffix("/s") {
        return rate.parse().ok().filter(|rate| *rate > 0).map(Speed::PerSecond);
    }
    let factor = text.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor > 0.0);
    factor.map(Speed::Times)
}

fn write(mut events: impl Source, plan: &Plan, json: bool) -> io::Result<Outcome> {
    let (mut out, mut progress, mut trouble) = (Output::new(), Progress::new(), None);
    let (mut account_of, mut pace) = (Account::default(), Pace::new(plan.speed));
    account_of.completed = loop {
        if account_of.given == plan.limit {
            break false;
        }
        match events.next() {
            None => break true,
            // What follows would not be in order without it.
            Some(Err(error)) => {
                trouble = Some(error);
                break false;
            }
            Some(Ok(item)) if !plan.asks_for(&item) => account_of.left_out += 1,
            Some(Ok(item)) => {
                let wait = pace.wait(item.timestamp);
                if !wait.is_zero() {
                    // Whoever reads has everything that is due before this one.
                    out.flush()?;
                    pause(wait);
                }
                out.line(&safe_json(&item.json))?;
                account_of.given += 1;
            }
        }
        progress.at(events.counts().bytes);
    };
    out.flush()?;
    drop(progress);
    let clean = events.settle();
    account_of.say(&events.counts(), json);
    Ok(trouble.map_or(clean, |error| {
        complain(&error);
        Outcome::Failed
    }))
}

impl Plan {
    fn asks_for(&self, item: &Item) -> bool {
        (self.own || !item.event_type.starts_with("system."))
            && self.from_seq.is_none_or(|from| seq(&item.json).is_some_and(|seq| seq >= from))
    }
}

impl Account {
    /// Says on standard error what was done and where to go on.
    fn say(&self, counts: &Counts, json: bool) {
        let Self { given, left_out, completed } = *self;
        let (left_out, next) = (left_out + counts.left_out, counts.next);
        let text = if json {
            json!({
                "given": given,
                "left_out": left_out,
                "skipped": counts.skipped,
                "unfinished": counts.unfinished,
                "next": next,
                "completed": completed,
            })
            .to_string()
        } else {
            let end = if completed { "to the end" } else { "not to the end" };
            format!("nervebus: {given} events, {left_out} left out, {end}; go on with --from {next}")
        };
        // If standard error is gone, nobody is left to be told.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing else is to be done meanwhile")]
fn pause(wait: Duration) {
    thread::sleep(wait);
}

/// When each event is due.
#[derive(Debug)]
struct Pace {
    speed: Speed,
    /// When the first one was due.
    begun: Option<Instant>,
    /// The last event's time, if it had one.
    last: Option<f64>,
    /// When the present one is due, in seconds after the first.
    due: f64,
}

impl Pace {
    fn new(speed: Speed) -> Self {
        Self { speed, begun: None, last: None, due: 0.0 }
    }

    /// How long to wait before an event of this time.
    fn wait(&mut self, timestamp: Option<f64>) -> Duration {
        let pause = |last: Option<f64>| last.zip(timestamp).map_or(0.0, |(last, now)| (now - last).max(0.0));
        let gap = match self.speed {
            Speed::AsRecorded => pause(self.last),
            Speed::Times(factor) => pause(self.last) / factor,
            Speed::PerSecond(rate) => f64::from(self.begun.is_some()) / f64::from(rate),
            _ => return Duration::ZERO,
        };
        self.last = timestamp.or(self.last);
        self.due += gap;
        #[expect(clippy::disallowed_methods, reason = "a command knows no other clock than the machine's")]
        let now = Instant::now();
        let begun = *self.begun.get_or_insert(now);
        Duration::try_from_secs_f64(self.due).unwrap_or(Duration::MAX).saturating_sub(now - begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_may_be_written_in_four_ways() {
        assert_eq!(speed("as-recorded"), Some(Speed::AsRecorded));
        assert_eq!(speed("max"), Some(Speed::Fastest));
        assert_eq!(speed("2.5"), Some(Speed::Times(2.5)));
        assert_eq!(speed("500/s"), Some(Speed::PerSecond(500)));
        for wrong in ["", "0", "-1", "NaN", "inf", "0/s", "1.5/s", "/s", "fast", "10x"] {
            assert_eq!(speed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn pauses_are_those_of_the_timestamps_and_none_is_negative() {
        let due = |speed, times: &[f64]| {
            let mut pace = Pace::new(speed);
            let at = |time: &f64| {
                pace.wait(Some(*time));
                pace.due
            };
            times.iter().map(at).collect::<Vec<_>>()
        };
        let times = [10.0, 12.0, 12.0, 9.0, 13.0];
        assert_eq!(due(Speed::AsRecorded, &times), [0.0, 2.0, 2.0, 2.0, 6.0]);
        assert_eq!(due(Speed::Times(2.0), &times), [0.0, 1.0, 1.0, 1.0, 3.0]);
        assert_eq!(due(Speed::PerSecond(4), &times), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(due(Speed::Fastest, &times), [0.0; 5]);
        assert_eq!(Pace::new(Speed::AsRecorded).wait(None), Duration::ZERO);
    }
}
