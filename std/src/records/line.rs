//! One line of a JSONL file or stream as an event: the audit format, or a CloudEvents document.

pub(crate) mod extensions;
mod headers;
pub(crate) mod restored;

use std::fmt;

use serde_json::{Map, Value};

use crate::context::baggage::Baggage;
use crate::context::trace::TraceContext;
use crate::delivery::class::Class;
use crate::headers::Headers;

/// An event as it stands in a file: read, checked for types, and not yet emitted.
///
/// The `event_type` is only known to be a string that is not empty; whether it is a topic is checked on emit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The name of the event, its topic.
    pub event_type: String,
    /// What the event says; any JSON value, usually an object.
    pub payload: Value,
    /// When it happened, in seconds since 1970-01-01T00:00:00Z; finite, if it was read by [`Record::from_jsonl`].
    pub timestamp: Option<f64>,
    /// Its identity.
    pub event_id: Option<String>,
    /// Where it came from.
    pub source: Option<String>,
    /// What ties it to other events of the same undertaking.
    pub correlation_id: Option<String>,
    /// The version of the payload's shape.
    pub schema_version: Option<u32>,
    /// What it has in common with others that mean the same.
    pub idempotency_key: Option<String>,
    /// How much it matters when not all events can stay.
    pub class: Class,
    /// What was said of it that few events have.
    pub headers: Option<Box<Headers>>,
    /// The distributed trace that it belongs to.
    pub trace_context: Option<TraceContext>,
    /// What its request carries along.
    pub baggage: Option<Baggage>,
}

impl Record {
    /// A record with a name and a payload, and nothing else known.
    #[must_use]
    pub fn new(event_type: impl Into<String>, payload: Value) -> Self {
        Self {
            event_type: event_type.into(),
            payload,
            timestamp: None,
            event_id: None,
            source: None,
            correlation_id: None,
            schema_version: None,
            idempotency_key: None,
            class: Class::default(),
            headers: None,
            trace_context: None,
            baggage: None,
        }
    }

    /// Reads one line.
    ///
    /// A line with the key `event_type` is in the audit format, else one with the key `type` is a CloudEvents document:
    ///
    /// | field | audit format | CloudEvents 1.0 or 0.3 |
    /// |---|---|---|
    /// | `event_type` | `event_type` | `type` |
    /// | `payload` | `payload` | `data`; or `{"data_base64": "..."}`, still encoded, if the data is binary |
    /// | `timestamp` | `timestamp`, seconds | `time`, RFC 3339 |
    /// | `event_id` | `event_id` | `id` |
    /// | `source` | `source` | `source` |
    /// | `correlation_id` | `correlation_id` | `correlationid` |
    /// | `schema_version` | `schema_version`, a number | `schemaversion` |
    /// | `idempotency_key` | `idempotency_key` | `idempotencykey` |
    /// | `class` | `class`: `low`, `high`, `critical` | `class` |
    /// | `headers` | a key for each field of [`Headers`], `ttl` in seconds, `attributes` an object of texts | see [`CloudEvent`](crate::CloudEvent) |
    /// | `trace_context` | `traceparent`, `tracestate` | the same |
    /// | `baggage` | `baggage` | the same |
    ///
    /// Only the name is required. A payload that is there is kept as it is, even `null`; one that is not there is `{}`.
    /// In every other field `null` means absent, `specversion` included. From `schema_version` on, what is no such thing is
    /// as good as absent, and an attribute that [`Attributes`](crate::Attributes) would not take is left out;
    /// [`CloudEvent::parse`](crate::CloudEvent::parse) is strict instead. Further keys of the audit format are ignored. If
    /// a key is there twice, the last one counts. A byte order mark before and white space around the JSON are skipped, so
    /// that the line may end in a line break.
    ///
    /// Integers beyond 64 bits are read as the nearest float. A leap second (`:60`) is read as `:59`; digits of a
    /// second beyond the ninth are cut off.
    ///
    /// # Errors
    ///
    /// [`LineError`] names the field, the value and the rule. `NaN` and `Infinity` are no JSON; nesting deeper than 127
    /// levels is refused.
    ///
    /// # Cost
    ///
    /// Linear in the length of the line; allocates what the JSON needs, also for keys that are ignored.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::Record;
    ///
    /// let audit = Record::from_jsonl(br#"{"event_type": "user.login", "payload": {"username": "alice"}, "timestamp": 1.5}"#)?;
    /// let cloud = Record::from_jsonl(br#"{"type": "user.login", "data": {"username": "alice"}, "time": "1970-01-01T00:00:01.5Z"}"#)?;
    /// assert_eq!(audit, cloud);
    ///
    /// let refused = Record::from_jsonl(br#"{"event_type": 7}"#).unwrap_err();
    /// assert_eq!(refused.to_string(), r#"field "event_type" must be a string, but is a number"#);
    /// # Ok::<(), nervebus::LineError>(())
    /// ```
    pub fn from_jsonl(line: &[u8]) -> Result<Self, LineError> {
        let fields = Fields(object(line)?);
        if fields.has("event_type") {
            Self::from_audit(fields)
        } else if fields.has("type") {
            Self::from_cloud_event(fields)
        } else {
            Err(LineError::MissingType)
        }
    }

