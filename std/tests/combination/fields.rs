//! All that is said of an event, over every way in which it is kept and comes back: none of them forgets a field.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use nervebus::{
    AuditLog, Baggage, Bus, Class, CloudEvent, DeadLetter, DeadLetterFile, DeadLetterLog, Emission, Event, OwnedEvent,
    Record, Replay, TraceContext, TypedEvent, Validation, Value, json,
};
use serde::{Deserialize, Serialize};

use super::everything::everything;
use super::folder::Folder;
use super::until::GUARD;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What an event says of itself, by the names of the fields.
type Portrait = BTreeMap<&'static str, String>;

/// An event of which all is said that can be.
fn all(bus: &Bus) -> Emission<'_, Value> {
    everything(bus, "order.placed")
        // So long that it has not passed since then: what is emitted from a record has what is left.
        .ttl(Duration::from_millis(3_155_760_000_500))
        .trace_context(TraceContext::parse(TRACE).unwrap().with_state("vendor=value,other=1"))
        .baggage(Baggage::parse("user=alice%20b;private,region=eu").unwrap())
}

fn portrait(event: &Event<'_>) -> Portrait {
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    BTreeMap::from([
        ("topic", event.topic().to_owned()),
        ("payload", event.payload().to_string()),
        ("id", event.id().to_string()),
        ("timestamp", event.timestamp().to_string()),
        ("source", text(event.source())),
        ("correlation_id", text(event.correlation_id())),
        ("causation_id", event.causation_id().map(|id| id.to_string()).unwrap_or_default()),
        ("idempotency_key", text(event.idempotency_key())),
        ("schema_version", format!("{:?}", event.schema_version())),
        ("class", event.class().to_string()),
        ("ttl", format!("{:?}", event.ttl())),
        // With whatever field is added to it.
        ("headers", format!("{:?}", event.headers())),
        ("traceparent", event.trace_context().map(ToString::to_string).unwrap_or_default()),
        ("tracestate", text(event.trace_context().and_then(TraceContext::state))),
        ("baggage", event.baggage().map(ToString::to_string).unwrap_or_default()),
    ])
}

/// What the emitter said, as an inline handler sees it.
fn said() -> Portrait {
    let bus = Bus::builder().build().unwrap();
    let seen = seen(&bus);
    all(&bus).emit().unwrap();
    let portrait = seen.recv_timeout(GUARD).unwrap();
    assert!(portrait.values().all(|value| !value.is_empty() && value != "None"), "{portrait:#?}");
    portrait
}

fn seen(bus: &Bus) -> Receiver<Portrait> {
    let (sender, seen) = mpsc::channel();
    bus.on("order.*").inline().handle(sending(sender)).unwrap();
    seen
}

fn sending(sender: Sender<Portrait>) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
    move |event| sender.send(portrait(event)).unwrap()
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| line.contains("order.placed")).map(str::to_owned).collect()
}

/// What a bus makes of a record that it emits.
fn emitted(record: Record) -> Portrait {
    let bus = Bus::builder().build().unwrap();
    let seen = seen(&bus);
    bus.emit_record(record).unwrap();
    seen.recv_timeout(GUARD).unwrap()
}

fn replayed(replay: Replay) -> Portrait {
    let bus = Bus::builder().build().unwrap();
    let seen = seen(&bus);
    assert_eq!(bus.replay(replay).unwrap().given, 1);
    seen.recv_timeout(GUARD).unwrap()
}

#[test]
fn lines_records_documents_and_replays_keep_every_field() {
    let (folder, said) = (Folder::of("fields-lines"), said());
    let log = folder.path().join("audit.jsonl");
    let bus = Bus::builder().audit(AuditLog::at(&log)).build().unwrap();
    let kept = bus.wait_for_async("order.placed", |_| true, GUARD);
    all(&bus).emit().unwrap();
    let kept = kept.wait().unwrap();
    super::end(&bus);

    assert_eq!(portrait(&kept.as_event()), said, "kept");
    let line = lines(&log).remove(0);
    assert_eq!(line, kept.to_jsonl(), "in the audit log");
    let back = OwnedEvent::from_jsonl(line.as_bytes()).unwrap();
    assert_eq!(portrait(&back.as_event()), said, "read from a line");
    let record = Record::from_jsonl(line.as_bytes()).unwrap();
    assert_eq!(Record::from_jsonl(record.to_jsonl().as_bytes()).unwrap(), record, "a record's line");
    assert_eq!(emitted(record.clone()), said, "emitted as a record");
    assert_eq!(replayed(Replay::from_records([record])), said, "replayed from records");
    assert_eq!(replayed(Replay::from_audit(&log)), said, "replayed from the file");

    let cloud = kept.to_cloud_event();
    let parsed = CloudEvent::parse(cloud.to_json().as_bytes()).unwrap();
    assert_eq!(parsed, cloud);
    // What has no number, as its emitter's event has none there.
    assert_eq!(portrait(&parsed.into_event().unwrap().as_event()), said, "through a document of CloudEvents");
}

