//! Which names are topics, and what is said about the others.

use nervebus_core::Topic;
use nervebus_core::topic::TopicRule;
use proptest::prelude::*;

fn lenient(name: &str) -> Result<&str, TopicRule> {
    Topic::new(name).map(Topic::as_str).map_err(|error| error.rule())
}

fn strict(name: &str) -> Result<&str, TopicRule> {
    Topic::strict(name).map(Topic::as_str).map_err(|error| error.rule())
}

/// The text of the error, empty for a good name.
fn refusal(name: &str) -> String {
    Topic::strict(name).map_or_else(|error| error.to_string(), |_| String::new())
}

const CHECKED_WHILE_COMPILING: Topic<'static> = match Topic::strict("order.placed") {
    Ok(topic) => topic,
    Err(_) => panic!("the name is a strict one"),
};

#[test]
fn a_topic_can_be_checked_while_compiling() {
    assert_eq!(CHECKED_WHILE_COMPILING.as_str(), "order.placed");
}

#[test]
fn a_topic_knows_its_parts() -> Result<(), nervebus_core::TopicError<'static>> {
    let topic = Topic::new("order.payment.failed")?;
    assert_eq!(topic.segments().collect::<Vec<_>>(), ["order", "payment", "failed"]);
    assert_eq!((topic.domain(), topic.action()), ("order", Some("payment.failed")));
    assert_eq!(format!("{topic:>21}"), " order.payment.failed");

    let topic = Topic::new("heartbeat")?;
    assert_eq!(topic.segments().collect::<Vec<_>>(), ["heartbeat"]);
    assert_eq!((topic.domain(), topic.action()), ("heartbeat", None));
    Ok(())
}

#[test]
fn the_lenient_rule_takes_unusual_names() {
    for name in
        ["a", "Order", "com.Example-1.x_y", "s3.get/bucket:policy", "größe.geändert", "注文.作成", "🦀", "\"", "\\n"]
    {
        assert_eq!(lenient(name), Ok(name));
    }
}

#[test]
fn length_is_counted_in_bytes() {
    let longest = "é".repeat(127) + "x";
    assert_eq!(lenient(&longest), Ok(longest.as_str()));
    assert_eq!(lenient(&"é".repeat(128)), Err(TopicRule::TooLong { len: 256, max: 255 }));
    assert_eq!(lenient(""), Err(TopicRule::Empty));
}

#[test]
fn no_segment_is_empty() {
    for (name, index) in [(".", 0), (".a", 0), ("a.", 1), ("a..b", 1), ("a.b.c.", 3), ("é..b", 1)] {
        assert_eq!(lenient(name), Err(TopicRule::EmptySegment { index }), "for {name:?}");
    }
}

#[test]
fn every_character_of_unicode_is_judged_as_the_rule_says() {
    for character in '\0'..=char::MAX {
        let name = format!("a{character}b");
        let forbidden = character.is_whitespace() || character.is_control() || character == '*';
        let expected =
            if forbidden { Err(TopicRule::ForbiddenCharacter { at: 1, character }) } else { Ok(name.as_str()) };
        assert_eq!(lenient(&name), expected);
    }
}

#[test]
fn the_strict_rule_wants_a_domain_and_an_action_in_lower_case() {
    for name in ["user.login", "a.b", "a1_.b_2.c__.d9"] {
        assert_eq!(strict(name), Ok(name));
    }
    assert_eq!(strict("order"), Err(TopicRule::NoAction));
    assert_eq!(strict("Order.placed"), Err(TopicRule::SegmentStart { index: 0, at: 0, character: 'O' }));
    assert_eq!(strict("order.1st"), Err(TopicRule::SegmentStart { index: 1, at: 6, character: '1' }));
    assert_eq!(strict("order._x"), Err(TopicRule::SegmentStart { index: 1, at: 6, character: '_' }));
    assert_eq!(strict("order.große"), Err(TopicRule::NotLowercase { at: 9, character: 'ß' }));
    assert_eq!(strict("order.pla-ced"), Err(TopicRule::NotLowercase { at: 9, character: '-' }));
    assert_eq!(strict("order..placed"), Err(TopicRule::EmptySegment { index: 1 }));
}

#[test]
fn an_error_names_the_topic_the_place_and_the_rule() {
    for (name, expected) in [
        ("", r#"topic "": a name needs at least one character"#),
        ("a..b", r#"topic "a..b": segment 2 is empty"#),
        ("a b", r#"topic "a b": ' ' at byte 1 is whitespace, which is not allowed"#),
        ("a.b\u{7}", r#"topic "a.b\u{7}": '\u{7}' at byte 3 is a control character, which is not allowed"#),
        ("chat.*", r#"topic "chat.*": '*' at byte 5 is for patterns only"#),
        ("a.B", r#"topic "a.B": segment 2 starts with 'B' at byte 2, but must start with a to z"#),
        ("a.b-", r#"topic "a.b-": '-' at byte 3 is none of a to z, 0 to 9 and '_'"#),
        ("a", r#"topic "a": an action must follow the domain, as in "domain.action""#),
    ] {
        assert_eq!(refusal(name), expected);
    }
}

#[test]
fn an_error_stays_on_one_short_line_whatever_the_name_is() {
    let text = refusal("x\n2026-01-01 INFO all is well\r\u{1b}[2J\u{2028}\u{202e}\"");
    assert!(text.starts_with(r#"topic "x\n2026-01-01 INFO all is well\r\u{1b}[2J\u{2028}\u{202e}\"":"#), "{text}");
    let text = refusal(&"\u{9f}".repeat(100_000));
    assert!(text.len() < 600 && text.contains(r#""...: 200000 bytes are more than the 255 allowed"#), "{text}");
}

#[test]
fn an_error_hands_back_the_whole_name() {
    let name = "a..".repeat(80);
    assert_eq!(Topic::new(&name).map_err(|error| error.name()), Err(name.as_str()));
}

/// The lenient rule once more, the slow way.
fn is_topic(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.split('.').all(|segment| !segment.is_empty())
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '*')
}

/// The strict rule once more, the slow way.
fn is_strict(name: &str) -> bool {
    let part = |segment: &str| {
        segment.starts_with(|c: char| c.is_ascii_lowercase())
            && segment.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    name.len() <= 255 && name.contains('.') && name.split('.').all(part)
}

proptest! {
    #[test]
    fn any_text_is_judged_by_the_rules_and_none_panics(
        name in prop_oneof![any::<String>(), "[a-cA.* \n\u{85}é0_]{0,12}", "[a-z0-9_]{1,3}(\\.[a-z0-9_]{1,3}){0,3}", "[aé.]{200,300}"]
    ) {
        prop_assert_eq!(lenient(&name).is_ok(), is_topic(&name));
        prop_assert_eq!(strict(&name).is_ok(), is_strict(&name));
        let text = refusal(&name);
        prop_assert!(text.len() < 1_000 && !text.chars().any(char::is_control), "{}", text);
    }

    #[test]
    fn a_topic_is_its_segments_joined(name in "[a-zé]{1,4}(\\.[a-zé]{1,4}){0,5}") {
        let topic = Topic::new(&name).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(topic.segments().collect::<Vec<_>>().join("."), name.as_str());
        prop_assert_eq!(Some(topic.domain()), topic.segments().next());
        let rest = topic.segments().skip(1).collect::<Vec<_>>().join(".");
        prop_assert_eq!(topic.action().unwrap_or_default(), rest);
    }
}
