//! `key=value` in prose and code, where the key names a secret: `password: hunter2`, `API_TOKEN := "…"`,
//! `setProperty("TOKEN", "…")`, `?access_token=…&`.

use super::class::DataClass;
use super::keys::{self, Kind};
use super::scan::{Hit, Scan};
use super::secret::{is_code, is_placeholder};
use super::text::{BITS, DIGIT, LOWER, Set, UPPER, before, byte, gather, is_word, run, run_back, word};

/// The longest key that is read.
const KEY: usize = 64;
/// As much of a value as its judgement needs.
const SAMPLE: usize = 96;

/// What goes on as a value without quotes; in a form; and up to the next field of one.
static BARE: Set = Set::until(b"\"'`;,&<>");
static FORM: Set = Set::until(b"&\"'<>\\;");
static FIELD: Set = Set::until(b"&\"'<>;,=");

/// What may stand between a key and its `=`, and how much of it, where keys are aligned.
static BETWEEN: Set = Set::of(b" \t\"'`\\?].");
const SPACES: usize = 24;

/// A value and how it is written.
#[derive(Clone, Copy)]
struct Value {
    start: usize,
    end: usize,
    quoted: bool,
}

/// The value behind the `=` or `:` at `at`.
pub(super) fn find(scan: &mut Scan<'_>, at: usize) -> Option<Hit> {
    let text = scan.text;
    // The rest of an operator such as `:=` or `=>` is not looked at twice.
    if matches!(before(text, at), b':' | b'=' | b'<' | b'!') {
        return None;
    }
    let (start, end) = key(text, at, scan.floor)?;
    let mut kind = keys::kind(&text[start..end]);
    if kind == Kind::Plain && is_type(&text[start..end]) {
        let (start, end) = key(text, start, scan.floor)?;
        kind = keys::kind(&text[start..end]);
    }
    if kind == Kind::Plain && text[start..end].eq_ignore_ascii_case(b"key") && before(text, start) == b' ' {
        // `secret key: …`
        let (first, _) = key(text, start, scan.floor)?;
        kind = keys::kind(&text[first..end]);
    }
    if kind == Kind::Plain && &text[start..end] == b"sig" && matches!(before(text, start), b'&' | b'?') {
        kind = Kind::Secret;
    }
    if kind == Kind::Plain && text[start..end].eq_ignore_ascii_case(b"value") {
        kind = attribute(text, start, scan.floor);
    }
    if kind == Kind::Plain {
        return None;
    }
    let form = byte(text, at) == b'=' && (matches!(before(text, start), b'&' | b'?') || is_field(text, at));
    if kind == Kind::Personal && !form {
        return None;
    }
    if text[start..end].eq_ignore_ascii_case(b"pwd") && is_folder(text, operator_end(text, at)) {
        return None;
    }
    if is_header(&text[start..end])
        && let Some(hit) = with_scheme(text, operator_end(text, at))
    {
        return hit;
    }
    let spaced = end != at || byte(text, at + 1) == b' ';
    let mut value = value(text, operator_end(text, at), form, SAMPLE)?;
    let sample = &text[value.start..value.end.min(value.start + SAMPLE)];
    let password = kind == Kind::Password;
    // `username: root password: root`: beside the name of a user, any word is a password.
    let beside_user = || contains(&text[start.saturating_sub(32)..start], b"user");
    let strict = !password || ((byte(text, at) == b':' || spaced) && !beside_user());
    let good = if form { is_filled(sample) } else { is_secret(sample, value.quoted, strict, password) };
    let id = text[start..end].eq_ignore_ascii_case(b"authorization") && is_object_id(sample);
    if !good || id {
        return None;
    }
    // The rest of a long value is read only once it is known to go.
    if value.end - value.start >= SAMPLE / 2 && !value.quoted {
        value = self::value(text, operator_end(text, at), form, usize::MAX)?;
    }
    // A marker further on stays.
    let marker = memchr::memmem::find(&text[value.start..value.end], b"[REDACTED");
    value.end = marker.map_or(value.end, |marker| value.start + marker);
    Some(hit(scan, value, &text[start..end]))
}

