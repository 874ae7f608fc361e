//! JSON, walked over as bytes: what is not replaced is copied as it is, to the byte.

use super::Redactor;
use super::class::Counts;
use super::escape;
use super::keys::Kind;
use super::pair::{self, is_named, is_naming};
use super::prose;
use super::text::byte;

/// How deep JSON may stand in strings of JSON.
pub(super) const NESTED: usize = 8;
/// How deep arrays and objects may stand in each other before a document is text.
const DEPTH: usize = 16 << 10;

/// Which fields may be touched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything.
    All,
    /// The outermost object of a line of the audit log.
    Record,
    /// What a line says about a dead letter.
    Letter,
    /// Nothing from here on.
    Nothing,
}

/// Fields of a line that are its structure.
const STRUCTURE: &[&[u8]] =
    &[b"event_type", b"event_id", b"timestamp", b"seq", b"causation_seq", b"causation_id", b"hash", b"removed"];
/// Fields of a dead letter that are its structure.
const LETTER: &[&[u8]] = &[b"id", b"reason", b"handler", b"pattern", b"attempts", b"retries", b"failed_at"];

/// An array or object that is open.
#[derive(Clone, Copy)]
struct Frame {
    object: bool,
    /// Nothing has been read in it yet.
    fresh: bool,
    scope: Scope,
    /// What the key of this value, or of one around it, says.
    kind: Kind,
    /// What `"name"` says about the `"value"` beside it.
    named: Kind,
}

/// Where a string stands, without its quotes.
#[derive(Clone, Copy)]
struct Text {
    start: usize,
    end: usize,
    escaped: bool,
}

/// The document is not JSON.
#[derive(Debug)]
pub(super) struct NotJson;

type Step<T> = Result<T, NotJson>;

pub(super) struct Walker<'a> {
    redactor: &'a Redactor,
    text: &'a [u8],
    at: usize,
    /// Everything before this is in `out`.
    copied: usize,
    out: &'a mut Vec<u8>,
    counts: Counts,
    frames: Vec<Frame>,
    nested: usize,
    /// Where a string begins, inside its quote, that has no end and stands under a sensitive key.
    cut: Option<usize>,
}

/// Writes the document with everything sensitive replaced, and says what that was. What was written before an error is
/// taken back.
pub(super) fn document(
    redactor: &Redactor,
    text: &[u8],
    out: &mut Vec<u8>,
    scope: Scope,
    nested: usize,
) -> Result<Counts, NotJson> {
    let before = out.len();
    let (counts, frames) = (Counts::default(), Vec::new());
    let mut walker = Walker { redactor, text, at: 0, copied: 0, out: &mut *out, counts, frames, nested, cut: None };
    let walked = walker.walk(scope);
    let (counts, copied) = (walker.counts, walker.copied);
    match walked {
        Ok(()) => out.extend_from_slice(&text[copied..]),
        Err(_) => out.truncate(before),
    }
    walked.map(|()| counts)
}

/// As [`document`], for an object whose end was cut off, such as a torn line of a log: as far as it is JSON it is redacted as
/// such, and the rest as text. `None`: it does not begin as an object does, and nothing was written.
pub(super) fn fragment(redactor: &Redactor, text: &[u8], out: &mut Vec<u8>, scope: Scope) -> Option<Counts> {
    let begin = text.trim_ascii_start();
    let is_begun = begin.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\""));
    if !is_begun {
        return None;
    }
    let (counts, frames) = (Counts::default(), Vec::new());
    let mut walker = Walker { redactor, text, at: 0, copied: 0, out: &mut *out, counts, frames, nested: 0, cut: None };
    // What comes behind an error is seen to below.
    let _ = walker.walk(scope);
    let (mut counts, copied, cut) = (walker.counts, walker.copied, walker.cut);
    let (rest, hidden) = text.split_at(cut.unwrap_or(text.len()));
    let rest = &rest[copied.min(rest.len())..];
    if !redactor.replace_in(rest, out, &mut counts) {
        out.extend_from_slice(rest);
    }
    if !hidden.is_empty() && !redactor.replace_string(hidden, Kind::Secret, NESTED, out, &mut counts) {
        out.extend_from_slice(hidden);
    }
    Some(counts)
}

