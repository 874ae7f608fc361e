//! One of many in flight fails: the others go on, and every delivery has one outcome.

use std::future::{pending, poll_fn};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::Instant;

use nervebus::{Breaker, ManualClock, Reason, Retry, Timing};

use super::drops::{Drops, lose_my_head};
use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);
const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

/// A handler of `t` that does as the payload says.
fn obey(bus: &Bus, gate: &Gate, retry: Option<Retry>, timeout: Option<Duration>) {
    let gate = gate.clone();
    let on = bus.on("t").lane("many").timeout(timeout);
    let on = if let Some(retry) = retry { on.retry(retry) } else { on };
    on.handle_async(move |event: OwnedEvent| {
        let gate = gate.clone();
        async move {
            match event.payload_as::<&str>().copied().unwrap() {
                "waits" => gate.pass().await,
                "panics" => {
                    give_way().await;
                    lose_my_head("in flight");
                }
                "fails once" => {
                    give_way().await;
                    if event.as_event().attempt() == 1 {
                        return Err("once");
                    }
                    gate.pass().await;
                }
                "fails" => return Err("always"),
                _ => pending().await,
            }
            Ok(())
        }
    })
    .unwrap();
}

#[test]
fn a_future_that_takes_too_long_is_dropped_at_its_deadline_and_no_other_is() {
    let clock = ManualClock::new();
    let (bus, gate) = (builder(4).clock(&clock).build().unwrap(), Gate::default());
    obey(&bus, &gate, None, Some(SECOND));
    bus.emit("t", "never ends").unwrap();
    until(|| clock.waiting() == 1);
    clock.advance(NANO);
    bus.emit("t", "waits").unwrap();
    until(|| clock.waiting() == 2);
    clock.advance(SECOND - NANO * 2);
    give_others_a_chance();
    assert_eq!(clock.waiting(), 2, "a nanosecond is left");
    clock.advance(NANO);
    until(|| clock.waiting() == 1);
    until(|| bus.dead_letters().len() == 1);
    let letter = &bus.dead_letters().list()[0];
    assert_eq!((letter.reason, letter.error.as_str()), (Reason::HandlerTimeout, "did not return within 1s"));
    gate.open();
    let report = end(&bus);
    assert_eq!((report.handled, report.timed_out, clock.waiting()), (1, 1, 0));
}

#[test]
fn a_panic_of_one_of_many_touches_no_other() {
    let (bus, gate) = (bus(4), Gate::default());
    obey(&bus, &gate, None, None);
    for what in ["waits", "panics", "waits"] {
        bus.emit("t", what).unwrap();
    }
    until(|| bus.dead_letters().len() == 1);
    assert_eq!(bus.dead_letters().list()[0].error, "panicked: in flight");
    gate.open();
    let report = end(&bus);
    assert_eq!((report.handled, report.failed), (2, 1));
}

#[test]
fn a_failure_is_tried_again_while_others_are_in_flight_and_is_in_flight_again() {
    let clock = ManualClock::new();
    let (bus, gate) = (builder(4).clock(&clock).build().unwrap(), Gate::default());
    obey(&bus, &gate, Some(Retry::exponential(SECOND).attempts(2)), None);
    for what in ["waits", "fails once", "fails", "fails once"] {
        bus.emit("t", what).unwrap();
    }
    let retrying = || bus.ledger().lanes.iter().map(|lane| lane.retrying).sum::<u64>();
    until(|| retrying() == 3);
    until(|| {
        clock.advance(SECOND);
        retrying() == 2
    });
    assert!(bus.ledger().balanced());
    assert_eq!(bus.dead_letters().list()[0].attempts, 2);
    // The two that wait at the gate now do not keep the lane from others.
    assert!(bus.emit_and_wait("t", "fails").unwrap().failures().count() == 1);
    until(|| retrying() == 3);
    until(|| {
        clock.advance(SECOND);
        retrying() == 2
    });
    gate.open();
    let report = end(&bus);
    assert_eq!((report.handled, report.failed), (3, 2));
}

