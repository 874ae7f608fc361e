//! Redaction of JSON: keys decide, strings are searched, and everything else is copied to the byte.

use nervebus::{DataClass, Redactor, Value, json};

/// The document with everything sensitive replaced, as text.
fn redacted(document: &str) -> String {
    let mut out = Vec::new();
    Redactor::default().redact_json(document.as_bytes(), &mut out).unwrap_or_else(|| panic!("not JSON: {document}"));
    String::from_utf8(out).expect("UTF-8 stays UTF-8")
}

/// The value under `key` in an object of its own, after redaction.
fn under(key: &str, value: Value) -> Value {
    let mut document = json!({ key: value });
    Redactor::default().redact_value(&mut document);
    document[key].take()
}

/// Names that are sensitive at least, as their words.
const KEYS: &[&str] = &[
    "password",
    "passwd",
    "pwd",
    "secret",
    "token",
    "access token",
    "refresh token",
    "id token",
    "api key",
    "apikey",
    "api secret",
    "auth",
    "authorization",
    "bearer",
    "credential",
    "credentials",
    "private key",
    "client secret",
    "ssn",
    "social security",
    "credit card",
    "card number",
    "cvv",
    "cvc",
    "pin",
    "phone",
    "phone number",
    "mobile",
    "email",
    "address",
    "date of birth",
    "dob",
    "bank account",
    "account number",
    "routing number",
    "iban",
    "aws access key",
    "aws secret key",
    "aws session token",
    "azure key",
    "gcp key",
    "connection string",
    "session id",
    "cookie",
    "csrf token",
    "encryption key",
    "signing key",
    "secret key",
    "passphrase",
    "jwt",
    "session token",
    "passport number",
    "tax id",
    "auth token",
    "db password",
    "set cookie",
    "webhook secret",
    "ssh key",
];