#[test]
fn dead_letters_keep_every_field_in_memory_in_their_file_and_when_they_are_retried() {
    let (folder, said) = (Folder::of("fields-letters"), said());
    let path = folder.path().join("letters.jsonl");
    let build = || Bus::builder().dead_letter_log(DeadLetterLog::at(&path)).build().unwrap();
    let first = build();
    first.on("order.*").name("billing").handle(|_| Err::<(), _>("no")).unwrap();
    assert_eq!(all(&first).emit_and_wait().unwrap().failures().count(), 1);
    let letter = first.dead_letters().list().remove(0);
    assert_eq!(portrait(&letter.event.as_event()), said, "in memory");
    super::end(&first);
    drop((first, letter));

    let file = DeadLetterFile::open(&path).unwrap();
    let stored = file.get(file.ids().next().unwrap()).unwrap().unwrap();
    assert_eq!(portrait(&stored.letter.event.as_event()), said, "in the file");
    assert_eq!(emitted(Record::from_jsonl(stored.event_json().as_bytes()).unwrap()), said, "emitted from the file");
    drop(file);

    let second = build();
    let (sender, seen) = mpsc::channel();
    second.on("order.*").name("billing").handle(sending(sender)).unwrap();
    let id = second.dead_letters().list()[0].id;
    second.dead_letters().retry(id).unwrap();
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), said, "retried after a restart");
    super::end(&second);
}

#[test]
fn the_letter_of_a_refused_event_keeps_every_field() {
    let said = said();
    let bus = Bus::builder().validate(Validation::new().require("*", "absent").dead_letter()).build().unwrap();
    let refused = all(&bus).emit().unwrap_err();
    assert_eq!(refused.into_payload(), json!({"id": 7}));
    assert_eq!(portrait(&bus.dead_letters().list()[0].event.as_event()), said);
    assert_eq!(bus.ledger().refused, 1);
    super::end(&bus);
}

#[cfg(feature = "durable")]
mod durable {
    use nervebus::{DurableLog, Level};

    use super::*;

    #[test]
    fn the_record_of_a_failure_names_the_event_of_an_earlier_run_by_its_identity_alone() {
        let folder = Folder::of("fields-failure");
        let build = || {
            let log = DurableLog::at(folder.path().join("log")).topics("order.*").buffer(1 << 20);
            Bus::builder().durable(log).build().unwrap()
        };
        let first = build();
        let id =
            first.event("order.placed", json!({})).durable(Level::Written).emit().unwrap().receipt().id().to_string();
        super::super::end(&first);
        drop(first);

        let second = build();
        let (sender, records) = mpsc::channel();
        let see = move |record: &Event<'_>| {
            sender.send((record.causation_id().map(|id| id.to_string()), record.causation())).unwrap();
        };
        second.on("system.handler_error").inline().handle(see).unwrap();
        second.on("order.*").durable("billing").from_start().handle(|_| Err::<(), _>("no")).unwrap();
        assert_eq!(records.recv_timeout(GUARD).unwrap(), (Some(id), None), "its number is another event's here");
        super::super::end(&second);
    }

    #[test]
    fn the_durable_log_keeps_every_field_for_subscriptions_and_replays() {
        let (folder, said) = (Folder::of("fields-durable"), said());
        let build = || {
            let log = DurableLog::at(folder.path().join("log")).topics("order.*").keep_handled(true).buffer(1 << 20);
            Bus::builder().durable(log).build().unwrap()
        };
        let first = build();
        all(&first).durable(Level::Written).emit().unwrap();
        super::super::end(&first);
        drop(first);

        let second = build();
        let (sender, seen) = mpsc::channel();
        second.on("order.*").durable("billing").from_start().handle(sending(sender.clone())).unwrap();
        assert_eq!(seen.recv_timeout(GUARD).unwrap(), said, "to a durable subscription");
        second.on("order.*").inline().handle(sending(sender)).unwrap();
        assert_eq!(second.replay(Replay::from_log()).unwrap().given, 1);
        assert_eq!(seen.recv_timeout(GUARD).unwrap(), said, "replayed");
        super::super::end(&second);
    }
}

/// A type with a version, a class and a time to live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Placed {
    id: Option<u64>,
}

impl TypedEvent for Placed {
    const TOPIC: &'static str = "order.placed";
    const VERSION: u32 = 3;
    const CLASS: Class = Class::High;
    const TTL: Option<Duration> = Some(Duration::from_secs(3_600));

    fn from_json(value: &Value) -> Option<Result<Self, Box<dyn std::error::Error + Send + Sync>>> {
        Some(Self::deserialize(value).map_err(Into::into))
    }
}

#[test]
fn the_letter_of_a_refused_event_has_what_its_type_says_and_what_caused_it() {
    let bus = Bus::builder().validate(Validation::new().require("order.placed", "id").dead_letter()).build().unwrap();
    let orders = bus.topic::<Placed>().unwrap();
    let refused = orders.clone().emit(Placed { id: None }).unwrap_err();
    assert_eq!(refused.into_payload(), Placed { id: None });
    let emit = move |_: &Event<'_>| {
        orders.event(Placed { id: None }).emit().unwrap_err();
        orders.emit_shared(Placed { id: None }).unwrap_err();
    };
    bus.on("shop.opened").inline().handle(emit).unwrap();
    bus.event("shop.opened", json!({})).event_id("e-0").emit().unwrap();

    let letters = bus.dead_letters().list();
    let said = |letter: &DeadLetter| {
        let event = letter.event.as_event();
        (event.schema_version(), event.class(), event.ttl(), event.causation_id().map(|id| id.to_string()))
    };
    let (version, ttl, cause) = (Some(Placed::VERSION), Placed::TTL, Some("e-0".to_owned()));
    let caused = (version, Class::High, ttl, cause);
    let plain = (version, Class::High, ttl, None);
    assert_eq!(letters.iter().map(|letter| said(letter)).collect::<Vec<_>>(), [plain, caused.clone(), caused]);
    assert_eq!(bus.ledger().refused, 3);
    super::end(&bus);
}
