//! Which lines are wanted, found out as cheaply as the line allows.

use std::time::{SystemTime, UNIX_EPOCH};

use memchr::{memchr, memmem};
use nervebus_core::pattern::PatternKind;
use nervebus_core::{Pattern, Topic};
use serde::Deserialize;

use crate::records::line::{LineError, Record};
use crate::records::reader::ReadError;

/// How a line of our own writer begins.
const FIRST_KEY: &[u8] = br#"{"event_type":"#;

/// What somebody asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    topic: Option<Wanted>,
    /// Seconds since the Unix epoch, as is the next one.
    since: Option<f64>,
    until: Option<f64>,
    correlation_id: Option<String>,
    source: Option<String>,
}

/// A pattern that was checked.
#[derive(Debug, Clone)]
enum Wanted {
    Exact(String),
    /// What the topics begin with, its last dot included.
    Prefix(String),
    Wildcard(String),
}

/// What a line is to somebody who asks.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time, taken apart as soon as it is made: a box would be an allocation a line"
)]
pub(crate) enum Verdict {
    Match(Record),
    /// Something else than what is wanted. Nothing more is known of it, not even whether it is whole.
    Other,
    Blank,
    Bad(LineError),
}

/// The fields that a filter looks at, read without building anything.
#[derive(Deserialize)]
struct Head<'a> {
    event_type: &'a str,
    timestamp: Option<f64>,
    source: Option<&'a str>,
    correlation_id: Option<&'a str>,
}

impl Filter {
    pub(crate) fn set_topic(&mut self, text: &str) -> Result<(), ReadError> {
        let pattern = Pattern::new(text).map_err(|error| ReadError::InvalidPattern { rule: error.to_string() })?;
        self.topic = match pattern.kind() {
            PatternKind::All => None,
            PatternKind::Exact => Some(Wanted::Exact(text.to_owned())),
            PatternKind::Prefix => Some(Wanted::Prefix(text.trim_end_matches('*').to_owned())),
            PatternKind::Wildcard => Some(Wanted::Wildcard(text.to_owned())),
        };
        Ok(())
    }

    pub(crate) fn set_since(&mut self, moment: SystemTime) {
        self.since = Some(seconds(moment));
    }

    pub(crate) fn set_until(&mut self, moment: SystemTime) {
        self.until = Some(seconds(moment));
    }

    /// The same two in seconds since the Unix epoch.
    pub(crate) fn set_span(&mut self, since: Option<f64>, until: Option<f64>) {
        (self.since, self.until) = (since, until);
    }

    pub(crate) fn set_correlation_id(&mut self, id: String) {
        self.correlation_id = Some(id);
    }

    pub(crate) fn set_source(&mut self, source: String) {
        self.source = Some(source);
    }

    /// What a line, without its line feed, is to this filter.
    pub(crate) fn judge(&self, line: &[u8]) -> Verdict {
        if line.first() != Some(&b'{') && line.trim_ascii().is_empty() {
            return Verdict::Blank;
        }
        if self.is_surely_other(line) {
            return Verdict::Other;
        }
        match Record::from_jsonl(line) {
            Ok(record) if self.takes(&record) => Verdict::Match(record),
            Ok(_) => Verdict::Other,
            Err(error) => Verdict::Bad(error),
        }
    }

    /// Looks at the name first, then for the bytes of what must be there, and only then reads the line's fields.
    fn is_surely_other(&self, line: &[u8]) -> bool {
        let named_otherwise = || {
            let Some(wanted) = &self.topic else { return false };
            name_of(line).is_some_and(|name| !wanted.matches(name))
        };
        if named_otherwise() {
            return true;
        }
        let mut texts = [&self.correlation_id, &self.source].into_iter().flatten();
        // A text may be written with escapes; where there are none, it stands there as it is.
        let lacks = |text: &String| memmem::find(line, text.as_bytes()).is_none();
        if texts.any(lacks) && memchr(b'\\', line).is_none() {
            return true;
        }
        let looks_inside =
            self.since.is_some() || self.until.is_some() || self.correlation_id.is_some() || self.source.is_some();
        // What cannot be read that way (another format, keys that stand there twice) is read in full.
        looks_inside
            && serde_json::from_slice::<Head<'_>>(line)
                .is_ok_and(|head| !self.takes_fields(head.event_type, head.timestamp, head.source, head.correlation_id))
    }

    fn takes(&self, record: &Record) -> bool {
        self.takes_fields(
            &record.event_type,
            record.timestamp,
            record.source.as_deref(),
            record.correlation_id.as_deref(),
        )
    }

    fn takes_fields(&self, name: &str, at: Option<f64>, source: Option<&str>, correlation_id: Option<&str>) -> bool {
        self.topic.as_ref().is_none_or(|wanted| wanted.matches(name))
            && self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at < until))
            && self.correlation_id.as_deref().is_none_or(|wanted| correlation_id == Some(wanted))
            && self.source.as_deref().is_none_or(|wanted| source == Some(wanted))
    }
}

