//! Turns what the bus reports into the plain data of `account`.

use super::super::account::{Audit, Books, HandlerRow, LaneRow, LetterRow, Letters, Outcome};
use super::{Refusal, State};
use nervebus::{Bus, EmitError, ShutdownReport};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The dead letters that are shown one by one.
const LAST: usize = 5;

/// Everything that is to be said about a bus that has stopped.
pub(super) fn outcome(bus: &Bus, state: &State, report: &ShutdownReport, audit: &Path, before: u64) -> Outcome {
    let (types, other_types) = state.types();
    Outcome {
        types,
        other_types,
        handlers: handlers(bus),
        lanes: lanes(report),
        drained: report.drained,
        letters: letters(bus),
        audit: audit_log(bus, audit, before),
        books: books(bus),
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

fn audit_log(bus: &Bus, path: &Path, before: u64) -> Audit {
    let stats = bus.stats().audit;
    let (written, dropped, errors) = stats.map_or((0, 0, 0), |log| (log.lines, log.dropped, log.errors));
    // The file is the witness; only what is no file (a device, a pipe) has to be believed.
    let lines = lines_in(path).unwrap_or(written);
    Audit { path: path.to_owned(), before, lines, dropped, errors }
}

fn books(bus: &Bus) -> Books {
    let ledger = bus.ledger();
    let deliveries = ledger.deliveries();
    Books {
        handled: deliveries.handled,
        failed: deliveries.failed,
        dropped: deliveries.dropped,
        pending: deliveries.pending,
        system: ledger.system,
        system_lost: ledger.system_lost,
        unrouted: ledger.unrouted,
        balanced: ledger.balanced(),
        text: ledger.to_string(),
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
