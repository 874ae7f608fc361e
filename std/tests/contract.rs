//! Contracts as documents: read, written, compared, and as AsyncAPI.

use nervebus::{Category, Change, Compatibility, ContentModel, Contract, Value, json};

fn document() -> Value {
    json!({
        "nervebus_contract": 1,
        "compatibility": "full",
        "topics": {
            "order.placed": {
                "category": "event",
                "key": "id",
                "compatibility": "backward",
                "emits": ["order.shipped"],
                "pii": ["email"],
                "upcasts": [1],
                "versions": {
                    "1": {"type": "object", "properties": {"id": {"type": "string"}}},
                    "2": {
                        "$schema": "https://json-schema.org/draft/2020-12/schema",
                        "type": "object",
                        "properties": {"id": {"$ref": "#/$defs/default"}, "const": {"$ref": "#/$defs/default"}},
                        "$defs": {"default": {"type": "integer", "examples": [{"$ref": "#/no/reference"}]}}
                    },
                    "10": true
                }
            },
            "card.charge": {"category": "command", "versions": {"1": false}},
            "odd/näme_~%": {"category": "intent", "versions": {"1": {"$ref": "#"}}}
        }
    })
}

fn contract() -> Contract {
    Contract::from_json(&document()).unwrap()
}

#[test]
fn a_contract_is_written_as_it_was_read() {
    let contract = contract();
    assert_eq!(contract.to_json(), document());
    assert_eq!(contract.mode_of("order.placed"), Compatibility::Backward);
    assert_eq!(contract.mode_of("card.charge"), Compatibility::Full);
    let order = &contract.topics["order.placed"];
    assert_eq!((order.category, order.latest().unwrap().0), (Category::Event, 10), "numbers, not texts, are in order");
    assert_eq!(document().to_string().parse::<Contract>().unwrap(), contract);
    let error = "{\"nervebus_contract\": 1,\n\"topics\": ]".parse::<Contract>().unwrap_err();
    assert!(error.rule.contains("line 2"), "{error}");
}

#[test]
fn what_is_no_contract_is_named_with_its_place() {
    let cases = [
        ("", json!([]), "/: it is not an object"),
        ("/nervebus_contract", json!(2), "/: a contract has"),
        ("/topic", json!({}), "/topic: there are nervebus_contract"),
        ("/compatibility", json!("sideways"), "/compatibility: \"sideways\""),
        ("", json!({"nervebus_contract": 1}), "/: \"topics\" is missing"),
        ("/topics", json!([]), "/topics: it is not an object"),
        ("/topics/a..b", json!({}), "/topics/a..b: "),
        ("/topics/card.charge", json!(1), "/topics/card.charge: it is not an object"),
        ("/topics/card.charge", json!({}), "/topics/card.charge: \"versions\" is missing"),
        ("/topics/card.charge/category", json!("wish"), "/topics/card.charge/category: there are event"),
        ("/topics/card.charge/key", json!(1), "/topics/card.charge/key: it is not a text"),
        ("/topics/card.charge/emits", json!("a"), "/topics/card.charge/emits: it is not a list of texts"),
        ("/topics/card.charge/upcasts", json!([-1]), "/topics/card.charge/upcasts: it is not a list of versions"),
        ("/topics/card.charge/versions/01", json!({}), "/topics/card.charge/versions/01: a version is"),
        ("/topics/card.charge/versions/1", json!("x"), "/topics/card.charge/versions/1: a schema is"),
    ];
    for (path, value, part) in cases {
        let mut document = document();
        match path.rsplit_once('/') {
            None => document = value,
            Some((parent, name)) => document.pointer_mut(parent).unwrap()[name] = value,
        }
        let error = Contract::from_json(&document).unwrap_err().to_string();
        assert!(error.starts_with(part), "{path}: {error}");
    }
}

