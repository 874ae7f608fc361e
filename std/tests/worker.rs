//! A lane's worker: how it waits, what its thread is called, and where it runs.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::thread::{self};
use std::time::Duration;

use nervebus::{Builder, Bus, Event, Lane, WaitStrategy};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

const STRATEGIES: [WaitStrategy; 3] = [WaitStrategy::Spin, WaitStrategy::SpinThenPark, WaitStrategy::Park];

#[test]
fn every_way_of_waiting_delivers_what_comes_in_bursts_and_one_by_one() {
    for strategy in STRATEGIES {
        let bus = Bus::builder().default_lane(Lane::new("default").capacity(8).wait(strategy)).build().unwrap();
        let (sender, seen) = mpsc::channel();
        bus.subscribe("t", move |event| sender.send(*event.payload_as::<u64>().unwrap()).unwrap()).unwrap();
        // A worker that has had nothing to do for a while, again and again.
        for n in 0..200_u64 {
            assert!(bus.emit_and_wait("t", n).unwrap().all_handled(), "{strategy:?}");
            (0..n % 64).for_each(|_| thread::yield_now());
        }
        (200..5_000_u64).for_each(|n| assert_eq!(bus.emit("t", n).unwrap().admitted(), 1));
        let end = bus.shutdown(GUARD);
        assert!(end.drained && end.ledger.balanced(), "{strategy:?}: {end}");
        assert!(seen.try_iter().eq(0..5_000), "{strategy:?}");
    }
}

/// Says so when its thread ends.
struct LastWord(Sender<&'static str>);

impl Drop for LastWord {
    fn drop(&mut self) {
        let _ = self.0.send("ended");
    }
}

thread_local! {
    static LAST_WORD: std::cell::RefCell<Option<LastWord>> = const { std::cell::RefCell::new(None) };
}

#[test]
fn an_idle_worker_ends_with_its_bus_whichever_way_it_waits() {
    for strategy in STRATEGIES {
        let bus = Bus::builder().default_lane(Lane::new("default").wait(strategy)).build().unwrap();
        let (sender, words) = mpsc::channel();
        let note = move |_: &Event<'_>| LAST_WORD.set(Some(LastWord(sender.clone())));
        bus.subscribe("t", note).unwrap();
        assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
        // Time for it to fall asleep, if it does.
        (0..1_000).for_each(|_| thread::yield_now());
        drop(bus);
        assert_eq!(words.recv_timeout(GUARD), Ok("ended"), "{strategy:?}");
    }
}

#[test]
fn an_idle_worker_lets_go_of_an_ended_handler_whichever_way_it_waits() {
    for strategy in STRATEGIES {
        let bus = Bus::builder().default_lane(Lane::new("default").wait(strategy)).build().unwrap();
        let (sender, words) = mpsc::channel();
        let owned = Mutex::new(LastWord(sender));
        let id = bus.subscribe("t", move |_| drop(owned.lock().unwrap())).unwrap();
        assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
        (0..1_000).for_each(|_| thread::yield_now());
        assert!(bus.unsubscribe(id));
        assert_eq!(words.recv_timeout(GUARD), Ok("ended"), "{strategy:?}");
    }
}

#[test]
fn records_that_stepped_aside_are_handled_whichever_way_the_worker_waits() {
    for strategy in STRATEGIES {
        let bus = Bus::builder().default_lane(Lane::new("default").capacity(1).wait(strategy)).build().unwrap();
        let (sender, records) = mpsc::channel();
        bus.subscribe("system.handler_error", move |_| sender.send(()).unwrap()).unwrap();
        // Three failures of one event make three records at once, for a ring that has room for one.
        for _ in 0..3 {
            bus.subscribe("t", |_| Err("no")).unwrap();
        }
        for _ in 0..50 {
            bus.emit("t", ()).unwrap();
            (0..3).for_each(|_| records.recv_timeout(GUARD).unwrap());
        }
        let end = bus.shutdown(GUARD);
        assert!(end.drained && end.ledger.balanced() && end.ledger.system_lost == 0, "{strategy:?}: {end}");
    }
}

#[test]
fn more_spinning_workers_than_cores_are_slow_but_get_everything_done() {
    let cores = thread::available_parallelism().map_or(4, usize::from);
    let lane = |n: usize| Lane::new(format!("lane{n}")).capacity(16).wait(WaitStrategy::Spin);
    let bus = (0..=cores).fold(Bus::builder(), |builder, n| builder.lane(lane(n))).build().unwrap();
    for n in 0..=cores {
        bus.on("t").lane(format!("lane{n}")).handle(|_| ()).unwrap();
    }
    (0..200).for_each(|_| assert!(bus.emit_and_wait("t", ()).unwrap().all_handled()));
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.handled == 200 * (cores as u64 + 1), "{end}");
}

