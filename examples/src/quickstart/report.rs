//! The account as tables for people.

use super::account::{Account, Audit, Books, Intake, LaneBooks, Letters, Outcome};
use super::shop::{DEAD_LETTERS, TYPES};
use super::table::{Align, Table};
use super::text::{clean, count, counted, duration};
use std::fmt::Write as _;

/// Event types that get a row of their own.
const TOP: usize = 15;

/// The longest cell of text that came from outside, in characters.
const CELL: usize = 46;

/// The longest error text, in characters: beside a cell, it stays below 100 columns.
const ERROR: usize = 50;

/// The longest name of an input.
const INPUT: usize = 400;

/// Renders the whole account; events' text is escaped and shortened.
pub(super) fn render(account: &Account) -> String {
    let outcome = &account.outcome;
    let mut out = heading(account);
    section(&mut out, "Events by type", &types(outcome));
    section(&mut out, "Handlers", &handlers(outcome));
    section(&mut out, "Dead letters", &letters(&outcome.letters));
    section(&mut out, "Audit log", &audit(&outcome.audit));
    section(&mut out, "Ledger", &ledger(&outcome.books));
    if account.intake.interrupted || account.left() > 0 || !outcome.drained {
        section(&mut out, "What was left", &left(account));
    }
    out.push('\n');
    out.push_str(&verdict(account));
    out
}

fn section(out: &mut String, title: &str, body: &str) {
    let _ = write!(out, "\n{title}\n{body}");
}

fn heading(account: &Account) -> String {
    let intake = &account.intake;
    let mut out = format!(
        "{} from {}: {} emitted, {} malformed",
        counted(intake.lines, "line"),
        clean(&account.input, INPUT),
        count(intake.emitted),
        count(intake.malformed)
    );
    if intake.refused > 0 {
        let _ = write!(out, ", {} refused", count(intake.refused));
    }
    let elapsed = duration(Some(account.outcome.elapsed));
    let rate = count(account.events_per_second().round() as u64);
    let pace = account.pace.map_or_else(String::new, |pace| format!(", held to {pace} a second by --pace"));
    let _ = writeln!(out, "\n{rate} events per second ({elapsed} in all, shutdown included{pace})");
    out
}

fn types(outcome: &Outcome) -> String {
    let mut table = Table::new(&[("type", Align::Left), ("count", Align::Right)]);
    for (name, events) in outcome.types.iter().take(TOP) {
        table.row([clean(name, CELL), count(*events)]);
    }
    let rest: Vec<u64> = outcome.types.iter().skip(TOP).map(|(_, events)| *events).collect();
    if !rest.is_empty() {
        table.row([counted(rest.len() as u64, "more type"), count(rest.iter().sum())]);
    }
    if outcome.other_types > 0 {
        table.row([format!("types beyond the first {}", count(TYPES as u64)), count(outcome.other_types)]);
    }
    table.render()
}

fn handlers(outcome: &Outcome) -> String {
    let (text, number) = (Align::Left, Align::Right);
    let mut table = Table::new(&[
        ("handler", text),
        ("pattern", text),
        ("lane", text),
        ("priority", number),
        ("count", number),
        ("failed", number),
        ("p50", number),
        ("p99", number),
    ]);
    for row in &outcome.handlers {
        let events = if row.count() == 0 { "none".to_owned() } else { count(row.count()) };
        table.row([
            clean(&row.name, CELL),
            clean(&row.pattern, CELL),
            clean(&row.lane, CELL),
            row.priority.to_string(),
            events,
            count(row.failed),
            duration(row.p50),
            duration(row.p99),
        ]);
    }
    let mut out = table.render();
    if outcome.books.system > 0 {
        let records = counted(outcome.books.system, "record");
        let _ = writeln!(out, "  *: also sees the {records} that the bus made itself, system.handler_error for one");
    }
    if outcome.handlers.iter().any(|row| row.count() == 0) {
        out.push_str("  none: no event in this input matches the handler's pattern\n");
    }
    out
}

