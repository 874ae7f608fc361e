//! What an event inherits from the one whose handler emits it: correlation and cause, trace and baggage.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/gate.rs"]
mod gate;

use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use folder::Folder;
use gate::{Gate, give_way};
use nervebus::{
    AuditLog, AuditReader, Baggage, Bus, CorrelationScope, DeadLetterLog, Event, Lane, OwnedEvent, Record, Redactor,
    Replay, Retry, Scope, TraceContext, json,
};

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

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACESTATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
const BAGGAGE: &str = "userId=alice,serverNode=DF%2028;ttl=60";

/// What goes from an event to all that comes of it.
#[derive(Debug, Clone, PartialEq)]
struct Legacy {
    correlation: Option<String>,
    trace: Option<TraceContext>,
    baggage: Option<Baggage>,
}

impl Legacy {
    fn whole() -> Self {
        let trace = TraceContext::parse(TRACEPARENT).map(|trace| trace.with_state(TRACESTATE));
        Self { correlation: Some("req-1".into()), trace, baggage: Baggage::parse(BAGGAGE) }
    }

    fn none() -> Self {
        Self { correlation: None, trace: None, baggage: None }
    }

    fn of(event: &Event<'_>) -> Self {
        Self {
            correlation: event.correlation_id().map(str::to_owned),
            trace: event.trace_context().cloned(),
            baggage: event.baggage().cloned(),
        }
    }

    fn scope(&self) -> Scope {
        let mut scope = Scope::detached();
        if let Some(id) = &self.correlation {
            scope = scope.with_correlation_id(id.as_str());
        }
        if let Some(trace) = &self.trace {
            scope = scope.with_trace_context(trace.clone());
        }
        if let Some(baggage) = &self.baggage {
            scope = scope.with_baggage(baggage.clone());
        }
        scope
    }
}

/// Says what each event of a pattern has inherited.
fn legacies(bus: &Bus, pattern: &str) -> Receiver<Legacy> {
    let (sender, receiver) = mpsc::channel();
    bus.on(pattern).inline().handle(move |event| drop(sender.send(Legacy::of(event)))).unwrap();
    receiver
}

/// A handler that emits `inner`.
fn emitting(bus: &Bus) -> impl Fn(&Event<'_>) + Send + Sync + Clone + 'static {
    let bus = bus.downgrade();
    move |_| assert!(bus.upgrade().unwrap().emit("inner", ()).is_ok())
}

/// Emits `outer` with everything that can be inherited.
fn outer(bus: &Bus) {
    let Legacy { correlation, trace, baggage } = Legacy::whole();
    let event = bus.event("outer", json!({})).correlation_id(correlation.unwrap());
    event.trace_context(trace.unwrap()).baggage(baggage.unwrap()).emit().unwrap();
}

fn next(seen: &Receiver<Legacy>) -> Legacy {
    seen.recv_timeout(GUARD).unwrap()
}

#[test]
fn trace_and_baggage_are_inherited_whole_along_a_chain_over_lanes() {
    let bus = Bus::builder().lane(Lane::new("io")).lane(Lane::new("cpu").workers(2)).build().unwrap();
    for (topic, to, lane) in [("outer", "b", None), ("b", "c", Some("io")), ("c", "inner", Some("cpu"))] {
        let weak = bus.downgrade();
        let on = if let Some(lane) = lane { bus.on(topic).lane(lane) } else { bus.on(topic).inline() };
        on.handle(move |_| assert!(weak.upgrade().unwrap().emit(to, ()).is_ok())).unwrap();
    }
    let inner = legacies(&bus, "inner");
    outer(&bus);
    assert_eq!(next(&inner), Legacy::whole());
    bus.emit("outer", json!({})).unwrap();
    assert_eq!(next(&inner), Legacy::none(), "nothing of the former event sticks to a thread");
}

#[test]
fn what_an_emitter_says_replaces_that_part_and_the_rest_is_inherited() {
    let bus = Bus::builder().build().unwrap();
    let weak = bus.downgrade();
    let own = TraceContext::new(1, 2).unwrap();
    let child = own.clone();
    bus.on("outer")
        .inline()
        .handle(move |_| {
            assert!(weak.upgrade().unwrap().event("inner", ()).trace_context(child.clone()).emit().is_ok())
        })
        .unwrap();
    let inner = legacies(&bus, "inner");
    outer(&bus);
    assert_eq!(next(&inner), Legacy { trace: Some(own), ..Legacy::whole() });
}

#[test]
fn it_goes_across_emits_that_wait_and_across_requests() {
    let bus = Bus::builder().lane(Lane::new("io")).lane(Lane::new("cpu")).build().unwrap();
    let weak = bus.downgrade();
    let relay = move |_: &Event<'_>| {
        let bus = weak.upgrade().unwrap();
        assert!(bus.emit_and_wait("waited", ()).unwrap().all_handled());
        let answer: u64 = bus.request("asked", (), GUARD).unwrap();
        assert_eq!(answer, 7);
    };
    bus.on("outer").lane("io").handle(relay).unwrap();
    bus.on("waited").lane("cpu").handle(emitting(&bus)).unwrap();
    let weak = bus.downgrade();
    let answer = move |_: &Event<'_>| weak.upgrade().unwrap().emit("inner", ()).map(|_| 7_u64).map_err(|_| "refused");
    bus.on("asked").lane("cpu").answer(answer).unwrap();
    let inner = legacies(&bus, "inner");
    outer(&bus);
    assert_eq!([next(&inner), next(&inner)], [Legacy::whole(), Legacy::whole()]);

    let _scope = Legacy::whole().scope().enter();
    assert!(bus.emit_and_wait("waited", ()).unwrap().all_handled());
    assert_eq!(bus.request::<_, u64>("asked", (), GUARD).unwrap(), 7);
    assert_eq!([next(&inner), next(&inner)], [Legacy::whole(), Legacy::whole()], "from a scope as well");
}

