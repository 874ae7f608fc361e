//! Any event goes through every form and comes back.

use std::time::Duration;

use nervebus::{Class, CloudData, CloudEvent, CloudValue, OwnedEvent, Record, Value, json};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => any::<String>(),
        1 => prop::sample::select(vec!["\r\nce-id: forged", "\"quoted\"", "100%", "%41", "\u{0}", "\u{fdd0}", " x "])
            .prop_map(str::to_owned),
    ]
}

fn payload() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(|_| json!({"data_base64": "AAEC"})),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4).prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Whether a payload stands for bytes.
fn is_binary(payload: &Value) -> bool {
    *payload == json!({"data_base64": "AAEC"})
}

/// Names that mean something elsewhere among them.
fn name() -> impl Strategy<Value = String> {
    let taken = vec![
        "id",
        "type",
        "source",
        "time",
        "data",
        "specversion",
        "datacontenttype",
        "subject",
        "dataschema",
        "class",
        "sequence",
        "attributes",
        "correlationid",
        "schemaversion",
        "retrycount",
        "expirytime",
        "traceparent",
    ];
    prop_oneof!["[a-z0-9]{1,20}", "[a-z0-9_.-]{1,64}", prop::sample::select(taken).prop_map(str::to_owned)]
}

fn value() -> impl Strategy<Value = String> {
    let known = vec!["high", "7", "-1", "2030-01-01T00:00:00Z", "{}", "{\"a\":\"b\"}", "", "https://a/b"];
    prop_oneof![text(), prop::sample::select(known).prop_map(str::to_owned)]
}

/// A record as events of a bus are: with an identity that is not empty, and a source that can be one of CloudEvents.
fn record() -> impl Strategy<Value = Record> {
    let maybe = || prop::option::of(text());
    let texts = (maybe(), maybe(), maybe(), maybe(), maybe(), maybe(), maybe());
    let numbers = (any::<Option<u32>>(), any::<Option<u32>>(), any::<Option<u32>>());
    let ttl = prop::option::of((0..4_000_000_000_000_u64).prop_map(Duration::from_micros));
    let required = ("[a-z]{1,9}(\\.[a-z]{1,9})?", "[ -~é🦀]{1,20}", "[a-zA-Z0-9:/?#@._~-]{1,20}", 0.0..4e9_f64);
    let class = prop::sample::select(Class::ALL.to_vec());
    let attributes = prop::collection::vec((name(), value()), 0..6);
    let media_type = prop::sample::select(vec![None, Some("application/json"), Some("application/vnd.x+json; a=b")]);
    (required, texts, numbers, ttl, class, (attributes, media_type), payload()).prop_map(
        |((topic, id, source, time), texts, numbers, ttl, class, (attributes, media_type), payload)| {
            let mut record = Record::new(topic, payload);
            record.event_id = Some(id);
            record.source = Some(source);
            // Finer than a microsecond is not what clocks say.
            record.timestamp = Some((time * 1e6).round() / 1e6);
            record.correlation_id = texts.0;
            record.idempotency_key = texts.1;
            record.schema_version = numbers.0;
            record.class = class;
            let headers = record.headers.get_or_insert_default();
            // Bytes that are said to be JSON and are not come back from nobody.
            let media_type = media_type.filter(|_| !is_binary(&record.payload));
            headers.content_type = media_type.map(Into::into);
            headers.causation_id = texts.2.map(Into::into);
            headers.destination = texts.3.map(Into::into);
            headers.operation_name = texts.4.map(Into::into);
            headers.routing_key = texts.5.map(Into::into);
            headers.partition_key = texts.6.map(Into::into);
            (headers.retry_count, headers.max_retries, headers.ttl) = (numbers.1, numbers.2, ttl);
            for (name, value) in attributes {
                let _ = headers.attributes.insert(name, value);
            }
            record.headers = record.headers.filter(|headers| !headers.is_empty());
            record
        },
    )
}

/// The event of a record, with a number.
fn event(record: &Record, seq: u64) -> OwnedEvent {
    let line = record.to_jsonl();
    OwnedEvent::from_jsonl(format!("{},\"seq\":{seq}}}", &line[..line.len() - 1]).as_bytes()).unwrap()
}

