//! The redactor: which classes and keys it looks for, what it leaves alone, and what it writes instead.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::card;
use super::class::{Counts, DataClass};
use super::json::{self, Scope};
use super::keys::{self, Kind, Words};
use super::marker::{self, Trace};
use super::scan::{Hit, Scan};
use super::{pair, prose};

/// How often a text is searched again at most.
const ROUNDS: usize = 4;

/// Whether a value that was found may stay.
type Permit = Arc<dyn Fn(DataClass, &str) -> bool + Send + Sync>;

/// Replaces what is sensitive in texts and JSON by markers such as `[REDACTED_EMAIL]`.
///
/// [`Redactor::default`] looks for every [`DataClass`], and hides what stands under keys that name something sensitive,
/// whatever their case and separators: `password`, `apiKey`, `X-API-KEY`, `db_password`, and some hundred more. What
/// stands under such a key is hidden down to its last string and number; truth values, nulls and empty strings stay, and
/// so do arrays and objects, so a document keeps its shape. Keys themselves are never changed.
///
/// Of two findings that overlap the one that starts first counts, then the longer; the class is the most specific one
/// that fits the whole. Markers are never redacted again, and neighbours of a marker are judged beside it: redacting twice
/// is the same as redacting once.
///
/// Values are recognised by form, check digits and what stands beside them. Names of people and streets have no form:
/// they are hidden under their key or not at all. What looks like a digest, a version, a timestamp or an identifier is
/// left alone on purpose.
///
/// A clone costs as much as what was added to it. A redactor has no state and may be used by many threads at once.
///
/// # Cost
///
/// Time in proportion to the text, whatever is in it: every look goes over a bounded window or over a run that is
/// remembered. A text without findings allocates nothing; one with findings is written anew and searched once more. A
/// JSON document without escapes and findings is checked in one pass and copied as it is. Patterns of your own cost what
/// the crate `regex` costs for each of them, which is in proportion to the text as well.
///
/// # Examples
///
/// ```
/// use nervebus::{DataClass, Redactor, json};
///
/// let redactor = Redactor::default().without(DataClass::Ipv4).key("employee_no").allow("example.org");
/// let text = "password=hunter2 sent to maria@example.net and ops@example.org from 192.0.2.7";
/// let expected = "password=[REDACTED_SECRET] sent to [REDACTED_EMAIL] and ops@example.org from 192.0.2.7";
/// assert_eq!(redactor.redact(text), expected);
///
/// let mut payload = json!({"user": {"apiKey": "k-1", "employeeNo": 7}, "note": "card 4556 7375 8689 9855", "id": "a-1"});
/// let counts = redactor.redact_value(&mut payload);
/// let expected = json!({
///     "user": {"apiKey": "[REDACTED]", "employeeNo": "[REDACTED]"}, "note": "card [REDACTED_CREDIT_CARD]", "id": "a-1",
/// });
/// assert_eq!((payload, counts.of(DataClass::Key), counts.total()), (expected, 2, 3));
/// ```
#[derive(Clone)]
pub struct Redactor {
    /// A bit for each class.
    classes: u64,
    keys: BTreeSet<Vec<u8>>,
    plain_keys: BTreeSet<Vec<u8>>,
    allowed: BTreeSet<Vec<u8>>,
    permit: Option<Permit>,
    trace: Trace,
    #[cfg(feature = "regex")]
    patterns: Vec<(Box<str>, regex::bytes::Regex)>,
}

impl Default for Redactor {
    fn default() -> Self {
        Self {
            classes: u64::MAX,
            keys: BTreeSet::new(),
            plain_keys: BTreeSet::new(),
            allowed: BTreeSet::new(),
            permit: None,
            trace: Trace::Nothing,
            #[cfg(feature = "regex")]
            patterns: Vec::new(),
        }
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("without", &self.missing()).finish_non_exhaustive()
    }
}

/// What to look for and what to leave alone.
impl Redactor {
    /// Does not look for this class. For [`DataClass::Key`]: a key does not hide the value behind it.
    #[must_use]
    pub fn without(mut self, class: DataClass) -> Self {
        self.classes &= !(1 << class as u8);
        self
    }

