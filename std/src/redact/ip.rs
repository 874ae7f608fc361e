//! IP addresses and hardware addresses.

use std::net::Ipv6Addr;

use super::class::DataClass;
use super::scan::{Hit, Scan};
use super::text::{before, byte, is_word, run, run_back, starts_with};

/// As many parts as are read of numbers with dots between them.
const PARTS: usize = 6;

/// The end of the IPv4 address at `start`: four numbers up to 255. A fifth is taken along; more are something else.
pub(super) fn v4(text: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut end, mut parts) = (start, start, 0);
    while parts < PARTS {
        let stop = run(text, at, 4, |byte| byte.is_ascii_digit());
        let value = text[at..stop].iter().fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
        if stop - at > 3 || value > 255 {
            return None;
        }
        (end, parts) = (stop, parts + 1);
        if byte(text, stop) != b'.' || !byte(text, stop + 1).is_ascii_digit() {
            break;
        }
        at = stop + 1;
    }
    // `1.2.3.4-beta` is a version.
    let stage =
        [&b"-alpha"[..], b"-beta", b"-rc", b"-snapshot", b"-pre"].iter().any(|stage| starts_with(text, end, stage));
    let whole = (4..=5).contains(&parts) && !is_word(byte(text, end)) && !stage;
    (whole && v4_stands_alone(text, start)).then_some(end)
}

/// Whether what stands before makes it a version: `Chrome/120.0.0.0`, `version 1.2.3.4`, or the rest of a longer one.
fn v4_stands_alone(text: &[u8], start: usize) -> bool {
    let joint = before(text, start);
    if joint == b'.' || joint == b'-' && before(text, start - 1).is_ascii_alphabetic() {
        return false;
    }
    let end = run_back(text, start, 4, |byte| b" :=/@(\"'".contains(&byte));
    let word = &text[run_back(text, end, 12, |byte| byte.is_ascii_alphabetic())..end];
    let product = joint == b'/' && word.first().is_some_and(u8::is_ascii_uppercase);
    #[rustfmt::skip]
const VERSION: &[&[u8]] = &[
    b"build", b"chapter", b"driver", b"firmware", b"gem", b"oid", b"patch", b"release", b"rev", b"revision",
    b"section", b"v", b"ver",
];
    let version = word.len() >= 7 && word[word.len() - 7..].eq_ignore_ascii_case(b"version");
    !product && !version && !VERSION.iter().any(|known| word.eq_ignore_ascii_case(known))
}

fn is_v6(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || byte == b':' || byte == b'.'
}

/// The longest text form of an IPv6 address, with an IPv4 address at its end.
const V6: usize = 45;

/// The address, IPv6 or hardware, that starts at `start`, which is at a hexadecimal digit or at `::`.
pub(super) fn with_colons(scan: &mut Scan<'_>, start: usize) -> Option<Hit> {
    let text = scan.text;
    if start < scan.colons {
        return None;
    }
    let mut end = run(text, start, V6 + 2, is_v6);
    if end > start + V6 + 1 {
        // No address is as long: nothing in this run is one.
        scan.colons = run(text, end, usize::MAX, is_v6);
        return None;
    }
    while end > start && (text[end - 1] == b'.' || (text[end - 1] == b':' && byte(text, end.wrapping_sub(2)) != b':')) {
        end -= 1;
    }
    if is_word(byte(text, end)) || !starts_alone(text, start) {
        return None;
    }
    let part = &text[start..end];
    let colons = part.iter().filter(|byte| **byte == b':').count();
    if colons == 5 && is_mac(part) {
        return Some(Hit::new(start, end, DataClass::Mac));
    }
    let short = part.windows(2).any(|pair| pair == b"::");
    let dotted = part.contains(&b'.');
    let shaped = colons >= 2 && (short || colons == 7 || (colons == 6 && dotted));
    if !shaped || !part.iter().any(u8::is_ascii_digit) || !parses(part, dotted) {
        return None;
    }
    let zone = run(text, end + 1, 16, |byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let end = if byte(text, end) == b'%' && zone > end + 1 { zone } else { end };
    Some(Hit::new(start, end, DataClass::Ipv6))
}

/// Whether no further group stands before: `source:` is a name, but the `2:` of `2::1` belongs to a longer run.
fn starts_alone(text: &[u8], start: usize) -> bool {
    let joint = before(text, start);
    if text[start] == b':' && is_word(joint) {
        // Something glued to `::ffff:192.0.2.1`; the IPv4 address in it is found by itself.
        return false;
    }
    let groups = run_back(text, start, 8, is_v6);
    !is_word(joint) && (joint != b':' || (groups + 1 < start && is_word(before(text, groups))))
}

fn parses(part: &[u8], dotted: bool) -> bool {
    let Ok(text) = std::str::from_utf8(part) else { return false };
    if !dotted {
        return text.parse::<Ipv6Addr>().is_ok();
    }
    // Leading zeros in the IPv4 part are common, and refused by the parser.
    let Some(colon) = text.rfind(':') else { return false };
    v4(part, colon + 1) == Some(part.len()) && format!("{}0.0.0.0", &text[..=colon]).parse::<Ipv6Addr>().is_ok()
}

fn is_mac(part: &[u8]) -> bool {
    part.len() == 17
        && part
            .iter()
            .enumerate()
            .all(|(at, byte)| if at % 3 == 2 { *byte == part[2] } else { byte.is_ascii_hexdigit() })
}

/// The end of a hardware address with hyphens.
pub(super) fn mac_with_hyphens(text: &[u8], start: usize) -> Option<usize> {
    let part = text.get(start..start + 17).filter(|part| part[2] == b'-')?;
    let ends = |byte: u8| !is_word(byte) && byte != b'-';
    (is_mac(part) && ends(byte(text, start + 17)) && before(text, start) != b'-').then_some(start + 17)
}