/// The second of two quoted arguments, the first of which names a secret; the comma between them is at `at`.
pub(super) fn find_pair(scan: &mut Scan<'_>, at: usize) -> Option<Hit> {
    let text = scan.text;
    let (start, end) = key(text, at, scan.floor)?;
    if !matches!(before(text, start), b'"' | b'\'') || !keys::kind(&text[start..end]).is_secret() {
        return None;
    }
    let value = value(text, at + 1, false, SAMPLE).filter(|value| value.quoted)?;
    let sample = &text[value.start..value.end.min(value.start + SAMPLE)];
    is_secret(sample, true, true, false).then(|| hit(scan, value, &text[start..end]))
}

/// The hit for a value: of the class that its form says, if that is of the whole value, else a secret.
fn hit(scan: &mut Scan<'_>, value: Value, key: &[u8]) -> Hit {
    let (end, bits) = word(scan.text, value.start);
    let known = if end > value.start { scan.value(value.start, end, bits) } else { None };
    let class = match known {
        Some(known) if known.start <= value.start && known.end >= value.end => {
            return Hit { start: value.start, ..known };
        }
        _ if value.end - value.start == 40 && keys::is_of_aws(key) => DataClass::AwsSecret,
        _ => DataClass::Secret,
    };
    Hit::new(value.start, value.end, class)
}

/// The text of an XML element that is named as a secret, `<password>…</password>`; its first tag ends at `at`.
pub(super) fn find_element(scan: &mut Scan<'_>, at: usize) -> Option<Hit> {
    let text = scan.text;
    let quote = usize::from(matches!(before(text, at), b'"' | b'\''));
    let start = run_back(text, at - quote, KEY, is_key).max(scan.floor);
    let named = [&b"key="[..], b"name="].iter().any(|name| text[..start.saturating_sub(1)].ends_with(name));
    if start >= at - quote || (if quote == 0 { before(text, start) != b'<' } else { !named }) {
        return None;
    }
    let kind = keys::kind(&text[start..at - quote]);
    let first = run(text, at + 1, 8, |byte| byte.is_ascii_whitespace());
    let end = run(text, first, SAMPLE * 4, |byte| byte >= b' ' && byte != b'<');
    let value = Value { start: first, end, quoted: true };
    let sample = &text[first..end.min(first + SAMPLE)];
    let closed = text[end..].starts_with(b"</") && end > first;
    (kind.is_secret() && closed && is_secret(sample, true, true, kind == Kind::Password)).then(|| hit(scan, value, b""))
}

/// Whether what stands behind `pwd` is the folder that a shell works in.
fn is_folder(text: &[u8], at: usize) -> bool {
    let start = run(text, at, 4, |byte| b" \"'".contains(&byte));
    matches!(byte(text, start), b'/' | b'~')
}

fn is_header(key: &[u8]) -> bool {
    key.len() >= 13 && key[key.len() - 13..].eq_ignore_ascii_case(b"authorization")
}

/// What stands behind a scheme other than `Bearer` and `Basic`, as in `Authorization: ApiKey …`. `Some(None)`: one of those
/// two, which are found by themselves.
fn with_scheme(text: &[u8], at: usize) -> Option<Option<Hit>> {
    let start = run(text, at, 6, |byte| b" \"'[\\".contains(&byte));
    let end = run(text, start, 24, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let scheme = &text[start..end];
    if byte(text, end) != b' ' || scheme.is_empty() || scheme.len() > 16 {
        return None;
    }
    if scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"basic") {
        return Some(None);
    }
    let value = value(text, end, false, usize::MAX).filter(|value| !value.quoted)?;
    let sample = &text[value.start..value.end.min(value.start + SAMPLE)];
    let marked = memchr::memmem::find(&text[value.start..value.end], b"[REDACTED").is_some();
    let good = sample.len() >= 8 && is_secret(sample, false, true, false) && !sample.contains(&b'=') && !marked;
    good.then(|| Some(Hit::new(value.start, value.end, DataClass::Secret)))
}

fn is_key(byte: u8) -> bool {
    is_word(byte) || byte == b'-' || byte == b'.'
}