    fn from_audit(mut fields: Fields) -> Result<Self, LineError> {
        Ok(Self {
            event_type: fields.name("event_type")?,
            payload: fields.payload("payload"),
            timestamp: fields.seconds("timestamp")?,
            event_id: fields.string("event_id")?,
            source: fields.string("source")?,
            correlation_id: fields.string("correlation_id")?,
            // As every key beyond the six: what is no such thing there is as good as absent.
            schema_version: fields.number("schema_version"),
            idempotency_key: fields.text("idempotency_key").map(Into::into),
            class: fields.class(),
            headers: fields.headers(),
            trace_context: fields.trace_context(),
            baggage: fields.baggage(),
        })
    }

    fn from_cloud_event(mut fields: Fields) -> Result<Self, LineError> {
        let version = fields.string("specversion")?;
        let old = match version.as_deref() {
            None | Some("1.0") => false,
            Some("0.3") => true,
            Some(_) => {
                return Err(LineError::UnsupportedSpecVersion { value: version.unwrap_or_default() });
            }
        };
        let event_type = fields.name("type")?;
        let mut record = Self::new(event_type, fields.data(old)?);
        record.timestamp = fields.time("time")?;
        record.event_id = fields.string("id")?;
        record.source = fields.string("source")?;
        record.correlation_id = fields.string("correlationid")?;
        record.trace_context = fields.trace_context();
        record.baggage = fields.baggage();
        fields.extend(&mut record);
        Ok(record)
    }
}

/// Reads the one JSON object of a line.
pub(crate) fn object(line: &[u8]) -> Result<Map<String, Value>, LineError> {
    const BYTE_ORDER_MARK: char = '\u{feff}';
    let whole = std::str::from_utf8(line).map_err(|error| LineError::NotUtf8 { at: error.valid_up_to() + 1 })?;
    let text = whole.strip_prefix(BYTE_ORDER_MARK).unwrap_or(whole);
    if text.trim_ascii().is_empty() {
        return Err(LineError::Empty);
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(other) => Err(LineError::NotAnObject { found: kind(&other) }),
        Err(error) => {
            let at = offset(text, &error);
            let column = whole.len() - text.len() + at + 1;
            Err(LineError::NotJson { column, message: complaint(&text.as_bytes()[at..], &error) })
        }
    }
}

/// Where in `text` the parser stopped, in bytes counted from 0; at most the length of `text`.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    // The parser counts columns anew after each line break, and a document may contain some between its tokens.
    let lines = error.line().saturating_sub(1);
    let before: usize = text.split_inclusive('\n').take(lines).map(str::len).sum();
    (before + error.column().saturating_sub(1)).min(text.len())
}

