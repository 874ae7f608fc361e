//! What became of the input and of every event: plain data, gathered once the bus has stopped.

use std::path::PathBuf;
use std::time::Duration;

/// What the run did with the input.
#[derive(Clone, Debug, Default)]
pub(super) struct Intake {
    /// Lines taken: `emitted + malformed + refused`.
    pub(super) lines: u64,
    /// Events that the bus accepted.
    pub(super) emitted: u64,
    /// Lines that are no event, or whose topic the bus does not accept.
    pub(super) malformed: u64,
    /// Well-formed events that the bus refused for another reason, and so lost.
    pub(super) refused: u64,
    /// The run was stopped before the input ended.
    pub(super) interrupted: bool,
    /// Why the input could not be read to its end.
    pub(super) error: Option<String>,
    /// Where in the input the last line ended, and the input's length when known, in bytes.
    pub(super) bytes: u64,
    pub(super) length: Option<u64>,
}

/// What one handler saw.
#[derive(Clone, Debug)]
pub(super) struct HandlerRow {
    pub(super) name: String,
    pub(super) pattern: String,
    pub(super) lane: String,
    pub(super) priority: i32,
    pub(super) handled: u64,
    pub(super) failed: u64,
    pub(super) p50: Option<Duration>,
    pub(super) p99: Option<Duration>,
}

impl HandlerRow {
    /// Every event that reached the handler.
    pub(super) fn count(&self) -> u64 {
        self.handled + self.failed
    }
}

/// What one lane had done and left when the deadline came.
#[derive(Clone, Debug)]
pub(super) struct LaneRow {
    pub(super) name: String,
    pub(super) handled: u64,
    pub(super) failed: u64,
    pub(super) left: u64,
    /// Its thread had not come to an end by the deadline and was left behind.
    pub(super) abandoned: bool,
}

/// One dead letter, as it is shown.
#[derive(Clone, Debug)]
pub(super) struct LetterRow {
    pub(super) topic: String,
    pub(super) reason: String,
    pub(super) error: String,
}

/// The dead letters.
#[derive(Clone, Debug, Default)]
pub(super) struct Letters {
    /// All there ever were.
    pub(super) total: u64,
    /// Those which newer ones displaced.
    pub(super) overwritten: u64,
    /// Those kept, by reason.
    pub(super) by_reason: Vec<(String, u64)>,
    /// The last few, oldest first.
    pub(super) last: Vec<LetterRow>,
}

/// The audit log.
#[derive(Clone, Debug, Default)]
pub(super) struct Audit {
    pub(super) path: PathBuf,
    /// Lines in the file before the run.
    pub(super) before: u64,
    /// Lines in the file now, counted in the file.
    pub(super) lines: u64,
    /// Lines that did not get into the file, for whatever reason.
    pub(super) dropped: u64,
    /// Writes that failed.
    pub(super) errors: u64,
    /// What the last one of them said.
    pub(super) last_error: Option<String>,
}

/// One lane in the bus's books: `routed` is the sum of the others.
#[derive(Clone, Debug, Default)]
pub(super) struct LaneBooks {
    pub(super) name: String,
    pub(super) routed: u64,
    pub(super) handled: u64,
    pub(super) failed: u64,
    pub(super) dropped: u64,
    pub(super) cancelled: u64,
    pub(super) pending: i64,
}

/// The bus's own books. One event is several deliveries: one to each handler.
#[derive(Clone, Debug, Default)]
pub(super) struct Books {
    /// Events by the bus's count: `emitted` is the sum of the next three.
    pub(super) emitted: u64,
    pub(super) routed: u64,
    /// Those that nobody was subscribed to.
    pub(super) unrouted: u64,
    pub(super) refused: u64,
    /// Deliveries, over all lanes but the audit log's.
    pub(super) handled: u64,
    pub(super) failed: u64,
    pub(super) dropped: u64,
    /// Deliveries without an outcome; negative only in books that do not balance.
    pub(super) pending: i64,
    /// Records that the bus made itself, of failed handlers for one, and those that found no room.
    pub(super) system: u64,
    pub(super) system_lost: u64,
    pub(super) lanes: Vec<LaneBooks>,
    /// Why the books do not balance, if they do not.
    pub(super) imbalance: Option<String>,
}

