//! An event is one line and comes back from it as it was, whatever is in it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nervebus::{AuditLog, Bus, OwnedEvent, Record, Value, json};
use proptest::prelude::*;

const GUARD: Duration = Duration::from_secs(20);

/// Text with what has ever ended or forged a line somewhere.
fn text() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "\n",
        "\r",
        "\r\n",
        "\u{0}",
        "\u{1b}[2K",
        "\u{7f}",
        "\u{85}",
        "\u{9b}",
        "\u{2028}",
        "\u{2029}",
        "\u{feff}",
        "\\",
        "\\n",
        "\\u000a",
        "\\ud800",
        "\"",
        "\"}",
        "\"}\n{\"event_type\":\"forged\"}",
        "\",\"hash\":\"",
        "é",
        "🦀",
        "",
    ]);
    prop_oneof![any::<String>(), prop::collection::vec(nasty, 0..6).prop_map(|parts| parts.concat())]
}

fn number() -> impl Strategy<Value = Value> {
    let finite = |bits: u64| Some(f64::from_bits(bits)).filter(|number| number.is_finite()).unwrap_or(0.0);
    let edges = prop::sample::select(vec![
        0.0,
        -0.0,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        f64::MIN,
        f64::EPSILON,
        0.1 + 0.2,
        1e21,
        1e-7,
        9_007_199_254_740_993.0,
    ]);
    prop_oneof![
        any::<u64>().prop_map(move |bits| json!(finite(bits))),
        edges.prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
    ]
}

fn payload() -> impl Strategy<Value = Value> {
    let leaf =
        prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number(), text().prop_map(Value::from)];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn record() -> impl Strategy<Value = Record> {
    let maybe = || prop::option::of(text());
    let seconds =
        prop::option::of(any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |number| number.is_finite()));
    let name = text().prop_map(|name| if name.is_empty() { "name".to_owned() } else { name });
    (name, payload(), seconds, maybe(), maybe(), maybe()).prop_map(
        |(name, payload, timestamp, event_id, source, correlation_id)| {
            let mut record = Record::new(name, payload);
            record.timestamp = timestamp;
            record.event_id = event_id;
            record.source = source;
            record.correlation_id = correlation_id;
            record
        },
    )
}

/// Whether nothing in a line moves a cursor, ends it, or hides in it.
fn shows_as_one_line(line: &str) -> bool {
    !line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

fn is_topic(bus: &Bus, name: &str) -> bool {
    bus.publisher(name).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_record_comes_back_from_its_line(record in record()) {
        let line = record.to_jsonl();
        prop_assert!(shows_as_one_line(&line), "{line:?}");
        let read = Record::from_jsonl(line.as_bytes()).unwrap();
        prop_assert_eq!(&read, &record);
        let again = read.to_jsonl();
        prop_assert_eq!(again, line, "the same event has the same line");
    }

    #[test]
    fn an_event_comes_back_from_its_line(record in record(), seq in any::<u64>(), cause in prop::option::of(1..u64::MAX)) {
        let mut line = record.to_jsonl();
        line.pop();
        line.push_str(&format!(r#","seq":{seq}"#));
        if let Some(cause) = cause {
            line.push_str(&format!(r#","causation_seq":{cause}"#));
        }
        line.push('}');
        let event = OwnedEvent::from_jsonl(line.as_bytes()).unwrap();
        prop_assert_eq!((event.topic(), event.payload()), (&*record.event_type, &record.payload));
        prop_assert_eq!((event.seq(), event.causation()), (seq, cause));
        prop_assert_eq!(event.source(), record.source.as_deref());
        prop_assert_eq!(event.correlation_id(), record.correlation_id.as_deref());
        if record.timestamp.is_some() && record.event_id.is_some() {
            prop_assert_eq!(event.to_jsonl(), line);
        }
    }

    #[test]
    fn a_line_that_is_no_event_is_an_error_and_never_a_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (OwnedEvent::from_jsonl(&line), Record::from_jsonl(&line));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_log_has_one_line_for_each_event_and_each_comes_back(records in prop::collection::vec(record(), 1..20)) {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("nervebus-audit-line-{}-{}.jsonl", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let bus = Bus::builder().audit(AuditLog::at(&path)).build().unwrap();
        let (mut taken, mut refused) = (Vec::new(), 0);
        for mut record in records {
            // A name with a control character in it is no topic; half of the others get one.
            let is_topic = is_topic(&bus, &record.event_type);
            prop_assert!(!is_topic || shows_as_one_line(&record.event_type), "{:?}", record.event_type);
            if !is_topic {
                refused += usize::from(bus.emit_record(record.clone()).is_err());
                record.event_type = "order.placed".to_owned();
            }
            prop_assert!(bus.emit_record(record.clone()).is_ok());
            taken.push(record);
        }
        prop_assert!(bus.shutdown(GUARD).drained);
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        prop_assert_eq!(text.lines().count(), taken.len(), "{} were refused", refused);
        prop_assert!(text.ends_with('\n') && text.lines().all(shows_as_one_line));
        for (line, record) in text.lines().zip(&taken) {
            let read = Record::from_jsonl(line.as_bytes()).unwrap();
            prop_assert_eq!((&read.event_type, &read.payload), (&record.event_type, &record.payload));
            prop_assert_eq!((&read.source, &read.correlation_id), (&record.source, &record.correlation_id));
            // What the emitter did not say, the bus did.
            prop_assert_eq!(&read.event_id.filter(|_| record.event_id.is_some()), &record.event_id);
            prop_assert_eq!(read.timestamp.filter(|_| record.timestamp.is_some()), record.timestamp);
        }
    }
}

#[test]
fn lines_of_the_predecessor_are_read_and_ours_have_its_fields_first_with_its_types() {
    // As Python's `json.dumps` writes them: spaces after separators, everything beyond ASCII escaped.
    let line = concat!(
        r#"{"event_type": "user.login", "payload": {"name": "Zo\u00eb \ud83e\udd80", "n": 1e+16, "ok": true, "none": null}, "#,
        r#""timestamp": 1700000000.123456, "event_id": "6f1c0e4a-8f3b-4a54-9a53-6f2f0f5f6b7e", "source": "web", "#,
        r#""correlation_id": null}"#,
        "\n"
    );
    let event = OwnedEvent::from_jsonl(line.as_bytes()).unwrap();
    assert_eq!((event.topic(), event.timestamp(), event.seq()), ("user.login", 1_700_000_000.123_456, 0));
    assert_eq!(event.payload(), &json!({"name": "Zoë 🦀", "n": 1e16, "ok": true, "none": null}));
    let ours: serde_json::Map<String, Value> = serde_json::from_str(&event.to_jsonl()).unwrap();
    assert!(ours["timestamp"].is_f64() && ours["event_id"].is_string() && ours["payload"].is_object());
    assert!(ours["source"].is_string() && ours["correlation_id"].is_null());
    let line = event.to_jsonl();
    let at = |key: &str| line.find(&format!("\"{key}\":")).unwrap();
    let keys = ["event_type", "payload", "timestamp", "event_id", "source", "correlation_id", "seq"];
    assert!(keys.map(at).is_sorted(), "{line}");
}