impl Wanted {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted == name,
            Self::Prefix(wanted) => name.starts_with(wanted) && Topic::new(name).is_ok(),
            Self::Wildcard(wanted) => match (Pattern::new(wanted), Topic::new(name)) {
                (Ok(pattern), Ok(topic)) => pattern.matches(topic),
                _ => false,
            },
        }
    }
}

/// The name of the event, if the line begins with it and it is written without escapes.
fn name_of(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(FIRST_KEY)?;
    let rest = rest.strip_prefix(b" ").unwrap_or(rest).strip_prefix(b"\"")?;
    let name = rest.get(..memchr(b'"', rest)?)?;
    let plain = memchr(b'\\', name).is_none();
    std::str::from_utf8(name).ok().filter(|_| plain)
}

/// Where a line feed that was damaged stood: the line is then two records with one byte between them.
pub(crate) fn lost_line_end(line: &[u8]) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(line).into_iter::<serde::de::IgnoredAny>();
    let first = values.next()?.is_ok();
    let end = values.byte_offset();
    (first && line.get(end + 1..)?.starts_with(FIRST_KEY)).then_some(end)
}

/// Seconds since the Unix epoch, as lines have them.
pub(crate) fn seconds(moment: SystemTime) -> f64 {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(error) => -error.duration().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(set: impl FnOnce(&mut Filter)) -> Filter {
        let mut filter = Filter::default();
        set(&mut filter);
        filter
    }

    fn is_match(filter: &Filter, line: &str) -> bool {
        matches!(filter.judge(line.as_bytes()), Verdict::Match(_))
    }

    #[test]
    fn the_first_key_decides_and_what_cannot_match_is_not_read() {
        let chat = filter(|filter| filter.set_topic("chat.*").unwrap());
        assert!(is_match(&chat, r#"{"event_type":"chat.sent"}"#));
        assert!(is_match(&chat, r#"{"event_type": "chat.sent"}"#));
        assert!(is_match(&chat, r#"{"payload":{},"event_type":"chat.sent"}"#));
        assert!(is_match(&chat, r#"{"event_type":"\u0063hat.sent"}"#));
        assert!(is_match(&chat, r#"{"type":"chat.sent"}"#));
        assert!(!is_match(&chat, r#"{"event_type":"chat."}"#));
        // Not even whether it is JSON.
        assert!(matches!(chat.judge(br#"{"event_type":"order.placed",,,"#), Verdict::Other));
        assert!(matches!(chat.judge(br#"{"event_type":"chat.sent",,,"#), Verdict::Bad(_)));
    }

    #[test]
    fn a_text_is_found_however_it_is_written() {
        let cause = filter(|filter| filter.set_correlation_id("c-é".into()));
        assert!(is_match(&cause, r#"{"event_type":"a.b","correlation_id":"c-é"}"#));
        assert!(is_match(&cause, r#"{"event_type":"a.b","correlation_id":"c-\u00e9"}"#));
        assert!(is_match(&cause, r#"{"type":"a.b","correlationid":"c-é"}"#));
        assert!(!is_match(&cause, r#"{"event_type":"a.b","payload":"c-é","correlation_id":null}"#));
        assert!(!is_match(&cause, r#"{"event_type":"a.b","payload":"\n"}"#));
        let source = filter(|filter| filter.set_source("web".into()));
        assert!(is_match(&source, r#"{"event_type":"a.b","source":"web"}"#));
        assert!(!is_match(&source, r#"{"event_type":"a.b","source":"web2","correlation_id":"web"}"#));
    }

    #[test]
    fn a_span_has_its_beginning_but_not_its_end_and_nothing_without_a_time() {
        let second = std::time::Duration::from_secs(1);
        let span = filter(|filter| {
            filter.set_since(UNIX_EPOCH + second);
            filter.set_until(UNIX_EPOCH + 2 * second);
        });
        let at = |time: &str| is_match(&span, &format!(r#"{{"event_type":"a.b","timestamp":{time}}}"#));
        assert_eq!(["0.999", "1", "1.5", "2.0", "2.001", "null"].map(at), [false, true, true, false, false, false]);
        assert!(is_match(&span, r#"{"type":"a.b","time":"1970-01-01T00:00:01Z"}"#));
    }

    #[test]
    fn a_damaged_line_feed_is_found_only_between_whole_records() {
        let (first, second) = (r#"{"event_type":"a.b","payload":[{}]}"#, r#"{"event_type":"a.c"}"#);
        assert_eq!(lost_line_end(format!("{first}\x0b{second}").as_bytes()), Some(first.len()));
        assert_eq!(lost_line_end(format!("{first}{second}").as_bytes()), None);
        assert_eq!(lost_line_end(first.as_bytes()), None);
        // What lies within a payload is never taken for a record.
        assert_eq!(lost_line_end(br#"{"event_type":"a.b","payload":[{"a":1},{"event_type":"x.y"}"#), None);
    }
}
