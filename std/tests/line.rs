//! What a line of JSONL becomes, and what is said about one that is no event.

use nervebus::{LineError, Record, Value, json};
use proptest::prelude::*;

fn read(line: &str) -> Result<Record, LineError> {
    Record::from_jsonl(line.as_bytes())
}

/// The text of the error, or what was read instead.
fn refusal(line: &[u8]) -> String {
    match Record::from_jsonl(line) {
        Ok(record) => format!("accepted {record:?}"),
        Err(error) => error.to_string(),
    }
}

fn payload(line: &str) -> Result<Value, LineError> {
    read(line).map(|record| record.payload)
}

#[test]
fn an_audit_line_gives_its_six_fields_and_loses_the_rest() {
    let line = r#"{"event_type": "user.login", "payload": {"username": "alice"}, "timestamp": 1700000000.25,
        "event_id": "e-1", "source": "web", "correlation_id": "c-1", "seq": 7, "headers": {"a": [1]}}"#;
    let mut expected = Record::new("user.login", json!({"username": "alice"}));
    expected.timestamp = Some(1_700_000_000.25);
    expected.event_id = Some("e-1".to_owned());
    expected.source = Some("web".to_owned());
    expected.correlation_id = Some("c-1".to_owned());
    assert_eq!(read(line), Ok(expected));
}

