//! Headers in what a bus writes down, and in what is read from it.

use std::fs;
use std::sync::mpsc;
use std::time::{Duration, UNIX_EPOCH};

use nervebus::{
    AuditLog, Bus, Class, DeadLetterLog, Headers, ManualClock, OwnedEvent, Record, Redactor, Replay, Value, json,
};
use proptest::prelude::*;

use super::folder::Folder;
use super::{GUARD, assert_everything, everything};

/// An audit log with one event of which everything is said.
fn audited(folder: &Folder, redactor: Option<Redactor>) -> std::path::PathBuf {
    let path = folder.path().join("events.jsonl");
    let mut builder = Bus::builder().audit(AuditLog::at(&path));
    if let Some(redactor) = redactor {
        builder = builder.redact(redactor);
    }
    let bus = builder.build().unwrap();
    everything(&bus, "order.placed").emit().unwrap();
    assert!(bus.shutdown(GUARD).drained);
    path
}

/// The lines of a file.
fn lines(path: &std::path::Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn the_audit_log_has_every_header_and_gives_it_back() {
    let folder = Folder::of("headers-audit");
    let lines = lines(&audited(&folder, None));
    let read = OwnedEvent::from_jsonl(lines[0].as_bytes()).unwrap();
    assert_everything(&read.as_event());
    assert_eq!(read.to_jsonl(), lines[0], "the same event has the same line");
    let record = Record::from_jsonl(lines[0].as_bytes()).unwrap();
    assert_eq!(Record::from_jsonl(record.to_jsonl().as_bytes()).unwrap(), record);

    let clock = ManualClock::new();
    clock.set_wall(UNIX_EPOCH + Duration::from_secs(1_700_000_001));
    let bus = Bus::builder().clock(&clock).build().unwrap();
    bus.on("order.*").inline().handle(assert_everything).unwrap();
    assert_eq!(bus.emit_record(record).unwrap().inline().handled, 1);
}

#[test]
fn a_line_has_a_key_for_each_header_behind_those_that_every_event_has() {
    let folder = Folder::of("headers-keys");
    let line = lines(&audited(&folder, None)).remove(0);
    let at = |key: &str| line.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key} is not in {line}"));
    let keys = [
        "event_type",
        "payload",
        "timestamp",
        "event_id",
        "source",
        "correlation_id",
        "seq",
        "schema_version",
        "causation_id",
        "idempotency_key",
        "class",
        "ttl",
        "content_type",
        "destination",
        "operation_name",
        "routing_key",
        "partition_key",
        "retry_count",
        "max_retries",
        "attributes",
    ];
    assert!(keys.map(at).is_sorted(), "{line}");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["class"], &line["ttl"], &line["attributes"]["tenant"]),
        (&json!("high"), &json!(3600.5), &json!("north"))
    );
}

#[test]
fn a_redactor_finds_nothing_in_the_names_of_headers() {
    let folder = Folder::of("headers-names");
    let line = lines(&audited(&folder, None)).remove(0);
    let mut out = Vec::new();
    Redactor::default().redact_record(line.as_bytes(), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), line);
    assert_eq!(lines(&audited(&Folder::of("headers-screened"), Some(Redactor::default()))), [line]);
}

#[test]
fn the_cause_is_in_the_line_as_the_identity_of_its_event() {
    let folder = Folder::of("headers-cause");
    let path = folder.path().join("events.jsonl");
    let bus = Bus::builder().audit(AuditLog::at(&path)).build().unwrap();
    let weak = bus.downgrade();
    let emit = move |_: &nervebus::Event<'_>| assert!(weak.upgrade().unwrap().emit("inner", ()).is_ok());
    bus.on("outer").inline().handle(emit).unwrap();
    bus.emit("outer", ()).unwrap();
    assert!(bus.shutdown(GUARD).drained);
    let events: Vec<_> = lines(&path).iter().map(|line| OwnedEvent::from_jsonl(line.as_bytes()).unwrap()).collect();
    let cause = events[1].causation_id().unwrap().to_string();
    assert_eq!((cause, events[1].causation()), (events[0].id().to_string(), Some(events[0].seq())));
}

#[test]
fn a_replay_of_the_audit_log_gives_every_header_again() {
    let folder = Folder::of("headers-replay");
    let path = audited(&folder, None);
    for into in [None, Some("orders")] {
        let bus = Bus::builder().build().unwrap();
        let (sender, seen) = mpsc::channel();
        let check = move |event: &nervebus::Event<'_>| {
            assert_everything(event);
            assert!(event.is_replayed());
            sender.send(()).unwrap();
        };
        bus.on("order.*").name("orders").handle(check).unwrap();
        let mut replay = Replay::from_audit(&path);
        if let Some(name) = into {
            replay = replay.into(name);
        }
        assert_eq!(bus.replay(replay).unwrap().given, 1);
        seen.recv_timeout(GUARD).unwrap();
        assert!(bus.shutdown(GUARD).ledger.balanced());
    }
}

