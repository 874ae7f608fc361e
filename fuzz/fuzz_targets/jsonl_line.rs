//! Any bytes as a line of a log: a record that is read is written as one line, and comes back from it; a refusal is one
//! line of text, however the input tries to forge a second.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nervebus::{OwnedEvent, Record};

/// Whether nothing in a line ends it, moves a cursor or hides in it.
fn shows_as_one_line(line: &str) -> bool {
    !line.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

fuzz_target!(|line: &[u8]| {
    match Record::from_jsonl(line) {
        Ok(record) => {
            let written = record.to_jsonl();
            assert!(shows_as_one_line(&written), "{written:?}");
            let read = Record::from_jsonl(written.as_bytes()).expect("our own line");
            assert_eq!(read, record);
            assert_eq!(read.to_jsonl(), written, "the same record has the same line");
        }
        Err(error) => {
            let text = error.to_string();
            assert!(shows_as_one_line(&text), "{text:?}");
            assert!(text.len() < 1_000, "a refusal is short, whatever was refused: {} bytes", text.len());
        }
    }
    // An event is a record, and perhaps more.
    let event = OwnedEvent::from_jsonl(line);
    if let (Ok(event), Ok(record)) = (&event, Record::from_jsonl(line)) {
        assert_eq!((event.topic(), event.payload()), (&*record.event_type, &record.payload));
        let again = OwnedEvent::from_jsonl(event.to_jsonl().as_bytes()).expect("our own line");
        assert_eq!((again.topic(), again.payload()), (event.topic(), event.payload()));
        assert_eq!((again.source(), again.correlation_id()), (event.source(), event.correlation_id()));
    }
});
