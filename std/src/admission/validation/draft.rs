//! What a rule sees of an event that is about to be emitted.

use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::ops::Index;
use std::time::Duration;

use serde_json::Value;

use crate::headers::Headers;
use crate::payload::{Carried, Content};

/// An event that is about to be emitted, as the rules of a [`Validation`](crate::Validation) see it.
///
/// `draft["field"]` reads the payload as JSON (`null` for what is not there), [`payload_as`](Self::payload_as) as the Rust
/// value that is to be emitted. It has no number and no time yet.
pub struct Draft<'a> {
    topic: &'a str,
    subject: Subject<'a>,
    said: Said<'a>,
}

/// What is to be emitted.
pub(crate) enum Subject<'a> {
    /// In its event's place, with the JSON that handlers will see.
    Content(&'a dyn Content),
    /// Still its emitter's.
    Value { value: &'a dyn Carried, json: OnceCell<Value> },
}

impl<'a> Subject<'a> {
    pub(crate) fn value(value: &'a dyn Carried) -> Self {
        Self::Value { value, json: OnceCell::new() }
    }
}

/// What its emitter has said beyond topic and payload.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Said<'a> {
    pub(crate) source: Option<&'a str>,
    pub(crate) correlation_id: Option<&'a str>,
    pub(crate) event_id: Option<&'a str>,
    pub(crate) idempotency_key: Option<&'a str>,
    pub(crate) schema_version: Option<u32>,
    pub(crate) headers: Option<&'a Headers>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(topic: &'a str, subject: Subject<'a>, said: Said<'a>) -> Self {
        Self { topic, subject, said }
    }

    /// The name under which it is emitted.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// Who emits it, if the emitter said so.
    pub fn source(&self) -> Option<&'a str> {
        self.said.source
    }

    /// What ties it to other events of one request: given, or inherited.
    pub fn correlation_id(&self) -> Option<&'a str> {
        self.said.correlation_id
    }

    /// The identity that its emitter gave, if it gave one.
    pub fn event_id(&self) -> Option<&'a str> {
        self.said.event_id
    }

    /// What it has in common with other events that mean the same, if the emitter said so.
    pub fn idempotency_key(&self) -> Option<&'a str> {
        self.said.idempotency_key
    }

    /// What else the emitter said of it, if anything.
    pub fn headers(&self) -> Option<&'a Headers> {
        self.said.headers
    }

    /// The [attribute](crate::Emission::attribute) of this name, if the emitter said one.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        self.headers()?.attributes.get(name)
    }

    /// The version of the payload's shape: that of its type, or what the emitter said.
    pub fn schema_version(&self) -> Option<u32> {
        self.said.schema_version.or_else(|| match &self.subject {
            Subject::Content(content) => content.version(),
            Subject::Value { value, .. } => value.version(),
        })
    }

    /// For how long its type says that it is worth delivering.
    pub(crate) fn ttl(&self) -> Option<Duration> {
        match &self.subject {
            Subject::Content(content) => content.ttl(),
            Subject::Value { value, .. } => value.ttl(),
        }
    }

    /// The payload as JSON, as handlers see it: [personal data](crate::TypedEvent::PII) is redacted. `null` when its
    /// `Serialize` implementation fails.
    ///
    /// # Cost
    ///
    /// It is made when it is first asked for, and handlers find it made.
    pub fn payload(&self) -> &Value {
        match &self.subject {
            Subject::Content(content) => content.json(),
            Subject::Value { value, json } => match value.value().downcast_ref() {
                Some(value) => value,
                None => json.get_or_init(|| value.to_json().unwrap_or_default()),
            },
        }
    }

    /// The payload as the type that is to be emitted; `None` for any other type.
    pub fn payload_as<T: 'static>(&self) -> Option<&T> {
        match &self.subject {
            Subject::Content(content) => content.as_any().downcast_ref(),
            Subject::Value { value, .. } => value.value().downcast_ref(),
        }
    }

    /// The payload as JSON with its personal data.
    ///
    /// # Cost
    ///
    /// The JSON is made for each call.
    pub fn reveal(&self) -> Value {
        match &self.subject {
            Subject::Content(content) => content.reveal(),
            Subject::Value { value, .. } => value.reveal().unwrap_or_default(),
        }
    }

    /// Writes all that the payload says as JSON.
    pub(super) fn write(&self, out: &mut dyn io::Write) -> serde_json::Result<()> {
        match &self.subject {
            Subject::Content(content) => content.write_all(out),
            Subject::Value { value, .. } => value.write_all(out),
        }
    }
}

impl Index<&str> for Draft<'_> {
    type Output = Value;

    fn index(&self, field: &str) -> &Value {
        &self.payload()[field]
    }
}

impl fmt::Debug for Draft<'_> {
    /// Identity only: a payload may hold what no log should.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draft").field("topic", &self.topic).finish_non_exhaustive()
    }
}
