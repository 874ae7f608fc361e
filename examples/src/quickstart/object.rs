//! The account as one JSON object for programs.

use super::account::{Account, HandlerRow, LaneBooks, LaneRow, Letters, Outcome};
use serde_json::{Value, json};

/// Renders the account on one line.
pub(super) fn render(account: &Account) -> String {
    let mut out = object(account).to_string();
    out.push('\n');
    out
}

fn object(account: &Account) -> Value {
    let (intake, outcome) = (&account.intake, &account.outcome);
    let (books, audit) = (&outcome.books, &outcome.audit);
    let mut object = json!({
        "input": account.input,
        "lines": intake.lines,
        "emitted": intake.emitted,
        "malformed": intake.malformed,
        "refused": intake.refused,
        "handled": books.handled,
        "failed": books.failed,
        "dead_lettered": outcome.letters.total,
        "dropped": books.dropped,
        "pending": books.pending,
        "unrouted": books.unrouted,
        "system": books.system,
        "system_lost": books.system_lost,
        "ledger_balanced": books.imbalance.is_none(),
        "audit_path": audit.path.to_string_lossy(),
        "audit_lines": audit.lines,
        "audit_lines_before": audit.before,
        "audit_dropped": audit.dropped,
        "audit_errors": audit.errors,
        "audit_last_error": audit.last_error,
        "events_per_second": tenths(account.events_per_second()),
        "elapsed_seconds": outcome.elapsed.as_secs_f64(),
        "pace": account.pace,
        "deadline_seconds": account.deadline.as_secs_f64(),
        "interrupted": intake.interrupted,
        "input_error": intake.error,
        "drained": outcome.drained,
        "left": account.left(),
        "losses": account.losses(),
    });
    details(&mut object, outcome);
    object
}

/// The lists; `event_types` has as many entries as types are told apart.
fn details(object: &mut Value, outcome: &Outcome) {
    let types = outcome.types.iter().map(|(name, count)| (name.clone(), json!(count)));
    object["event_types"] = Value::Object(types.collect());
    object["handlers"] = outcome.handlers.iter().map(handler).collect();
    object["ledger"] = outcome.books.lanes.iter().map(ledger).collect();
    object["lanes"] = outcome.lanes.iter().map(lane).collect();
    object["dead_letters"] = letters(&outcome.letters);
}

fn handler(row: &HandlerRow) -> Value {
    json!({
        "name": row.name,
        "pattern": row.pattern,
        "lane": row.lane,
        "priority": row.priority,
        "handled": row.handled,
        "failed": row.failed,
        "p50_seconds": row.p50.map(|time| time.as_secs_f64()),
        "p99_seconds": row.p99.map(|time| time.as_secs_f64()),
    })
}

fn lane(row: &LaneRow) -> Value {
    json!({
        "name": row.name,
        "handled": row.handled,
        "failed": row.failed,
        "left": row.left,
        "abandoned": row.abandoned,
    })
}

fn ledger(row: &LaneBooks) -> Value {
    json!({
        "lane": row.name,
        "routed": row.routed,
        "handled": row.handled,
        "failed": row.failed,
        "dropped": row.dropped,
        "cancelled": row.cancelled,
        "pending": row.pending,
    })
}

fn letters(letters: &Letters) -> Value {
    let reasons = letters.by_reason.iter().map(|(reason, count)| (reason.clone(), json!(count)));
    let last = letters
        .last
        .iter()
        .map(|letter| json!({ "topic": letter.topic, "reason": letter.reason, "error": letter.error }));
    json!({
        "total": letters.total,
        "overwritten": letters.overwritten,
        "kept_by_reason": Value::Object(reasons.collect()),
        "last": last.collect::<Vec<Value>>(),
    })
}

/// More digits would only pretend.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
