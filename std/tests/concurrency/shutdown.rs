//! The end of a bus that has much in flight.

use std::future::pending;
use std::sync::Mutex;

use nervebus::{ManualClock, Reason};

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);
const NANO: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

/// Subscribes to `endless` a handler whose futures never end.
fn never_end(bus: &Bus) -> Arc<Inside> {
    let inside = Arc::default();
    let counts = Arc::<Inside>::clone(&inside);
    let handler = move |_| {
        let stay = counts.enter();
        async move {
            let _stay = stay;
            pending::<()>().await;
        }
    };
    bus.on("endless").lane("many").handle_async(handler).unwrap();
    inside
}

#[test]
fn a_shutdown_waits_for_all_that_is_in_flight_and_for_what_waits_behind_it() {
    let (bus, gate) = (bus(2), Gate::default());
    let inside = stay(&bus, &gate);
    for number in 0..6 {
        bus.event("t", number).key(number % 2).emit().unwrap();
    }
    until(|| inside.now() == 1 || inside.now() == 2);
    let closing = thread::spawn({
        let bus = bus.clone();
        move || bus.shutdown(GUARD)
    });
    give_others_a_chance();
    assert!(!closing.is_finished());
    gate.open();
    let report = closing.join().unwrap();
    assert!(report.drained && report.ledger.balanced(), "{report}");
    assert_eq!(report.handled, 6);
}

#[test]
fn futures_that_never_end_are_dropped_at_a_shutdowns_deadline_and_accounted_for() {
    let clock = ManualClock::new();
    let bus = builder(4).clock(&clock).build().unwrap();
    let inside = never_end(&bus);
    // Two are in flight, one waits for its key in a place of its own, one begins in the fourth, and two stay in the ring.
    for key in [1, 2, 1, 3, 4, 5] {
        bus.event("endless", key).key(key).emit().unwrap();
    }
    until(|| inside.now() == 3);
    let closing = thread::spawn({
        let bus = bus.clone();
        move || bus.shutdown(HOUR)
    });
    until(|| clock.waiting() > 0);
    clock.advance(HOUR - NANO);
    give_others_a_chance();
    assert!(inside.now() == 3 && !closing.is_finished(), "a nanosecond is left");
    clock.advance(NANO);
    let report = closing.join().unwrap();
    assert_eq!((inside.now(), inside.most()), (0, 3), "the futures are gone, and no other was begun");
    let lane = report.lanes.iter().find(|lane| lane.name == "many").unwrap();
    assert_eq!((report.failed, report.left, lane.abandoned), (3, 3, false), "{report}");
    assert!(report.ledger.balanced(), "{}", report.ledger);
    assert_eq!(report.ledger.deliveries().pending, 0, "{}", report.ledger);
    let letters = bus.dead_letters().list();
    let of = |reason| letters.iter().filter(|letter| letter.reason == reason).count();
    assert_eq!((of(Reason::HandlerError), of(Reason::Shutdown)), (3, 3));
}

#[test]
fn what_is_in_flight_on_a_lane_that_has_lost_its_worker_is_accounted_for() {
    let clock = ManualClock::new();
    let bus = builder(5).clock(&clock).max_abandoned(0).build().unwrap();
    let inside = never_end(&bus);
    let (end_it, ended) = mpsc::channel::<()>();
    let (ended, (begin, begun)) = (Mutex::new(ended), mpsc::channel());
    let blocks = move |_: &nervebus::Event<'_>| {
        begin.send(()).unwrap();
        let _ = ended.lock().unwrap().recv();
    };
    bus.on("block").lane("many").timeout(SECOND).handle(blocks).unwrap();
    for key in [1, 2, 1] {
        bus.event("endless", key).key(key).emit().unwrap();
    }
    until(|| inside.now() == 2);
    let waiting = thread::spawn({
        let bus = bus.clone();
        move || bus.emit_and_wait("endless", ()).unwrap()
    });
    until(|| inside.now() == 3);
    bus.emit("block", ()).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    until(|| {
        clock.advance(SECOND);
        bus.ledger().deliveries().timed_out == 1
    });
    let closing = thread::spawn({
        let bus = bus.clone();
        move || bus.shutdown(SECOND)
    });
    until(|| {
        clock.advance(SECOND);
        closing.is_finished()
    });
    let report = closing.join().unwrap();
    assert_eq!(inside.now(), 0, "the futures are gone");
    assert_eq!((report.left, report.timed_out), (4, 1), "{report}");
    assert!(report.ledger.balanced(), "{}", report.ledger);
    assert_eq!(report.ledger.deliveries().pending, 0, "{}", report.ledger);
    drop(end_it);
    let waited = waiting.join().unwrap();
    assert_eq!(waited.not_delivered + waited.unfinished, 1, "{waited}");
}

#[test]
fn a_waker_that_outlives_its_bus_wakes_nobody() {
    let (bus, wakers) = (bus(2), Arc::<Mutex<Vec<std::task::Waker>>>::default());
    let into = Arc::clone(&wakers);
    bus.on("t")
        .lane("many")
        .handle_async(move |_| {
            let (into, mut again) = (Arc::clone(&into), false);
            std::future::poll_fn(move |context| {
                into.lock().unwrap().push(context.waker().clone());
                if std::mem::replace(&mut again, true) {
                    return std::task::Poll::Ready(());
                }
                context.waker().wake_by_ref();
                std::task::Poll::Pending
            })
        })
        .unwrap();
    let handled = [(); 2].map(|()| bus.emit_and_wait("t", ()).unwrap().all_handled());
    assert_eq!(handled, [true; 2]);
    let wake_all = || wakers.lock().unwrap().iter().for_each(std::task::Waker::wake_by_ref);
    // Of calls that have ended, at places where others are by now.
    wake_all();
    assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
    end(&bus);
    drop(bus);
    wake_all();
}

#[cfg(feature = "tokio")]
#[test]
fn futures_find_the_timers_of_the_runtime_in_every_poll() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let bus = builder(8).runtime(runtime.handle().clone()).build().unwrap();
    bus.on("t")
        .lane("many")
        .handle_async(|_| async {
            for _ in 0..2 {
                // Made after an await: the second is made in a later poll.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::spawn(async {}).await
        })
        .unwrap();
    for number in 0..50 {
        bus.emit("t", number).unwrap();
    }
    assert_eq!(end(&bus).handled, 50);
}
