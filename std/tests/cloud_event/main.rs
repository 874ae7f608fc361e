//! CloudEvents 1.0: what is read, what is written, and that nothing is lost between the two.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

mod http;
mod round_trip;

use std::path::Path;
use std::process::Command;

use nervebus::{
    Attributes, Bus, CloudData, CloudEvent, CloudEventError, CloudValue, Event, LineError, OwnedEvent, Record, Value,
    json,
};

/// A document with all attributes, in the form of the specification's own examples.
fn document() -> Value {
    json!({
        "specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext", "subject": "larger-context",
        "id": "A234-1234-1234", "time": "2018-04-05T17:31:00.5+02:00", "comexampleextension1": "value",
        "comexampleothervalue": 5, "comexampleflag": true, "unsetextension": null, "datacontenttype": "application/json",
        "dataschema": "https://example.com/schema#1", "data": {"appinfoA": "abc", "appinfoB": 123, "appinfoC": true},
    })
}

fn parse(document: &Value) -> Result<CloudEvent, CloudEventError> {
    CloudEvent::parse(document.to_string().as_bytes())
}

#[test]
fn a_document_is_read_and_written_with_all_that_it_says() {
    let event = parse(&document()).unwrap();
    assert_eq!(
        (event.id(), event.source(), event.event_type()),
        ("A234-1234-1234", "/mycontext", "com.example.someevent")
    );
    assert_eq!((event.subject(), event.time()), (Some("larger-context"), Some("2018-04-05T17:31:00.5+02:00")));
    assert_eq!(event.data_content_type(), Some("application/json"));
    assert_eq!(event.data_schema(), Some("https://example.com/schema#1"));
    assert_eq!(event.extension("comexampleextension1"), Some(&CloudValue::Text("value".into())));
    assert_eq!(event.extension("comexampleothervalue"), Some(&CloudValue::Integer(5)));
    assert_eq!(event.extension("comexampleflag"), Some(&CloudValue::Boolean(true)));
    assert_eq!((event.extension("unsetextension"), event.extensions().len()), (None, 3));
    assert_eq!(event.data(), Some(&CloudData::Json(document()["data"].clone())));
    let mut wanted = document();
    wanted.as_object_mut().unwrap().remove("unsetextension");
    assert_eq!(serde_json::from_str::<Value>(&event.to_json()).unwrap(), wanted);
    assert!(!format!("{event:?} {:?}", event.data()).contains("abc"), "data may be what no log should have");
}

/// The document with one field changed.
fn with(field: &str, value: Value) -> Value {
    let mut document = document();
    document[field] = value;
    document
}