#[test]
fn a_name_is_enough() {
    let bare = Ok(Record::new("a.b", json!({})));
    assert_eq!(read(r#"{"event_type": "a.b"}"#), bare);
    assert_eq!(read(r#"{"type": "a.b"}"#), bare);
    let nulls = r#"{"event_type": "a.b", "timestamp": null, "event_id": null, "source": null, "correlation_id": null}"#;
    assert_eq!(read(nulls), bare);
    let nulls = r#"{"type": "a.b", "specversion": null, "time": null, "id": null, "source": null,
        "correlationid": null, "data_base64": null}"#;
    assert_eq!(read(nulls), bare);
}

#[test]
fn a_cloud_event_gives_its_fields_under_our_names() {
    let line = r#"{"specversion": "1.0", "type": "order.placed", "source": "/shop", "id": "A-1",
        "time": "2018-04-05T17:31:00Z", "correlationid": "c-9", "datacontenttype": "application/json",
        "subject": null, "extension": 5, "data": {"cents": 1999}}"#;
    let mut expected = Record::new("order.placed", json!({"cents": 1999}));
    expected.timestamp = Some(1_522_949_460.0);
    expected.event_id = Some("A-1".to_owned());
    expected.source = Some("/shop".to_owned());
    expected.correlation_id = Some("c-9".to_owned());
    let headers = expected.headers.get_or_insert_default();
    headers.content_type = Some("application/json".into());
    headers.attributes.insert("extension", "5").unwrap();
    assert_eq!(read(line), Ok(expected));
}

#[test]
fn event_type_wins_over_type() {
    let line = r#"{"type": "b", "specversion": "9", "event_type": "a", "payload": 1, "data": 2, "time": "never"}"#;
    assert_eq!(read(line), Ok(Record::new("a", json!(1))));
}

#[test]
fn a_payload_of_any_type_is_kept_as_it_is() {
    for value in ["null", "true", "1.5", "-3", r#""text""#, "[1,{}]", r#"{"a":{"b":null}}"#] {
        let expected = Ok(value.to_owned());
        let audit = payload(&format!(r#"{{"event_type":"a","payload":{value}}}"#));
        let cloud = payload(&format!(r#"{{"type":"a","data":{value}}}"#));
        assert_eq!(audit.map(|payload| payload.to_string()), expected);
        assert_eq!(cloud.map(|payload| payload.to_string()), expected);
    }
}

#[test]
fn binary_data_stays_encoded_under_its_own_key() {
    let encoded = Ok(json!({"data_base64": "AAEC"}));
    assert_eq!(payload(r#"{"type": "a", "data_base64": "AAEC"}"#), encoded);
    let old = r#"{"type": "a", "specversion": "0.3", "datacontentencoding": "Base64", "data": "AAEC"}"#;
    assert_eq!(payload(old), encoded);
    let new = r#"{"type": "a", "specversion": "1.0", "datacontentencoding": "base64", "data": "AAEC"}"#;
    assert_eq!(payload(new), Ok(json!("AAEC")), "in 1.0 that key is somebody's extension");
    assert_eq!(read(r#"{"type": "a", "data": 1, "data_base64": "AAEC"}"#), Err(LineError::TwoPayloads));
}

#[test]
fn the_last_of_two_equal_keys_counts() {
    let line = r#"{"event_type": "a", "payload": {"x": 1}, "event_type": "b", "payload": {"y": 1, "y": 2}}"#;
    assert_eq!(read(line), Ok(Record::new("b", json!({"y": 2}))));
}

#[test]
fn line_ends_white_space_and_one_byte_order_mark_are_skipped() {
    let expected = Ok(Record::new("a", json!({})));
    assert_eq!(read("\u{feff}{\"event_type\":\"a\"}\r\n"), expected);
    assert_eq!(read(" \t{\"event_type\":\n\"a\"} \n"), expected);
    assert_eq!(
        refusal("\u{feff}\u{feff}{\"event_type\":\"a\"}".as_bytes()),
        "the line is not JSON at column 4: expected value"
    );
}

#[test]
fn a_line_that_is_no_event_says_why() {
    let cases: [(&[u8], &str); 17] = [
        (b"", "the line is empty"),
        (b" \t\r\n", "the line is empty"),
        (b"\xef\xbb\xbf", "the line is empty"),
        (b"{\"event_type\": \"\xff\"}", "the line is not UTF-8 from byte 17 on"),
        (b"{\"event_type\": ", "the line is not JSON at column 15: EOF while parsing a value"),
        (b"{\"event_type\": \"a\"} x", "the line is not JSON at column 21: trailing characters"),
        (b"{\n\"event_type\": x}", "the line is not JSON at column 17: expected value"),
        (b"[1]", "the line must be a JSON object, but is an array"),
        (b"null", "the line must be a JSON object, but is null"),
        (b"{}", r#"the line has neither "event_type" (audit format) nor "type" (CloudEvents)"#),
        (br#"{"event_type": null}"#, r#"field "event_type" must be a string, but is null"#),
        (br#"{"type": []}"#, r#"field "type" must be a string, but is an array"#),
        (br#"{"type": ""}"#, r#"field "type" must not be empty"#),
        (br#"{"event_type": ""}"#, r#"field "event_type" must not be empty"#),
        (br#"{"type": "a", "id": 5}"#, r#"field "id" must be a string or null, but is a number"#),
        (
            br#"{"event_type": "a", "timestamp": "now"}"#,
            r#"field "timestamp" must be a finite number or null, but is a string"#,
        ),
        (br#"{"type": "a", "specversion": "2.0"}"#, r#"field "specversion" must be "1.0" or "0.3", but is "2.0""#),
    ];
    for (line, expected) in cases {
        assert_eq!(refusal(line), expected, "for {:?}", String::from_utf8_lossy(line));
    }
}

#[test]
fn numbers_that_json_does_not_have_are_refused() {
    for (word, column) in [("NaN", 34), ("Infinity", 34), ("-Infinity", 35)] {
        let line = format!(r#"{{"event_type": "a", "timestamp": {word}}}"#);
        let message = "NaN and Infinity are not JSON".to_owned();
        assert_eq!(read(&line), Err(LineError::NotJson { column, message }));
    }
    let line = r#"{"event_type": "a", "payload": {"x": 1e999}}"#;
    assert!(matches!(read(line), Err(LineError::NotJson { .. })));
}

#[test]
fn deep_nesting_is_an_error_and_not_a_crash() {
    let nested =
        |depth: usize| format!(r#"{{"event_type": "a", "payload": {}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(read(&nested(100)).is_ok());
    for depth in [200, 100_000] {
        assert!(matches!(
            read(&nested(depth)),
            Err(LineError::NotJson { message, .. }) if message.contains("recursion limit")
        ));
    }
}

fn seconds(time: &str) -> Result<Option<f64>, LineError> {
    let line = json!({"type": "a", "time": time}).to_string();
    read(&line).map(|record| record.timestamp)
}

#[test]
fn times_of_rfc_3339_become_seconds() {
    for (time, expected) in [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t00:00:00z", 0.0),
        ("1970-01-01 00:00:00-00:00", 0.0),
        ("1969-12-31T23:59:59.5Z", -0.5),
        ("2018-04-05T17:31:00.123456Z", 1_522_949_460.123_456),
        ("2018-04-05T17:31:00.12345600000000001Z", 1_522_949_460.123_456),
        ("2018-04-05T17:31:00+05:30", 1_522_929_660.0),
        ("2024-02-29T00:00:00Z", 1_709_164_800.0),
        ("2016-12-31T23:59:60Z", 1_483_228_799.0),
    ] {
        assert_eq!(seconds(time), Ok(Some(expected)), "for {time}");
    }
}

#[test]
fn other_times_are_refused() {
    for time in [
        "",
        "now",
        "1522949460",
        "2018-04-05",
        "2018-04-05T17:31Z",
        "2018-04-05T17:31:00",
        "2018-04-05T17:31:00.Z",
        "2018-04-05T17:31:00,5Z",
        "2018-04-05T17:31:00+05",
        "2018-04-05T17:31:00+24:00",
        "2018-04-05T17:31:00Z[Etc/UTC]",
        "20180405T173100Z",
        "2018-02-29T00:00:00Z",
        "2018-13-01T00:00:00Z",
        "2018-04-05T24:00:00Z",
        "2018-04-05T17:31:00Z\n",
        "2018-04-05T17:31:0\u{661}Z",
    ] {
        let value = time.to_owned();
        assert_eq!(seconds(time), Err(LineError::BadTime { field: "time", value }));
    }
}

#[test]
fn an_error_stays_on_one_short_line_whatever_the_input_says() {
    let time = "x\n2026-01-01 INFO all is well\r\u{1b}[2J\u{2028}\u{202e}\"";
    let text = refusal(json!({"type": "a", "time": time}).to_string().as_bytes());
    assert!(text.ends_with(r#"but is "x\n2026-01-01 INFO all is well\r\u{1b}[2J\u{2028}\u{202e}\"""#), "{text}");
    let text = refusal(json!({"type": "a", "specversion": "\u{7}".repeat(100_000)}).to_string().as_bytes());
    assert!(text.len() < 500 && text.ends_with("...\""), "{text}");
}

/// Text that is close enough to a line to get past the first checks.
fn nearly_a_line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "event_type",
        "type",
        "payload",
        "data",
        "data_base64",
        "timestamp",
        "time",
        "id",
        "event_id",
        "source",
        "specversion",
        "datacontentencoding",
        "correlationid",
    ]);
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("\"1.0\"".to_owned()),
        Just("\"0.3\"".to_owned()),
        Just("NaN".to_owned()),
        Just("[[{}]]".to_owned()),
        any::<f64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| json!(text).to_string()),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,12})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
            .prop_map(|time| json!(time).to_string()),
    ];
    prop::collection::vec((key, value), 0..8).prop_map(|pairs| {
        let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
        format!("{{{}}}", pairs.join(","))
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(line in any::<Vec<u8>>()) {
        let text = refusal(&line);
        prop_assert!(!text.chars().any(char::is_control));
    }

    #[test]
    fn nearly_lines_are_read_or_refused_on_one_line(line in nearly_a_line()) {
        match read(&line) {
            Ok(record) => {
                prop_assert!(!record.event_type.is_empty());
                prop_assert!(record.timestamp.is_none_or(f64::is_finite));
            }
            Err(error) => {
                let text = error.to_string();
                prop_assert!(text.len() < 1_000 && !text.chars().any(char::is_control), "{text}");
            }
        }
    }

    // JSON numbers are read exactly only with the feature `float_roundtrip` of `serde_json`.
    #[test]
    fn a_timestamp_is_read_to_the_last_bit(seconds in 0.0..1e10_f64) {
        let line = format!(r#"{{"event_type": "a", "payload": {seconds}, "timestamp": {seconds}}}"#);
        let record = read(&line);
        prop_assert_eq!(record.as_ref().map(|record| record.timestamp), Ok(Some(seconds)));
        prop_assert_eq!(record.map(|record| record.payload.as_f64()), Ok(Some(seconds)));
    }

    #[test]
    fn what_was_written_in_the_audit_format_is_read_back(
        name in ".{1,40}", id in proptest::option::of(any::<String>()), key in any::<String>(), number in any::<i64>(),
        seconds in proptest::option::of(-1_000_000_000_i64..10_000_000_000),
    ) {
        let line = json!({
            "event_type": name, "payload": {key.clone(): number}, "timestamp": seconds,
            "event_id": id, "source": null, "correlation_id": id,
        });
        let mut expected = Record::new(name, json!({key: number}));
        expected.timestamp = seconds.map(|seconds| seconds as f64);
        expected.event_id = id.clone();
        expected.correlation_id = id;
        prop_assert_eq!(read(&line.to_string()), Ok(expected));
    }
}
