//! Baggage: what of a header is read, what of it is left out, and what is written.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use nervebus::{Baggage, BaggageError, Record, json};
use proptest::prelude::*;

/// As text: key, value and properties of each member.
fn read(header: &str) -> Vec<(String, String, Vec<String>)> {
    let Some(baggage) = Baggage::parse(header) else { return Vec::new() };
    assert_eq!(baggage.len(), baggage.iter().count());
    let properties = |key: &str| baggage.properties(key).map(str::to_owned).collect();
    baggage.iter().map(|(key, value)| (key.to_owned(), value.to_owned(), properties(key))).collect()
}

fn values(header: &str) -> Vec<(String, String)> {
    read(header).into_iter().map(|(key, value, _)| (key, value)).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn the_examples_of_the_specification_are_read() {
    let three = "key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue";
    let wanted = [
        ("key1", "value1", vec!["property1", "property2"]),
        ("key2", "value2", vec![]),
        ("key3", "value3", vec!["propertyKey=propertyValue"]),
    ];
    let own = |(key, value, properties): &(&str, &str, Vec<&str>)| {
        (key.to_string(), value.to_string(), properties.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(read(three), wanted.iter().map(own).collect::<Vec<_>>());
    let alice = pairs(&[("userId", "alice"), ("serverNode", "DF 28"), ("isProduction", "false")]);
    assert_eq!(values("userId=alice,serverNode=DF%2028,isProduction=false"), alice);
    assert_eq!(values("userId =   alice, serverNode = DF%2028\t, isProduction = false"), alice);
    assert_eq!(values("a=b=c=="), pairs(&[("a", "b=c==")]), "an equals sign may stand in a value");
    assert_eq!(values("a="), pairs(&[("a", "")]));
}

#[test]
fn values_are_decoded_and_what_is_no_text_is_replaced() {
    let decoded = [
        ("%41%e2%82%ac%F0%9F%A6%80", "A€🦀"),
        ("%FF", "\u{fffd}"),
        ("100%", "100%"),
        ("%4", "%4"),
        ("%zz%25", "%zz%"),
        ("%22%2C%3B%5C%0A", "\",;\\\n"),
        ("a+b", "a+b"),
    ];
    for (encoded, value) in decoded {
        assert_eq!(values(&format!("k={encoded}")), pairs(&[("k", value)]));
    }
    let mut baggage = Baggage::new();
    baggage.insert("k", "A€ \",;\\\n100%").unwrap();
    assert_eq!(baggage.to_string(), "k=A%E2%82%AC%20%22%2C%3B%5C%0A100%25");
}

#[test]
fn a_malformed_member_is_left_out_and_the_others_stay() {
    for wrong in [
        "",
        " ",
        "a",
        "=1",
        "a b=1",
        "a=1 2",
        "a=\"1\"",
        "a=\\",
        "é=1",
        "a=é",
        "a\u{7f}=1",
        "a=1;b c",
        "a=1;=2",
        "a=1;;b",
        "(a)=1",
    ] {
        assert_eq!(values(&format!("first=1,{wrong},last=2")), pairs(&[("first", "1"), ("last", "2")]), "{wrong:?}");
        assert_eq!(Baggage::parse(wrong), None, "{wrong:?}");
    }
}

#[test]
fn what_everybody_passes_on_is_kept_and_what_is_beyond_that_is_left_out() {
    let header = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
    assert_eq!(Baggage::parse(&header(64)).unwrap().to_string(), header(64));
    assert_eq!(Baggage::parse(&header(180)).unwrap().to_string(), header(64));
    let fits = format!("k={}", "v".repeat(8_190));
    assert_eq!(Baggage::parse(&fits).unwrap().to_string(), fits);
    assert_eq!(Baggage::parse(&format!("{fits}v")), None);
    assert_eq!(values(&format!("a=1,{fits},b=2")), pairs(&[("a", "1"), ("b", "2")]));
    assert_eq!(Baggage::parse(&format!("k={}", "%FF".repeat(1_000))), None, "it would be longer when it is written");
}

#[test]
fn a_key_is_set_once_and_what_finds_no_room_changes_nothing() {
    let mut baggage = Baggage::parse("a=1;p,b=2,a=3").unwrap();
    assert_eq!((baggage.get("a"), baggage.len(), baggage.to_string().as_str()), (Some("1"), 3, "a=1;p,b=2,a=3"));
    baggage.insert("a", "4").unwrap();
    assert_eq!(baggage.to_string(), "a=4,b=2");
    assert!(baggage.remove("a") && !baggage.remove("a") && !baggage.is_empty());

    for key in ["", "a b", "a=b", "a,b", "é", "a\n"] {
        assert_eq!(baggage.insert(key, "1"), Err(BaggageError::InvalidKey { key: key.to_owned() }));
    }
    let long = baggage.insert("c", &" ".repeat(2_729));
    assert_eq!(long, Err(BaggageError::TooLong { key: "c".to_owned(), length: "b=2,c=".len() + 3 * 2_729 }));
    assert!(long.unwrap_err().to_string().contains("8193"));
    assert_eq!(baggage.to_string(), "b=2");
    baggage.insert("c", &" ".repeat(2_728)).unwrap();
    baggage.remove("c");
    for number in 1..64 {
        baggage.insert(&format!("k{number}"), "1").unwrap();
    }
    assert_eq!(baggage.insert("one-more", "1"), Err(BaggageError::TooMany { key: "one-more".to_owned() }));
    baggage.insert("b", "replaced").unwrap();
    assert_eq!((baggage.len(), baggage.get("b")), (64, Some("replaced")));
}

#[test]
fn debug_shows_keys_only() {
    let shown = format!("{:?}", Baggage::parse("user=alice,b=2;secret").unwrap());
    assert_eq!(shown, r#"{"user", "b"}"#);
}

fn key() -> impl Strategy<Value = String> {
    "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}"
}

proptest! {
    #[test]
    fn whatever_is_put_in_is_read_back(members in prop::collection::vec((key(), any::<String>()), 0..20)) {
        let mut baggage = Baggage::new();
        for (key, value) in &members {
            if baggage.insert(key, value).is_ok() {
                prop_assert_eq!(baggage.get(key), Some(&**value));
            }
        }
        let header = baggage.to_string();
        prop_assert!(header.len() <= 8_192 && header.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
        prop_assert_eq!(Baggage::parse(&header).unwrap_or_default(), baggage.clone());
        let mut record = Record::new("t", json!({}));
        record.baggage = Some(baggage).filter(|baggage| !baggage.is_empty());
        prop_assert_eq!(&Record::from_jsonl(record.to_jsonl().as_bytes()).unwrap(), &record);
    }

    #[test]
    fn whatever_is_read_is_bounded_and_the_same_when_it_is_read_again(
        header in prop_oneof![any::<String>(), "([a-c%=;, \t]|%[0-9A-F]{2}){0,200}", "([a-z]{1,3}=[a-z%]{0,300},){0,100}"]
    ) {
        if let Some(baggage) = Baggage::parse(&header) {
            let written = baggage.to_string();
            prop_assert!(written.len() <= 8_192 && (1..=64).contains(&baggage.len()));
            prop_assert_eq!(Baggage::parse(&written), Some(baggage));
        }
    }
}