fn capitalised(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

#[test]
fn sensitive_keys_are_known_in_every_spelling() {
    assert!(KEYS.len() >= 47);
    for key in KEYS {
        let words: Vec<_> = key.split(' ').collect();
        let pascal: String = words.iter().map(|word| capitalised(word)).collect();
        let spellings = [
            words.concat(),
            words.join("_"),
            words.join("-"),
            words.join("."),
            key.to_string(),
            words.join("_").to_uppercase(),
            pascal.clone(),
            pascal[..1].to_lowercase() + &pascal[1..],
            words.iter().map(|word| capitalised(word)).collect::<Vec<_>>().join("-"),
            format!("x-{}", words.join("-")),
            format!("X-{}", words.join("-")),
            format!("my_{}", words.join("_")),
            format!("{}2", words.join("_")),
        ];
        for spelling in spellings.iter().take(if words.len() > 1 { 13 } else { 11 }) {
            assert_eq!(under(spelling, "plain value".into()), "[REDACTED]", "{spelling:?}");
        }
    }
}

#[test]
fn keys_about_a_secret_are_left_alone() {
    let keys = [
        "token_type",
        "tokenExpiresIn",
        "access_token_expires_at",
        "password_policy",
        "passwordUpdatedAt",
        "secret_name",
        "secretArn",
        "api_key_id",
        "api_key_count",
        "email_verified",
        "phone_verified_at",
        "author",
        "authority",
        "author_association",
        "authMethod",
        "monkey",
        "keyName",
        "primaryKey",
        "sort_key",
        "partitionKey",
        "idempotency_key",
        "key",
        "id",
        "event_id",
        "max_tokens",
        "tokens_used",
        "compass",
        "passenger",
        "bypass",
        "secretary",
        "cookie_policy",
        "session_count",
        "card_brand",
        "cardLast4",
        "ip_address",
        "mac_address",
        "wallet_address",
        "mobile_app_version",
        "keyboard",
        "tokenizer",
        "hash",
        "cvv_check",
        "user_name",
        "connection",
        "address_type",
        "signature_version",
        "pinned",
        "credential_type",
        "email_template",
    ];
    for key in keys {
        assert_eq!(under(key, "plain value".into()), "plain value", "{key:?}");
    }
}

#[test]
fn whatever_stands_under_a_sensitive_key_is_hidden_and_keeps_its_shape() {
    let document = r#"{"a": [{"password": ["x1", 2, {"hint": "y"}, null, true, "", -1.5e3]}], "n": 1}"#;
    let hidden = r#"{"a": [{"password": ["[REDACTED]", "[REDACTED]", {"hint": "[REDACTED]"}, null, true, "", "[REDACTED]"]}], "n": 1}"#;
    assert_eq!(redacted(document), hidden);
}

#[test]
fn a_value_under_a_key_gets_the_marker_of_its_class_if_it_has_one() {
    assert_eq!(under("email", "maria@example.org".into()), "[REDACTED_EMAIL]");
    assert_eq!(under("email", "maria at home".into()), "[REDACTED]");
    assert_eq!(under("password", "[REDACTED_EMAIL]".into()), "[REDACTED_EMAIL]");
    assert_eq!(under("password", "from maria@example.org".into()), "[REDACTED]");
}

#[test]
fn strings_are_searched_and_numbers_that_are_cards_are_hidden() {
    assert_eq!(
        redacted(r#"["to maria@example.org", 4556737586899855]"#),
        r#"["to [REDACTED_EMAIL]", "[REDACTED_CREDIT_CARD]"]"#
    );
    let untouched = r#"[4556737586899856, 1700000000000, 1.5, -4556737586899855, "id-1", true, null, {}, []]"#;
    assert_eq!(redacted(untouched), untouched);
}

#[test]
fn everything_else_is_copied_to_the_byte() {
    let document = "\t{ \"b\" : 1.0 , \"a\":1e5,\"b\":\"\\u00e9\\/\", \"p\\u0061ssword\" : \"x\" ,\"a\" : [ ] } \r";
    assert_eq!(redacted(document), document.replace("\"x\"", "\"[REDACTED]\""));
}

#[test]
fn escapes_in_values_are_undone_and_done_again() {
    assert_eq!(
        redacted(r#"{"m": "say \"hi\" to maria\u0040example.org\n\\ \ud83d\ude00 \ud800"}"#),
        "{\"m\": \"say \\\"hi\\\" to [REDACTED_EMAIL]\\n\\\\ \u{1F600} \\ud800\"}"
    );
    assert_eq!(redacted(r#"{"m": "TOKEN=hunter2Xq9\nMODE=fast"}"#), r#"{"m": "TOKEN=[REDACTED_SECRET]\nMODE=fast"}"#);
}

#[test]
fn json_in_a_string_is_redacted_as_json() {
    let inner = json!({"user": "bob", "session_id": "abc", "list": [{"pin": 1234}]}).to_string();
    let document = json!({ "body": inner }).to_string();
    let after: Value = serde_json::from_str(&redacted(&document)).expect("JSON");
    let inner: Value = serde_json::from_str(after["body"].as_str().expect("a string")).expect("JSON in it");
    assert_eq!(inner, json!({"user": "bob", "session_id": "[REDACTED]", "list": [{"pin": "[REDACTED]"}]}));
}

#[test]
fn pairs_of_name_and_value_are_understood() {
    let document =
        r#"[{"name":"X-Api-Key","value":"abc"},{"key":"password","value":["abc"]},{"name":"Accept","value":"abc"}]"#;
    let expected = r#"[{"name":"X-Api-Key","value":"[REDACTED]"},{"key":"password","value":["[REDACTED]"]},{"name":"Accept","value":"abc"}]"#;
    assert_eq!(redacted(document), expected);
}

#[test]
fn what_is_not_json_is_refused_and_a_line_of_it_is_json_as_far_as_it_goes() {
    for text in [
        "",
        "{",
        "{\"a\"}",
        "[1,]",
        "{\"a\":1,}",
        "[1 2]",
        "01",
        "[1]]",
        "{\"a\":\u{1}\"\"}",
        "\"\\x\"",
        "\"\\u12g4\"",
        "nul",
        "[\"a\nb\"]",
        "{,}",
        "{1:2}",
    ] {
        let mut out = b"kept".to_vec();
        assert!(Redactor::default().redact_json(text.as_bytes(), &mut out).is_none(), "{text:?}");
        assert_eq!(out, b"kept");
    }
    let mut out = Vec::new();
    let counts = Redactor::default().redact_line(b"{\"password\": \"hunter2\", maria@example.org}", &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), "{\"password\": \"[REDACTED]\", [REDACTED_EMAIL]}");
    assert_eq!(counts.total(), 2);
}

#[test]
fn deep_documents_are_walked_without_recursion() {
    let document = format!("{}\"a@example.org\"{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(redacted(&document).contains("[[[\"[REDACTED_EMAIL]\"]]]"));
}

#[test]
fn a_record_of_the_audit_log_keeps_its_structure() {
    let line = r#"{"event_type":"user.4556737586899855","payload":{"password":"x","event_id":"a@example.org"},"timestamp":1700000000.5,"event_id":"203.0.113.7","source":"a@example.org","correlation_id":"219-09-9998","seq":4556737586899855,"headers":{"cookie":"x","trace":"1"},"hash":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#;
    let expected = r#"{"event_type":"user.4556737586899855","payload":{"password":"[REDACTED]","event_id":"[REDACTED_EMAIL]"},"timestamp":1700000000.5,"event_id":"203.0.113.7","source":"[REDACTED_EMAIL]","correlation_id":"[REDACTED_SSN]","seq":4556737586899855,"headers":{"cookie":"[REDACTED]","trace":"1"},"hash":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#;
    let mut out = Vec::new();
    let counts = Redactor::default().redact_record(line.as_bytes(), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(
        (counts.of(DataClass::Key), counts.of(DataClass::Email), counts.of(DataClass::Ssn), counts.total()),
        (2, 2, 1, 5)
    );
}

#[test]
fn a_dead_letter_hides_what_its_error_says_and_keeps_its_handler() {
    let line = r#"{"event_type":"a.b","payload":{},"letter":{"id":7,"reason":"failed","handler":"a@example.org","pattern":"203.0.113.7","error":"no route to 203.0.113.7","attempts":3}}"#;
    let mut out = Vec::new();
    Redactor::default().redact_record(line.as_bytes(), &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), line.replace("route to 203.0.113.7", "route to [REDACTED_IPV4]"));
}

#[test]
fn keys_can_be_added_and_taken_away() {
    let redactor = Redactor::default().key("Employee-No").without_key("email");
    let mut document = json!({"employeeNo": 7, "EMPLOYEE_NO": "8", "e-mail": "not one", "phone": "x"});
    redactor.redact_value(&mut document);
    assert_eq!(
        document,
        json!({"employeeNo": "[REDACTED]", "EMPLOYEE_NO": "[REDACTED]", "e-mail": "not one", "phone": "[REDACTED]"})
    );
    let mut document = json!({"password": "x", "to": "a@example.org"});
    Redactor::default().without(DataClass::Key).redact_value(&mut document);
    assert_eq!(document, json!({"password": "x", "to": "[REDACTED_EMAIL]"}));
}

#[test]
fn an_object_whose_end_was_cut_off_is_redacted_as_far_as_it_goes() {
    let redactor = Redactor::default();
    let redacted = |text: &str| {
        let mut out = Vec::new();
        redactor.redact_line(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    };
    for (torn, expected) in [
        (r#"{"user":{"password":"correct horse"},"tok"#, r#"{"user":{"password":"[REDACTED]"},"tok"#),
        (r#"{"password":"x""#, r#"{"password":"[REDACTED]""#),
        (r#"{"n":7,"password":"correct hor"#, r#"{"n":7,"password":"[REDACTED]"#),
        (
            r#"{"to":"a@example.org","cc":"b@example.org, c@exam"#,
            r#"{"to":"[REDACTED_EMAIL]","cc":"[REDACTED_EMAIL], c@exam"#,
        ),
        (r#"{"a":1} and mail to a@example.org"#, r#"{"a":1} and mail to [REDACTED_EMAIL]"#),
        ("{}", "{}"),
        (r#"{"a"#, r#"{"a"#),
    ] {
        assert_eq!(redacted(torn), expected);
        assert_eq!(redacted(expected), expected, "it is redacted once and for all");
    }
    let whole =
        r#"{"event_type":"user.login","payload":{"password":"correct horse","n":1},"event_id":"a@example.org"}"#;
    let mut out = Vec::new();
    for end in 0..whole.len() {
        out.clear();
        redactor.redact_record(&whole.as_bytes()[..end], &mut out);
        let text = String::from_utf8_lossy(&out);
        assert!(!text.contains("correct"), "cut at {end}: {text}");
    }
}

#[test]
fn numbers_too_large_for_any_type_and_bytes_that_are_not_utf8_are_json_all_the_same() {
    let redactor = Redactor::default();
    for (document, wanted) in [
        (&b"{\"n\":3e33333,\"password\":\"hunter2-Xq9\"}"[..], &b"{\"n\":3e33333,\"password\":\"[REDACTED]\"}"[..]),
        (b"{\"a\":\"\xfc\",\"password\":\"hunter2\xfc\"}", b"{\"a\":\"\xfc\",\"password\":\"[REDACTED]\"}"),
        (b"\"\xfc\"", b"\"\xfc\""),
    ] {
        let mut out = Vec::new();
        assert!(redactor.redact_json(document, &mut out).is_some());
        assert_eq!(out.escape_ascii().to_string(), wanted.escape_ascii().to_string());
    }
}