#[test]
fn a_worker_has_the_name_that_it_was_given() {
    let longest = "x".repeat(64);
    for name in ["io 1", longest.as_str()] {
        let bus = Bus::builder().default_lane(Lane::new("default").thread_name(name)).build().unwrap();
        let (sender, threads) = mpsc::channel();
        bus.subscribe("t", move |_| sender.send(thread::current().name().map(str::to_owned)).unwrap()).unwrap();
        assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
        assert_eq!(threads.try_recv().unwrap().as_deref(), Some(name));
    }
}

fn refusal(builder: Builder) -> String {
    builder.build().map_or_else(|error| error.to_string(), |_| "built".into())
}

#[test]
fn what_a_lane_says_of_its_worker_is_checked_by_field_value_and_range() {
    let lane = || Lane::new("io").capacity(1);
    for name in ["", "two\nlines", "a\0", "\u{e4}", &"x".repeat(65)] {
        let expected = format!(r#"lane "io".thread_name is {name:?}, not 1 to 64 bytes of printable ASCII"#);
        assert_eq!(refusal(Bus::builder().lane(lane().thread_name(name))), expected);
    }
    for workers in [0, 65, usize::MAX] {
        let expected = format!(r#"lane "io".workers is {workers}, outside its range 1..=64"#);
        assert_eq!(refusal(Bus::builder().default_lane(lane().workers(workers))), expected);
    }
    assert_eq!(refusal(Bus::builder().lane(lane().workers(64))), "built");
}

#[test]
fn a_lane_whose_worker_may_run_anywhere_says_nothing_of_cores() {
    let bus = Bus::builder().build().unwrap();
    bus.subscribe("t", |_| ()).unwrap();
    assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
    assert_eq!(bus.stats().lanes[0].pinned, None);
}

/// The cores that the calling thread may run on, as Linux lists them.
#[cfg(all(feature = "affinity", target_os = "linux"))]
fn cores() -> String {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
}

#[test]
#[cfg(all(feature = "affinity", target_os = "linux"))]
fn a_pinned_worker_runs_on_its_core_and_nowhere_else() {
    // The last core that this process may use.
    let core = cores().rsplit([',', '-']).next().unwrap().to_owned();
    let lane = Lane::new("fast").pin_to(core.parse().unwrap());
    let bus = Bus::builder().lane(lane).build().unwrap();
    let (sender, seen) = mpsc::channel();
    bus.on("t").lane("fast").handle(move |_| sender.send(cores()).unwrap()).unwrap();
    assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
    assert_eq!(seen.try_recv().unwrap(), core);
    let lanes = bus.stats().lanes;
    assert_eq!((lanes[0].pinned, lanes[1].pinned), (None, Some(true)));
}

#[test]
#[cfg(feature = "affinity")]
fn a_core_that_the_system_refuses_is_reported_and_stops_nothing() {
    let bus = Bus::builder().default_lane(Lane::new("default").pin_to(1_023)).build().unwrap();
    bus.subscribe("t", |_| ()).unwrap();
    assert!(bus.emit_and_wait("t", ()).unwrap().all_handled());
    // There are machines with a core of this number, but none that is likely to run this.
    assert_eq!(bus.stats().lanes[0].pinned, Some(false));
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}");
}

#[test]
#[cfg(feature = "affinity")]
fn a_core_is_checked_by_field_value_and_range() {
    let lane = || Lane::new("io").capacity(1);
    let expected = r#"lane "io".pin_to is 1024, outside its range 0..=1023"#;
    assert_eq!(refusal(Bus::builder().lane(lane().pin_to(1_024))), expected);
    let expected = r#"lane "io".pin_to is 1021, outside its range 0..=1020"#;
    assert_eq!(refusal(Bus::builder().lane(lane().workers(4).pin_to(1_021))), expected, "the last worker's is 1024");
    assert_eq!(refusal(Bus::builder().lane(lane().workers(4).pin_to(1_020))), "built");
}
