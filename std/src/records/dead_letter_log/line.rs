//! One line of a log of dead letters: an event's record with what became of it, or what became of a letter.

use std::sync::Arc;

use nervebus_core::{Reason, Topic};
use serde::{Deserialize, Serialize};

use crate::delivery::dead_letters::DeadLetter;
use crate::delivery::key;
use crate::delivery::parking::Spot;
use crate::delivery::retry::Attempt;
use crate::event::OwnedEvent;
use crate::records::audit::line::{kept, write_line, write_placeholder};
use crate::records::line::Record;
use crate::redact::screen::Screen;

/// The greatest number of a letter that is believed: readers of JSON may not tell greater ones apart.
const MAX_ID: u64 = 1 << 53;

/// How lines of letters and others begin, for telling a piece of one from something else.
const OPENINGS: [&[u8]; 3] = [br#"{"event_type":"#, br#"{"removed":"#, br#"{"last_id":"#];

/// What a line says.
#[derive(Debug)]
pub(crate) enum Line {
    /// The letter is kept.
    Kept(Arc<DeadLetter>),
    /// The letter of this number was taken out.
    Removed(u64),
    /// So high were the numbers when the file was written.
    LastId(u64),
    /// The beginning of a line.
    Torn,
    /// Something else.
    Foreign,
}

/// What a line has beside an event's record.
#[derive(Deserialize)]
struct Extra {
    seq: Option<u64>,
    causation_seq: Option<u64>,
    letter: Option<Fields>,
    removed: Option<u64>,
    last_id: Option<u64>,
}

/// What is said of a letter beside its event.
#[derive(Serialize, Deserialize)]
struct Fields {
    id: u64,
    reason: String,
    handler: String,
    pattern: Option<String>,
    error: String,
    attempts: u32,
    retries: u32,
    failed_at: f64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    history: Vec<Attempt>,
    /// Whether the bus emitted the event itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    own: bool,
    /// Which letters it must stay in order with, and where it stands among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sequence: Option<Sequence>,
}

/// A place in a sequence. The key is the hash of one, as hexadecimal text: readers of JSON may not tell such numbers apart.
#[derive(Serialize, Deserialize)]
struct Sequence {
    key: String,
    number: u64,
}

impl Sequence {
    fn of(spot: Spot) -> Self {
        Self { key: format!("{:016x}", spot.key), number: spot.number }
    }

    fn spot(&self) -> Option<Spot> {
        let key = u64::from_str_radix(&self.key, 16).ok().filter(|key| key::is_named(*key))?;
        Some(Spot { key, number: self.number })
    }
}

/// Reads a line, with its end or without.
pub(crate) fn read(line: &[u8]) -> Line {
    let is_piece = || OPENINGS.iter().any(|whole| line.starts_with(whole) || whole.starts_with(line.trim_ascii()));
    // The parser would take an array of the right values as well.
    let extra = line.starts_with(b"{").then(|| serde_json::from_slice::<Extra>(line).ok()).flatten();
    let Some(extra) = extra else {
        return if is_piece() { Line::Torn } else { Line::Foreign };
    };
    let known = |id: &u64| (1..=MAX_ID).contains(id);
    match extra {
        Extra { removed: Some(id), .. } if known(&id) => Line::Removed(id),
        Extra { last_id: Some(id), .. } if known(&id) => Line::LastId(id),
        Extra { letter: Some(fields), seq, causation_seq, .. } if known(&fields.id) => {
            letter(line, fields, seq, causation_seq).map_or(Line::Foreign, |letter| Line::Kept(Arc::new(letter)))
        }
        _ => Line::Foreign,
    }
}

fn letter(line: &[u8], fields: Fields, seq: Option<u64>, cause: Option<u64>) -> Option<DeadLetter> {
    let record = Record::from_jsonl(line).ok()?;
    Topic::new(&record.event_type).ok()?;
    let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == fields.reason)?;
    let mut event = kept(record, seq.unwrap_or(0), cause);
    event.head.own = fields.own;
    let spot = fields.sequence.as_ref().and_then(Sequence::spot);
    // By its key it finds the worker that new events of the key go to.
    if let Some(spot) = spot {
        event.head.key = spot.key;
    }
    Some(DeadLetter {
        id: fields.id,
        event: OwnedEvent(Arc::new(event)),
        reason,
        subscription: None,
        handler: fields.handler.into(),
        pattern: fields.pattern.map(Arc::from),
        error: fields.error,
        attempts: fields.attempts,
        retries: fields.retries,
        failed_at: fields.failed_at,
        history: fields.history.into(),
        spot,
    })
}

/// Appends a letter's line. A payload that has no JSON is replaced by an object that says so.
pub(crate) fn write_letter(out: &mut Vec<u8>, letter: &DeadLetter, screen: &Screen) {
    let event = letter.event.as_event();
    if let Err(error) = write_line(out, &event, screen) {
        write_placeholder(out, &event, &error, screen);
    }
    let fields = Fields {
        id: letter.id,
        reason: letter.reason.as_str().to_owned(),
        handler: letter.handler.to_string(),
        pattern: letter.pattern.as_deref().map(str::to_owned),
        error: letter.error.clone(),
        attempts: letter.attempts,
        retries: letter.retries,
        failed_at: letter.failed_at,
        history: letter.history.to_vec(),
        own: event.head.own,
        sequence: letter.spot.map(Sequence::of),
    };
    // The record is a whole line; its end makes room for one more field. Serializing numbers and text into memory
    // cannot fail.
    out.truncate(out.len().saturating_sub(b"}\n".len()));
    out.extend_from_slice(br#","letter":"#);
    let _ = serde_json::to_writer(&mut *out, &fields);
    out.extend_from_slice(b"}\n");
}

/// Appends the line of a letter that was taken out.
pub(crate) fn write_removed(out: &mut Vec<u8>, id: u64) {
    out.extend_from_slice(format!("{{\"removed\":{id}}}\n").as_bytes());
}

/// Appends the line that says how high the numbers are.
pub(crate) fn write_last_id(out: &mut Vec<u8>, id: u64) {
    out.extend_from_slice(format!("{{\"last_id\":{id}}}\n").as_bytes());
}
