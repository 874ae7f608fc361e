//! `nervebus topology diff`: what has changed between two graphs.

use std::fmt::Write;

use super::{file_help, read};
use crate::Outcome;
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::{cannot_read, print};
use crate::text::safe;

pub(crate) const COMMAND: Command = Command {
    name: "topology diff",
    arguments: "FILE FILE",
    summary: "What is new and what is gone between two graphs.",
    help: concat!(
        "\
nervebus topology diff: what is new and what is gone between two graphs

Usage:
  nervebus topology diff FILE FILE [--json]

The earlier one comes first. Topics, the types they carry, handlers, who listens to what, and what follows from what are
compared; counts are not.
",
        file_help!(),
        "
Examples:
  nervebus topology diff last-week.json logs/events.jsonl

Exit codes: 0 nothing has changed; 1 something has; 2 wrong command line; 3 cannot read or write.
"
    ),
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    arguments.each(|_, _| Ok(false))?;
    let earlier = arguments.file()?;
    let later = arguments.word().ok_or_else(|| UsageError::Other(format!("'{}' needs two FILEs", arguments.name())))?;
    arguments.end()?;
    let (earlier, later) = match (read(&earlier), read(&later)) {
        (Ok(earlier), Ok(later)) => (earlier, later),
        (Err(error), _) | (_, Err(error)) => return Ok(cannot_read(&error)),
    };
    let changes = earlier.diff(&later);
    let mut text = String::new();
    for change in &changes {
        let line = if arguments.json {
            // Names always have JSON.
            serde_json::to_string(change).unwrap_or_default()
        } else {
            safe(&change.to_string())
        };
        // Writing to memory cannot fail.
        let _ = writeln!(text, "{line}");
    }
    Ok(match print(&text) {
        Outcome::Clean if !changes.is_empty() => Outcome::Damaged,
        outcome => outcome,
    })
}
