//! Secrets without a name: long base64 and hexadecimal, AWS secret keys, passwords in URLs, private key blocks.

use super::class::DataClass;
use super::scan::{Hit, Scan};
use super::text::{
    BEYOND_HEX, DIGIT, LOWER, STANDARD, Set, UPPER, before, byte, changes, gather, is_word, run, run_back, starts_with,
};
use super::token;

/// The shortest base64 or hexadecimal that is a secret by its length alone.
const LONG: usize = 64;
/// The length of an AWS secret access key.
const AWS_SECRET: usize = 40;
/// The longest part of a URL before its host.
const USER_INFO: usize = 512;
/// What may stand in a URL before its path.
static AUTHORITY: Set = Set::until(b"/?#\"'<>\\`");

fn is_standard(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

/// The secret that starts with the word at `start`, judged by its length and how mixed it is. Each run is judged once.
pub(super) fn bare(scan: &mut Scan<'_>, start: usize) -> Option<Hit> {
    let text = scan.text;
    if !(scan.standard.start..scan.standard.end).contains(&start) {
        let end = run(text, start, usize::MAX, is_standard);
        let start = run_back(text, start, 2, |byte| byte == b'+' || byte == b'/').max(scan.floor);
        (scan.standard.start, scan.standard.end) = (start, end);
        if let Some(hit) = standard(text, start, end) {
            return Some(hit);
        }
    }
    if !(scan.url.start..scan.url.end).contains(&start) || scan.url.start == start {
        let end = token::url_safe_end(scan, start);
        if end - start >= LONG
            && is_random(&text[start..end])
            && !is_digest(text, start, end)
            && !is_chain(&text[start..end])
        {
            return Some(Hit::new(start, end, class_of(&text[start..end])));
        }
    }
    None
}

fn standard(text: &[u8], start: usize, end: usize) -> Option<Hit> {
    let stop = run(text, end, 2, |byte| byte == b'=');
    if is_word(byte(text, stop)) && stop == end || byte(text, end) == b'-' && is_word(byte(text, end + 1)) {
        return None;
    }
    if stop - start >= LONG && is_random(&text[start..end]) && !is_digest(text, start, end) {
        return Some(Hit::new(start, stop, class_of(&text[start..end])));
    }
    // What stands before the first word may belong to it or not.
    let word = run(text, start, 2, |byte| byte == b'+' || byte == b'/');
    let exact = [start, word].into_iter().find(|start| end - start == AWS_SECRET)?;
    is_aws_secret(&text[exact..end]).then(|| Hit::new(exact, end, DataClass::AwsSecret))
}

/// 40 bytes of base64, so mixed that they are neither a path nor a digest.
pub(super) fn is_aws_secret(part: &[u8]) -> bool {
    let bits = gather(part);
    let mixed = bits & (LOWER | UPPER | DIGIT) == LOWER | UPPER | DIGIT && bits & BEYOND_HEX != 0;
    part.len() == AWS_SECRET
        && mixed
        && changes(part) >= 12
        && bits & !(LOWER | UPPER | DIGIT | BEYOND_HEX | STANDARD) == 0
}

/// Whether a long run looks random: digits and letters that change often. Only the beginning is looked at.
fn is_random(part: &[u8]) -> bool {
    let part = &part[..part.len().min(256)];
    let bits = gather(part);
    // A long name may end in a number, but random text has digits all over.
    let digits = || part.iter().filter(|byte| byte.is_ascii_digit()).count() >= 3;
    bits & (LOWER | UPPER) != 0 && changes(part) >= part.len() / 8 && digits() && !is_path(part)
}

/// Whether a run is the names of folders and files, each of which is of letters or of digits.
fn is_path(part: &[u8]) -> bool {
    let pure = |name: &[u8]| name.len() < 3 || gather(name) & DIGIT == 0 || gather(name) == DIGIT;
    part.contains(&b'/') && part.split(|byte| *byte == b'/').all(pure)
}

/// Hexadecimal numbers with hyphens between them: ids of traces, UUIDs in a row.
fn is_chain(part: &[u8]) -> bool {
    part.contains(&b'-') && part.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
}

fn class_of(part: &[u8]) -> DataClass {
    let hexadecimal = part.iter().all(u8::is_ascii_hexdigit);
    if hexadecimal { DataClass::Hex } else { DataClass::Base64 }
}

/// Whether what stands before says that this is a digest: `sha512-…`, `sha256:…`, `"hash": "…"`.
fn is_digest(text: &[u8], start: usize, end: usize) -> bool {
    const NAMES: &[&[u8]] = &[
        b"sha256",
        b"sha256sum",
        b"sha512sum",
        b"sha384",
        b"sha512",
        b"hash",
        b"digest",
        b"checksum",
        b"fingerprint",
        b"etag",
        b"integrity",
        b"sha",
        b"btmh",
    ];
    let named = |end: usize| {
        let start = run_back(text, end, 24, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let name = text[start..end].to_ascii_lowercase();
        NAMES.iter().any(|known| name.ends_with(known))
    };
    let inner = run(text, start, 12, |byte| byte.is_ascii_alphanumeric());
    let prefixed = inner < end && text[inner] == b'-' && named(inner);
    let outer = run_back(text, start, 6, |byte| b" :=\"'@-".contains(&byte));
    let hexadecimal = text[start..end].iter().take(160).all(u8::is_ascii_hexdigit);
    prefixed || (outer < start && named(outer) && (hexadecimal || before(text, start) == b'-'))
}

/// The password between `://user:` and `@`, where `start` is behind `://`; or a token that is used as a user.
pub(super) fn url_password(scan: &Scan<'_>, start: usize) -> Option<Hit> {
    let text = scan.text;
    let stop = run(text, start, USER_INFO, |byte| AUTHORITY.has(byte));
    let mut at = text[start..stop].iter().rposition(|byte| *byte == b'@').map(|at| start + at);
    let goes_on = matches!(byte(text, stop), b'/' | b'?' | b'#') && stop > start;
    if goes_on && at.is_none_or(|at| is_bare(&text[at + 1..stop])) {
        at = with_slash(text, start, stop, at).or(at);
    }
    let at = at?;
    let colon = text[start..at].iter().position(|byte| *byte == b':').map(|colon| start + colon);
    let Some(colon) = colon else {
        let user = &text[start..at];
        let token = user.len() >= 20
            && gather(user) & DIGIT != 0
            && user.iter().all(|byte| is_word(*byte) || b"-._~".contains(byte));
        return (token && !known_form(user)).then(|| Hit::new(start, at, DataClass::UrlPassword));
    };
    let password = &text[colon + 1..at];
    (!password.is_empty() && !is_placeholder(password)).then(|| Hit::new(colon + 1, at, DataClass::UrlPassword))
}

/// Whether the user of a URL is a token that has a class of its own.
fn known_form(user: &[u8]) -> bool {
    user.starts_with(b"gh") || user.starts_with(b"glpat-")
}

/// Whether what stands behind an `@` is hardly a host: it has no dot, no port and no digits.
fn is_bare(host: &[u8]) -> bool {
    host.len() < 3 && host.iter().all(u8::is_ascii_alphabetic)
}

/// The `@` behind a password that has a `/`, `?` or `#` in it at `slash`: what stands before is then no port. `first` is an
/// `@` before it.
fn with_slash(text: &[u8], start: usize, slash: usize, first: Option<usize>) -> Option<usize> {
    let colon = text[start..slash].iter().position(|byte| *byte == b':')? + start;
    if text[colon + 1..slash].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let stop = run(text, slash, 64, |byte| byte > b' ' && !b"\"'<>\\`:".contains(&byte));
    let at = text[slash..stop].iter().position(|byte| *byte == b'@').map(|at| slash + at)?;
    if memchr::memmem::find(&text[colon..stop], b"[REDACTED").is_some() {
        return None;
    }
    // The last one before the path.
    let stop = run(text, at, stop - at, |byte| !b"/?#".contains(&byte));
    let at = text[at..stop].iter().rposition(|byte| *byte == b'@').map_or(at, |last| at + last);
    (first.is_none() || text[at..stop].contains(&b'.')).then_some(at)
}

/// Whether a value stands for another: `$PASSWORD`, `${…}`, `{{…}}`, `<password>`, `%s`, `****`.
pub(super) fn is_placeholder(value: &[u8]) -> bool {
    let name = |rest: &[u8]| !rest.is_empty() && rest.iter().all(|byte| is_word(*byte) || b".:-".contains(byte));
    match value {
        [b'$', b'{' | b'(', ..] | [b'{', b'{', ..] | [b'%', b'{' | b'(', ..] | [b'#', b'{', ..] | [b'$', b'$', ..] => {
            true
        }
        [b'(', .., b')'] | [b'<', .., b'>'] | [b'{', .., b'}'] | [b'%', .., b'%'] | [b'[', .., b']'] => true,
        [b'$', rest @ ..] => name(rest) && !rest.iter().any(|byte| byte.is_ascii_digit() && rest.len() > 12),
        [b'%', b's' | b'd' | b'v'] => true,
        [first, rest @ ..] => {
            b"*.x#X-_?=\xE2".contains(first) && rest.iter().all(|byte| byte == first || *first == 0xE2 && *byte >= 0x80)
        }
        [] => true,
    }
}

/// A private key block whose `-----BEGIN` may be at `start`: up to its `-----END`, or, where it was cut off, as far as it
/// may go.
pub(super) fn private_key(scan: &mut Scan<'_>, start: usize) -> Option<Hit> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let text = scan.text;
    if !text[start..].starts_with(BEGIN) {
        return None;
    }
    let head = start + BEGIN.len();
    let label = run(text, head, 48, |byte| byte.is_ascii_uppercase() || byte == b' ');
    if !text[head..label].windows(11).any(|part| part == b"PRIVATE KEY") || !text[label..].starts_with(b"-----") {
        return None;
    }
    let body = label + 5;
    let found = if scan.endless { None } else { memchr::memmem::find(&text[body..], b"-----END ") };
    let Some(found) = found else {
        scan.endless = true;
        let end =
            run(text, body, usize::MAX, |byte| byte.is_ascii_alphanumeric() || b"+/=\\\r\n\t :,-.".contains(&byte));
        return Some(Hit::new(start, end, DataClass::PrivateKey));
    };
    let label = run(text, body + found + 9, 48, |byte| byte.is_ascii_uppercase() || byte == b' ');
    Some(Hit::new(start, run(text, label, 5, |byte| byte == b'-'), DataClass::PrivateKey))
}

/// Whether a value is written in code, not in the clear: a call, a path of names, an environment variable.
pub(super) fn is_code(value: &[u8]) -> bool {
    #[rustfmt::skip]
const STARTS: &[&[u8]] = &[
    b"config.", b"env.", b"env[", b"getenv", b"os.environ", b"os.getenv", b"params", b"process.env", b"request.",
    b"secrets.", b"self.", b"this.", b"var.",
];
    let call = value.iter().position(|byte| *byte == b'(' || *byte == b'[').is_some_and(|open| {
        open > 0
            && value[..open].iter().all(|byte| is_word(*byte) || b".:&*!".contains(byte))
            && gather(&value[..open]) & DIGIT == 0
    });
    call || STARTS.iter().any(|start| starts_with(value, 0, start))
}
