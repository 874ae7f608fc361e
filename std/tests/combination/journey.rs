//! One typed event through all there is: rules, schema, context, headers, the durable log, a restart, a dead letter that is
//! sent back, and a replay into the next version of its type.
#![cfg(all(feature = "durable", feature = "schema"))]

use std::fs;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use nervebus::{
    AuditLog, Baggage, Builder, Bus, Class, DeadLetterLog, DurableLog, EmitError, Event, Level, Redactor, Replay,
    SchemaCheck, SchemaRegistry, Scope, TraceContext, TypedEvent, Validation, Value, json,
};
use serde::{Deserialize, Serialize};

use super::folder::Folder;
use super::until::{GUARD, until};

type Parsed<T> = Option<Result<T, Box<dyn std::error::Error + Send + Sync>>>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PlacedV1 {
    id: u64,
    euros: u64,
}

impl TypedEvent for PlacedV1 {
    const TOPIC: &'static str = "order.placed";
    const CLASS: Class = Class::High;
    const TTL: Option<Duration> = Some(Duration::from_secs(3_600));

    fn from_json(value: &Value) -> Parsed<Self> {
        Some(Self::deserialize(value).map_err(Into::into))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PlacedV2 {
    id: u64,
    cents: u64,
}

impl TypedEvent for PlacedV2 {
    const TOPIC: &'static str = "order.placed";
    const VERSION: u32 = 2;

    fn from_json(value: &Value) -> Parsed<Self> {
        Some(Self::deserialize(value).map_err(Into::into))
    }
}

fn schemas() -> SchemaRegistry {
    let field =
        |name: &str| json!({"type": "object", "properties": {name: {"type": "integer"}}, "required": ["id", name]});
    let mut schemas = SchemaRegistry::new().compatibility(nervebus::Compatibility::None);
    schemas.register_schema("order.placed", 1, field("euros")).unwrap();
    schemas.register_schema("order.placed", 2, field("cents")).unwrap();
    let step = |old: Value| Ok(json!({"id": old["id"], "cents": old["euros"].as_u64().ok_or("no euros")? * 100}));
    schemas.upcaster("order.placed", 1, step).unwrap();
    schemas
}

fn build(folder: &Folder) -> Builder {
    let at = |name: &str| folder.path().join(name);
    Bus::builder()
        .durable(DurableLog::at(at("log")).topics("order.*").keep_handled(true).buffer(1 << 20))
        .dead_letter_log(DeadLetterLog::at(at("letters.jsonl")))
        .audit(AuditLog::at(at("audit.jsonl")))
        .redact(Redactor::default())
        .validate(Validation::new().require("order.placed", "id").dead_letter())
}

/// What goes with an event wherever it goes.
type Said =
    (Option<u32>, Class, Option<Duration>, Option<String>, Option<String>, Option<String>, Option<String>, bool);

fn said(event: &Event<'_>) -> Said {
    let text = |text: Option<&str>| text.map(str::to_owned);
    (
        event.schema_version(),
        event.class(),
        event.ttl(),
        text(event.correlation_id()),
        event.trace_context().map(ToString::to_string),
        event.baggage().map(ToString::to_string),
        text(event.attribute("tenant")),
        event.is_replayed(),
    )
}

fn cents(sender: &Sender<(u64, Said)>) -> impl Fn(&PlacedV2, &Event<'_>) + Send + Sync + 'static {
    let sender = sender.clone();
    move |order, event| sender.send((order.cents, said(event))).unwrap()
}

#[test]
fn a_typed_event_comes_through_restart_dead_letter_and_replay_with_all_that_was_said_of_it() {
    let folder = Folder::of("journey");
    let trace = TraceContext::new(7, 8).unwrap();
    let first = build(&folder).schemas(schemas(), SchemaCheck::AtEmit).build().unwrap();
    let orders = first.topic::<PlacedV1>().unwrap();
    let tenant = || orders.event(PlacedV1 { id: 1, euros: 20 }).attribute("tenant", "north");
    let scope = Scope::new().with_correlation_id("request 7").with_trace_context(trace.clone());
    let entered = scope.with_baggage(Baggage::parse("user=7").unwrap()).enter();
    tenant().durable(Level::Written).emit().unwrap();
    let mismatch = first.event("order.placed", json!({"id": 2})).schema_version(1).emit().unwrap_err();
    assert!(matches!(mismatch, EmitError::SchemaMismatch { .. }), "{mismatch}");
    drop(entered);
    super::end(&first);
    drop((first, orders));

    // In the next run its handler knows the next version, and fails at first.
    let second = build(&folder).schemas(schemas(), SchemaCheck::AtConsume).build().unwrap();
    second
        .on("order.placed")
        .name("billing")
        .durable("billing")
        .from_start()
        .handle(|_| Err::<(), _>("not today"))
        .unwrap();
    until(|| second.dead_letters().len() == 1);
    let (version, ttl) = (Some(1), PlacedV1::TTL);
    let texts = [Some("request 7".into()), Some(trace.to_string()), Some("user=7".into()), Some("north".into())];
    let [correlation, trace, baggage, tenant] = texts;
    let expected: Said = (version, Class::High, ttl, correlation, trace, baggage, tenant, false);
    assert_eq!(said(&second.dead_letters().list()[0].event.as_event()), expected);
    super::end(&second);
    drop(second);

    // In the one after that the letter is sent back, and all is replayed.
    let third = build(&folder).schemas(schemas(), SchemaCheck::AtConsume).build().unwrap();
    let (sender, seen) = mpsc::channel();
    let orders = third.topic::<PlacedV2>().unwrap();
    orders.on().name("billing").durable("billing").handle(cents(&sender)).unwrap();
    let letter = third.dead_letters().list()[0].id;
    third.dead_letters().retry(letter).unwrap();
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), (2_000, expected.clone()), "sent back");
    orders.on().handle(cents(&sender)).unwrap();
    assert_eq!(third.replay(Replay::from_log()).unwrap().given, 1);
    let replayed = (expected.0, expected.1, expected.2, expected.3, expected.4, expected.5, expected.6, true);
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), (2_000, replayed), "replayed");
    super::end(&third);
}

#[test]
fn what_is_said_of_an_event_is_redacted_in_every_file_that_is_shown() {
    let folder = Folder::of("journey-secrets");
    let bus = build(&folder).build().unwrap();
    bus.on("user.*").handle(|_| Err::<(), _>("no way for alice@example.com")).unwrap();
    let say = |payload| {
        let event =
            bus.event("user.seen", payload).attribute("password", "hunter2").attribute("mail", "alice@example.com");
        let event =
            event.source("alice@example.com").correlation_id("alice@example.com").partition_key("alice@example.com");
        let event = event.idempotency_key("alice@example.com").operation_name("mail alice@example.com");
        event.baggage(Baggage::parse("mail=alice%40example.com,token=hunter2").unwrap())
    };
    assert!(!say(json!({"password": "hunter2"})).emit_and_wait().unwrap().all_handled());
    let mut order = bus.event("order.placed", json!({"mail": "alice@example.com", "password": "hunter2"}));
    order = order.attribute("password", "hunter2").source("alice@example.com");
    assert!(matches!(order.emit().unwrap_err(), EmitError::Invalid { .. }));
    super::end(&bus);
    assert_eq!(bus.dead_letters().len(), 2);
    for file in ["audit.jsonl", "letters.jsonl"] {
        let text = fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(text.contains("user.seen"), "{file}");
        for secret in ["hunter2", "alice@example.com", "alice%40example.com"] {
            assert!(!text.contains(secret), "{secret} in {file}:\n{text}");
        }
    }
}
