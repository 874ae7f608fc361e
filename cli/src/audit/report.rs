//! The totals as a table for people, or as one JSON object for programs.

use std::fmt::Write;

use nervebus::{Value, json};

use crate::audit::totals::Stats;
use crate::text::safe;
use crate::time;

/// How many types are shown.
const TOP: usize = 20;

/// A table for people. Text from the log is escaped, so that it cannot steer the terminal.
pub(crate) fn table(name: &str, stats: &Stats) -> String {
    let mut text = String::new();
    let top = stats.top(TOP);
    write_totals(&mut text, name, stats);
    let width = top.iter().map(|(_, count)| count.to_string().len()).max().unwrap_or(0).max(6);
    if !top.is_empty() {
        let more = if stats.has_further_types() { " or more" } else { "" };
        put(&mut text, format_args!("\n{:>width$}  type ({} different{more})\n", "events", stats.distinct_types()));
    }
    for (event_type, count) in &top {
        put(&mut text, format_args!("{count:>width$}  {}\n", event_type.escape_debug()));
    }
    let others = stats.events() - top.iter().map(|(_, count)| count).sum::<u64>();
    if others > 0 {
        put(&mut text, format_args!("{others:>width$}  of other types\n"));
    }
    if !stats.first_malformed().is_empty() {
        put(&mut text, format_args!("\nmalformed lines (the first {})\n", stats.first_malformed().len()));
    }
    for malformed in stats.first_malformed() {
        // Quotes and backslashes stay: the reasons quote the log, and are escaped once already where they do.
        let reason: String = malformed.reason.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        let file = malformed.file.as_ref().map_or(String::new(), |file| format!("{}: ", safe(file)));
        let line = if malformed.line > 0 { format!("line {}", malformed.line) } else { "from here on".to_owned() };
        put(&mut text, format_args!("  {file}{line}: {reason}\n"));
    }
    text
}

fn write_totals(text: &mut String, name: &str, stats: &Stats) {
    put(text, format_args!("audit log  {}\n", name.escape_debug()));
    if stats.files() > 0 {
        put(text, format_args!("files      {}\n", stats.files()));
    }
    put(text, format_args!("lines      {}\n", stats.lines()));
    put(text, format_args!("events     {}\n", stats.events()));
    if stats.empty() > 0 {
        put(text, format_args!("empty      {}\n", stats.empty()));
    }
    put(text, format_args!("malformed  {}\n", stats.malformed()));
    if stats.unfinished() > 0 {
        put(text, format_args!("unfinished {}\n", stats.unfinished()));
    }
    match stats.span() {
        None => put(text, format_args!("time span  no timestamps\n")),
        Some((from, to)) => {
            put(text, format_args!("from       {}\n", time::date(from)));
            put(text, format_args!("to         {}\n", time::date(to)));
            put(text, format_args!("time span  {}\n", time::span(to - from)));
        }
    }
}

/// One JSON object on one line.
pub(crate) fn json(name: &str, stats: &Stats) -> String {
    let top = stats.top(TOP).into_iter().map(|(event_type, count)| json!({"event_type": event_type, "events": count}));
    let malformed = stats.first_malformed().iter().map(|m| json!({"file": m.file, "line": m.line, "reason": m.reason}));
    let (from, to) = stats.span().unzip();
    let object = json!({
        "path": name,
        "files": stats.files(),
        "lines": stats.lines(),
        "events": stats.events(),
        "empty": stats.empty(),
        "malformed": stats.malformed(),
        "unfinished": stats.unfinished(),
        "first_malformed": malformed.collect::<Vec<Value>>(),
        "distinct_types": stats.distinct_types(),
        "has_further_types": stats.has_further_types(),
        "top_types": top.collect::<Vec<Value>>(),
        "earliest_timestamp": from,
        "latest_timestamp": to,
    });
    format!("{object}\n")
}

/// Appends to `text`, which cannot fail.
fn put(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}
