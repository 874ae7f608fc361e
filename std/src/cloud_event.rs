//! CloudEvents 1.0: events as other systems say them, in JSON and over HTTP.

mod base64;
pub(crate) mod error;
mod event;
mod http;

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

pub use self::error::CloudEventError;
pub use self::http::HttpMessage;
use crate::records::line::{self, LineError};

/// The one version there is of the specification that this speaks.
const VERSION: &str = "1.0";
/// The key of binary data in a JSON document.
const BASE64: &str = "data_base64";

/// An event as the specification CloudEvents 1.0 has it.
///
/// It comes from an event ([`Event::to_cloud_event`](crate::Event::to_cloud_event)), a document ([`parse`](Self::parse)) or an
/// HTTP message ([`from_http`](Self::from_http)), and becomes any of these. All that an event has goes along:
///
/// | attribute | of an event |
/// |---|---|
/// | `id` | [`id`](crate::Event::id) |
/// | `source` | [`source`](crate::Event::source), or `nervebus`; what a URI reference cannot have is percent-encoded |
/// | `type` | [`topic`](crate::Event::topic) |
/// | `time` | [`timestamp`](crate::Event::timestamp), to the nanosecond |
/// | `datacontenttype` | [`content_type`](crate::Headers::content_type) |
/// | `correlationid`, `causationid` | [`correlation_id`](crate::Event::correlation_id), [`causation_id`](crate::Event::causation_id) |
/// | `sequence` | [`seq`](crate::Event::seq), as 20 digits, so that the order of texts is that of numbers |
/// | `partitionkey`, `routingkey`, `destination`, `operationname`, `retrycount`, `maxretries` | the [headers](crate::Headers) of these names |
/// | `idempotencykey`, `schemaversion` | [`idempotency_key`](crate::Event::idempotency_key), [`schema_version`](crate::Event::schema_version) |
/// | `class` | [`class`](crate::Event::class), unless it is normal |
/// | `expirytime` | the timestamp and the [`ttl`](crate::Event::ttl); comes back to the microsecond |
/// | `subject`, `dataschema` | the [attributes](crate::Attributes) of these names |
/// | `traceparent`, `tracestate`, `baggage` | [`trace_context`](crate::Event::trace_context), [`baggage`](crate::Event::baggage) |
/// | any other of 1 to 20 letters and digits | the attribute of that name |
/// | `attributes` | the attributes that cannot be extensions by their name or value, as a JSON object in a text |
/// | data | the [payload](crate::Event::payload); binary data is an object with the one key `data_base64` there |
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, CloudEvent};
///
/// let document = br#"{"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order.placed", "data": {"id": 7}}"#;
/// let event = CloudEvent::parse(document)?;
/// assert_eq!((event.source(), event.event_type()), ("/shop", "order.placed"));
///
/// let bus = Bus::builder().build()?;
/// bus.on("order.*").inline().handle(|event| {
///     let message = event.to_cloud_event().to_http().expect("its data fits its media type");
///     assert!(message.headers.contains(&("ce-id".to_owned(), "a-1".to_owned())));
///     assert_eq!(message.body, br#"{"id":7}"#);
/// })?;
/// assert_eq!(bus.emit_record(event.into_record()?)?.inline().handled, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct CloudEvent {
    id: String,
    source: String,
    event_type: String,
    subject: Option<String>,
    time: Option<String>,
    data_content_type: Option<String>,
    data_schema: Option<String>,
    extensions: BTreeMap<String, CloudValue>,
    data: Option<CloudData>,
}

/// What an extension of a [`CloudEvent`] says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloudValue {
    /// Yes or no.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// A text, or what is written as one.
    Text(String),
}

impl fmt::Display for CloudValue {
    /// As HTTP headers have it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}

/// What a [`CloudEvent`] carries.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum CloudData {
    /// JSON, or a text as a JSON string.
    Json(Value),
    /// Bytes in base64, as they were written; only [`CloudEvent::to_http`] asks whether they are.
    Base64(String),
}

impl fmt::Debug for CloudData {
    /// The kind only: data may be what no log should have.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json(_) => "CloudData::Json",
            Self::Base64(_) => "CloudData::Base64",
        })
    }
}

impl CloudEvent {
    /// Reads a JSON document.
    ///
    /// Strict, other than [`Record::from_jsonl`](crate::Record::from_jsonl): `specversion` is `1.0`; `id`, `source` and
    /// `type` are there; every attribute has the type and form that the specification gives it. `null` means absent. That
    /// `source` and `dataschema` are URIs is checked by their characters, and that `data_base64` is base64 is not. Names of
    /// extensions may be longer than the 20 characters that are advised.
    ///
    /// # Errors
    ///
    /// [`CloudEventError`] names the attribute and the rule.
    ///
    /// # Cost
    ///
    /// Linear in the length of the document.
    pub fn parse(document: &[u8]) -> Result<Self, CloudEventError> {
        Self::from_value(Value::Object(line::object(document)?))
    }

