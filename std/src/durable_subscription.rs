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
#[derive(Debug, Default)]
pub(crate) struct Durably {
    /// Without one, the rest was said of a subscription that is not durable.
    name: Option<String>,
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
    /// When it subscribes: [`SubscribeError::InvalidSetting`] for a bus without a durable log, a pattern that has no topic in
    /// common with those that are [durable](crate::DurableLog::topics), a name that is empty, longer than 200 bytes, or in
    /// use on this bus, and together with [`with_history`](Self::with_history); [`SubscribeError::NotInline`] for an inline
    /// handler.
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn durable(mut self, name: impl Into<String>) -> Self {
        self.durable.get_or_insert_default().name = Some(name.into());
        self
    }

    /// Has a [durable](Self::durable) subscription whose name the log does not know begin with the first event in the log.
    /// Default: with what is written from now on. Without [`durable`](Self::durable) the subscription is refused.
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn from_start(mut self) -> Self {
        self.durable.get_or_insert_default().from_start = true;
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
    ///
    /// Without [`durable`](Self::durable) the subscription is refused.
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn dedup(mut self, window: DedupWindow) -> Self {
        self.durable.get_or_insert_default().dedup = Some(window);
        self
    }
}

impl Durably {
    /// Subscribes a handler as the bus keeps it.
    pub(crate) fn subscribe(
        self,
        bus: &Bus,
        pattern: &str,
        lane: LaneId,
        wants_history: bool,
        make: impl FnOnce(SubscriptionId) -> Subscription,
    ) -> Result<SubscriptionId, SubscribeError> {
        let refuse = |rule: &str| Err(SubscribeError::InvalidSetting { setting: "durable", rule: rule.into() });
        let Some(name) = self.name else {
            let setting = if self.from_start { "from_start" } else { "dedup" };
            let rule = "only a durable subscription has it: give it a name with `durable`".into();
            return Err(SubscribeError::InvalidSetting { setting, rule });
        };
        let Some(core) = bus.durable() else { return refuse("the bus has no durable log") };
        if lane.is_inline() {
            return Err(SubscribeError::NotInline { setting: "durable" });
        }
        if wants_history {
            return refuse("it begins in the log, and cannot begin in a history as well: that is `from_start`");
        }
        if name.is_empty() || name.len() > MAX_NAME {
            return refuse("a name has 1 to 200 bytes");
        }
        let topics = &core.settings.patterns;
        if !topics.iter().any(|topics| has_common_topic(topics, pattern)) {
            return refuse(&format!("no topic of {pattern:?} is durable: the log's topics are {topics:?}"));
        }
        if let Some(window) = &self.dedup {
            window.check("dedup").map_err(out_of_range)?;
        }
        let mut followers = core.lock();
        if followers.active.iter().any(|follower| follower.name == name && follower.subscription.is_active()) {
            return refuse("the name is in use");
        }
        // One that has ended, and that the feeding thread has not looked at since, makes way with its place.
        let ended = followers.active.iter().position(|follower| follower.name == name);
        if let Some(ended) = ended {
            let follower = followers.active.swap_remove(ended);
            follower.mark_again();
            if let Some(mark) = follower.mark() {
                followers.marks.insert(name.clone(), mark);
            }
        }
        let subscription = bus.engine().directory.subscribe_apart(make)?;
        let id = subscription.id;
        let begin = if self.from_start { core.first() } else { core.next() };
        let mark = followers.marks.get(&name).cloned().unwrap_or(Mark { low: begin, ..Mark::default() });
        let window = self.dedup.as_ref().map(|window| filled(core, bus, &subscription.pattern, window, &mark));
        followers.active.push(Arc::new(Follower::new(name, subscription, window, mark, core)));
        drop(followers);
        core.tap.feeding.wake();
        core.want_chores();
        Ok(id)
    }
}

/// Whether there is a topic that both patterns match.
fn has_common_topic(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.').peekable(), other.split('.').peekable());
    loop {
        let (Some(left), Some(right)) = (one.next(), other.next()) else {
            return false;
        };
        let (left_ends, right_ends) = (one.peek().is_none(), other.peek().is_none());
        // A star at the end takes whatever is left of the other, which is one segment at least.
        if (left == "*" && left_ends) || (right == "*" && right_ends) {
            return true;
        }
        if left != right && left != "*" && right != "*" {
            return false;
        }
        if left_ends && right_ends {
            return true;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_a_topic_in_common_just_when_some_topic_matches_both() {
        let below = |names: &[String], segments: &[&str]| -> Vec<String> {
            names.iter().flat_map(|name| segments.iter().map(move |segment| format!("{name}.{segment}"))).collect()
        };
        let all = |segments: &[&str], depth: usize| {
            let mut found: Vec<Vec<String>> = vec![segments.iter().map(|segment| (*segment).to_owned()).collect()];
            (1..depth).for_each(|at| found.push(below(&found[at - 1], segments)));
            found.concat()
        };
        let (patterns, topics) = (all(&["a", "b", "*"], 3), all(&["a", "b", "c"], 4));
        for one in &patterns {
            for other in &patterns {
                let common = topics.iter().find(|topic| line::matches(one, topic) && line::matches(other, topic));
                assert_eq!(has_common_topic(one, other), common.is_some(), "{one} and {other}: {common:?}");
            }
        }
    }
}
