//! `nervebus audit stats`: how many events of which type.

use std::ffi::OsStr;
use std::io;

use nervebus::AuditReader;

use crate::Outcome;
use crate::audit::report;
use crate::audit::totals::Stats;
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::{cannot_read, print};
use crate::progress::Progress;

pub(crate) const COMMAND: Command = Command {
    name: "audit stats",
    arguments: "FILE",
    summary: "How many events of which type, from when to when.",
    help: "\
nervebus audit stats: how many events of which type a log holds, from when to when, and which lines are malformed

Usage:
  nervebus audit stats FILE [--json]

FILE is the file that the log is written to; its rotated and compressed files are counted with it. '-' is standard
input. Memory does not depend on how much there is. Empty lines are skipped and counted.

A line over 16 MiB counts as malformed. The 20 most frequent types are shown; of the types beyond the first 10000
different ones, only their events are counted. The first 10 malformed lines are shown with their reason. A last line
that has no end yet is unfinished, which is no damage.

Examples:
  nervebus audit stats logs/events.jsonl
  zcat old.jsonl.gz | nervebus audit stats - --json

Exit codes: 0 every line is an event; 1 some are malformed; 2 wrong command line; 3 cannot read or write.
",
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    arguments.each(|_, _| Ok(false))?;
    let file = arguments.file()?;
    arguments.end()?;
    let (stats, name) = if file == OsStr::new("-") {
        (
            Stats::of(&mut io::stdin().lock()).map_err(|error| format!("cannot read standard input: {error}")),
            "standard input".into(),
        )
    } else {
        (of_log(&file).map_err(|error| error.to_string()), file.to_string_lossy())
    };
    let stats = match stats {
        Ok(stats) => stats,
        Err(error) => return Ok(cannot_read(&error)),
    };
    let text = if arguments.json { report::json(&name, &stats) } else { report::table(&name, &stats) };
    Ok(match print(&text) {
        Outcome::Clean if stats.malformed() > 0 => Outcome::Damaged,
        outcome => outcome,
    })
}

fn of_log(file: &OsStr) -> Result<Stats, nervebus::ReadError> {
    let mut entries = AuditReader::open(file)?.oldest_first()?;
    Stats::of_log(&mut entries, &mut Progress::new())
}
