//! Which patterns there are, and which topics they match.

use nervebus_core::pattern::{PatternKind, PatternRule};
use nervebus_core::topic::TopicRule;
use nervebus_core::{Pattern, Topic};
use proptest::prelude::*;

/// Whether `pattern` matches `topic`; `None` if one of them is refused.
fn matches(pattern: &str, topic: &str) -> Option<bool> {
    Some(Pattern::new(pattern).ok()?.matches(Topic::new(topic).ok()?))
}

/// Matching as the documentation tells it, on segments.
fn matches_slowly(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([], []) => true,
        (["*"], [_, ..]) => true,
        (["*", pattern @ ..], [_, topic @ ..]) => matches_slowly(pattern, topic),
        ([wanted, pattern @ ..], [found, topic @ ..]) => wanted == found && matches_slowly(pattern, topic),
        _ => false,
    }
}

#[test]
fn the_kinds_are_told_apart() {
    for (text, kind) in [
        ("a", PatternKind::Exact),
        ("order.placed", PatternKind::Exact),
        ("chat.*", PatternKind::Prefix),
        ("a.b.c.*", PatternKind::Prefix),
        ("*.error", PatternKind::Wildcard),
        ("order.*.failed", PatternKind::Wildcard),
        ("a.*.*", PatternKind::Wildcard),
        ("*.*", PatternKind::Wildcard),
        ("*", PatternKind::All),
    ] {
        assert_eq!(Pattern::new(text).map(|pattern| (pattern.as_str(), pattern.kind())), Ok((text, kind)));
    }
}

#[test]
fn a_pattern_can_be_checked_while_compiling() {
    const CHAT: bool = Pattern::new("chat.*").is_ok();
    const { assert!(CHAT) };
}

#[test]
fn each_kind_matches_what_the_grammar_says() {
    for (pattern, yes, no) in [
        ("chat", &["chat"][..], &["chat.sent", "cha", "chatter"][..]),
        (
            "chat.*",
            &["chat.sent", "chat.message.sent", "chat.x.y.z"],
            &["chat", "chatter.sent", "achat.sent", "x.chat"],
        ),
        ("*.error", &["disk.error", "é.error"], &["error", "disk.read.error", "disk.errors", "disk.error.x", "disk"]),
        (
            "order.*.failed",
            &["order.x.failed"],
            &["order.failed", "order.x.y.failed", "order.x.failed.y", "orders.x.failed"],
        ),
        ("*.*", &["a.b", "a.b.c"], &["a"]),
        ("a.*.*", &["a.b.c", "a.b.c.d"], &["a", "a.b", "b.b.c"]),
        ("*.b.*", &["a.b.c", "a.b.c.d"], &["a.b", "b.c", "a.c.b"]),
        ("*", &["a", "a.b", "注文.作成"], &[]),
    ] {
        for topic in yes {
            assert_eq!(matches(pattern, topic), Some(true), "{pattern} and {topic}");
        }
        for topic in no {
            assert_eq!(matches(pattern, topic), Some(false), "{pattern} and {topic}");
        }
    }
}

#[test]
fn a_star_is_a_whole_segment() {
    for (text, index, at) in
        [("cha*", 0, 3), ("*x", 0, 0), ("**", 0, 0), ("a.b*.c", 1, 3), ("a.*b", 1, 2), ("é.*.é*", 2, 7), ("*\n", 0, 0)]
    {
        let rule = Pattern::new(text).map_err(|error| error.rule());
        assert_eq!(rule, Err(PatternRule::PartialStar { index, at }), "for {text:?}");
    }
}

