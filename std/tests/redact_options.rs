//! What a redactor is told: classes, values and patterns of one's own, what markers show, and what is counted.

use nervebus::{Counts, DataClass, Redactor};

#[test]
fn a_class_can_be_left_out() {
    let redactor = Redactor::default().without(DataClass::Email).without(DataClass::Ipv4);
    assert_eq!(redactor.redact("a@example.org 203.0.113.7 219-09-9998"), "a@example.org 203.0.113.7 [REDACTED_SSN]");
}

#[test]
fn allowed_values_stay() {
    let redactor = Redactor::default().allow("203.0.113.7").allow("example.org");
    let text = "203.0.113.7 203.0.113.8 a@example.org A@Mail.Example.ORG a@example.org.evil.net a@notexample.org";
    let expected = "203.0.113.7 [REDACTED_IPV4] a@example.org A@Mail.Example.ORG [REDACTED_EMAIL] [REDACTED_EMAIL]";
    assert_eq!(redactor.redact(text), expected);
    let redactor = Redactor::default().allow_if(|class, value| class == DataClass::Ipv4 && value.starts_with("10."));
    assert_eq!(redactor.redact("10.0.0.1 11.0.0.1"), "10.0.0.1 [REDACTED_IPV4]");
}

#[test]
fn a_hook_that_panics_lets_nothing_through() {
    let redactor = Redactor::default().allow_if(|_, _| panic!("a hook with a fault"));
    assert_eq!(redactor.redact("from 203.0.113.7"), "from [REDACTED_IPV4]");
}

#[test]
fn the_last_four_characters_can_be_kept() {
    let redactor = Redactor::default().keep_last_four();
    assert_eq!(
        redactor.redact("4556 7375 8689 9855 pin: 1234, 219-09-9998"),
        "[REDACTED_CREDIT_CARD:9855] pin: 1234, [REDACTED_SSN]"
    );
    assert_eq!(redactor.redact("[REDACTED_CREDIT_CARD:9855]"), "[REDACTED_CREDIT_CARD:9855]");
}

#[test]
fn values_are_counted_by_class() {
    let mut out = Vec::new();
    let mut counts = Redactor::default().redact_bytes(b"a@example.org b@example.org 203.0.113.7", &mut out);
    assert_eq!((counts.of(DataClass::Email), counts.of(DataClass::Ipv4), counts.total()), (2, 1, 3));
    counts += Redactor::default().redact_line(b"{\"password\": \"x\"}", &mut out);
    let all: Vec<_> = counts.iter().collect();
    assert_eq!(all, [(DataClass::Key, 1), (DataClass::Email, 2), (DataClass::Ipv4, 1)]);
    assert_eq!(Counts::default().iter().count(), 0);
}

#[cfg(feature = "blake3")]
#[test]
fn equal_values_stay_linkable_by_a_keyed_hash() {
    let redactor = |key: u8| Redactor::default().keyed_hash([key; 32]);
    let text = redactor(1).redact("a@example.org b@example.org a@example.org").into_owned();
    let parts: Vec<_> = text.split(' ').collect();
    assert!(parts[0] == parts[2] && parts[0] != parts[1] && parts[0].starts_with("[REDACTED_EMAIL:"), "{text}");
    assert_eq!(parts[0].len(), "[REDACTED_EMAIL:1f3a9c0b2d4e]".len());
    assert_ne!(redactor(2).redact("a@example.org"), parts[0], "the hash depends on the key");
    assert_eq!(redactor(1).redact(&text), text, "and is not redacted again");
}

#[cfg(feature = "regex")]
#[test]
fn patterns_of_ones_own_are_found() {
    let redactor = Redactor::default().pattern("employee id", r"\bE-[0-9]{6}\b").expect("a pattern that compiles");
    assert_eq!(redactor.redact("E-123456 wrote to a@example.org"), "[REDACTED_EMPLOYEE_ID] wrote to [REDACTED_EMAIL]");
    let redactor = Redactor::default().pattern("word", "[a-z]+").expect("a pattern that compiles");
    assert_eq!(
        redactor.redact("a@example.org x"),
        "[REDACTED_EMAIL] [REDACTED_WORD]",
        "the longer of two that start alike"
    );
    let error = Redactor::default().pattern("broken", "(").expect_err("a pattern that does not compile");
    assert!(error.pattern == "(" && error.to_string().contains("BROKEN"), "{error}");
}

#[test]
fn a_finding_that_takes_in_others_is_counted_for_all_of_them() {
    let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let text = format!("postgres://app:s3cr3t@db:5432/x{hex}{{@example.org");
    let mut out = Vec::new();
    let counts = Redactor::default().redact_bytes(text.as_bytes(), &mut out);
    let markers = String::from_utf8(out).unwrap().matches("[REDACTED").count() as u64;
    assert_eq!((counts.total(), markers), (1, 1));
}
