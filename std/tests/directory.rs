//! The directory: names and patterns find each other among many, and what is unsubscribed is given back.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use nervebus::{Bus, Event};
use nervebus_core::{Pattern, Topic};

/// A handler that counts.
fn counting(count: &Arc<AtomicU64>) -> impl Fn(&Event<'_>) + Send + Sync + 'static + use<> {
    let count = Arc::clone(count);
    move |_: &Event<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_name_becomes_one_topic_however_many_threads_emit_on_it_first() {
    const NAMES: usize = if cfg!(debug_assertions) { 5_000 } else { 50_000 };
    const THREADS: usize = 4;
    let bus = Bus::builder().max_topics(NAMES).build().unwrap();
    let (all, barrier) = (Arc::new(AtomicU64::new(0)), Barrier::new(THREADS));
    bus.on("*").inline().handle(counting(&all)).unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for block in (0..NAMES).collect::<Vec<_>>().chunks(100) {
                    barrier.wait();
                    // A refusal shows in the count; a panic here would leave the others at the barrier.
                    block.iter().for_each(|number| drop(bus.emit(&format!("t{number}"), ())));
                }
            });
        }
    });
    assert_eq!(bus.stats().topics, NAMES);
    assert_eq!(all.load(Ordering::Relaxed), (NAMES * THREADS) as u64);
}

#[test]
fn every_topic_among_many_is_found_by_its_own_handler_alone() {
    const NAMES: usize = 20_000;
    let bus = Bus::builder().max_topics(NAMES).build().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    for number in 0..NAMES {
        let seen = Arc::clone(&seen);
        let name = format!("order.n{number}.placed");
        bus.on(&name).inline().handle(move |_: &Event<'_>| seen.lock().unwrap().push(number)).unwrap();
    }
    for number in (0..NAMES).rev() {
        let receipt = bus.emit(&format!("order.n{number}.placed"), ()).unwrap();
        assert_eq!((receipt.inline().handled, seen.lock().unwrap().pop()), (1, Some(number)));
    }
}

/// All names of one to `depth` of the given segments.
fn names(segments: &[&str], depth: usize) -> Vec<String> {
    let mut all: Vec<String> = segments.iter().map(|segment| (*segment).to_owned()).collect();
    let mut last = all.clone();
    for _ in 1..depth {
        last = last.iter().flat_map(|name| segments.iter().map(move |segment| format!("{name}.{segment}"))).collect();
        all.extend_from_slice(&last);
    }
    all
}

#[test]
fn patterns_and_names_find_each_other_whichever_came_first() {
    // Names that sort around a dot, and that begin like each other.
    let topics = names(&["a", "ab", "a-b", "a/", "b"], 3);
    let patterns: Vec<_> = names(&["a", "ab", "b", "*"], 3).into_iter().filter(|name| name.contains('*')).collect();
    let expected = |topic: &str| {
        let matches = |pattern: &&String| Pattern::new(pattern).unwrap().matches(Topic::new(topic).unwrap());
        patterns.iter().filter(matches).count()
    };
    for topics_first in [true, false] {
        let bus = Bus::builder().build().unwrap();
        if topics_first {
            topics.iter().for_each(|topic| assert!(bus.emit(topic, ()).unwrap().is_unrouted()));
        }
        let subscribe = |pattern: &String| bus.on(pattern).inline().handle(|_| ()).unwrap();
        let ids: Vec<_> = patterns.iter().map(subscribe).collect();
        for topic in &topics {
            let handled = bus.emit(topic, ()).unwrap().inline().handled;
            assert_eq!(handled, expected(topic), "{topic}, topics first: {topics_first}");
        }
        ids.into_iter().for_each(|id| assert!(bus.unsubscribe(id)));
        let later = topics.iter().map(|topic| format!("{topic}.later"));
        for topic in topics.iter().cloned().chain(later) {
            assert!(bus.emit(&topic, ()).unwrap().is_unrouted(), "{topic}, topics first: {topics_first}");
        }
    }
}

#[test]
fn one_of_several_equal_patterns_goes_alone() {
    let bus = Bus::builder().build().unwrap();
    let counts: Vec<_> = (0..3).map(|_| Arc::new(AtomicU64::new(0))).collect();
    let subscribe = |count| bus.on("chat.*").inline().handle(counting(count)).unwrap();
    let ids: Vec<_> = counts.iter().map(subscribe).collect();
    bus.emit("chat.before", ()).unwrap();
    assert!(bus.unsubscribe(ids[1]));
    bus.emit("chat.before", ()).unwrap();
    bus.emit("chat.after", ()).unwrap();
    let seen: Vec<_> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
    assert_eq!(seen, [3, 1, 3]);
}
