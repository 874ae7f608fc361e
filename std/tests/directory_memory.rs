//! What is unsubscribed gives its memory back: counted in bytes over the whole process, so a program with one test.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::alloc::System;

use nervebus::Bus;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const NAMES: usize = 10_000;

/// Bytes that are in use.
fn in_use() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Subscribes a handler to each topic, and one to everything below each, and returns how many bytes both took; then
/// unsubscribes them all.
fn come_and_go(bus: &Bus) -> usize {
    let before = in_use();
    let mut ids = Vec::with_capacity(2 * NAMES);
    for number in 0..NAMES {
        ids.push(bus.on(&format!("order.n{number:05}")).inline().handle(|_| ()).unwrap());
        ids.push(bus.on(&format!("order.n{number:05}.*")).inline().handle(|_| ()).unwrap());
    }
    let taken = in_use() - before;
    ids.into_iter().for_each(|id| assert!(bus.unsubscribe(id)));
    taken
}

#[test]
fn unsubscribing_gives_back_everything_but_the_topic() {
    let bus = Bus::builder().max_topics(NAMES).build().unwrap();
    let before = in_use();
    come_and_go(&bus);
    let after = in_use();
    let stays = (after - before) / NAMES;
    assert!(stays < 400, "{stays} bytes stay for each topic");
    let taken = come_and_go(&bus);
    assert!(taken > 400 * NAMES, "{taken} bytes for two handlers on each of {NAMES} topics");
    // Room for what the test's own thread may allocate meanwhile, less than a byte for each topic.
    assert!(in_use() < after + NAMES / 2, "{} bytes more each time", in_use() - after);
}
