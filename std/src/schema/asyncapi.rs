//! A contract as an AsyncAPI 3.0 document.

use serde_json::{Map, Value, json};

use super::contract::{Contract, TopicContract, escaped};
use crate::typed_event::Category;

impl Contract {
    /// The contract as an [AsyncAPI 3.0](https://www.asyncapi.com/docs/reference/specification/v3.0.0) document: a channel
    /// for each topic, a message for each version, and an operation for each topic: the application sends events and
    /// intents, and receives commands. What AsyncAPI has no word for stands under `x-nervebus-` keys of the channel. The same
    /// contract is the same document, in the same order.
    ///
    /// The schemas stand in `components.schemas` as they are, their references led there.
    ///
    /// ```
    /// use nervebus::{Contract, json};
    ///
    /// let contract = Contract::from_json(&json!({
    ///     "nervebus_contract": 1,
    ///     "topics": {"order.placed": {"versions": {"1": {"type": "object"}}}},
    /// }))?;
    /// let document = contract.to_asyncapi("orders", "1.0.0");
    /// assert_eq!(document["asyncapi"], "3.0.0");
    /// assert_eq!(document["channels"]["order.placed"]["address"], "order.placed");
    /// assert_eq!(document["operations"]["order.placed.send"]["action"], "send");
    /// # Ok::<(), nervebus::ContractError>(())
    /// ```
    #[must_use]
    pub fn to_asyncapi(&self, title: &str, version: &str) -> Value {
        let (mut channels, mut operations) = (Map::new(), Map::new());
        let (mut messages, mut schemas) = (Map::new(), Map::new());
        for (name, topic) in &self.topics {
            channels.insert(name.clone(), channel(self, name, topic));
            let (id, operation) = operation(name, topic);
            operations.insert(id, operation);
            for (version, schema) in &topic.versions {
                let id = component(name, *version);
                messages.insert(id.clone(), message(name, *version, &id));
                schemas.insert(id.clone(), led(schema, &format!("#/components/schemas/{id}")));
            }
        }
        json!({
            "asyncapi": "3.0.0",
            "info": { "title": title, "version": version },
            "defaultContentType": "application/json",
            "channels": channels,
            "operations": operations,
            "components": { "messages": messages, "schemas": schemas },
        })
    }
}

/// The name of a version's parts, of letters, digits, `.`, `-` and `_`. A topic with other bytes has their numbers in it, and
/// begins with `_`, which others of that beginning then do as well: so no two are the same.
fn component(topic: &str, version: u32) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    if !topic.starts_with('_') && topic.bytes().all(|byte| plain(byte) || byte == b'_') {
        return format!("{topic}.v{version}");
    }
    let letter = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("_{byte:02x}") };
    format!("_{}.v{version}", topic.bytes().map(letter).collect::<String>())
}

fn channel(contract: &Contract, name: &str, topic: &TopicContract) -> Value {
    let message = |version: &u32| {
        let reference = format!("#/components/messages/{}", component(name, *version));
        (format!("v{version}"), json!({ "$ref": reference }))
    };
    let messages: Map<_, _> = topic.versions.keys().map(message).collect();
    let mut channel = Map::new();
    channel.insert("address".into(), name.into());
    channel.insert("messages".into(), Value::Object(messages));
    channel.insert("x-nervebus-category".into(), topic.category.as_str().into());
    channel.insert("x-nervebus-compatibility".into(), contract.mode_of(name).as_str().into());
    if let Some(key) = &topic.key {
        channel.insert("x-nervebus-key".into(), key.as_str().into());
    }
    for (key, list) in [("x-nervebus-emits", &topic.emits), ("x-nervebus-pii", &topic.pii)] {
        if !list.is_empty() {
            channel.insert(key.into(), json!(list));
        }
    }
    Value::Object(channel)
}

fn operation(name: &str, topic: &TopicContract) -> (String, Value) {
    let action = if topic.category == Category::Command { "receive" } else { "send" };
    let at = format!("#/channels/{}", part(name));
    let message = |version: &u32| json!({ "$ref": format!("{at}/messages/v{version}") });
    let messages: Vec<_> = topic.versions.keys().map(message).collect();
    (format!("{name}.{action}"), json!({ "action": action, "channel": { "$ref": at }, "messages": messages }))
}

fn message(name: &str, version: u32, id: &str) -> Value {
    json!({
        "name": name,
        "title": format!("{name}, version {version}"),
        "contentType": "application/json",
        "payload": { "$ref": format!("#/components/schemas/{id}") },
    })
}

/// A name within a reference: a JSON pointer's part, in the letters that a URI's fragment has.
fn part(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
    let letter = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    escaped(name).bytes().map(letter).collect()
}

/// The schema with its references to itself led to where it stands, and without the draft that it is in: a document has
/// one. AsyncAPI has no schemas that are `true` or `false` there.
fn led(schema: &Value, place: &str) -> Value {
    match schema {
        Value::Bool(true) => json!({}),
        Value::Bool(false) => json!({ "not": {} }),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(key, _)| *key != "$schema");
            Value::Object(fields.map(|(key, value)| (key.clone(), under(key, value, place))).collect())
        }
        other => other.clone(),
    }
}

fn relocated(value: &Value, place: &str) -> Value {
    match value {
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), under(key, value, place))).collect())
        }
        Value::Array(values) => values.iter().map(|value| relocated(value, place)).collect(),
        other => other.clone(),
    }
}

/// What a schema says under a keyword.
fn under(keyword: &str, value: &Value, place: &str) -> Value {
    match (keyword, value) {
        // What a value must be, or may look like, is no schema.
        ("const" | "enum" | "default" | "example" | "examples", _) => value.clone(),
        // Schemas by names, which may be those of keywords.
        ("properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas", Value::Object(all)) => {
            Value::Object(all.iter().map(|(name, schema)| (name.clone(), relocated(schema, place))).collect())
        }
        ("$ref", Value::String(reference)) if reference.starts_with('#') => {
            format!("{place}{}", &reference[1..]).into()
        }
        _ => relocated(value, place),
    }
}