#[test]
fn a_retry_has_the_lineage_of_its_event_and_so_has_the_record_of_the_failure() {
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let emit = emitting(&bus);
    let handler = move |event: &Event<'_>| {
        emit(event);
        Err("not yet")
    };
    bus.on("outer").lane("io").retry(Retry::exponential(Duration::from_millis(1)).attempts(3)).handle(handler).unwrap();
    let (inner, records) = (legacies(&bus, "inner"), legacies(&bus, "system.handler_error"));
    // The record has to be said even when it is too late for everything else.
    let _scope = Legacy::whole().scope().with_deadline(GUARD).enter();
    bus.emit("outer", json!({})).unwrap();
    for _ in 0..3 {
        assert_eq!(next(&inner), Legacy::whole());
    }
    assert_eq!(next(&records), Legacy::whole());
}

#[test]
fn a_dead_letter_that_is_sent_back_has_the_lineage_of_its_event_even_from_a_file() {
    let folder = Folder::of("context-letters");
    let file = folder.path().join("letters.jsonl");
    let build = |works: bool| {
        let bus = Bus::builder().dead_letter_log(DeadLetterLog::at(&file)).lane(Lane::new("io")).build().unwrap();
        let emit = emitting(&bus);
        let handler = move |event: &Event<'_>| {
            emit(event);
            if works || event.attempt() > 1 { Ok(()) } else { Err("not yet") }
        };
        bus.on("outer").name("picky").lane("io").handle(handler).unwrap();
        let inner = legacies(&bus, "inner");
        (bus, inner)
    };
    let (bus, inner) = build(false);
    outer(&bus);
    outer(&bus);
    assert_eq!([next(&inner), next(&inner)], [Legacy::whole(), Legacy::whole()]);
    while bus.dead_letters().len() < 2 {
        std::thread::yield_now();
    }
    let letter = bus.dead_letters().list()[0].clone();
    assert_eq!(Legacy::of(&letter.event.as_event()), Legacy::whole());
    bus.dead_letters().retry(letter.id).unwrap();
    assert_eq!(next(&inner), Legacy::whole());
    assert!(bus.shutdown(GUARD).drained);
    drop(bus);

    let (bus, inner) = build(true);
    let letter = bus.dead_letters().list()[0].clone();
    bus.dead_letters().retry(letter.id).unwrap();
    assert_eq!(next(&inner), Legacy::whole(), "and from the file");
}

#[test]
fn async_handlers_have_it_after_each_await_however_many_are_in_flight() {
    for in_flight in [1, 16] {
        let bus = Bus::builder().lane(Lane::new("io").concurrency(in_flight)).build().unwrap();
        let (weak, gate) = (bus.downgrade(), Gate::default());
        let waits = gate.clone();
        let handler = move |event: OwnedEvent| {
            let (weak, gate) = (weak.clone(), waits.clone());
            async move {
                let of = event.correlation_id().map(str::to_owned);
                weak.upgrade().unwrap().emit("inner", of.clone()).unwrap();
                give_way().await;
                gate.pass().await;
                weak.upgrade().unwrap().emit("inner", of.clone()).unwrap();
                let own = CorrelationScope::run("own", async {
                    give_way().await;
                    weak.upgrade().unwrap().emit("inner", Some("own".to_owned())).unwrap();
                });
                own.await;
                weak.upgrade().unwrap().emit("inner", of).unwrap();
            }
        };
        bus.on("outer").lane("io").handle_async(handler).unwrap();
        let (sender, inner) = mpsc::channel();
        let compare = move |event: &Event<'_>| {
            let wanted = event.payload_as::<Option<String>>().unwrap();
            sender.send((wanted.clone(), event.correlation_id().map(str::to_owned))).unwrap();
        };
        bus.on("inner").inline().handle(compare).unwrap();
        for number in 0..16 {
            let event = bus.event("outer", json!({}));
            if number % 4 == 0 { event } else { event.correlation_id(format!("req-{number}")) }.emit().unwrap();
        }
        if in_flight == 1 {
            gate.open();
        }
        for seen in 0..4 * 16 {
            let (wanted, found) = inner.recv_timeout(GUARD).unwrap();
            assert_eq!(wanted, found);
            if seen == 15 {
                // Now all of them are at their first await.
                gate.open();
            }
        }
    }
}

