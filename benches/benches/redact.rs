//! Redaction of prose, of dense lines, of lines of the audit log and of hostile texts, in bytes a second, beside a
//! `RegexSet` of comparable patterns that only says which of them match, and then replaces what they match.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use nervebus::Redactor;
use nervebus_benches::{Group, group, run};
use regex::bytes::{Regex, RegexSet};

const PROSE: &str = "The quick brown fox jumps over the lazy dog, while the rain in Spain falls mainly in the plain. In 1988 \
    nobody minded: it was Monday, and there were 42 of them (or so they said) in \"the old house\".\n";
const DENSE: &str = "maria.silva@example.org paid with 4556-7375-8689-9855 from 203.0.113.7, call (212) 555-0187 or \
    +44 20 7946 0018; SSN 219-09-9998, token ghp_16C7e42F292c6912E7710c838347Ae178B4a, password=hunter2\n";
const AUDIT: &str = "{\"event_type\":\"order.placed\",\"payload\":{\"order_no\":81106812,\"sku\":\"SKU-77\",\"quantity\":2,\"total\":19.9,\
    \"note\":\"leave it at the door\",\"customer\":{\"id\":4711,\"email\":\"maria@example.org\"}},\"timestamp\":1700000000.25,\
    \"event_id\":\"7f1c2f8e-6a55-4f0e-9c3b-0a1b2c3d4e5f\",\"source\":\"shop\",\"correlation_id\":\"c-4711\"}";
const HOSTILE: &[(&str, &str)] = &[
    ("a", "a"),
    ("digits", "1234567890"),
    ("1-1-1-", "1-1-1-"),
    ("1:1:", "1:1:"),
    ("://a", "://a"),
    ("at", "@"),
    ("eyJ", "eyJ"),
    ("begin", "-----BEGIN "),
    ("key=", "key="),
    ("token=", "token="),
    ("xoxb-", "xoxb-"),
    ("quotes", "{\\\"a\\\":\\\""),
];

/// Patterns for about the same classes, without check digits, lists of issuers and what stands beside a value.
const PATTERNS: &[&str] = &[
    r"(?-u)[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,255}\.[A-Za-z]{2,}",
    r"(?-u)\b(?:[0-9]{4}[ -]?){3}[0-9]{4}\b",
    r"(?-u)\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",
    r"(?-u)(?:\+1[ .-]?)?\(?[0-9]{3}\)?[ .-][0-9]{3}[ .-][0-9]{4}\b",
    r"(?-u)\+[1-9][0-9 ().-]{6,18}[0-9]",
    r"(?-u)\b(?:[0-9]{1,3}\.){3}[0-9]{1,3}\b",
    r"(?-u)\b(?:[0-9a-fA-F]{1,4}:){2,7}[0-9a-fA-F]{1,4}\b",
    r"(?-u)\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b",
    r"(?-u)arn:aws[a-z-]*:[a-z0-9-]*:[a-z0-9-]*:[0-9]*:[^ \x22]+",
    r"(?-u)AIza[0-9A-Za-z_-]{35}",
    r"(?-u)eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?",
    r"(?-u)gh[pousr]_[A-Za-z0-9]{36}",
    r"(?-u)glpat-[A-Za-z0-9_-]{20}",
    r"(?-u)xox[abeprs]-[A-Za-z0-9-]{10,}",
    r"(?-u)[sr]k_(?:live|test)_[A-Za-z0-9]{10,}",
    r"(?i-u)bearer [a-z0-9._~+/-]{8,}",
    r"(?-u)://[^/ :@]*:[^/ @]+@",
    r"(?i-u)(?:password|passwd|secret|token|api_?key)[ ]*[:=][ ]*[^ ,;&]+",
    r"(?-u)[A-Za-z0-9+/]{64,}={0,2}",
];

/// The patterns as they are usually used: the set says which match, and those replace.
struct Patterns {
    set: RegexSet,
    each: Vec<Regex>,
}

impl Patterns {
    fn new() -> Self {
        let set = regex::bytes::RegexSet::new(PATTERNS).expect("patterns that compile");
        Self {
            set,
            each: PATTERNS.iter().map(|pattern| Regex::new(pattern).expect("a pattern that compiles")).collect(),
        }
    }

    fn redact(&self, line: &[u8], out: &mut Vec<u8>) {
        let matches = self.set.matches(line);
        let mut text = std::borrow::Cow::Borrowed(line);
        for each in matches.iter() {
            text = self.each[each].replace_all(&text, &b"[REDACTED]"[..]).into_owned().into();
        }
        out.extend_from_slice(&text);
    }
}

/// Redacts `text` line by line, as a file would be.
fn measure(group: &mut Group<'_>, name: &str, text: &str, mut redact: impl FnMut(&[u8], &mut Vec<u8>)) {
    let mut out = Vec::with_capacity(2 * text.len());
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            for line in text.as_bytes().split(|byte| *byte == b'\n') {
                redact(black_box(line), &mut out);
            }
            out.len()
        });
    });
}

fn lines(criterion: &mut Criterion, name: &str, line: &str) {
    let text = line.repeat(100_000 / line.len() + 1);
    let (redactor, patterns) = (Redactor::default(), Patterns::new());
    let mut group = group(criterion, &format!("redact/{name}"));
    measure(&mut group, "nervebus", &text, |line, out| {
        redactor.redact_line(line, out);
    });
    measure(&mut group, "RegexSet", &text, |line, out| patterns.redact(line, out));
    group.finish();
}

fn hostile(criterion: &mut Criterion) {
    let redactor = Redactor::default();
    let mut group = group(criterion, "redact/1 MB");
    for (name, part) in [("prose", &PROSE.replace('\n', " ")[..])].iter().chain(HOSTILE) {
        let text = part.repeat(1_000_000 / part.len() + 1);
        measure(&mut group, name, &text[..1_000_000], |line, out| {
            redactor.redact_line(line, out);
        });
    }
    group.finish();
}

fn main() {
    run(|criterion| {
        lines(criterion, "prose", PROSE);
        lines(criterion, "dense", DENSE);
        lines(criterion, "audit", &format!("{AUDIT}\n"));
        hostile(criterion);
    });
}
