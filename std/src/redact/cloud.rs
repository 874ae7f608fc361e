//! Names, keys and tokens of AWS and Google.

use super::class::DataClass;
use super::scan::{Hit, Scan};
use super::text::{byte, is_word, run};

fn is_url_safe(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

/// What starts with the word from `start` to `end`, if it is one of theirs.
pub(super) fn find(scan: &mut Scan<'_>, start: usize, end: usize) -> Option<Hit> {
    let (text, length) = (scan.text, end - start);
    let part = &text[start..];
    match part[0] {
        b'A' if length == 20 && is_access_key(&part[..20]) => Some(Hit::new(start, end, DataClass::AwsAccessKey)),
        b'A' if part.starts_with(b"AIza") => api_key(text, start),
        b'a' if part.starts_with(b"arn:") => arn(text, start),
        b'y' if part.starts_with(b"ya29.") => long(text, start, start + 5, 20, DataClass::GcpOauth),
        b'G' if part.starts_with(b"GOCSPX-") => long(text, start, start + 7, 20, DataClass::GcpOauth),
        b'1' if part.starts_with(b"1//0") => long(text, start, start + 4, 30, DataClass::GcpOauth),
        _ => None,
    }
}

/// `AKIA…` and its kin: four letters that say what it is, and 16 letters and digits.
fn is_access_key(word: &[u8]) -> bool {
    let kind =
        [&b"AKIA"[..], b"ASIA", b"ABIA", b"ACCA"].iter().any(|kind| word.starts_with(kind)) || word.starts_with(b"A3T");
    kind && word.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

/// `AIza` and 35 more. Shorter ones by a few are redacted as well: somebody cut them off.
fn api_key(text: &[u8], start: usize) -> Option<Hit> {
    let end = run(text, start, 64, is_url_safe);
    (34..=45).contains(&(end - start)).then(|| Hit::new(start, end, DataClass::GcpApiKey))
}

fn long(text: &[u8], start: usize, rest: usize, least: usize, class: DataClass) -> Option<Hit> {
    let end = run(text, rest, usize::MAX, |byte| is_url_safe(byte) || byte == b'.');
    let end = if byte(text, end.wrapping_sub(1)) == b'.' { end - 1 } else { end };
    (end >= rest + least).then(|| Hit::new(start, end, class))
}

/// `arn:partition:service:region:account:resource`.
fn arn(text: &[u8], start: usize) -> Option<Hit> {
    let (mut at, mut colons) = (start, 0);
    // Partition, service, region and account are short.
    while colons < 5 {
        at = run(text, at, 48, |byte| is_url_safe(byte) || byte == b'*');
        if byte(text, at) != b':' {
            return None;
        }
        (at, colons) = (at + 1, colons + 1);
    }
    let mut end = run(text, at, 1024, |byte| is_url_safe(byte) || b"+=,.@:/*$?#~%!".contains(&byte));
    while end > at && b",.:?!;#".contains(&text[end - 1]) {
        end -= 1;
    }
    (text[start + 4..].starts_with(b"aws") && end > at).then(|| Hit::new(start, end, DataClass::AwsArn))
}