/// What the parser says, without the position, which the error names in its own terms.
fn complaint(rest: &[u8], error: &serde_json::Error) -> String {
    // Some writers put these where JSON has no word; 'expected value' would not say what is wrong.
    if rest.starts_with(b"NaN") || rest.starts_with(b"Infinity") {
        return "NaN and Infinity are not JSON".to_owned();
    }
    let mut message = error.to_string();
    if let Some(end) = message.rfind(" at line ") {
        message.truncate(end);
    }
    message
}

/// The keys of a line that are not used up yet.
struct Fields(Map<String, Value>);

impl Fields {
    fn has(&self, field: &str) -> bool {
        self.0.contains_key(field)
    }

    /// Takes a field out; `null` is the same as absent.
    fn take(&mut self, field: &str) -> Option<Value> {
        self.0.remove(field).filter(|value| !value.is_null())
    }

    fn string(&mut self, field: &'static str) -> Result<Option<String>, LineError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(LineError::WrongType { field, expected: "a string or null", found: kind(&other) }),
        }
    }

    /// What is no trace is as good as absent.
    fn trace_context(&mut self) -> Option<TraceContext> {
        let trace = TraceContext::parse(self.take("traceparent")?.as_str()?)?;
        let state = self.take("tracestate");
        Some(state.as_ref().and_then(Value::as_str).map_or(trace.clone(), |state| trace.with_state(state)))
    }

    fn baggage(&mut self) -> Option<Baggage> {
        Baggage::parse(self.take("baggage")?.as_str()?)
    }

    /// The name of the event: the one field that must be there.
    fn name(&mut self, field: &'static str) -> Result<String, LineError> {
        match self.0.remove(field) {
            Some(Value::String(name)) if name.is_empty() => Err(LineError::EmptyType { field }),
            Some(Value::String(name)) => Ok(name),
            Some(other) => Err(LineError::WrongType { field, expected: "a string", found: kind(&other) }),
            None => Err(LineError::MissingType),
        }
    }

    fn payload(&mut self, field: &str) -> Value {
        self.0.remove(field).unwrap_or_else(|| Value::Object(Map::new()))
    }

    /// The payload of a CloudEvents document; `old` is version 0.3, which marks binary data in another way.
    fn data(&mut self, old: bool) -> Result<Value, LineError> {
        if let Some(encoded) = self.string(BINARY)? {
            if self.has("data") {
                return Err(LineError::TwoPayloads);
            }
            return Ok(binary(encoded));
        }
        let encoding = if old { self.string("datacontentencoding")? } else { None };
        match self.payload("data") {
            Value::String(encoded) if encoding.is_some_and(|name| name.eq_ignore_ascii_case("base64")) => {
                Ok(binary(encoded))
            }
            data => Ok(data),
        }
    }

    fn seconds(&mut self, field: &'static str) -> Result<Option<f64>, LineError> {
        const EXPECTED: &str = "a finite number or null";
        match self.take(field) {
            None => Ok(None),
            Some(Value::Number(number)) => match number.as_f64().filter(|seconds| seconds.is_finite()) {
                Some(seconds) => Ok(Some(seconds)),
                None => Err(LineError::WrongType { field, expected: EXPECTED, found: "a number out of range" }),
            },
            Some(other) => Err(LineError::WrongType { field, expected: EXPECTED, found: kind(&other) }),
        }
    }

    fn time(&mut self, field: &'static str) -> Result<Option<f64>, LineError> {
        match self.string(field)? {
            None => Ok(None),
            Some(value) => match rfc3339(&value) {
                Some(seconds) => Ok(Some(seconds)),
                None => Err(LineError::BadTime { field, value }),
            },
        }
    }
}

/// The key of binary data, in a document and in the payload made from it.
const BINARY: &str = "data_base64";

fn binary(encoded: String) -> Value {
    Value::Object(Map::from_iter([(BINARY.to_owned(), Value::String(encoded))]))
}

