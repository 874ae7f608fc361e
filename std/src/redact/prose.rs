//! Secrets that no `=` leads to: `the password is …`, `IDENTIFIED BY '…'`, `--token …`, `sshpass -p …`, and the string
//! behind a name in an array.

use super::class::DataClass;
use super::keys::{self, Kind};
use super::scan::Hit;
use super::secret::{is_code, is_placeholder};
use super::text::{DIGIT, LOWER, Set, UPPER, before, byte, changes, gather, is_word, run, run_back, starts_with};

/// As much of a value as is looked at.
const VALUE: usize = 256;
/// How far before an option the name of its command may stand.
const COMMAND: usize = 128;

/// What goes on as a value without quotes.
static BARE: Set = Set::until(b"\"'`;,<>|");

/// What the word from `start` to `end` leads to.
pub(super) fn find(text: &[u8], start: usize, end: usize) -> Option<Hit> {
    if byte(text, end) != b' ' {
        return None;
    }
    let word = &text[start..end];
    match word {
        [b'p' | b'P', b'a' | b'A', b's' | b'S', b's' | b'S', ..] if is_password(word) => said(text, end, true),
        [b'b' | b'B', b'y' | b'Y'] => identified(text, start, end),
        [b'k' | b'K', b'e' | b'E', b'y' | b'Y'] if is_named_key(text, start) => said(text, end, false),
        _ if is_any(word, &[b"secret", b"token"]) => said(text, end, false),
        _ if is_any(word, &[b"requirepass", b"masterauth"]) => said(text, end, true),
        _ => None,
    }
}

fn is_any(word: &[u8], known: &[&[u8]]) -> bool {
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
}

fn is_password(word: &[u8]) -> bool {
    is_any(word, &[b"password", b"passwd", b"passphrase", b"passcode", b"passwort"])
}

/// Whether this `key` is an `api key` or a `secret key`, or that of a service that is named.
fn is_named_key(text: &[u8], start: usize) -> bool {
    let end = run_back(text, start, 1, |byte| byte == b' ');
    let named = run_back(text, end, 16, |byte| byte.is_ascii_alphabetic());
    let name = &text[named..end];
    let of_service = || keys::is_service(name);
    end < start
        && (is_any(name, &[b"api", b"secret", b"access", b"private", b"signing", b"encryption"]) || of_service())
}

/// The value behind a word that names a secret, and behind `is` and the like if they stand there.
fn said(text: &[u8], end: usize, password: bool) -> Option<Hit> {
    const LINKS: &[&[u8]] = &[b"is", b"was", b"to", b"be", b"->", b"is:", b"was:"];
    let (mut at, mut linked) = (end + 1, false);
    for words in 0..4 {
        let stop = run(text, at, 16, |byte| byte > b' ');
        let word = &text[at..stop];
        if byte(text, stop) != b' ' {
            break;
        }
        // `for bob is`, `has been changed to`: a few plain words may stand between.
        let between = words == 0 && is_any(word, &[b"for", b"of", b"has", b"changed", b"set", b"entered:"]);
        if !is_any(word, LINKS) && !between && (words == 0 || linked || words == 3) {
            break;
        }
        linked = is_any(word, LINKS) || word.ends_with(b":");
        if !linked && !word.iter().all(u8::is_ascii_alphabetic) {
            return None;
        }
        at = stop + 1;
        if linked && byte(text, at) != b':' && !starts_with(text, at, b"is ") {
            break;
        }
    }
    let between = at > end + 1;
    if between && !linked {
        return None;
    }
    let (start, stop, quoted) = value(text, at)?;
    let value = &text[start..stop];
    let least = match (password, linked) {
        (true, _) => 4,
        (false, true) => 6,
        (false, false) => 8,
    };
    let good = value.len() >= least
        && (is_strong(value, if linked || quoted { 1 } else { 2 }) || (quoted && password && is_plain_word(value)));
    // Without `is`, only what is much longer than a name is the value of a token.
    (good && (password || linked || quoted || value.len() >= 16)).then(|| Hit::new(start, stop, DataClass::Secret))
}

fn is_plain_word(value: &[u8]) -> bool {
    value.len() <= 64 && value.iter().all(|byte| byte.is_ascii_alphanumeric()) && !is_placeholder(value)
}

/// `IDENTIFIED BY '…'`, and `IDENTIFIED WITH … BY '…'`.
fn identified(text: &[u8], start: usize, end: usize) -> Option<Hit> {
    let quote = run(text, end, 4, |byte| byte == b' ' || byte == b'\\');
    if !matches!(byte(text, quote), b'\'' | b'"') {
        return None;
    }
    let ahead = &text[start.saturating_sub(COMMAND)..start];
    let named = memchr::memchr2_iter(b'i', b'I', ahead).any(|at| starts_with(ahead, at, b"identified "));
    let (start, stop, _) = value(text, quote).filter(|_| named)?;
    (stop > start + 3 && !is_placeholder(&text[start..stop])).then(|| Hit::new(start, stop, DataClass::Secret))
}

