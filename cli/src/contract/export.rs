//! `nervebus contract export`: a contract in another form.

use super::read_contract;
use crate::Outcome;
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::{cannot_read, print};
use crate::text::safe_json;

pub(crate) const COMMAND: Command = Command {
    name: "contract export",
    arguments: "FILE --asyncapi",
    summary: "A contract as an AsyncAPI 3.0 document.",
    help: "\
nervebus contract export: a contract as an AsyncAPI 3.0 document

Usage:
  nervebus contract export FILE --asyncapi [--title TEXT] [--api-version TEXT]

FILE is a contract, as a registry of schemas writes it; '-' is standard input. The same contract gives the same
document.

Options:
  --asyncapi         The form: the only one there is.
  --title TEXT       The title of the document. Without it, 'events'.
  --api-version TEXT The version of the document. Without it, '1.0.0'.
  --json             The document on one line.

Examples:
  nervebus contract export contract.json --asyncapi --title orders > asyncapi.json

Exit codes: 0 all is well; 2 wrong command line; 3 cannot read or write, or no contract.
",
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let (mut asyncapi, mut title, mut version) = (false, "events".to_owned(), "1.0.0".to_owned());
    arguments.each(|name, values| {
        match name {
            "--asyncapi" => asyncapi = true,
            "--title" => title = values.text()?,
            "--api-version" => version = values.text()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let file = arguments.file()?;
    arguments.end()?;
    if !asyncapi {
        return Err(UsageError::Other("'contract export' needs the form: --asyncapi".into()));
    }
    let document = match read_contract(&file) {
        Ok(contract) => contract.to_asyncapi(&title, &version),
        Err(error) => return Ok(cannot_read(&error)),
    };
    if arguments.json {
        return Ok(print(&format!("{}\n", safe_json(&document.to_string()))));
    }
    // Line by line, for the spaces between values are meant here.
    let lines = format!("{document:#}");
    let lines: Vec<String> = lines.lines().map(safe_json).collect();
    Ok(print(&format!("{}\n", lines.join("\n"))))
}