    /// Reads a JSON array of events, as the media type `application/cloudevents-batch+json` has it.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse), with the place of the first event that is none; nothing is read then.
    pub fn parse_batch(batch: &[u8]) -> Result<Vec<Self>, CloudEventError> {
        let events: Vec<Value> =
            serde_json::from_slice(batch).map_err(|_| CloudEventError::Data { rule: "an array of events in JSON" })?;
        let read = |(index, event)| {
            Self::from_value(event).map_err(|error| CloudEventError::InBatch { index, error: Box::new(error) })
        };
        events.into_iter().enumerate().map(read).collect()
    }

    fn from_value(document: Value) -> Result<Self, CloudEventError> {
        let found = line::kind(&document);
        let Value::Object(mut fields) = document else { return Err(LineError::NotAnObject { found }.into()) };
        let base64 = match fields.remove(BASE64) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(CloudData::Base64(text)),
            Some(_) => return Err(CloudEventError::Data { rule: "a string in base64" }),
        };
        let data = match (fields.remove("data"), base64) {
            (None, base64) => base64,
            (Some(data), None) => Some(CloudData::Json(data)),
            (Some(_), Some(_)) => return Err(CloudEventError::Data { rule: error::TWO_FORMS }),
        };
        let mut draft = Draft::default();
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
            let value = match value {
                Value::Bool(value) => CloudValue::Boolean(value),
                Value::String(value) => CloudValue::Text(value),
                Value::Number(number) => match number.as_i64().and_then(|number| i32::try_from(number).ok()) {
                    Some(number) => CloudValue::Integer(number),
                    None => return Err(CloudEventError::invalid(&name, number.to_string(), "an integer of 32 bits")),
                },
                other => {
                    let rule = "a string, a boolean or an integer";
                    return Err(CloudEventError::invalid(&name, line::kind(&other), rule));
                }
            };
            draft.set(&name, value)?;
        }
        draft.finish(data)
    }

    /// The event as a JSON document, on one line.
    ///
    /// # Cost
    ///
    /// Linear in its length.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts, numbers and JSON always have JSON, and memory takes it.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Its identity, which no other event of its [source](Self::source) has.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where it comes from, as a URI reference.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// What kind of event it is: the topic.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// What of its source it is about.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// When it happened, as RFC 3339 has it.
    #[must_use]
    pub fn time(&self) -> Option<&str> {
        self.time.as_deref()
    }

    /// The media type of its data; none means JSON.
    #[must_use]
    pub fn data_content_type(&self) -> Option<&str> {
        self.data_content_type.as_deref()
    }

    /// Which schema its data has, as a URI.
    #[must_use]
    pub fn data_schema(&self) -> Option<&str> {
        self.data_schema.as_deref()
    }

    /// What it carries.
    #[must_use]
    pub fn data(&self) -> Option<&CloudData> {
        self.data.as_ref()
    }

    /// An extension, by its name.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<&CloudValue> {
        self.extensions.get(name)
    }

    /// All extensions, in the order of their names.
    pub fn extensions(&self) -> impl ExactSizeIterator<Item = (&str, &CloudValue)> {
        self.extensions.iter().map(|(name, value)| (&**name, value))
    }

    /// All attributes but `specversion` and the media type, in the order in which they are written.
    fn attributes(&self) -> impl Iterator<Item = (&str, CloudText<'_>)> {
        let required = [("id", &self.id), ("source", &self.source), ("type", &self.event_type)];
        let optional = [("time", &self.time), ("subject", &self.subject), ("dataschema", &self.data_schema)];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let core = required.into_iter().chain(optional).map(|(name, value)| (name, CloudText::Text(value)));
        core.chain(self.extensions.iter().map(|(name, value)| (&**name, CloudText::Value(value))))
    }
}

/// The value of any attribute.
enum CloudText<'a> {
    Text(&'a str),
    Value(&'a CloudValue),
}

impl Serialize for CloudEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("specversion", VERSION)?;
        for (name, value) in self.attributes() {
            match value {
                CloudText::Text(text) => map.serialize_entry(name, text)?,
                CloudText::Value(CloudValue::Boolean(value)) => map.serialize_entry(name, value)?,
                CloudText::Value(CloudValue::Integer(value)) => map.serialize_entry(name, value)?,
                CloudText::Value(CloudValue::Text(value)) => map.serialize_entry(name, value)?,
            }
        }
        if let Some(media_type) = &self.data_content_type {
            map.serialize_entry("datacontenttype", media_type)?;
        }
        match &self.data {
            None => {}
            Some(CloudData::Json(data)) => map.serialize_entry("data", data)?,
            Some(CloudData::Base64(data)) => map.serialize_entry(BASE64, data)?,
        }
        map.end()
    }
}

