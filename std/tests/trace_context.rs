//! `traceparent` and `tracestate`: what is read, what is ignored, and what is written.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use nervebus::{Record, TraceContext, json};
use proptest::prelude::*;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

fn parent(version: &str, rest: &str) -> Option<TraceContext> {
    TraceContext::parse(&format!("{version}-{TRACE}-{SPAN}-{rest}"))
}

fn state(text: &str) -> Option<String> {
    TraceContext::new(1, 1).unwrap().with_state(text).state().map(str::to_owned)
}

#[test]
fn a_traceparent_is_read_and_written_as_it_was() {
    let trace = parent("00", "01").unwrap();
    assert_eq!((trace.trace_id(), trace.span_id()), (0x0af7651916cd43dd8448eb211c80319c, 0xb7ad6b7169203331));
    assert!(trace.is_sampled() && trace.state().is_none());
    for flags in ["00", "01", "02", "03"] {
        assert_eq!(parent("00", flags).unwrap().to_string(), format!("00-{TRACE}-{SPAN}-{flags}"));
    }
    assert_eq!(parent("00", "fc").unwrap().to_string(), format!("00-{TRACE}-{SPAN}-00"), "flags of no meaning are 0");
}

#[test]
fn a_malformed_traceparent_is_none() {
    let whole = format!("00-{TRACE}-{SPAN}-01");
    for cut in 0..whole.len() {
        assert!(TraceContext::parse(&whole[..cut]).is_none(), "{}", &whole[..cut]);
    }
    for rest in ["01-", "01-what-comes-later", "010", "01 ", " 1", "+1", "0g", "0A", "é"] {
        assert!(parent("00", rest).is_none(), "{rest:?}");
    }
    for version in ["ff", "0", "000", "0g", "0A", "é", "+0", ""] {
        assert!(parent(version, "01").is_none(), "{version:?}");
    }
    let zeros = |digits: usize| "0".repeat(digits);
    for wrong in [
        format!("00-{}-{SPAN}-01", zeros(32)),
        format!("00-{TRACE}-{}-01", zeros(16)),
        format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
        format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
        format!("00_{TRACE}-{SPAN}-01"),
        format!("00-{TRACE}_{SPAN}-01"),
        format!("00-{TRACE}-{SPAN}_01"),
        format!("00-{TRACE}.{SPAN}-01"),
        format!("00-{}-{SPAN}-01", &TRACE.replace('a', "g")),
        format!(" 00-{TRACE}-{SPAN}-01"),
    ] {
        assert!(TraceContext::parse(&wrong).is_none(), "{wrong:?}");
    }
}

#[test]
fn of_a_higher_version_what_is_known_is_read_and_written_in_the_version_that_is_known() {
    for (version, rest) in [("01", "01"), ("cc", "01-what-the-future-will-be-like"), ("fe", "01-")] {
        assert_eq!(parent(version, rest).unwrap().to_string(), format!("00-{TRACE}-{SPAN}-01"));
    }
    for rest in ["01.what-the-future-will-be-like", "010", "01é", "0"] {
        assert!(parent("cc", rest).is_none(), "{rest:?}");
    }
}

#[test]
fn an_id_of_zero_is_none() {
    assert!(TraceContext::new(0, 1).is_none() && TraceContext::new(1, 0).is_none());
    let trace = TraceContext::new(u128::MAX, 7).unwrap().with_state("a=1").with_sampled(true);
    assert!(trace.child(0).is_none());
    let child = trace.child(u64::MAX).unwrap();
    assert_eq!(child.to_string(), format!("00-{}-{}-01", "f".repeat(32), "f".repeat(16)));
    assert_eq!(child.state(), Some("a=1"));
    assert!(!child.with_sampled(false).is_sampled());
}

