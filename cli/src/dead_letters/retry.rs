//! `nervebus dead-letters retry`: the events of letters, for a service to emit once more.

use crate::Outcome;
use crate::command::Command;
use crate::dead_letters::{Choice, Trouble, choice_help, open, settle};
use crate::options::{Arguments, UsageError};
use crate::output::{Output, complain};
use crate::text::safe_json;

pub(crate) const COMMAND: Command = Command {
    name: "dead-letters retry",
    arguments: "FILE [ID]...",
    summary: "Their events as lines, for a service to emit once more; emits nothing itself.",
    help: concat!(
        "\
nervebus dead-letters retry: the events of letters as lines of JSON on standard output, for a service to emit once more

Usage:
  nervebus dead-letters retry FILE ID... [--purge]
  nervebus dead-letters retry FILE [OPTIONS] [--purge]
  nervebus dead-letters retry FILE --all [--purge]

This command emits nothing and calls no handler: it writes the events as lines of an audit log. A service emits them,
line by line with Record::from_jsonl and Bus::emit_record, or a file of them with Bus::replay; then all handlers of
their topics get them, those that had succeeded as well. To hand a letter to the one handler that failed, the bus that
has it is needed: 'bus.dead_letters().retry(id)' in the service itself.

Options:
",
        choice_help!(),
        "  --all              All letters.
  --purge            Take the letters out of the file once their events are written to standard output, whatever
                     becomes of them there. Refused while a bus uses the file; the events are written all the same.
  --json             No difference: the output is always one JSON object a line.

Examples:
  nervebus dead-letters retry letters.jsonl 17 18
  nervebus dead-letters retry letters.jsonl --type 'order.*' --purge > again.jsonl

Exit codes: 0 written; 1 a letter is not there, or some lines are no letters; 2 wrong command line; 3 cannot read or
write.
"
    ),
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let (choice, purge, path) = Choice::to_change(&mut arguments, "--purge")?;
    let mut file = match open(&path) {
        Ok(file) => file,
        Err(outcome) => return Ok(outcome),
    };
    let (mut out, mut written) = (Output::new(), Vec::new());
    let result = choice.each(&file, false, |letter| {
        out.line(&safe_json(&letter.event_json()))?;
        written.push(letter.letter.id);
        Ok(true)
    });
    let result = result.and_then(|complete| out.flush().map(|()| complete).map_err(Trouble::Write));
    let is_out = result.is_ok();
    let outcome = settle(&file, result);
    if purge
        && is_out
        && let Err(error) = file.remove(&written)
    {
        complain(&format!("the events are written, but the letters cannot be taken out: {error}"));
        return Ok(Outcome::Failed);
    }
    Ok(outcome)
}
