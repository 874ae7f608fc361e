//! What is odd about a graph.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::Topology;

/// What is odd about a [`Topology`], or worth knowing before it is changed. Displays as a sentence.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TopologyFinding {
    /// Nobody listens to a topic that is known: one that was emitted on or that a type says is, or that had a listener once.
    Orphan {
        /// The topic.
        topic: String,
    },
    /// A handler was never called.
    Idle {
        /// Its name.
        handler: String,
        /// Its pattern.
        pattern: String,
        /// Whether no topic is known that it asks for.
        nothing_matches: bool,
    },
    /// Topics follow from each other: what is emitted on one comes back to it, unless a handler ends it.
    Loop {
        /// The topics, in alphabetical order.
        topics: Vec<String>,
    },
    /// A handler has more than half of all calls.
    Hot {
        /// Its name.
        handler: String,
        /// Its pattern.
        pattern: String,
        /// Its part of all calls, from 0 to 1.
        share: f64,
    },
    /// A topic that comes from one place only has one handler only, whose lane is full: whatever is wrong with it, everything behind
    /// it waits.
    SinglePoint {
        /// The topic.
        topic: String,
        /// The handler.
        handler: String,
        /// Its lane.
        lane: String,
    },
}

impl fmt::Display for TopologyFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Orphan { topic } => write!(f, "nobody listens to topic {topic:?}"),
            Self::Idle { handler, pattern, nothing_matches: true } => {
                write!(f, "handler {handler:?} listens to {pattern:?}, which no topic matches")
            }
            Self::Idle { handler, pattern, .. } => {
                write!(f, "handler {handler:?} listens to {pattern:?}, and was never called")
            }
            Self::Loop { topics } => write!(f, "topics follow from each other: {}", topics.join(", ")),
            Self::Hot { handler, pattern, share } => {
                write!(f, "handler {handler:?} of {pattern:?} has {:.0} % of all calls", share * 100.0)
            }
            Self::SinglePoint { topic, handler, lane } => {
                write!(f, "everything on topic {topic:?} waits for handler {handler:?}, whose lane {lane:?} is full")
            }
        }
    }
}

/// From how many calls on one of them can be called hot.
const ENOUGH: u64 = 100;

impl Topology {
    /// What is odd about it: orphans, then idle handlers, loops, hot handlers and single points, each in alphabetical order.
    ///
    /// # Cost
    ///
    /// For loops, at most the number of topics that others follow from times that of the edges.
    #[must_use]
    pub fn findings(&self) -> Vec<TopologyFinding> {
        let mut findings = Vec::new();
        if !self.handlers.is_empty() || self.topics.values().all(|topic| topic.events.is_none()) {
            findings.extend(self.unheard().map(|topic| TopologyFinding::Orphan { topic: topic.to_owned() }));
        }
        findings.extend(self.idle());
        findings.extend(self.loops());
        findings.extend(self.hot());
        findings.extend(self.single_points());
        findings
    }

    fn idle(&self) -> impl Iterator<Item = TopologyFinding> {
        self.handlers.iter().filter(|handler| handler.calls == 0).map(|handler| TopologyFinding::Idle {
            handler: handler.name.clone(),
            pattern: handler.pattern.clone(),
            nothing_matches: handler.topics.is_empty(),
        })
    }

    /// Groups of topics each of which leads to each.
    fn loops(&self) -> Vec<TopologyFinding> {
        let mut effects: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for cause in &self.causes {
            effects.entry(&cause.from).or_default().push(&cause.to);
        }
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            effects.keys().map(|topic| (*topic, reachable(topic, &effects))).collect();
        let leads = |from: &str, to: &str| reached.get(from).is_some_and(|topics| topics.contains(to));
        let (mut seen, mut loops) = (BTreeSet::new(), Vec::new());
        for topic in reached.keys().filter(|topic| leads(topic, topic)) {
            if seen.contains(topic) {
                continue;
            }
            let together: Vec<&str> =
                reached.keys().filter(|other| leads(topic, other) && leads(other, topic)).copied().collect();
            seen.extend(together.iter().copied());
            loops.push(TopologyFinding::Loop { topics: together.into_iter().map(str::to_owned).collect() });
        }
        loops
    }

    fn hot(&self) -> Option<TopologyFinding> {
        let all: u64 = self.handlers.iter().map(|handler| handler.calls).sum();
        let hottest = self.handlers.iter().max_by_key(|handler| handler.calls)?;
        let share = hottest.calls as f64 / all.max(1) as f64;
        (all >= ENOUGH && self.handlers.len() > 1 && share > 0.5).then(|| TopologyFinding::Hot {
            handler: hottest.name.clone(),
            pattern: hottest.pattern.clone(),
            share,
        })
    }

    fn single_points(&self) -> impl Iterator<Item = TopologyFinding> {
        self.topics.iter().filter_map(|(topic, node)| {
            let mut handlers = self.handlers.iter().filter(|handler| handler.topics.contains(topic));
            let (only, others) = (handlers.next()?, handlers.next());
            let emitters = node.sources.len().max(self.causes.iter().filter(|cause| cause.to == *topic).count());
            (others.is_none() && only.full && emitters <= 1).then(|| TopologyFinding::SinglePoint {
                topic: topic.clone(),
                handler: only.name.clone(),
                lane: only.lane.clone(),
            })
        })
    }
}

/// All topics that follow from this one; itself only if it comes back to it.
fn reachable<'a>(topic: &'a str, effects: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![topic]);
    while let Some(topic) = next.pop() {
        let further = effects.get(topic).into_iter().flatten();
        next.extend(further.filter(|topic| reached.insert(**topic)).copied());
    }
    reached
}
