//! Scopes in headers of HTTP: what is read of them, and what is written.
#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use http::header::{HeaderMap, HeaderName, HeaderValue};
use nervebus::{Baggage, Bus, Scope, TraceContext, json};
use proptest::prelude::*;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn trace(lines: &[(&str, &str)]) -> Option<TraceContext> {
    Scope::extract(&headers(lines)).trace_context().cloned()
}

fn correlation(values: &[&str]) -> Option<String> {
    let lines: Vec<_> = values.iter().map(|value| ("x-correlation-id", *value)).collect();
    Scope::extract(&headers(&lines)).correlation_id().map(str::to_owned)
}

#[test]
fn names_are_read_in_any_case_and_a_scope_has_it_all() {
    for change in [str::to_lowercase, str::to_uppercase, |name: &str| name.to_owned()] {
        let named = ["X-Correlation-ID", "TraceParent", "traceState", "Baggage"].map(change);
        let values = ["req-1", TRACEPARENT, "congo=t61rcWkgMzE", "userId=alice"];
        let lines: Vec<_> = named.iter().map(String::as_str).zip(values).collect();
        let bus = Bus::builder().build().unwrap();
        bus.on("seen")
            .inline()
            .handle(|event| {
                assert_eq!(event.correlation_id(), Some("req-1"));
                let wanted = TraceContext::parse(TRACEPARENT).unwrap().with_state("congo=t61rcWkgMzE");
                assert_eq!(event.trace_context(), Some(&wanted));
                assert_eq!(event.baggage().unwrap().get("userId"), Some("alice"));
            })
            .unwrap();
        let scope = Scope::extract(&headers(&lines)).enter();
        assert!(bus.emit_and_wait("seen", json!({})).unwrap().all_handled());
        drop(scope);
    }
}

#[test]
fn without_headers_a_scope_says_nothing_and_takes_nothing_from_around_it() {
    let _around = Scope::new().with_correlation_id("around").enter();
    let scope = Scope::extract(&HeaderMap::new());
    assert_eq!((scope.correlation_id(), scope.trace_context(), scope.baggage()), (None, None, None));
    let _scope = scope.enter();
    assert_eq!(Scope::current().correlation_id(), None);
}

#[test]
fn a_correlation_id_is_visible_ascii_of_256_characters_at_most() {
    let long = "i".repeat(256);
    assert_eq!(correlation(&[&long]), Some(long.clone()));
    assert_eq!(correlation(&[" \treq-1\t "]).as_deref(), Some("req-1"), "white space around it is not its own");
    for wrong in ["", " ", "a b", "a\tb", "é", &format!("{long}i")] {
        assert_eq!(correlation(&[wrong]), None, "{wrong:?}");
        assert_eq!(correlation(&[wrong, "second", "third"]).as_deref(), Some("second"), "{wrong:?}");
    }
}

#[test]
fn what_is_malformed_costs_nothing_else() {
    let whole = [("x-correlation-id", "req-1"), ("traceparent", TRACEPARENT), ("baggage", "a=1")];
    for (at, wrong) in [(0, "a b"), (1, "00-0"), (2, "=")] {
        let mut lines = whole;
        lines[at].1 = wrong;
        let scope = Scope::extract(&headers(&lines));
        let there = [scope.correlation_id().is_some(), scope.trace_context().is_some(), scope.baggage().is_some()];
        assert_eq!(there.map(usize::from).iter().sum::<usize>(), 2);
        assert!(!there[at]);
    }
    assert_eq!(trace(&[("traceparent", TRACEPARENT), ("tracestate", "no state")]), TraceContext::parse(TRACEPARENT));
    assert_eq!(trace(&[("traceparent", TRACEPARENT), ("tracestate", "a=é")]), TraceContext::parse(TRACEPARENT));
}

