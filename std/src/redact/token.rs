//! Tokens that are known by how they start, and what stands behind `Bearer` and `Basic`.

use super::class::DataClass;
use super::scan::{Hit, Scan};
use super::text::{DIGIT, LOWER, Set, UPPER, before, byte, gather, is_word, run};
use super::{cloud, provider};

/// What `Bearer` takes (RFC 6750).
static TOKEN: Set = Set::word_and(b"-.~+/");

fn is_url_safe(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

/// What starts with the word from `start` to `end`, if it is a token of a known form.
pub(super) fn find(scan: &mut Scan<'_>, start: usize, end: usize) -> Option<Hit> {
    let part = &scan.text[start..];
    let found = match part[0] {
        b'A' | b'a' | b'G' | b'y' => cloud::find(scan, start, end),
        b'g' => github(scan, start, end).or_else(|| gitlab(scan, start)),
        b'x' => slack(scan, start),
        b'h' if part.starts_with(b"hooks.slack.com/") => slack_hook(scan.text, start + 16),
        b'h' if part.starts_with(b"hooks.slack-gov.com/") => slack_hook(scan.text, start + 20),
        b'e' if part.starts_with(b"ek_") => stripe(scan.text, start, end),
        b'e' | b'Z' => jwt(scan, start),
        b's' | b'r' | b'p' | b'w' => stripe(scan.text, start, end),
        _ => None,
    };
    found.or_else(|| provider::find(scan, start))
}

/// The end of the run of URL-safe base64 around `start`; each run is walked once.
pub(super) fn url_safe_end(scan: &mut Scan<'_>, start: usize) -> usize {
    if !(scan.url.start..scan.url.end).contains(&start) {
        scan.url.start = start;
        scan.url.end = run(scan.text, start, usize::MAX, is_url_safe);
    }
    scan.url.end
}

/// `ghp_`, `gho_`, `ghu_`, `ghs_`, `ghr_` and at least 30 more; `github_pat_`. A `ghs_` token may be a JSON web token behind.
fn github(scan: &Scan<'_>, start: usize, end: usize) -> Option<Hit> {
    let part = &scan.text[start..end];
    let classic = part.starts_with(b"gh") && part.get(3) == Some(&b'_') && b"pousr".contains(&part[2]);
    let rest = if classic { 4 } else { 11 };
    if !classic && !part.starts_with(b"github_pat_") || part.len() < rest + 30 {
        return None;
    }
    let dotted = |at: usize| byte(scan.text, at) == b'.' && run(scan.text, at + 1, 16, is_url_safe) > at + 15;
    let mut end = end;
    while classic && dotted(end) {
        end = run(scan.text, end + 1, usize::MAX, is_url_safe);
    }
    Some(Hit::new(start, end, DataClass::GithubToken))
}

/// `glpat-` and its kin, and at least 20 more.
fn gitlab(scan: &mut Scan<'_>, start: usize) -> Option<Hit> {
    #[rustfmt::skip]
const KINDS: &[&[u8]] = &[
    b"glagent-", b"glcbt-", b"gldt-", b"glffct-", b"glft-", b"glimt-", b"gloas-", b"glpat-", b"glptt-", b"glrt-",
    b"glrtr-", b"glsoat-", b"glwt-",
];
    let part = &scan.text[start..];
    let kind = KINDS.iter().find(|kind| part.starts_with(kind))?;
    let mut end = url_safe_end(scan, start);
    // Routable tokens go on behind dots: `.01.` and a checksum.
    let mut more = run(scan.text, end + 1, 16, is_url_safe);
    while byte(scan.text, end) == b'.' && more > end + 1 {
        end = more;
        more = run(scan.text, end + 1, 16, is_url_safe);
    }
    (end >= start + kind.len() + 20).then(|| Hit::new(start, end, DataClass::GitlabToken))
}

/// `xoxb-…`, `xoxp-…`, `xoxe.xoxp-…`, `xapp-…`, with digits somewhere.
fn slack(scan: &mut Scan<'_>, start: usize) -> Option<Hit> {
    let part = &scan.text[start..];
    let head = match part {
        [b'x', b'o', b'x', b'e', b'.', b'x', b'o', b'x', _, b'-', ..] => 10,
        [b'x', b'o', b'x', kind, b'-', ..] if b"abcdeoprs".contains(kind) => 5,
        [b'x', b'a', b'p', b'p', b'-', ..] => 5,
        _ => return None,
    };
    if is_url_safe(before(scan.text, start)) && start > scan.floor {
        return None;
    }
    let end = url_safe_end(scan, start + head);
    let long = end >= start + head + 10;
    let rest = &scan.text[start + head..end.min(start + head + 64)];
    (long && gather(rest) & DIGIT != 0).then(|| Hit::new(start, end, DataClass::SlackToken))
}

/// The path of a webhook, which starts at `start`, is what lets anybody post.
fn slack_hook(text: &[u8], start: usize) -> Option<Hit> {
    let path = run(text, start, 16, |byte| byte.is_ascii_alphabetic());
    let known = [&b"services"[..], b"workflows", b"triggers"].contains(&&text[start..path]);
    let end = run(text, path + 1, 256, |byte| is_url_safe(byte) || byte == b'/');
    (known && byte(text, path) == b'/' && end > path + 20).then(|| Hit::new(path + 1, end, DataClass::SlackToken))
}

/// `eyJ…`: two or more parts of URL-safe base64 with dots between them, the first two of which start as JSON does. The
/// signature may be missing or empty. An encoded one starts with `ZXlK`.
fn jwt(scan: &mut Scan<'_>, start: usize) -> Option<Hit> {
    let text = scan.text;
    if text[start..].starts_with(b"ZXlK") {
        let end = run(text, start, usize::MAX, |byte| byte.is_ascii_alphanumeric() || b"+/_-=".contains(&byte));
        return (end >= start + 60).then(|| Hit::new(start, end, DataClass::Jwt));
    }
    if !text[start..].starts_with(b"ey") || (before(text, start) == b'-' && is_word(before(text, start - 1))) {
        return None;
    }
    let first = url_safe_end(scan, start);
    let whole = text[start..].starts_with(b"eyJ");
    if byte(text, first) != b'.' || first < start + if whole { 10 } else { 18 } {
        return None;
    }
    let is_part = |byte: u8| is_url_safe(byte) || byte == b'/' || byte == b'\\';
    let second = run(text, first + 1, usize::MAX, is_part);
    // An empty payload is short, but has a signature behind it.
    let signed = whole && byte(text, second) == b'.' && run(text, second + 1, 16, is_part) == second + 17;
    if (second < first + 9 && !signed) || (!text[first + 1..].starts_with(b"ey") && !whole) {
        return None;
    }
    let mut end = second;
    for _ in 0..3 {
        if byte(text, end) != b'.' {
            break;
        }
        end = run(text, end + 1, usize::MAX, is_part);
    }
    end = run(text, end, 2, |byte| byte == b'=');
    // A dot at the end of a sentence is not an empty signature, except right behind the second part.
    Some(Hit::new(start, end, DataClass::Jwt))
}

/// `sk_live_…`, `rk_test_…`, `whsec_…`, and the secret of a payment intent.
fn stripe(text: &[u8], start: usize, end: usize) -> Option<Hit> {
    let word = &text[start..end];
    let head = match word {
        [b's' | b'r' | b'p' | b'e', b'k', b'_', rest @ ..] => {
            let mode = [&b"test_"[..], b"live_", b"prod_", b"org_live_", b"org_test_"]
                .into_iter()
                .find(|mode| rest.starts_with(mode))?;
            3 + mode.len()
        }
        [b'w', b'h', b's', b'e', b'c', b'_', ..] => 6,
        [b's' | b'p', ..] if word.windows(8).any(|part| part == b"_secret_") && gather(word) & DIGIT != 0 => 20,
        _ => return None,
    };
    let mut end = end;
    if head == 6 {
        // The secret of a webhook is base64 where others than Stripe make it.
        end = run(text, end, 64, |byte| is_word(byte) || b"+/".contains(&byte));
        end = run(text, end, 2, |byte| byte == b'=');
    }
    (end - start >= head + 10).then(|| Hit::new(start, end, DataClass::StripeKey))
}

/// What stands behind the word from `start` to `end`, if that is `Bearer` or `Basic`.
pub(super) fn scheme(text: &[u8], start: usize, end: usize) -> Option<Hit> {
    let word = &text[start..end];
    let bearer = word.len() == 6 && word.eq_ignore_ascii_case(b"bearer");
    let basic = word.len() == 5 && word.eq_ignore_ascii_case(b"basic");
    if !(bearer || basic) {
        return None;
    }
    let value = run(text, end, 4, |byte| b" :\t".contains(&byte));
    let belongs = |byte: u8| TOKEN.has(byte) || (bearer && byte == b':');
    let stop = run(text, value, usize::MAX, belongs);
    let stop = run(text, stop, 2, |byte| byte == b'=');
    let found = &text[value..stop];
    let bits = gather(&found[..found.len().min(256)]);
    let mixed =
        bits & DIGIT != 0 || (bits & UPPER != 0 && bits & LOWER != 0 && found[1..].iter().any(u8::is_ascii_uppercase));
    let headed = is_header(text, start);
    let least = if headed {
        4
    } else if bearer {
        8
    } else {
        12
    };
    let class = if bearer { DataClass::Bearer } else { DataClass::BasicAuth };
    (value > end && found.len() >= least && (mixed || headed || found.len() >= 16))
        .then(|| Hit::new(value, stop, class))
}

/// Whether `Authorization:`, or another header of its kind, stands before.
fn is_header(text: &[u8], start: usize) -> bool {
    let end = start - text[..start].iter().rev().take(6).take_while(|byte| b" :=\"'\t".contains(byte)).count();
    let head = &text[end.saturating_sub(13)..end];
    end < start && (head.eq_ignore_ascii_case(b"authorization") || head.to_ascii_lowercase().ends_with(b"auth"))
}

/// `curl -u user:password` and `--user user:password`, where the `-` before `u` is at `at`.
pub(super) fn user_option(text: &[u8], at: usize) -> Option<Hit> {
    let name = if text[at..].starts_with(b"-user") { 5 } else { 2 };
    let ahead = &text[at.saturating_sub(160)..at];
    let called =
        memchr::memchr_iter(b'c', ahead).any(|at| ahead[at..].starts_with(b"curl ")) || ahead.ends_with(b"-user");
    let quote = run(text, at + name, 2, |byte| byte == b' ' || byte == b'=');
    let start = run(text, quote, 1, |byte| byte == b'"' || byte == b'\'');
    if !called || start == at + name {
        return None;
    }
    let end = run(text, start, 160, |byte| byte > b' ' && byte != b'"' && byte != b'\'');
    let colon = text[start..end].iter().position(|byte| *byte == b':')?;
    let parts = [&text[start..start + colon], &text[start + colon + 1..end]];
    let real = parts.iter().all(|part| {
        !part.starts_with(b"$") && !part.starts_with(b"{") && !part.starts_with(b"<") && !part.starts_with(b"[")
    });
    (real && end > start + 4).then(|| Hit::new(start, end, DataClass::BasicAuth))
}
