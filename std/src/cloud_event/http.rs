//! CloudEvents over HTTP: the binary and the structured mode of the protocol binding.

use std::str;

use serde_json::Value;

use super::error::CloudEventError;
use super::{CloudData, CloudEvent, CloudText, CloudValue, Draft, VERSION, base64};

/// What the media types of events in events' own formats begin with.
const EVENTS: &str = "application/cloudevents";
/// The media type of one event in JSON.
const STRUCTURED: &str = "application/cloudevents+json";
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The headers and the body of an HTTP request or response, for whatever HTTP library.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpMessage {
    /// Names in lower case, with values of visible ASCII and spaces.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for HttpMessage {
    /// The names of the headers only: the rest may be what no log should have.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("HttpMessage").field("headers", &names).finish_non_exhaustive()
    }
}

impl CloudEvent {
    /// The event in the binary mode: attributes are headers `ce-…`, the data is the body.
    ///
    /// What a header cannot have is percent-encoded, as the binding says. JSON is the body's media type where none was
    /// said. Data of a media type other than JSON is written as it is where it is a text, and as JSON otherwise; an empty
    /// text cannot be told from no data then.
    ///
    /// # Errors
    ///
    /// [`CloudEventError`]: the data is said to be base64 and is not, or no header can have the media type.
    pub fn to_http(&self) -> Result<HttpMessage, CloudEventError> {
        let mut headers = vec![("ce-specversion".to_owned(), VERSION.to_owned())];
        for (name, value) in self.attributes() {
            let value = match value {
                CloudText::Text(text) => encoded(text),
                CloudText::Value(value) => encoded(&value.to_string()),
            };
            headers.push((format!("ce-{name}"), value));
        }
        let media_type = self.data_content_type.as_deref();
        let body = match &self.data {
            None => Vec::new(),
            Some(CloudData::Base64(text)) => {
                base64::decode(text).ok_or(CloudEventError::Data { rule: "a string in base64" })?
            }
            Some(CloudData::Json(Value::String(text))) if !is_json(media_type) => text.clone().into_bytes(),
            // JSON always has JSON, and memory takes it.
            Some(CloudData::Json(data)) => serde_json::to_vec(data).unwrap_or_default(),
        };
        let is_header = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.trim() == text;
        match (media_type, &self.data) {
            (Some(given), _) if is_header(given) => headers.push(("content-type".to_owned(), given.to_owned())),
            (Some(given), _) => return Err(CloudEventError::invalid("datacontenttype", given, "visible ASCII")),
            (None, Some(CloudData::Json(_))) => {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
            (None, Some(CloudData::Base64(_))) => {
                headers.push(("content-type".to_owned(), "application/octet-stream".to_owned()));
            }
            (None, None) => {}
        }
        Ok(HttpMessage { headers, body })
    }

    /// The event in the structured mode: the body is the [document](Self::to_json).
    #[must_use]
    pub fn to_http_structured(&self) -> HttpMessage {
        let media_type = format!("{STRUCTURED}; charset=utf-8");
        HttpMessage { headers: vec![("content-type".to_owned(), media_type)], body: self.to_json().into_bytes() }
    }

    /// Reads an HTTP message in either mode; the media type says which. Names of headers are taken in any case, and all
    /// but `content-type` and those that begin with `ce-` are ignored.
    ///
    /// In the binary mode, extensions are texts, as headers are. The data is JSON where the media type is, or where there is
    /// none and the body is; a text for `text/…` and XML in UTF-8; and base64 otherwise.
    ///
    /// # Errors
    ///
    /// [`CloudEventError`] as [`parse`](Self::parse) has it; also for a header that is there twice, for values that are not
    /// UTF-8, and for batches and formats other than JSON.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::CloudEvent;
    ///
    /// let headers = [
    ///     ("Content-Type", "application/json"),
    ///     ("ce-specversion", "1.0"),
    ///     ("ce-id", "a-1"),
    ///     ("ce-source", "/shop"),
    ///     ("ce-type", "order.placed"),
    ///     ("CE-Subject", "caf%C3%A9"),
    /// ];
    /// let event = CloudEvent::from_http(headers, br#"{"id": 7}"#)?;
    /// assert_eq!((event.id(), event.subject()), ("a-1", Some("café")));
    /// # Ok::<(), nervebus::CloudEventError>(())
    /// ```
    pub fn from_http<N, V>(headers: impl IntoIterator<Item = (N, V)>, body: &[u8]) -> Result<Self, CloudEventError>
    where
        N: AsRef<str>,
        V: AsRef<[u8]>,
    {
        let (mut draft, mut media_type) = (Draft::default(), None);
        let mut attributes = Vec::new();
        for (name, value) in headers {
            let name = name.as_ref().to_ascii_lowercase();
            if name == "content-type" {
                let text = str::from_utf8(value.as_ref()).map_err(|_| not_utf8(&name))?;
                if media_type.replace(text.trim().to_owned()).is_some() {
                    return Err(CloudEventError::Repeated { field: name });
                }
            } else if let Some(attribute) = name.strip_prefix("ce-") {
                attributes.push((attribute.to_owned(), value.as_ref().to_owned()));
            }
        }
        if let Some(media_type) = media_type.as_deref().filter(|text| starts_with(text, EVENTS)) {
            return match essence(media_type).eq_ignore_ascii_case(STRUCTURED) {
                true => Self::parse(body),
                false => Err(CloudEventError::Format { content_type: media_type.to_owned() }),
            };
        }
        for (name, value) in attributes {
            // In this mode the header `content-type` says it.
            if name == "datacontenttype" {
                return Err(CloudEventError::Repeated { field: name });
            }
            let value = decoded(&value).ok_or_else(|| not_utf8(&name))?;
            draft.set(&name, CloudValue::Text(value))?;
        }
        let data = data(media_type.as_deref(), body)?;
        draft.data_content_type = media_type.filter(|text| !text.is_empty());
        draft.finish(data)
    }
}

fn not_utf8(field: &str) -> CloudEventError {
    CloudEventError::invalid(field, "bytes", "UTF-8")
}

/// What a body of this media type is.
fn data(media_type: Option<&str>, body: &[u8]) -> Result<Option<CloudData>, CloudEventError> {
    if body.is_empty() {
        return Ok(None);
    }
    if is_json(media_type) {
        match serde_json::from_slice(body) {
            Ok(json) => return Ok(Some(CloudData::Json(json))),
            Err(_) if media_type.is_some() => {
                return Err(CloudEventError::Data { rule: "JSON, as its media type says" });
            }
            Err(_) => {}
        }
    }
    Ok(Some(match str::from_utf8(body) {
        Ok(text) if media_type.is_some_and(is_text) => CloudData::Json(Value::String(text.to_owned())),
        _ => CloudData::Base64(base64::encode(body)),
    }))
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether data of this media type is JSON; without one, it is.
fn is_json(media_type: Option<&str>) -> bool {
    media_type.is_none_or(|media_type| has_subtype(media_type, "json"))
}

/// Whether data of this media type is a text.
fn is_text(media_type: &str) -> bool {
    starts_with(media_type, "text/") || has_subtype(media_type, "xml")
}

fn has_subtype(media_type: &str, name: &str) -> bool {
    let subtype = essence(media_type).split_once('/').map_or("", |(_, subtype)| subtype);
    let last = subtype.rsplit('+').next().unwrap_or_default();
    last.eq_ignore_ascii_case(name)
}

fn starts_with(text: &str, start: &str) -> bool {
    text.get(..start.len()).is_some_and(|text| text.eq_ignore_ascii_case(start))
}

/// A text as a header's value (HTTP protocol binding, section 3.1.3.2).
fn encoded(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!' | b'#' | b'$' | b'&'..=b'~' => value.push(byte.into()),
            _ => {
                let digit = |number: u8| char::from(DIGITS[usize::from(number & 15)]);
                value.extend(['%', digit(byte >> 4), digit(byte)]);
            }
        }
    }
    value
}

/// The text of a header's value: without quotes, and decoded once. A `%` that nothing follows stands for itself.
fn decoded(value: &[u8]) -> Option<String> {
    let value = value.trim_ascii();
    let value = match value {
        [b'"', quoted @ .., b'"'] => unquoted(quoted),
        _ => value.to_owned(),
    };
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_slice();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = match (first, behind) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        bytes.push(escaped.map_or(*first, |(high, low)| (high << 4) | low));
        rest = behind.get(if escaped.is_some() { 2 } else { 0 }..).unwrap_or_default();
    }
    String::from_utf8(bytes).ok()
}

fn unquoted(quoted: &[u8]) -> Vec<u8> {
    let (mut value, mut bytes) = (Vec::with_capacity(quoted.len()), quoted.iter());
    while let Some(byte) = bytes.next() {
        value.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    value
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| digit.try_into().ok())
}
