//! Building: every setting has a range, and what is outside it is refused by name, value and range.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test looks at a file, and stops at the first surprise"
)]

use std::time::Duration;

use nervebus::{AuditLog, BuildError, Builder, Bus, Lane, Overflow};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn refusal(builder: Builder) -> String {
    match builder.build() {
        Ok(_) => "built".into(),
        Err(error) => error.to_string(),
    }
}

/// A lane that costs little.
fn small(name: &str) -> Lane {
    Lane::new(name).capacity(1)
}

fn bus() -> Builder {
    Bus::builder().default_lane(small("default"))
}

#[test]
fn a_number_outside_its_range_is_refused_by_field_value_and_range() {
    let max = usize::MAX;
    let cases = [
        (bus().dead_letters(16_777_217), "dead_letters is 16777217, outside its range 0..=16777216".to_owned()),
        (bus().dead_letters(max), format!("dead_letters is {max}, outside its range 0..=16777216")),
        (bus().max_topics(0), "max_topics is 0, outside its range 16..=16777216".to_owned()),
        (bus().max_topics(15), "max_topics is 15, outside its range 16..=16777216".to_owned()),
        (bus().max_topics(max), format!("max_topics is {max}, outside its range 16..=16777216")),
        (bus().max_subscriptions(0), "max_subscriptions is 0, outside its range 1..=16777216".to_owned()),
        (bus().max_subscriptions(max), format!("max_subscriptions is {max}, outside its range 1..=16777216")),
        (bus().max_depth(0), "max_depth is 0, outside its range 1..=1000".to_owned()),
        (bus().max_depth(u32::MAX), "max_depth is 4294967295, outside its range 1..=1000".to_owned()),
    ];
    for (builder, text) in cases {
        assert_eq!(refusal(builder), text);
    }
}

#[test]
fn a_capacity_outside_its_range_is_refused_for_every_kind_of_lane() {
    let path = std::env::temp_dir().join(format!("nervebus-builder-capacity-{}.jsonl", std::process::id()));
    for capacity in [0, 1_048_577, usize::MAX] {
        let text = |lane: &str| format!("lane {lane:?}.capacity is {capacity}, outside its range 1..=1048576");
        assert_eq!(refusal(Bus::builder().default_lane(Lane::new("main").capacity(capacity))), text("main"));
        assert_eq!(refusal(bus().lane(Lane::new("io").capacity(capacity))), text("io"));
        assert_eq!(refusal(bus().audit(AuditLog::at(&path).capacity(capacity))), text("audit"));
        let error = bus().lane(Lane::new("io").capacity(capacity)).build().unwrap_err();
        assert!(matches!(
            error,
            BuildError::OutOfRange { field, value, min: 1, max: 1_048_576 }
                if field == r#"lane "io".capacity"# && value == capacity as u64
        ));
    }
    assert!(!path.exists(), "a builder that is refused leaves no file behind");
}

#[test]
fn a_wait_of_nothing_or_of_more_than_a_day_is_refused() {
    let range = "outside its range: more than zero, at most 86400s";
    assert_eq!(refusal(bus().wait_limit(Duration::ZERO)), format!("wait_limit is 0ns, {range}"));
    let over = DAY + Duration::from_nanos(1);
    assert_eq!(refusal(bus().wait_limit(over)), format!("wait_limit is {over:?}, {range}"));
    for wait in [Duration::ZERO, over, Duration::MAX] {
        let policy = Overflow::BlockFor(wait);
        assert_eq!(
            refusal(bus().lane(small("io").overflow(policy))),
            format!(r#"lane "io".overflow is {wait:?}, {range}"#)
        );
        let error = Bus::builder().default_lane(small("main").overflow(policy)).build().unwrap_err();
        assert!(matches!(error, BuildError::WaitOutOfRange { value, max, .. } if value == wait && max == DAY));
    }
}

#[test]
fn the_ends_of_every_range_are_allowed() {
    // The largest ring would take a quarter of a gigabyte, so its range is tested from outside only.
    let least =
        bus().dead_letters(0).max_topics(16).max_subscriptions(1).max_depth(1).wait_limit(Duration::from_nanos(1));
    assert_eq!(refusal(least), "built");
    let most = bus().dead_letters(1 << 24).max_topics(1 << 24).max_subscriptions(1 << 24).max_depth(1_000);
    assert_eq!(refusal(most.wait_limit(DAY).lane(small("io").overflow(Overflow::BlockFor(DAY)))), "built");
}

#[test]
fn two_lanes_of_one_name_are_refused() {
    for builder in [bus().lane(small("io")).lane(small("io")), bus().lane(small("default"))] {
        let error = builder.build().unwrap_err();
        let BuildError::DuplicateLane { name } = &error else { panic!("{error}") };
        assert_eq!(error.to_string(), format!("lane {name:?} is defined twice"));
    }
    assert_eq!(refusal(bus().lane(small("io")).lane(small("IO"))), "built", "case matters");
    let default_is_elsewhere = Bus::builder().default_lane(small("main")).lane(small("default"));
    assert_eq!(refusal(default_is_elsewhere), "built", "the default lane may have any name");
}

#[test]
fn a_name_that_the_bus_uses_itself_is_refused_for_that_reason() {
    for name in ["inline", "audit"] {
        for builder in [bus().lane(small(name)), Bus::builder().default_lane(small(name))] {
            let text = refusal(builder);
            assert!(text.contains(name) && !text.contains("twice"), "it was defined once: {text}");
        }
    }
}

#[test]
fn a_lane_name_that_no_thread_could_have_is_refused() {
    let long = "x".repeat(33);
    for name in ["", "a b", "a/b", "a\0", "café", "\"", &long] {
        let text = refusal(bus().lane(small(name)));
        assert_eq!(text, format!("lane name {name:?} is not 1 to 32 letters, digits, '-', '_' or '.'"));
    }
    let longest = "y".repeat(32);
    assert_eq!(refusal(bus().lane(small("io-2_b.c")).lane(small(&longest))), "built");
}

#[test]
fn there_are_at_most_256_lanes() {
    let lanes = |extra: usize| (0..extra).fold(bus(), |builder, n| builder.lane(small(&format!("lane{n}"))));
    assert_eq!(refusal(lanes(256)), "lanes is 257, outside its range 1..=256");
    let full = lanes(255).build().unwrap();
    let last = full.on("t").lane("lane254").handle(|_| ());
    assert!(last.is_ok() && full.emit_and_wait("t", ()).unwrap().all_handled());
}

#[test]
fn an_audit_log_that_cannot_be_opened_is_an_error_with_a_cause() {
    let folder = std::env::temp_dir();
    let error = bus().audit(AuditLog::at(&folder)).build().unwrap_err();
    assert!(matches!(&error, BuildError::Audit { path, .. } if *path == folder));
    assert!(error.to_string().contains(&format!("{folder:?}")), "{error}");
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn the_first_thing_wrong_is_told_and_a_builder_with_defaults_is_right() {
    assert_eq!(refusal(Bus::builder()), "built");
    assert!(refusal(bus().max_depth(0).dead_letters(usize::MAX)).starts_with("dead_letters is"));
}