#[test]
fn a_replay_has_what_was_recorded_and_nothing_of_who_replays() {
    let folder = Folder::of("context-replay");
    let file = folder.path().join("events.jsonl");
    let recorded = Bus::builder().audit(AuditLog::at(&file)).build().unwrap();
    outer(&recorded);
    recorded.emit("outer", json!({})).unwrap();
    assert!(recorded.shutdown(GUARD).drained);

    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    bus.on("outer").name("relay").lane("io").handle(emitting(&bus)).unwrap();
    let inner = legacies(&bus, "inner");
    let _scope = CorrelationScope::enter("of who replays");
    for into in [false, true] {
        let replay = Replay::from_audit(&file).pattern("outer");
        bus.replay(if into { replay.into("relay") } else { replay }).unwrap();
        assert_eq!([next(&inner), next(&inner)], [Legacy::whole(), Legacy::none()], "into: {into}");
    }
    let record = AuditReader::open(&file).unwrap().topic("outer").unwrap().limit(1).oldest_first().unwrap().next();
    bus.emit_record(record.unwrap().unwrap().record).unwrap();
    assert_eq!(next(&inner), Legacy::whole(), "and so has a record that is emitted");
}

#[test]
fn a_log_says_trace_and_baggage_behind_everything_else_and_hides_what_is_sensitive() {
    let folder = Folder::of("context-redacted");
    let file = folder.path().join("events.jsonl");
    let bus = Bus::builder().redact(Redactor::default()).audit(AuditLog::at(&file)).build().unwrap();
    outer(&bus);
    let mut baggage = Baggage::new();
    for (key, value) in [("user", "alice@example.org"), ("password", "hunter2"), ("note", "a\nb")] {
        baggage.insert(key, value).unwrap();
    }
    let trace = TraceContext::parse(TRACEPARENT).unwrap().with_state("congo=bob@example.org");
    bus.event("secret", json!({})).trace_context(trace).baggage(baggage).correlation_id("c\nd").emit().unwrap();
    assert!(bus.shutdown(GUARD).drained);
    let text = std::fs::read_to_string(&file).unwrap();
    let [whole, secret] = text.lines().collect::<Vec<_>>()[..] else { panic!("two events are two lines: {text}") };
    let end = format!(r#","traceparent":"{TRACEPARENT}","tracestate":"{TRACESTATE}","baggage":"{BAGGAGE}"}}"#);
    assert!(whole.ends_with(&end), "{whole}");
    for hidden in ["alice", "bob", "hunter2", "example"] {
        assert!(!secret.contains(hidden), "{secret}");
    }
    let read = Record::from_jsonl(secret.as_bytes()).unwrap();
    assert_eq!(
        read.trace_context,
        TraceContext::parse(TRACEPARENT).map(|trace| trace.with_state("congo=[REDACTED_EMAIL]"))
    );
    let baggage = read.baggage.unwrap();
    assert_eq!(baggage.get("user"), Some("[REDACTED_EMAIL]"));
    assert_eq!((baggage.get("password"), baggage.get("note")), (Some("[REDACTED_SECRET]"), Some("a\nb")));
}

#[cfg(feature = "durable")]
#[test]
fn a_durable_delivery_has_the_lineage_of_its_event_over_a_restart() {
    let folder = Folder::of("context-durable");
    let log = || nervebus::DurableLog::at(folder.path().join("log")).topics("outer").buffer(1 << 20);
    let bus = Bus::builder().durable(log()).build().unwrap();
    outer(&bus);
    bus.emit("outer", json!({})).unwrap();
    assert!(bus.shutdown(GUARD).drained);
    drop(bus);

    let bus = Bus::builder().durable(log()).lane(Lane::new("io")).build().unwrap();
    let inner = legacies(&bus, "inner");
    bus.on("outer").durable("relay").lane("io").from_start().handle(emitting(&bus)).unwrap();
    assert_eq!([next(&inner), next(&inner)], [Legacy::whole(), Legacy::none()]);
    outer(&bus);
    assert_eq!(next(&inner), Legacy::whole(), "and so has one that comes now");
    assert!(bus.shutdown(GUARD).drained);
}
