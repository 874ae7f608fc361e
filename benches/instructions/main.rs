//! Runs each hot path of the core and of the bus a fixed number of times, for `ci/instructions.sh` to count under callgrind.
//!
//! Each path is a function of its own, `measured_…`, whose calls callgrind brackets: it counts inside them only, and
//! writes a total after each. A path runs three times: to warm up, [`FEW`] and [`MANY`] operations. The difference of the
//! last two, by operation, is free of what a call costs. This program prints the names of the paths in their order.
//!
//! A closure that is not inlined would carry the name of the function around it, and count as one more call: the
//! functions are plain loops.
#![forbid(unsafe_code)]
#![allow(clippy::expect_used, clippy::print_stdout, reason = "what it prints is its result, and nobody recovers here")]

use std::hint::black_box;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nervebus::{Bus, Event, Lane, Publisher};
use nervebus_benches::bus::ByPublisher;
use nervebus_benches::inline::{InlineBus, Sum, topics};
use nervebus_benches::{CAPACITY, Payload, payload, tables};
use nervebus_core::dead_letter::BoxedDeadLetterQueue;
use nervebus_core::gate::Gate;
use nervebus_core::ring::BoxedRing;
use nervebus_core::wait::Doorbell;
use nervebus_core::{DeadLetter, Reason};

const FEW: u64 = 1_000;
const MANY: u64 = 2 * FEW;

/// Events that go into a lane whose worker is held up: those of three runs.
const QUEUED: u64 = 2 * FEW + MANY;

fn main() {
    path("empty_loop", measured_nothing);
    ring();
    inline::<tables::CachedShared>("route_cache_dispatch_1", 1, measured_route_cache);
    inline::<tables::CachedShared>("route_cache_dispatch_16", 16, measured_route_cache);
    inline::<tables::Static>("static_table_dispatch_1", 1, measured_static_table);
    inline::<tables::Static>("static_table_dispatch_16", 16, measured_static_table);
    let letters = BoxedDeadLetterQueue::with_capacity(CAPACITY).expect("the capacity is valid");
    path("dead_letter_push_take", |times| measured_dead_letter(&letters, times));
    let bell = Doorbell::new();
    path("doorbell_ring_unarmed", |times| measured_doorbell(&bell, times));
    let gate = Gate::new();
    path("gate_enter_leave", |times| measured_gate(&gate, times));
    inline::<ByPublisher<true>>("publisher_emit_inline_1", 1, measured_inline_emit);
    queued();
}

/// Runs a path three times and says its name.
fn path(name: &str, mut run: impl FnMut(u64)) {
    println!("{name}");
    for times in [FEW, FEW, MANY] {
        run(black_box(times));
    }
}

fn ring() {
    let ring = BoxedRing::with_capacity(CAPACITY).expect("the capacity is valid");
    path("ring_push_pop", |times| measured_push_pop(&ring, times));
    while ring.try_push(payload(0)).is_ok() {}
    path("ring_push_overwrite_full", |times| measured_push_overwrite(&ring, times));
}

/// A bus with one topic and that many handlers on it.
fn inline<B: InlineBus>(name: &str, handlers: usize, emit: fn(&mut B, u64)) {
    let sum = Arc::new(Sum::default());
    let mut bus = B::open(&topics()[..1], handlers, &sum);
    path(name, |times| emit(&mut bus, times));
    assert_eq!(sum.get(), sum_of_three_runs() * handlers as u64, "{name} lost events");
}

fn sum_of_three_runs() -> u64 {
    2 * (0..FEW).sum::<u64>() + (0..MANY).sum::<u64>()
}

/// What an emitter pays for an event that goes to a lane: the worker is held up in its first event, and the lane has
/// room for all.
fn queued() {
    let capacity = usize::try_from(QUEUED + 1).expect("it is a small number");
    let bus = Bus::builder().lane(Lane::new("held_up").capacity(capacity)).build().expect("the settings are valid");
    let (arrived, arrivals) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let sum = Arc::new(Sum::default());
    let total = Arc::clone(&sum);
    let handler = move |event: &Event<'_>| {
        let [first, ..] = *event.payload_as::<Payload>().expect("payloads are all there is");
        if first == u64::MAX {
            arrived.send(()).expect("somebody waits");
            // Ends with an error when the sender is dropped: that is the signal.
            let _ = released.lock().expect("one thread locks it").recv();
            return;
        }
        total.add(first);
    };
    bus.on("shop.order.placed").lane("held_up").handle(handler).expect("the lane exists");
    let mut publisher = bus.publisher("shop.order.placed").expect("the name is valid");
    publisher.emit(payload(u64::MAX)).expect("the bus is open");
    arrivals.recv().expect("the handler is called");
    path("publisher_emit_queued", |times| measured_queued_emit(&mut publisher, times));
    drop(release);
    assert!(bus.shutdown(Duration::from_secs(60)).drained, "the lane was not drained");
    assert_eq!(sum.get(), sum_of_three_runs(), "publisher_emit_queued lost events");
}

#[inline(never)]
fn measured_nothing(times: u64) {
    for value in 0..times {
        black_box(value);
    }
}

#[inline(never)]
fn measured_push_pop(ring: &BoxedRing<Payload>, times: u64) {
    for value in 0..times {
        let _ = black_box(ring.try_push(payload(value)).is_ok());
        let _ = black_box(&ring.pop());
    }
}

#[inline(never)]
fn measured_push_overwrite(ring: &BoxedRing<Payload>, times: u64) {
    for value in 0..times {
        let _ = black_box(ring.push_overwrite(payload(value), drop).is_ok());
    }
}

#[inline(never)]
fn measured_route_cache(bus: &mut tables::CachedShared, times: u64) {
    for value in 0..times {
        bus.emit(0, value);
    }
}

#[inline(never)]
fn measured_static_table(bus: &mut tables::Static, times: u64) {
    for value in 0..times {
        bus.emit(0, value);
    }
}

#[inline(never)]
fn measured_dead_letter(letters: &BoxedDeadLetterQueue<Payload>, times: u64) {
    for value in 0..times {
        letters.push(DeadLetter { event: payload(value), reason: Reason::HandlerError, attempts: 1 });
        let _ = black_box(&letters.take());
    }
}

#[inline(never)]
fn measured_doorbell(bell: &Doorbell, times: u64) {
    for _ in 0..times {
        let _ = black_box(bell.ring());
    }
}

#[inline(never)]
fn measured_gate(gate: &Gate<3, 16>, times: u64) {
    for _ in 0..times {
        if let Some(pass) = gate.enter(black_box(0)) {
            pass.leave(black_box(0));
        }
    }
}

#[inline(never)]
fn measured_inline_emit(bus: &mut ByPublisher<true>, times: u64) {
    for value in 0..times {
        bus.emit(0, value);
    }
}

#[inline(never)]
fn measured_queued_emit(publisher: &mut Publisher, times: u64) {
    for value in 0..times {
        let _ = black_box(publisher.emit(payload(value)).is_ok());
    }
}
