//! A bus on a clock that is moved by hand: every wait ends at its moment of that clock, and at no other.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, UNIX_EPOCH};

use nervebus::{Builder, Bus, Event, Lane, ManualClock, Overflow};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const NANO: Duration = Duration::from_nanos(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A bus on the clock whose worker is busy with an event on `t` until told otherwise.
fn stuck(clock: &ManualClock, builder: Builder) -> (Bus, Sender<()>) {
    let bus = builder.clock(clock).build().unwrap();
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    let gone = Mutex::new(gone);
    let handler = move |_: &Event<'_>| {
        let _ = begin.send(());
        let _ = gone.lock().unwrap().recv();
    };
    bus.on("t").handle(handler).unwrap();
    bus.emit("t", 0).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    (bus, go)
}

/// Makes the call on a thread of its own, and comes back when it waits for its moment of the clock.
fn waiting<R: Send + 'static>(
    clock: &ManualClock,
    call: impl FnOnce() -> R + Send + 'static,
) -> (JoinHandle<()>, Receiver<R>) {
    let (sender, result) = mpsc::channel();
    let thread = thread::spawn(move || sender.send(call()).unwrap());
    let since = Instant::now();
    while clock.waiting() == 0 {
        assert!(since.elapsed() < GUARD && !thread.is_finished(), "the call did not wait");
        thread::yield_now();
    }
    (thread, result)
}

/// Gives a thread that waits the time for many looks at the clock, of which it takes one each millisecond.
fn let_it_look() {
    let since = Instant::now();
    while since.elapsed() < Duration::from_millis(20) {
        thread::yield_now();
    }
}

#[test]
fn an_emitter_waits_for_a_full_lane_for_an_hour_of_the_clock_and_not_a_nanosecond_less() {
    let clock = ManualClock::new();
    let lane = Lane::new("default").capacity(1).overflow(Overflow::BlockFor(HOUR));
    let (bus, go) = stuck(&clock, Bus::builder().default_lane(lane));
    bus.emit("t", 1).unwrap();
    let emitter = bus.clone();
    let (thread, result) = waiting(&clock, move || emitter.emit("t", 2));
    clock.advance(HOUR - NANO);
    let_it_look();
    assert!(result.try_recv().is_err() && !thread.is_finished(), "a nanosecond is left");
    clock.advance(NANO);
    let error = result.recv_timeout(GUARD).unwrap().unwrap_err();
    assert!(error.is_full() && error.into_payload() == 2);
    drop(go);
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced(), "{report}");
    assert_eq!((report.handled, clock.waiting(), clock.now()), (2, 0, HOUR));
}

#[test]
fn an_emitter_that_waits_gets_in_when_there_is_room_though_the_clock_stands_still() {
    let clock = ManualClock::new();
    let lane = Lane::new("default").capacity(1).overflow(Overflow::BlockFor(NANO));
    let (bus, go) = stuck(&clock, Bus::builder().default_lane(lane));
    bus.emit("t", 1).unwrap();
    let emitter = bus.clone();
    let (_, result) = waiting(&clock, move || emitter.emit("t", 2));
    let_it_look();
    assert!(result.try_recv().is_err(), "real time is none of the clock's");
    drop(go);
    assert_eq!(result.recv_timeout(GUARD).unwrap().unwrap().admitted(), 1);
}

#[test]
fn the_wait_limit_is_one_of_the_clock() {
    let clock = ManualClock::new();
    let (bus, go) = stuck(&clock, Bus::builder().wait_limit(HOUR));
    let emitter = bus.clone();
    let (thread, result) = waiting(&clock, move || emitter.emit_and_wait("t", 1).unwrap());
    clock.advance(HOUR - NANO);
    let_it_look();
    assert!(result.try_recv().is_err() && !thread.is_finished(), "a nanosecond is left");
    clock.advance(NANO);
    let report = result.recv_timeout(GUARD).unwrap();
    assert_eq!((report.unfinished, report.outcomes.len()), (1, 0));
    drop(go);
    assert!(bus.emit_and_wait("t", 2).unwrap().all_handled(), "the clock stands still: the answer ends the wait");
}

