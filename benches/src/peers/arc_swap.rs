//! A table of handlers behind an `ArcSwap`: read with a guard and by name, or through a cache and by index.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap_peer::{ArcSwap, Cache};

use super::hand_written::adders;
use crate::Payload;
use crate::inline::{InlineBus, Order, Sum};

type Handlers = Vec<Box<dyn Fn(&Payload) + Send + Sync>>;

/// `ArcSwap<HashMap<String, Handlers>>`, a guard and a look-up for each emit.
#[expect(missing_debug_implementations, reason = "closures have nothing to show")]
pub struct Guarded {
    names: Vec<String>,
    table: ArcSwap<HashMap<String, Handlers>>,
}

impl InlineBus for Guarded {
    const NAME: &'static str = "arc_swap_hashmap/emit";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        let table = topics.iter().map(|name| (name.clone(), adders(handlers, sum))).collect();
        Self { names: topics.to_vec(), table: ArcSwap::from_pointee(table) }
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        let payload = Payload::of(value);
        let table = self.table.load();
        for handler in table.get(&self.names[topic]).into_iter().flatten() {
            handler(&payload);
        }
    }
}

/// `Cache` over an `ArcSwap<Vec<Handlers>>`, indexed: the least that a table which may change can cost.
#[expect(missing_debug_implementations, reason = "closures have nothing to show")]
pub struct Cached {
    table: Cache<Arc<ArcSwap<Vec<Handlers>>>, Arc<Vec<Handlers>>>,
}

impl InlineBus for Cached {
    const NAME: &'static str = "arc_swap_cache/index";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        let table = topics.iter().map(|_| adders(handlers, sum)).collect();
        Self { table: Cache::new(Arc::new(ArcSwap::from_pointee(table))) }
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        let payload = Payload::of(value);
        for handler in &self.table.load()[topic] {
            handler(&payload);
        }
    }
}