/// The value at `at`: where it starts and ends, and whether it is in quotes. A marker in it is its end.
fn value(text: &[u8], at: usize) -> Option<(usize, usize, bool)> {
    let (start, stop, quoted) = written(text, at)?;
    let marker = memchr::memmem::find(&text[start..stop], b"[REDACTED");
    let stop = marker.map_or(stop, |marker| start + marker);
    (stop > start).then_some((start, stop, quoted && marker.is_none()))
}

fn written(text: &[u8], at: usize) -> Option<(usize, usize, bool)> {
    let escaped = run(text, at, 3, |byte| byte == b'\\');
    let quote = byte(text, escaped);
    if matches!(quote, b'"' | b'\'' | b'`') {
        let start = escaped + 1;
        let stop = run(text, start, VALUE, |byte| byte != quote && byte != b'\n' && byte != b'\\' && byte != b' ');
        return (byte(text, stop) == quote || byte(text, stop) == b'\\').then_some((start, stop, true));
    }
    let mut stop = run(text, at, VALUE, |byte| BARE.has(byte));
    while stop > at + 1 && b")]}.:!?\\".contains(&text[stop - 1]) {
        stop -= 1;
    }
    (stop > at).then_some((at, stop, false))
}

/// Whether a value looks made to be hidden: digits among its letters, or signs that no word has.
fn is_strong(value: &[u8], least: usize) -> bool {
    let bits = gather(value);
    let located = value.contains(&b'/') && (value[0] == b'/' || value.windows(3).any(|part| part == b"://"));
    if is_placeholder(value) || is_code(value) || located || value.starts_with(b"[REDACTED") || value[0] == b'-' {
        return false;
    }
    let letters = bits & (LOWER | UPPER) != 0;
    let signs = value.iter().any(|byte| !is_word(*byte) && !b"-.,:()/+=".contains(byte));
    let digits = bits & DIGIT != 0;
    let algorithm = [&b"sha"[..], b"md5", b"pbkdf", b"base", b"oauth", b"utf", b"argon", b"v"]
        .iter()
        .any(|known| starts_with(value, 0, known) && value.len() < 12 && changes(value) < 2);
    letters
        && !algorithm
        && ((digits && (changes(value) >= least || least == 1 && value.len() >= 8)) || (signs && value.len() >= 6))
}

/// The value behind an option that names a secret, `--password …`, where the first hyphen is at `at`.
pub(super) fn option(text: &[u8], at: usize) -> Option<Hit> {
    let end = run(text, at + 2, 40, |byte| is_word(byte) || byte == b'-' || byte == b'.');
    if byte(text, end) != b' ' || end < at + 5 {
        return None;
    }
    let kind = keys::kind(&text[at + 2..end]);
    if !kind.is_secret() {
        return None;
    }
    let (start, stop, quoted) = value(text, end + 1)?;
    let value = &text[start..stop];
    let least = if kind == Kind::Password { 4 } else { 6 };
    let good = value.len() >= least && (is_strong(value, 1) || (quoted && is_plain_word(value)));
    good.then(|| Hit::new(start, stop, DataClass::Secret))
}

/// `ENV API_KEY …` in a Dockerfile, `aws configure set aws_secret_access_key …`: the name goes from `start` to `end`.
pub(super) fn set(text: &[u8], start: usize, end: usize) -> Option<Hit> {
    let ahead = &text[..start];
    if byte(text, end) != b' ' || !(ahead.ends_with(b"ENV ") || ahead.ends_with(b" set ")) {
        return None;
    }
    let kind = keys::kind(&text[start..end]);
    let (start, stop, _) = if kind.is_secret() { value(text, end + 1)? } else { return None };
    (stop > start + 5 && is_strong(&text[start..stop], 1)).then(|| Hit::new(start, stop, DataClass::Secret))
}

/// What `sshpass -p`, `docker login -p`, `mysql -p…` and `redis-cli -a` take; the hyphen is at `at`.
pub(super) fn short_option(text: &[u8], at: usize) -> Option<Hit> {
    if before(text, at) != b' ' {
        return None;
    }
    let ahead = &text[at.saturating_sub(COMMAND)..at];
    let called = |name: &[u8]| memchr::memchr_iter(name[0], ahead).any(|at| ahead[at..].starts_with(name));
    let spaced = byte(text, at + 2) == b' ';
    let takes = match text[at + 1] {
        b'p' if spaced => {
            called(b"sshpass ") || called(b"mongo") || called(b"docker login ") || called(b"podman login ")
        }
        b'p' => called(b"mysql") || called(b"sshpass ") || called(b"mariadb"),
        _ => spaced && called(b"redis-cli "),
    };
    let (start, stop, _) = if takes { value(text, at + 2 + usize::from(spaced))? } else { return None };
    let value = &text[start..stop];
    let good = value.len() >= 4 && !is_placeholder(value) && gather(value) & (LOWER | UPPER | DIGIT) != 0;
    (good && value[0] != b'-').then(|| Hit::new(start, stop, DataClass::Secret))
}

/// What a string in an array is, where the one before it says `kind`: `["Authorization", "…"]`, `["--token", "…"]`.
pub(super) fn follows(kind: Kind, text: &[u8]) -> Kind {
    let strong = kind.is_secret() && text.len() >= 6 && !text.contains(&b' ') && is_strong(text, 2);
    if strong { kind } else { Kind::Plain }
}
