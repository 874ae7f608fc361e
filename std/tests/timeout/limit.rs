//! How long a call may take: where that is said, what it applies to, and what is refused.

use std::sync::mpsc;
use std::time::Duration;

use nervebus::{Bus, Event, ManualClock, SubscribeError};

use super::{SECOND, bus_on, end};

const NANO: Duration = Duration::from_nanos(1);

#[test]
fn a_default_applies_to_lanes_but_not_inline_and_can_be_turned_off() {
    let clock = ManualClock::new();
    let bus = bus_on(&clock).handler_timeout(Some(SECOND)).build().unwrap();
    let (sender, seen) = mpsc::channel();
    let look = move |event: &Event<'_>| sender.send(event.deadline()).unwrap();
    bus.on("t").handle(look.clone()).unwrap();
    bus.on("t").timeout(SECOND * 5).handle(look.clone()).unwrap();
    bus.on("t").timeout(None).handle(look.clone()).unwrap();
    bus.on("t").inline().handle(look.clone()).unwrap();
    bus.on("t").inline().timeout(None).handle(look).unwrap();
    assert!(bus.emit_and_wait("t", 1).unwrap().all_handled());
    assert!(seen.try_iter().eq([None, None, Some(SECOND), Some(SECOND * 5), None]));
    end(&bus);
}

#[test]
fn what_cannot_be_a_timeout_is_refused_with_its_rule() {
    let bus = Bus::builder().build().unwrap();
    let day = Duration::from_secs(60 * 60 * 24);
    let ms = Duration::from_millis(1);
    for good in [ms, day] {
        assert!(bus.on("t").timeout(good).handle(|_| ()).is_ok());
        assert!(Bus::builder().handler_timeout(Some(good)).build().is_ok());
    }
    for bad in [Duration::ZERO, ms - NANO, day + NANO, Duration::MAX] {
        let error = bus.on("t").timeout(bad).handle(|_| ()).unwrap_err();
        assert!(matches!(error, SubscribeError::InvalidSetting { setting: "timeout", .. }), "{error}");
        assert!(error.to_string().contains("outside its range 1ms to 86400s"), "{error}");
        let error = Bus::builder().handler_timeout(Some(bad)).build().unwrap_err();
        assert!(error.to_string().starts_with("handler_timeout in nanoseconds is "), "{error}");
    }
    let error = bus.on("t").inline().timeout(SECOND).handle(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "timeout: an inline handler runs on the emitter's thread, and cannot have one");
    let error = Bus::builder().max_abandoned(1025).build().unwrap_err();
    assert_eq!(error.to_string(), "max_abandoned is 1025, outside its range 0..=1024");
    assert!(Bus::builder().max_abandoned(1024).build().is_ok());
}
