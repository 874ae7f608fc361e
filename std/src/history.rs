//! What late subscribers are given first: the last events of a topic or pattern, kept in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nervebus_core::{LaneId, Pattern, Priority, Reason, SubscriptionId, Topic};

use crate::builder::Builder;
use crate::bus::Bus;
use crate::delivery::again::{NoWait, Redelivery};
use crate::delivery::count;
use crate::delivery::dead_letters::Obituary;
use crate::delivery::engine::Engine;
use crate::delivery::failure::drop_quietly;
use crate::delivery::handler::keep;
use crate::delivery::subscription::Subscription;
use crate::error::{BuildError, SubscribeError};
use crate::event::OwnedEvent;
use crate::platform::place::place;
use crate::range;
use crate::subscribe::Subscribe;

/// The most events that a history may keep.
const MAX_EVENTS: u64 = 1 << 20;

/// The last events of a pattern, and who is given further ones.
#[derive(Debug)]
pub(crate) struct History {
    pattern: Box<str>,
    capacity: usize,
    engine: Weak<Engine>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<OwnedEvent>,
    /// Subscriptions that came with history. They are in no route: whoever puts an event in here gives it to them, so that
    /// it is either among those that they were given first, or comes after them.
    listeners: Vec<Arc<Subscription>>,
}

impl Builder {
    /// Keeps the last so many events of the topics that a pattern matches, taken together, for subscribers that come later
    /// and want them: see [`Subscribe::with_history`]. May be said for several patterns. Default: none. Range: 1 to
    /// 1,048,576 events.
    ///
    /// # Cost
    ///
    /// For each pattern an inline handler of the bus's own, which statistics list under the name `history`: each event of
    /// these topics takes a few allocations, and a lock that they share. What is kept takes about 300 bytes an event, and
    /// the payload; payloads live until newer events have pushed them out.
    pub fn history(mut self, pattern: impl Into<String>, events: usize) -> Self {
        self.histories.push((pattern.into(), events));
        self
    }
}

/// Checks what is asked for.
pub(crate) fn check(histories: &[(String, usize)]) -> Result<(), BuildError> {
    for (pattern, events) in histories {
        Pattern::new(pattern)
            .map_err(|error| BuildError::Pattern { field: "history".into(), rule: error.to_string() })?;
        range::number(|| format!("history {pattern:?}"), *events as u64, 1, MAX_EVENTS)?;
    }
    Ok(())
}

/// Begins to keep what is asked for.
pub(crate) fn begin(bus: &Bus, histories: &[(String, usize)]) {
    let begin = |(pattern, capacity): &(String, usize)| {
        let history = Arc::new(History {
            pattern: pattern.as_str().into(),
            capacity: *capacity,
            engine: Arc::downgrade(bus.engine()),
            state: Mutex::default(),
        });
        let keeper = Arc::clone(&history);
        let handler = Box::new(move |event: &crate::event::Event<'_>| keep(event).map(|event| keeper.put(event)));
        // First, so that nothing that a handler does because of an event comes before it.
        let on = bus.on(pattern).name("history").inline().priority(Priority::new(i32::MAX));
        // The pattern was checked, and a new bus has room for it.
        on.add_owning(handler).is_ok().then_some(history)
    };
    let begun = histories.iter().filter_map(begin).collect();
    // The builder sets it once.
    let _ = bus.owner.histories.set(begun);
}

impl History {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an event in, and gives it to those who came with history.
    fn put(&self, event: OwnedEvent) {
        let Some(engine) = self.engine.upgrade() else { return };
        let mut state = self.lock();
        let oldest = if state.events.len() >= self.capacity { state.events.pop_front() } else { None };
        state.events.push_back(event.clone());
        let mut gone = Vec::new();
        state.listeners.retain(|listener| {
            if !listener.is_active() {
                gone.push(Arc::clone(listener));
                return false;
            }
            if matches(&listener.pattern, event.topic()) {
                give(&engine, listener, event.clone());
            }
            true
        });
        drop(state);
        // After the lock: what they own may use the bus when it goes.
        drop_quietly((oldest, gone, event));
        drop_quietly(engine);
    }

    /// Gives a subscription what there is, and whatever comes.
    fn listen(&self, engine: &Engine, listener: Arc<Subscription>) {
        let mut state = self.lock();
        for event in state.events.iter().filter(|event| matches(&listener.pattern, event.topic())) {
            give(engine, &listener, event.clone());
        }
        state.listeners.push(listener);
    }

    /// Whether it has every event that a pattern asks for.
    fn covers(&self, pattern: &str) -> bool {
        if *self.pattern == *pattern || *self.pattern == *"*" {
            return true;
        }
        let stem = self.pattern.strip_suffix('*').filter(|stem| stem.ends_with('.') && !stem.contains('*'));
        stem.is_some_and(|stem| pattern.starts_with(stem) && pattern.len() > stem.len())
    }
}

fn matches(pattern: &str, topic: &str) -> bool {
    Topic::new(topic).is_ok_and(|topic| Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(topic)))
}