fn letters(letters: &Letters) -> String {
    if letters.total == 0 {
        return "  none\n".to_owned();
    }
    let mut out = format!("  {} in all", count(letters.total));
    if letters.overwritten > 0 {
        let (kept, gone) = (count(DEAD_LETTERS as u64), count(letters.overwritten));
        let _ = write!(out, ", the last {kept} kept, {gone} older ones displaced");
    }
    out.push('\n');
    let mut reasons = Table::new(&[("reason", Align::Left), ("count", Align::Right)]);
    for (reason, events) in &letters.by_reason {
        reasons.row([reason.clone(), count(*events)]);
    }
    let mut last = Table::new(&[("last ones", Align::Left), ("error", Align::Left)]);
    for letter in &letters.last {
        last.row([clean(&letter.topic, CELL), clean(&letter.error, ERROR)]);
    }
    out + &reasons.render() + &last.render()
}

fn audit(audit: &Audit) -> String {
    let mut out = format!("  {}\n  {}", clean(&audit.path.to_string_lossy(), INPUT), counted(audit.lines, "line"));
    if audit.before > 0 {
        let _ = write!(out, ", {} of them from before this run", count(audit.before));
    }
    if audit.dropped > 0 || audit.errors > 0 {
        let (lost, errors) = (counted(audit.dropped, "line"), counted(audit.errors, "failed write"));
        let _ = write!(out, "; {lost} lost, {errors}");
    }
    if let Some(error) = &audit.last_error {
        let _ = write!(out, ", the last one: {}", clean(error, ERROR));
    }
    out + "\n"
}

fn ledger(books: &Books) -> String {
    let [emitted, routed, unrouted, refused] = [books.emitted, books.routed, books.unrouted, books.refused].map(count);
    let mut out = format!("  {emitted} emits = {routed} routed + {unrouted} unrouted + {refused} refused");
    let _ = writeln!(out, "; and {} of the bus's own", counted(books.system, "record"));
    let number = Align::Right;
    let mut table = Table::new(&[
        ("lane", Align::Left),
        ("routed", number),
        ("= handled", number),
        ("+ failed", number),
        ("+ dropped", number),
        ("+ cancelled", number),
        ("+ pending", number),
    ]);
    for LaneBooks { name, routed, handled, failed, dropped, cancelled, pending } in &books.lanes {
        let [routed, handled, failed, dropped, cancelled] =
            [routed, handled, failed, dropped, cancelled].map(|number| count(*number));
        table.row([clean(name, CELL), routed, handled, failed, dropped, cancelled, pending.to_string()]);
    }
    let verdict = match &books.imbalance {
        None => "balanced".to_owned(),
        Some(imbalance) => format!("NOT BALANCED: {}", clean(imbalance, 200)),
    };
    out + &table.render() + &format!("  {verdict}\n")
}

fn left(account: &Account) -> String {
    let mut out = String::new();
    if account.intake.interrupted {
        let _ = writeln!(
            out,
            "  reading stopped after {}{}",
            counted(account.intake.lines, "line"),
            share(&account.intake)
        );
    }
    let mut table = Table::new(&[
        ("lane", Align::Left),
        ("handled", Align::Right),
        ("failed", Align::Right),
        ("left", Align::Right),
        ("", Align::Left),
    ]);
    for lane in &account.outcome.lanes {
        let note = if lane.abandoned { "its thread had not come to an end by the deadline" } else { "" };
        let name = clean(&lane.name, CELL);
        table.row([name, count(lane.handled), count(lane.failed), count(lane.left), note.to_owned()]);
    }
    out + &table.render()
}

/// How much of the input had been read, when its length is known.
fn share(intake: &Intake) -> String {
    match intake.length {
        Some(length) if length > 0 => {
            format!(" ({:.0} % of {} bytes)", intake.bytes as f64 / length as f64 * 100.0, count(length))
        }
        _ => String::new(),
    }
}

fn verdict(account: &Account) -> String {
    let losses = account.losses();
    if losses.is_empty() {
        return "Nothing was lost: the ledger balances.\n".to_owned();
    }
    let mut out = String::new();
    for loss in losses {
        let _ = writeln!(out, "LOST: {}", clean(&loss, 200));
    }
    out
}