#[test]
fn a_retry_waits_for_its_key_and_a_letter_that_is_sent_back_is_in_flight_with_others() {
    let (bus, gate, (sender, begun)) = (bus(4), Gate::default(), mpsc::channel());
    let (pass, fails) = (gate.clone(), AtomicBool::new(true));
    bus.on("t")
        .lane("many")
        .handle_async(move |event: OwnedEvent| {
            let fails = fails.swap(false, Ordering::Relaxed);
            sender.send((event.payload_as::<u32>().copied().unwrap(), event.as_event().attempt())).unwrap();
            let pass = pass.clone();
            async move {
                if fails {
                    return Err("the first");
                }
                pass.pass().await;
                Ok(())
            }
        })
        .unwrap();
    bus.event("t", 1_u32).key("a").emit().unwrap();
    until(|| bus.dead_letters().len() == 1);
    bus.event("t", 2_u32).key("a").emit().unwrap();
    bus.event("t", 3_u32).key("b").emit().unwrap();
    assert_eq!([(); 3].map(|()| begun.recv_timeout(GUARD).unwrap()), [(1, 1), (2, 1), (3, 1)]);
    bus.dead_letters().retry(bus.dead_letters().list()[0].id).unwrap();
    give_others_a_chance();
    assert!(begun.try_recv().is_err(), "another of its key is in flight");
    gate.open();
    assert_eq!(begun.recv_timeout(GUARD).unwrap(), (1, 2));
    let report = end(&bus);
    assert_eq!((report.handled, report.failed, bus.dead_letters().len()), (3, 1, 0));
}

#[test]
fn what_a_retry_emits_after_an_await_has_the_cause_and_the_correlation_of_its_event() {
    let bus = bus(4);
    let (weak, (sender, effects)) = (bus.downgrade(), mpsc::channel());
    bus.on("cause")
        .lane("many")
        .retry(Retry::exponential(Duration::from_millis(1)).attempts(2))
        .handle_async(move |event: OwnedEvent| {
            let bus = weak.upgrade().unwrap();
            async move {
                give_way().await;
                if event.as_event().attempt() == 1 {
                    return Err("once".to_owned());
                }
                bus.emit("effect", ()).map(drop).map_err(|error| error.to_string())
            }
        })
        .unwrap();
    bus.on("effect").inline().handle_owned(move |event| sender.send(event)).unwrap();
    let cause = bus.event("cause", ()).correlation_id("request 1").emit().unwrap();
    let effect = effects.recv_timeout(GUARD).unwrap();
    assert_eq!((effect.causation(), effect.correlation_id()), (Some(cause.seq()), Some("request 1")));
    assert_eq!(end(&bus).handled, 2);
}

#[test]
fn a_breaker_learns_how_calls_in_flight_have_ended() {
    let (bus, breaker) = (bus(4), Breaker::new("far").failures(2).reset_after(Duration::from_secs(600)));
    let gate = Gate::default();
    let pass = gate.clone();
    bus.on("t")
        .lane("many")
        .breaker(&breaker)
        .handle_async(move |_| {
            let pass = pass.clone();
            async move {
                pass.pass().await;
                Err::<(), _>("down")
            }
        })
        .unwrap();
    bus.emit("t", 1).unwrap();
    bus.emit("t", 2).unwrap();
    gate.open();
    until(|| bus.dead_letters().len() == 2);
    let report = bus.emit_and_wait("t", 3).unwrap();
    assert!(report.outcomes[0].result.as_ref().unwrap_err().to_string().starts_with("not called"));
    assert_eq!(end(&bus).failed, 3);
}

#[test]
fn an_event_that_expires_while_it_waits_for_its_key_is_shown_to_nobody() {
    let clock = ManualClock::new();
    let (bus, gate) = (builder(4).clock(&clock).build().unwrap(), Gate::default());
    let inside = stay(&bus, &gate);
    bus.event("t", 1).key("a").emit().unwrap();
    bus.event("t", 2).key("a").ttl(SECOND).emit().unwrap();
    until(|| inside.now() == 1);
    clock.advance(SECOND);
    gate.open();
    let report = end(&bus);
    assert_eq!((report.handled, report.expired), (1, 1));
    assert_eq!(bus.dead_letters().list()[0].reason, Reason::Expired);
}

#[test]
fn a_plain_handler_that_never_returns_loses_none_that_are_in_flight() {
    let clock = ManualClock::new();
    let (bus, gate) = (builder(4).clock(&clock).build().unwrap(), Gate::default());
    let inside = stay(&bus, &gate);
    let (end_it, ended) = mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let blocks = move |_: &nervebus::Event<'_>| {
        let _ = ended.lock().unwrap().recv();
    };
    bus.on("block").lane("many").timeout(SECOND).handle(blocks).unwrap();
    bus.event("t", 1).key("a").emit().unwrap();
    bus.event("t", 2).key("a").emit().unwrap();
    until(|| inside.now() == 1);
    bus.emit("block", ()).unwrap();
    until(|| bus.ledger().lanes.iter().all(|lane| lane.pending_events != 2));
    until(|| {
        clock.advance(SECOND);
        bus.dead_letters().len() == 1
    });
    gate.open();
    until(|| bus.ledger().deliveries().handled == 2);
    assert_eq!(bus.dead_letters().list()[0].reason, Reason::HandlerTimeout);
    drop(end_it);
    let report = end(&bus);
    assert_eq!((report.handled, report.timed_out), (2, 1));
}

