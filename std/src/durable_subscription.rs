//! Durable subscriptions: fed from the log, and remembered by name.

use std::sync::Arc;

use nervebus_core::{LaneId, SubscriptionId};

use crate::admission::dedup::{DedupWindow, Window};
use crate::bus::Bus;
use crate::delivery::subscription::Subscription;
use crate::error::{BuildError, SubscribeError};
use crate::records::durable::core::Core;
use crate::records::durable::follower::{Follower, Mark};
use crate::records::durable::line;
use crate::subscribe::Subscribe;

/// The longest name.
const MAX_NAME: usize = 200;

/// What is said of a durable subscription beyond what any has.
#[derive(Debug)]
pub(crate) struct Durably {
    name: String,
    from_start: bool,
    dedup: Option<DedupWindow>,
}

impl Subscribe<'_> {
    /// Feeds the handler from the [durable log](crate::DurableLog), under a name: when the bus is built again and somebody
    /// subscribes under that name, it goes on where it was. It gets the events of its pattern that are in the log, and
    /// no others; what is not on a durable topic never comes to it.
    ///
    /// It reads from the log and not from the emitters, so it misses nothing, however slow it is, and makes no emitter wait.
    /// It gets an event when that is written; when somebody waits for the sync of the same batch, after the sync. A name
    /// that the log does not know begins with what is written from now on, or [from the start](Self::from_start).
    ///
    /// **At least once.** An event has ended when the handler has succeeded, or when, after its
    /// [retries](Self::retry), it has become a dead letter. How far all has ended is saved now and then
    /// ([`DurableLog::checkpoint`](crate::DurableLog::checkpoint)) and at shutdown. After a kill, what has ended since the last time is given again; after
    /// a shutdown, what had not ended by its deadline.
    ///
    /// **Order.** Events are given in the order of the log: one after the other on a lane with one worker, by
    /// [key](crate::Emission::key) on a lane with several, also across a restart. A retry comes after events that came
    /// later. Up to 256 events are in the lane at once, and up to 4,096 may have ended behind one that has not; then the
    /// subscription waits for that one.
    ///
    /// Handlers see events as they were read: the payload is JSON, whatever it was, and the time to live is gone.
    ///
    /// It is a subscription like any other for [`Bus::unsubscribe`](crate::Bus::unsubscribe), statistics and dead letters.
    /// Unsubscribed, its name keeps its place, for whoever subscribes under it next.
    ///
    /// # Errors
    ///
    /// When it subscribes: [`SubscribeError::InvalidSetting`] for a bus without a durable log, a name that is empty, longer
    /// than 200 bytes, or in use on this bus; [`SubscribeError::NotInline`] for an inline handler.
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn durable(mut self, name: impl Into<String>) -> Self {
        self.durable = Some(Durably { name: name.into(), from_start: false, dedup: None });
        self
    }

    /// Has a [durable](Self::durable) subscription whose name the log does not know begin with the first event in the log.
    /// Default: with what is written from now on.
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn from_start(mut self) -> Self {
        if let Some(durably) = &mut self.durable {
            durably.from_start = true;
        }
        self
    }

    /// Has a [durable](Self::durable) subscription pass events whose [id](crate::Event::id) it was given before, within a
    /// window. That makes of "at least once" an "effectively once", in this sense:
    ///
    /// - An event that was emitted twice, because its emitter did not know whether the first emit was stored, and has an
    ///   [id of its own](crate::Emission::event_id), is given once. The window is filled again from the log at a restart, with
    ///   the events below the checkpoint.
    /// - Within a run, no event is given twice but for its retries.
    /// - **Not** covered is what the handler has done when the process is killed before that was saved: up to
    ///   [`checkpoint`](crate::DurableLog::checkpoint) events are given again then. Only the handler can make that harmless:
    ///   by storing the id together with what it does.
    /// - Nor is an id that comes again when the window has forgotten it.
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn dedup(mut self, window: DedupWindow) -> Self {
        if let Some(durably) = &mut self.durable {
            durably.dedup = Some(window);
        }
        self
    }
}

