//! Registering schemas, holding events against them, and bringing old versions to new ones.
#![cfg(feature = "schema")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write files and stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;
#[path = "schema/property.rs"]
mod property;

use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use folder::Folder;
use nervebus::{
    BuildError, Bus, Change, Compatibility, ContentModel, DedupWindow, EmitError, Event, HandlerError, Query,
    RateLimit, Reason, Record, Replay, Retry, SchemaCheck, SchemaError, SchemaRegistry, Value, json,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

#[derive(Event, Serialize, Deserialize, JsonSchema, Debug, PartialEq)]
#[event(topic = "order.placed", version = 3, key = id, emits("order.shipped"))]
struct OrderPlaced {
    id: u64,
    cents: u64,
    #[event(pii)]
    email: Option<String>,
}

fn amount() -> Value {
    json!({"type": "object", "properties": {"amount": {"type": "number", "minimum": 0}}, "required": ["amount"]})
}

fn cents() -> Value {
    json!({"type": "object", "properties": {"cents": {"type": "integer", "minimum": 0}}, "required": ["cents"]})
}

/// Versions 1 and 2 as files have them, version 3 as a type, and the way from the first to the last.
fn orders() -> SchemaRegistry {
    let mut schemas = SchemaRegistry::new();
    let first = schemas.upcaster("order.placed", 1, |old| {
        let amount = old["amount"].as_f64().filter(|amount| *amount < 1e6).ok_or("an amount that is none")?;
        Ok(json!({"cents": (amount * 100.0).round() as u64}))
    });
    let second = first.unwrap().upcaster("order.placed", 2, |mut old| {
        old["id"] = json!(0);
        Ok(old)
    });
    second
        .and_then(|schemas| schemas.register_schema("order.placed", 1, amount()))
        .and_then(|schemas| schemas.register_schema("order.placed", 2, cents()))
        .and_then(SchemaRegistry::register::<OrderPlaced>)
        .unwrap();
    schemas
}

fn bus(check: SchemaCheck) -> Bus {
    Bus::builder().schemas(orders(), check).build().unwrap()
}

#[test]
fn a_breaking_version_is_refused_by_name_and_nothing_is_registered() {
    let mut schemas = SchemaRegistry::new();
    schemas
        .register_schema("user.joined", 1, json!({"type": "object", "properties": {"age": {"type": "number"}}}))
        .unwrap();
    let narrower = json!({"type": "object", "properties": {"age": {"type": "integer"}}});
    let Err(SchemaError::Breaking { version: 2, against: 1, changes, .. }) =
        schemas.register_schema("user.joined", 2, narrower.clone())
    else {
        panic!("a number is not always an integer");
    };
    assert_eq!((changes[0].change, &*changes[0].path), (Change::TypeNarrowed, "/age"));
    assert_eq!(schemas.contract().topics["user.joined"].versions.len(), 1);
    schemas.topic_compatibility("user.joined", Compatibility::Forward).unwrap();
    schemas.register_schema("user.joined", 2, narrower.clone()).unwrap();
    schemas.register_schema("user.joined", 2, narrower).unwrap();
    let error = schemas.register_schema("user.joined", 2, json!({"type": "object"})).unwrap_err();
    assert!(matches!(error, SchemaError::Taken { version: 2, .. }), "{error}");
}

#[test]
fn a_transitive_mode_looks_at_all_versions_and_others_at_the_neighbours() {
    let versions = [json!({"maximum": 9}), json!({}), json!({"maximum": 10})];
    let register = |mode| {
        let mut schemas = SchemaRegistry::new().compatibility(mode);
        let mut all = (1..).zip(&versions);
        all.try_for_each(|(version, schema)| schemas.register_schema("a.b", version, schema.clone()).map(drop))
    };
    assert!(register(Compatibility::Forward).is_err(), "version 2 allows more than version 1 does");
    assert!(register(Compatibility::None).is_ok());
    let wider = |mode| {
        let mut schemas = SchemaRegistry::new().compatibility(mode);
        schemas.register_schema("a.b", 3, json!({"minimum": 3})).unwrap();
        // It comes before one that is there: that one must be able to read it.
        schemas.register_schema("a.b", 1, json!({"minimum": 4})).unwrap();
        schemas.register_schema("a.b", 2, json!({"minimum": 2})).map(drop)
    };
    assert!(matches!(wider(Compatibility::Backward), Err(SchemaError::Breaking { against: 3, .. })));
    let mut all = SchemaRegistry::new().compatibility(Compatibility::ForwardTransitive);
    all.register_schema("a.b", 1, json!({"maximum": 9})).unwrap();
    all.topic_compatibility("a.b", Compatibility::None).unwrap();
    all.register_schema("a.b", 2, json!({})).unwrap();
    all.topic_compatibility("a.b", Compatibility::Forward).unwrap();
    all.register_schema("a.b", 3, json!({"maximum": 10})).unwrap();
    all.topic_compatibility("a.b", Compatibility::ForwardTransitive).unwrap();
    let error = all.register_schema("a.b", 4, json!({"maximum": 10})).unwrap_err();
    assert!(matches!(error, SchemaError::Breaking { against: 1, .. }), "{error}");
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    let mut schemas = SchemaRegistry::new();
    for (schema, part) in [
        (json!({"type": "text"}), "/type"),
        (json!({"properties": {"a": {"minimum": "1"}}}), "/properties/a/minimum"),
        (json!({"$ref": "https://example.org/far.json"}), "example.org"),
        (json!({"pattern": "(?=a)b"}), "look-around"),
        (json!(7), "7"),
    ] {
        let error = schemas.register_schema("a.b", 1, schema.clone()).unwrap_err();
        assert!(error.to_string().contains(part), "{schema}: {error}");
    }
    assert!(matches!(schemas.register_schema("a b", 1, json!({})), Err(SchemaError::Topic { .. })));
    assert!(matches!(schemas.register_schema("a.b", 0, json!({})), Err(SchemaError::Version { .. })));
    assert!(schemas.contract().topics.is_empty());
}

#[test]
fn an_emit_that_does_not_fit_is_refused_with_its_payload() {
    let bus = bus(SchemaCheck::AtEmit);
    let (sender, events) = mpsc::channel();
    bus.on("order.*").inline().handle(move |event| sender.send(event.payload().clone())).unwrap();
    let error = bus.emit("order.placed", json!({"amount": -1})).unwrap_err();
    let EmitError::SchemaMismatch { mismatch, payload } = error else { panic!("{error}") };
    assert_eq!((mismatch.version, &*mismatch.path, &*mismatch.rule), (1, "/amount", "minimum: 0"));
    assert_eq!((mismatch.value.as_deref(), payload), (Some("-1"), json!({"amount": -1})));
    assert!(mismatch.to_string().contains("version 1 (it says none): /amount: minimum: 0, and is -1"), "{mismatch}");
    let error = bus.event("order.placed", json!({"amount": 1})).schema_version(2).emit().unwrap_err();
    assert!(error.to_string().contains("version 2: the payload: required: \"cents\" is missing"), "{error}");
    let error = bus.event("order.placed", json!({"amount": 1})).schema_version(9).emit().unwrap_err();
    assert!(error.to_string().contains("no schema of this version, only of [1, 2, 3]"), "{error}");
    assert!(events.try_recv().is_err(), "nobody has seen them");

    bus.emit("order.placed", json!({"amount": 1})).unwrap();
    bus.event("order.placed", json!({"cents": 100})).schema_version(2).emit().unwrap();
    bus.emit("order.unknown", json!("whatever")).unwrap();
    bus.topic::<OrderPlaced>().unwrap().emit(OrderPlaced { id: 1, cents: 2, email: None }).unwrap();
    assert_eq!(events.try_iter().count(), 4);
    assert_eq!(bus.ledger().refused, 3);
    let end = bus.shutdown(GUARD);
    assert!(end.ledger.balanced(), "{end}");
}

#[test]
fn personal_data_and_what_is_in_it_is_in_no_error() {
    #[derive(Event, Serialize, JsonSchema)]
    #[event(topic = "user.joined")]
    struct UserJoined {
        #[event(pii)]
        #[schemars(length(max = 3))]
        name: String,
        #[event(pii)]
        #[schemars(extend("additionalProperties" = false))]
        extra: Value,
    }
    let mut schemas = SchemaRegistry::new();
    schemas.register::<UserJoined>().unwrap();
    let bus = Bus::builder().schemas(schemas, SchemaCheck::AtEmit).build().unwrap();
    let mut users = bus.topic::<UserJoined>().unwrap();
    let error = users.emit(UserJoined { name: "Rumpelstilzchen".into(), extra: json!({}) }).unwrap_err();
    let EmitError::SchemaMismatch { mismatch, .. } = &error else { panic!("{error}") };
    assert_eq!((&*mismatch.path, &*mismatch.rule, &mismatch.value), ("/name", "maxLength: 3", &None));
    let error = users.emit(UserJoined { name: "Al".into(), extra: json!({"Rumpelstilzchen": 1}) }).unwrap_err();
    assert!(error.to_string().contains("/extra: /properties/extra/additionalProperties: nothing may"), "{error}");
    assert!(!error.to_string().contains("Rumpel"), "{error}");
}

#[test]
fn a_handler_is_not_called_with_what_does_not_fit_and_it_is_not_tried_again() {
    for inline in [true, false] {
        let bus = bus(SchemaCheck::AtConsume);
        let on = bus.on("order.placed").name("billing");
        let on = if inline { on.inline() } else { on.retry(Retry::exponential(Duration::from_millis(1)).attempts(3)) };
        let (sender, events) = mpsc::channel();
        on.handle(move |event| sender.send(event["amount"].clone())).unwrap();
        let report = bus.emit_and_wait("order.placed", json!({"amount": "a lot"})).unwrap();
        let outcome = report.outcomes[0].result.as_ref().unwrap_err();
        assert!(
            matches!(&**outcome, HandlerError::SchemaMismatch(mismatch) if mismatch.path == "/amount"),
            "{outcome}"
        );
        assert!(bus.emit_and_wait("order.placed", json!({"amount": 2})).unwrap().all_handled());
        let end = bus.shutdown(GUARD);
        assert!(end.drained && end.ledger.balanced(), "{end}");
        assert_eq!(events.try_iter().collect::<Vec<_>>(), [json!(2)]);
        let letters = bus.dead_letters().find(&Query::new().reason(Reason::ValidationError)).unwrap();
        assert_eq!((letters.len(), letters[0].event["amount"].as_str()), (1, Some("a lot")));
        assert_eq!(letters[0].attempts, 1);
        assert!(letters[0].error.contains("/amount: type: \"number\", and is \"a lot\""), "{}", letters[0].error);
    }
}

#[test]
fn async_and_timed_handlers_are_spared_as_well() {
    let bus = Bus::builder()
        .schemas(orders(), SchemaCheck::AtConsume)
        .lane(nervebus::Lane::new("many").concurrency(8))
        .build()
        .unwrap();
    bus.on("order.placed").handle_async(|_| async {}).unwrap();
    bus.on("order.placed").lane("many").handle_async(|_| async {}).unwrap();
    bus.on("order.placed").timeout(Duration::from_secs(60)).handle(|_| ()).unwrap();
    let report = bus.emit_and_wait("order.placed", json!({})).unwrap();
    let mismatches = report
        .outcomes
        .iter()
        .filter(|outcome| matches!(&outcome.result, Err(error) if matches!(**error, HandlerError::SchemaMismatch(_))));
    assert_eq!((mismatches.count(), report.outcomes.len()), (3, 3));
    assert!(bus.emit_and_wait("order.placed", json!({"amount": 1})).unwrap().all_handled());
}

#[test]
fn one_in_so_many_is_looked_at_and_goes_on_with_a_record() {
    let bus = bus(SchemaCheck::Sampled(3));
    let (sender, records) = mpsc::channel();
    bus.on("system.schema_mismatch").handle(move |event| sender.send(event.payload().clone())).unwrap();
    for _ in 0..9 {
        bus.emit("order.placed", json!({"amount": "secret"})).unwrap();
    }
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}");
    let records: Vec<_> = records.try_iter().collect();
    assert_eq!(records.len(), 3);
    let expected = json!({"event_type": "order.placed", "version": 1, "path": "/amount", "rule": "type: \"number\""});
    assert_eq!(records[0], expected, "without the value");
}

