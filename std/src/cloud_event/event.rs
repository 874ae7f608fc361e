//! What of an event becomes what of a CloudEvents event, and back.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::error::CloudEventError;
use super::{BASE64, CloudData, CloudEvent, CloudValue, base64, is_name_byte, is_uri, is_uri_byte};
use crate::delivery::class::Class;
use crate::event::{Event, OwnedEvent};
use crate::event_id::EventId;
use crate::headers::attributes::Attributes;
use crate::records::line::extensions::ATTRIBUTES;
use crate::records::line::{Record, rfc3339};

/// Who an event comes from when nobody said so: a URI reference.
const SOURCE: &str = "nervebus";
/// How long the name of an extension should be at most.
const LONGEST_NAME: usize = 20;
/// The extension that holds the number of an event.
const SEQUENCE: &str = "sequence";
/// What is no extension, whatever an attribute of its name says.
const CORE: &[&str] = &["specversion", "id", "source", "type", "time", "datacontenttype", "data", ATTRIBUTES];

impl Event<'_> {
    /// The event as CloudEvents 1.0 has it; [`CloudEvent`] says what becomes of what.
    ///
    /// The payload is what [`payload`](Self::payload) shows, without personal data. A time beyond the years 0 to 9999 is left
    /// out, and so is an identity that is empty: the bus's own takes its place.
    ///
    /// # Cost
    ///
    /// A copy of the payload's JSON and of every text.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, json};
    ///
    /// let bus = Bus::builder().build()?;
    /// bus.on("order.*").inline().handle(|event| {
    ///     let cloud = event.to_cloud_event();
    ///     assert_eq!((cloud.source(), cloud.event_type()), ("/shop", "order.placed"));
    ///     assert!(cloud.to_json().starts_with(r#"{"specversion":"1.0","id":""#));
    /// })?;
    /// let report = bus.event("order.placed", json!({"id": 7})).source("/shop").emit_and_wait()?;
    /// assert!(report.all_handled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_cloud_event(&self) -> CloudEvent {
        let made = || EventId::made(self.bus, self.seq()).to_string();
        let id = Some(self.id().to_string()).filter(|id| !id.is_empty()).unwrap_or_else(made);
        let attribute = |name| self.attribute(name).filter(|value| is_core(name, value)).map(str::to_owned);
        let content_type = self.headers().and_then(|headers| headers.content_type.as_deref());
        CloudEvent {
            id,
            source: self.source().filter(|source| !source.is_empty()).map_or_else(|| SOURCE.to_owned(), uri),
            event_type: self.topic().to_owned(),
            subject: attribute("subject"),
            time: moment(self.timestamp()).and_then(text),
            data_content_type: content_type.filter(|text| !text.is_empty()).map(str::to_owned),
            data_schema: attribute("dataschema"),
            extensions: extensions(self),
            data: Some(data(self.payload())),
        }
    }
}

impl OwnedEvent {
    /// See [`Event::to_cloud_event`].
    #[must_use]
    pub fn to_cloud_event(&self) -> CloudEvent {
        self.as_event().to_cloud_event()
    }
}

impl CloudEvent {
    /// The event as a record, which [`Bus::emit_record`](crate::Bus::emit_record) emits. Its `sequence` is an attribute then, for
    /// the bus gives it a number of its own.
    ///
    /// # Errors
    ///
    /// [`CloudEventError::Attribute`]: its extensions are more than [`Attributes`] take.
    pub fn into_record(self) -> Result<Record, CloudEventError> {
        let payload = match self.data {
            None => Value::Object(Map::new()),
            Some(CloudData::Json(data)) => data,
            Some(CloudData::Base64(data)) => Value::Object(Map::from_iter([(BASE64.to_owned(), Value::String(data))])),
        };
        let mut record = Record::new(self.event_type, payload);
        record.event_id = Some(self.id);
        record.source = Some(self.source);
        record.timestamp = self.time.as_deref().and_then(rfc3339);
        let core =
            [("datacontenttype", self.data_content_type), ("subject", self.subject), ("dataschema", self.data_schema)];
        for (name, value) in core {
            if let Some(value) = value {
                record.take_extension(name, value)?;
            }
        }
        for (name, value) in self.extensions {
            record.take_extension(&name, value.to_string())?;
        }
        record.headers = record.headers.take().filter(|headers| !headers.is_empty());
        Ok(record)
    }

    /// The event as one that no bus has emitted, with the number that its `sequence` says, or else 0.
    ///
    /// # Errors
    ///
    /// As [`into_record`](Self::into_record).
    pub fn into_event(mut self) -> Result<OwnedEvent, CloudEventError> {
        let said = self.extensions.get(SEQUENCE).and_then(|number| number.to_string().parse().ok());
        if said.is_some() {
            self.extensions.remove(SEQUENCE);
        }
        Ok(OwnedEvent::restored(self.into_record()?, said.unwrap_or(0)))
    }
}

