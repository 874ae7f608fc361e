//! The directory of topics and subscriptions: names to routes.
//!
//! Reading is lock-free: a name's hash picks a shard, the shard is an immutable hash table behind an `arc-swap`.
//! Changing anything takes one lock and is paid by those who subscribe, or who emit on a topic for the first time.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use hashbrown::{DefaultHashBuilder, HashTable};
use nervebus_core::pattern::PatternKind;
use nervebus_core::route::HeapRoute;
use nervebus_core::table::HostedTable;
use nervebus_core::{Entry, Pattern, SubscriptionId, Topic};

use crate::admission::name::NameRule;
use crate::delivery::envelope::TopicId;
use crate::delivery::subscription::Subscription;
use crate::error::SubscribeError;

/// Over how many tables names are spread: a new topic copies one of them.
const SHARDS: usize = 256;

/// The route table of one topic.
pub(crate) type RouteTable = HostedTable<Arc<Subscription>>;

/// The handlers of one topic, as they were at one moment.
pub(crate) type TopicRoute = HeapRoute<Arc<Subscription>>;

/// A route that is kept by its reader and checked for changes by one load.
pub(crate) type RouteCache = nervebus_core::table::RouteCache<Arc<Subscription>>;

/// A topic that was subscribed to or emitted on.
#[derive(Debug)]
pub(crate) struct TopicState {
    pub(crate) id: TopicId,
    pub(crate) name: Box<str>,
    pub(crate) table: RouteTable,
}

impl TopicState {
    /// A cache of the topic's route, for a reader that comes again and again.
    pub(crate) fn route_cache(&self) -> RouteCache {
        self.table.cache()
    }
}

/// All topics and subscriptions of a bus.
#[derive(Debug)]
pub(crate) struct Directory {
    shards: [ArcSwap<HashTable<Arc<TopicState>>>; SHARDS],
    hasher: DefaultHashBuilder,
    registry: Mutex<Registry>,
    limits: Limits,
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
    topics: Vec<Arc<TopicState>>,
    subscriptions: BTreeMap<u64, Arc<Subscription>>,
    /// Those of `subscriptions` whose pattern matches more than one name.
    patterns: Vec<Arc<Subscription>>,
    last_id: u64,
    closed: bool,
}

/// The bus has as many topics as it may have.
#[derive(Debug)]
pub(crate) struct TooManyTopics {
    pub(crate) limit: usize,
}

impl Directory {
    pub(crate) fn new(limits: Limits, own: &[&str]) -> Self {
        let directory = Self {
            shards: std::array::from_fn(|_| ArcSwap::from_pointee(HashTable::new())),
            hasher: DefaultHashBuilder::default(),
            registry: Mutex::default(),
            limits,
            own: own.len(),
        };
        for name in own {
            // Within the limit: it is counted from here.
            let _ = directory.topic(name);
        }
        directory
    }

    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `found` with the topic of this name, if it is known.
    #[inline]
    fn with_known<R>(&self, name: &str, hash: u64, found: impl FnOnce(&Arc<TopicState>) -> R) -> Option<R> {
        let shard = self.shards[shard_of(hash)].load();
        shard.find(hash, |topic| *topic.name == *name).map(found)
    }

    /// Calls `then` with the topic of this name, making it known if it is new.
    ///
    /// A topic that is known had a valid name, so only a new one has to be checked: by `check`.
    #[inline]
    pub(crate) fn with_topic<R, E: From<TooManyTopics>>(
        &self,
        name: &str,
        check: impl FnOnce() -> Result<(), E>,
        then: impl FnOnce(&TopicState) -> R,
    ) -> Result<R, E> {
        let hash = self.hasher.hash_one(name);
        let shard = self.shards[shard_of(hash)].load();
        if let Some(topic) = shard.find(hash, |topic| *topic.name == *name) {
            return Ok(then(topic));
        }
        drop(shard);
        check()?;
        let topic = self.intern(&mut self.lock(), name)?;
        Ok(then(&topic))
    }

    /// The topic of this name, for a handle that keeps it.
    pub(crate) fn topic(&self, name: &str) -> Result<Arc<TopicState>, TooManyTopics> {
        let hash = self.hasher.hash_one(name);
        match self.with_known(name, hash, Arc::clone) {
            Some(topic) => Ok(topic),
            None => self.intern(&mut self.lock(), name),
        }
    }

    /// The topic of this number.
    pub(crate) fn by_id(&self, id: TopicId) -> Option<Arc<TopicState>> {
        self.lock().topics.get(id as usize).cloned()
    }