#[test]
fn typed_handlers_get_old_versions_through_the_upcasters() {
    let bus = bus(SchemaCheck::AtEmit);
    let (sender, orders) = mpsc::channel();
    let topic = bus.topic::<OrderPlaced>().unwrap();
    topic
        .on()
        .retry(Retry::exponential(Duration::from_millis(1)).attempts(3))
        .handle(move |order, event| sender.send((order.id, order.cents, event.schema_version())))
        .unwrap();
    let (seen, dynamic) = mpsc::channel();
    bus.on("order.*").handle(move |event| seen.send(event.payload().clone())).unwrap();
    assert!(bus.emit_and_wait("order.placed", json!({"amount": 19.99})).unwrap().all_handled());
    let second = bus.event("order.placed", json!({"cents": 5})).schema_version(2);
    assert!(second.emit_and_wait().unwrap().all_handled());
    let third = bus.event("order.placed", json!({"id": 7, "cents": 6})).schema_version(3);
    assert!(third.emit_and_wait().unwrap().all_handled());
    // It fits the schema, and the upcaster refuses it: a failure, which is not tried again.
    let refused = bus.emit_and_wait("order.placed", json!({"amount": 1e9})).unwrap();
    assert_eq!(refused.outcomes.iter().filter(|outcome| outcome.result.is_err()).count(), 1);
    bus.shutdown(GUARD);
    assert_eq!(orders.try_iter().collect::<Vec<_>>(), [(0, 1999, None), (0, 5, Some(2)), (7, 6, Some(3))]);
    assert_eq!(dynamic.try_iter().next(), Some(json!({"amount": 19.99})), "as it was emitted");
    let letters = bus.dead_letters().list();
    assert!(letters.len() == 1 && letters[0].error.contains("JSON of a version"), "{:?}", letters[0].error);
}

