//! `nervebus dead-letters show`: one letter, with all that is known of it.

use std::io;

use nervebus::StoredLetter;

use crate::Outcome;
use crate::command::Command;
use crate::dead_letters::{id, open};
use crate::options::{Arguments, UsageError};
use crate::output::{Output, cannot_read, complain, outcome};
use crate::text::{safe, safe_json};
use crate::time;

pub(crate) const COMMAND: Command = Command {
    name: "dead-letters show",
    arguments: "FILE ID",
    summary: "One of them, with the history of its attempts.",
    help: "\
nervebus dead-letters show: one letter, with the event and the history of its attempts

Usage:
  nervebus dead-letters show FILE ID [--json]

Options:
  --json             The line of the file as it is.

Examples:
  nervebus dead-letters show letters.jsonl 17
  nervebus dead-letters show letters.jsonl 17 --json

Exit codes: 0 shown; 1 there is no such letter; 2 wrong command line; 3 cannot read or write.
",
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    arguments.each(|_, _| Ok(false))?;
    let path = arguments.file()?;
    let word =
        arguments.word().ok_or_else(|| UsageError::Other("'dead-letters show' needs the ID of a letter".into()))?;
    arguments.end()?;
    let id = id(&word)?;
    let file = match open(&path) {
        Ok(file) => file,
        Err(outcome) => return Ok(outcome),
    };
    Ok(match file.get(id) {
        Ok(Some(letter)) => outcome(write(&letter, arguments.json).map(|()| Outcome::Clean)),
        Ok(None) => {
            complain(&format!("there is no letter {id}; there are {}", file.len()));
            Outcome::Damaged
        }
        Err(error) => cannot_read(&error),
    })
}

fn write(stored: &StoredLetter, json: bool) -> io::Result<()> {
    let mut out = Output::new();
    if json {
        out.line(&safe_json(stored.json()))?;
        return out.flush();
    }
    let letter = &stored.letter;
    let event = letter.event.as_event();
    let optional = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), safe);
    for (name, value) in [
        ("letter", letter.id.to_string()),
        ("failed at", time::date(letter.failed_at)),
        ("reason", letter.reason.as_str().to_owned()),
        ("handler", safe(&letter.handler)),
        ("pattern", optional(letter.pattern.as_deref())),
        ("error", safe(&letter.error)),
        ("attempts", letter.attempts.to_string()),
        ("retries", letter.retries.to_string()),
        ("type", safe(event.topic())),
        ("event id", safe(&event.id().to_string())),
        ("emitted at", time::date(event.timestamp())),
        ("source", optional(event.source())),
        ("correlation", optional(event.correlation_id())),
        ("payload", safe_json(&event.payload().to_string())),
    ] {
        out.line(&format!("{name:<12}{value}"))?;
    }
    for attempt in letter.history.iter() {
        out.line(&format!("attempt {:<4}{}  {}", attempt.number, time::date(attempt.at), safe(&attempt.error)))?;
    }
    out.flush()
}