#[test]
fn otherwise_the_rules_of_topics_hold() {
    for (text, rule) in [
        ("", TopicRule::Empty),
        ("*.", TopicRule::EmptySegment { index: 1 }),
        (".*", TopicRule::EmptySegment { index: 0 }),
        ("a..*", TopicRule::EmptySegment { index: 1 }),
        ("a b", TopicRule::ForbiddenCharacter { at: 1, character: ' ' }),
    ] {
        let found = Pattern::new(text).map_err(|error| error.rule());
        assert_eq!(found, Err(PatternRule::Name(rule)), "for {text:?}");
    }
    let long = "a.".repeat(127) + "*";
    assert!(Pattern::new(&long).is_ok());
    let long = "a.".repeat(128) + "*";
    assert_eq!(
        Pattern::new(&long).map_err(|error| error.rule()),
        Err(PatternRule::Name(TopicRule::TooLong { len: 257, max: 255 }))
    );
}

#[test]
fn an_error_names_the_pattern_the_place_and_the_rule_on_one_line() {
    let text = |pattern: &str| Pattern::new(pattern).map_or_else(|error| error.to_string(), |_| String::new());
    assert_eq!(text("cha*"), r#"pattern "cha*": the '*' at byte 3 must be the whole of segment 1"#);
    assert_eq!(text("a..*"), r#"pattern "a..*": segment 2 is empty"#);
    assert_eq!(text("a\n.*"), r#"pattern "a\n.*": '\n' at byte 1 is a control character, which is not allowed"#);
    assert!(text(&"\n".repeat(100_000)).len() < 600);
    let long = "b*".repeat(90);
    assert_eq!(Pattern::new(&long).map_err(|error| error.pattern()), Err(long.as_str()));
}

/// Segments from so few letters that matches are frequent.
fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[abé]{1,2}", 1..6)
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop_oneof![2 => "[abé]{1,2}", 1 => Just("*".to_owned())], 1..6)
}

/// A topic, and a pattern made from it by putting stars and cutting, so that most pairs match or nearly do.
fn related() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    (names(), prop::collection::vec(prop::bool::weighted(0.4), 6), 1..7_usize).prop_map(|(name, stars, keep)| {
        let mut pattern: Vec<String> =
            name.iter().zip(stars).map(|(segment, star)| if star { "*".to_owned() } else { segment.clone() }).collect();
        pattern.truncate(keep);
        (pattern, name)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn matching_agrees_with_a_slow_matcher(
        (pattern, name) in prop_oneof![related(), (patterns(), names())]
    ) {
        let slow = matches_slowly(
            &pattern.iter().map(String::as_str).collect::<Vec<_>>(),
            &name.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        prop_assert_eq!(matches(&pattern.join("."), &name.join(".")), Some(slow));
    }

    #[test]
    fn every_topic_is_an_exact_pattern_that_matches_itself(
        name in prop_oneof![any::<String>(), "\\PC{1,40}", "[a-zé_-]{1,9}(\\.[A-Z0-9]{1,9}){0,4}"]
    ) {
        if let Ok(topic) = Topic::new(&name) {
            let pattern = Pattern::new(&name);
            prop_assert_eq!(pattern, Ok(Pattern::exact(topic)));
            prop_assert!(pattern.is_ok_and(|pattern| pattern.kind() == PatternKind::Exact && pattern.matches(topic)));
        }
    }

    #[test]
    fn an_exact_pattern_matches_one_topic(a in names(), b in names()) {
        let (a, b) = (a.join("."), b.join("."));
        prop_assert_eq!(matches(&a, &b), Some(a == b));
    }

    #[test]
    fn no_text_panics_and_every_error_is_one_line(text in prop_oneof![any::<String>(), "[ab.*\n é]{0,12}"], name in "[ab.]{1,12}") {
        match Pattern::new(&text) {
            Ok(pattern) => {
                prop_assert_eq!(pattern.as_str(), text.as_str());
                if let Ok(topic) = Topic::new(&name) {
                    let _ = pattern.matches(topic);
                }
            }
            Err(error) => {
                let text = error.to_string();
                prop_assert!(text.len() < 1_000 && !text.chars().any(char::is_control), "{}", text);
            }
        }
    }
}