/// Puts an event beside the lane of one subscription, in order with those that were put there before; one for which there
/// is no room is a dead letter.
fn give(engine: &Engine, subscription: &Arc<Subscription>, event: OwnedEvent) {
    let view = event.as_event();
    let pick = if view.head.key == 0 { view.head.seq } else { view.head.key };
    let Some(queue) = engine.queues.pick(subscription.lane, pick) else { return };
    // In this order no reading of the books finds the delivery taken on, but not under way.
    queue.again.underway.begin();
    queue.routed.add(place(), 0, 1);
    let Err(returned) = queue.again.push(Redelivery::first(event.clone(), subscription)) else {
        return queue.unpark_worker();
    };
    let (delivery, why) = *returned;
    drop_quietly(delivery);
    count::add(&queue.outcomes.dropped, 1);
    let (reason, error) = match why {
        NoWait::Full => (Reason::Overflow, "as many events wait for the handler as may"),
        NoWait::Closing => (Reason::Shutdown, "the bus shut down before the handler got it"),
    };
    let (handler, pattern) = (Arc::clone(&subscription.name), Some(Arc::from(&*subscription.pattern)));
    let error = error.to_owned();
    let obituary = Obituary { reason, subscription: Some(subscription.id), handler, pattern, error, attempts: 0 };
    engine.dead_letters.push(event, obituary);
    queue.again.underway.end();
}

impl Subscribe<'_> {
    /// Gives the handler first what a [history](Builder::history) has of its pattern, in order, and then each event from now
    /// on: none twice, and none left out.
    ///
    /// On a lane with several workers this order is that of the events of each key. The events wait beside the lane, up to
    /// 65,536 of them for all handlers of the lane; one more becomes a dead letter with the reason
    /// [`Overflow`](crate::Reason::Overflow), and makes no emitter wait. Not for [`inline`](Self::inline) handlers. Waiting
    /// for the handlers of an event ([`Bus::emit_and_wait`]) does not wait for this one.
    ///
    /// When it subscribes, [`SubscribeError::InvalidSetting`] says that no history has all that the pattern asks for.
    ///
    /// ```
    /// use nervebus::{Bus, json};
    /// use std::sync::mpsc;
    ///
    /// let bus = Bus::builder().history("price.*", 100).build()?;
    /// bus.emit("price.changed", json!({"cents": 1999}))?;
    ///
    /// let (sender, prices) = mpsc::channel();
    /// bus.on("price.changed").with_history().handle(move |event| sender.send(event["cents"].as_u64()))?;
    /// assert_eq!(prices.recv()?, Some(1999));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_history(mut self) -> Self {
        self.wants_history = true;
        self
    }
}

/// Subscribes a handler that wants to be given what a history has.
pub(crate) fn subscribe(
    bus: &Bus,
    pattern: &str,
    lane: LaneId,
    make: impl FnOnce(SubscriptionId) -> Subscription,
) -> Result<SubscriptionId, SubscribeError> {
    const SETTING: &str = "with_history";
    if lane.is_inline() {
        return Err(SubscribeError::NotInline { setting: SETTING });
    }
    let histories = bus.owner.histories.get();
    let Some(history) = histories.into_iter().flatten().find(|history| history.covers(pattern)) else {
        let rule = format!("no history has all events of {pattern:?}");
        return Err(SubscribeError::InvalidSetting { setting: SETTING, rule });
    };
    let subscription = bus.engine().directory.subscribe_apart(make)?;
    let id = subscription.id;
    history.listen(bus.engine(), subscription);
    Ok(id)
}
