//! Emitting to an inline handler while another thread subscribes and unsubscribes one that does nothing.
//!
//! Measured here and not by criterion, for the longest emit counts as much as the median. Every member has 100 topics.
//! At the end of each member, 100 pairs a second beside quiet in turns, each emit timed by itself: what a service that
//! now and then changes its subscriptions pays.
#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use std::{env, thread};

use arc_swap_peer::ArcSwap;
use nervebus::{Bus, Event};
use nervebus_core::table::{HostedTable, StaticTable};
use nervebus_core::{Entry, Handler, LaneId, Priority, SubscriptionId, dispatch};

use crate::Payload;
use crate::bars::Bars;
use crate::inline::{Order, Sum, TOPICS, topics};

/// Emits that are timed together for the median.
const BLOCK: u32 = 64;

/// The other topic: made last, so that it shares no cache line with the first.
const ELSEWHERE: usize = TOPICS - 1;

/// An emit that took longer is counted.
const LONG: Duration = Duration::from_micros(100);

/// Turns of [`Churn::Quiet`] and [`Churn::Seldom`].
const TURNS: usize = 7;

/// Which percentiles may be how much larger in the latter. Clocks that move in steps of 10 ns are a quarter of what the
/// fastest member takes with its clock call: one step more is allowed.
const SELDOM_OVER_QUIET: [(&str, f64, f64); 2] = [("p50", 0.5, 1.05), ("p99", 0.99, 1.25)];

/// What the other thread does.
#[derive(Clone, Copy, Debug)]
enum Churn {
    Quiet,
    /// 100 pairs a second on the same topic; it sleeps in between.
    Seldom,
    /// 10,000 pairs a second on the same topic; it sleeps in between.
    Paced,
    FlatOut,
    FlatOutElsewhere,
}

/// What was measured in one state.
#[derive(Debug, Default)]
struct Figures {
    median: f64,
    longest: Duration,
    long: usize,
    emits: usize,
    pairs: f64,
}

/// Measures every member in every state and prints a table for each. `--test` runs each for a moment only.
pub fn run() {
    let test = env::args().any(|flag| flag == "--test");
    let time = Duration::from_millis(if test { 5 } else { 800 });
    let mut asked = Asked { time, bars: Bars::default() };
    core(&mut asked);
    core_static(&mut asked);
    bus_publisher(&mut asked);
    bus_emit(&mut asked);
    rwlock_hashmap(&mut asked);
    arc_swap_hashmap(&mut asked);
    if !test {
        asked.bars.print();
    }
}

/// How long a state takes, and what the members are to achieve.
#[derive(Debug)]
struct Asked {
    time: Duration,
    bars: Bars,
}

/// Runs a member through all states: `emit` must add 1 to `sum`; `same` and `other` are a subscribe and an unsubscribe.
fn measure(
    name: &str,
    asked: &mut Asked,
    sum: &Sum,
    mut emit: impl FnMut(),
    same: impl Fn() + Sync,
    other: impl Fn() + Sync,
) {
    println!("\n| churn: {name} | median ns an emit | × quiet | longest µs | over 100 µs | pairs a second |");
    println!("|---|---|---|---|---|---|");
    let mut quiet = f64::NAN;
    for churn in [Churn::Quiet, Churn::Paced, Churn::FlatOut, Churn::FlatOutElsewhere] {
        let work = |pairs: &AtomicU64| emit_for(asked.time, sum, &mut emit, pairs);
        let figures = beside(churn, &same, &other, work);
        if matches!(churn, Churn::Quiet) {
            quiet = figures.median;
        }
        let Figures { median, longest, long, emits, pairs } = figures;
        let (longest, ratio) = (longest.as_secs_f64() * 1e6, median / quiet);
        println!("| {churn:?} | {median:.1} | {ratio:.2} | {longest:.0} | {long} of {emits} | {pairs:.0} |");
    }
    let [quiet, seldom] = in_turns(asked.time, sum, &mut emit, &same, &other);
    println!("\n| churn, each emit with its clock call: {name} | p50 ns | p99 ns | p99.9 ns | pairs |");
    println!("|---|---|---|---|---|");
    for (state, each) in [("quiet", &quiet), ("100 pairs a second", &seldom)] {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| each.at(share));
        println!("| {state} | {p50} | {p99} | {p999} | {} |", each.pairs);
    }
    for (percentile, share, limit) in SELDOM_OVER_QUIET {
        let ratio = seldom.at(share) as f64 / quiet.at(share) as f64;
        let what = format!("{name}: {percentile} of an emit beside 100 pairs a second / quiet");
        asked.bars.at_most(what, limit, Some(ratio));
    }
}