/// The key that ends before `at`, behind which quotes, spaces and the beginning of an operator may stand.
fn key(text: &[u8], at: usize, floor: usize) -> Option<(usize, usize)> {
    let end = run_back(text, at, SPACES, |byte| BETWEEN.has(byte));
    let start = run_back(text, end, KEY, is_key).max(floor);
    let start = start + text[start..end.max(start)].iter().take_while(|byte| matches!(byte, b'-' | b'.')).count();
    (start < end && BITS[byte(text, start) as usize] != 0).then_some((start, end))
}

/// A type between a name and its value: `var token string = "…"`.
fn is_type(name: &[u8]) -> bool {
    [&b"string"[..], b"str", b"String", b"char", b"text", b"std.string"].contains(&name)
}

/// The kind of the attribute before `value="…"`, as in `<add key="Password" value="…"/>`.
fn attribute(text: &[u8], value: usize, floor: usize) -> Kind {
    let end = run_back(text, value, SPACES, |byte| b" ,\"'\\\r\n".contains(&byte));
    let start = run_back(text, end, KEY, is_key).max(floor);
    if value < end + 2 {
        // `<password value="…"/>`
        return if before(text, start) == b'<' { keys::kind(&text[start..end]) } else { Kind::Plain };
    }
    // `"password", "value":` names it; `password "value":` does not.
    let named = matches!(byte(text, end), b'"' | b'\'' | b'\\' | b'\n');
    if start < end && named { keys::kind(&text[start..end]) } else { Kind::Plain }
}

/// Whether an `&` and a further field follow the value behind the `=` at `at`.
fn is_field(text: &[u8], at: usize) -> bool {
    let end = run(text, at + 1, SAMPLE, |byte| FIELD.has(byte));
    let next = run(text, end + 1, 32, is_key);
    byte(text, end) == b'&' && next > end + 1 && byte(text, next) == b'='
}

/// The end of an operator such as `:=`, `=>`, `:::=`, `?=`.
fn operator_end(text: &[u8], at: usize) -> usize {
    run(text, at, 6, |byte| b":=>".contains(&byte))
}

fn value(text: &[u8], at: usize, form: bool, limit: usize) -> Option<Value> {
    // A value on a line of its own is another's.
    let start = run(text, at, SPACES, |byte| byte == b' ' || byte == b'\t');
    // `b"…"`, `r'…'` and the like are strings as well.
    let marked = matches!(byte(text, start), b'b' | b'f' | b'r' | b'u' | b'@' | b'L')
        && matches!(byte(text, start + 1), b'"' | b'\'');
    let start = start + usize::from(marked && !form);
    let escaped = run(text, start, 3, |byte| byte == b'\\');
    let quote = byte(text, escaped);
    if matches!(quote, b'"' | b'\'' | b'`') && !form {
        let start = escaped + 1;
        let end = memchr::memchr2(quote, b'\n', &text[start..]).map_or(text.len(), |length| start + length);
        let end = end - text[start..end].iter().rev().take(3).take_while(|byte| **byte == b'\\').count();
        return (end > start).then_some(Value { start, end, quoted: byte(text, end) != b'\n' && end < text.len() });
    }
    let goes_on = if form { &FORM } else { &BARE };
    let mut end = run(text, start, limit, |byte| goes_on.has(byte));
    while !form && end > start + 1 && b")]}.:!?\\".contains(&text[end - 1]) && !opens(&text[start..end]) {
        end -= 1;
    }
    // `\n` in escaped text ends a value as a line's end does.
    let sample = &text[start..end.min(start + 256)];
    if let Some(cut) =
        sample.windows(2).position(|pair| pair == b"\\n" || pair == b"\\r" || pair == b"\\t").filter(|cut| *cut > 3)
    {
        end = start + cut;
    }
    (end > start).then_some(Value { start, end, quoted: false })
}

/// Whether the bracket at the end of a value was opened in it.
fn opens(value: &[u8]) -> bool {
    let open = match value.last() {
        Some(b')') => b'(',
        Some(b']') => b'[',
        Some(b'}') => b'{',
        _ => return false,
    };
    value.iter().take(SAMPLE).any(|byte| *byte == open)
}

/// Whether `part` is in `value`; for short values, for which a searcher would cost more than the search.
fn contains(value: &[u8], part: &[u8]) -> bool {
    memchr::memchr_iter(part[0], value).any(|at| value[at..].starts_with(part))
}

