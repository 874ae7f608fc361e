//! The keys of an audit line that few events have. What does not fit is as good as absent.

use std::time::Duration;

use serde_json::Value;

use super::Fields;
use crate::delivery::class::Class;
use crate::headers::Headers;
use crate::headers::attributes::Attributes;

impl Fields {
    pub(super) fn text(&mut self, field: &str) -> Option<Box<str>> {
        match self.take(field) {
            Some(Value::String(text)) => Some(text.into()),
            _ => None,
        }
    }

    pub(super) fn number(&mut self, field: &str) -> Option<u32> {
        self.take(field).and_then(|number| number.as_u64()?.try_into().ok())
    }

    pub(super) fn class(&mut self) -> Class {
        self.text("class").and_then(|name| name.parse().ok()).unwrap_or_default()
    }

    /// What is said of the event beyond what every event has; nothing, if nothing is.
    pub(super) fn headers(&mut self) -> Option<Box<Headers>> {
        let headers = Headers {
            content_type: self.text("content_type"),
            destination: self.text("destination"),
            operation_name: self.text("operation_name"),
            routing_key: self.text("routing_key"),
            partition_key: self.text("partition_key"),
            causation_id: self.text("causation_id"),
            retry_count: self.number("retry_count"),
            max_retries: self.number("max_retries"),
            ttl: self.take("ttl").and_then(|ttl| Duration::try_from_secs_f64(ttl.as_f64()?).ok()),
            attributes: self.attributes(),
        };
        (!headers.is_empty()).then(|| Box::new(headers))
    }

    fn attributes(&mut self) -> Attributes {
        let mut attributes = Attributes::default();
        let Some(Value::Object(pairs)) = self.take("attributes") else { return attributes };
        for (name, value) in pairs {
            if let Value::String(value) = value {
                // A line that somebody else has written may say more than can be said here.
                let _ = attributes.insert(name, value);
            }
        }
        attributes
    }
}