impl fmt::Debug for CloudEvent {
    /// Identity only: data and extensions may be what no log should have.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("CloudEvent");
        shown.field("id", &self.id).field("source", &self.source).field("event_type", &self.event_type);
        shown.finish_non_exhaustive()
    }
}

/// The attributes that were read so far.
#[derive(Default)]
struct Draft {
    version: Option<String>,
    id: Option<String>,
    source: Option<String>,
    event_type: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    data_content_type: Option<String>,
    data_schema: Option<String>,
    extensions: BTreeMap<String, CloudValue>,
}

impl Draft {
    fn set(&mut self, name: &str, value: CloudValue) -> Result<(), CloudEventError> {
        let slot = match name {
            "specversion" => &mut self.version,
            "id" => &mut self.id,
            "source" => &mut self.source,
            "type" => &mut self.event_type,
            "subject" => &mut self.subject,
            "time" => &mut self.time,
            "datacontenttype" => &mut self.data_content_type,
            "dataschema" => &mut self.data_schema,
            _ => return self.extend(name, value),
        };
        let CloudValue::Text(text) = value else {
            return Err(CloudEventError::invalid(name, value.to_string(), "a string"));
        };
        match slot.replace(text) {
            None => Ok(()),
            Some(_) => Err(CloudEventError::Repeated { field: name.to_owned() }),
        }
    }

    fn extend(&mut self, name: &str, value: CloudValue) -> Result<(), CloudEventError> {
        if name == "data" || name.is_empty() || !name.bytes().all(is_name_byte) {
            let rule = "named by lower-case letters and digits, and not \"data\"";
            return Err(CloudEventError::invalid(name, name, rule));
        }
        match self.extensions.insert(name.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(CloudEventError::Repeated { field: name.to_owned() }),
        }
    }

    fn finish(self, data: Option<CloudData>) -> Result<CloudEvent, CloudEventError> {
        let version = self.version.ok_or(CloudEventError::Missing { field: "specversion" })?;
        if version != VERSION {
            return Err(CloudEventError::invalid("specversion", version, "\"1.0\""));
        }
        let there = |field: &'static str, value: Option<String>| value.ok_or(CloudEventError::Missing { field });
        let event = CloudEvent {
            id: there("id", self.id)?,
            source: there("source", self.source)?,
            event_type: there("type", self.event_type)?,
            subject: self.subject,
            time: self.time,
            data_content_type: self.data_content_type,
            data_schema: self.data_schema,
            extensions: self.extensions,
            data,
        };
        event.check()?;
        Ok(event)
    }
}

impl CloudEvent {
    fn check(&self) -> Result<(), CloudEventError> {
        let core = [
            ("id", Some(&self.id)),
            ("type", Some(&self.event_type)),
            ("source", Some(&self.source)),
            ("subject", self.subject.as_ref()),
            ("dataschema", self.data_schema.as_ref()),
            ("datacontenttype", self.data_content_type.as_ref()),
        ];
        if let Some((name, value)) = core.into_iter().find(|(_, value)| value.is_some_and(String::is_empty)) {
            return Err(CloudEventError::invalid(name, value.cloned().unwrap_or_default(), "a text that is not empty"));
        }
        if !is_uri(&self.source) {
            return Err(CloudEventError::invalid("source", &self.source, "a URI reference"));
        }
        if let Some(schema) = self.data_schema.as_ref().filter(|schema| !is_uri(schema)) {
            return Err(CloudEventError::invalid("dataschema", schema, "a URI"));
        }
        match &self.time {
            Some(time) if line::rfc3339(time).is_none() => {
                Err(CloudEventError::invalid("time", time, "a time as in \"2026-01-31T23:59:59Z\" (RFC 3339)"))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the name of an attribute may have this.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether a text has only what URI references have (RFC 3986).
fn is_uri(text: &str) -> bool {
    (0..text.len()).all(|at| is_uri_byte(text.as_bytes(), at))
}

fn is_uri_byte(text: &[u8], at: usize) -> bool {
    let is_hex = |at: usize| text.get(at).is_some_and(u8::is_ascii_hexdigit);
    match text.get(at) {
        Some(b'%') => is_hex(at + 1) && is_hex(at + 2),
        Some(byte) => byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte),
        None => false,
    }
}
