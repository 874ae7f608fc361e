//! The graph of a bus at work.

use crate::bus::Bus;
use crate::observe::topology::{self, Topology};

impl Bus {
    /// The graph of topics and handlers as they are now, without the bus's own topics: what is subscribed, what typed topics
    /// say that their handlers emit, and how often handlers were called.
    ///
    /// # Cost
    ///
    /// Topics times subscriptions by pattern, and linear in all others; allocates. Nothing is counted for it while events are emitted.
    pub fn topology(&self) -> Topology {
        topology::of(self.engine())
    }
}