/// Does `work` while another thread churns; it is shown how many pairs that has made.
fn beside<T>(
    churn: Churn,
    same: &(impl Fn() + Sync),
    other: &(impl Fn() + Sync),
    work: impl FnOnce(&AtomicU64) -> T,
) -> T {
    let (stop, pairs) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| subscribe_until(&stop, churn, &pairs, same, other));
        let done = work(&pairs);
        stop.store(true, Ordering::Relaxed);
        done
    })
}

/// How many emits took how many nanoseconds, and how many pairs the other thread made meanwhile.
struct Each {
    /// By the nanosecond; the last is for all that took longer.
    counts: Vec<u64>,
    pairs: u64,
}

impl Each {
    fn new() -> Self {
        Self { counts: vec![0; 1 << 14], pairs: 0 }
    }

    #[inline]
    fn add(&mut self, took: Duration) {
        let last = self.counts.len() - 1;
        self.counts[(took.as_nanos() as usize).min(last)] += 1;
    }

    /// Nanoseconds that this share of the emits stayed below.
    fn at(&self, share: f64) -> usize {
        let (mut seen, wanted) = (0, (self.counts.iter().sum::<u64>() as f64 * share) as u64);
        let reaches = |count: &u64| {
            seen += count;
            seen > wanted
        };
        self.counts.iter().position(reaches).unwrap_or(self.counts.len())
    }
}

/// Quiet and 100 pairs a second in turns, so that a change of the machine meets both.
fn in_turns(
    time: Duration,
    sum: &Sum,
    emit: &mut impl FnMut(),
    same: &(impl Fn() + Sync),
    other: &(impl Fn() + Sync),
) -> [Each; 2] {
    let mut both = [Each::new(), Each::new()];
    for _ in 0..TURNS {
        for (each, churn) in both.iter_mut().zip([Churn::Quiet, Churn::Seldom]) {
            let work = |pairs: &AtomicU64| {
                time_each(time / 4, sum, emit, each);
                each.pairs += pairs.load(Ordering::Relaxed);
            };
            beside(churn, same, other, work);
        }
    }
    both
}

fn time_each(time: Duration, sum: &Sum, emit: &mut impl FnMut(), each: &mut Each) {
    let (before, mut emitted, start) = (sum.get(), 0u64, Instant::now());
    let mut last = start;
    while last - start < time {
        emit();
        let now = Instant::now();
        each.add(now - last);
        last = now;
        emitted += 1;
    }
    assert_eq!(sum.get() - before, emitted, "the handler missed an event or saw one twice");
}

/// Blocks for the median in the first half of the time, each emit by itself for the longest in the second.
fn emit_for(time: Duration, sum: &Sum, emit: &mut impl FnMut(), pairs: &AtomicU64) -> Figures {
    let (before, mut emitted) = (sum.get(), 0u64);
    let (start, pairs_before) = (Instant::now(), pairs.load(Ordering::Relaxed));
    let mut blocks = Vec::new();
    while start.elapsed() < time / 2 {
        let block = Instant::now();
        (0..BLOCK).for_each(|_| emit());
        blocks.push(block.elapsed().as_secs_f64() * 1e9 / f64::from(BLOCK));
        emitted += u64::from(BLOCK);
    }
    blocks.sort_by(f64::total_cmp);
    let mut figures = Figures { median: blocks[blocks.len() / 2], ..Figures::default() };
    let mut last = Instant::now();
    while start.elapsed() < time {
        for _ in 0..BLOCK {
            emit();
            let now = Instant::now();
            let took = now - last;
            figures.longest = figures.longest.max(took);
            figures.long += usize::from(took > LONG);
            figures.emits += 1;
            last = now;
        }
        emitted += u64::from(BLOCK);
    }
    figures.pairs = (pairs.load(Ordering::Relaxed) - pairs_before) as f64 / start.elapsed().as_secs_f64();
    assert_eq!(sum.get() - before, emitted, "the handler missed an event or saw one twice");
    figures
}

