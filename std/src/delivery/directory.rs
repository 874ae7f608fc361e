//! The directory of topics and subscriptions: names to routes.
//!
//! Reading takes neither a lock nor a guard. Changing anything takes one lock and is paid by those who subscribe, or who
//! emit on a topic for the first time.

pub(crate) mod claim;
mod patterns;
mod topics;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nervebus_core::pattern::PatternKind;
use nervebus_core::route::HeapRoute;
use nervebus_core::table::HostedTable;
use nervebus_core::{Entry, Pattern, SubscriptionId};

use self::patterns::{Patterns, SortedTopics};
pub(crate) use self::topics::TopicState;
use self::topics::Topics;
use crate::admission::name::NameRule;
use crate::delivery::envelope::TopicId;
use crate::delivery::guards::GuardRules;
use crate::delivery::subscription::Subscription;
use crate::error::SubscribeError;

/// The route table of one topic.
pub(crate) type RouteTable = HostedTable<Arc<Subscription>>;

/// The handlers of one topic, as they were at one moment.
pub(crate) type TopicRoute = HeapRoute<Arc<Subscription>>;

/// A route that is kept by its reader and checked for changes by one load.
pub(crate) type RouteCache = nervebus_core::table::RouteCache<Arc<Subscription>>;

/// All topics and subscriptions of a bus.
#[derive(Debug)]
pub(crate) struct Directory {
    topics: Topics,
    registry: Mutex<Registry>,
    limits: Limits,
    /// What new topics are guarded by.
    rules: GuardRules,
    /// How many topics are the bus's own; they count neither for the limit nor in statistics.
    own: usize,
}

/// How many of each there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) topics: usize,
    pub(crate) subscriptions: usize,
}

#[derive(Debug, Default)]
struct Registry {
    /// All topics, by number.
    topics: Vec<Arc<TopicState>>,
    /// All topics, for patterns that come after them.
    sorted: SortedTopics,
    subscriptions: BTreeMap<u64, Arc<Subscription>>,
    /// Those of `subscriptions` whose pattern matches more than one name, for topics that come after them.
    patterns: Patterns,
    last_id: u64,
    closed: bool,
}

/// The bus has as many topics as it may have.
#[derive(Debug)]
pub(crate) struct TooManyTopics {
    pub(crate) limit: usize,
}

/// A subscription that has ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    /// Whether a worker may keep a route that it was in.
    pub(crate) followed: bool,
}

impl Directory {
    pub(crate) fn new(limits: Limits, rules: GuardRules, own: &[&str], is_bare: bool) -> Self {
        let (topics, own_count) = (Topics::new(limits.topics, is_bare), own.len());
        let directory = Self { topics, registry: Mutex::default(), limits, rules, own: own_count };
        for name in own {
            // Within the limit: it is counted from here.
            let _ = directory.topic(name);
        }
        directory
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic of this name, if it is known.
    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<TopicState>> {
        self.topics.get(name)
    }

    /// The topic of this name, made known if it is new. A topic that is known had a valid name, so only a new one has to
    /// be checked, by the caller.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<TopicState>, TooManyTopics> {
        match self.topics.get(name) {
            Some(topic) => Ok(Arc::clone(topic)),
            None => self.intern(&mut self.lock(), name),
        }
    }

    /// The topic of this number.
    pub(crate) fn by_id(&self, id: TopicId) -> Option<Arc<TopicState>> {
        self.lock().topics.get(id as usize).cloned()
    }

    /// The topic of this number with its route, for a worker that keeps both and will be told when a handler has gone.
    pub(crate) fn follow(&self, id: TopicId) -> Option<(Arc<TopicState>, RouteCache)> {
        let registry = self.lock();
        let topic = registry.topics.get(id as usize)?;
        // While the registry is locked no handler goes, so that none goes unnoticed between these two.
        topic.follow();
        Some((Arc::clone(topic), topic.route_cache()))
    }

    /// Finds or makes a topic while the registry is locked, so that no subscription slips in between.
    fn intern(&self, registry: &mut Registry, name: &str) -> Result<Arc<TopicState>, TooManyTopics> {
        if let Some(known) = self.topics.get(name) {
            return Ok(Arc::clone(known));
        }
        let limit = self.limits.topics;
        let id = TopicId::try_from(registry.topics.len()).ok().filter(|id| (*id as usize) < limit + self.own);
        let id = id.ok_or(TooManyTopics { limit })?;
        let topic = self.topics.prepare(id, name, self.rules.for_topic(name));
        registry.patterns.asking_for(name).for_each(|subscription| add(&topic, subscription));
        registry.topics.push(Arc::clone(&topic));
        registry.sorted.insert(Arc::clone(&topic));
        // Last: whoever finds it finds its handlers with it.
        self.topics.add(&topic);
        Ok(topic)
    }