/// Media types and what data of them looks like, as far as it is what its media type says.
fn document() -> impl Strategy<Value = CloudEvent> {
    let data = prop_oneof![
        payload().prop_map(|data| (None, CloudData::Json(data))),
        payload().prop_map(|data| (Some("application/json"), CloudData::Json(data))),
        text().prop_map(|data| (Some("text/plain; charset=utf-8"), CloudData::Json(json!(data)))),
        Just((Some("image/png"), CloudData::Base64("AAEC".to_owned()))),
        Just((None, CloudData::Base64("AAEC".to_owned()))),
    ];
    let extension = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let names = "x[a-z0-9]{0,24}";
    (record(), data, prop::collection::btree_map(names, extension, 0..6)).prop_map(
        |(record, (media_type, data), all)| {
            let mut document = json!({
                "specversion": "1.0", "id": record.event_id, "source": record.source, "type": record.event_type,
                "time": "2020-01-01t00:00:00.25+01:00", "datacontenttype": media_type,
            });
            match data {
                CloudData::Base64(data) => document["data_base64"] = json!(data),
                CloudData::Json(data) => document["data"] = data,
                _ => {}
            }
            document.as_object_mut().unwrap().extend(all);
            CloudEvent::parse(document.to_string().as_bytes()).unwrap()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn an_event_comes_back_from_a_document_and_from_both_kinds_of_message(record in record(), seq in any::<u64>()) {
        let event = event(&record, seq);
        let cloud = event.to_cloud_event();
        let read = CloudEvent::parse(cloud.to_json().as_bytes());
        prop_assert_eq!(read.as_ref(), Ok(&cloud), "a strict reader takes it, and finds the same");
        prop_assert_eq!(cloud.clone().into_event().unwrap().to_jsonl(), event.to_jsonl());
        for message in [cloud.to_http_structured(), cloud.to_http().unwrap()] {
            let read = CloudEvent::from_http(message.headers, &message.body).unwrap();
            let mut back: Value = serde_json::from_str(&read.into_event().unwrap().to_jsonl()).unwrap();
            let mut sent: Value = serde_json::from_str(&event.to_jsonl()).unwrap();
            let implied = json!(if is_binary(&sent["payload"]) { "application/octet-stream" } else { "application/json" });
            for line in [&mut back, &mut sent] {
                // A message says what a document implies.
                line.as_object_mut().unwrap().entry("content_type").or_insert(implied.clone());
            }
            prop_assert_eq!(back, sent);
        }
    }

    #[test]
    fn a_document_comes_back_from_a_message(event in document()) {
        super::http::assert_goes_through_http(&event);
        prop_assert_eq!(CloudEvent::parse(event.to_json().as_bytes()).unwrap(), event);
    }

    #[test]
    fn any_extension_is_an_attribute_and_an_extension_again(name in "[a-z0-9]{1,20}", value in value()) {
        let taken = ["id", "type", "source", "time", "data", "specversion", "datacontenttype", "subject", "dataschema"];
        prop_assume!(!taken.contains(&&*name));
        let document = json!({"specversion": "1.0", "id": "1", "source": "/", "type": "a", "time": "2020-01-01T00:00:00Z",
            name.clone(): value});
        let event = CloudEvent::parse(document.to_string().as_bytes()).unwrap().into_event().unwrap();
        let again = event.to_cloud_event().into_event().unwrap();
        prop_assert_eq!(again.to_jsonl(), event.to_jsonl());
        if value.chars().all(|c| (' '..='~').contains(&c)) && name != "attributes" && name.len() > 12 {
            let cloud = event.to_cloud_event();
            prop_assert_eq!(cloud.extension(&name), Some(&CloudValue::Text(value)));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>(), name in "(?i)(ce-|content-)[a-z0-9_-]{0,8}", value in any::<Vec<u8>>()) {
        let _ = (CloudEvent::parse(&bytes), CloudEvent::parse_batch(&bytes));
        let required = [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/"), ("ce-type", "a")];
        let mut headers: Vec<(&str, &[u8])> = required.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        headers.push((&name, &value));
        match CloudEvent::from_http(headers, &bytes) {
            Ok(event) => prop_assert!(event.into_record().is_ok()),
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control)),
        }
    }
}
