//! The two modes of the HTTP binding.

use nervebus::{CloudData, CloudEvent, CloudEventError, CloudValue, json};

use super::{document, parse, with};

/// Both modes give the event back; the binary one with extensions as texts and the media type that was implied.
pub(crate) fn assert_goes_through_http(event: &CloudEvent) {
    let message = event.to_http_structured();
    assert_eq!(&CloudEvent::from_http(message.headers, &message.body).unwrap(), event);
    let message = match event.to_http() {
        Ok(message) => message,
        Err(error) => {
            assert!(matches!(error, CloudEventError::Data { .. }), "{error}");
            assert!(matches!(event.data(), Some(CloudData::Base64(text)) if text.starts_with("...")));
            return;
        }
    };
    let is_value = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    assert!(
        message.headers.iter().all(|(name, value)| is_value(value) && is_value(name) && *name == name.to_lowercase())
    );
    let again = CloudEvent::from_http(message.headers, &message.body).unwrap();
    assert_eq!(again.data().is_none(), message.body.is_empty());
    assert_eq!((again.id(), again.source(), again.event_type()), (event.id(), event.source(), event.event_type()));
    assert_eq!(
        (again.time(), again.subject(), again.data_schema()),
        (event.time(), event.subject(), event.data_schema())
    );
    let texts = |event: &CloudEvent| {
        event.extensions().map(|(name, value)| (name.to_owned(), value.to_string())).collect::<Vec<_>>()
    };
    assert_eq!(texts(&again), texts(event));
    if event.data_content_type().is_some() {
        assert_eq!(again.data_content_type(), event.data_content_type());
    }
    if !message.body.is_empty() {
        assert_eq!(again.data(), event.data());
    }
}

