//! Every way in which an event is refused for what it is: it is counted once, its payload comes back, and nobody sees it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nervebus::{Builder, Bus, Category, EmitError, Event, Payload, TypedEvent, Validation, json};
use serde::Serialize;

use super::until::GUARD;

/// A command that nobody handles.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Ship(u64);

impl TypedEvent for Ship {
    const TOPIC: &'static str = "order.ship";
    const CATEGORY: Category = Category::Command;
}

fn counted<T>(bus: &Bus, refusals: &mut u64, result: Result<T, impl std::fmt::Debug>) {
    let error = result.err().unwrap();
    *refusals += 1;
    let ledger = bus.ledger();
    assert_eq!((ledger.refused, ledger.emitted), (*refusals, *refusals), "{error:?}: {ledger}");
    assert!(ledger.balanced(), "{error:?}: {ledger}");
}

/// One event in every way of an emit; each is refused.
fn every_way<P: Payload + Clone + PartialEq + std::fmt::Debug>(
    bus: &Bus,
    topic: &str,
    payload: &P,
    refusals: &mut u64,
) {
    let back = |error: EmitError<P>| assert_eq!(error.into_payload(), *payload);
    counted(bus, refusals, bus.emit(topic, payload.clone()).map_err(back));
    counted(bus, refusals, bus.try_emit(topic, payload.clone()).map_err(back));
    counted(bus, refusals, bus.emit_and_wait(topic, payload.clone()).map_err(back));
    counted(bus, refusals, bus.event(topic, payload.clone()).emit().map_err(back));
    counted(bus, refusals, block_on(bus.emit_async(topic, payload.clone())).map_err(back));
    counted(bus, refusals, block_on(bus.emit_and_wait_async(topic, payload.clone())).map_err(back));
    let mut publisher = bus.publisher(topic).unwrap();
    counted(bus, refusals, publisher.emit(payload.clone()).map_err(back));
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Plain, and with a durable log of all topics.
fn buses(test: &str, rules: impl Fn(Builder) -> Builder) -> Vec<(Bus, Option<super::folder::Folder>)> {
    let plain = (rules(Bus::builder()).build().unwrap(), None);
    #[cfg(not(feature = "durable"))]
    {
        let _ = test;
        vec![plain]
    }
    #[cfg(feature = "durable")]
    {
        let folder = super::folder::Folder::of(test);
        let log = nervebus::DurableLog::at(folder.path().join("log")).topics("order.*").buffer(1 << 20);
        vec![plain, (rules(Bus::builder().durable(log)).build().unwrap(), Some(folder))]
    }
}

fn nobody(bus: &Bus) -> Arc<AtomicU32> {
    let seen = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&seen);
    let handler = move |_: &Event<'_>| {
        count.fetch_add(1, Ordering::Relaxed);
    };
    bus.on("order.*").handle(handler).unwrap();
    seen
}

#[test]
fn an_event_that_breaks_a_rule_is_counted_in_every_way_of_an_emit() {
    for (bus, _folder) in buses("refused-rules", |bus| bus.validate(Validation::new().require("order.*", "id"))) {
        let (seen, mut refusals) = (nobody(&bus), 0);
        every_way(&bus, "order.placed", &json!({}), &mut refusals);
        super::end(&bus);
        assert_eq!((seen.load(Ordering::Relaxed), bus.stats().guards.invalid), (0, refusals));
    }
}

#[test]
fn a_command_without_a_handler_is_counted_in_every_way_of_an_emit() {
    for (bus, _folder) in buses("refused-command", |bus| bus) {
        let mut ship = bus.topic::<Ship>().unwrap();
        let mut refusals = 0;
        every_way(&bus, "order.ship", &json!({}), &mut refusals);
        let back = |error: EmitError<Ship>| assert_eq!(error.into_payload(), Ship(7));
        counted(&bus, &mut refusals, ship.emit(Ship(7)).map_err(back));
        counted(&bus, &mut refusals, ship.emit_shared(Ship(7)).map_err(back));
        counted(&bus, &mut refusals, ship.emit_and_wait(Ship(7)).map_err(back));
        counted(&bus, &mut refusals, block_on(ship.emit_async(Ship(7))).map_err(back));
        counted(&bus, &mut refusals, ship.event(Ship(7)).emit().map_err(back));
        super::end(&bus);
    }
}

#[test]
fn an_event_with_a_header_that_cannot_be_is_counted_and_makes_no_topic_known() {
    for (bus, _folder) in buses("refused-header", |bus| bus) {
        let mut refusals = 0;
        let event = || bus.event("order.placed", json!({"id": 7})).attribute("no name\n", "value");
        let topics = bus.stats().topics;
        let back = |error: EmitError<_>| {
            assert!(matches!(error, EmitError::InvalidAttribute { .. }), "{error}");
            assert_eq!(error.into_payload(), json!({"id": 7}));
        };
        counted(&bus, &mut refusals, event().emit().map_err(back));
        assert_eq!(bus.stats().topics, topics, "what is refused by itself fills no table");
        let _seen = nobody(&bus);
        counted(&bus, &mut refusals, event().emit().map_err(back));
        counted(&bus, &mut refusals, event().emit_and_wait().map_err(back));
        counted(&bus, &mut refusals, block_on(event().emit_async()).map_err(back));
        super::end(&bus);
    }
}

