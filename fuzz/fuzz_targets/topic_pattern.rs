//! Any text as a topic and as a pattern: what matches is what a simple walk over the segments says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nervebus::{Pattern, Topic};

/// The table in the documentation of `Pattern`, to the letter.
fn matches(pattern: &[&str], topic: &[&str]) -> bool {
    match (pattern, topic) {
        ([], []) => true,
        // At the end it takes whatever is left, one segment or more.
        (["*"], [_, ..]) => true,
        (["*", pattern @ ..], [_, topic @ ..]) => matches(pattern, topic),
        ([wanted, pattern @ ..], [found, topic @ ..]) => wanted == found && matches(pattern, topic),
        _ => false,
    }
}

fn is_one_line(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

fuzz_target!(|texts: (&str, &str)| {
    let (first, second) = texts;
    for text in [first, second] {
        match (Topic::new(text), Pattern::new(text)) {
            (Ok(topic), Ok(pattern)) => {
                assert!(pattern.matches(topic), "a topic is a pattern that matches it");
                assert!(Pattern::new("*").is_ok_and(|all| all.matches(topic)));
                assert!(topic.segments().all(|segment| !segment.is_empty()));
            }
            (Ok(_), Err(error)) => panic!("a topic that is no pattern: {error}"),
            (Err(error), Ok(_)) => assert!(text.contains('*') && is_one_line(&error.to_string())),
            (Err(name), Err(pattern)) => assert!(is_one_line(&name.to_string()) && is_one_line(&pattern.to_string())),
        }
        if Topic::strict(text).is_ok() {
            assert!(Topic::new(text).is_ok(), "every strict name is a lenient one");
        }
    }
    if let (Ok(pattern), Ok(topic)) = (Pattern::new(first), Topic::new(second)) {
        let (wanted, found): (Vec<_>, Vec<_>) = (first.split('.').collect(), second.split('.').collect());
        assert_eq!(pattern.matches(topic), matches(&wanted, &found), "{first:?} and {second:?}");
    }
});