#[test]
fn a_tracestate_keeps_its_order_and_loses_white_space_and_empty_members() {
    assert_eq!(state("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE").unwrap(), "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
    assert_eq!(state("b=1 \t , ,,\t a=2 3,").unwrap(), "b=1,a=2 3");
    assert_eq!(state("a= 1").unwrap(), "a= 1", "white space before a value belongs to it");
    assert_eq!(
        state("fw529a3039@dt=1,0tenant@sys=2,a-_*/9=!~:;<>").unwrap(),
        "fw529a3039@dt=1,0tenant@sys=2,a-_*/9=!~:;<>"
    );
    assert_eq!(state("foo=1,bar=2,foo=3").unwrap(), "foo=1,bar=2", "of two with one key the first counts");
    for nothing in ["", " ", ",", " ,\t, "] {
        assert_eq!(state(nothing), None);
    }
}

#[test]
fn a_malformed_tracestate_is_left_out_as_a_whole() {
    for wrong in [
        "foo",
        "foo=",
        "=1",
        "foo =1",
        "FOO=1",
        "foo.bar=1",
        "1foo=1",
        "foo@=1",
        "@foo=1",
        "foo@@bar=1",
        "foo@bar@baz=1",
        "foo@1bar=1",
        "foo=bar=baz",
        "foo=1\u{7f}",
        "foo=é",
        "foo=a\tb",
        "é=1",
        "foo=1;bar",
    ] {
        let is_fine = wrong == "foo=1;bar";
        assert_eq!(state(&format!("ok=1,{wrong}")).is_some(), is_fine, "{wrong:?}");
    }
    let name = |length: usize| "k".repeat(length);
    for (key, fits) in [
        (name(256), true),
        (name(257), false),
        (format!("{}@v", name(241)), true),
        (format!("{}@v", name(242)), false),
        (format!("t@{}", name(14)), true),
        (format!("t@{}", name(15)), false),
    ] {
        assert_eq!(state(&format!("{key}=1")).is_some(), fits, "{key}");
    }
    assert!(state(&format!("k={}", name(256))).is_some() && state(&format!("k={}", name(257))).is_none());
    let many = |count: usize| (0..count).map(|number| format!("k{number}=1")).collect::<Vec<_>>().join(",");
    assert_eq!(state(&many(32)), Some(many(32)));
    assert_eq!(state(&many(33)), None);
    let trace = TraceContext::parse(&format!("00-{TRACE}-{SPAN}-01")).unwrap();
    assert_eq!(trace.clone().with_state("foo"), trace, "the rest stays");
}

#[test]
fn what_is_too_long_goes_in_whole_members_long_ones_first_and_then_from_the_end() {
    let member = |key: &str, length: usize| format!("{key}={}", "v".repeat(length - key.len() - 1));
    let join = |members: &[&String]| members.iter().map(|member| member.as_str()).collect::<Vec<_>>().join(",");
    let (long, longer, a, b, c) =
        (member("l", 129), member("m", 200), member("a", 128), member("b", 128), member("c", 128));
    // 512 with its commas, and one more.
    let (d, e) = (member("d", 125), member("e", 126));
    assert_eq!(state(&join(&[&a, &b, &c, &d])).unwrap(), join(&[&a, &b, &c, &d]));
    assert_eq!(state(&join(&[&a, &b, &c, &e])).unwrap(), join(&[&a, &b, &c]));
    assert_eq!(state(&join(&[&long, &a, &b, &c, &d])).unwrap(), join(&[&a, &b, &c, &d]));
    assert_eq!(state(&join(&[&long, &a, &longer, &b])).unwrap(), join(&[&long, &a, &b]));
}

fn nearly(alphabet: &'static str, length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let letters: Vec<char> = alphabet.chars().collect();
    prop::collection::vec(prop::sample::select(letters), length).prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn whatever_is_written_is_read_back(trace in 1_u128.., span in 1_u64.., sampled: bool, text in nearly("ab1=,@ -", 0..40)) {
        let trace = TraceContext::new(trace, span).unwrap().with_sampled(sampled).with_state(&text);
        let read = TraceContext::parse(&trace.to_string()).unwrap().with_state(trace.state().unwrap_or_default());
        prop_assert_eq!(&read, &trace);
        let mut record = Record::new("t", json!({}));
        record.trace_context = Some(trace);
        prop_assert_eq!(&Record::from_jsonl(record.to_jsonl().as_bytes()).unwrap(), &record);
    }

    #[test]
    fn whatever_is_read_is_fit_to_be_written(text in prop_oneof![any::<String>(), nearly("0123-abf", 50..60)], states: String) {
        if let Some(trace) = TraceContext::parse(&text) {
            prop_assert!(trace.trace_id() != 0 && trace.span_id() != 0);
            prop_assert_eq!(&trace.to_string()[3..52], &text[3..52]);
        }
        let _ = state(&states);
    }

    #[test]
    fn one_changed_byte_makes_a_traceparent_another_one_or_none(at in 0_usize..55, byte in 0_u8..128) {
        let text = format!("00-{TRACE}-{SPAN}-01");
        let mut changed = text.clone().into_bytes();
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_dash = [2, 35, 52].contains(&at);
        let fits = if is_dash { byte == b'-' } else { digits(byte) };
        // Two digits of a version are a version, unless both are `f`.
        prop_assert_eq!(TraceContext::parse(&changed).is_some(), fits, "{}", changed);
    }

    #[test]
    fn a_tracestate_is_in_order_bounded_and_settled(text in nearly("ab,= @1\t", 0..120)) {
        if let Some(read) = state(&text) {
            prop_assert!(read.len() <= 512 && read.split(',').count() <= 32);
            let members: Vec<_> = text.split(',').map(|member| member.trim_matches([' ', '\t'])).collect();
            let places: Vec<_> = read.split(',').map(|member| members.iter().position(|other| *other == member)).collect();
            prop_assert!(places.iter().all(Option::is_some) && places.is_sorted());
            let keys: std::collections::HashSet<_> = read.split(',').map(|member| member.split_once('=').unwrap().0).collect();
            prop_assert_eq!(keys.len(), read.split(',').count());
            prop_assert_eq!(state(&read), Some(read));
        }
    }
}
