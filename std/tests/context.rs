//! What an event inherits from the one whose handler emits it: correlation and cause.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use nervebus::{Bus, Event, Lane};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// What an event says of where it comes from.
#[derive(Debug, PartialEq)]
struct Origin {
    seq: u64,
    correlation: Option<String>,
    causation: Option<u64>,
}

impl Origin {
    fn of(event: &Event<'_>) -> Self {
        let correlation = event.correlation_id().map(str::to_owned);
        Self { seq: event.seq(), correlation, causation: event.causation() }
    }

    fn is(&self, correlation: Option<&str>, causation: Option<u64>) -> bool {
        self.correlation.as_deref() == correlation && self.causation == causation
    }
}

/// Subscribes to a topic's origins.
fn origins(bus: &Bus, topic: &str) -> Receiver<Origin> {
    let (sender, receiver) = mpsc::channel();
    bus.on(topic).inline().handle(move |event| sender.send(Origin::of(event)).unwrap()).unwrap();
    receiver
}

/// A bus on which each `outer` event makes its handler, inline or on a lane, emit an `inner` one.
fn relay(inline: bool, emit: impl Fn(&Bus) + Send + Sync + 'static) -> Bus {
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let weak = bus.downgrade();
    let subscribe = if inline { bus.on("outer").inline() } else { bus.on("outer").lane("io") };
    subscribe.handle(move |_| emit(&weak.upgrade().unwrap())).unwrap();
    bus
}

#[test]
fn what_a_handler_emits_has_its_correlation_and_names_its_event_as_the_cause() {
    for inline in [true, false] {
        let bus = relay(inline, |bus| {
            bus.emit("inner", 1).unwrap();
            bus.event("inner", 2).source("a source changes nothing").emit().unwrap();
            bus.publisher("inner").unwrap().emit(3).unwrap();
        });
        let inner = origins(&bus, "inner");
        let outer = bus.event("outer", ()).correlation_id("c-1").emit().unwrap();
        for _ in 0..3 {
            let origin = inner.recv_timeout(GUARD).unwrap();
            assert!(origin.is(Some("c-1"), Some(outer.seq())), "inline: {inline}, {origin:?}");
        }
    }
}

#[test]
fn a_correlation_that_is_given_wins_and_the_cause_stays() {
    for inline in [true, false] {
        let bus = relay(inline, |bus| {
            bus.event("inner", ()).correlation_id("own").emit().unwrap();
            bus.emit("inner", ()).unwrap();
        });
        let inner = origins(&bus, "inner");
        let outer = bus.event("outer", ()).correlation_id("c-1").emit().unwrap();
        assert!(inner.recv_timeout(GUARD).unwrap().is(Some("own"), Some(outer.seq())));
        let next = inner.recv_timeout(GUARD).unwrap();
        assert!(next.is(Some("c-1"), Some(outer.seq())), "the given one was for one event: {next:?}");
    }
}

#[test]
fn an_event_without_correlation_passes_on_its_cause_alone() {
    for inline in [true, false] {
        let bus = relay(inline, |bus| assert!(bus.emit("inner", ()).is_ok()));
        let inner = origins(&bus, "inner");
        // The thread has handled an event with a correlation before, which must not stick to it.
        bus.event("outer", ()).correlation_id("earlier").emit().unwrap();
        assert!(inner.recv_timeout(GUARD).unwrap().correlation.is_some());
        let outer = bus.emit("outer", ()).unwrap();
        let origin = inner.recv_timeout(GUARD).unwrap();
        assert!(origin.is(None, Some(outer.seq())), "inline: {inline}, {origin:?}");
    }
}

#[test]
fn outside_of_handlers_an_event_has_no_origin() {
    let bus = relay(true, |bus| assert!(bus.emit("inner", ()).is_ok()));
    let (inner, plain) = (origins(&bus, "inner"), origins(&bus, "plain"));
    bus.emit("plain", ()).unwrap();
    bus.event("outer", ()).correlation_id("c-1").emit().unwrap();
    bus.emit("plain", ()).unwrap();
    assert!(inner.try_recv().is_ok());
    assert!(plain.try_iter().all(|origin| origin.is(None, None)));
}

#[test]
fn a_handler_that_panics_leaves_nothing_behind_on_the_emitters_thread() {
    let bus = Bus::builder().build().unwrap();
    bus.on("outer").inline().handle(|_| -> Result<(), String> { panic!("in the middle") }).unwrap();
    let plain = origins(&bus, "plain");
    for _ in 0..40 {
        bus.event("outer", ()).correlation_id("c-1").emit().unwrap();
    }
    bus.emit("plain", ()).unwrap();
    assert!(plain.try_recv().unwrap().is(None, None));
}

#[test]
fn each_level_of_a_chain_has_the_one_above_as_its_cause() {
    let bus = Bus::builder().build().unwrap();
    let (sender, seen) = mpsc::channel();
    for (topic, next) in [("a", Some("b")), ("b", Some("c")), ("c", None)] {
        let (weak, sender) = (bus.downgrade(), sender.clone());
        let handler = move |event: &Event<'_>| {
            sender.send((topic, Origin::of(event))).unwrap();
            let Some(next) = next else { return };
            let bus = weak.upgrade().unwrap();
            // `b` starts a correlation of its own, which holds for what `b` emits and for nothing that `a` does later.
            let emission = bus.event(next, ());
            let emission = if next == "b" { emission.correlation_id("of b") } else { emission };
            emission.emit().unwrap();
            bus.emit("side", ()).unwrap();
        };
        bus.on(topic).inline().handle(handler).unwrap();
    }
    let side = origins(&bus, "side");
    bus.event("a", ()).correlation_id("of a").emit().unwrap();
    let chain: Vec<_> = seen.try_iter().collect();
    let [a, b, c] = &chain[..] else { panic!("{chain:?}") };
    assert!(a.1.is(Some("of a"), None) && b.1.is(Some("of b"), Some(a.1.seq)) && c.1.is(Some("of b"), Some(b.1.seq)));
    let sides: Vec<_> = side.try_iter().collect();
    assert!(sides[0].is(Some("of b"), Some(b.1.seq)) && sides[1].is(Some("of a"), Some(a.1.seq)), "{sides:?}");
}

#[test]
fn a_correlation_goes_from_bus_to_bus_but_a_number_of_one_bus_means_nothing_on_another() {
    let other = Bus::builder().build().unwrap();
    let arrived = origins(&other, "inner");
    for inline in [true, false] {
        let bridge = other.clone();
        let bus = relay(inline, move |_| assert!(bridge.emit("inner", ()).is_ok()));
        bus.event("outer", ()).correlation_id("c-1").emit().unwrap();
        let origin = arrived.recv_timeout(GUARD).unwrap();
        assert_eq!(origin.correlation.as_deref(), Some("c-1"));
        assert_eq!(origin.causation, None, "no event of this bus has caused it, inline: {inline}");
    }
}