    /// Adds a subscription; `make` gets its identity.
    pub(crate) fn subscribe(
        &self,
        pattern: Pattern<'_>,
        names: NameRule,
        make: impl FnOnce(SubscriptionId) -> Subscription,
    ) -> Result<SubscriptionId, SubscribeError> {
        let exact = pattern.kind() == PatternKind::Exact;
        if exact {
            // A name that nobody may emit on would be known, and so emitted on, once somebody subscribes to it.
            names.check(pattern.as_str()).map_err(|rule| SubscribeError::InvalidPattern { rule })?;
        }
        let mut registry = self.lock();
        if registry.closed {
            return Err(SubscribeError::Closed);
        }
        let limit = self.limits.subscriptions;
        if registry.subscriptions.len() >= limit {
            return Err(SubscribeError::TooManySubscriptions { limit });
        }
        if exact {
            // It makes its topic known, which may fail: before anything has changed.
            let topic = self
                .intern(&mut registry, pattern.as_str())
                .map_err(|TooManyTopics { limit }| SubscribeError::TooManyTopics { limit })?;
            self.may_handle(&registry, &topic)?;
        }
        registry.last_id += 1;
        let id = SubscriptionId::new(registry.last_id);
        let subscription = Arc::new(make(id));
        self.each_topic(&registry, pattern, |topic| add(topic, &subscription));
        if !exact {
            registry.patterns.insert(&subscription);
        }
        registry.subscriptions.insert(id.get(), subscription);
        Ok(id)
    }

    /// Whether events of this name go to the durable log, be the topic known or not.
    #[cfg(feature = "durable")]
    pub(crate) fn is_logged(&self, name: &str) -> bool {
        match self.topics.get(name) {
            Some(topic) => topic.is_logged(),
            None => self.rules.is_logged(name),
        }
    }

    /// Adds a subscription that is in no topic's route, because its events come from elsewhere.
    pub(crate) fn subscribe_apart(
        &self,
        make: impl FnOnce(SubscriptionId) -> Subscription,
    ) -> Result<Arc<Subscription>, SubscribeError> {
        let mut registry = self.lock();
        if registry.closed {
            return Err(SubscribeError::Closed);
        }
        let limit = self.limits.subscriptions;
        if registry.subscriptions.len() >= limit {
            return Err(SubscribeError::TooManySubscriptions { limit });
        }
        registry.last_id += 1;
        let id = SubscriptionId::new(registry.last_id);
        let subscription = Arc::new(make(id));
        if let Some(topic) = self.topics.get(&subscription.pattern)
            && let Err(refused) = self.may_handle(&registry, topic)
        {
            // Before the subscription: what a handler owns may use the bus in its `Drop`.
            drop(registry);
            return Err(refused);
        }
        registry.subscriptions.insert(id.get(), Arc::clone(&subscription));
        Ok(subscription)
    }

    /// Calls `act` with each known topic that the pattern asks for.
    fn each_topic(&self, registry: &Registry, pattern: Pattern<'_>, act: impl FnMut(&Arc<TopicState>)) {
        if pattern.kind() == PatternKind::Exact {
            self.topics.get(pattern.as_str()).into_iter().for_each(act);
        } else {
            registry.sorted.matching(pattern).for_each(act);
        }
    }

    /// Removes a subscription; `None` if there is none of this identity.
    pub(crate) fn unsubscribe(&self, id: SubscriptionId) -> Option<Ended> {
        // The last reference is dropped after the lock: what a handler owns may use the bus in its `Drop`.
        let (_removed, ended) = self.remove(&mut self.lock(), id)?;
        Some(ended)
    }

    fn remove(&self, registry: &mut Registry, id: SubscriptionId) -> Option<(Arc<Subscription>, Ended)> {
        let subscription = registry.subscriptions.remove(&id.get())?;
        // Relaxed: routes that others have loaded still hold it; see `Subscription::handle`.
        subscription.active.store(false, Ordering::Relaxed);
        registry.patterns.remove(&subscription);
        let mut followed = false;
        if let Ok(pattern) = Pattern::new(&subscription.pattern) {
            self.each_topic(registry, pattern, |topic| {
                // Only a busy cell could refuse, and the registry's lock keeps other writers away.
                let _ = topic.table.unsubscribe(id);
                followed |= topic.is_followed();
            });
        }
        Some((subscription, Ended { followed }))
    }

    /// Refuses subscriptions from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    pub(crate) fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.lock().subscriptions.values().cloned().collect()
    }

    /// The topics there are, without the bus's own.
    pub(crate) fn known(&self) -> Vec<Arc<TopicState>> {
        self.lock().topics.iter().skip(self.own).cloned().collect()
    }

    pub(crate) fn topics(&self) -> usize {
        self.lock().topics.len() - self.own
    }
}

fn add(topic: &TopicState, subscription: &Arc<Subscription>) {
    let Subscription { id, lane, priority, .. } = **subscription;
    // A growable table is never full, and the registry's lock keeps other writers away.
    let _ = topic.table.subscribe(Entry::new(id, lane, priority, Arc::clone(subscription)));
}
