//! The part to read first: a bus, its handlers, and its account at the end.
//!
//! Everything in this program that touches the bus is here and in `shop/`.

mod outcome;
mod state;

pub(super) use state::TYPES;

use super::account::Outcome;
use nervebus::{AuditLog, Bus, Lane, Overflow, Record, Timing};
use state::State;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Dead letters kept; beyond that the oldest make room, counted.
pub(super) const DEAD_LETTERS: usize = 1_000;

/// The spot check rejects the first event it sees and then one in so many.
pub(super) const SPOT_CHECK: u64 = 10;

/// Why the bus did not take an event.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The event's type is no topic.
    Malformed(String),
    /// Anything else: the event is lost.
    Lost(String),
}

/// A web shop's bus and what its handlers remember.
#[derive(Debug)]
pub(super) struct Shop {
    bus: Bus,
    opened: Instant,
    state: Arc<State>,
    audit: PathBuf,
    /// Lines that the audit file had before this run.
    audit_before: u64,
}

impl Shop {
    /// Opens the shop: a bus with an audit log, dead letters, two lanes, and its handlers.
    ///
    /// # Errors
    /// The bus's own error, when the audit file cannot be written for one.
    pub(super) fn open(audit: &Path) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let audit_before = outcome::lines_in(audit).unwrap_or(0);
        let opened = Instant::now();
        let bus = Bus::builder()
            .audit(AuditLog::at(audit))
            .dead_letters(DEAD_LETTERS)
            // A full lane makes the emitter wait: the input can wait, and nothing may be lost.
            .default_lane(Lane::new("default").capacity(4_096).overflow(Overflow::Block))
            .lane(Lane::new("review").capacity(1_024).overflow(Overflow::Block))
            // A file from elsewhere may name every event anew, and none of them may be lost for it.
            .max_topics(1_000_000)
            .timing(Timing::Every)
            .build()?;
        let shop = Shop { bus, opened, state: Arc::default(), audit: audit.to_owned(), audit_before };
        shop.take_orders()?;
        shop.listen()?;
        Ok(shop)
    }

    /// One topic, two priorities: on a lane the higher one always runs first.
    fn take_orders(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let state = Arc::clone(&self.state);
        self.bus.on("order.placed").name("stock-keeper").priority(200).handle(move |_| state.reserve())?;
        let state = Arc::clone(&self.state);
        self.bus.on("order.placed").name("till").handle(move |order| state.charge(order))?;
        Ok(())
    }

    /// Patterns: a prefix, a wildcard inside, and catch-alls, one of them inline and one that fails.
    fn listen(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let state = Arc::clone(&self.state);
        self.bus.on("chat.*").name("chat-logger").handle(move |event| state.log_chat(event))?;
        let state = Arc::clone(&self.state);
        self.bus.on("order.*.failed").name("payment-alarm").handle(move |_| state.sound_alarm())?;
        let state = Arc::clone(&self.state);
        self.bus.on("*").name("type-counter").handle(move |event| state.count_type(event))?;
        // Inline: runs on the emitter's thread before `emit` returns, so it has to be quick.
        let state = Arc::clone(&self.state);
        self.bus.on("*").name("live-counter").inline().handle(move |event| state.count_live(event))?;
        // A lane of its own: however slow a review gets, it does not hold up the till.
        let state = Arc::clone(&self.state);
        self.bus
            .on("*")
            .name("spot-check (rejects 1 in 10)")
            .lane("review")
            .handle(move |event| state.spot_check(event))?;
        Ok(())
    }

    /// Hands one event to the bus.
    ///
    /// # Errors
    /// `Refusal` with the bus's message.
    pub(super) fn emit(&self, record: Record) -> Result<(), Refusal> {
        self.bus.emit_record(record).map(drop).map_err(|error| outcome::refusal(&error))
    }

    /// Events that the inline handler has seen so far: those accepted.
    pub(super) fn live(&self) -> u64 {
        self.state.live()
    }

    /// Gives the lanes until `deadline` to finish, stops the bus, and accounts for every event.
    pub(super) fn close(self, deadline: Duration) -> Outcome {
        let report = self.bus.shutdown(deadline);
        let elapsed = self.opened.elapsed();
        outcome::outcome(&self, &report, elapsed)
    }
}
