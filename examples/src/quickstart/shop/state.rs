//! What the handlers remember, and what they do with an event.

use super::SPOT_CHECK;
use nervebus::Event;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Event types that are told apart; a file with more of them must not grow the table without end.
pub(in super::super) const TYPES: usize = 10_000;

/// Counters that the handlers share; each is exact once the bus has stopped.
#[derive(Debug, Default)]
pub(super) struct State {
    reserved: AtomicU64,
    charged: AtomicU64,
    chat_bytes: AtomicU64,
    alarms: AtomicU64,
    live: AtomicU64,
    checked: AtomicU64,
    types: Mutex<Types>,
}

#[derive(Debug, Default)]
struct Types {
    counts: HashMap<String, u64>,
    others: u64,
}

impl State {
    /// The stock-keeper sets the goods of an order aside.
    pub(super) fn reserve(&self) {
        self.reserved.fetch_add(1, Ordering::Relaxed);
    }

    /// The till charges an order, and refuses one whose goods the stock-keeper has not set aside before.
    pub(super) fn charge(&self, order: &Event<'_>) -> Result<(), String> {
        let charged = self.charged.fetch_add(1, Ordering::Relaxed) + 1;
        if self.reserved.load(Ordering::Relaxed) < charged {
            return Err(format!("order {} reached the till before its goods were reserved", order["order_id"]));
        }
        Ok(())
    }

    /// The chat logger keeps the volume, not the words.
    pub(super) fn log_chat(&self, event: &Event<'_>) {
        let bytes = event["text"].as_str().map_or(0, str::len);
        self.chat_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Somebody looks at every payment that failed.
    pub(super) fn sound_alarm(&self) {
        self.alarms.fetch_add(1, Ordering::Relaxed);
    }

    /// Feeds the table of events by type.
    pub(super) fn count_type(&self, event: &Event<'_>) {
        if !from_input(event) {
            return;
        }
        let mut types = self.lock();
        if let Some(count) = types.counts.get_mut(event.topic()) {
            *count += 1;
        } else if types.counts.len() < TYPES {
            types.counts.insert(event.topic().to_owned(), 1);
        } else {
            types.others += 1;
        }
    }

    /// Feeds the progress line.
    pub(super) fn count_live(&self, event: &Event<'_>) {
        if from_input(event) {
            self.live.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts the first event and then every tenth aside for a person: as an error, so that it becomes a dead letter.
    ///
    /// It goes by position and not by content, so that every input shows what a failing handler leads to.
    pub(super) fn spot_check(&self, event: &Event<'_>) -> Result<(), String> {
        if !from_input(event) {
            return Ok(());
        }
        let position = self.checked.fetch_add(1, Ordering::Relaxed) + 1;
        if position % SPOT_CHECK == 1 {
            return Err(format!("event {position}: one in {SPOT_CHECK} is put aside for a person"));
        }
        Ok(())
    }

    /// Events seen by the inline handler.
    pub(super) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// Events by type, most frequent first and then by name; and the events of types beyond `TYPES`.
    pub(super) fn types(&self) -> (Vec<(String, u64)>, u64) {
        let types = self.lock();
        let mut counts: Vec<(String, u64)> = types.counts.iter().map(|(name, n)| (name.clone(), *n)).collect();
        counts.sort_by(|(name, count), (other, more)| more.cmp(count).then_with(|| name.cmp(other)));
        (counts, types.others)
    }

    /// A handler that panicked mid-count has at worst missed its own event.
    fn lock(&self) -> MutexGuard<'_, Types> {
        self.types.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A catch-all also sees the bus's own records: `system.handler_error`, which the failed event caused, and
/// `system.audit_error`, which no single event did. The input may hold records of these names as well, when it is the
/// audit log of an earlier run, but nothing on this bus caused them.
fn from_input(event: &Event<'_>) -> bool {
    match event.topic() {
        "system.audit_error" => false,
        topic => !topic.starts_with("system.") || event.causation().is_none(),
    }
}
