//! Attributes: their rules, and what becomes of an emit that breaks one.

use nervebus::{AttributeError, Attributes, Bus, EmitError, OwnedEvent, Record, json};

#[test]
fn a_name_is_of_few_characters_and_a_value_of_any() {
    let mut attributes = Attributes::default();
    for name in ["a", "tenant", "x-request.id_2", "0", &"n".repeat(Attributes::MAX_NAME)] {
        attributes.insert(name, "any \n\0 text").unwrap();
        assert_eq!(attributes.get(name), Some("any \n\0 text"));
    }
    for name in ["", "Tenant", "a b", "a\n", "é", "a/b", "a\"", &"n".repeat(Attributes::MAX_NAME + 1)] {
        let refused = attributes.insert(name, "secret").unwrap_err();
        assert!(matches!(&refused, AttributeError::Name { .. }), "{name:?}");
        assert_eq!((refused.name(), refused.value()), (name, "secret"));
        let text = format!("{refused} {refused:?}");
        assert!(!text.contains("secret") && !text.chars().any(char::is_control) && text.len() < 400, "{text}");
    }
    assert_eq!(attributes.len(), 5);
    assert!(attributes.iter().map(|(name, _)| name).is_sorted());
    assert!(!format!("{attributes:?}").contains("any"), "values may be what no log should have");
}

#[test]
fn all_attributes_together_have_a_bound() {
    let mut attributes = Attributes::default();
    let half = "v".repeat(Attributes::MAX_BYTES / 2 - 1);
    attributes.insert("a", half.clone()).unwrap();
    attributes.insert("b", half.clone()).unwrap();
    let refused = attributes.insert("c", "").unwrap_err();
    assert!(matches!(&refused, AttributeError::TooMuch { bytes, .. } if *bytes == Attributes::MAX_BYTES + 1));
    assert!(attributes.insert("a", format!("{half}!")).is_err(), "nor may one grow");
    assert_eq!(attributes.get("a"), Some(&*half), "which leaves it as it was");
    attributes.insert("a", "short").unwrap();
    attributes.insert("c", "has room now").unwrap();
    assert_eq!(attributes.len(), 3);
}

#[test]
fn an_attribute_that_breaks_a_rule_refuses_the_emit_and_the_payload_comes_back() {
    let bus = Bus::builder().build().unwrap();
    bus.on("*").inline().handle(|_| ()).unwrap();
    let large = "v".repeat(Attributes::MAX_BYTES);
    for (name, value) in [("No Name", "x"), ("large", &*large)] {
        let event = || bus.event("a", json!(7)).attribute("fine", "x").attribute(name, value).attribute("Worse", "y");
        for refused in [event().emit().unwrap_err(), event().emit_and_wait().unwrap_err()] {
            let EmitError::InvalidAttribute { error, payload } = refused else { panic!("{refused}") };
            assert_eq!((error.name(), error.value(), payload), (name, value, json!(7)));
        }
    }
    assert!(matches!(bus.event("nobody", ()).attribute("A", "").emit(), Err(EmitError::InvalidAttribute { .. })));
    let ledger = bus.ledger();
    assert_eq!((ledger.refused, ledger.routed), (5, 0), "nobody has seen any");
    assert!(ledger.balanced(), "{ledger}");
}

#[test]
fn an_async_emit_is_refused_in_the_same_way() {
    let bus = Bus::builder().build().unwrap();
    let refused = bus.event("a", 7).attribute("No Name", "x").emit_async();
    let refused = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(refused).unwrap_err();
    assert_eq!(refused.to_string().split(' ').take(4).collect::<Vec<_>>(), ["attribute", "name", "\"No", "Name\""]);
    assert_eq!(refused.into_payload(), 7);
}

#[test]
fn a_line_that_somebody_else_wrote_cannot_say_more_than_an_emitter() {
    let large = "v".repeat(Attributes::MAX_BYTES);
    let line = json!({
        "event_type": "a", "class": "urgent", "ttl": -1, "retry_count": -3, "max_retries": 1e9, "schema_version": 1_u64 << 40,
        "content_type": 5, "routing_key": null, "destination": ["x"], "idempotency_key": {},
        "attributes": {"fine": "x", "Bad Name": "x", "large": large, "number": 5, "nested": {"a": "b"}, "null": null},
    });
    let record = Record::from_jsonl(line.to_string().as_bytes()).unwrap();
    assert_eq!((record.class, record.idempotency_key), (nervebus::Class::Normal, None));
    let headers = record.headers.unwrap();
    assert_eq!(headers.attributes.iter().collect::<Vec<_>>(), [("fine", "x")]);
    let mut rest = (*headers).clone();
    rest.attributes = Attributes::default();
    assert!(rest.is_empty(), "{rest:?}");
    for (key, value) in
        [("attributes", json!([1])), ("attributes", json!({})), ("ttl", json!(1e300)), ("ttl", json!("1"))]
    {
        let line = json!({"event_type": "a", key: value}).to_string();
        assert!(OwnedEvent::from_jsonl(line.as_bytes()).unwrap().headers().is_none(), "{line}");
    }
}