/// A message in the binary mode.
fn headers() -> Vec<(&'static str, &'static str)> {
    vec![
        ("Host", "example.com"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("CE-SpecVersion", "1.0"),
        ("ce-id", "A234-1234-1234"),
        ("Ce-Type", "com.example.someevent"),
        ("ce-source", "/mycontext"),
        ("ce-time", "2018-04-05T17:31:00Z"),
        ("ce-comexampleextension1", "value"),
    ]
}

#[test]
fn a_binary_message_is_read_whatever_case_its_headers_have() {
    let event = CloudEvent::from_http(headers(), br#"{"a": 1}"#).unwrap();
    assert_eq!(
        (event.id(), event.event_type(), event.source()),
        ("A234-1234-1234", "com.example.someevent", "/mycontext")
    );
    assert_eq!(event.data_content_type(), Some("application/json; charset=utf-8"));
    assert_eq!(event.data(), Some(&CloudData::Json(json!({"a": 1}))));
    assert_eq!(event.extensions().collect::<Vec<_>>(), [("comexampleextension1", &CloudValue::Text("value".into()))]);
}

#[test]
fn values_are_encoded_as_the_binding_says_and_decoded_once() {
    // The example of the binding, and more.
    let subjects = [
        ("Euro \u{20ac} \u{1f600}", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
        ("100% \"sure\"", "100%25%20%22sure%22"),
        ("%20", "%2520"),
        ("a\r\nce-id: forged", "a%0D%0Ace-id:%20forged"),
        ("\u{0}\u{7f}\u{2028}", "%00%7F%E2%80%A8"),
        ("a,b;c=d/e?~!#$&'()*+[]{}|\\^`<>@", "a,b;c=d/e?~!#$&'()*+[]{}|\\^`<>@"),
    ];
    for (subject, encoded) in subjects {
        let event = parse(&with("subject", json!(subject))).unwrap();
        let message = event.to_http().unwrap();
        let written = message.headers.iter().find(|(name, _)| name == "ce-subject").unwrap();
        assert_eq!(written.1, encoded);
        assert_eq!(CloudEvent::from_http(message.headers, &message.body).unwrap().subject(), Some(subject));
    }
    for (value, subject) in [
        ("caf%c3%a9", "caf\u{e9}"),
        ("caf\u{e9}", "caf\u{e9}"),
        ("  spaced  ", "spaced"),
        (r#""quoted \"text\" %41""#, "quoted \"text\" A"),
        ("100%", "100%"),
        ("%zz%4", "%zz%4"),
        ("%2541", "%41"),
        ("\"", "\""),
        ("\"a", "\"a"),
    ] {
        let mut headers = headers();
        headers.push(("ce-subject", value));
        assert_eq!(CloudEvent::from_http(headers, b"1").unwrap().subject(), Some(subject), "{value}");
    }
}

#[test]
fn the_media_type_says_what_the_body_is() {
    let read = |media_type: Option<&'static str>, body: &[u8]| {
        let mut headers = headers();
        headers.retain(|(name, _)| *name != "Content-Type");
        headers.extend(media_type.map(|media_type| ("content-type", media_type)));
        CloudEvent::from_http(headers, body).map(|event| event.data().cloned())
    };
    let text = |text: &str| Ok(Some(CloudData::Json(json!(text))));
    let bytes = |text: &str| Ok(Some(CloudData::Base64(text.into())));
    assert_eq!(read(Some("application/json"), b"[1]"), Ok(Some(CloudData::Json(json!([1])))));
    assert_eq!(read(Some("Application/Vnd.Thing+JSON;a=b"), b"\"x\""), text("x"));
    assert_eq!(read(Some("text/plain"), b"[1]"), text("[1]"));
    assert_eq!(read(Some("image/svg+xml"), b"<a/>"), text("<a/>"));
    assert_eq!(read(Some("text/plain"), b"\xff"), bytes("/w=="), "no text after all");
    assert_eq!(read(Some("application/octet-stream"), b"[1]"), bytes("WzFd"));
    assert_eq!(read(None, b"[1]"), Ok(Some(CloudData::Json(json!([1])))));
    assert_eq!(read(None, b"[1"), bytes("WzE="));
    assert_eq!(read(None, b""), Ok(None));
    assert_eq!(read(Some("application/json"), b""), Ok(None));
    assert_eq!(read(Some("text/xml"), b""), Ok(None), "its data is elsewhere");
    assert!(matches!(read(Some("application/json"), b"[1"), Err(CloudEventError::Data { .. })));
    assert!(matches!(read(Some("application/json"), b"\xff"), Err(CloudEventError::Data { .. })));
}

#[test]
fn the_structured_mode_is_known_by_its_media_type() {
    let body = document().to_string().into_bytes();
    for media_type in ["application/cloudevents+json", "Application/CloudEvents+JSON; charset=UTF-8"] {
        assert_eq!(CloudEvent::from_http([("CONTENT-TYPE", media_type)], &body), parse(&document()));
    }
    for media_type in ["application/cloudevents-batch+json", "application/cloudevents+avro", "application/cloudevents"]
    {
        let error = CloudEvent::from_http([("content-type", media_type)], &body).unwrap_err();
        assert_eq!(error, CloudEventError::Format { content_type: media_type.into() });
    }
}

#[test]
fn a_message_that_is_no_event_says_why() {
    let refused = |name: &'static str, value: &'static [u8]| {
        let mut all: Vec<(&str, &[u8])> = headers().iter().map(|(name, value)| (*name, value.as_bytes())).collect();
        all.push((name, value));
        CloudEvent::from_http(all, b"1").unwrap_err().to_string()
    };
    assert_eq!(refused("CE-ID", b"again"), r#"field "id" is there twice"#);
    assert_eq!(refused("content-type", b"text/plain"), r#"field "content-type" is there twice"#);
    assert_eq!(refused("ce-datacontenttype", b"text/plain"), r#"field "datacontenttype" is there twice"#);
    assert_eq!(refused("ce-subject", b"%ff"), r#"field "subject" must be UTF-8, but is "bytes""#);
    assert_eq!(refused("ce-subject", b"\xff"), r#"field "subject" must be UTF-8, but is "bytes""#);
    assert!(refused("ce-a_b", b"x").starts_with(r#"field "a_b" must be named by"#));
    assert!(refused("ce-data", b"x").starts_with(r#"field "data" must be named by"#));
    let none: [(&str, &str); 0] = [];
    assert_eq!(CloudEvent::from_http(none, b"{}").unwrap_err(), CloudEventError::Missing { field: "specversion" });
}

#[test]
fn what_no_message_can_say_is_an_error() {
    let error = parse(&with("datacontenttype", json!("text/plain\r\nce-id: forged"))).unwrap().to_http().unwrap_err();
    assert!(matches!(error, CloudEventError::Invalid { field, .. } if field == "datacontenttype"));
    let mut document = with("data_base64", json!("no base64"));
    document.as_object_mut().unwrap().remove("data");
    let error = parse(&document).unwrap().to_http().unwrap_err();
    assert_eq!(error.to_string(), "the data must be a string in base64");
}
