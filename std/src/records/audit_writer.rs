//! The thread that writes the audit log.

use std::fmt::Write as _;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use nervebus_core::Reason;
use nervebus_core::ring::PopError;

use crate::context;
use crate::delivery::count;
use crate::delivery::dead_letters::Obituary;
use crate::delivery::directory::TopicState;
use crate::delivery::engine::{AUDIT_ERROR, Engine};
use crate::delivery::envelope::Envelope;
use crate::delivery::failure::drop_quietly;
use crate::delivery::idle::rest;
use crate::delivery::lane::Queue;
use crate::delivery::worker::Ending;
use crate::event::{Event, OwnedEvent};
use crate::platform::storage::AppendFile;
use crate::records::audit::AuditAccount;

/// A batch is written when it has this many bytes, or when nothing more waits.
const BATCH_BYTES: usize = 64 * 1024;

/// Writes a bus's audit log.
#[derive(Debug)]
pub(crate) struct AuditWriter {
    pub(crate) engine: Arc<Engine>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) account: Arc<AuditAccount>,
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn AppendFile>,
    /// Whether the file ends in the middle of a line, which must be ended before the next one begins.
    pub(crate) torn: bool,
}

/// Lines that are ready to be written.
#[derive(Debug, Default)]
struct Batch {
    text: Vec<u8>,
    lines: u64,
}

impl AuditWriter {
    /// Runs until the lane is closed and drained.
    pub(crate) fn run(mut self) {
        context::become_worker(self.engine.bus, self.queue.id);
        let queue = Arc::clone(&self.queue);
        let _ending = Ending(&queue);
        let (mut batch, mut topics, mut idle) = (Batch::default(), Vec::new(), 0);
        loop {
            match self.queue.ring.pop() {
                Ok(envelope) => {
                    idle = 0;
                    self.queue.after_pop();
                    self.add(&mut batch, &mut topics, envelope);
                    if batch.text.len() >= BATCH_BYTES {
                        self.flush(&mut batch);
                    }
                    continue;
                }
                Err(PopError::Closed) => break,
                Err(PopError::Empty) => {}
            }
            self.flush(&mut batch);
            idle = rest(&self.queue, idle);
        }
        self.flush(&mut batch);
        if let Err(error) = self.file.sync() {
            // A device or pipe cannot be synced, and has nothing to lose.
            if error.kind() != io::ErrorKind::InvalidInput {
                self.note_error(&error);
            }
        }
    }

    fn add(&self, batch: &mut Batch, topics: &mut Vec<Option<Arc<TopicState>>>, envelope: Envelope) {
        let index = envelope.topic as usize;
        if index >= topics.len() {
            topics.resize(index + 1, None);
        }
        let Some(place) = topics.get_mut(index) else { return };
        if place.is_none() {
            *place = self.engine.directory.by_id(envelope.topic);
        }
        let Some(topic) = place else { return };
        let event = envelope.event(&topic.name, self.engine.bus);
        let written = write_line(&mut batch.text, &event);
        batch.lines += 1;
        match written {
            Ok(()) => drop_quietly(envelope),
            Err(error) => self.cannot_serialize(batch, &topic.name, envelope, error),
        }
    }

    /// An event whose payload has no JSON: its line says so, and it is a dead letter.
    #[cold]
    fn cannot_serialize(&self, batch: &mut Batch, topic: &str, envelope: Envelope, error: String) {
        let event = envelope.event(topic, self.engine.bus);
        let placeholder = serde_json::json!({"serialization_error": error});
        let _ = write_fields(&mut batch.text, &event, |out| {
            serde_json::to_writer(out, &placeholder).map_err(|error| error.to_string())
        });
        let event = OwnedEvent(Arc::new(envelope.keep(topic, self.engine.bus)));
        let handler = Arc::from(&*self.queue.name);
        let reason = Reason::SerializationError;
        self.engine
            .dead_letters
            .push(event, Obituary { reason, subscription: None, handler, pattern: None, error, attempts: 1 });
    }

