//! Payloads that are too large, too deep, or no JSON: stored or refused, and never the end of the process.

#[path = "support/folder.rs"]
mod folder;

use std::time::Duration;

use nervebus::{AuditLog, AuditReader, Bus, EmitError, Record, Validation, Value, json};
use serde::{Serialize, Serializer};

use self::folder::Folder;

/// Arrays in arrays, so many.
#[derive(Debug, PartialEq)]
struct Nested(usize);

impl Serialize for Nested {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_unit(),
            levels => serializer.collect_seq([Self(levels - 1)]),
        }
    }
}

fn levels(json: &Value) -> usize {
    json.get(0).map_or(usize::from(json.is_array()), |inner| 1 + levels(inner))
}

/// The payloads that a log has of `a.b`, oldest first.
fn logged(folder: &Folder) -> Vec<Value> {
    let log = AuditReader::open(folder.path().join("events.jsonl")).unwrap().longest_line(256 << 20);
    log.topic("a.b").unwrap().oldest_first().unwrap().map(|entry| entry.unwrap().record.payload).collect()
}

#[test]
fn any_depth_is_stored_or_its_line_says_why_not() {
    let folder = Folder::of("depth");
    let bus = Bus::builder().audit(AuditLog::at(folder.path().join("events.jsonl"))).build().unwrap();
    bus.on("a.b").handle(|event| assert!(event.payload_as::<Nested>().is_some())).unwrap();
    let depths = [10, 100, 126, 127, 128, 1_000, 3_000, 100_000];
    for depth in depths {
        assert!(bus.emit_and_wait("a.b", Nested(depth)).unwrap().all_handled());
    }
    bus.shutdown(Duration::from_secs(10));
    assert!(bus.ledger().balanced());
    for (depth, payload) in depths.into_iter().zip(logged(&folder)) {
        if depth <= 126 {
            assert_eq!(levels(&payload), depth);
        } else {
            assert_eq!(payload, json!({"serialization_error": "it is nested deeper than 126 levels"}), "{depth}");
        }
    }
    assert_eq!(logged(&folder).len(), depths.len());
}

#[test]
fn with_a_limit_whatever_is_deeper_is_refused_before_anybody_sees_it() {
    let bus = Bus::builder().validate(Validation::new().max_nesting(64)).build().unwrap();
    bus.on("a.b").inline().handle(|_| ()).unwrap();
    assert_eq!(bus.emit("a.b", Nested(64)).unwrap().inline().handled, 1);
    for depth in [65, 3_000, 100_000] {
        match bus.emit("a.b", Nested(depth)) {
            Err(EmitError::Invalid { report, payload }) => {
                assert_eq!((payload, report.errors.len()), (Nested(depth), 1));
            }
            other => panic!("{depth}: {other:?}"),
        }
    }
    assert_eq!((bus.ledger().refused, bus.ledger().balanced()), (3, true));
}

#[test]
fn a_line_from_elsewhere_that_is_too_deep_is_an_error() {
    for depth in [127, 3_000, 100_000] {
        let line = format!(r#"{{"event_type":"a.b","payload":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        let refused = Record::from_jsonl(line.as_bytes());
        assert_eq!(refused.is_ok(), depth < 127, "{depth}: {:?}", refused.err());
    }
}

/// Bytes of a payload that is larger than anybody's limit; fewer in a debug build, which takes a second for five millions.
const LARGE: usize = if cfg!(debug_assertions) { 20 << 20 } else { 100 << 20 };

#[test]
fn a_hundred_megabytes_are_stored_or_refused() {
    let folder = Folder::of("size");
    let path = folder.path().join("events.jsonl");
    let payload = "x".repeat(LARGE);
    let bus = Bus::builder().audit(AuditLog::at(path)).build().unwrap();
    bus.emit("a.b", payload.clone()).unwrap();
    bus.shutdown(Duration::from_secs(60));
    assert_eq!(logged(&folder).iter().map(|payload| payload.as_str().map(str::len)).collect::<Vec<_>>(), [Some(LARGE)]);

    let bus = Bus::builder().validate(Validation::new().max_payload_bytes(1 << 20)).build().unwrap();
    bus.on("a.b").inline().handle(|_| ()).unwrap();
    let refused = bus.emit("a.b", payload).unwrap_err();
    assert!(refused.to_string().contains("1048576"), "{refused}");
    assert_eq!(refused.into_payload().len(), LARGE);
}

#[test]
fn what_is_no_number_of_json_is_null_in_the_log() {
    let folder = Folder::of("numbers");
    let bus = Bus::builder().audit(AuditLog::at(folder.path().join("events.jsonl"))).build().unwrap();
    bus.emit("a.b", [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5]).unwrap();
    bus.shutdown(Duration::from_secs(10));
    assert_eq!(logged(&folder), [json!([null, null, null, 1.5])]);
}