/// The extensions that say what the other attributes do not.
fn extensions(event: &Event<'_>) -> BTreeMap<String, CloudValue> {
    let mut all = BTreeMap::new();
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            all.insert(name.to_owned(), CloudValue::Text(value));
        }
    };
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    say("correlationid", event.correlation_id().map(str::to_owned));
    say("causationid", event.causation_id().map(|id| id.to_string()));
    say("idempotencykey", event.idempotency_key().map(str::to_owned));
    say(SEQUENCE, (event.seq() != 0).then(|| format!("{:020}", event.seq())));
    say("schemaversion", number(event.schema_version()));
    say("class", (event.class() != Class::Normal).then(|| event.class().to_string()));
    say("expirytime", event.ttl().and_then(|ttl| expiry(event.timestamp(), ttl)));
    say("traceparent", event.trace_context().map(ToString::to_string));
    say("tracestate", event.trace_context().and_then(|trace| trace.state()).map(str::to_owned));
    say("baggage", event.baggage().filter(|baggage| !baggage.is_empty()).map(ToString::to_string));
    if let Some(headers) = event.headers() {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        say("destination", text(&headers.destination));
        say("operationname", text(&headers.operation_name));
        say("routingkey", text(&headers.routing_key));
        say("partitionkey", text(&headers.partition_key));
        say("retrycount", number(headers.retry_count));
        say("maxretries", number(headers.max_retries));
        add_attributes(&mut all, &headers.attributes, event.timestamp());
    }
    all
}

/// Adds each attribute as an extension of its name, and those that cannot be one together.
fn add_attributes(all: &mut BTreeMap<String, CloudValue>, attributes: &Attributes, time: f64) {
    let mut rest = Map::new();
    for (name, value) in attributes.iter().filter(|(name, value)| !is_core(name, value)) {
        if is_extension(name, value, time) && !all.contains_key(name) {
            all.insert(name.to_owned(), CloudValue::Text(value.to_owned()));
        } else {
            rest.insert(name.to_owned(), Value::String(value.to_owned()));
        }
    }
    if !rest.is_empty() {
        all.insert(ATTRIBUTES.to_owned(), CloudValue::Text(ascii(&Value::Object(rest).to_string())));
    }
}

/// Whether an attribute is one that the specification has beside the extensions.
fn is_core(name: &str, value: &str) -> bool {
    !value.is_empty() && is_plain(value) && (name == "subject" || (name == "dataschema" && is_uri(value)))
}

/// Whether an attribute can be an extension of its name, and would be read back as what it is.
fn is_extension(name: &str, value: &str, time: f64) -> bool {
    if name.len() > LONGEST_NAME || !name.bytes().all(is_name_byte) || !is_plain(value) {
        return false;
    }
    if CORE.contains(&name) || matches!(name, "subject" | "dataschema") {
        return false;
    }
    let mut read = Record::new(name, Value::Null);
    read.timestamp = Some(time);
    let taken = read.take_extension(name, value.to_owned()).is_ok();
    taken && read.headers.is_some_and(|headers| headers.attributes.get(name).is_some())
}

/// Whether a text has only characters that the specification allows in one.
fn is_plain(text: &str) -> bool {
    let is_noncharacter = |c: char| matches!(u32::from(c), 0xfdd0..=0xfdef) || u32::from(c) & 0xfffe == 0xfffe;
    !text.chars().any(|c| c.is_control() || is_noncharacter(c))
}

/// JSON with all that is not ASCII escaped; only strings have any.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if (' '..='~').contains(&c) {
            escaped.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        }
    }
    escaped
}

/// A text with what a URI reference cannot have percent-encoded.
fn uri(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        if is_uri_byte(text.as_bytes(), at) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn data(payload: &Value) -> CloudData {
    match payload {
        Value::Object(fields) if fields.len() == 1 => match fields.get(BASE64) {
            Some(Value::String(text)) if base64::decode(text).is_some() => CloudData::Base64(text.clone()),
            _ => CloudData::Json(payload.clone()),
        },
        _ => CloudData::Json(payload.clone()),
    }
}

/// A moment of a timestamp, to the nanosecond.
fn moment(seconds: f64) -> Option<Timestamp> {
    Timestamp::from_duration(SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
}

/// A moment as RFC 3339 has it; it knows no years before 0.
fn text(moment: Timestamp) -> Option<String> {
    Some(moment.to_string()).filter(|text| rfc3339(text).is_some())
}

fn expiry(timestamp: f64, ttl: Duration) -> Option<String> {
    text(moment(timestamp)?.checked_add(ttl).ok()?)
}
