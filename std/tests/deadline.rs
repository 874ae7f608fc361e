//! Events that expire: by a time to live of their own, or by a deadline that goes from an event to all that it causes.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "support/held.rs"]
mod held;
#[path = "support/until.rs"]
mod until;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use nervebus::{Bus, EmitError, Event, Lane, ManualClock, Overflow, Reason, Retry};

use held::held;
use until::{GUARD, until};

const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

fn too_late() {
    panic!("it is too late");
}

/// Ends the bus, and holds its books against each other.
fn end(bus: &Bus) {
    let report = bus.shutdown(GUARD);
    let of = report.ledger.deliveries();
    assert!(report.drained && report.ledger.balanced(), "{report}\n{}", report.ledger);
    assert_eq!((of.pending, report.expired), (0, of.expired), "{}", report.ledger);
}

#[test]
fn events_that_expire_in_a_full_lane_are_counted_for_each_handler_and_are_one_dead_letter_each() {
    let clock = ManualClock::new();
    let lane = Lane::new("default").capacity(8);
    let bus = Bus::builder().clock(&clock).default_lane(lane).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("held").handle(handler).unwrap();
    let (sender, seen) = mpsc::channel();
    for _ in 0..3 {
        let sender = sender.clone();
        bus.on("t").handle(move |event| sender.send(*event.payload_as::<i32>().unwrap()).unwrap()).unwrap();
    }
    bus.emit("held", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    for n in 0..8 {
        let ttl = if n % 2 == 0 { HOUR } else { HOUR + NANO };
        bus.event("t", n).ttl(ttl).emit().unwrap();
    }
    clock.advance(HOUR);
    drop(go);
    until(|| bus.stats().pending == 0);
    assert!(seen.try_iter().eq([1, 1, 1, 3, 3, 3, 5, 5, 5, 7, 7, 7]), "those with a nanosecond left");
    let of = bus.ledger().deliveries();
    assert_eq!((of.routed, of.handled, of.expired), (25, 13, 12));
    let letters = bus.dead_letters().list();
    let said: Vec<_> = letters.iter().map(|letter| *letter.event.as_event().payload_as::<i32>().unwrap()).collect();
    assert_eq!(said, [0, 2, 4, 6]);
    assert!(letters.iter().all(|letter| letter.reason == Reason::Expired && letter.subscription.is_none()));
    assert_eq!((&*letters[0].handler, letters[0].attempts), ("default", 0));
    assert_eq!(letters[0].error, r#"it expired before lane "default" got to it"#);
    end(&bus);
}

#[test]
fn an_event_that_expires_between_two_of_its_handlers_does_not_reach_the_second() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).lane(Lane::new("io")).build().unwrap();
    for inline in [true, false] {
        let topic = if inline { "inline" } else { "queued" };
        let on = || if inline { bus.on(topic).inline() } else { bus.on(topic) };
        let moved = clock.clone();
        on().handle(move |event| {
            assert_eq!(event.deadline(), Some(SECOND));
            moved.advance(SECOND);
            assert_eq!(event.deadline(), Some(Duration::ZERO));
            assert!(!event.is_abandoned());
        })
        .unwrap();
        let gone = on().handle(|_| ()).unwrap();
        on().handle(|_| too_late()).unwrap();
        on().handle(|_| too_late()).unwrap();
        let before = bus.ledger().deliveries().expired;
        let report = bus.event(topic, 1).ttl(SECOND).emit_and_wait().unwrap();
        assert_eq!((report.outcomes.len(), report.not_delivered, report.unfinished), (1, 3, 0), "{report}");
        assert_eq!(bus.ledger().deliveries().expired - before, 3, "{}", bus.ledger());
        assert!(bus.unsubscribe(gone));
    }
    let letters = bus.dead_letters().list();
    assert_eq!(letters.iter().map(|letter| &*letter.handler).collect::<Vec<_>>(), ["inline", "default"]);
    assert!(letters.iter().all(|letter| letter.reason == Reason::Expired));
    end(&bus);
}

