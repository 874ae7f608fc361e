//! Any text as what the W3C's headers say: what is read is written, and comes back as it was; what is written keeps their limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nervebus::{Baggage, TraceContext};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fuzz_target!(|text: &str| {
    if let Some(trace) = TraceContext::parse(text) {
        let written = trace.to_string();
        assert!(written.len() == 55 && written.starts_with("00-"), "{written}");
        assert_eq!(TraceContext::parse(&written).as_ref(), Some(&trace));
        assert!(trace.trace_id() != 0 && trace.span_id() != 0);
    }
    let trace = TraceContext::parse(PARENT).expect("the specification's own");
    if let Some(state) = trace.clone().with_state(text).state() {
        assert!(state.split(',').count() <= 32, "{state}");
        assert_eq!(trace.with_state(state).state(), Some(state));
    }
    if let Some(baggage) = Baggage::parse(text) {
        let written = baggage.to_string();
        assert!(written.len() <= 8_192 && written.is_ascii() && !written.contains(['\r', '\n']), "{written:?}");
        match Baggage::parse(&written) {
            Some(read) => assert_eq!(read, baggage),
            None => assert!(baggage.is_empty()),
        }
    }
});
