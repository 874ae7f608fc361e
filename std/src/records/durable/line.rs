//! One line of the durable log: an event's record as in the audit log, with what keeps it in order with others.

use std::sync::Arc;

use nervebus_core::{Pattern, Topic};
use serde::Deserialize;

use crate::context::Lineage;
use crate::delivery::envelope::{Head, Kept, Meta};
use crate::event::{Event, OwnedEvent};
use crate::payload::Body;
use crate::records::audit::line::write_line;
use crate::records::line::Record;
use crate::redact::screen::Screen;

/// What a line has beside the record.
#[derive(Debug, Default, Deserialize)]
struct Extra {
    seq: Option<u64>,
    causation_seq: Option<u64>,
    key: Option<String>,
    run: Option<String>,
    idempotency_key: Option<String>,
}

/// An event that was read back.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) event: OwnedEvent,
    /// The bus that emitted it, if its key is known: keys of different runs cannot be told apart or alike.
    pub(crate) run: Option<u64>,
}

/// The line of an event, without its end; on failure, what its payload's `Serialize` said.
pub(crate) fn write(event: &Event<'_>) -> Result<Vec<u8>, String> {
    let mut line = Vec::with_capacity(256);
    // Not redacted: it is what handlers are given after a restart.
    write_line(&mut line, event, &Screen::default())?;
    // The record is a whole line; its end makes room for further fields.
    line.truncate(line.len().saturating_sub(b"}\n".len()));
    if event.head.key != 0 {
        line.extend_from_slice(format!(r#","run":"{:016x}","key":"{:016x}""#, event.bus, event.head.key).as_bytes());
    }
    if let Some(key) = event.idempotency_key() {
        line.extend_from_slice(br#","idempotency_key":"#);
        // Serializing text into memory cannot fail.
        let _ = serde_json::to_writer(&mut line, key);
    }
    line.push(b'}');
    Ok(line)
}

/// The event of a line; `None` for what is no line of this log.
pub(crate) fn read(line: &[u8], bus: u64) -> Option<Stored> {
    let record = Record::from_jsonl(line).ok()?;
    let extra: Extra = serde_json::from_slice(line).ok()?;
    let number = |text: &Option<String>| u64::from_str_radix(text.as_deref()?, 16).ok();
    let (key, run) = (number(&extra.key), number(&extra.run));
    let event = restore(record, extra, key.unwrap_or(0), bus);
    Some(Stored { event, run: run.filter(|_| key.is_some()) })
}

fn restore(record: Record, extra: Extra, key: u64, bus: u64) -> OwnedEvent {
    let Record {
        event_type,
        payload,
        timestamp,
        event_id,
        source,
        correlation_id,
        schema_version,
        trace_context,
        baggage,
    } = record;
    let seq = extra.seq.unwrap_or(0);
    // The number of an event of an earlier run is another event's in this one.
    let own = event_id.as_deref().is_some_and(|id| id == crate::event_id::EventId::made(bus, seq).to_string());
    let mut head = Head::new(seq);
    head.key = key;
    head.cause = extra.causation_seq.unwrap_or(0);
    head.lineage = Lineage::recorded(correlation_id, trace_context, baggage);
    head.meta = Some(Arc::new(Meta {
        event_id: event_id.map(Into::into),
        source: source.map(Into::into),
        timestamp,
        schema_version,
        idempotency_key: extra.idempotency_key.map(Into::into),
        ..Meta::default()
    }));
    let bus = if own { bus } else { 0 };
    OwnedEvent(Arc::new(Kept::new(head, Body::new(payload), &event_type, bus)))
}

/// Whether a pattern asks for events of this name.
pub(crate) fn matches(pattern: &str, topic: &str) -> bool {
    Topic::new(topic).is_ok_and(|topic| Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(topic)))
}