/// The other thread.
fn subscribe_until(stop: &AtomicBool, churn: Churn, pairs: &AtomicU64, same: &impl Fn(), other: &impl Fn()) {
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        match churn {
            Churn::Quiet => thread::sleep(Duration::from_millis(20)),
            Churn::Seldom => {
                catch_up(start, Duration::from_millis(10), pairs, same);
                thread::sleep(Duration::from_millis(5));
            }
            Churn::Paced => {
                catch_up(start, Duration::from_micros(100), pairs, same);
                thread::sleep(Duration::from_micros(50));
            }
            Churn::FlatOut => {
                same();
                pairs.fetch_add(1, Ordering::Relaxed);
            }
            Churn::FlatOutElsewhere => {
                other();
                pairs.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Makes the pairs that are due by now.
fn catch_up(start: Instant, every: Duration, pairs: &AtomicU64, pair: &impl Fn()) {
    let due = (start.elapsed().as_nanos() / every.as_nanos()) as u64;
    while pairs.load(Ordering::Relaxed) < due {
        pair();
        pairs.fetch_add(1, Ordering::Relaxed);
    }
}

/// A handler of the core's tables: adds up, or does nothing.
#[derive(Clone)]
struct Add(Option<Arc<Sum>>);

impl Handler<Payload> for Add {
    type Error = ();

    #[inline]
    fn handle(&self, payload: &Payload) -> Result<(), ()> {
        if let Some(sum) = &self.0 {
            sum.add(payload.cents());
        }
        Ok(())
    }
}

fn entry(id: u64, sum: Option<&Arc<Sum>>) -> Entry<Add> {
    Entry::new(SubscriptionId::new(id), LaneId::INLINE, Priority::DEFAULT, Add(sum.cloned()))
}

fn core(asked: &mut Asked) {
    let (sum, tables) = (Arc::new(Sum::default()), [(); TOPICS].map(|()| HostedTable::new()));
    for table in &tables {
        table.subscribe(entry(1, Some(&sum))).expect("the table grows");
    }
    let mut cache = tables[0].cache();
    let emit = || {
        dispatch(cache.load().inline(), &black_box(Payload::of(1)), |_, ()| ());
    };
    let pair = |table: &HostedTable<Add>| {
        table.subscribe(entry(2, None)).expect("the table grows");
        assert!(matches!(table.unsubscribe(SubscriptionId::new(2)), Ok(Some(_))));
    };
    measure("core", asked, &sum, emit, || pair(&tables[0]), || pair(&tables[ELSEWHERE]));
}

fn core_static(asked: &mut Asked) {
    let (sum, tables) = (Arc::new(Sum::default()), [(); TOPICS].map(|()| StaticTable::<Add, 4>::new()));
    for table in &tables {
        assert!(table.subscribe(entry(1, Some(&sum))).is_ok());
    }
    let emit = || {
        dispatch(tables[0].load().inline(), &black_box(Payload::of(1)), |_, ()| ());
    };
    // Busy: the emitter reads a version that is to be used again.
    let pair = |table: &StaticTable<Add, 4>| {
        while table.subscribe(entry(2, None)).is_err() {
            thread::yield_now();
        }
        while table.unsubscribe(SubscriptionId::new(2)).is_err() {
            thread::yield_now();
        }
    };
    measure("core_static", asked, &sum, emit, || pair(&tables[0]), || pair(&tables[ELSEWHERE]));
}

/// A bus with an inline handler on each topic.
fn bus(sum: &Arc<Sum>) -> (Bus, Vec<String>) {
    let (bus, topics) = (Bus::builder().build().expect("the settings are valid"), topics());
    for topic in &topics {
        let sum = Arc::clone(sum);
        let add = move |event: &Event<'_>| sum.add(event.payload_as::<Payload>().map_or(0, Order::cents));
        bus.on(topic).inline().handle(add).expect("the table has room");
    }
    (bus, topics)
}

fn bus_pair(bus: &Bus, topic: &str) {
    let id = bus.on(topic).inline().handle(|_| ()).expect("the table has room");
    assert!(bus.unsubscribe(id));
}

fn bus_publisher(asked: &mut Asked) {
    let sum = Arc::new(Sum::default());
    let (bus, topics) = bus(&sum);
    let mut publisher = bus.publisher(&topics[0]).expect("the name is valid");
    let emit = || {
        publisher.emit(Payload::of(1)).expect("the bus is open");
    };
    measure("bus/publisher", asked, &sum, emit, || bus_pair(&bus, &topics[0]), || bus_pair(&bus, &topics[ELSEWHERE]));
}

fn bus_emit(asked: &mut Asked) {
    let sum = Arc::new(Sum::default());
    let (bus, topics) = bus(&sum);
    let emit = || {
        bus.emit(&topics[0], Payload::of(1)).expect("the bus is open");
    };
    measure("bus/emit", asked, &sum, emit, || bus_pair(&bus, &topics[0]), || bus_pair(&bus, &topics[ELSEWHERE]));
}

type Shared = Arc<dyn Fn(&Payload) + Send + Sync>;
type Map = HashMap<String, Vec<Shared>>;

fn map(topics: &[String], sum: &Arc<Sum>) -> Map {
    let adder = || -> Shared {
        let sum = Arc::clone(sum);
        Arc::new(move |payload| sum.add(payload.cents()))
    };
    topics.iter().map(|topic| (topic.clone(), vec![adder()])).collect()
}

fn call(map: &Map, topic: &str) {
    let payload = black_box(Payload::of(1));
    map.get(topic).into_iter().flatten().for_each(|handler| handler(&payload));
}

fn push(map: &mut Map, topic: &str) {
    map.entry(topic.to_owned()).or_default().push(Arc::new(|_| ()));
}

fn pop(map: &mut Map, topic: &str) {
    // The last one is the one that was pushed: one thread changes the map.
    assert!(map.get_mut(topic).is_some_and(|handlers| handlers.pop().is_some()));
}

fn rwlock_hashmap(asked: &mut Asked) {
    let (sum, topics) = (Arc::new(Sum::default()), topics());
    let table = RwLock::new(map(&topics, &sum));
    let emit = || call(&table.read().expect("no writer panicked"), &topics[0]);
    let pair = |topic: &str| {
        push(&mut table.write().expect("no writer panicked"), topic);
        pop(&mut table.write().expect("no writer panicked"), topic);
    };
    measure("rwlock_hashmap", asked, &sum, emit, || pair(&topics[0]), || pair(&topics[ELSEWHERE]));
}

fn arc_swap_hashmap(asked: &mut Asked) {
    let (sum, topics) = (Arc::new(Sum::default()), topics());
    let table = ArcSwap::from_pointee(map(&topics, &sum));
    let emit = || call(&table.load(), &topics[0]);
    let replace = |change: fn(&mut Map, &str), topic: &str| {
        let mut next = Map::clone(&table.load());
        change(&mut next, topic);
        table.store(Arc::new(next));
    };
    let pair = |topic: &str| {
        replace(push, topic);
        replace(pop, topic);
    };
    measure("arc_swap_hashmap", asked, &sum, emit, || pair(&topics[0]), || pair(&topics[ELSEWHERE]));
}
