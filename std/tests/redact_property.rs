//! What redaction keeps whatever the input: it is idempotent, JSON stays JSON of the same shape, nothing found survives.

use std::borrow::Cow;

use nervebus::{DataClass, Redactor, Value};
use proptest::prelude::*;

/// Parts that lead the search to candidates, whole and broken.
const PARTS: &[&str] = &[
    "maria.silva@example.org",
    "@example.org",
    "a@",
    "user:pass@",
    "https://",
    "://",
    "postgres://app:s3cr3t@db:5432/x",
    "5500005555555559",
    "5500 0055 5555 5559",
    "6011-1111",
    "1111-1117",
    "219-09-9997",
    "(212) 555-0187",
    "+44 20 7946 0018",
    "+1",
    "212-555-0187",
    "10.1.2.3",
    ".4",
    "2001:db8::7",
    "::1",
    "fe80::1%eth0",
    ":",
    "::",
    "AKIAQ3EGRZ7WPXN2TVUM",
    "AKIA",
    "arn:aws:s3:::logs/2024",
    "eyJhbGciOiJIUzI1NiJ9",
    ".eyJzdWIiOiI0MiJ9",
    ".c2lnbmF0dXJl",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "xoxb-2469135780-abcdefGHIJ",
    "sk_live_4eC39HqLyjWDarjtT1zd",
    "Bearer ",
    "Basic ",
    "dXNlcjpwYXNzd29yZA==",
    "password=",
    "password: ",
    "api_key = \"",
    "token",
    "secret",
    "=",
    "\"",
    "'",
    "`",
    "\\",
    "\n",
    " ",
    ", ",
    "hunter2",
    "Tr0ub4dor&3",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----END RSA PRIVATE KEY-----",
    "MIIEpAIBAAKCAQEA",
    "GB82 WEST 1234 5698 7654 32",
    "00:1b:44:11:3a:b7",
    "[REDACTED_EMAIL]",
    "[REDACTED]",
    "[REDACTED",
    "]",
    "é",
    "電話",
    "call ",
    "x",
    "1",
    "7",
    "-",
    ".",
    "_",
    "/",
    "+",
    "(",
    ")",
    "&",
    "?",
    "{",
    "}",
    "https://hooks.slack.com/services/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",
    "npm_0123456789abcdefghijABCDEFGHIJ012345",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "wJ4lrXUtnFEMI/K7MDENG/bPxRfiCY9EXAMPLEKEY",
    "value=\"",
    "key=\"password\" ",
    "password is ",
    "IDENTIFIED BY '",
    " --token ",
    "sshpass -p ",
    "Authorization: Token ",
    "john%40example.org",
];

fn text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => prop::sample::select(PARTS).prop_map(String::from),
        1 => "[ -~]{0,6}",
        1 => "[0-9 .:-]{1,12}",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(
            &[
                "password", "apiKey", "name", "value", "data", "label", "note", "id", "email", "event_id", "x-token",
                "letter", "payload", "\"q\\"
            ][..]
        )
        .prop_map(String::from),
        text(),
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(Value::from(5_500_005_555_555_559_u64)),
        text().prop_map(Value::from),
        text().prop_map(|text| Value::from(nervebus::json!({ "note": text, "pin": 1234 }).to_string())),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Whether two documents differ in strings, and numbers that became strings, only.
