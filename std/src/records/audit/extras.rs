//! The keys of an audit line that few events have, behind those that every event has.

use std::time::Duration;

use super::line::{decimal, field, float, hex, string};
use crate::context::baggage::Baggage;
use crate::context::trace::TraceContext;
use crate::delivery::class::Class;
use crate::event::Event;
use crate::event_id::EventId;
use crate::headers::Headers;
use crate::headers::attributes::Attributes;
use crate::records::line::Record;
use crate::redact::screen::Screen;

/// What few events have.
#[derive(Debug)]
pub(super) struct Extras<'a> {
    schema_version: Option<u32>,
    causation_id: Option<EventId<'a>>,
    idempotency_key: Option<&'a str>,
    class: Class,
    ttl: Option<Duration>,
    headers: Option<&'a Headers>,
    trace: Option<&'a TraceContext>,
    baggage: Option<&'a Baggage>,
}

impl<'a> Extras<'a> {
    pub(super) fn of_event(event: &Event<'a>) -> Self {
        Self {
            schema_version: event.schema_version(),
            causation_id: event.causation_id(),
            idempotency_key: event.idempotency_key(),
            class: event.class(),
            ttl: event.ttl(),
            headers: event.headers(),
            trace: event.trace_context(),
            baggage: event.baggage(),
        }
    }

    pub(super) fn of_record(record: &'a Record) -> Self {
        let headers = record.headers.as_deref();
        Self {
            schema_version: record.schema_version,
            causation_id: headers.and_then(|headers| headers.causation_id.as_deref()).map(EventId::given),
            idempotency_key: record.idempotency_key.as_deref(),
            class: record.class,
            ttl: headers.and_then(|headers| headers.ttl),
            headers,
            trace: record.trace_context.as_ref(),
            baggage: record.baggage.as_ref(),
        }
    }

    /// Appends a key for each that is there. Identities are written as they are, as the event's own is: what they name must
    /// be found by them.
    pub(super) fn write(&self, out: &mut Vec<u8>, screen: &Screen) {
        if let Some(version) = self.schema_version {
            out.extend_from_slice(br#","schema_version":"#);
            decimal(out, version.into());
        }
        if let Some(id) = self.causation_id {
            out.extend_from_slice(br#","causation_id":"#);
            identity(out, id);
        }
        text(out, br#","idempotency_key":"#, self.idempotency_key, screen);
        if self.class != Class::Normal {
            text(out, br#","class":"#, Some(self.class.as_str()), &Screen::default());
        }
        if let Some(ttl) = self.ttl {
            out.extend_from_slice(br#","ttl":"#);
            float(out, ttl.as_secs_f64());
        }
        if let Some(headers) = self.headers {
            write_headers(out, headers, screen);
        }
        if let Some(trace) = self.trace {
            write_trace(out, trace, screen);
        }
        if let Some(baggage) = self.baggage.filter(|baggage| !baggage.is_empty()) {
            field(out, br#","baggage":"#, Some(&baggage.screened(screen)));
        }
    }
}

fn identity(out: &mut Vec<u8>, id: EventId<'_>) {
    match id.halves() {
        Err(text) => string(out, text),
        Ok(halves) => {
            out.push(b'"');
            halves.into_iter().for_each(|half| hex(out, half));
            out.push(b'"');
        }
    }
}

#[cold]
fn write_headers(out: &mut Vec<u8>, headers: &Headers, screen: &Screen) {
    let Headers { content_type, destination, operation_name, routing_key, partition_key, .. } = headers;
    text(out, br#","content_type":"#, content_type.as_deref(), screen);
    text(out, br#","destination":"#, destination.as_deref(), screen);
    text(out, br#","operation_name":"#, operation_name.as_deref(), screen);
    text(out, br#","routing_key":"#, routing_key.as_deref(), screen);
    text(out, br#","partition_key":"#, partition_key.as_deref(), screen);
    for (key, number) in [("retry_count", headers.retry_count), ("max_retries", headers.max_retries)] {
        if let Some(number) = number {
            out.extend_from_slice(format!(r#","{key}":{number}"#).as_bytes());
        }
    }
    if !headers.attributes.is_empty() {
        out.extend_from_slice(br#","attributes":"#);
        let start = out.len();
        write_attributes(out, &headers.attributes);
        // As a document, for a name may say what its value is.
        screen.payload(out, start);
    }
}

#[cold]
fn write_trace(out: &mut Vec<u8>, trace: &TraceContext, screen: &Screen) {
    field(out, br#","traceparent":"#, Some(&trace.to_string()));
    text(out, br#","tracestate":"#, trace.state(), screen);
}

fn write_attributes(out: &mut Vec<u8>, attributes: &Attributes) {
    let mut before = b'{';
    for (name, value) in attributes.iter() {
        out.push(before);
        string(out, name);
        out.push(b':');
        string(out, value);
        before = b',';
    }
    out.push(b'}');
}

fn text(out: &mut Vec<u8>, key: &[u8], text: Option<&str>, screen: &Screen) {
    if let Some(text) = text {
        field(out, key, Some(&screen.text(text)));
    }
}