#[test]
fn a_future_that_blocks_instead_of_waiting_is_left_to_its_thread_and_the_others_go_on() {
    let clock = ManualClock::new();
    let (bus, gate) = (builder(2).clock(&clock).build().unwrap(), Gate::default());
    let inside = stay(&bus, &gate);
    let (end_it, ended) = mpsc::channel::<()>();
    let (ended, (begin, begun), retries) = (Arc::new(Mutex::new(ended)), mpsc::channel(), Retry::exponential(SECOND));
    bus.on("block")
        .lane("many")
        .timeout(HOUR)
        .retry(retries.attempts(2))
        .handle_async(move |_| {
            let (ended, begin) = (Arc::clone(&ended), begin.clone());
            async move {
                give_way().await;
                begin.send(()).unwrap();
                let _ = ended.lock().unwrap().recv();
            }
        })
        .unwrap();
    bus.emit("t", 1).unwrap();
    until(|| inside.now() == 1);
    bus.event("block", ()).key("a").emit().unwrap();
    // The first call, and its retry.
    for calls in 1..=2 {
        // Little enough that no call is late before it blocks.
        until(|| {
            clock.advance(SECOND);
            begun.try_recv().is_ok()
        });
        until(|| {
            clock.advance(HOUR);
            bus.ledger().subscriptions.iter().any(|of| of.pattern == "block" && of.timed_out == calls)
        });
    }
    until(|| bus.dead_letters().len() == 1);
    // Its place is free again, and so is its key.
    bus.event("t", 2).key("a").emit().unwrap();
    until(|| inside.now() == 2);
    gate.open();
    until(|| bus.ledger().deliveries().handled == 2);
    drop(end_it);
    let report = end(&bus);
    assert_eq!((report.handled, report.timed_out), (2, 1));
}

#[test]
fn a_future_that_panics_when_it_is_dropped_hurts_nobody() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let (bus, gate) = (bus(4), Gate::default());
    let inside = stay(&bus, &gate);
    let handler = |_| {
        let bomb = Bomb;
        // The future owns the bomb and never touches it: it goes off when the future is dropped.
        poll_fn(move |_| {
            let _ = &bomb;
            Poll::Ready(())
        })
    };
    bus.on("bomb").lane("many").handle_async(handler).unwrap();
    bus.emit("t", ()).unwrap();
    until(|| inside.now() == 1);
    assert!([(); 2].map(|()| bus.emit_and_wait("bomb", ()).unwrap().all_handled()).into_iter().all(|well| well));
    gate.open();
    end(&bus);
}

#[test]
fn a_future_that_wakes_itself_for_ever_keeps_nobody_else_waiting() {
    let (bus, gone) = (bus(2), Arc::<AtomicBool>::default());
    let stop = Arc::<AtomicBool>::default();
    let (drops, stopped) = (Mutex::new(Some(Drops(Arc::clone(&gone)))), Arc::clone(&stop));
    bus.on("spin")
        .lane("many")
        .handle_async(move |_| {
            let (drops, stopped) = (drops.lock().unwrap().take(), Arc::clone(&stopped));
            async move {
                let _drops = drops;
                while !stopped.load(Ordering::Acquire) {
                    give_way().await;
                }
            }
        })
        .unwrap();
    bus.on("t").lane("many").handle(|_| ()).unwrap();
    bus.emit("spin", ()).unwrap();
    for _ in 0..100 {
        assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
    }
    assert!(!gone.load(Ordering::Acquire));
    stop.store(true, Ordering::Release);
    end(&bus);
    assert!(gone.load(Ordering::Acquire));
}

#[test]
fn calls_in_flight_are_timed_from_their_beginning_to_their_end() {
    let (bus, gate) = (builder(4).timing(Timing::Every).build().unwrap(), Gate::default());
    let inside = stay(&bus, &gate);
    bus.emit("t", ()).unwrap();
    until(|| inside.now() == 1);
    let begun = Instant::now();
    give_others_a_chance();
    let at_least = begun.elapsed();
    gate.open();
    end(&bus);
    let took = bus.stats().subscriptions.iter().find_map(|of| of.p50).expect("it was timed");
    assert!(took >= at_least, "{took:?} of at least {at_least:?}");
}