    /// Hides what stands under this key as well, whatever its case and separators.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        let name = joined(key.as_bytes());
        self.plain_keys.remove(&name);
        self.keys.insert(name);
        self
    }

    /// Does not hide what stands under this key for the key's sake, whatever its case and separators. The value is still
    /// searched.
    #[must_use]
    pub fn without_key(mut self, key: &str) -> Self {
        let name = joined(key.as_bytes());
        self.keys.remove(&name);
        self.plain_keys.insert(name);
        self
    }

    /// Leaves this value as it is, whatever its case; or, if it is a domain, every email address in it and below it.
    #[must_use]
    pub fn allow(mut self, value: &str) -> Self {
        self.allowed.insert(value.to_ascii_lowercase().into_bytes());
        self
    }

    /// Leaves every value as it is for which this returns `true`. If it panics, the value is replaced.
    #[must_use]
    pub fn allow_if(mut self, permit: impl Fn(DataClass, &str) -> bool + Send + Sync + 'static) -> Self {
        self.permit = Some(Arc::new(permit));
        self
    }

    /// Keeps the last four characters of values of at least twelve: `[REDACTED_CREDIT_CARD:1111]`.
    #[must_use]
    pub fn keep_last_four(mut self) -> Self {
        self.trace = Trace::LastFour;
        self
    }

    /// Adds to every marker the beginning of a keyed hash (BLAKE3) of the value, so that equal values stay linkable to
    /// whoever reads the result, and can be guessed only by whoever has the key: `[REDACTED_EMAIL:1f3a9c0b2d4e]`.
    #[cfg(feature = "blake3")]
    #[must_use]
    pub fn keyed_hash(mut self, key: [u8; 32]) -> Self {
        self.trace = Trace::Hash(key);
        self
    }

    /// Looks for a pattern of your own, and replaces what it matches by `[REDACTED_NAME]`. The name is written in
    /// capitals, and what is neither a letter nor a digit in it as `_`.
    ///
    /// # Errors
    ///
    /// The pattern does not compile, or is larger than 1 MiB when compiled.
    #[cfg(feature = "regex")]
    pub fn pattern(mut self, name: &str, pattern: &str) -> Result<Self, PatternError> {
        let compiled = regex::bytes::RegexBuilder::new(pattern).size_limit(1 << 20).build();
        let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = name.chars().take(64).map(upper).collect();
        match compiled {
            Ok(compiled) => self.patterns.push((name.into(), compiled)),
            Err(error) => return Err(PatternError { name, pattern: pattern.to_string(), why: error.to_string() }),
        }
        Ok(self)
    }

    fn missing(&self) -> Vec<DataClass> {
        DataClass::ALL.iter().copied().filter(|class| self.classes & (1 << *class as u8) == 0).collect()
    }
}

/// A pattern that does not compile.
#[cfg(feature = "regex")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError {
    /// The name it was to have.
    pub name: String,
    /// The pattern as it was given.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

#[cfg(feature = "regex")]
impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pattern {} does not compile: {}", self.name, self.why)
    }
}

#[cfg(feature = "regex")]
impl std::error::Error for PatternError {}

fn joined(key: &[u8]) -> Vec<u8> {
    Words::of(key).joined().to_vec()
}

/// Redacting.
impl Redactor {
    /// The text with everything sensitive replaced; borrowed if there was nothing.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let (mut out, mut counts) = (Vec::new(), Counts::default());
        if !self.replace_in(text.as_bytes(), &mut out, &mut counts) {
            return Cow::Borrowed(text);
        }
        // Every finding starts and ends between characters.
        Cow::Owned(
            String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }

    /// Appends the text with everything sensitive replaced. It need not be UTF-8: bytes that are not are kept.
    pub fn redact_bytes(&self, text: &[u8], out: &mut Vec<u8>) -> Counts {
        let mut counts = Counts::default();
        if !self.replace_in(text, out, &mut counts) {
            out.extend_from_slice(text);
        }
        counts
    }

    /// Appends a JSON document with everything sensitive replaced: values under sensitive keys, what is found in other
    /// strings, and numbers that are card numbers. All else is copied to the byte. `None`: it is not JSON, and nothing
    /// was appended.
    pub fn redact_json(&self, document: &[u8], out: &mut Vec<u8>) -> Option<Counts> {
        json::document(self, document, out, Scope::All, 0).ok()
    }

    /// Appends a line: redacted as JSON if it is a JSON object or array, else as text.
    pub fn redact_line(&self, line: &[u8], out: &mut Vec<u8>) -> Counts {
        let found = if json::is_likely(line) { self.redact_json(line, out) } else { None };
        found.or_else(|| json::fragment(self, line, out, Scope::All)).unwrap_or_else(|| self.redact_bytes(line, out))
    }

    /// Appends a line of the audit log or of a log of dead letters: payload, source, correlation id, headers and error
    /// are redacted; the event's type and identity, its timestamps and numbers, and the hash are copied as they are. A
    /// line that is not JSON is redacted as text.
    pub fn redact_record(&self, line: &[u8], out: &mut Vec<u8>) -> Counts {
        let found = json::document(self, line, out, Scope::Record, 0);
        let found = found.ok().or_else(|| json::fragment(self, line, out, Scope::Record));
        found.unwrap_or_else(|| self.redact_bytes(line, out))
    }

