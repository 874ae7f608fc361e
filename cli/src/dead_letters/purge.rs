//! `nervebus dead-letters purge`: letters are taken out of their file.

use crate::Outcome;
use crate::command::Command;
use crate::dead_letters::{Choice, choice_help, open, settle};
use crate::options::{Arguments, UsageError};
use crate::output::{complain, print};
use nervebus::json;

pub(crate) const COMMAND: Command = Command {
    name: "dead-letters purge",
    arguments: "FILE [ID]...",
    summary: "Takes them out of the file.",
    help: concat!(
        "\
nervebus dead-letters purge: takes letters out of the file of a log of dead letters

Usage:
  nervebus dead-letters purge FILE ID... [--dry-run]
  nervebus dead-letters purge FILE [OPTIONS] [--dry-run]
  nervebus dead-letters purge FILE --all [--dry-run]

Refused while a bus uses the file: it keeps its letters in memory, and would write them back. The file does not get
smaller; the bus writes it anew when it starts.

Options:
",
        choice_help!(),
        "  --all              All letters.
  --dry-run          Say how many there are, and leave them.
  --json             Print one JSON object.

Examples:
  nervebus dead-letters purge letters.jsonl 17 18
  nervebus dead-letters purge letters.jsonl --until 30d --dry-run

Exit codes: 0 done; 1 a letter is not there, or some lines are no letters; 2 wrong command line; 3 cannot read or write.
"
    ),
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let (choice, dry, path) = Choice::to_change(&mut arguments, "--dry-run")?;
    let mut file = match open(&path) {
        Ok(file) => file,
        Err(outcome) => return Ok(outcome),
    };
    let mut ids = Vec::new();
    let result = choice.each(&file, false, |letter| {
        ids.push(letter.letter.id);
        Ok(true)
    });
    ids.sort_unstable();
    ids.dedup();
    let outcome = settle(&file, result);
    if outcome == Outcome::Failed {
        return Ok(outcome);
    }
    if !dry && let Err(error) = file.remove(&ids) {
        complain(&format!("cannot write {}: {error}", path.display()));
        return Ok(Outcome::Failed);
    }
    let left = file.len() - if dry { ids.len() } else { 0 };
    let text = if arguments.json {
        format!("{}\n", json!({"purged": ids.len(), "left": left, "dry_run": dry}))
    } else {
        let done = if dry { "would be taken out" } else { "taken out" };
        format!("{} letters {done}, {left} left\n", ids.len())
    };
    Ok(match print(&text) {
        Outcome::Clean => outcome,
        failed => failed,
    })
}