fn has_shape_of(after: &Value, before: &Value) -> bool {
    match (after, before) {
        (Value::Array(after), Value::Array(before)) => {
            after.len() == before.len() && after.iter().zip(before).all(|(after, before)| has_shape_of(after, before))
        }
        (Value::Object(after), Value::Object(before)) => {
            after.len() == before.len()
                && before.iter().all(|(key, before)| after.get(key).is_some_and(|after| has_shape_of(after, before)))
        }
        (Value::String(_), Value::String(_) | Value::Number(_)) => true,
        (after, before) => after == before,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_redacted_is_redacted_no_further(text in text()) {
        let redactor = Redactor::default();
        let once = redactor.redact(&text).into_owned();
        prop_assert_eq!(redactor.redact(&once), once.as_str(), "from {:?}", text);
    }

    #[test]
    fn a_text_without_findings_is_borrowed_and_others_count_their_markers(text in text()) {
        let redactor = Redactor::default();
        let (mut out, before) = (Vec::new(), text.matches("[REDACTED").count() as u64);
        let counts = redactor.redact_bytes(text.as_bytes(), &mut out);
        let redacted = redactor.redact(&text);
        prop_assert_eq!(redacted.as_bytes(), &out[..]);
        prop_assert_eq!(counts.total() == 0, matches!(redacted, Cow::Borrowed(_)));
        prop_assert!(counts.total() <= redacted.matches("[REDACTED").count() as u64);
        prop_assert!(counts.total() > 0 || before == redacted.matches("[REDACTED").count() as u64);
    }

    #[test]
    fn a_text_keeps_its_lines_but_those_of_a_private_key(text in text()) {
        let redactor = Redactor::default().without(DataClass::PrivateKey);
        prop_assert_eq!(redactor.redact(&text).lines().count(), text.lines().count(), "{:?}", text);
    }

    #[test]
    fn json_stays_json_of_the_same_shape(document in json()) {
        let redactor = Redactor::default();
        let (line, mut out) = (document.to_string(), Vec::new());
        let counts = redactor.redact_json(line.as_bytes(), &mut out).expect("JSON is taken as JSON");
        let after: Value = serde_json::from_slice(&out).expect("JSON comes out");
        prop_assert!(has_shape_of(&after, &document), "{} became {}", line, after);
        prop_assert!(counts.total() > 0 || out == line.as_bytes(), "what has nothing to hide is copied to the byte");
        prop_assert!(!out.contains(&b'\n'));
        let mut again = Vec::new();
        prop_assert_eq!(redactor.redact_json(&out, &mut again).map(|counts| counts.total()), Some(0), "{}", after);
    }

    #[test]
    fn a_value_and_its_text_are_redacted_alike(document in json()) {
        let redactor = Redactor::default();
        let (mut value, mut out) = (document.clone(), Vec::new());
        let counts = redactor.redact_value(&mut value);
        let text_counts = redactor.redact_json(document.to_string().as_bytes(), &mut out).expect("JSON");
        prop_assert_eq!(serde_json::from_slice::<Value>(&out).expect("JSON"), value);
        prop_assert_eq!(counts, text_counts);
    }

    #[test]
    fn what_serde_takes_for_json_is_json_and_what_it_refuses_is_not(text in "[\\[\\]{}\",:\\\\0-9eE.+ untrfalse-]{0,12}") {
        let ours = Redactor::default().redact_json(text.as_bytes(), &mut Vec::new()).is_some();
        let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        prop_assert_eq!(ours, theirs, "{:?}", text);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept(mut bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        bytes.extend_from_slice(b" maria.silva@example.org \xff\xfe end");
        let (mut out, redactor) = (Vec::new(), Redactor::default());
        redactor.redact_line(&bytes, &mut out);
        prop_assert!(out.ends_with(b" [REDACTED_EMAIL] \xff\xfe end"), "{:?}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn a_record_keeps_its_structure(payload in json(), source in text(), id in text(), hash in "[0-9a-f]{64}") {
        let line = nervebus::json!({
            "event_type": "5500005555555559.a", "payload": payload, "timestamp": 1_700_000_000.25, "event_id": id, "source": source,
            "correlation_id": "maria.silva@example.org", "seq": 5_500_005_555_555_559_u64, "hash": hash,
        });
        let mut out = Vec::new();
        Redactor::default().redact_record(line.to_string().as_bytes(), &mut out);
        let after: Value = serde_json::from_slice(&out).expect("JSON comes out");
        for key in ["event_type", "timestamp", "event_id", "seq", "hash"] {
            prop_assert_eq!(&after[key], &line[key]);
        }
        prop_assert_eq!(&after["correlation_id"], "[REDACTED_EMAIL]");
        prop_assert!(has_shape_of(&after, &line));
    }
}
