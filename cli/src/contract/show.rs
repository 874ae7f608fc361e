//! `nervebus contract show`: the topics of a contract.

use std::io;

use nervebus::Contract;

use super::read_contract;
use crate::Outcome;
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::{Output, Style, cannot_read, outcome};
use crate::text::{safe, safe_json, short};

pub(crate) const COMMAND: Command = Command {
    name: "contract show",
    arguments: "FILE",
    summary: "The topics of a contract, and what they promise.",
    help: "\
nervebus contract show: the topics of a contract, their versions and what they are held to

Usage:
  nervebus contract show FILE [--json]

FILE is a contract, as a registry of schemas writes it; '-' is standard input. A version from which there is an
upcaster to the next one is marked with '+'.

Options:
  --json             Print the contract as one JSON object.

Examples:
  nervebus contract show contract.json

Exit codes: 0 all is well; 2 wrong command line; 3 cannot read or write, or no contract.
",
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    arguments.each(|_, _| Ok(false))?;
    let file = arguments.file()?;
    arguments.end()?;
    let contract = match read_contract(&file) {
        Ok(contract) => contract,
        Err(error) => return Ok(cannot_read(&error)),
    };
    let written = if arguments.json { write_json(&contract) } else { write_table(&contract) };
    Ok(outcome(written.map(|()| Outcome::Clean)))
}

fn write_json(contract: &Contract) -> io::Result<()> {
    let mut out = Output::new();
    out.line(&safe_json(&contract.to_json().to_string()))?;
    out.flush()
}

fn write_table(contract: &Contract) -> io::Result<()> {
    let mut out = Output::new();
    let names: Vec<String> = contract.topics.keys().map(|name| short(&safe(name), 60)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    let head = format!(
        "{:<width$}  {:<8}  {:<19}  {:<12}  {}",
        "topic", "category", "compatibility", "versions", "key, emits"
    );
    out.styled(Style::Head, &head)?;
    for (name, (topic, of)) in names.iter().zip(&contract.topics) {
        let version = |version: &u32| format!("{version}{}", if of.upcasts.contains(version) { "+" } else { "" });
        let versions = of.versions.keys().map(version).collect::<Vec<_>>().join(" ");
        let key = of.key.iter().map(|key| format!("key={}", safe(key)));
        let emits = of.emits.iter().map(|topic| format!("-> {}", safe(topic)));
        let rest = key.chain(emits).collect::<Vec<_>>().join("  ");
        let (category, mode) = (of.category.as_str(), contract.mode_of(topic).as_str());
        out.row(format!("{name:<width$}  {category:<8}  {mode:<19}  {versions:<12}  {rest}").trim_end())?;
    }
    out.flush()
}