    /// Finds or makes a topic while the registry is locked, so that no subscription slips in between.
    fn intern(&self, registry: &mut Registry, name: &str) -> Result<Arc<TopicState>, TooManyTopics> {
        let hash = self.hasher.hash_one(name);
        if let Some(known) = self.with_known(name, hash, Arc::clone) {
            return Ok(known);
        }
        let limit = self.limits.topics;
        let id = TopicId::try_from(registry.topics.len()).ok().filter(|id| (*id as usize) < limit + self.own);
        let id = id.ok_or(TooManyTopics { limit })?;
        let topic = Arc::new(TopicState { id, name: name.into(), table: RouteTable::default() });
        for subscription in &registry.patterns {
            if matches(&subscription.pattern, name) {
                add(&topic, subscription);
            }
        }
        registry.topics.push(Arc::clone(&topic));
        self.publish(&topic, hash);
        Ok(topic)
    }

    fn publish(&self, topic: &Arc<TopicState>, hash: u64) {
        let shard = &self.shards[shard_of(hash)];
        let mut table = HashTable::clone(&shard.load());
        table.insert_unique(hash, Arc::clone(topic), |topic| self.hasher.hash_one(&*topic.name));
        shard.store(Arc::new(table));
    }

    /// Adds a subscription; `make` gets its identity.
    pub(crate) fn subscribe(
        &self,
        pattern: Pattern<'_>,
        names: NameRule,
        make: impl FnOnce(SubscriptionId) -> Subscription,
    ) -> Result<SubscriptionId, SubscribeError> {
        if pattern.kind() == PatternKind::Exact {
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
        // An exact pattern makes its topic known, which may fail: before anything has changed.
        let exact = match pattern.kind() {
            PatternKind::Exact => Some(
                self.intern(&mut registry, pattern.as_str())
                    .map_err(|TooManyTopics { limit }| SubscribeError::TooManyTopics { limit })?,
            ),
            _ => None,
        };
        registry.last_id += 1;
        let subscription = Arc::new(make(SubscriptionId::new(registry.last_id)));
        match exact {
            Some(topic) => add(&topic, &subscription),
            None => {
                for topic in registry.topics.iter().filter(|topic| matches(&subscription.pattern, &topic.name)) {
                    add(topic, &subscription);
                }
                registry.patterns.push(Arc::clone(&subscription));
            }
        }
        let id = subscription.id;
        registry.subscriptions.insert(id.get(), subscription);
        Ok(id)
    }

    /// Removes a subscription; `false` if there is none of this identity.
    pub(crate) fn unsubscribe(&self, id: SubscriptionId) -> bool {
        // The last reference is dropped after the lock: what a handler owns may use the bus in its `Drop`.
        let removed = self.remove(&mut self.lock(), id);
        removed.is_some()
    }

    fn remove(&self, registry: &mut Registry, id: SubscriptionId) -> Option<Arc<Subscription>> {
        let subscription = registry.subscriptions.remove(&id.get())?;
        // Relaxed: routes that others have loaded still hold it; see `Subscription::handle`.
        subscription.active.store(false, Ordering::Relaxed);
        registry.patterns.retain(|pattern| pattern.id != id);
        for topic in registry.topics.iter().filter(|topic| matches(&subscription.pattern, &topic.name)) {
            // Only a busy cell could refuse, and the registry's lock keeps other writers away.
            let _ = topic.table.unsubscribe(id);
        }
        Some(subscription)
    }

    /// Refuses subscriptions from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    pub(crate) fn subscriptions(&self) -> Vec<Arc<Subscription>> {
        self.lock().subscriptions.values().cloned().collect()
    }

    pub(crate) fn topics(&self) -> usize {
        self.lock().topics.len() - self.own
    }
}

/// Picks a shard by bits that the shard's own table does not use: it takes the low ones for the bucket and the high ones
/// for its tags.
#[inline]
fn shard_of(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

/// Whether a pattern that was checked when it was subscribed matches a name that was checked when it was emitted.
fn matches(pattern: &str, name: &str) -> bool {
    match (Pattern::new(pattern), Topic::new(name)) {
        (Ok(pattern), Ok(topic)) => pattern.matches(topic),
        _ => false,
    }
}

fn add(topic: &TopicState, subscription: &Arc<Subscription>) {
    let Subscription { id, lane, priority, .. } = **subscription;
    // A growable table is never full, and the registry's lock keeps other writers away.
    let _ = topic.table.subscribe(Entry::new(id, lane, priority, Arc::clone(subscription)));
}