#[test]
fn a_traceparent_stands_alone_and_a_state_goes_with_one() {
    let parent = ("traceparent", TRACEPARENT);
    assert_eq!(trace(&[("traceparent", &format!(" {TRACEPARENT}\t"))]), TraceContext::parse(TRACEPARENT));
    assert_eq!(trace(&[parent, parent]), None, "which of two is meant, nobody knows");
    assert_eq!(trace(&[("tracestate", "a=1")]), None);
    let states = [parent, ("tracestate", "b=1"), ("tracestate", ""), ("tracestate", "a=2 , c=3")];
    assert_eq!(trace(&states).unwrap().state(), Some("b=1,a=2,c=3"), "several are one, in their order");
}

#[test]
fn several_baggage_headers_are_one() {
    let lines = [("baggage", "userId=alice"), ("baggage", "é"), ("baggage", "serverNode=DF%2028, isProduction=false")];
    let scope = Scope::extract(&headers(&lines));
    assert_eq!(scope.baggage().unwrap().to_string(), "userId=alice,serverNode=DF%2028,isProduction=false");
}

#[test]
fn what_is_said_is_put_in_the_place_of_what_was_there_and_the_rest_stays() {
    let old = [
        ("x-correlation-id", "old"),
        ("x-correlation-id", "older"),
        ("traceparent", TRACEPARENT),
        ("tracestate", "old=1"),
        ("baggage", "old=1"),
        ("accept", "text/html"),
    ];
    let mut written = headers(&old);
    Scope::new().inject(&mut written);
    assert_eq!(written, headers(&old), "an empty scope says nothing");
    let trace = TraceContext::new(1, 2).unwrap();
    Scope::new().with_correlation_id("new").with_trace_context(trace.clone()).inject(&mut written);
    let parent = trace.to_string();
    let new = [("x-correlation-id", "new"), ("traceparent", &parent), ("baggage", "old=1"), ("accept", "text/html")];
    assert_eq!(written, headers(&new), "and the state of another trace goes with it");
    let scope = Scope::new().with_trace_context(trace.with_state("a=1")).with_baggage(Baggage::parse("b=2").unwrap());
    scope.inject(&mut written);
    assert_eq!((&written["tracestate"], &written["baggage"]), (&"a=1".parse().unwrap(), &"b=2".parse().unwrap()));
}

#[test]
fn what_cannot_be_a_header_is_left_out() {
    for id in ["a\r\nX-Forged: 1", "", "a b", "é", &"i".repeat(257)] {
        let mut headers = HeaderMap::new();
        Scope::new().with_correlation_id(id).with_baggage(Baggage::new()).inject(&mut headers);
        assert!(headers.is_empty(), "{id:?}");
    }
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(
        id in "[!-~]{1,256}", trace in 1_u128.., span in 1_u64.., values in prop::collection::vec(any::<String>(), 1..10)
    ) {
        let mut baggage = Baggage::new();
        for (number, value) in values.iter().enumerate() {
            let _ = baggage.insert(&format!("k{number}"), value);
        }
        let trace = TraceContext::new(trace, span).unwrap().with_state("b=2,a=1");
        let mut headers = HeaderMap::new();
        let scope = Scope::new().with_correlation_id(&*id).with_trace_context(trace.clone());
        scope.with_baggage(baggage.clone()).inject(&mut headers);
        let read = Scope::extract(&headers);
        prop_assert_eq!((read.correlation_id(), read.trace_context()), (Some(&*id), Some(&trace)));
        prop_assert_eq!(read.baggage(), Some(&baggage));
    }

    #[test]
    fn no_header_is_fatal(lines in prop::collection::vec((0_usize..4, prop::collection::vec(any::<u8>(), 0..80)), 0..12)) {
        let names = ["x-correlation-id", "traceparent", "tracestate", "baggage"];
        let mut headers = HeaderMap::new();
        for (name, value) in &lines {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(names[*name], value);
            }
        }
        let scope = Scope::extract(&headers);
        prop_assert!(scope.correlation_id().is_none_or(|id| id.len() <= 256 && id.bytes().all(|byte| byte.is_ascii_graphic())));
        let mut written = HeaderMap::new();
        scope.inject(&mut written);
        let read = Scope::extract(&written);
        prop_assert_eq!(read.correlation_id(), scope.correlation_id());
        prop_assert_eq!((read.trace_context(), read.baggage()), (scope.trace_context(), scope.baggage()));
    }
}