#[cfg(feature = "schema")]
#[test]
fn an_event_that_does_not_fit_its_schema_is_counted_in_every_way_of_an_emit() {
    use nervebus::{SchemaCheck, SchemaRegistry};

    let schemas = || {
        let mut schemas = SchemaRegistry::new();
        let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]});
        schemas.register_schema("order.placed", 1, schema).unwrap();
        schemas
    };
    for (bus, _folder) in buses("refused-schema", |bus| bus.schemas(schemas(), SchemaCheck::AtEmit)) {
        let (seen, mut refusals) = (nobody(&bus), 0);
        every_way(&bus, "order.placed", &json!({}), &mut refusals);
        super::end(&bus);
        assert_eq!(seen.load(Ordering::Relaxed), 0);
    }
}

#[cfg(all(feature = "schema", feature = "durable"))]
#[test]
fn a_handler_that_is_told_of_a_mismatch_may_wait_for_an_emitter_of_the_same_durable_topic() {
    use std::thread;

    use nervebus::{DurableLog, SchemaCheck, SchemaRegistry};

    let folder = super::folder::Folder::of("told");
    let mut schemas = SchemaRegistry::new();
    let schema = json!({"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]});
    schemas.register_schema("order.placed", 1, schema).unwrap();
    let log = DurableLog::at(folder.path().join("log")).topics("order.*").buffer(1 << 20);
    let bus = Bus::builder().durable(log).schemas(schemas, SchemaCheck::Sampled(1)).build().unwrap();
    let (told, report) = mpsc::channel();
    let emitter = bus.downgrade();
    let tell = move |_: &Event<'_>| {
        let ((done, waits), bus) = (mpsc::channel(), emitter.upgrade().unwrap());
        thread::spawn(move || done.send(bus.emit("order.placed", json!({"id": 8})).is_ok()));
        told.send(waits.recv_timeout(Duration::from_secs(5)).is_ok()).unwrap();
    };
    bus.on("system.schema_mismatch").inline().handle(tell).unwrap();
    bus.emit("order.placed", json!({})).unwrap();
    assert!(report.recv_timeout(GUARD).unwrap(), "the other emitter had its turn");
    super::end(&bus);
}

#[cfg(feature = "schema")]
#[test]
fn what_a_mismatch_quotes_passes_the_redactor_as_what_a_report_quotes() {
    use nervebus::{Redactor, SchemaCheck, SchemaRegistry};

    let schemas = || {
        let whole = json!({"type": "integer"});
        let fields = json!({"id": whole, "by": {"type": "object", "additionalProperties": whole}});
        let schema = json!({"type": "object", "properties": fields, "additionalProperties": false});
        let mut schemas = SchemaRegistry::new();
        schemas.register_schema("order.placed", 1, schema).unwrap();
        schemas
    };
    let build = |check| Bus::builder().redact(Redactor::default()).schemas(schemas(), check).build().unwrap();
    let (refuses, tells) = (build(SchemaCheck::AtEmit), build(SchemaCheck::Sampled(1)));
    let (sender, records) = mpsc::channel();
    let see = move |record: &Event<'_>| sender.send(record.payload().to_string()).unwrap();
    tells.on("system.schema_mismatch").inline().handle(see).unwrap();
    let mail = "alice@example.com";
    for payload in [json!({"id": mail}), json!({"by": {mail: "none"}}), json!({mail: 1})] {
        let error = refuses.emit("order.placed", payload.clone()).unwrap_err();
        let EmitError::SchemaMismatch { mismatch, payload: back } = &error else { panic!("{error}") };
        assert_eq!(*back, payload);
        assert!(!format!("{mismatch:?}").contains("alice"), "{mismatch:?}");
        tells.emit("order.placed", payload).unwrap();
        let record = records.recv_timeout(GUARD).unwrap();
        assert!(!record.contains("alice"), "{record}");
    }
    super::end(&refuses);
    super::end(&tells);
}

#[test]
fn a_replay_that_is_refused_leaves_the_window_for_duplicates_as_it_was() {
    use nervebus::{DedupWindow, Lane, Overflow, Record, Replay};

    let lane = Lane::new("one").capacity(2).overflow(Overflow::Reject);
    let bus = Bus::builder().lane(lane).dedup(DedupWindow::new(100, Duration::from_secs(60))).build().unwrap();
    let ((entered, at_work), (open, gate)) = (mpsc::channel(), mpsc::channel::<()>());
    let gate = std::sync::Mutex::new(gate);
    let wait = move |_: &Event<'_>| {
        let _ = entered.send(());
        gate.lock().unwrap().recv().unwrap_err();
    };
    bus.on("order.*").lane("one").handle(wait).unwrap();
    let emit = || bus.event("order.placed", json!({})).event_id("e-1").emit();
    assert!(!emit().unwrap().is_duplicate());
    at_work.recv_timeout(GUARD).unwrap();
    while bus.try_emit("order.filler", json!({})).is_ok() {}
    let mut record = Record::new("order.placed", json!({}));
    record.event_id = Some("e-1".to_owned());
    assert_eq!(bus.replay(Replay::from_records([record])).unwrap().refused, 1);
    assert!(emit().unwrap().is_duplicate(), "what was refused had not been counted");
    drop(open);
    super::end(&bus);
}

#[test]
fn a_request_whose_name_breaks_a_rule_makes_no_topic_known() {
    use nervebus::RequestError;

    let bus = Bus::builder().validate(Validation::new().domains(["order"])).build().unwrap();
    let error = bus.request::<_, u64>("rubbish.1", json!({}), GUARD).unwrap_err();
    assert!(matches!(error, RequestError::Emit(EmitError::Invalid { .. })), "{error}");
    bus.emit("rubbish.2", json!({})).unwrap_err();
    assert_eq!((bus.stats().topics, bus.ledger().refused), (0, 2));
    super::end(&bus);
}
