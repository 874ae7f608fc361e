//! Settings that guard a bus against its emitters and against itself.

use std::sync::Arc;
use std::time::Duration;

use super::Builder;
use super::checks::wait_in_range;
use crate::admission::dedup::DedupWindow;
use crate::admission::rate::RateLimit;
use crate::admission::storm::StormGuard;
use crate::delivery::engine::Engine;
use crate::delivery::self_check;
use crate::error::BuildError;

impl Builder {
    /// Limits the events a second of each topic that the pattern matches. Default: no limit. Each topic has a bucket of
    /// its own. Called again, it adds a limit for more topics: of several patterns that match a topic, the first counts.
    ///
    /// An emit over the limit fails with [`EmitError::RateLimited`](crate::EmitError::RateLimited), which says when the
    /// next may pass, and is counted as refused. The bus's own events are exempt.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) fails for a malformed pattern ([`BuildError::Pattern`]) and for a limit outside its ranges.
    ///
    /// # Cost
    ///
    /// Which limit a topic has is found when it is first named. An emit then reads the clock and does what
    /// [`RateLimit`] says. On a bus where any topic can have a limit, every emit takes the general way, which costs some
    /// tens of nanoseconds more.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, RateLimit};
    ///
    /// let bus = Bus::builder().rate_limit("chat.*", RateLimit::per_second(1).burst(2)).build()?;
    /// assert!(bus.emit("chat.message", "a").is_ok() && bus.emit("chat.message", "b").is_ok());
    /// let refused = bus.emit("chat.message", "c").unwrap_err();
    /// assert!(refused.retry_after().is_some());
    /// assert_eq!(refused.into_payload(), "c");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rate_limit(mut self, pattern: &str, limit: RateLimit) -> Self {
        self.guards.rates.push((pattern.into(), limit));
        self
    }

    /// Limits the events a second of each [source](crate::Emission::source). Default: no limit. Events that name no
    /// source are not limited. It is asked before the limits of topics; an event that those refuse has used its token
    /// here.
    ///
    /// Sources share 65,536 buckets by a random hash (512 KiB): a source may get less than its limit because another
    /// one has the same bucket, never more. Otherwise as [`rate_limit`](Self::rate_limit); emits that name no source
    /// cost nothing more.
    pub fn source_rate_limit(mut self, limit: RateLimit) -> Self {
        self.guards.sources = Some(limit);
        self
    }

    /// Watches each topic for [storms](StormGuard). Default: none is watched.
    ///
    /// When a storm begins, the bus emits `system.event_storm` with `event_type`, `rate` (events a second over the last
    /// window), `threshold`, `window_seconds` and `refused`; when it has ended, `system.event_storm_ended` with
    /// `event_type`, `lasted_seconds` and `events`: once each. The next event of the topic or, if there is none, the
    /// bus's timer notices the end. A guard that [refuses](crate::Storm::Refuse) makes the emits of the storm fail with
    /// [`EmitError::Storm`](crate::EmitError::Storm).
    ///
    /// Events that a rate limit refuses are not counted here.
    ///
    /// # Cost
    ///
    /// 80 bytes for each topic. An emit reads the clock and counts; on a bus with this guard every emit takes the
    /// general way.
    pub fn storm_guard(mut self, guard: StormGuard) -> Self {
        self.guards.storm = Some(guard);
        self
    }

    /// Recognises duplicates: an event that was emitted before, within the window, succeeds and is delivered to nobody.
    /// Default: none is recognised.
    ///
    /// An event is known by the [idempotency key](crate::Emission::idempotency_key) its emitter gave or else by the
    /// [event id](crate::Emission::event_id) its emitter gave, on whatever topic; the two are one space of texts. An
    /// event with neither is never a duplicate, and neither is one that goes back to a handler from the dead letters or
    /// for another attempt.
    ///
    /// [`Receipt::is_duplicate`](crate::Receipt::is_duplicate) says so, the ledger counts it under
    /// [`duplicates`](crate::Ledger::duplicates), and the audit log has no line for it. An event counts as emitted once it
    /// has been let in, with or without subscribers; an emit that fails may be repeated. Of two threads that emit the
    /// same event at once, one is told that it is a duplicate, even if the other's emit fails a moment later.
    ///
    /// The window is in memory: a bus that is built anew knows no duplicates of before.
    pub fn dedup(mut self, window: DedupWindow) -> Self {
        self.guards.dedup = Some(window);
        self
    }

    /// How often the bus reads its own books. Default: 60 s. Range: zero for never, at most a day; less than a
    /// millisecond is a millisecond.
    ///
    /// When they do not [balance](crate::Ledger::balanced) in two readings in a row, the bus emits
    /// `system.ledger_imbalance` with `imbalance`, a text; once, until they have balanced again. That never happens
    /// unless the bus has a defect, or its memory.
    pub fn self_check(mut self, period: Duration) -> Self {
        self.self_check = period;
        self
    }

    pub(super) fn check_guards(&self) -> Result<(), BuildError> {
        if !self.self_check.is_zero() {
            wait_in_range("self_check", self.self_check)?;
        }
        self.guards.check()
    }

    pub(super) fn start_self_check(&self, engine: &Arc<Engine>) {
        if !self.self_check.is_zero() {
            // The timer is new and has room.
            engine.timer.every(self.self_check, self_check::beat());
        }
    }
}
