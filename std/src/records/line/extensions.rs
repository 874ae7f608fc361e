//! What CloudEvents call extension attributes: which of them a record has a field for, and the rest as attributes.

use std::time::Duration;

use serde_json::Value;

use super::{Fields, Record, rfc3339};
use crate::context::baggage::Baggage;
use crate::context::trace::TraceContext;
use crate::delivery::class::Class;
use crate::headers::Headers;
use crate::headers::attributes::{AttributeError, Attributes};

/// The extension that holds, as JSON, the attributes that cannot be extensions by themselves.
pub(crate) const ATTRIBUTES: &str = "attributes";

impl Record {
    /// Takes one in, by its name. The timestamp is known by then.
    ///
    /// What is no such value as its field has is an attribute, as what has no field is.
    pub(crate) fn take_extension(&mut self, name: &str, value: String) -> Result<(), AttributeError> {
        let time = self.timestamp;
        match name {
            "correlationid" => self.correlation_id = Some(value),
            "idempotencykey" => self.idempotency_key = Some(value),
            "causationid" => self.headers_mut().causation_id = Some(value.into()),
            "datacontenttype" => self.headers_mut().content_type = Some(value.into()),
            "destination" => self.headers_mut().destination = Some(value.into()),
            "operationname" => self.headers_mut().operation_name = Some(value.into()),
            "routingkey" => self.headers_mut().routing_key = Some(value.into()),
            "partitionkey" => self.headers_mut().partition_key = Some(value.into()),
            _ => return self.take_parsed(name, value, time),
        }
        Ok(())
    }

    /// Takes one in that may have a field, if its value is one.
    fn take_parsed(&mut self, name: &str, value: String, time: Option<f64>) -> Result<(), AttributeError> {
        let number = || value.parse().ok();
        match name {
            "schemaversion" if number().is_some() => self.schema_version = number(),
            "retrycount" if number().is_some() => self.headers_mut().retry_count = number(),
            "maxretries" if number().is_some() => self.headers_mut().max_retries = number(),
            "class" if value.parse().is_ok_and(|class: Class| class != self.class) => {
                self.class = value.parse().unwrap_or_default();
            }
            "expirytime" if lifetime(time, &value).is_some() => self.headers_mut().ttl = lifetime(time, &value),
            // What is none is as good as absent to who follows traces, and is kept as what it is.
            "traceparent" if TraceContext::parse(&value).is_some() => self.trace_context = TraceContext::parse(&value),
            // It comes after the other, and means nothing without it.
            "tracestate" if self.trace_context.is_some() => {
                self.trace_context = self.trace_context.take().map(|trace| trace.with_state(&value));
            }
            "baggage" if Baggage::parse(&value).is_some() => self.baggage = Baggage::parse(&value),
            ATTRIBUTES => match serde_json::from_str(&value) {
                Ok(Value::Object(pairs)) if pairs.values().all(Value::is_string) => {
                    for (name, value) in pairs {
                        let value = value.as_str().unwrap_or_default();
                        self.attributes_mut().insert(name, value)?;
                    }
                }
                _ => self.attributes_mut().insert(name, value)?,
            },
            _ => self.attributes_mut().insert(name, value)?,
        }
        Ok(())
    }

    fn headers_mut(&mut self) -> &mut Headers {
        self.headers.get_or_insert_default()
    }

    fn attributes_mut(&mut self) -> &mut Attributes {
        &mut self.headers_mut().attributes
    }
}

/// How long after its timestamp an event expires, if both are known.
fn lifetime(timestamp: Option<f64>, expires: &str) -> Option<Duration> {
    // Between two floats of this size less than a microsecond cannot be told.
    let micros = ((rfc3339(expires)? - timestamp?) * 1e6).round();
    Duration::try_from_secs_f64(micros / 1e6).ok()
}

impl Fields {
    /// Gives all keys that are left to a record, as far as it takes them.
    pub(super) fn extend(self, record: &mut Record) {
        for (name, value) in self.0 {
            let text = match value {
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Null | Value::Array(_) | Value::Object(_) => continue,
            };
            // What somebody else has written may be more than can be kept.
            let _ = record.take_extension(&name, text);
        }
        record.headers = record.headers.take().filter(|headers| !headers.is_empty());
    }
}
