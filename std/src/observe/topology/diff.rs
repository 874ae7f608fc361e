//! What has changed between two graphs.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::Topology;

/// One change between two graphs; see [`Topology::diff`]. Displays as a line that begins with `+` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct TopologyChange {
    /// Whether it is new; else it is gone.
    pub added: bool,
    /// What it is: `topic`, `type`, `handler`, `listens` or `causes`.
    pub what: &'static str,
    /// Its name: for a handler with its pattern and lane, for an edge both ends.
    pub name: String,
}

impl fmt::Display for TopologyChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", if self.added { '+' } else { '-' }, self.what, self.name)
    }
}

impl Topology {
    /// What `later` has and this has not, and the other way round: topics, types they carry, handlers, who listens to what, and what
    /// follows from what. Counts and rates are no changes. Empty if and only if nothing of these differs.
    ///
    /// ```
    /// use nervebus::{Bus, Topology};
    ///
    /// let bus = Bus::builder().build()?;
    /// bus.on("order.placed").name("store").inline().handle(|_| ())?;
    /// let before = bus.topology();
    /// bus.on("order.*").name("watch").inline().handle(|_| ())?;
    /// let changes: Vec<String> = before.diff(&bus.topology()).iter().map(ToString::to_string).collect();
    /// assert_eq!(changes, ["+ handler watch (order.*, inline)", "+ listens watch (order.*, inline) to order.placed"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn diff(&self, later: &Self) -> Vec<TopologyChange> {
        let (before, after) = (self.parts(), later.parts());
        let change =
            |added| move |(what, name): &(&'static str, String)| TopologyChange { added, what, name: name.clone() };
        let gone = before.difference(&after).map(change(false));
        let new = after.difference(&before).map(change(true));
        gone.chain(new).collect()
    }

    /// All that can be new or gone, with what it is.
    pub(super) fn parts(&self) -> BTreeSet<(&'static str, String)> {
        let mut parts = BTreeSet::new();
        for (topic, node) in &self.topics {
            parts.insert(("topic", topic.clone()));
            parts.extend(node.carries.iter().map(|carries| ("type", format!("{topic} carries {carries}"))));
        }
        for handler in &self.handlers {
            let name = format!("{} ({}, {})", handler.name, handler.pattern, handler.lane);
            parts.extend(handler.topics.iter().map(|topic| ("listens", format!("{name} to {topic}"))));
            parts.insert(("handler", name));
        }
        parts.extend(self.causes.iter().map(|cause| ("causes", format!("{} to {}", cause.from, cause.to))));
        parts
    }
}