/// What the bus knows of the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Events by type, most frequent first.
    pub(super) types: Vec<(String, u64)>,
    /// Events of types beyond the number that is told apart.
    pub(super) other_types: u64,
    pub(super) handlers: Vec<HandlerRow>,
    pub(super) lanes: Vec<LaneRow>,
    /// Every queue was empty by the deadline.
    pub(super) drained: bool,
    /// From the opening of the bus until it had stopped.
    pub(super) elapsed: Duration,
    pub(super) letters: Letters,
    pub(super) audit: Audit,
    pub(super) books: Books,
}

/// The whole account of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// What the events were read from, for people.
    pub(super) input: String,
    pub(super) intake: Intake,
    pub(super) outcome: Outcome,
    pub(super) deadline: Duration,
    /// Events per second that the run was held to.
    pub(super) pace: Option<f64>,
}

impl Account {
    /// Events accepted per second of the whole run, shutdown included.
    pub(super) fn events_per_second(&self) -> f64 {
        let seconds = self.outcome.elapsed.as_secs_f64();
        if seconds > 0.0 { self.intake.emitted as f64 / seconds } else { 0.0 }
    }

    /// Events still in a lane when the deadline came; one that lay in two lanes counts twice.
    pub(super) fn left(&self) -> u64 {
        self.outcome.lanes.iter().map(|lane| lane.left).sum()
    }

    /// What went wrong, one sentence each; empty when the ledger balances and nothing was lost.
    ///
    /// Malformed lines and failed handlers are no losses: the first never were events, the second are dead letters.
    pub(super) fn losses(&self) -> Vec<String> {
        let (intake, outcome, books) = (&self.intake, &self.outcome, &self.outcome.books);
        let mut losses = Vec::new();
        let mut check = |lost: bool, what: String| {
            if lost {
                losses.push(what);
            }
        };
        if let Some(error) = &intake.error {
            check(true, format!("the input was not read to its end: {error}"));
        }
        if let Some(imbalance) = &books.imbalance {
            check(true, format!("the ledger does not balance: {imbalance}"));
        }
        check(intake.refused > 0, format!("{} events were refused by the bus", intake.refused));
        check(books.dropped > 0, format!("{} deliveries were dropped", books.dropped));
        check(books.system_lost > 0, format!("{} of the bus's own records found no room", books.system_lost));
        let (left, pending) = (self.left(), books.pending);
        let late = left > 0 || pending != 0 || !outcome.drained;
        check(late, format!("at the deadline {left} events were still queued, {pending} deliveries without outcome"));
        let written = outcome.audit.lines.saturating_sub(outcome.audit.before);
        check(written < intake.emitted, format!("the audit log got {written} lines for {} events", intake.emitted));
        let (dropped, errors) = (outcome.audit.dropped, outcome.audit.errors);
        check(dropped + errors > 0, format!("the audit log lost {dropped} lines, with {errors} failed writes"));
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean() -> Account {
        let mut account = Account::default();
        account.intake.lines = 12;
        account.intake.malformed = 2;
        account.intake.emitted = 10;
        account.outcome.drained = true;
        account.outcome.audit.before = 5;
        account.outcome.audit.lines = 15;
        account
    }

    #[test]
    fn malformed_lines_and_failed_handlers_are_no_losses() {
        let mut account = clean();
        account.outcome.books.failed = 3;
        assert!(account.losses().is_empty());
    }

    #[test]
    fn every_loss_is_named() {
        type Damage = (&'static str, fn(&mut Account));
        let cases: [Damage; 9] = [
            ("not read to its end", |account| account.intake.error = Some("gone".to_owned())),
            ("does not balance", |account| account.outcome.books.imbalance = Some("7 is not 8".to_owned())),
            ("refused", |account| account.intake.refused = 1),
            ("dropped", |account| account.outcome.books.dropped = 1),
            ("own records", |account| account.outcome.books.system_lost = 1),
            ("1 deliveries without outcome", |account| account.outcome.books.pending = 1),
            ("still queued", |account| account.outcome.drained = false),
            ("lost 2 lines", |account| account.outcome.audit.dropped = 2),
            ("got 9 lines for 10 events", |account| account.outcome.audit.lines = 14),
        ];
        for (part, damage) in cases {
            let mut account = clean();
            damage(&mut account);
            let losses = account.losses();
            assert!(losses.len() == 1 && losses[0].contains(part), "{part}: {losses:?}");
        }
    }
}