#[test]
fn an_upcaster_makes_up_for_reading_old_events_and_not_for_old_readers() {
    let versions = |all: Value, upcasts: Value| {
        let topics = json!({"a.b": {"versions": all, "upcasts": upcasts}});
        Contract::from_json(&json!({"nervebus_contract": 1, "topics": topics})).unwrap()
    };
    let old = versions(json!({"1": {"type": "string"}}), json!([]));
    let both = json!({"1": {"type": "string"}, "2": {"type": "integer"}});
    let changes = |new: &Contract, mode| {
        let found = old.breaking(new, Some(mode), ContentModel::Named);
        found.into_iter().map(|found| (found.versions, found.breaking.change)).collect::<Vec<_>>()
    };
    let without = versions(both.clone(), json!([]));
    assert_eq!(changes(&without, Compatibility::Backward), [(Some((1, 2)), Change::TypeNarrowed)]);
    let with = versions(both, json!([1]));
    assert_eq!(changes(&with, Compatibility::Backward), []);
    assert_eq!(changes(&with, Compatibility::Full), [(Some((1, 2)), Change::TypeWidened)]);
    // A version that keeps its number keeps its shape.
    let changed = versions(json!({"1": {"type": "integer"}}), json!([1]));
    assert_eq!(changes(&changed, Compatibility::Backward), [(Some((1, 1)), Change::TypeNarrowed)]);
}

#[test]
fn a_transitive_mode_holds_the_latest_against_every_old_version() {
    let of = |all: Value| {
        Contract::from_json(&json!({"nervebus_contract": 1, "topics": {"a.b": {"versions": all}}})).unwrap()
    };
    let old = of(json!({"1": {"maximum": 9}, "2": {"maximum": 5}}));
    let new = of(json!({"1": {"maximum": 9}, "2": {"maximum": 5}, "3": {"maximum": 6}}));
    assert!(old.breaking(&new, Some(Compatibility::Backward), ContentModel::Named).is_empty());
    let found = old.breaking(&new, Some(Compatibility::BackwardTransitive), ContentModel::Named);
    assert_eq!(found.iter().map(|found| found.versions).collect::<Vec<_>>(), [Some((1, 3))]);
    assert_eq!(found[0].to_string(), "a.b v1 -> v3 /: bound_tightened (backward `maximum`, 9 -> 6)");
}

/// All references of a document.
fn references<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| match value {
            Value::String(reference) if key == "$ref" => found.push(reference),
            _ if key == "examples" => {}
            _ => references(value, found),
        }),
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

/// A reference without the escapes of a URI.
fn plain(reference: &str) -> String {
    let mut parts = reference.trim_start_matches('#').split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn asyncapi_has_a_channel_for_each_topic_and_its_references_lead_somewhere() {
    let document = contract().to_asyncapi("shop", "2.1.0");
    assert_eq!(document["info"], json!({"title": "shop", "version": "2.1.0"}));
    let channel = &document["channels"]["order.placed"];
    assert_eq!(channel["messages"].as_object().unwrap().keys().collect::<Vec<_>>(), ["v1", "v10", "v2"]);
    let said = ["category", "compatibility", "key", "emits", "pii"].map(|key| &channel[format!("x-nervebus-{key}")]);
    assert_eq!(json!(said), json!(["event", "backward", "id", ["order.shipped"], ["email"]]));
    let actions = ["order.placed.send", "card.charge.receive", "odd/näme_~%.send"];
    assert_eq!(document["operations"].as_object().unwrap().len(), actions.len());
    assert!(actions.iter().all(|name| document["operations"][name]["channel"].is_object()));

    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 15);
    for reference in found {
        assert!(reference.is_ascii() && document.pointer(&plain(reference)).is_some(), "{reference}");
    }
    let schemas = &document["components"]["schemas"];
    assert_eq!(
        schemas["order.placed.v2"]["properties"]["const"]["$ref"],
        "#/components/schemas/order.placed.v2/$defs/default"
    );
    assert_eq!(schemas["order.placed.v2"]["$defs"]["default"]["examples"][0]["$ref"], "#/no/reference");
    assert_eq!((&schemas["order.placed.v10"], &schemas["card.charge.v1"]), (&json!({}), &json!({"not": {}})));
    let allowed = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    assert!(schemas.as_object().unwrap().keys().all(allowed));
    assert_eq!(contract().to_asyncapi("shop", "2.1.0").to_string(), document.to_string());
}