/// Whether a value is the id of an object, such as `iauth_0Abc12D3EF45ghiJ`, and not what is asked for by its key.
fn is_object_id(value: &[u8]) -> bool {
    let prefix = run(value, 0, 10, |byte| byte.is_ascii_lowercase());
    (2..10).contains(&prefix)
        && byte(value, prefix) == b'_'
        && (20..=32).contains(&value.len())
        && value[prefix + 1..].iter().all(u8::is_ascii_alphanumeric)
}

/// Whether a field of a form has a value to hide.
fn is_filled(value: &[u8]) -> bool {
    value.len() >= 3 && !is_placeholder(value) && !is_word_of_code(value) && !value.starts_with(b"[REDACTED")
}

fn is_word_of_code(value: &[u8]) -> bool {
    #[rustfmt::skip]
const WORDS: &[&[u8]] = &[
    b"basic", b"bearer", b"changed", b"default", b"disabled", b"empty", b"enabled", b"expired", b"false", b"hidden",
    b"incorrect", b"invalid", b"missing", b"nil", b"no", b"none", b"null", b"ok", b"optional", b"password",
    b"required", b"reset", b"secret", b"str", b"string", b"text", b"token", b"true", b"type", b"undefined",
    b"unknown", b"unset", b"wrong", b"yes",
];
    WORDS.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Whether a value is one that somebody would want to hide, and not code, a template, a URL or plain words.
fn is_secret(value: &[u8], quoted: bool, strict: bool, password: bool) -> bool {
    let least = if password { 4 } else { 6 };
    let redacted = contains(value, b"[REDACTED");
    let located = contains(value, b"://");
    if value.len() < least || redacted || located || is_placeholder(value) || is_word_of_code(value) {
        return false;
    }
    if value.starts_with(b"/") && value[1..].contains(&b'/') && !password && changes_little(value) {
        return false;
    }
    let bits = gather(value);
    let spaces = value.contains(&b' ');
    let humps = bits & LOWER != 0 && value[1..].iter().any(u8::is_ascii_uppercase);
    let mixed = humps || (bits & DIGIT != 0 && bits & (LOWER | UPPER) != 0);
    let symbols = value.iter().any(|byte| !is_word(*byte) && !b"-. ".contains(byte));
    if quoted {
        return if password {
            bits & (DIGIT | LOWER | UPPER) != 0 && (!spaces || bits & DIGIT != 0 && (symbols || !is_sentence(value)))
        } else {
            (!spaces && (mixed || value.len() >= 16)) || (spaces && bits & DIGIT != 0 && !is_sentence(value))
        };
    }
    if is_code(value) {
        return false;
    }
    let long = value.len() >= 20 && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte));
    let digits = bits == DIGIT && value.len() >= 6;
    if strict {
        (mixed && !is_name(value))
            || (password && symbols)
            || (digits && password)
            || (mixed && value.len() >= 16)
            || long
    } else {
        true
    }
}

/// Whether there are words in a value that a sentence about it has, or too many words.
fn is_sentence(value: &[u8]) -> bool {
    #[rustfmt::skip]
const WORDS: &[&[u8]] = &[
    b"a", b"after", b"an", b"and", b"are", b"at", b"be", b"by", b"can", b"characters", b"chars", b"days", b"expired",
    b"expires", b"failed", b"for", b"from", b"has", b"hours", b"in", b"invalid", b"is", b"long", b"minutes", b"must",
    b"needs", b"not", b"of", b"on", b"or", b"should", b"than", b"that", b"the", b"to", b"was", b"with",
];
    let mut words = value.split(|byte| *byte == b' ');
    value.iter().filter(|byte| **byte == b' ').count() > 7
        || words.any(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

fn changes_little(value: &[u8]) -> bool {
    super::text::changes(value) < value.len() / 8
}

/// A name as code has it: letters with capitals inside, no digits, and dots between.
fn is_name(value: &[u8]) -> bool {
    gather(value) & DIGIT == 0 && value.iter().all(|byte| is_word(*byte) || b".-".contains(byte)) && value.len() < 24
}
