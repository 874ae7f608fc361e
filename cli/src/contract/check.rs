//! `nervebus contract check`: whether a new contract breaks an old one.

use std::io;

use nervebus::{Breaking, Change, Compatibility, ContentModel, Value, json};

use super::{Document, read};
use crate::Outcome;
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::{Output, Style, cannot_read, outcome};
use crate::text::{safe, safe_json, short};

pub(crate) const COMMAND: Command = Command {
    name: "contract check",
    arguments: "OLD NEW",
    summary: "Whether a contract breaks those who rely on another.",
    help: "\
nervebus contract check: whether a new contract breaks those who rely on an old one

Usage:
  nervebus contract check OLD NEW [--mode MODE] [--open-content] [--json]

OLD and NEW are contracts, as a registry of schemas writes them, or two JSON Schemas; '-' is standard input. Each
breaking change is printed with its topic, its versions, who is hurt, and its place in the payload.

Options:
  --mode MODE        What all topics are held to: backward (who reads with NEW can read what was written with OLD),
                     forward (the other way round), full (both), each also with '_transitive' for all versions of a
                     topic, or none. Without it, topics are held to what OLD says, and schemas to backward.
  --open-content     Where a schema does not say whether there may be properties that it does not name, there may be, as
                     JSON Schema has it; a property that gets a schema breaks backward compatibility then. Without it,
                     who writes is taken to write what the schema names.
  --json             Print one JSON object.

What cannot be told is 'unknown', and counts as breaking.

Examples:
  nervebus contract check contract.json new/contract.json
  git show main:contract.json | nervebus contract check - contract.json --mode full --json
  nervebus contract check order.placed.v1.json order.placed.v2.json --mode backward

Exit codes: 0 nothing breaks; 1 something does; 2 wrong command line; 3 cannot read or write.
",
    run,
};

/// One breaking change: its topic, the versions, and what it is.
type Row = (String, Option<(u32, u32)>, Breaking);

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let (mut mode, mut model) = (None, ContentModel::Named);
    arguments.each(|name, values| {
        match name {
            "--mode" => {
                let named = values.text()?.parse::<Compatibility>();
                mode = Some(named.map_err(|error| values.wrong(error.to_string()))?);
            }
            "--open-content" => model = ContentModel::Open,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let old = arguments.file()?;
    let Some(new) = arguments.word() else {
        return Err(UsageError::Other("'contract check' needs OLD and NEW".into()));
    };
    arguments.end()?;
    let rows: Vec<Row> = match read(&old).and_then(|old| Ok((old, read(&new)?))) {
        Ok((Document::Contract(old), Document::Contract(new))) => {
            let found = old.breaking(&new, mode, model).into_iter();
            found.map(|found| (found.topic, found.versions, found.breaking)).collect()
        }
        Ok((Document::Schema(old), Document::Schema(new))) => {
            let found = mode.unwrap_or_default().breaking(&old, &new, model).into_iter();
            found.map(|breaking| (String::new(), None, breaking)).collect()
        }
        Ok((Document::Contract(_), _)) => return Ok(cannot_read(&"OLD is a contract, and NEW a JSON Schema")),
        Ok((Document::Schema(_), _)) => return Ok(cannot_read(&"OLD is a JSON Schema, and NEW a contract")),
        Err(error) => return Ok(cannot_read(&error)),
    };
    let written = if arguments.json { write_json(&rows) } else { write_table(&rows) };
    let clean = if rows.is_empty() { Outcome::Clean } else { Outcome::Damaged };
    Ok(outcome(written.map(|()| clean)))
}

fn write_json(rows: &[Row]) -> io::Result<()> {
    let changes = rows.iter().map(|(topic, versions, breaking)| {
        json!({
            "topic": topic,
            "old_version": versions.map(|(old, _)| old),
            "new_version": versions.map(|(_, new)| new),
            "direction": breaking.direction.as_str(),
            "change": breaking.change.as_str(),
            "path": breaking.path,
            "keyword": breaking.keyword,
            "old": breaking.old,
            "new": breaking.new,
        })
    });
    let report = json!({ "compatible": rows.is_empty(), "breaking": changes.collect::<Vec<_>>() });
    let mut out = Output::new();
    out.line(&safe_json(&report.to_string()))?;
    out.flush()
}

fn write_table(rows: &[Row]) -> io::Result<()> {
    let mut out = Output::new();
    if rows.is_empty() {
        out.styled(Style::Good, "nothing breaks")?;
        return out.flush();
    }
    let changes = if rows.len() == 1 { "1 breaking change" } else { &format!("{} breaking changes", rows.len()) };
    out.styled(Style::Bad, changes)?;
    let lines: Vec<[String; 5]> = rows.iter().map(line).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    for [what, direction, change, path, values] in &lines {
        let [a, b, c, d] = widths;
        out.row(format!("  {what:<a$}  {direction:<b$}  {change:<c$}  {path:<d$}  {values}").trim_end())?;
    }
    out.flush()
}

/// The columns of a row.
fn line((topic, versions, breaking): &Row) -> [String; 5] {
    let versions = versions.map_or_else(String::new, |(old, new)| format!(" v{old} -> v{new}"));
    let path = if breaking.path.is_empty() { "/" } else { &breaking.path };
    let shown = |value: &Option<Value>| {
        value.as_ref().map_or_else(|| "nothing".into(), |value| short(&safe_json(&value.to_string()), 40))
    };
    let values = match (&breaking.old, &breaking.new) {
        (None, None) => breaking.keyword.clone(),
        // The other side may well say something: it is not compared.
        (old, None) | (None, old) if breaking.change == Change::Unknown => {
            format!("{}: {}", breaking.keyword, shown(old))
        }
        (old, new) => format!("{}: {} -> {}", breaking.keyword, shown(old), shown(new)),
    };
    let direction = breaking.direction.as_str().to_owned();
    [format!("{}{versions}", safe(topic)), direction, breaking.change.as_str().to_owned(), safe(path), values]
}