#[test]
fn a_panic_in_an_upcaster_is_a_failure_of_its_handler() {
    #[derive(Event, Deserialize, Serialize)]
    #[event(topic = "job.done", version = 2)]
    struct JobDone;
    let mut schemas = SchemaRegistry::new();
    schemas.upcaster("job.done", 1, |_| panic!("upside down")).unwrap();
    let bus = Bus::builder().schemas(schemas, SchemaCheck::AtEmit).build().unwrap();
    bus.topic::<JobDone>().unwrap().subscribe(|_, _| ()).unwrap();
    let report = bus.emit_and_wait("job.done", json!(null)).unwrap();
    let error = report.outcomes[0].result.as_ref().unwrap_err();
    assert!(matches!(&**error, HandlerError::Panic(message) if message == "upside down"), "{error}");
}

#[test]
fn upcasting_by_hand_goes_all_the_way_or_says_why_not() {
    let schemas = orders();
    let (version, order) = schemas.upcast("order.placed", 1, json!({"amount": 0.5})).unwrap();
    assert_eq!((version, order), (3, json!({"id": 0, "cents": 50})));
    assert_eq!(schemas.upcast("order.placed", 3, json!(1)).unwrap(), (3, json!(1)));
    assert_eq!(schemas.upcast("order.unknown", 1, json!(1)).unwrap(), (1, json!(1)));
    assert_eq!(schemas.upcast_to("order.placed", 1, 2, json!({"amount": 1})).unwrap(), json!({"cents": 100}));
    for (from, to, part) in [(3, 2, "no upcasters"), (1, 7, "no upcasters"), (1, 2, "refused the payload: an amount")] {
        let error = schemas.upcast_to("order.placed", from, to, json!({"amount": "?"})).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_gap_between_upcasters_is_found_when_the_bus_is_built() {
    let mut schemas = SchemaRegistry::new().compatibility(Compatibility::None);
    schemas.upcaster("a.b", 1, Ok).and_then(|schemas| schemas.register_schema("a.b", 3, json!({}))).unwrap();
    let error = Bus::builder().schemas(schemas.clone(), SchemaCheck::AtEmit).build().unwrap_err();
    assert!(matches!(&error, BuildError::Schemas { rule } if rule.contains("\"a.b\" from version 2")), "{error}");
    assert!(matches!(schemas.upcaster("a.b", 1, Ok), Err(SchemaError::Upcaster { from: 1, .. })));
    schemas.upcaster("a.b", 2, Ok).unwrap();
    Bus::builder().schemas(schemas, SchemaCheck::AtEmit).build().unwrap();
}

#[test]
fn schemas_and_contracts_are_read_from_files() {
    let folder = Folder::of("schema-files");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("user.joined.v10.json", r#"{"type": "object", "required": ["a"]}"#);
    write("user.joined.v9.json", r#"{"type": "object", "required": ["a", "b"]}"#);
    write("notes.txt", "not looked at");
    write("contract.json", &orders().to_json().to_string());
    let mut schemas = SchemaRegistry::new();
    schemas.upcaster("order.placed", 1, Ok).and_then(|schemas| schemas.upcaster("order.placed", 2, Ok)).unwrap();
    schemas.load_dir(folder.path()).unwrap();
    let topics = &schemas.contract().topics;
    assert_eq!(topics["user.joined"].versions.keys().collect::<Vec<_>>(), [&9, &10]);
    let order = &topics["order.placed"];
    assert_eq!((order.key.as_deref(), order.category.as_str()), (Some("id"), "event"));
    assert_eq!(
        (order.emits.as_slice(), order.pii.as_slice()),
        (&["order.shipped".to_owned()][..], &["email".to_owned()][..])
    );
    assert!(schemas.validate("user.joined", 10, &json!({})).is_err());

    for (name, text, part) in [
        ("broken.v1.json", "{\"type\": ", "no JSON: EOF"),
        ("broken.v1.json", r#"{"minLength": -1}"#, "/minLength"),
        ("user.joined.v11.json", r#"{"required": ["c"]}"#, "required_added"),
        (
            "contract.json",
            r#"{"nervebus_contract": 1, "topics": {"a.b": {"versions": {"0": {}}}}}"#,
            "/topics/a.b/versions/0",
        ),
        ("contract.json", r#"{"nervebus_contract": 2}"#, "\"nervebus_contract\": 1"),
        ("other.json", "{}", "named by topic and version"),
        ("missing.v1.json", "", "cannot read"),
    ] {
        let path = folder.path().join(name);
        if name == "missing.v1.json" {
            let _ = fs::remove_file(&path);
        } else {
            write(name, text);
        }
        let error = schemas.load_file(&path).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(part), "{name}: {error}");
    }
}

#[test]
fn the_schema_of_a_type_accepts_what_the_type_writes() {
    let schemas = orders();
    let order =
        serde_json::to_value(OrderPlaced { id: u64::MAX, cents: 0, email: Some("a@b.example".into()) }).unwrap();
    schemas.validate("order.placed", 3, &order).unwrap();
    assert!(schemas.validate("order.placed", 3, &json!({"id": 1, "cents": 0})).is_ok(), "an `Option` may be missing");
    assert!(schemas.validate("order.placed", 3, &json!({"id": -1, "cents": 0, "email": null})).is_err());
    let again = nervebus::Contract::from_json(&schemas.to_json()).unwrap();
    assert_eq!(&again, schemas.contract());
    assert!(again.breaking(schemas.contract(), None, ContentModel::Open).is_empty());
}

#[test]
fn replayed_events_of_old_versions_go_through_the_upcasters_too() {
    let records = [
        json!({"event_type": "order.placed", "payload": {"amount": 1.5}}),
        json!({"event_type": "order.placed", "payload": {"cents": 7}, "schema_version": 2}),
        json!({"event_type": "order.placed", "payload": {"cents": "?"}, "schema_version": 2}),
    ];
    for (check, expected) in
        [(SchemaCheck::AtEmit, Reason::HandlerError), (SchemaCheck::AtConsume, Reason::ValidationError)]
    {
        let bus = bus(check);
        let (sender, orders) = mpsc::channel();
        let topic = bus.topic::<OrderPlaced>().unwrap();
        topic.on().name("billing").handle(move |order, event| sender.send((order.cents, event.is_replayed()))).unwrap();
        let read = |line: &Value| Record::from_jsonl(line.to_string().as_bytes()).unwrap();
        let records: Vec<_> = records.iter().map(read).collect();
        bus.replay(Replay::from_records(records).into("billing")).unwrap();
        let end = bus.shutdown(GUARD);
        assert!(end.drained && end.ledger.balanced(), "{end}");
        assert_eq!(orders.try_iter().collect::<Vec<_>>(), [(150, true), (7, true)]);
        assert_eq!(bus.dead_letters().list().iter().map(|letter| letter.reason).collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn what_is_replayed_to_all_was_emitted_before_and_is_not_refused() {
    let bus = bus(SchemaCheck::AtEmit);
    let (sender, seen) = mpsc::channel();
    bus.on("order.placed").handle(move |event| sender.send(event["amount"].clone())).unwrap();
    let record = Record::from_jsonl(br#"{"event_type": "order.placed", "payload": {"amount": "?"}}"#).unwrap();
    bus.replay(Replay::from_records([record])).unwrap();
    bus.shutdown(GUARD);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [json!("?")]);
}

#[test]
fn whichever_way_an_event_is_emitted_it_is_held_against_its_schema() {
    let bus = bus(SchemaCheck::AtEmit);
    let (sender, seen) = mpsc::channel();
    bus.on("order.placed").handle(move |event| sender.send(event["amount"].clone())).unwrap();
    let mut publisher = bus.publisher("order.placed").unwrap();
    let wrong = || json!({"amount": "?"});
    let refused = [
        publisher.emit(wrong()).map(drop),
        bus.try_emit("order.placed", wrong()).map(drop),
        bus.emit_and_wait("order.placed", wrong()).map(drop),
        block_on(bus.emit_async("order.placed", wrong())).map(drop),
        bus.emit_record(Record::from_jsonl(br#"{"event_type": "order.placed", "payload": {"amount": "?"}}"#).unwrap())
            .map(drop),
    ];
    for refused in refused {
        let error = refused.unwrap_err();
        assert!(matches!(error, EmitError::SchemaMismatch { .. }), "{error}");
        assert_eq!(error.into_payload(), wrong());
    }
    block_on(bus.emit_async("order.placed", json!({"amount": 1}))).unwrap();
    bus.shutdown(GUARD);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [json!(1)]);
}

#[test]
fn what_does_not_fit_takes_no_token_and_is_no_duplicate_of_what_does() {
    let bus = Bus::builder()
        .schemas(orders(), SchemaCheck::AtEmit)
        .rate_limit("order.*", RateLimit::per_second(1).burst(1))
        .dedup(DedupWindow::new(16, Duration::from_secs(60)))
        .build()
        .unwrap();
    let emit = |amount: Value| bus.event("order.placed", json!({"amount": amount})).idempotency_key("k").emit();
    assert!(matches!(emit(json!("?")), Err(EmitError::SchemaMismatch { .. })));
    let receipt = emit(json!(1)).unwrap();
    assert!(!receipt.is_duplicate());
}

#[cfg(feature = "durable")]
#[test]
fn the_durable_log_has_only_what_fits_and_gives_it_through_the_upcasters() {
    let folder = Folder::of("schema-durable");
    let log = nervebus::DurableLog::at(folder.path().join("log")).topics("order.*").buffer(1 << 20);
    let bus = Bus::builder().schemas(orders(), SchemaCheck::AtEmit).durable(log).build().unwrap();
    let (sender, seen) = mpsc::channel();
    bus.on("order.*")
        .durable("billing")
        .from_start()
        .handle(move |event| sender.send(event.payload().clone()))
        .unwrap();
    assert!(bus.emit_durable("order.placed", json!({"amount": "?"})).is_err());
    bus.emit_durable("order.placed", json!({"amount": 2})).unwrap();
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), json!({"amount": 2}));
    assert!(seen.try_recv().is_err());
}

/// Runs a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