#[test]
fn a_deadline_goes_through_three_lanes_and_what_comes_after_it_is_refused() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).lane(Lane::new("a")).lane(Lane::new("b")).lane(Lane::new("c")).build();
    let bus = bus.unwrap();
    let (sender, seen) = mpsc::channel();
    for (from, to, lane) in [("one", "two", "a"), ("two", "three", "b"), ("three", "four", "c")] {
        let (weak, moved, sender) = (bus.downgrade(), clock.clone(), sender.clone());
        bus.on(from)
            .lane(lane)
            .handle(move |event| {
                sender.send((event.topic().to_owned(), event.deadline())).unwrap();
                moved.advance(SECOND);
                let emitted = weak.upgrade().unwrap().emit(to, 7);
                if let Err(error) = emitted {
                    assert!(error.is_expired() && matches!(error, EmitError::Expired { payload: 7 }));
                    sender.send(("refused".into(), event.deadline())).unwrap();
                }
            })
            .unwrap();
    }
    bus.on("four").inline().handle(|_| too_late()).unwrap();
    bus.event("one", 0).deadline(SECOND * 3).correlation_id("request").emit().unwrap();
    let said: Vec<_> = (0..4).map(|_| seen.recv_timeout(GUARD).unwrap()).collect();
    let left = |topic: &str, seconds| (topic.to_owned(), Some(SECOND * seconds));
    assert_eq!(said, [left("one", 3), left("two", 2), left("three", 1), left("refused", 0)]);
    end(&bus);
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.routed, ledger.refused), (4, 3, 1));
}

#[test]
fn a_time_to_live_is_not_inherited_and_an_inherited_deadline_cannot_be_put_off() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let weak = bus.downgrade();
    let (sender, seen) = mpsc::channel();
    bus.on("outer")
        .inline()
        .handle(move |_| {
            let bus = weak.upgrade().unwrap();
            bus.emit("inner", "plain").unwrap();
            bus.event("inner", "later").deadline(HOUR).emit().unwrap();
            bus.event("inner", "sooner").deadline(SECOND).emit().unwrap();
            bus.event("inner", "own").ttl(SECOND).correlation_id("c").emit().unwrap();
        })
        .unwrap();
    bus.on("inner")
        .inline()
        .handle(move |event| {
            sender.send((*event.payload_as::<&str>().unwrap(), event.deadline())).unwrap();
        })
        .unwrap();
    bus.event("outer", ()).ttl(SECOND * 2).emit().unwrap();
    let own = Some(SECOND);
    assert!(seen.try_iter().eq([("plain", None), ("later", Some(HOUR)), ("sooner", own), ("own", own)]));
    bus.event("outer", ()).deadline(SECOND * 2).emit().unwrap();
    let whole = Some(SECOND * 2);
    assert!(seen.try_iter().eq([("plain", whole), ("later", whole), ("sooner", own), ("own", own)]));
    end(&bus);
}

#[test]
fn an_event_that_has_expired_is_not_tried_again() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    // How many retries wait, when the lanes have nothing else to do.
    let retrying = |bus: &Bus| {
        let lanes = bus.ledger().lanes;
        lanes.iter().all(|lane| lane.pending_events == 0).then(|| lanes.iter().map(|lane| lane.retrying).sum::<u64>())
    };
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    for timeout in [Some(SECOND), None] {
        let counter = Arc::clone(&calls);
        let handler = move |_: &Event<'_>| {
            counter.fetch_add(1, Ordering::Relaxed);
            Err("no")
        };
        let policy = Retry::exponential(DAY).max_delay(DAY);
        bus.on("job").retry(policy).timeout(timeout).handle(handler).unwrap();
    }
    bus.event("job", ()).ttl(NANO * 1_000).emit().unwrap();
    until(|| retrying(&bus) == Some(2));
    clock.advance(DAY);
    until(|| retrying(&bus) == Some(0));
    let letters = bus.dead_letters().list();
    assert_eq!(letters.len(), 2, "one for each handler");
    for letter in &letters {
        assert_eq!((letter.reason, letter.attempts, letter.history.len()), (Reason::Expired, 1, 1));
        assert_eq!(letter.error, "it expired before attempt 2");
    }
    bus.dead_letters().retry(1).unwrap();
    until(|| retrying(&bus) == Some(0));
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    assert_eq!((bus.dead_letters().len(), bus.dead_letters().total()), (2, 2));
    end(&bus);
    let of = bus.ledger().deliveries();
    assert_eq!((of.routed, of.expired, of.failed), (3, 3, 0));
}

#[test]
fn what_has_expired_already_is_refused_before_anybody_sees_it() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    bus.on("t").inline().handle(|_| too_late()).unwrap();
    bus.on("t").handle(|_| too_late()).unwrap();
    let error = bus.event("t", 7).ttl(Duration::ZERO).emit().unwrap_err();
    assert_eq!(error.to_string(), "the deadline of the event has passed");
    assert_eq!(error.into_payload(), 7);
    assert!(bus.event("t", 7).deadline(Duration::ZERO).emit_and_wait().unwrap_err().is_expired());
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.refused, bus.dead_letters().len()), (2, 2, 0));
    end(&bus);
}

