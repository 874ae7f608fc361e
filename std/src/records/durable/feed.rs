//! The thread that feeds durable subscriptions: from the log into their lanes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, Followers};
use super::follower::{Follower, WINDOW};
use super::line;
use crate::delivery::again::{Followed, Redelivery};
use crate::delivery::count;
use crate::delivery::engine::Engine;
use crate::delivery::failure::drop_quietly;
use crate::platform::place::place;

/// How long the thread rests when a store or a lane refuses, which is real time: nobody wakes it for those.
const REST: Duration = Duration::from_millis(5);

/// How many lines are read at a time for one subscription.
const READ: usize = WINDOW;

/// Feeds the durable subscriptions of a bus.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) engine: Arc<Engine>,
    pub(crate) core: Arc<Core>,
}

/// How a look at one subscription went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fed {
    /// There is nothing for it, or no room.
    Nothing,
    /// Something refused; later it may not.
    Refused,
    Some,
}

/// Says that the thread has ended, however it did.
struct Ending<'a>(&'a Core);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.tap.feeding.ended.open();
    }
}

impl Feed {
    /// Runs until nothing more is to be fed.
    pub(crate) fn run(self) {
        let core = Arc::clone(&self.core);
        let _ending = Ending(&core);
        let (mut seen, mut most) = (0, Some(Duration::ZERO));
        while let Some(wakes) = core.tap.feeding.wait(seen, most) {
            seen = wakes;
            let followers = core.lock().active.clone();
            let fed = followers.iter().map(|follower| self.feed(follower)).max();
            most = match fed.unwrap_or(Fed::Nothing) {
                Fed::Some => Some(Duration::ZERO),
                Fed::Refused => Some(REST),
                Fed::Nothing => None,
            };
            // What they held may be the last of a subscription.
            drop_quietly(followers);
        }
    }

    /// Gives one subscription what there is room for.
    fn feed(&self, follower: &Arc<Follower>) -> Fed {
        if !follower.subscription.is_active() {
            self.core.end(follower);
            return Fed::Nothing;
        }
        self.catch_up(follower);
        let (from, room) = follower.wants();
        if room == 0 {
            return Fed::Nothing;
        }
        let Ok(lines) = self.core.read(from, READ) else { return Fed::Refused };
        if lines.is_empty() {
            return Fed::Nothing;
        }
        let (mut room, mut fed) = (room, Fed::Nothing);
        for (position, line) in lines {
            if room == 0 {
                break;
            }
            match self.give(follower, position, &line) {
                Ok(true) => room -= 1,
                Ok(false) => {}
                // What has to end first wakes this thread when it does; a full lane does not.
                Err(refused) => return fed.max(refused),
            }
            fed = Fed::Some;
        }
        fed
    }

    /// Skips what the log has dropped before the subscription came to it.
    fn catch_up(&self, follower: &Follower) {
        // Counted and reported where it was dropped.
        follower.skip_to(self.core.first());
    }

    /// Gives one line to one subscription; whether it takes room in its lane.
    fn give(&self, follower: &Arc<Follower>, position: u64, line: &[u8]) -> Result<bool, Fed> {
        let stored = line::read(line, self.engine.bus)
            .filter(|stored| line::matches(&follower.subscription.pattern, stored.event.topic()));
        let Some(stored) = stored.filter(|_| !follower.has_ended(position)) else {
            follower.pass(position, false);
            return Ok(false);
        };
        let subscription = &follower.subscription;
        let key = stored.event.as_event().head.key;
        let several = self.engine.queues.of(subscription.lane).len() > 1;
        if several && !follower.may_give(stored.run) {
            return Err(Fed::Nothing);
        }
        if let Some(window) = &follower.window
            && !window.first_time(&stored.event.id().to_string(), self.engine.clock.now())
        {
            follower.pass(position, true);
            return Ok(false);
        }
        let pick = if key == 0 { position } else { key };
        let Some(queue) = self.engine.queues.pick(subscription.lane, pick) else { return Err(Fed::Refused) };
        let id = follower.window.is_some().then(|| stored.event.id().to_string());
        if !follower.give(position) {
            return Ok(false);
        }
        let followed: Arc<dyn Followed> = Arc::clone(follower) as _;
        let delivery = Redelivery::of_log(stored.event, subscription, followed, position);
        // In this order no reading of the books finds the delivery taken on, but not under way.
        queue.again.underway.begin();
        queue.routed.add(place(), 0, 1);
        match queue.again.push(delivery) {
            Ok(()) => {
                queue.unpark_worker();
                Ok(true)
            }
            Err(returned) => {
                follower.take_back(position);
                if let (Some(window), Some(id)) = (&follower.window, id) {
                    window.forget(&id);
                }
                count::add(&queue.retracted, 1);
                queue.again.underway.end();
                drop_quietly(returned);
                Err(Fed::Refused)
            }
        }
    }
}

impl Core {
    /// Takes a subscription that has ended out; its name may be used again, and goes on where it was.
    pub(super) fn end(&self, follower: &Arc<Follower>) {
        let mut followers = self.lock();
        let before = followers.active.len();
        followers.active.retain(|active| !Arc::ptr_eq(active, follower));
        if followers.active.len() < before {
            follower.mark_again();
            if let Some(mark) = follower.mark() {
                followers.marks.insert(follower.name.clone(), mark);
            }
            followers.changed.insert(follower.name.clone());
        }
        drop(followers);
        self.want_chores();
    }

    /// How far all durable subscriptions have come, those included that are not there now: below which position nobody needs a
    /// line, and the slowest checkpoint if there is any.
    pub(super) fn lowest(&self) -> (u64, Option<u64>) {
        let followers = self.lock();
        let active = |name: &str| followers.active.iter().any(|follower| follower.name == *name);
        let away = followers.marks.iter().filter(|(name, _)| !active(name)).map(|(_, mark)| mark.low);
        let lowest = followers.active.iter().map(|follower| follower.low()).chain(away).min();
        (lowest.unwrap_or(u64::MAX), lowest)
    }

    /// Lets all subscriptions pass what is no longer there; how many positions they miss, taken together.
    pub(super) fn skip_to(&self, first: u64) -> u64 {
        let mut followers = self.lock();
        let mut missed: u64 = followers.active.iter().map(|follower| follower.skip_to(first)).sum();
        let Followers { active, marks, changed, .. } = &mut *followers;
        for (name, mark) in marks.iter_mut().filter(|(name, _)| active.iter().all(|follower| follower.name != **name)) {
            if mark.low < first {
                missed += first - mark.low;
                mark.low = first;
                mark.ended = mark.ended.split_off(&first);
                changed.insert(name.clone());
            }
        }
        missed
    }

    /// Saves how far all subscriptions have come.
    pub(super) fn save(&self) -> io::Result<()> {
        let mut followers = self.lock();
        let mut changes = Vec::new();
        for follower in followers.active.clone() {
            if let Some(mark) = follower.mark() {
                followers.marks.insert(follower.name.clone(), mark);
                followers.changed.insert(follower.name.clone());
            }
        }
        for name in &followers.changed {
            let value = followers.marks.get(name).map(super::follower::Mark::encode);
            changes.push((super::follower::Mark::key(name), value));
        }
        if changes.is_empty() {
            return Ok(());
        }
        let result = self.with_store(|store| store.set_marks(&changes));
        if result.is_ok() {
            followers.changed.clear();
            for follower in &followers.active {
                follower.note_saved(followers.marks.get(&follower.name).map_or(0, |mark| mark.low));
            }
        }
        result
    }
}