impl Durably {
    /// Subscribes a handler as the bus keeps it.
    pub(crate) fn subscribe(
        self,
        bus: &Bus,
        lane: LaneId,
        make: impl FnOnce(SubscriptionId) -> Subscription,
    ) -> Result<SubscriptionId, SubscribeError> {
        let refuse = |rule: &str| Err(SubscribeError::InvalidSetting { setting: "durable", rule: rule.into() });
        let Some(core) = bus.durable() else { return refuse("the bus has no durable log") };
        if lane.is_inline() {
            return Err(SubscribeError::NotInline { setting: "durable" });
        }
        if self.name.is_empty() || self.name.len() > MAX_NAME {
            return refuse("a name has 1 to 200 bytes");
        }
        if let Some(window) = &self.dedup {
            window.check("dedup").map_err(out_of_range)?;
        }
        let mut followers = core.lock();
        if followers.active.iter().any(|follower| follower.name == self.name && follower.subscription.is_active()) {
            return refuse("the name is in use");
        }
        // One that has ended, and that the feeding thread has not looked at since, makes way with its place.
        let ended = followers.active.iter().position(|follower| follower.name == self.name);
        if let Some(ended) = ended {
            let follower = followers.active.swap_remove(ended);
            follower.mark_again();
            if let Some(mark) = follower.mark() {
                followers.marks.insert(self.name.clone(), mark);
            }
        }
        let subscription = bus.engine().directory.subscribe_apart(make)?;
        let id = subscription.id;
        let begin = if self.from_start { core.first() } else { core.next() };
        let mark = followers.marks.get(&self.name).cloned().unwrap_or(Mark { low: begin, ..Mark::default() });
        let window = self.dedup.as_ref().map(|window| filled(core, bus, &subscription.pattern, window, &mark));
        followers.active.push(Arc::new(Follower::new(self.name, subscription, window, mark, core)));
        drop(followers);
        core.tap.feeding.wake();
        core.want_chores();
        Ok(id)
    }
}

/// A window that knows the ids of the last events below a mark.
fn filled(core: &Core, bus: &Bus, pattern: &str, config: &DedupWindow, mark: &Mark) -> Window {
    const READ: usize = 1_024;
    let window = Window::new(config);
    let now = bus.engine().clock.now();
    let mut at = mark.low.saturating_sub(window.capacity() as u64).max(core.first());
    let end = mark.ended.last().map_or(mark.low, |last| last + 1);
    while at < end {
        let Ok(lines) = core.read(at, READ) else { break };
        let Some((last, _)) = lines.last() else { break };
        at = last + 1;
        for (position, line) in lines {
            let ended = position < mark.low || mark.ended.contains(&position);
            if let Some(stored) =
                line::read(&line, 0).filter(|stored| ended && line::matches(pattern, stored.event.topic()))
            {
                window.first_time(&stored.event.id().to_string(), now);
            }
        }
    }
    window
}

/// A range that was checked as if the bus were being built.
fn out_of_range(error: BuildError) -> SubscribeError {
    SubscribeError::InvalidSetting { setting: "dedup", rule: error.to_string() }
}

impl Bus {
    /// Forgets a [durable subscription](Subscribe::durable) that is not there: the log keeps nothing for it any more, and
    /// the name is one that it does not know. `false` if it knows none of that name, or it is subscribed.
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn forget_durable(&self, name: &str) -> bool {
        let Some(core) = self.durable() else { return false };
        let mut followers = core.lock();
        if followers.active.iter().any(|follower| follower.name == name && follower.subscription.is_active()) {
            return false;
        }
        followers.active.retain(|follower| follower.name != name);
        let known = followers.marks.remove(name).is_some();
        if known {
            followers.changed.insert(name.to_owned());
        }
        drop(followers);
        core.want_chores();
        known
    }
}