#[test]
fn what_breaks_a_rule_is_named() {
    for field in ["specversion", "id", "source", "type"] {
        let missing = CloudEventError::Missing { field };
        assert_eq!(parse(&with(field, Value::Null)), Err(missing.clone()));
        assert_eq!(missing.to_string(), format!("field {field:?} is missing"));
        assert!(
            matches!(parse(&with(field, json!(7))), Err(CloudEventError::Invalid { field: named, .. }) if named == field)
        );
    }
    let long = "x".repeat(100_000);
    let cases = [
        ("specversion", json!("1.0.2")),
        ("specversion", json!("0.3")),
        ("id", json!("")),
        ("source", json!("")),
        ("source", json!("a b")),
        ("source", json!("%zz")),
        ("source", json!("caf\u{e9}")),
        ("type", json!("")),
        ("subject", json!("")),
        ("subject", json!([1])),
        ("time", json!("2018-04-05")),
        ("time", json!(1522949460)),
        ("time", json!(long)),
        ("time", json!("\n\u{1b}[2J")),
        ("datacontenttype", json!("")),
        ("dataschema", json!("a b")),
        ("dataschema", json!("")),
        ("Extension", json!("x")),
        ("ext_1", json!("x")),
        ("ext", json!(1.5)),
        ("ext", json!(2_147_483_648_u64)),
        ("ext", json!({})),
        ("", json!("x")),
    ];
    for (field, value) in cases {
        let error = parse(&with(field, value.clone())).unwrap_err();
        assert!(matches!(&error, CloudEventError::Invalid { field: named, .. } if named == field), "{field}: {error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("field {field:?} must be ")), "{text}");
        assert!(text.len() < 400 && !text.chars().any(char::is_control), "{text}");
    }
    let twice = parse(&with("data_base64", json!("AAEC"))).unwrap_err();
    assert!(matches!(twice, CloudEventError::Data { .. }) && twice.to_string().contains("data_base64"), "{twice}");
    let array = parse(&json!([])).unwrap_err();
    assert!(matches!(array, CloudEventError::Document(LineError::NotAnObject { .. })));
    assert_eq!(array.to_string(), "the document must be a JSON object, but is an array");
    let named = parse(&with("Tenant", json!("acme"))).unwrap_err().to_string();
    assert!(named.ends_with(r#"but is "Tenant""#), "its name is what is wrong: {named}");
    assert!(matches!(CloudEvent::parse(b"{"), Err(CloudEventError::Document(LineError::NotJson { .. }))));
    assert!(matches!(CloudEvent::parse(b"\xff"), Err(CloudEventError::Document(LineError::NotUtf8 { .. }))));
}

#[test]
fn a_batch_is_read_or_says_which_of_its_events_is_none() {
    let batch = |events: Value| CloudEvent::parse_batch(events.to_string().as_bytes());
    assert_eq!(batch(json!([])).unwrap(), []);
    assert_eq!(
        batch(json!([document(), document()])).unwrap(),
        [parse(&document()).unwrap(), parse(&document()).unwrap()]
    );
    let error = batch(json!([document(), with("id", json!(""))])).unwrap_err();
    assert!(matches!(&error, CloudEventError::InBatch { index: 1, .. }));
    assert_eq!(error.to_string(), r#"event 1 of the batch: field "id" must be a text that is not empty, but is """#);
    assert!(batch(document()).is_err() && CloudEvent::parse_batch(b"").is_err());
}

#[test]
fn a_foreign_event_goes_through_a_bus_with_all_that_it_says() {
    let bus = Bus::builder().build().unwrap();
    let check = |event: &Event<'_>| {
        assert_eq!((event.topic(), event.id().to_string().as_str()), ("com.example.someevent", "A234-1234-1234"));
        assert_eq!((event.source(), event.timestamp()), (Some("/mycontext"), 1_522_942_260.5));
        assert_eq!(
            (event.attribute("subject"), event.attribute("comexampleflag")),
            (Some("larger-context"), Some("true"))
        );
        assert_eq!(event.payload(), &document()["data"]);
        let cloud = event.to_cloud_event();
        for (field, wanted) in document().as_object().unwrap() {
            let written: Value = serde_json::from_str(&cloud.to_json()).unwrap();
            match &**field {
                // In the same moment, and as texts, which is what attributes of a bus are.
                "time" => assert_eq!(written["time"], "2018-04-05T15:31:00.5Z"),
                "comexampleothervalue" => assert_eq!(written[field], "5"),
                "comexampleflag" => assert_eq!(written[field], "true"),
                _ => assert_eq!(&written[field], wanted, "{field}"),
            }
        }
    };
    bus.on("com.*").inline().handle(check).unwrap();
    let strict = parse(&document()).unwrap().into_record().unwrap();
    let lenient = Record::from_jsonl(document().to_string().as_bytes()).unwrap();
    assert_eq!(strict, lenient, "both ways to read it lead to the same record");
    for record in [strict, lenient] {
        assert_eq!(bus.emit_record(record).unwrap().inline().handled, 1);
    }
}

#[test]
fn extensions_with_a_name_of_the_standards_are_what_the_bus_has_for_them() {
    let document = json!({
        "specversion": "1.0", "type": "a", "source": "/s", "id": "1", "time": "2020-01-01T00:00:00Z",
        "correlationid": "c-1", "causationid": "e-0", "partitionkey": "p", "sequence": "00000000000000000042",
        "expirytime": "2020-01-01T00:01:00.25Z", "idempotencykey": "i", "schemaversion": 3, "class": "critical",
        "routingkey": "r", "destination": "d", "operationname": "o", "retrycount": 1, "maxretries": 2,
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=1",
    });
    let cloud = parse(&document).unwrap();
    let event = cloud.clone().into_event().unwrap();
    let event = event.as_event();
    assert_eq!((event.seq(), event.correlation_id()), (42, Some("c-1")));
    assert_eq!((event.causation_id().unwrap().to_string(), event.schema_version()), ("e-0".into(), Some(3)));
    assert_eq!(event.ttl(), Some(std::time::Duration::from_millis(60_250)));
    assert_eq!((event.class(), event.idempotency_key()), (nervebus::Class::Critical, Some("i")));
    let headers = event.headers().unwrap();
    assert_eq!((headers.partition_key.as_deref(), headers.routing_key.as_deref()), (Some("p"), Some("r")));
    assert_eq!((headers.destination.as_deref(), headers.operation_name.as_deref()), (Some("d"), Some("o")));
    assert_eq!((headers.retry_count, headers.max_retries), (Some(1), Some(2)));
    let again = event.to_cloud_event();
    for (name, value) in cloud.extensions() {
        assert_eq!(again.extension(name).map(CloudValue::to_string), Some(value.to_string()), "{name}");
    }
    assert_eq!(again.extensions().len(), cloud.extensions().len());
    // Emitted, it gets a number of the bus's own, and keeps the other for who asks.
    let record = cloud.into_record().unwrap();
    assert_eq!(record.headers.unwrap().attributes.get("sequence"), Some("00000000000000000042"));
}

#[test]
fn what_is_no_such_value_is_an_attribute_and_comes_back_as_it_was() {
    let document = json!({
        "specversion": "1.0", "type": "a", "source": "/s", "id": "1", "class": "urgent", "schemaversion": "v2",
        "retrycount": "-1", "expirytime": "soon", "attributes": "none", "sequence": "first",
    });
    let event = parse(&document).unwrap().into_event().unwrap();
    assert_eq!((event.seq(), event.schema_version()), (0, None));
    for name in ["class", "schemaversion", "retrycount", "expirytime", "attributes", "sequence"] {
        assert_eq!(event.attribute(name), document[name].as_str(), "{name}");
    }
    let again = event.to_cloud_event().into_event().unwrap();
    assert_eq!(again.headers(), event.headers());
}

#[test]
fn attributes_that_cannot_be_extensions_go_together_as_plain_text() {
    let bus = Bus::builder().build().unwrap();
    let check = |event: &Event<'_>| {
        let cloud = event.to_cloud_event();
        let names: Vec<_> = cloud.extensions().map(|(name, _)| name).collect();
        assert_eq!(names, ["attributes", "sequence", "tenant"]);
        assert_eq!((cloud.subject(), cloud.data_schema()), (Some("order 7"), None));
        let together = cloud.extension("attributes").unwrap().to_string();
        assert!(together.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{together}");
        let pairs: Value = serde_json::from_str(&together).unwrap();
        let wanted = json!({
            "a.b": "x", "time": "noon", "class": "high", "dataschema": "not a URI", "control": "a\u{7f}\n\u{85}", "longer_than_20_characters": "x",
            "nobody": "\u{ffff}",
        });
        assert_eq!(pairs, wanted);
        let again = cloud.into_event().unwrap();
        assert_eq!((again.headers(), again.as_event().class()), (event.headers(), nervebus::Class::Normal));
    };
    bus.on("*").inline().handle(check).unwrap();
    let event =
        bus.event("a", ()).attribute("tenant", "caf\u{e9}").attribute("subject", "order 7").attribute("a.b", "x");
    let event = event.attribute("time", "noon").attribute("class", "high").attribute("dataschema", "not a URI");
    let event = event.attribute("control", "a\u{7f}\n\u{85}").attribute("longer_than_20_characters", "x");
    assert_eq!(event.attribute("nobody", "\u{ffff}").emit().unwrap().inline().handled, 1);
}

#[test]
fn more_than_an_event_can_have_is_an_error() {
    let cloud = parse(&with("large", json!("x".repeat(Attributes::MAX_BYTES)))).unwrap();
    assert!(matches!(cloud.into_record(), Err(CloudEventError::Attribute(error)) if error.name() == "large"));
}

#[test]
fn an_event_of_nobody_has_what_is_required() {
    let bus = Bus::builder().build().unwrap();
    let check = |event: &Event<'_>| {
        let cloud = event.to_cloud_event();
        assert_eq!(CloudEvent::parse(cloud.to_json().as_bytes()).unwrap(), cloud, "a strict reader takes it");
        assert!(cloud.id().len() == 32 && cloud.time().is_some());
        let wanted = if event.topic() == "named" { "caf%C3%A9%20100%25%20/a%20b" } else { "nervebus" };
        assert_eq!(cloud.source(), wanted);
    };
    bus.on("*").inline().handle(check).unwrap();
    assert_eq!(bus.emit("a", ()).unwrap().inline().handled, 1);
    let named = bus.event("named", ()).event_id("").source("caf\u{e9} 100% /a%20b").attribute("subject", "");
    assert_eq!(named.emit().unwrap().inline().handled, 1);
}

#[test]
fn binary_data_stays_binary_and_only_what_is_base64_is_binary() {
    let bus = Bus::builder().build().unwrap();
    let check = |event: &Event<'_>| {
        let cloud = event.to_cloud_event();
        let is_binary = matches!(cloud.data(), Some(CloudData::Base64(text)) if text == "AAEC");
        assert_eq!(is_binary, event.topic() == "binary");
        assert_eq!(cloud.into_event().unwrap().payload(), event.payload());
    };
    bus.on("*").inline().handle(check).unwrap();
    let text = json!({"data_base64": "no base64"});
    let more = json!({"data_base64": "AAEC", "more": 1});
    for (topic, payload) in [("binary", json!({"data_base64": "AAEC"})), ("json", text), ("json", more)] {
        assert_eq!(bus.emit(topic, payload).unwrap().inline().handled, 1);
    }
}

/// The documents of the specification's own examples; or none, with a message.
fn examples() -> Vec<Value> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = workspace.join("../shared/data/cloudevents_examples.jsonl.gz");
    let unpacked = Command::new("gzip").arg("-dc").arg(&path).output();
    let Some(unpacked) = unpacked.ok().filter(|unpacked| path.exists() && unpacked.status.success()) else {
        println!("the specification's examples are not beside the workspace: only the few in this file are read");
        return Vec::new();
    };
    let lines = unpacked.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice::<Value>(line).unwrap()["document"].take()).collect()
}

