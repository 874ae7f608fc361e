//! Email addresses, and the addresses of Google service accounts.

use super::class::DataClass;
use super::scan::{Hit, Scan};
use super::text::{Set, before, byte, is_word, run, run_back};

/// The longest local part, and the longest domain, in bytes (RFC 5321).
const LOCAL: usize = 64;
const DOMAIN: usize = 255;

fn is_local(byte: u8) -> bool {
    static LOCAL: Set = Set::word_and(b".%+-!#$&'*?^`{|}~");
    byte >= 0x80 || LOCAL.has(byte)
}

fn is_domain(byte: u8) -> bool {
    is_word(byte) || byte >= 0x80 || byte == b'-' || byte == b'.'
}

/// The address around the `@` at `at`.
pub(super) fn find(scan: &Scan<'_>, at: usize) -> Option<Hit> {
    let (text, floor) = (scan.text, scan.floor);
    // In a URL, the `@` may be written as `%40`.
    let end = domain(text, at + if text[at] == b'%' { 3 } else { 1 })?;
    let mut start = local(text, at, floor)?;
    // What is written before the address, such as the quote that opens it.
    while start < at && !(text[start].is_ascii_alphanumeric() || text[start] >= 0x80 || b"_\"".contains(&text[start])) {
        start += 1;
    }
    // `git@host:path` and `ssh://git@host` are where a repository lives.
    let repository = || byte(text, end) == b':' || text[..start].ends_with(b"ssh://");
    let host = &text[at + 1..end];
    if start == at || (&text[start..at] == b"git" && repository()) || is_image(host) {
        return None;
    }
    let class = if host.ends_with(b"gserviceaccount.com") { DataClass::GcpServiceAccount } else { DataClass::Email };
    Some(Hit::new(start, end, class))
}

/// `icon@2x.png` is for screens with small pixels.
fn is_image(host: &[u8]) -> bool {
    let x = run(host, 0, 2, |byte| byte.is_ascii_digit());
    let kind = host.get(x + 2..).unwrap_or_default();
    let known = [&b"png"[..], b"jpg", b"jpeg", b"webp", b"gif", b"svg", b"avif"];
    x > 0
        && byte(host, x) == b'x'
        && byte(host, x + 1) == b'.'
        && known.iter().any(|one| kind.eq_ignore_ascii_case(one))
}

fn local(text: &[u8], at: usize, floor: usize) -> Option<usize> {
    if before(text, at) == b'"' {
        let open = run_back(text, at - 1, LOCAL, |byte| byte != b'"' && byte != b'\n');
        return (open > floor && before(text, open) == b'"').then(|| open - 1);
    }
    let start = run_back(text, at, LOCAL, is_local).max(floor);
    // A local part ends with neither a dot nor nothing.
    (start < at && before(text, at) != b'.').then_some(start)
}

/// The end of a domain with at least one dot and a name, not a number, behind the last; or of an address in brackets.
fn domain(text: &[u8], start: usize) -> Option<usize> {
    if byte(text, start) == b'[' {
        let end = run(text, start + 1, 64, |byte| byte.is_ascii_hexdigit() || b".:IPv".contains(&byte));
        return (byte(text, end) == b']' && end > start + 3).then_some(end + 1);
    }
    let mut end = run(text, start, DOMAIN, is_domain);
    // Letters of another script behind the last name are the sentence that goes on: `example.org。`
    let name = run_back(text, end, end - start, |byte| byte != b'.');
    let ascii = run(text, name, DOMAIN, |byte| byte.is_ascii_alphabetic());
    if ascii > name + 1 && byte(text, ascii) >= 0x80 {
        end = ascii;
    }
    while end > start && matches!(text[end - 1], b'.' | b'-') {
        end -= 1;
    }
    let domain = &text[start..end];
    let dot = domain.iter().rposition(|byte| *byte == b'.')?;
    let top = &domain[dot + 1..];
    let named = top.len() >= 2
        && (top.iter().all(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80) || top.starts_with(b"xn--"));
    (named && dot > 0 && domain[0] != b'.' && !domain.windows(2).any(|pair| pair == b"..")).then_some(end)
}