#[test]
fn a_shutdown_ends_at_its_deadline_by_the_clock_with_a_handler_that_does_not_return() {
    let clock = ManualClock::new();
    let (bus, go) = stuck(&clock, Bus::builder());
    bus.emit("t", 1).unwrap();
    let closing = bus.clone();
    let (thread, result) = waiting(&clock, move || closing.shutdown(HOUR));
    clock.advance(HOUR - NANO);
    let_it_look();
    assert!(result.try_recv().is_err() && !thread.is_finished(), "a nanosecond is left");
    clock.advance(NANO);
    let report = result.recv_timeout(GUARD).unwrap();
    assert_eq!((report.drained, report.left, report.lanes[0].abandoned), (false, 1, true), "{report}");
    assert!(report.ledger.balanced(), "{}", report.ledger);
    drop(go);
}

#[test]
fn a_wall_clock_that_is_set_ends_no_wait_and_delays_none() {
    let clock = ManualClock::new();
    let (bus, _go) = stuck(&clock, Bus::builder().wait_limit(HOUR));
    clock.advance(HOUR / 2);
    let ten_years = Duration::from_secs(10 * 365 * 24 * 60 * 60);
    for wall in [UNIX_EPOCH + ten_years * 10, UNIX_EPOCH + ten_years, UNIX_EPOCH - ten_years] {
        let (before, uptime, emitter) = (clock.now(), bus.stats().uptime, bus.clone());
        let (thread, result) = waiting(&clock, move || emitter.emit_and_wait("t", 1).unwrap());
        clock.set_wall(wall);
        let_it_look();
        assert_eq!((clock.now(), bus.stats().uptime), (before, uptime));
        assert!(result.try_recv().is_err() && !thread.is_finished(), "{wall:?} ended the wait");
        clock.advance(HOUR);
        assert_eq!(result.recv_timeout(GUARD).unwrap().unfinished, 1);
    }
}

#[test]
fn the_clock_begins_at_zero_counts_what_it_is_moved_and_ends_where_it_cannot_count_on() {
    let clock = ManualClock::new();
    assert_eq!(clock.now(), Duration::ZERO);
    clock.advance(HOUR);
    let bus = Bus::builder().clock(&clock).build().unwrap();
    clock.clone().advance(NANO);
    assert_eq!((clock.now(), bus.stats().uptime), (HOUR + NANO, NANO), "clones are one clock");
    clock.advance(Duration::MAX);
    let end = clock.now();
    clock.advance(HOUR);
    assert_eq!(clock.now(), end);
    assert!(bus.shutdown(Duration::MAX).drained);
}

#[test]
fn two_buses_wait_on_one_clock() {
    let clock = ManualClock::new();
    let (buses, _go): (Vec<_>, Vec<_>) =
        [1, 2].map(|hours| stuck(&clock, Bus::builder().wait_limit(HOUR * hours))).into_iter().unzip();
    let threads = [0, 1].map(|index: usize| {
        let bus = buses[index].clone();
        thread::spawn(move || bus.emit_and_wait("t", 1).unwrap().unfinished)
    });
    while clock.waiting() < 2 {
        thread::yield_now();
    }
    clock.advance(HOUR);
    let [first, second] = threads;
    assert_eq!(first.join().unwrap(), 1);
    let_it_look();
    assert!(!second.is_finished() && clock.waiting() == 1);
    clock.advance(HOUR);
    assert_eq!(second.join().unwrap(), 1);
}

#[test]
fn events_and_dead_letters_are_dated_by_the_clock_whichever_way_they_go() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (sender, dates) = mpsc::channel();
    for (name, is_inline) in [("inline", true), ("queued", false)] {
        let sender = sender.clone();
        let handler = move |event: &Event<'_>| {
            sender.send(event.timestamp()).unwrap();
            Err("no")
        };
        let on = bus.on(name);
        if is_inline { on.inline().handle(handler) } else { on.handle(handler) }.unwrap();
    }
    for (second, name) in [(5, "inline"), (7, "queued")] {
        clock.set_wall(UNIX_EPOCH + Duration::from_secs(second));
        let moment = second as f64;
        assert_eq!(bus.emit_and_wait(name, ()).unwrap().failures().count(), 1);
        assert_eq!(dates.recv_timeout(GUARD).unwrap(), moment);
        let letters = bus.dead_letters().list();
        let letter = letters.last().unwrap();
        assert_eq!((letter.failed_at, letter.event.timestamp()), (moment, moment));
    }
    clock.advance(HOUR);
    assert_eq!(bus.dead_letters().clear_older_than(HOUR + Duration::from_secs(1)), 1, "the first is two seconds older");
}
