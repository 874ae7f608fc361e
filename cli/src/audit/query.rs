//! `nervebus audit query`: the events that are asked for.

use std::io;

use nervebus::{AuditEntries, AuditReader, ReadError};

use crate::Outcome;
use crate::audit::{Filters, account, filters_help, refused, write_event};
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::{Output, outcome};
use crate::progress::Progress;

pub(crate) const COMMAND: Command = Command {
    name: "audit query",
    arguments: "FILE",
    summary: "The events that are asked for, newest or oldest first.",
    help: concat!(
        "\
nervebus audit query: the events of a log that are asked for

Usage:
  nervebus audit query FILE [OPTIONS]

FILE is the file that the log is written to; its rotated and compressed files are read with it. Memory does not depend
on how much there is.

Options:
",
        filters_help!(),
        "  --newest           The newest first, which is the default.
  --oldest           The oldest first.
  --limit N          At most so many.
  --json             The lines of the log as they are, one JSON object each.

Lines that are no events are skipped; how many, and where the first one is, is said on standard error.

Examples:
  nervebus audit query events.jsonl --type 'order.*' --since 2h --limit 20
  nervebus audit query events.jsonl --correlation 4f1c --oldest
  nervebus audit query events.jsonl --since 2026-01-31 --until 2026-02-01 --json > january.jsonl

Exit codes: 0 read, whether something was found or not; 1 some lines were skipped; 2 wrong command line; 3 cannot read
or write.
"
    ),
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let (mut filters, mut oldest, mut limit) = (Filters::default(), false, usize::MAX);
    arguments.each(|name, values| {
        match name {
            "--newest" => oldest = false,
            "--oldest" => oldest = true,
            "--limit" => limit = values.number()?,
            _ => return filters.take(name, values),
        }
        Ok(true)
    })?;
    let file = arguments.file()?;
    arguments.end()?;
    let reader = match AuditReader::open(file).and_then(|reader| filters.apply(reader)) {
        Ok(reader) => reader.limit(limit),
        Err(error) => return Ok(refused(&error)),
    };
    let entries = if oldest { reader.oldest_first() } else { reader.newest_first() };
    Ok(match entries {
        Ok(entries) => outcome(write(entries, arguments.json)),
        Err(error) => refused(&error),
    })
}

fn write(mut entries: AuditEntries, json: bool) -> io::Result<Outcome> {
    let (mut out, mut progress, mut trouble) = (Output::new(), Progress::new(), None::<ReadError>);
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) => write_event(&mut out, &entry, json)?,
            Err(error) => trouble = Some(error),
        }
        progress.at(entries.tally().bytes);
    }
    out.flush()?;
    drop(progress);
    let account = account(entries.tally());
    Ok(trouble.map_or(account, |error| refused(&error)))
}
