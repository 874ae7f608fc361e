//! The members that are the core's subscription tables, one for each topic: what `dispatch` costs without a bus.

use std::convert::Infallible;
use std::sync::Arc;

use nervebus_core::table::{HostedTable, RouteCache, StaticTable};
use nervebus_core::{Entry, Handler, LaneId, Priority, SubscriptionId, dispatch};

use crate::Payload;
use crate::inline::{InlineBus, Order, Sum};

/// A handler behind a pointer that is shared and counted.
type Shared = Arc<dyn Handler<Payload, Error = Infallible> + Send + Sync>;

/// A handler behind a plain reference: for those that live as long as the program.
type Lent = &'static (dyn Handler<Payload, Error = Infallible> + Send + Sync);

/// As many handlers as a topic has at most, here.
const MOST: usize = 16;

/// Adds the order's cents.
struct Adder(Arc<Sum>);

impl Handler<Payload> for Adder {
    type Error = Infallible;

    #[inline]
    fn handle(&self, payload: &Payload) -> Result<(), Infallible> {
        self.0.add(payload.cents());
        Ok(())
    }
}

/// How a handler is kept in a table.
pub trait Kept: Handler<Payload, Error = Infallible> + Clone + Send + Sync + 'static {
    /// The member's name in the output, when read through a cache.
    const CACHED: &'static str;

    /// A handler that adds to `sum`.
    fn adder(sum: &Arc<Sum>) -> Self;
}

impl Kept for Shared {
    const CACHED: &'static str = "core/route_cache";

    fn adder(sum: &Arc<Sum>) -> Self {
        Arc::new(Adder(Arc::clone(sum)))
    }
}

impl Kept for Lent {
    const CACHED: &'static str = "core/route_cache_ref";

    fn adder(sum: &Arc<Sum>) -> Self {
        // As long as the program: 16 bytes for each of a few thousand handlers.
        Box::leak(Box::new(Adder(Arc::clone(sum))))
    }
}

/// Entries of `handlers` handlers on the inline lane.
fn entries<H: Kept>(handlers: usize, sum: &Arc<Sum>) -> impl Iterator<Item = Entry<H>> {
    let ids = (1..).map(SubscriptionId::new).take(handlers);
    ids.map(|id| Entry::new(id, LaneId::INLINE, Priority::DEFAULT, H::adder(sum)))
}

fn hosted<H: Kept>(handlers: usize, sum: &Arc<Sum>) -> HostedTable<H> {
    let table = HostedTable::new();
    for entry in entries(handlers, sum) {
        table.subscribe(entry).expect("a hosted table takes every entry");
    }
    table
}

/// Calls the handlers of a topic; none of them fails.
#[inline]
fn deliver<'r, H: Kept>(entries: &'r [Entry<H>], value: u64) {
    dispatch(entries, &Payload::of(value), |_: &'r Entry<H>, never| match never {});
}

/// A `HostedTable` for each topic, read through its `RouteCache`.
#[derive(Debug)]
pub struct Cached<H> {
    caches: Vec<RouteCache<H>>,
}

impl<H: Kept> InlineBus for Cached<H> {
    const NAME: &'static str = H::CACHED;

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        Self { caches: topics.iter().map(|_| hosted(handlers, sum).cache()).collect() }
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        deliver(self.caches[topic].load().entries(), value);
    }
}

/// Handlers behind a counted pointer, read through a cache.
pub type CachedShared = Cached<Shared>;

/// Handlers behind a reference, read through a cache.
pub type CachedLent = Cached<Lent>;

/// A `HostedTable` for each topic, read through a guard for each emit.
#[derive(Debug)]
pub struct Guarded {
    tables: Vec<HostedTable<Shared>>,
}

impl InlineBus for Guarded {
    const NAME: &'static str = "core/table_load";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        Self { tables: topics.iter().map(|_| hosted(handlers, sum)).collect() }
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        deliver(self.tables[topic].load().entries(), value);
    }
}

/// A `StaticTable` for each topic, read through a guard for each emit.
#[derive(Debug)]
pub struct Static {
    tables: Vec<StaticTable<Lent, MOST>>,
}

impl InlineBus for Static {
    const NAME: &'static str = "core/static_table";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        let table = |_| {
            let table = StaticTable::new();
            for entry in entries(handlers, sum) {
                table.subscribe(entry).expect("the table has room, and one thread changes it");
            }
            table
        };
        Self { tables: topics.iter().map(table).collect() }
    }

    #[inline]
    fn emit(&mut self, topic: usize, value: u64) {
        deliver(self.tables[topic].load().entries(), value);
    }
}