/// Whether a text may be a JSON object or array: what it starts and ends with, white space aside.
pub(super) fn is_likely(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    matches!((text.first(), text.last()), (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')))
}

impl Walker<'_> {
    fn walk(&mut self, scope: Scope) -> Step<()> {
        self.space();
        let scope = if scope == Scope::Record && byte(self.text, self.at) != b'{' { Scope::All } else { scope };
        self.value(Kind::Plain, scope)?;
        while let Some(frame) = self.frames.last().copied() {
            self.member(frame)?;
        }
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(NotJson) }
    }

    /// Reads the next member of the innermost array or object, or its end.
    fn member(&mut self, frame: Frame) -> Step<()> {
        self.space();
        let close = if frame.object { b'}' } else { b']' };
        // Only an empty one ends here: the end behind a value is read with it.
        if frame.fresh && byte(self.text, self.at) == close {
            self.at += 1;
            self.frames.pop();
            return self.behind();
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.fresh = false;
        }
        let (mut kind, mut scope) = (frame.kind, frame.scope);
        if frame.object {
            let key = self.string()?;
            self.space();
            self.expect(b':')?;
            self.space();
            (kind, scope) = self.under(key, frame);
        }
        self.value(kind, scope)
    }

    /// Reads what stands behind a value: a comma, or the ends of what it is in.
    fn behind(&mut self) -> Step<()> {
        while let Some(frame) = self.frames.last() {
            let close = if frame.object { b'}' } else { b']' };
            self.space();
            match byte(self.text, self.at) {
                b',' => {
                    self.at += 1;
                    return Ok(());
                }
                end if end == close => {
                    self.at += 1;
                    self.frames.pop();
                }
                _ => return Err(NotJson),
            }
        }
        Ok(())
    }

    /// What a key says about the value behind it.
    fn under(&mut self, key: Text, frame: Frame) -> (Kind, Scope) {
        let mut unescaped = Vec::new();
        let name = if key.escaped {
            escape::unescape(&self.text[key.start..key.end], &mut unescaped);
            &unescaped[..]
        } else {
            &self.text[key.start..key.end]
        };
        let scope = match frame.scope {
            Scope::Record if STRUCTURE.contains(&name) => Scope::Nothing,
            Scope::Record if name == b"letter" => Scope::Letter,
            Scope::Letter if LETTER.contains(&name) => Scope::Nothing,
            Scope::Record | Scope::Letter => Scope::All,
            scope => scope,
        };
        if frame.kind != Kind::Plain || scope == Scope::Nothing || frame.scope != Scope::All {
            return (frame.kind, scope);
        }
        if is_naming(name) {
            let named = self.names(self.at);
            if let Some(frame) = self.frames.last_mut().filter(|_| named != Kind::Plain) {
                frame.named = named;
            }
        } else if is_named(name) {
            let named = if frame.named == Kind::Plain { self.named_behind() } else { frame.named };
            if named != Kind::Plain {
                return (named, scope);
            }
        }
        (self.redactor.kind_of_key(name), scope)
    }

    /// What the next few members say about the scalar before them, which comes next.
    fn named_behind(&self) -> Kind {
        let mut ahead = Ahead { text: self.text, at: self.at };
        let mut named = Kind::Plain;
        if ahead.scalar().is_err() {
            return named;
        }
        for _ in 0..pair::BEHIND {
            let Ok((key, value)) = ahead.member() else { break };
            if is_naming(&self.text[key.start..key.end]) {
                named = self.names(value);
            }
            if named != Kind::Plain || ahead.scalar().is_err() {
                break;
            }
        }
        named
    }

    /// What the string at `at` says as a key.
    fn names(&self, at: usize) -> Kind {
        let mut ahead = Ahead { text: self.text, at };
        let Ok(name) = ahead.string() else { return Kind::Plain };
        let (raw, mut unescaped) = (&self.text[name.start..name.end], Vec::new());
        if name.escaped {
            escape::unescape(raw, &mut unescaped);
        }
        self.redactor.kind_of_key(if name.escaped { &unescaped } else { raw })
    }

    fn value(&mut self, kind: Kind, scope: Scope) -> Step<()> {
        match byte(self.text, self.at) {
            open @ (b'{' | b'[') => {
                if self.frames.len() >= DEPTH {
                    return Err(NotJson);
                }
                self.at += 1;
                self.frames.push(Frame { object: open == b'{', fresh: true, scope, kind, named: Kind::Plain });
                return Ok(());
            }
            b'"' => {
                let start = self.at + 1;
                let text = self.string().inspect_err(|_| self.cut = (kind != Kind::Plain).then_some(start))?;
                if scope != Scope::Nothing {
                    let kind = if kind == Kind::Plain { self.in_array(text) } else { kind };
                    self.text(text, kind);
                }
            }
            b'-' | b'0'..=b'9' => {
                let start = self.at;
                self.number()?;
                if scope != Scope::Nothing {
                    self.digits(start, kind);
                }
            }
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            _ => return Err(NotJson),
        }
        self.behind()
    }

    /// What a string is if the one before it in an array names it; the next one is told what this one names.
    fn in_array(&mut self, text: Text) -> Kind {
        let raw = &self.text[text.start..text.end];
        let Some(frame) = self.frames.last().filter(|frame| !frame.object) else { return Kind::Plain };
        let kind = prose::follows(frame.named, raw);
        let named = self.redactor.names_next(raw, kind);
        if let Some(frame) = self.frames.last_mut() {
            frame.named = named;
        }
        kind
    }

    /// Replaces a number under a sensitive key, and one that is a card number, by a string.
    fn digits(&mut self, start: usize, kind: Kind) {
        let digits = &self.text[start..self.at];
        if kind == Kind::Plain && digits.len() < 13 {
            return;
        }
        let mut written = Vec::new();
        if self.redactor.replace_number(digits, kind, &mut written, &mut self.counts) {
            self.copy_until(start);
            self.out.push(b'"');
            self.out.append(&mut written);
            self.out.push(b'"');
            self.copied = self.at;
        }
    }

    /// Replaces what is sensitive in a string.
    fn text(&mut self, text: Text, kind: Kind) {
        let raw = &self.text[text.start..text.end];
        if raw.is_empty() {
            return;
        }
        let mut unescaped = Vec::new();
        let plain = if text.escaped {
            escape::unescape(raw, &mut unescaped);
            &unescaped[..]
        } else {
            raw
        };
        let mut written = Vec::new();
        if !self.redactor.replace_string(plain, kind, self.nested, &mut written, &mut self.counts) {
            return;
        }
        self.copy_until(text.start);
        if text.escaped || written.iter().any(|byte| matches!(byte, b'"' | b'\\')) {
            escape::escape(&written, self.out);
        } else {
            self.out.extend_from_slice(&written);
        }
        self.copied = text.end;
    }

    fn copy_until(&mut self, end: usize) {
        self.out.extend_from_slice(&self.text[self.copied..end]);
    }

    fn space(&mut self) {
        while matches!(byte(self.text, self.at), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    fn expect(&mut self, expected: u8) -> Step<()> {
        if byte(self.text, self.at) != expected {
            return Err(NotJson);
        }
        self.at += 1;
        Ok(())
    }

    fn literal(&mut self, literal: &[u8]) -> Step<()> {
        if !self.text[self.at..].starts_with(literal) {
            return Err(NotJson);
        }
        self.at += literal.len();
        Ok(())
    }

    fn string(&mut self) -> Step<Text> {
        let mut ahead = Ahead { text: self.text, at: self.at };
        let found = ahead.string()?;
        self.at = ahead.at;
        Ok(found)
    }

    fn number(&mut self) -> Step<()> {
        let mut ahead = Ahead { text: self.text, at: self.at };
        ahead.number()?;
        self.at = ahead.at;
        Ok(())
    }
}

/// Reads single values without changing anything.
struct Ahead<'t> {
    text: &'t [u8],
    at: usize,
}

impl Ahead<'_> {
    fn space(&mut self) {
        while matches!(byte(self.text, self.at), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    /// Reads the comma and the key of a further member, up to its value.
    fn member(&mut self) -> Step<(Text, usize)> {
        self.space();
        self.expect(b',')?;
        self.space();
        let key = self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok((key, self.at))
    }

    fn expect(&mut self, expected: u8) -> Step<()> {
        if byte(self.text, self.at) != expected {
            return Err(NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// Reads a string, a number or a word.
    fn scalar(&mut self) -> Step<()> {
        match byte(self.text, self.at) {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number(),
            b't' | b'n' => {
                self.at += 4;
                Ok(())
            }
            b'f' => {
                self.at += 5;
                Ok(())
            }
            _ => Err(NotJson),
        }
    }

    fn string(&mut self) -> Step<Text> {
        if byte(self.text, self.at) != b'"' {
            return Err(NotJson);
        }
        let (start, mut escaped) = (self.at + 1, false);
        self.at = start;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                    let hex = |text: &[u8], at: usize| {
                        text.get(at..at + 4).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
                    };
                    match byte(self.text, self.at - 1) {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' if hex(self.text, self.at) => self.at += 4,
                        _ => return Err(NotJson),
                    }
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(NotJson),
            }
        }
        self.at += 1;
        Ok(Text { start, end: self.at - 1, escaped })
    }

    fn digits(&mut self) -> Step<()> {
        let start = self.at;
        while byte(self.text, self.at).is_ascii_digit() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NotJson) }
    }

    fn number(&mut self) -> Step<()> {
        self.at += usize::from(byte(self.text, self.at) == b'-');
        let zero = byte(self.text, self.at) == b'0';
        let start = self.at;
        self.digits()?;
        if zero && self.at > start + 1 {
            return Err(NotJson);
        }
        if byte(self.text, self.at) == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(byte(self.text, self.at), b'e' | b'E') {
            self.at += 1;
            self.at += usize::from(matches!(byte(self.text, self.at), b'+' | b'-'));
            self.digits()?;
        }
        Ok(())
    }
}
