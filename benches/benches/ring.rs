//! Rings alone: from one thread to another, from two threads to one, in batches, and on one thread.

use nervebus_benches::ring::{
    BATCH, Consumer, Ring, concurrent, crossbeam, disruptor, heapless, nervebus, rtrb, run, run_alone, thingbuf,
};
use nervebus_benches::rounds::{Member, Rounds};

fn across<R: Ring, const PRODUCERS: usize>() -> Member {
    Member { name: R::NAME, run: |events| run::<R>(PRODUCERS, events) }
}

fn alone<R: Ring<Consumer: Consumer>, const BURST: u64>() -> Member {
    Member { name: R::NAME, run: |events| run_alone::<R>(BURST, events) }
}

/// Rings that take several producers, driven by our loop at both ends.
fn shared<const PRODUCERS: usize>() -> Vec<Member> {
    vec![
        across::<nervebus::Boxed, PRODUCERS>(),
        across::<nervebus::Static, PRODUCERS>(),
        across::<heapless::Mpmc, PRODUCERS>(),
        across::<thingbuf::Static, PRODUCERS>(),
        across::<crossbeam::Array, PRODUCERS>(),
        across::<concurrent::Bounded, PRODUCERS>(),
        across::<disruptor::Polled, PRODUCERS>(),
    ]
}

/// Rings for one producer, or with a consumer that keeps a core busy.
fn for_one_producer() -> [Member; 5] {
    [
        across::<nervebus::Spsc, 1>(),
        across::<rtrb::Single, 1>(),
        across::<heapless::Spsc, 1>(),
        across::<disruptor::Single<1>, 1>(),
        across::<disruptor::Multi<1>, 1>(),
    ]
}

fn batches() -> [Member; 7] {
    [
        // One at a time, to compare with.
        across::<nervebus::Boxed, 1>(),
        across::<rtrb::Single, 1>(),
        across::<nervebus::Batched, 1>(),
        across::<nervebus::SpscBatched, 1>(),
        across::<rtrb::Chunks, 1>(),
        across::<disruptor::Single<BATCH>, 1>(),
        across::<disruptor::Multi<BATCH>, 1>(),
    ]
}

fn on_one_thread<const BURST: u64>() -> [Member; 11] {
    [
        alone::<nervebus::Boxed, BURST>(),
        alone::<nervebus::Batched, BURST>(),
        alone::<nervebus::Spsc, BURST>(),
        alone::<nervebus::Static, BURST>(),
        alone::<rtrb::Single, BURST>(),
        alone::<heapless::Spsc, BURST>(),
        alone::<heapless::Mpmc, BURST>(),
        alone::<thingbuf::Static, BURST>(),
        alone::<crossbeam::Array, BURST>(),
        alone::<concurrent::Bounded, BURST>(),
        alone::<disruptor::Polled, BURST>(),
    ]
}

fn main() {
    let rounds = Rounds::from_args();
    rounds.group("ring_1p1c", &[shared::<1>(), for_one_producer().into()].concat());
    rounds.group("ring_2p1c", &shared::<2>());
    rounds.group("ring_1p1c_batch", &batches());
    rounds.group("ring_same_thread/1", &on_one_thread::<1>());
    rounds.group("ring_same_thread/64", &on_one_thread::<BATCH>());
}
