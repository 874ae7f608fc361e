//! The bus reads its own books now and then, and says when they do not balance.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::delivery::engine::{Engine, LEDGER_IMBALANCE};

/// How many readings in a row must be wrong before the bus says so.
const CERTAIN: u32 = 2;

/// A look at the books, again and again: what the timer does. An imbalance is told once, and again only after the books
/// have balanced in between.
pub(crate) fn beat() -> impl Fn(&Arc<Engine>) + Send + Sync + 'static {
    let wrong = AtomicU32::new(0);
    move |engine| {
        let Some(imbalance) = engine.ledger().imbalance() else {
            // Relaxed, here and below: only the timer's thread looks.
            return wrong.store(0, Ordering::Relaxed);
        };
        let readings = wrong.load(Ordering::Relaxed).saturating_add(1);
        wrong.store(readings, Ordering::Relaxed);
        if readings == CERTAIN {
            engine.emit_system(LEDGER_IMBALANCE, serde_json::json!({ "imbalance": imbalance.to_string() }), None);
        }
    }
}

#[cfg(test)]
mod tests;
