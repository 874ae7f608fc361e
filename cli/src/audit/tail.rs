//! `nervebus audit tail`: the last events, and those to come.

use std::ffi::OsStr;
use std::io;
use std::thread;
use std::time::Duration;

use nervebus::{AuditFollow, AuditReader, ReadError};

use crate::Outcome;
use crate::audit::{Filters, account, filters_help, refused, write_event};
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::{Output, complain, outcome};

/// How long to wait for an event before looking whether there is something to say.
const WAIT: Duration = Duration::from_secs(1);

/// How long to wait for a log before looking whether it is there.
const LOOK: Duration = Duration::from_millis(200);

pub(crate) const COMMAND: Command = Command {
    name: "audit tail",
    arguments: "FILE",
    summary: "The last events, and with -f those to come.",
    help: concat!(
        "\
nervebus audit tail: the last events of a log, oldest first, and with -f those that are written from then on

Usage:
  nervebus audit tail FILE [-n N] [-f] [OPTIONS]

FILE is the file that the log is written to. With -f it is followed across rotations: no event is lost or shown twice.
If files were removed before they were read, that is said on standard error. A last line without an end is not there
yet. A log that is not there yet is waited for with -f, which is said on standard error, and then shown from its
beginning, whatever -n says.

Options:
  -n N               The last N events, of those that pass. Default: 10.
  -f, --follow       Go on until interrupted, or until the reader of the output is gone.
",
        filters_help!(),
        "  --json             The lines of the log as they are, one JSON object each.

Examples:
  nervebus audit tail events.jsonl
  nervebus audit tail -f -n 0 events.jsonl --type 'system.*'
  nervebus audit tail -f events.jsonl --json | your-program

Exit codes: 0 read; 1 some lines were skipped; 2 wrong command line; 3 cannot read or write.
"
    ),
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let (mut filters, mut last, mut follow) = (Filters::default(), 10, false);
    arguments.each(|name, values| {
        match name {
            "-n" | "--lines" => last = values.number()?,
            "-f" | "--follow" => follow = true,
            _ => return filters.take(name, values),
        }
        Ok(true)
    })?;
    let file = arguments.file()?;
    arguments.end()?;
    let opened = if follow { wait_for(&file) } else { AuditReader::open(&file).map(|reader| (reader, false)) };
    let follow_from = |(reader, waited): (AuditReader, bool)| {
        let reader = filters.apply(reader)?;
        if waited { reader.follow_all() } else { reader.follow_last(last) }
    };
    Ok(match opened.and_then(follow_from) {
        Ok(log) => outcome(write(log, follow, arguments.json)),
        Err(error) => refused(&error),
    })
}

/// A reader of the log, and whether it came while it was waited for.
fn wait_for(file: &OsStr) -> Result<(AuditReader, bool), ReadError> {
    let mut waited = false;
    loop {
        match AuditReader::open(file) {
            Err(ReadError::NotThere { path }) => {
                if !waited {
                    complain(&format!("there is no log at {path:?} yet; waiting for it"));
                }
                waited = true;
                pause(LOOK);
            }
            opened => return opened.map(|reader| (reader, waited)),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing else is to be done meanwhile")]
fn pause(wait: Duration) {
    thread::sleep(wait);
}

fn write(mut log: AuditFollow, follow: bool, json: bool) -> io::Result<Outcome> {
    let (mut out, mut gaps) = (Output::new(), 0);
    loop {
        match log.poll() {
            Ok(Some(entry)) => {
                write_event(&mut out, &entry, json)?;
                continue;
            }
            Ok(None) if !follow => break,
            Ok(None) => {}
            Err(error) => return failed(&mut out, &error),
        }
        out.flush()?;
        if log.gaps() > gaps {
            gaps = log.gaps();
            complain("files were removed or emptied before they were read: events may be missing here");
        }
        match log.next_within(WAIT) {
            Ok(Some(entry)) => write_event(&mut out, &entry, json)?,
            Ok(None) => {}
            Err(error) => return failed(&mut out, &error),
        }
    }
    out.flush()?;
    Ok(account(log.tally()))
}

fn failed(out: &mut Output, error: &ReadError) -> io::Result<Outcome> {
    out.flush()?;
    Ok(refused(error))
}
