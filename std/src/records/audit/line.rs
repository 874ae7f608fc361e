//! One line of the audit log: an event as JSON, and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::delivery::envelope::Kept;
use crate::event::{Event, OwnedEvent};
use crate::event_id::low_half;
use crate::records::audit::extras::Extras;
use crate::records::line::{LineError, Record};
use crate::redact::screen::Screen;

/// Who says what the log says of itself.
const OWN_SOURCE: &str = "nervebus";

impl Event<'_> {
    /// The event as the audit log writes it: one line of JSON, without the line end.
    ///
    /// A payload that has no JSON, because its `Serialize` implementation fails or panics, is replaced by an object with
    /// the key `serialization_error`.
    ///
    /// # Cost
    ///
    /// Linear in the length of the line; allocates the text.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, OwnedEvent, json};
    ///
    /// let bus = Bus::builder().build()?;
    /// bus.on("user.login").inline().handle(|event| {
    ///     let line = event.to_jsonl();
    ///     assert!(line.starts_with(r#"{"event_type":"user.login","payload":{"username":"al\nice"},"timestamp":"#));
    ///     let back = OwnedEvent::from_jsonl(line.as_bytes()).unwrap();
    ///     assert_eq!((back.seq(), back.payload()), (event.seq(), event.payload()));
    /// })?;
    /// assert!(bus.emit_and_wait("user.login", json!({"username": "al\nice"}))?.all_handled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_jsonl(&self) -> String {
        let mut line = Vec::with_capacity(256);
        if let Err(error) = write_line(&mut line, self, &Screen::default()) {
            write_placeholder(&mut line, self, &error, &Screen::default());
        }
        text(line)
    }
}

impl OwnedEvent {
    /// See [`Event::to_jsonl`].
    pub fn to_jsonl(&self) -> String {
        self.as_event().to_jsonl()
    }

    /// Reads a line that [`to_jsonl`](Self::to_jsonl) or the audit log has written, or any other that is a
    /// [`Record`], as an event that no bus has emitted. Its payload is JSON whatever it was before.
    ///
    /// A line without a sequence number is the event 0. To emit what a line says, see
    /// [`Bus::emit_record`](crate::Bus::emit_record).
    ///
    /// # Errors
    ///
    /// As [`Record::from_jsonl`].
    pub fn from_jsonl(line: &[u8]) -> Result<Self, LineError> {
        let record = Record::from_jsonl(line)?;
        // What is no number there is as good as absent, as for every key beyond the six.
        let numbers = serde_json::from_slice::<Numbers>(line.trim_ascii()).unwrap_or_default();
        Ok(Self(Arc::new(kept(record, numbers.seq.unwrap_or(0), numbers.causation_seq))))
    }
}

impl OwnedEvent {
    /// A record as an event of this number that no bus has emitted.
    pub(crate) fn restored(record: Record, seq: u64) -> Self {
        Self(Arc::new(kept(record, seq, None)))
    }
}

/// What a line has beside a record.
#[derive(Debug, Default, Deserialize)]
struct Numbers {
    seq: Option<u64>,
    causation_seq: Option<u64>,
}

/// A record as an event that is kept.
pub(crate) fn kept(record: Record, seq: u64, cause: Option<u64>) -> Kept {
    let mut kept = record.restored().kept(seq, 0);
    kept.head.cause = cause.unwrap_or(0);
    kept
}

impl Record {
    /// The record as one line of the audit format, without the line end. [`from_jsonl`](Self::from_jsonl) reads it back
    /// as it was, except for a timestamp that is no finite number: JSON has none, and it comes back as `None`.
    ///
    /// # Cost
    ///
    /// Linear in the length of the line; allocates the text.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Record, json};
    ///
    /// let record = Record::new("user.login", json!({"username": "alice"}));
    /// let line = record.to_jsonl();
    /// assert_eq!(
    ///     line,
    ///     r#"{"event_type":"user.login","payload":{"username":"alice"},"timestamp":null,"event_id":null,"source":null,"correlation_id":null}"#,
    /// );
    /// assert_eq!(Record::from_jsonl(line.as_bytes())?, record);
    /// # Ok::<(), nervebus::LineError>(())
    /// ```
    #[must_use]
    pub fn to_jsonl(&self) -> String {
        let mut line = Vec::with_capacity(256);
        write_record(&mut line, self);
        text(line)
    }
}

