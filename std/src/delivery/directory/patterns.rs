//! Patterns against names, in both directions, without a look at those that begin differently.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::HashMap;
use nervebus_core::{Pattern, SubscriptionId, Topic};

use super::topics::TopicState;
use crate::delivery::subscription::Subscription;

/// What stands before the first `*`: nothing, or whole segments with their dots. A name that matches begins with it.
fn stem(pattern: &str) -> &str {
    pattern.split('*').next().unwrap_or_default()
}

/// The subscriptions whose pattern matches more than one name.
///
/// # Cost
///
/// A new name is held against the patterns whose stem it begins with, found by one look-up for each of its segments.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    stems: HashMap<Box<str>, BTreeMap<SubscriptionId, Arc<Subscription>>>,
}

impl Patterns {
    pub(super) fn insert(&mut self, subscription: &Arc<Subscription>) {
        let group = self.stems.entry(stem(&subscription.pattern).into()).or_default();
        group.insert(subscription.id, Arc::clone(subscription));
    }

    pub(super) fn remove(&mut self, subscription: &Subscription) {
        let stem = stem(&subscription.pattern);
        let Some(group) = self.stems.get_mut(stem) else { return };
        group.remove(&subscription.id);
        if group.is_empty() {
            self.stems.remove(stem);
            if self.stems.len() < self.stems.capacity() / 4 {
                self.stems.shrink_to_fit();
            }
        }
    }

    /// The subscriptions that ask for this name.
    pub(super) fn asking_for<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Arc<Subscription>> {
        let below = name.match_indices('.').filter_map(|(dot, _)| name.get(..=dot));
        let groups = std::iter::once("").chain(below).filter_map(|stem| self.stems.get(stem));
        let topic = Topic::new(name).ok();
        groups.flat_map(BTreeMap::values).filter(move |subscription| {
            // Both were checked when they came in.
            topic.zip(Pattern::new(&subscription.pattern).ok()).is_some_and(|(topic, pattern)| pattern.matches(topic))
        })
    }
}

/// The topics in the order of their names.
///
/// # Cost
///
/// A pattern is held against the names that begin with its stem; 12 to 16 bytes for each topic.
#[derive(Debug, Default)]
pub(super) struct SortedTopics(BTreeSet<ByName>);

impl SortedTopics {
    pub(super) fn insert(&mut self, topic: Arc<TopicState>) {
        self.0.insert(ByName(topic));
    }

    /// The topics that a pattern asks for.
    pub(super) fn matching<'a>(&'a self, pattern: Pattern<'a>) -> impl Iterator<Item = &'a Arc<TopicState>> {
        let stem = stem(pattern.as_str());
        let from_stem = self.0.range::<str, _>((Bound::Included(stem), Bound::Unbounded)).map(|ByName(topic)| topic);
        let below = from_stem.take_while(move |topic| topic.name.starts_with(stem));
        below.filter(move |topic| Topic::new(&topic.name).is_ok_and(|name| pattern.matches(name)))
    }
}

/// A topic that is compared by its name.
#[derive(Debug)]
struct ByName(Arc<TopicState>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        &self.0.name
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name.cmp(&other.0.name)
    }
}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ByName {}