#[test]
fn the_examples_of_the_specification_go_through_every_form() {
    let few = [
        r#"{"specversion": "1.0", "type": "com.github.pull_request.opened", "source": "https://github.com/cloudevents/spec/pull",
            "subject": "123", "id": "A234-1234-1234", "time": "2018-04-05T17:31:00Z", "comexampleextension1": "value",
            "comexampleothervalue": 5, "datacontenttype": "text/xml", "data": "<much wow=\"xml\"/>"}"#,
        r#"{"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext", "id": "D234-1234-1234",
            "time": "2018-04-05T17:31:00Z", "unsetextension": null, "data": "I'm just a string"}"#,
        r#"{"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext", "id": "D234-1234-1234",
            "data_base64": "eyAieHl6IjogMTIzIH0="}"#,
        r#"{"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext", "id": "B234-1234-1234",
            "datacontenttype": "application/vnd.apache.thrift.binary", "data_base64": "... base64 encoded string ..."}"#,
    ];
    let few = few.into_iter().map(|text| serde_json::from_str(text).unwrap());
    for document in few.chain(examples()) {
        let event = parse(&document).unwrap_or_else(|error| panic!("{error} in {document}"));
        let mut wanted = document.clone();
        wanted.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        assert_eq!(serde_json::from_str::<Value>(&event.to_json()).unwrap(), wanted);
        let record = event.clone().into_record().unwrap();
        assert_eq!(Record::from_jsonl(document.to_string().as_bytes()).unwrap(), record);
        let owned = OwnedEvent::from_jsonl(record.to_jsonl().as_bytes()).unwrap();
        let again = owned.to_cloud_event();
        assert_eq!((again.id(), again.source(), again.event_type()), (event.id(), event.source(), event.event_type()));
        assert_eq!((again.subject(), again.data_content_type()), (event.subject(), event.data_content_type()));
        for (name, value) in event.extensions() {
            assert_eq!(
                again.extension(name).map(CloudValue::to_string),
                Some(value.to_string()),
                "{name} of {document}"
            );
        }
        http::assert_goes_through_http(&event);
    }
}
