//! Events on their way allocate nothing and give nothing back: counted over the whole process.
//!
//! A program of its own (no test harness), so that nothing else runs while it counts. What features are on decides how
//! many of the ways are there to be counted.

use std::alloc::System;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use nervebus_core::bus::{Event, StaticBus};
use nervebus_core::dead_letter::StaticDeadLetterQueue;
use nervebus_core::ring::StaticRing;
use nervebus_core::spsc::StaticSpsc;
use nervebus_core::table::StaticTable;
use nervebus_core::{DeadLetter, Depth, Entry, Handler, LaneId, Priority, Reason, SubscriptionId};
use nervebus_core::{dispatch, dispatch_nested};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const EVENTS: u64 = 1_000_000;
const SLOTS: usize = 64;
const QUEUED: LaneId = LaneId::new(1);

#[derive(Clone, Copy)]
struct Order {
    fields: [u64; 8],
}

static SEEN: AtomicU64 = AtomicU64::new(0);

#[derive(Clone, Copy)]
enum Duty {
    Count,
    Refuse,
}

impl Handler<Order> for Duty {
    type Error = Reason;

    fn handle(&self, order: &Order) -> Result<(), Reason> {
        SEEN.fetch_add(1, Ordering::Relaxed);
        match self {
            Self::Refuse if black_box(order).fields[7] <= EVENTS => Err(Reason::ValidationError),
            _ => Ok(()),
        }
    }
}

impl Handler<Event<Order>> for Duty {
    type Error = Reason;

    fn handle(&self, event: &Event<Order>) -> Result<(), Reason> {
        Handler::<Order>::handle(self, &event.payload)
    }
}

fn entry(id: u64, lane: LaneId, handler: Duty) -> Entry<Duty> {
    Entry::new(SubscriptionId::new(id), lane, Priority::DEFAULT, handler)
}

/// Runs `emit` for each event, and lets it make no use of the allocator: neither to get nor to give back.
fn allocates_nothing(what: &str, mut emit: impl FnMut(Order)) {
    let order = |number| Order { fields: [number; 8] };
    emit(order(0)); // what a thread does once, such as taking its place among the readers
    SEEN.store(0, Ordering::Relaxed);
    let region = Region::new(ALLOCATOR);
    (0..EVENTS).for_each(|number| emit(order(number)));
    let change = region.change();
    assert_eq!(change, Stats::default(), "{what}");
    assert_eq!(SEEN.load(Ordering::Relaxed), EVENTS, "{what}: the handlers were called");
    println!("{what}: no use of the allocator in {EVENTS} events");
}

fn main() {
    static TABLE: StaticTable<Duty, 2> = StaticTable::new();
    TABLE.subscribe(entry(1, LaneId::INLINE, Duty::Count)).expect("there is room");
    allocates_nothing("inline, static table", |order| {
        dispatch(TABLE.load().inline(), &order, |_, _| ());
    });

    let depth = Depth::new();
    allocates_nothing("inline, static table, nested", |order| {
        dispatch_nested(&depth, 8, TABLE.load().inline(), &order, |_, _| ()).expect("the first level");
    });

    static RING: StaticRing<Order, SLOTS> = StaticRing::new();
    TABLE.unsubscribe(SubscriptionId::new(1)).expect("the table is not busy");
    TABLE.subscribe(entry(2, QUEUED, Duty::Count)).expect("there is room");
    allocates_nothing("queued, static ring", |order| {
        RING.try_push(order).map_err(drop).expect("there is room");
        while let Ok(order) = RING.pop() {
            dispatch(TABLE.load().lane(QUEUED), &order, |_, _| ());
        }
    });

    static DEAD: StaticDeadLetterQueue<Order, SLOTS> = StaticDeadLetterQueue::new();
    TABLE.unsubscribe(SubscriptionId::new(2)).expect("the table is not busy");
    TABLE.subscribe(entry(3, LaneId::INLINE, Duty::Refuse)).expect("there is room");
    allocates_nothing("failing, static dead letter queue", |order| {
        dispatch(TABLE.load().inline(), &order, |_, reason| {
            DEAD.push(DeadLetter { event: order, reason, attempts: 1 });
        });
    });
    assert_eq!((DEAD.pushed() as u64, DEAD.len()), (EVENTS + 1, SLOTS), "every failure became a dead letter");

    one_to_one();
    static_bus();
    #[cfg(feature = "std")]
    hosted();
}

fn one_to_one() {
    static QUEUE: StaticSpsc<Order, SLOTS> = StaticSpsc::new();
    let (mut producer, mut consumer) = QUEUE.split().expect("nobody has split it");
    allocates_nothing("one to one, single and in batches", |order| {
        producer.push(order).map_err(drop).expect("there is room");
        let twice = producer.push_batch(&mut [order, order].into_iter());
        assert_eq!((twice, consumer.drain(2, |order| _ = black_box(order))), (Ok(2), Ok(2)));
        Duty::Count.handle(&consumer.pop().expect("one is left")).expect("it only counts");
    });
}

fn static_bus() {
    static BUS: StaticBus<Order, Duty, 1, 2, SLOTS, SLOTS> = StaticBus::new(["order.placed"]);
    let topic = BUS.topic("order.placed").expect("it is the topic of the bus");
    let counting = BUS.subscribe("order.*", Priority::DEFAULT, Duty::Count).expect("there is room");
    allocates_nothing("static bus", |order| {
        BUS.emit(topic, order).map_err(drop).expect("there is room");
        assert_eq!(BUS.poll(), Ok(1));
    });
    assert_eq!(BUS.unsubscribe(counting), Ok(true));
    BUS.subscribe("order.*", Priority::DEFAULT, Duty::Refuse).expect("there is room");
    allocates_nothing("static bus, failing", |order| {
        BUS.emit(topic, order).map_err(drop).expect("there is room");
        assert_eq!(BUS.poll(), Ok(1));
    });
    assert!(BUS.ledger().balanced());
}

#[cfg(feature = "std")]
fn hosted() {
    use nervebus_core::ring::BoxedRing;
    use nervebus_core::table::HostedTable;

    let table = HostedTable::new();
    table.subscribe(entry(1, LaneId::INLINE, Duty::Count)).expect("a hosted table grows");
    allocates_nothing("inline, hosted table", |order| {
        dispatch(table.load().inline(), &order, |_, _| ());
    });
    let mut route = table.cache();
    allocates_nothing("inline, hosted table, cached route", |order| {
        dispatch(route.load().inline(), &order, |_, _| ());
    });

    table.subscribe(entry(2, QUEUED, Duty::Count)).expect("a hosted table grows");
    let ring = BoxedRing::with_capacity(SLOTS).expect("a valid capacity");
    allocates_nothing("queued, boxed ring, cached route", |order| {
        ring.try_push(order).map_err(drop).expect("there is room");
        while let Ok(order) = ring.pop() {
            dispatch(route.load().lane(QUEUED), &order, |_, _| ());
        }
    });
}