/// Seconds since the epoch, if `text` is a date and time by RFC 3339 and is a day of the calendar.
pub(crate) fn rfc3339(text: &str) -> Option<f64> {
    // jiff reads more than RFC 3339: minutes without seconds, zone names in brackets, dates without dashes.
    let (date_and_time, rest) = text.split_at_checked(19)?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => ("0", rest),
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
    };
    let utc = matches!(zone, "Z" | "z");
    let offset = fits(zone, "+00:00") && zone.get(1..3)? < "24";
    if !fits(date_and_time, "0000-00-00T00:00:00") || fraction.is_empty() || !(utc || offset) {
        return None;
    }
    // Nanoseconds are the finest that jiff takes.
    let fraction = fraction.get(..9).unwrap_or(fraction);
    let instant: jiff::Timestamp = format!("{date_and_time}.{fraction}{zone}").parse().ok()?;
    Some(instant.as_duration().as_secs_f64())
}

/// Whether `text` has the shape of `form`, where a `0` stands for a digit, a `+` for a sign, a `T` for what may stand
/// between date and time, and anything else for itself.
fn fits(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(found, wanted)| match wanted {
            b'0' => found.is_ascii_digit(),
            b'+' => matches!(found, b'+' | b'-'),
            b'T' => matches!(found, b'T' | b't' | b' '),
            _ => found == wanted,
        })
}

pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Why a line is not a [`Record`].
///
/// Its text is one line of less than 1,000 bytes: what comes from the input is shown in quotes, escaped and cut
/// after 64 characters, so that no input can forge a second log line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LineError {
    /// There is nothing on the line but white space.
    Empty,
    /// The line is not UTF-8.
    NotUtf8 {
        /// The first byte that is not, counted from 1.
        at: usize,
    },
    /// The line is not one JSON document, or is nested too deeply.
    NotJson {
        /// Where reading stopped, in bytes of the line counted from 1.
        column: usize,
        /// What was wrong there.
        message: String,
    },
    /// The line is a JSON document, but not an object.
    NotAnObject {
        /// What it is: `"an array"`, `"a number"`, ...
        found: &'static str,
    },
    /// There is neither the key `event_type` nor the key `type`.
    MissingType,
    /// The name of the event is the empty string.
    EmptyType {
        /// The key: `event_type` or `type`.
        field: &'static str,
    },
    /// A field has a value of the wrong type.
    WrongType {
        /// The key.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// The `specversion` is neither 1.0 nor 0.3.
    UnsupportedSpecVersion {
        /// What it is.
        value: String,
    },
    /// The time is not a date and time by RFC 3339, such as `2026-01-31T23:59:59.5Z`.
    BadTime {
        /// The key.
        field: &'static str,
        /// What it is.
        value: String,
    },
    /// A CloudEvents document has both `data` and `data_base64`.
    TwoPayloads,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the line is empty"),
            Self::NotUtf8 { at } => write!(f, "the line is not UTF-8 from byte {at} on"),
            Self::NotJson { column, message } => {
                write!(f, "the line is not JSON at column {column}: {}", Shown(message))
            }
            Self::NotAnObject { found } => {
                write!(f, "the line must be a JSON object, but is {found}")
            }
            Self::MissingType => {
                f.write_str(r#"the line has neither "event_type" (audit format) nor "type" (CloudEvents)"#)
            }
            Self::EmptyType { field } => write!(f, "field {field:?} must not be empty"),
            Self::WrongType { field, expected, found } => {
                write!(f, "field {field:?} must be {expected}, but is {found}")
            }
            Self::UnsupportedSpecVersion { value } => {
                write!(f, r#"field "specversion" must be "1.0" or "0.3", but is "{}""#, Shown(value))
            }
            Self::BadTime { field, value } => write!(
                f,
                r#"field {field:?} must be a time as in "2026-01-31T23:59:59Z" (RFC 3339), but is "{}""#,
                Shown(value)
            ),
            Self::TwoPayloads => f.write_str(r#"only one of the fields "data" and "data_base64" may be there"#),
        }
    }
}

impl std::error::Error for LineError {}

/// Shows text from outside on one line and in bounded space.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        match self.0.char_indices().nth(SHOWN) {
            None => write!(f, "{}", self.0.escape_debug()),
            // The cut is a character boundary because `char_indices` gave it.
            Some((cut, _)) => write!(f, "{}...", self.0[..cut].escape_debug()),
        }
    }
}
