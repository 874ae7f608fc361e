//! `nervebus dead-letters list`: the letters of a file.

use crate::Outcome;
use crate::command::Command;
use crate::dead_letters::{Choice, Trouble, choice_help, open, settle};
use crate::options::{Arguments, UsageError};
use crate::output::{Output, Style};
use crate::text::{safe, safe_json, short};
use crate::time;

pub(crate) const COMMAND: Command = Command {
    name: "dead-letters list",
    arguments: "FILE",
    summary: "Events that were not handled, and why.",
    help: concat!(
        "\
nervebus dead-letters list: the letters in the file of a log of dead letters, oldest first

Usage:
  nervebus dead-letters list FILE [OPTIONS]

Options:
",
        choice_help!(),
        "  --newest           The newest first.
  --limit N          At most so many.
  --json             The lines of the file as they are: the event, and what became of it in 'letter'.

Examples:
  nervebus dead-letters list letters.jsonl
  nervebus dead-letters list letters.jsonl --type 'order.*' --reason handler_timeout --since 1d

Exit codes: 0 read; 1 some lines are no letters; 2 wrong command line; 3 cannot read or write.
"
    ),
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let (mut choice, mut newest, mut limit) = (Choice::default(), false, usize::MAX);
    arguments.each(|name, values| {
        match name {
            "--newest" => newest = true,
            "--limit" => limit = values.number()?,
            "--all" => return Ok(false),
            _ => return choice.take(name, values),
        }
        Ok(true)
    })?;
    choice.check()?;
    let path = arguments.file()?;
    arguments.end()?;
    let file = match open(&path) {
        Ok(file) => file,
        Err(outcome) => return Ok(outcome),
    };
    let (mut out, mut left) = (Output::new(), limit);
    if !arguments.json
        && let Err(error) = out.styled(Style::Head, &row("id", "failed at", "reason", "type", "handler", "error"))
    {
        return Ok(settle(&file, Err(Trouble::Write(error))));
    }
    let result = choice.each(&file, newest, |letter| {
        let Some(rest) = left.checked_sub(1) else { return Ok(false) };
        left = rest;
        if arguments.json {
            out.line(&safe_json(letter.json()))?;
            return Ok(true);
        }
        let (id, letter) = (letter.letter.id.to_string(), &letter.letter);
        let (at, name) = (time::date(letter.failed_at), letter.event.topic());
        out.row(&row(&id, &at, letter.reason.as_str(), name, &letter.handler, &letter.error))?;
        Ok(true)
    });
    let result = result.and_then(|complete| out.flush().map(|()| complete).map_err(Trouble::Write));
    Ok(settle(&file, result))
}

fn row(id: &str, at: &str, reason: &str, name: &str, handler: &str, error: &str) -> String {
    let cell = |text: &str, width| short(&safe(text), width);
    let (name, handler) = (cell(name, 32), cell(handler, 24));
    format!("{id:>6}  {at:<24}  {reason:<19}  {name:<24}  {handler:<20}  {}", safe(error))
}