    /// Writes the batch; what the file does not take is lost and counted.
    fn flush(&mut self, batch: &mut Batch) {
        if batch.lines == 0 {
            return;
        }
        if self.torn {
            batch.text.insert(0, b'\n');
        }
        let (taken, result) = self.append_all(&batch.text);
        let written = batch.text.get(..taken).unwrap_or_default();
        let seal = usize::from(self.torn && taken > 0);
        let lines = (written.iter().filter(|byte| **byte == b'\n').count() - seal) as u64;
        if taken > 0 {
            self.torn = written.last() != Some(&b'\n');
        }
        count::add(&self.account.lines, lines);
        count::add(&self.account.bytes, taken as u64);
        count::add(&self.account.lost, batch.lines - lines);
        count::add_alone(&self.queue.outcomes.handled, lines);
        count::add_alone(&self.queue.outcomes.failed, batch.lines - lines);
        count::add_alone(&self.queue.outcomes.finished, batch.lines);
        *batch = Batch { text: std::mem::take(&mut batch.text), lines: 0 };
        batch.text.clear();
        match result {
            Ok(()) => self.account.failing.store(false, Ordering::Relaxed),
            Err(error) => self.note_error(&error),
        }
    }

    /// Appends until the file refuses; says how many bytes it took.
    fn append_all(&mut self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            match self.file.append(rest) {
                Ok(0) => return (taken, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => taken += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (taken, Err(error)),
            }
        }
        (taken, Ok(()))
    }

    /// Counts a failure, and says so once until writing works again.
    #[cold]
    fn note_error(&self, error: &io::Error) {
        count::add(&self.account.errors, 1);
        *self.account.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        // Relaxed: only this thread writes it.
        if self.account.failing.swap(true, Ordering::Relaxed) {
            return;
        }
        let payload = serde_json::json!({
            "path": self.path.display().to_string(),
            "error": error.to_string(),
            "lines_lost": count::read(&self.account.lost),
        });
        self.engine.emit_system(AUDIT_ERROR, payload, None);
    }
}

/// Appends the event's line; on failure, nothing is appended.
pub(crate) fn write_line(out: &mut Vec<u8>, event: &Event<'_>) -> Result<(), String> {
    let content = event.content;
    // The payload is serialized by code of the user's, which may fail or panic.
    write_fields(out, event, |out| match catch_unwind(AssertUnwindSafe(|| content.write_json(out))) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(payload) => {
            drop_quietly(payload);
            Err("its Serialize implementation panicked".into())
        }
    })
}

pub(crate) fn write_fields(
    out: &mut Vec<u8>,
    event: &Event<'_>,
    payload: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    let start = out.len();
    out.extend_from_slice(br#"{"event_type":"#);
    string(out, event.topic());
    out.extend_from_slice(br#","payload":"#);
    let before = out.len();
    if let Err(error) = payload(out) {
        out.truncate(start);
        return Err(error);
    }
    // A payload that holds ready-made JSON may have line ends between its values, where any space will do.
    out.iter_mut().skip(before).filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    out.extend_from_slice(br#","timestamp":"#);
    timestamp(out, event);
    out.extend_from_slice(br#","event_id":"#);
    let mut id = String::with_capacity(32);
    let _ = write!(id, "{}", event.id());
    string(out, &id);
    for (name, value) in [(r#","source":"#, event.source()), (r#","correlation_id":"#, event.correlation_id())] {
        out.extend_from_slice(name.as_bytes());
        match value {
            Some(value) => string(out, value),
            None => out.extend_from_slice(b"null"),
        }
    }
    let mut tail = String::with_capacity(32);
    let _ = write!(tail, r#","seq":{}"#, event.seq());
    if let Some(cause) = event.causation() {
        let _ = write!(tail, r#","causation_seq":{cause}"#);
    }
    tail.push_str("}\n");
    out.extend_from_slice(tail.as_bytes());
    Ok(())
}

/// A JSON string. Serializing text into memory cannot fail.
fn string(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}

/// Seconds with microseconds; a given one as it was given, if JSON can say it.
fn timestamp(out: &mut Vec<u8>, event: &Event<'_>) {
    let given = event.head.meta.as_deref().and_then(|meta| meta.timestamp).filter(|given| given.is_finite());
    if let Some(given) = given {
        let _ = serde_json::to_writer(out, &given);
        return;
    }
    let micros = event.head.emitted_at() / 1_000;
    let mut text = String::with_capacity(20);
    let _ = write!(text, "{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    out.extend_from_slice(text.as_bytes());
}
