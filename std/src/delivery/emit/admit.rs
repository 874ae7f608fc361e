//! What refuses an event before it costs a lane anything: rates, storms, duplicates; and the records of that.
//!
//! The order: the source's rate, the topic's rate, storms, duplicates. Each sees only what those before it let pass. An
//! event that nobody is subscribed to is held against them all the same, for they guard against emitters. The bus's own
//! events are exempt.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{How, Refused};
use crate::admission::rate::RetryAfter;
use crate::admission::storm::{Detector, StormGuard, Verdict};
use crate::delivery::count;
use crate::delivery::directory::TopicState;
use crate::delivery::engine::{EVENT_STORM, EVENT_STORM_ENDED, Engine, LOAD_SHEDDING};
use crate::delivery::envelope::TopicId;
use crate::delivery::failure::drop_quietly;
use crate::delivery::guards::TopicGuards;
use crate::delivery::lane::Queue;
use crate::delivery::shed::{Shedder, Turn};
use crate::error::Limited;

/// What the guards make of an event that they do not refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    New,
    /// Seen before: it succeeds, and nobody sees it.
    Duplicate,
}

impl Engine {
    /// Holds an event against all guards.
    pub(super) fn admit(&self, topic: &TopicState, how: How<'_>) -> Result<Admission, Refused> {
        let source = self.guards.sources.as_ref().zip(how.source());
        let seen = self.guards.window.as_ref().zip(how.identity());
        let guarded = topic.guards.is_some() || source.is_some() || seen.is_some();
        if how.is_system() || how.is_replayed() || !guarded {
            return Ok(Admission::New);
        }
        let now = self.clock.now();
        let admitted = how.extra.is_some_and(|extra| extra.admitted);
        if let Some((sources, source)) = source
            && !admitted
            && let Err(RetryAfter(nanos)) = sources.try_take(source, now)
        {
            count::add(&self.guards.limited_by_source, 1);
            return Err(rate_limited(Limited::Source(source.to_owned()), nanos));
        }
        if let Some(guards) = topic.guards.as_ref().filter(|_| !admitted) {
            if let Some(bucket) = &guards.bucket
                && let Err(RetryAfter(nanos)) = bucket.try_take(now)
            {
                count::add(&self.guards.limited_by_topic, 1);
                return Err(rate_limited(Limited::Topic(topic.name.to_string()), nanos));
            }
            if let Some(detector) = &guards.storm {
                self.observe(topic, guards, detector, now)?;
            }
        }
        match seen {
            Some((window, key)) if !window.first_time(key, now) => Ok(Admission::Duplicate),
            _ => Ok(Admission::New),
        }
    }

    /// Lets the key of an event come again that was refused after the window had seen it.
    #[cold]
    pub(super) fn forget(&self, how: How<'_>) {
        if let Some((window, key)) = self.guards.window.as_ref().zip(how.identity())
            && !how.is_system()
            && !how.is_replayed()
        {
            window.forget(key);
        }
    }

    /// Counts the event for its topic's storms.
    fn observe(&self, topic: &TopicState, guards: &TopicGuards, detector: &Detector, now: u64) -> Result<(), Refused> {
        let verdict = detector.observe(now);
        match verdict {
            Verdict::Calm => return Ok(()),
            Verdict::Began => {
                self.storm_began(&topic.name, detector, now);
                self.watch(topic.id, guards);
            }
            Verdict::Raging => {}
            Verdict::Ended { lasted, events } => self.storm_ended(&topic.name, lasted, events),
        }
        let Some(guard) = self.guards.storm.as_ref().filter(|guard| guard.refuses() && verdict.is_storm()) else {
            return Ok(());
        };
        count::add(&self.guards.stormed, 1);
        Err(Refused::Storm(topic.name.clone(), guard.limit()))
    }

    #[cold]
    fn storm_began(&self, topic: &str, detector: &Detector, now: u64) {
        let Some(guard) = &self.guards.storm else { return };
        count::add(&self.guards.storms, 1);
        let record = serde_json::json!({
            "event_type": topic,
            "rate": detector.rate(now),
            "threshold": guard.limit(),
            "window_seconds": guard.length().as_secs_f64(),
            "refused": guard.refuses(),
        });
        self.emit_system(EVENT_STORM, record, None);
    }

    #[cold]
    fn storm_ended(&self, topic: &str, lasted: u64, events: u64) {
        let lasted = Duration::from_nanos(lasted).as_secs_f64();
        let record = serde_json::json!({ "event_type": topic, "lasted_seconds": lasted, "events": events });
        self.emit_system(EVENT_STORM_ENDED, record, None);
    }

    /// Has the timer look at a topic that storms, which may fall silent, unless it will anyway. Without room in the timer,
    /// the topic's next event tells that the storm has ended.
    fn watch(&self, topic: TopicId, guards: &TopicGuards) {
        // Release pairs with the Acquire in `look`: if this finds that the timer will look, it will see the storm.
        if guards.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let wait = self.guards.storm.as_ref().map_or(Duration::ZERO, StormGuard::length);
        let look = Box::new(move |engine: &Arc<Self>| engine.look(topic));
        if let Err(error) = self.timer.schedule(self.clock.after(wait), look) {
            // Relaxed: whoever comes next tries again, whatever it has seen.
            guards.watched.store(false, Ordering::Relaxed);
            drop_quietly(error.into_job());
        }
    }

    fn look(&self, id: TopicId) {
        let Some(topic) = self.directory.by_id(id) else { return };
        let Some(guards) = &topic.guards else { return };
        let Some(detector) = &guards.storm else { return };
        // Acquire pairs with the Release in `watch`: a storm that counts on this look is seen by it; one that begins
        // later has itself watched again.
        guards.watched.swap(false, Ordering::AcqRel);
        match detector.look(self.clock.now()) {
            Verdict::Ended { lasted, events } => self.storm_ended(&topic.name, lasted, events),
            Verdict::Began | Verdict::Raging => self.watch(id, guards),
            Verdict::Calm => {}
        }
    }

    /// Says that a lane has begun or ended to shed load.
    #[cold]
    pub(crate) fn shedding_turned(&self, queue: &Queue, shedder: &Shedder, turn: Turn) {
        self.tell_of_shedding(queue, turn);
        if turn == Turn::Began {
            // The worker may have drained the lane before it could see that it sheds, and then nobody would end it. This
            // read-modify-write of the ring's head orders the two: whatever it pops from now on, it sees.
            queue.ring.has_room();
            if let Some(turn) = shedder.drained_to(queue.ring.len()) {
                self.tell_of_shedding(queue, turn);
            }
        }
    }

    fn tell_of_shedding(&self, queue: &Queue, turn: Turn) {
        let state = match turn {
            Turn::Began => "began",
            Turn::Ended => "ended",
        };
        let record = serde_json::json!({
            "lane": &*queue.name,
            "state": state,
            "pending": queue.ring.len(),
            "capacity": queue.ring.capacity(),
        });
        self.emit_system(LOAD_SHEDDING, record, None);
    }
}

#[cold]
fn rate_limited(limited: Limited, nanos: u64) -> Refused {
    Refused::RateLimited(Box::new(limited), Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests;