/// A line as text, without its end.
fn text(mut line: Vec<u8>) -> String {
    line.pop();
    // Nothing but JSON of strings is in it, so nothing is replaced.
    String::from_utf8(line).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Appends a record's line.
fn write_record(out: &mut Vec<u8>, record: &Record) {
    let start = out.len();
    out.extend_from_slice(br#"{"event_type":"#);
    string(out, &record.event_type);
    out.extend_from_slice(br#","payload":"#);
    // A `Value` always has JSON, and memory takes it.
    let _ = serde_json::to_writer(&mut *out, &record.payload);
    out.extend_from_slice(br#","timestamp":"#);
    match record.timestamp.filter(|seconds| seconds.is_finite()) {
        Some(seconds) => float(out, seconds),
        None => out.extend_from_slice(b"null"),
    }
    field(out, br#","event_id":"#, record.event_id.as_deref());
    field(out, br#","source":"#, record.source.as_deref());
    field(out, br#","correlation_id":"#, record.correlation_id.as_deref());
    Extras::of_record(record).write(out, &Screen::default());
    out.extend_from_slice(b"}\n");
    keep_on_one_line(out, start);
}

/// Appends a line of the log's own.
pub(crate) fn write_own(out: &mut Vec<u8>, topic: &str, payload: Value, micros: u64, id: String) {
    let mut record = Record::new(topic, payload);
    record.timestamp = Some(micros as f64 / 1e6);
    record.event_id = Some(id);
    record.source = Some(OWN_SOURCE.to_owned());
    write_record(out, &record);
}

/// Appends the event's line; on failure, nothing is appended.
pub(crate) fn write_line(out: &mut Vec<u8>, event: &Event<'_>, screen: &Screen) -> Result<(), String> {
    let content = event.content;
    // The payload is serialized by code of the user's, which may fail or panic.
    write_fields(out, event, screen, |out| match catch_unwind(AssertUnwindSafe(|| content.write_json(out))) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            crate::delivery::failure::drop_quietly(panic);
            Err("its Serialize implementation panicked".to_owned())
        }
    })
}

/// Appends the line of an event whose payload has no JSON.
#[cold]
pub(crate) fn write_placeholder(out: &mut Vec<u8>, event: &Event<'_>, error: &str, screen: &Screen) {
    let placeholder = serde_json::json!({"serialization_error": error});
    let write = |out: &mut Vec<u8>| serde_json::to_writer(out, &placeholder).map_err(|error| error.to_string());
    let _ = write_fields(out, event, screen, write);
}

fn write_fields(
    out: &mut Vec<u8>,
    event: &Event<'_>,
    screen: &Screen,
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
    screen.payload(out, before);
    let meta = event.head.meta.as_deref();
    out.extend_from_slice(br#","timestamp":"#);
    // A given time as it was given, if JSON can say it.
    match meta.and_then(|meta| meta.timestamp).filter(|given| given.is_finite()) {
        Some(given) => float(out, given),
        None => seconds(out, event.head.emitted_at() / 1_000),
    }
    match meta.and_then(|meta| meta.event_id.as_deref()) {
        Some(given) => field(out, br#","event_id":"#, Some(given)),
        None => {
            out.extend_from_slice(br#","event_id":""#);
            hex(out, event.bus);
            hex(out, low_half(event.head.seq));
            out.push(b'"');
        }
    }
    field(out, br#","source":"#, event.source().map(|source| screen.text(source)).as_deref());
    field(out, br#","correlation_id":"#, event.correlation_id().map(|id| screen.text(id)).as_deref());
    out.extend_from_slice(br#","seq":"#);
    decimal(out, event.seq());
    if let Some(cause) = event.causation() {
        out.extend_from_slice(br#","causation_seq":"#);
        decimal(out, cause);
    }
    Extras::of_event(event).write(out, screen);
    out.extend_from_slice(b"}\n");
    keep_on_one_line(out, start);
    Ok(())
}

pub(super) fn field(out: &mut Vec<u8>, key: &[u8], value: Option<&str>) {
    out.extend_from_slice(key);
    match value {
        Some(value) => string(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// A JSON string. Serializing text into memory cannot fail.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    let is_special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    if text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        let _ = serde_json::to_writer(&mut *out, text);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

pub(super) fn float(out: &mut Vec<u8>, number: f64) {
    let _ = serde_json::to_writer(&mut *out, &number);
}

/// Seconds with six digits behind the point.
fn seconds(out: &mut Vec<u8>, micros: u64) {
    decimal(out, micros / 1_000_000);
    let mut digits = *b".000000";
    let mut rest = micros % 1_000_000;
    for digit in digits.iter_mut().rev().take(6) {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits);
}

pub(super) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let (mut digits, mut start) = ([b'0'; 20], 20);
    for digit in digits.iter_mut().rev() {
        start -= 1;
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// Sixteen hexadecimal digits.
pub(super) fn hex(out: &mut Vec<u8>, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 16];
    for (digit, shift) in digits.iter_mut().zip((0..64).step_by(4).rev()) {
        *digit = DIGITS[(number >> shift) as usize & 15];
    }
    out.extend_from_slice(&digits);
}

/// Sees to it that whatever shows the line shows one line: it ends in the only control character that it has.
///
/// JSON allows line ends between its values, which a payload that holds ready-made JSON may have, and it allows DEL, the
/// control characters beyond ASCII, and the line ends of Unicode in its strings.
#[inline]
fn keep_on_one_line(out: &mut Vec<u8>, start: usize) {
    let line = out.get(start..out.len().saturating_sub(1)).unwrap_or_default();
    // Below a space or above a tilde; one comparison for both.
    if line.iter().fold(false, |any, byte| any | (byte.wrapping_sub(b' ') > b'~' - b' ')) {
        escape(out, start);
    }
}

#[cold]
fn escape(out: &mut Vec<u8>, start: usize) {
    let end = out.len().saturating_sub(1);
    // Between values any white space will do.
    out.iter_mut().take(end).skip(start).filter(|byte| **byte < b' ').for_each(|byte| *byte = b' ');
    let Some(line) = out.get(start..end).and_then(|line| std::str::from_utf8(line).ok()) else { return };
    let is_hidden = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if !line.contains(is_hidden) {
        return;
    }
    let mut escaped = String::with_capacity(line.len() + 32);
    for c in line.chars() {
        if is_hidden(c) {
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped.push('\n');
    out.truncate(start);
    out.extend_from_slice(escaped.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        let mut number = 1_u64;
        for _ in 0..200 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            for number in [number, number >> 40, number >> 60, 0, 9, 10, u64::MAX] {
                assert_eq!(written(|out| decimal(out, number)), number.to_string());
                assert_eq!(written(|out| hex(out, number)), format!("{number:016x}"));
                let wanted = format!("{}.{:06}", number / 1_000_000, number % 1_000_000);
                assert_eq!(written(|out| seconds(out, number)), wanted);
            }
        }
    }

    #[test]
    fn a_string_is_written_as_serde_writes_it() {
        for text in ["", "plain", "é🦀", "a\"b", "a\\b", "a\nb", "\u{0}", "\u{7f}\u{85}\u{2028}"] {
            assert_eq!(written(|out| string(out, text)), serde_json::to_string(text).unwrap());
        }
    }
}
