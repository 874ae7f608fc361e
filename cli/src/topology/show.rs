//! `nervebus topology show`: who listens to what, and what follows from what.

use std::fmt::Write;

use nervebus::Topology;

use super::{file_help, read};
use crate::Outcome;
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::{cannot_read, print};
use crate::text::safe;

pub(crate) const COMMAND: Command = Command {
    name: "topology show",
    arguments: "FILE",
    summary: "The graph of topics and handlers, and what is odd about it.",
    help: concat!(
        "\
nervebus topology show: the graph of topics and handlers, and what is odd about it

Usage:
  nervebus topology show FILE [--json | --dot | --mermaid | --svg]

",
        file_help!(),
        "
Options:
  --dot              Print it for Graphviz.
  --mermaid          Print it for Mermaid.
  --svg              Print a picture.

Examples:
  nervebus topology show logs/events.jsonl
  nervebus topology show logs/events.jsonl --svg > bus.svg
  nervebus topology show logs/events.jsonl --json > last-week.json

Exit codes: 0 all is well; 2 wrong command line; 3 cannot read or write.
"
    ),
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let mut forms = Vec::new();
    arguments.each(|name, _| {
        let known = matches!(name, "--dot" | "--mermaid" | "--svg");
        if known {
            forms.push(name.to_owned());
        }
        Ok(known)
    })?;
    let file = arguments.file()?;
    arguments.end()?;
    if arguments.json {
        forms.push("--json".to_owned());
    }
    if let [first, second, ..] = forms.as_slice() {
        return Err(UsageError::Other(format!("'{first}' and '{second}' exclude each other")));
    }
    let topology = match read(&file) {
        Ok(topology) => topology,
        Err(error) => return Ok(cannot_read(&error)),
    };
    Ok(print(&match forms.first().map(String::as_str) {
        None => table(&topology),
        Some("--dot") => topology.to_dot(),
        Some("--mermaid") => topology.to_mermaid(),
        Some("--svg") => topology.to_svg(),
        // Names and numbers always have JSON.
        Some(_) => serde_json::to_string(&topology).unwrap_or_default() + "\n",
    }))
}

/// For people. Writing to text cannot fail.
fn table(topology: &Topology) -> String {
    let mut text = format!("fingerprint  {:016x}\n\ntopics\n", topology.fingerprint());
    let widest = topology.topics.keys().map(|topic| safe(topic).chars().count()).max().unwrap_or(0);
    for (topic, node) in &topology.topics {
        let _ = write!(text, "  {:widest$}", safe(topic));
        if let Some(events) = node.events {
            let _ = write!(text, "  {}", counted(events, "event"));
        }
        if !node.sources.is_empty() {
            let sources: Vec<String> = node.sources.keys().map(|source| safe(source)).collect();
            let _ = write!(text, "  from {}", sources.join(", "));
        }
        if let Some(carries) = &node.carries {
            let _ = write!(text, "  carries {}", safe(carries));
        }
        text.push('\n');
    }
    if !topology.handlers.is_empty() {
        text.push_str("\nhandlers\n");
    }
    for node in &topology.handlers {
        let (name, pattern, lane) = (safe(&node.name), safe(&node.pattern), safe(&node.lane));
        let _ = writeln!(text, "  {name}  listens to {pattern} on lane {lane}  {}", counted(node.calls, "call"));
    }
    if !topology.causes.is_empty() {
        text.push_str("\nwhat follows from what\n");
    }
    for cause in &topology.causes {
        let how = if cause.seen == 0 { "declared".to_owned() } else { counted(cause.seen, "time") };
        let _ = writeln!(text, "  {} -> {}  {how}", safe(&cause.from), safe(&cause.to));
    }
    let findings = topology.findings();
    if !findings.is_empty() {
        text.push_str("\nfindings\n");
    }
    for finding in findings {
        let _ = writeln!(text, "  {}", safe(&finding.to_string()));
    }
    text
}

fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
