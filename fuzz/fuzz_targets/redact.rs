//! Any bytes for the redactor: lines stay as many as they were, JSON stays JSON, what was redacted is redacted no further,
//! and an address on a line of its own never comes through.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nervebus::{DataClass, Redactor};
use serde::de::IgnoredAny;

/// Private keys span lines, and become one marker; so lines are counted without them.
static BY_LINES: LazyLock<Redactor> = LazyLock::new(|| Redactor::default().without(DataClass::PrivateKey));
static ALL: LazyLock<Redactor> = LazyLock::new(Redactor::default);

const ADDRESS: &str = "maria.silva@example.org";

fn redacted(redactor: &Redactor, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    redactor.redact_bytes(text, &mut out);
    out
}

fn lines(text: &[u8]) -> usize {
    text.iter().filter(|byte| **byte == b'\n').count()
}

/// Whether it is JSON, whatever numbers it has: `1e999` is too large for any type, and JSON.
fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fuzz_target!(|text: &[u8]| {
    assert_eq!(lines(&redacted(&BY_LINES, text)), lines(text));

    let once = redacted(&ALL, text);
    assert_eq!(
        redacted(&ALL, &once).escape_ascii().to_string(),
        once.escape_ascii().to_string(),
        "redacted no further"
    );

    let planted = [text, b"\n", ADDRESS.as_bytes(), b"\n"].concat();
    let out = redacted(&ALL, &planted);
    assert!(!out.trim_ascii_end().ends_with(ADDRESS.as_bytes()), "{}", out.escape_ascii());

    let mut out = Vec::new();
    let taken = ALL.redact_json(text, &mut out).is_some();
    // Two liberties: strings may have bytes that are not UTF-8, which are kept, and nesting may be deeper.
    let deep = text.iter().filter(|byte| b"[{".contains(byte)).count() > 100;
    let strict = std::str::from_utf8(text).is_ok() && !deep;
    assert_eq!(taken && strict, is_json(text) && strict, "what is taken for JSON is JSON, and the other way round");
    assert!(!taken || !is_json(text) || is_json(&out), "{}", out.escape_ascii());
    if taken {
        assert!(lines(&out) == lines(text));
    }

    // A record keeps what it is told apart by.
    let mut out = Vec::new();
    ALL.redact_record(text, &mut out);
    if is_json(text) {
        assert!(is_json(&out), "{}", out.escape_ascii());
    }
});