    /// Replaces everything sensitive in a value, in place.
    pub fn redact_value(&self, value: &mut serde_json::Value) -> Counts {
        let mut counts = Counts::default();
        self.value(value, Kind::Plain, &mut counts);
        counts
    }

    fn value(&self, value: &mut serde_json::Value, kind: Kind, counts: &mut Counts) {
        use serde_json::Value;
        match value {
            Value::String(text) => {
                let mut written = Vec::new();
                if self.replace_string(text.as_bytes(), kind, 0, &mut written, counts) {
                    *text = String::from_utf8_lossy(&written).into_owned();
                }
            }
            Value::Number(number) => {
                let mut written = Vec::new();
                if self.replace_number(number.to_string().as_bytes(), kind, &mut written, counts) {
                    *value = Value::String(String::from_utf8_lossy(&written).into_owned());
                }
            }
            Value::Array(values) => {
                let mut named = Kind::Plain;
                for value in values {
                    let mut own = kind;
                    if let (Kind::Plain, Some(text)) = (kind, value.as_str()) {
                        own = prose::follows(named, text.as_bytes());
                        named = self.names_next(text.as_bytes(), own);
                    }
                    self.value(value, own, counts);
                }
            }
            Value::Object(members) => {
                let named = pair::kinds(self, members);
                for (at, (key, value)) in members.iter_mut().enumerate() {
                    let paired = named.get(at).copied().unwrap_or(Kind::Plain);
                    let own = if paired != Kind::Plain { paired } else { self.kind_of_key(key.as_bytes()) };
                    self.value(value, if kind == Kind::Plain { own } else { kind }, counts);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
}

/// What the walkers ask.
impl Redactor {
    fn looks_for(&self, class: DataClass) -> bool {
        self.classes & (1 << class as u8) != 0
    }

    pub(super) fn kind_of_key(&self, key: &[u8]) -> Kind {
        // A marker in a name speaks of what was there, not of what stands under it.
        if !self.looks_for(DataClass::Key) || memchr::memmem::find(key, b"[REDACTED").is_some() {
            return Kind::Plain;
        }
        if self.keys.is_empty() && self.plain_keys.is_empty() {
            return keys::kind(key);
        }
        let words = Words::of(key);
        match words.joined() {
            name if self.keys.contains(name) => Kind::Secret,
            name if self.plain_keys.contains(name) => Kind::Plain,
            _ => keys::kind_of(&words),
        }
    }

    /// What a string in an array says about the next one.
    pub(super) fn names_next(&self, text: &[u8], own: Kind) -> Kind {
        let name = (3..=40).contains(&text.len()) && own == Kind::Plain && !text.contains(&b' ');
        if name { self.kind_of_key(text) } else { Kind::Plain }
    }

    /// Whether a value is one that the user wants to see.
    fn is_allowed(&self, class: DataClass, value: &[u8]) -> bool {
        if !self.allowed.is_empty() {
            let value = value.to_ascii_lowercase();
            let host = value.iter().rposition(|byte| *byte == b'@').map(|at| &value[at + 1..]);
            let within = |host: &[u8]| {
                let mut parts = std::iter::once(0)
                    .chain(host.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(at, _)| at + 1));
                parts.any(|start| self.allowed.contains(&host[start..]))
            };
            if self.allowed.contains(&value) || (class == DataClass::Email && host.is_some_and(within)) {
                return true;
            }
        }
        let Some(permit) = &self.permit else { return false };
        let value = String::from_utf8_lossy(value);
        catch_unwind(AssertUnwindSafe(|| permit(class, &value))).unwrap_or(false)
    }

    pub(super) fn mark(&self, out: &mut Vec<u8>, class: DataClass, value: &[u8], counts: &mut Counts) {
        marker::write(out, class.name(), value, self.trace);
        counts.count(class);
    }

    fn mark_hit(&self, out: &mut Vec<u8>, hit: Hit, value: &[u8], counts: &mut Counts) {
        #[cfg(feature = "regex")]
        if let Some((name, _)) = self.patterns.get(usize::from(hit.custom)).filter(|_| hit.class == DataClass::Custom) {
            marker::write(out, name, value, self.trace);
            counts.count(hit.class);
            return;
        }
        self.mark(out, hit.class, value, counts);
    }

    /// Writes a number as the marker that replaces it, if it is to be replaced.
    pub(super) fn replace_number(&self, number: &[u8], kind: Kind, out: &mut Vec<u8>, counts: &mut Counts) -> bool {
        let card = number.iter().all(u8::is_ascii_digit) && card::is_card(number);
        let class = if card && self.looks_for(DataClass::Card) { DataClass::Card } else { DataClass::Key };
        let found = class == DataClass::Card || kind != Kind::Plain;
        if !found || self.is_allowed(class, number) {
            return false;
        }
        self.mark(out, class, number, counts);
        true
    }

    /// Writes a string of a JSON document as it is to be, if it is to be another.
    pub(super) fn replace_string(
        &self,
        text: &[u8],
        kind: Kind,
        nested: usize,
        out: &mut Vec<u8>,
        counts: &mut Counts,
    ) -> bool {
        if kind != Kind::Plain {
            return self.replace_whole(text, out, counts);
        }
        if nested < json::NESTED
            && json::is_likely(text)
            && let Ok(found) = json::document(self, text, out, Scope::All, nested + 1)
        {
            *counts += found;
            return found.total() > 0;
        }
        self.replace_in(text, out, counts)
    }

    /// Writes the marker for a value that its key says is sensitive: of the class that it has by its form, if it has one.
    fn replace_whole(&self, text: &[u8], out: &mut Vec<u8>, counts: &mut Counts) -> bool {
        if text.is_empty() || marker::is_whole(text) || self.is_allowed(DataClass::Key, text) {
            return false;
        }
        let hits = self.search(text);
        let whole = hits.first().filter(|hit| hit.start == 0 && hit.end == text.len());
        self.mark_hit(out, whole.copied().unwrap_or(Hit::new(0, text.len(), DataClass::Key)), text, counts);
        true
    }

    /// Writes a text with what is found in it replaced. `false`: there was nothing, and nothing was written.
    ///
    /// A marker is another neighbour than the value it stands for, so a text with markers in it is searched again, until
    /// there is nothing more: what was redacted once is redacted no further.
    pub(super) fn replace_in(&self, text: &[u8], out: &mut Vec<u8>, counts: &mut Counts) -> bool {
        let mut hits = self.search(text);
        if hits.is_empty() {
            return false;
        }
        let start = out.len();
        self.replace(text, &hits, out, counts);
        for _ in 0..ROUNDS {
            hits = self.search(&out[start..]);
            if hits.is_empty() {
                break;
            }
            let text = out.split_off(start);
            // What takes in earlier findings stands for them.
            hits.iter().for_each(|hit| counts.take_back(&text[hit.start..hit.end]));
            self.replace(&text, &hits, out, counts);
        }
        true
    }

    fn replace(&self, text: &[u8], hits: &[Hit], out: &mut Vec<u8>, counts: &mut Counts) {
        let mut copied = 0;
        for hit in hits {
            out.extend_from_slice(&text[copied..hit.start]);
            self.mark_hit(out, *hit, &text[hit.start..hit.end], counts);
            copied = hit.end;
        }
        out.extend_from_slice(&text[copied..]);
    }

    /// What is to be replaced in a text, from left to right without overlaps.
    fn search(&self, text: &[u8]) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::new();
        Scan::new(text).run(|mut hit| {
            if !self.looks_for(hit.class) {
                return false;
            }
            if !self.is_allowed(hit.class, &text[hit.start..hit.end]) {
                while let Some(last) = hits.pop_if(|last| last.start >= hit.start) {
                    hit.end = hit.end.max(last.end);
                }
                hit.start = hits.last().map_or(hit.start, |last| last.end.max(hit.start));
                hits.push(hit);
            }
            true
        });
        #[cfg(feature = "regex")]
        if !self.patterns.is_empty() {
            self.search_patterns(text, &mut hits);
        }
        hits
    }

    /// Adds what the user's own patterns match. Of two that overlap, the first counts, then the longer.
    #[cfg(feature = "regex")]
    fn search_patterns(&self, text: &[u8], hits: &mut Vec<Hit>) {
        let found =
            catch_unwind(AssertUnwindSafe(|| {
                let mut found = Vec::new();
                for (custom, (_, pattern)) in self.patterns.iter().enumerate() {
                    let matches = pattern.find_iter(text).filter(|one| !one.is_empty());
                    found.extend(matches.map(|one| Hit {
                        custom: custom as u16,
                        ..Hit::new(one.start(), one.end(), DataClass::Custom)
                    }));
                }
                found
            }));
        let Ok(mut found) = found else {
            *hits = vec![Hit::new(0, text.len(), DataClass::Unsearched)];
            return;
        };
        let markers = marker::all(text);
        found.retain(|hit| !markers.iter().any(|(start, end)| hit.start < *end && *start < hit.end));
        found.retain(|hit| !self.is_allowed(hit.class, &text[hit.start..hit.end]));
        hits.append(&mut found);
        hits.sort_by_key(|hit| (hit.start, std::cmp::Reverse(hit.end)));
        let mut floor = 0;
        hits.retain(|hit| {
            let keep = hit.start >= floor;
            floor = if keep { hit.end } else { floor };
            keep
        });
    }
}
