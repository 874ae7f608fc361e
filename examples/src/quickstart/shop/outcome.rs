//! Turns what the bus reports into the plain data of `account`.

use super::super::account::{Audit, Books, HandlerRow, LaneBooks, LaneRow, LetterRow, Letters, Outcome};
use super::{Refusal, Shop};
use nervebus::{Bus, EmitError, LaneAccount, Ledger, ShutdownReport};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

/// The dead letters that are shown one by one.
const LAST: usize = 5;

/// Everything that is to be said about a shop whose bus has stopped.
pub(super) fn outcome(shop: &Shop, report: &ShutdownReport, elapsed: Duration) -> Outcome {
    let (types, other_types) = shop.state.types();
    Outcome {
        types,
        other_types,
        handlers: handlers(&shop.bus),
        lanes: lanes(report),
        drained: report.drained,
        elapsed,
        letters: letters(&shop.bus),
        audit: audit_log(shop),
        books: books(&report.ledger),
    }
}

/// Tells a bad topic, which is the line's fault, from a loss.
pub(super) fn refusal<P>(error: &EmitError<P>) -> Refusal {
    match error {
        EmitError::InvalidTopic { .. } => Refusal::Malformed(error.to_string()),
        other => Refusal::Lost(other.to_string()),
    }
}

fn handlers(bus: &Bus) -> Vec<HandlerRow> {
    let stats = bus.stats();
    let rows = stats.subscriptions.iter().map(|seen| HandlerRow {
        name: seen.name.clone(),
        pattern: seen.pattern.clone(),
        lane: seen.lane.clone(),
        priority: seen.priority,
        handled: seen.handled,
        failed: seen.failed,
        p50: seen.p50,
        p99: seen.p99,
    });
    rows.collect()
}

fn lanes(report: &ShutdownReport) -> Vec<LaneRow> {
    let rows = report.lanes.iter().map(|lane| LaneRow {
        name: lane.name.clone(),
        handled: lane.handled,
        failed: lane.failed,
        left: lane.left,
        abandoned: lane.abandoned,
    });
    rows.collect()
}

fn letters(bus: &Bus) -> Letters {
    let queue = bus.dead_letters();
    let kept = queue.list();
    let by_reason = queue.by_reason().into_iter().map(|(reason, count)| (reason.to_owned(), count as u64)).collect();
    let last = kept.iter().skip(kept.len().saturating_sub(LAST)).map(|letter| LetterRow {
        topic: letter.event.as_event().topic().to_owned(),
        reason: letter.reason.as_str().to_owned(),
        error: letter.error.clone(),
    });
    Letters { total: queue.total(), overwritten: queue.overwritten(), last: last.collect(), by_reason }
}

fn audit_log(shop: &Shop) -> Audit {
    let mut audit = Audit { path: shop.audit.clone(), before: shop.audit_before, ..Audit::default() };
    if let Some(log) = shop.bus.stats().audit {
        audit.lines = log.lines;
        audit.dropped = log.dropped;
        audit.errors = log.errors;
        audit.last_error = log.last_error;
    }
    // The file is the witness; only what is no file (a device, a pipe) has to be believed.
    if let Ok(lines) = lines_in(&shop.audit) {
        audit.lines = lines;
    }
    audit
}

fn books(ledger: &Ledger) -> Books {
    let deliveries = ledger.deliveries();
    Books {
        emitted: ledger.emitted,
        routed: ledger.routed,
        unrouted: ledger.unrouted,
        refused: ledger.refused,
        handled: deliveries.handled,
        failed: deliveries.failed,
        dropped: deliveries.dropped,
        pending: deliveries.pending,
        system: ledger.system,
        system_lost: ledger.system_lost,
        imbalance: ledger.imbalance().map(|imbalance| imbalance.to_string()),
        lanes: ledger.lanes.iter().map(lane_books).collect(),
    }
}

fn lane_books(lane: &LaneAccount) -> LaneBooks {
    let of = lane.deliveries;
    LaneBooks {
        name: lane.name.clone(),
        routed: of.routed,
        handled: of.handled,
        // Of this program's handlers none times out, and no event expires; a later bus may count some.
        failed: of.failed + of.timed_out,
        dropped: of.dropped + of.expired,
        cancelled: of.cancelled,
        pending: of.pending,
    }
}

/// The complete lines of a regular file.
///
/// # Errors
/// Those of reading it, and `Unsupported` for anything but a regular file: reading a pipe would never end.
pub(super) fn lines_in(path: &Path) -> io::Result<u64> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let mut file = File::open(path)?;
    let mut chunk = vec![0; 64 << 10];
    let mut lines = 0;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(lines),
            taken => lines += chunk.iter().take(taken).filter(|&&byte| byte == b'\n').count() as u64,
        }
    }
}