#[test]
fn nobody_waits_for_room_longer_than_the_event_lives() {
    let clock = ManualClock::new();
    let lane = Lane::new("default").capacity(1).overflow(Overflow::Block);
    let bus = Bus::builder().clock(&clock).default_lane(lane).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").handle(handler).unwrap();
    bus.emit("t", 1).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.emit("t", 2).unwrap();
    let emitter = bus.clone();
    let waiting = thread::spawn(move || emitter.event("t", 3).ttl(SECOND).emit());
    until(|| clock.waiting() > 0);
    clock.advance(SECOND);
    let error = waiting.join().unwrap().unwrap_err();
    assert_eq!((error.is_full(), error.into_payload()), (true, 3));
    drop(go);
    end(&bus);
}

#[test]
fn a_handler_has_no_longer_than_its_event_lives() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").timeout(HOUR).handle(handler).unwrap();
    bus.on("t").timeout(HOUR).name("too late").handle(|_| ()).unwrap();
    let emitter = bus.clone();
    let waiting = thread::spawn(move || emitter.event("t", 1).deadline(SECOND).emit_and_wait().unwrap());
    begun.recv_timeout(GUARD).unwrap();
    clock.advance(SECOND);
    let report = waiting.join().unwrap();
    assert_eq!(report.outcomes[0].result.as_ref().unwrap_err().to_string(), "did not return within 1s");
    assert_eq!((report.outcomes.len(), report.not_delivered, report.unfinished), (1, 1, 0));
    let reasons = bus.dead_letters().by_reason();
    assert_eq!((reasons["handler_timeout"], reasons["expired"]), (1, 1));
    drop(go);
    end(&bus);
}

#[test]
fn on_another_bus_a_deadline_is_as_far_away_as_on_the_first() {
    let (here, there) = (ManualClock::new(), ManualClock::new());
    there.advance(HOUR);
    let (first, second) = (Bus::builder().clock(&here).build().unwrap(), Bus::builder().clock(&there).build().unwrap());
    let (sender, seen) = mpsc::channel();
    let (other, moved) = (second.clone(), here.clone());
    first
        .on("t")
        .inline()
        .handle(move |_| {
            moved.advance(SECOND);
            other.emit("u", 1).unwrap();
            moved.advance(SECOND);
            assert!(other.emit("u", 2).unwrap_err().is_expired());
        })
        .unwrap();
    let moved = there.clone();
    let back = first.downgrade();
    second
        .on("u")
        .inline()
        .handle(move |event| {
            sender.send(event.deadline()).unwrap();
            moved.advance(SECOND / 4);
            let _ = back.upgrade().unwrap().emit("v", ());
        })
        .unwrap();
    let (sender, returned) = mpsc::channel();
    first.on("v").inline().handle(move |event| sender.send(event.deadline()).unwrap()).unwrap();
    first.event("t", ()).deadline(SECOND * 2).emit().unwrap();
    assert!(seen.try_iter().eq([Some(SECOND)]));
    assert!(returned.try_iter().eq([Some(SECOND / 4 * 3)]), "what is left there is what is left here");
    end(&first);
    end(&second);
}

#[test]
fn records_of_the_bus_are_made_after_the_deadline_as_well() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let moved = clock.clone();
    bus.on("t")
        .handle(move |_| {
            moved.advance(SECOND);
            Err("no")
        })
        .unwrap();
    let (sender, seen) = mpsc::channel();
    let weak = bus.downgrade();
    bus.on("system.handler_error")
        .handle(move |event| {
            let emitted = weak.upgrade().unwrap().emit("alarm", ()).is_ok();
            sender.send((event.correlation_id().map(str::to_owned), event.deadline(), emitted)).unwrap();
        })
        .unwrap();
    bus.on("alarm").handle(|_| ()).unwrap();
    bus.event("t", ()).deadline(SECOND).correlation_id("c").emit().unwrap();
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), (Some("c".into()), None, true));
    end(&bus);
}

#[test]
fn the_wall_clock_makes_nothing_expire() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (handler, begun, go) = held();
    bus.on("t").handle(handler).unwrap();
    bus.emit("t", 1).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    bus.event("t", 2).ttl(SECOND).emit().unwrap();
    clock.set_wall(UNIX_EPOCH + HOUR * 24 * 365 * 80);
    drop(go);
    end(&bus);
    assert_eq!(bus.ledger().deliveries().handled, 2);
}
