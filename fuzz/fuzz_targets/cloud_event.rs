//! Any bytes as a CloudEvents document, as a batch, and as an HTTP message: what is read is written, and comes back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nervebus::CloudEvent;

fn comes_back(event: &CloudEvent) {
    assert_eq!(&CloudEvent::parse(event.to_json().as_bytes()).expect("our own document"), event);
    let structured = event.to_http_structured();
    let read = CloudEvent::from_http(structured.headers, &structured.body).expect("our own message");
    assert_eq!(&read, event);
    // Not every event fits the binary mode; one that does is read again.
    if let Ok(binary) = event.to_http() {
        let read = CloudEvent::from_http(binary.headers, &binary.body).expect("our own message");
        assert_eq!((read.id(), read.source(), read.event_type()), (event.id(), event.source(), event.event_type()));
    }
    if let Ok(record) = event.clone().into_record() {
        assert_eq!(record.event_type, event.event_type());
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(event) = CloudEvent::parse(bytes) {
        comes_back(&event);
    }
    CloudEvent::parse_batch(bytes).into_iter().flatten().for_each(|event| comes_back(&event));
    // A header a line, then an empty line, then the body.
    let (head, body) = bytes.split_at(bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(bytes.len()));
    let headers = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((std::str::from_utf8(&line[..colon]).ok()?.to_owned(), line[colon + 1..].to_owned()))
    });
    if let Ok(event) = CloudEvent::from_http(headers.collect::<Vec<_>>(), body) {
        comes_back(&event);
    }
});