#[test]
fn a_file_of_dead_letters_keeps_every_header_over_a_restart() {
    let folder = Folder::of("headers-letters");
    let path = folder.path().join("letters.jsonl");
    let build = || Bus::builder().dead_letter_log(DeadLetterLog::at(&path)).build().unwrap();
    let bus = build();
    bus.on("order.*").name("orders").handle(|_| Err("no")).unwrap();
    assert!(!everything(&bus, "order.placed").emit_and_wait().unwrap().all_handled());
    assert!(bus.shutdown(GUARD).drained);
    drop(bus);
    let bus = build();
    let letter = bus.dead_letters().list().remove(0);
    assert_everything(&letter.event.as_event());
}

#[test]
fn what_is_sensitive_in_a_header_is_in_no_log() {
    let folder = Folder::of("headers-redact");
    let (path, letters) = (folder.path().join("events.jsonl"), folder.path().join("letters.jsonl"));
    let log = DeadLetterLog::at(&letters);
    let bus =
        Bus::builder().redact(Redactor::default()).audit(AuditLog::at(&path)).dead_letter_log(log).build().unwrap();
    let mail = "alice@example.org";
    let fail = move |event: &nervebus::Event<'_>| {
        assert_eq!((event.attribute("owner"), event.attribute("password")), (Some(mail), Some("hunter2")));
        Err("no")
    };
    bus.on("a").handle(fail).unwrap();
    bus.event("a", ())
        .attribute("owner", mail)
        .attribute("password", "hunter2")
        .attribute("tenant", "north")
        .partition_key(mail)
        .routing_key(mail)
        .destination(mail)
        .operation_name(mail)
        .content_type(mail)
        .idempotency_key(mail)
        .emit()
        .unwrap();
    assert!(bus.shutdown(GUARD).drained);
    for path in [path, letters] {
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("alice") && !text.contains("hunter2"), "{text}");
        let read = OwnedEvent::from_jsonl(text.lines().next().unwrap().as_bytes()).unwrap();
        assert_eq!((read.attribute("owner"), read.attribute("tenant")), (Some("[REDACTED_EMAIL]"), Some("north")));
        assert_eq!(read.headers().unwrap().partition_key.as_deref(), Some("[REDACTED_EMAIL]"));
    }
}

#[cfg(feature = "durable")]
#[test]
fn the_durable_log_keeps_every_header_over_a_restart() {
    use nervebus::DurableLog;

    let folder = Folder::of("headers-durable");
    let build = || Bus::builder().durable(DurableLog::at(folder.path()).topics("order.*")).build().unwrap();
    let bus = build();
    everything(&bus, "order.placed").durable(nervebus::Level::Synced).emit().unwrap();
    assert!(bus.shutdown(GUARD).drained);
    drop(bus);
    let bus = build();
    let (sender, seen) = mpsc::channel();
    let weak = bus.downgrade();
    let check = move |event: &nervebus::Event<'_>| {
        assert_everything(event);
        weak.upgrade().unwrap().emit("bill.sent", ()).unwrap();
    };
    let caused = move |event: &nervebus::Event<'_>| sender.send(event.causation_id().unwrap().to_string()).unwrap();
    bus.on("bill.*").inline().handle(caused).unwrap();
    bus.on("order.*").durable("billing").from_start().handle(check).unwrap();
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), "e-1", "its cause is of an earlier run, and known all the same");
    assert!(bus.shutdown(GUARD).drained);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), Just("\"}\n{\"event_type\":\"forged\"}".to_owned())]
}

fn headers() -> impl Strategy<Value = Headers> {
    let maybe = || prop::option::of(text().prop_map(Box::<str>::from));
    let texts = (maybe(), maybe(), maybe(), maybe(), maybe(), maybe());
    let numbers = (any::<Option<u32>>(), any::<Option<u32>>(), prop::option::of(0..1_u64 << 52));
    let attributes = prop::collection::vec(("[a-z0-9_.-]{1,64}", text()), 0..6);
    (texts, numbers, attributes).prop_map(|(texts, numbers, attributes)| {
        let mut headers = Headers::default();
        headers.content_type = texts.0;
        headers.destination = texts.1;
        headers.operation_name = texts.2;
        headers.routing_key = texts.3;
        headers.partition_key = texts.4;
        headers.causation_id = texts.5;
        headers.retry_count = numbers.0;
        headers.max_retries = numbers.1;
        headers.ttl = numbers.2.map(Duration::from_nanos);
        for (name, value) in attributes {
            let _ = headers.attributes.insert(name, value);
        }
        headers
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_headers_say_comes_back_from_a_line(
        headers in headers(), key in prop::option::of(text()), class in prop::sample::select(Class::ALL.to_vec()),
    ) {
        let mut record = Record::new("order.placed", json!({"attributes": 1}));
        record.headers = (!headers.is_empty()).then(|| Box::new(headers));
        record.idempotency_key = key;
        record.class = class;
        let line = record.to_jsonl();
        prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        prop_assert_eq!(&Record::from_jsonl(line.as_bytes()).unwrap(), &record);
        let event = OwnedEvent::from_jsonl(line.as_bytes()).unwrap();
        prop_assert_eq!(event.headers(), record.headers.as_deref());
        let again = Record::from_jsonl(event.to_jsonl().as_bytes()).unwrap();
        prop_assert_eq!((again.headers, again.idempotency_key, again.class), (record.headers, record.idempotency_key, class));
    }
}
