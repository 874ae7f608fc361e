//! Who emits what, who listens to it, and what follows from what.

pub(crate) mod diff;
mod draw;
pub(crate) mod finding;
pub(crate) mod observed;

use std::collections::{BTreeMap, BTreeSet};

use nervebus_core::pattern::PatternKind;
use nervebus_core::{LaneId, Pattern, Topic};
use serde::{Deserialize, Serialize};

use crate::delivery::directory::TopicState;
use crate::delivery::engine::Engine;

/// The graph of a bus: its topics, the handlers that listen to them, and which topics' handlers emit on which.
///
/// [`Bus::topology`](crate::Bus::topology) makes it of a bus at work, [`Topology::from_audit`] of an audit log. It serializes to
/// JSON and back, is drawn as [DOT](Self::to_dot), [Mermaid](Self::to_mermaid) and, with the feature `svg`, as a picture,
/// says what is [odd](Self::findings) about it, and what has [changed](Self::diff) since another was made.
///
/// Everything in it is in alphabetical order, so the same bus makes the same text.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Event, json};
/// use serde::Serialize;
///
/// #[derive(Event, Serialize)]
/// #[event(topic = "order.placed", emits("order.shipped"))]
/// struct OrderPlaced;
///
/// let bus = Bus::builder().build()?;
/// bus.topic::<OrderPlaced>()?.on().name("ship").inline().handle(|_, _| ())?;
/// let topology = bus.topology();
/// assert!(topology.to_mermaid().contains("order.shipped"));
/// assert_eq!(topology.findings()[0].to_string(), r#"nobody listens to topic "order.shipped""#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Topology {
    /// The topics, by name.
    pub topics: BTreeMap<String, TopicNode>,
    /// The handlers, by name, then pattern, then lane. Several subscriptions that are alike in all three are one.
    #[serde(default)]
    pub handlers: Vec<HandlerNode>,
    /// What follows from what.
    #[serde(default)]
    pub causes: Vec<CauseEdge>,
}

/// A topic in a [`Topology`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TopicNode {
    /// The type that it carries, if a typed topic was made for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carries: Option<String>,
    /// How many events are known to have been emitted on it. A bus at work does not count them by topic; an audit log has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<u64>,
    /// Who has emitted on it, as far as they have said so, and how often; up to 64 names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, u64>,
}

/// A handler in a [`Topology`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HandlerNode {
    /// Its name.
    pub name: String,
    /// Its pattern.
    pub pattern: String,
    /// Its lane; `inline` for the emitter's thread.
    pub lane: String,
    /// The topics that the pattern asks for, of those that are known.
    pub topics: Vec<String>,
    /// Calls, however they ended.
    #[serde(default)]
    pub calls: u64,
    /// Calls for each second since the bus was built.
    #[serde(default)]
    pub rate: f64,
    /// Whether its lane had no room when this was made.
    #[serde(default)]
    pub full: bool,
}

/// That events on one topic follow from events on another, in a [`Topology`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CauseEdge {
    /// The topic whose handlers emit.
    pub from: String,
    /// The topic that they emit on.
    pub to: String,
    /// Whether the type that `from` carries [says so](crate::TypedEvent::EMITS).
    #[serde(default)]
    pub declared: bool,
    /// How often it was seen.
    #[serde(default)]
    pub seen: u64,
}

impl Topology {
    /// A number for the shape of the graph: that of everything that [`diff`](Self::diff) looks at. Counts and rates are not in
    /// it, so it changes only when somebody has changed the program or its configuration. The same on every machine (FNV-1a
    /// of Fowler, Noll and Vo, 64 bits); not made to withstand who wants two graphs to have the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325;
        for (what, name) in self.parts() {
            // No text has the last byte.
            let bytes = what.bytes().chain([b' ']).chain(name.bytes()).chain([0xff]);
            bytes.for_each(|byte| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        }
        hash
    }

    /// The graph as JSON; `serde` reads it back.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Names and numbers always have JSON.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The topics that nobody listens to.
    fn unheard(&self) -> impl Iterator<Item = &str> {
        let heard: BTreeSet<&str> =
            self.handlers.iter().flat_map(|handler| handler.topics.iter().map(String::as_str)).collect();
        self.topics.keys().map(String::as_str).filter(move |topic| !heard.contains(topic))
    }
}

/// The graph of a bus at work.
pub(crate) fn of(engine: &Engine) -> Topology {
    let mut topology = Topology::default();
    let topics = engine.directory.known();
    for topic in &topics {
        add_topic(&mut topology, topic);
    }
    let names: BTreeMap<&str, Topic<'_>> =
        topics.iter().filter_map(|topic| Some((&*topic.name, Topic::new(&topic.name).ok()?))).collect();
    // In the order that they are promised to have.
    let mut handlers: BTreeMap<[String; 3], HandlerNode> = BTreeMap::new();
    for of in engine.directory.subscriptions() {
        let key = [of.name.to_string(), of.pattern.to_string(), engine.lane_name(of.lane).to_owned()];
        let node = handlers.entry(key).or_insert_with_key(|key| handler(key, engine, of.lane, &names));
        node.calls += of.calls.handled() + of.calls.failed() + of.calls.timed_out();
    }
    let uptime = engine.clock.since(engine.started).as_secs_f64();
    topology.handlers = handlers.into_values().collect();
    for handler in &mut topology.handlers {
        handler.rate = if uptime > 0.0 { handler.calls as f64 / uptime } else { 0.0 };
    }
    topology.causes.sort();
    topology
}

fn add_topic(topology: &mut Topology, topic: &TopicState) {
    let node = topology.topics.entry(topic.name.to_string()).or_default();
    let Some(claim) = topic.claim.get() else { return };
    node.carries = Some(format!("{} (version {})", claim.name, claim.version));
    for emitted in claim.emits {
        topology.topics.entry((*emitted).to_owned()).or_default();
        let (from, to) = (topic.name.to_string(), (*emitted).to_owned());
        topology.causes.push(CauseEdge { from, to, declared: true, seen: 0 });
    }
}

fn handler(
    [name, pattern, lane]: &[String; 3],
    engine: &Engine,
    id: LaneId,
    names: &BTreeMap<&str, Topic<'_>>,
) -> HandlerNode {
    HandlerNode {
        name: name.clone(),
        pattern: pattern.clone(),
        lane: lane.clone(),
        topics: asked_for(pattern, names),
        calls: 0,
        rate: 0.0,
        full: engine.queues.of(id).iter().any(|queue| queue.ring.free_slots() == 0),
    }
}

/// The topics that a pattern asks for, in alphabetical order.
fn asked_for(pattern: &str, names: &BTreeMap<&str, Topic<'_>>) -> Vec<String> {
    match Pattern::new(pattern) {
        Ok(exact) if exact.kind() == PatternKind::Exact => {
            names.get_key_value(pattern).map(|(name, _)| (*name).to_owned()).into_iter().collect()
        }
        Ok(pattern) => {
            let asked = names.iter().filter(|(_, topic)| pattern.matches(**topic));
            asked.map(|(name, _)| (*name).to_owned()).collect()
        }
        Err(_) => Vec::new(),
    }
}
