//! The durable log on a disk that tears, fills, fails and loses its power.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::platform::log_store::OpenLog;
use crate::platform::log_store::simulated::SimulatedLog;
use crate::{Bus, DurableError, DurableLog, Lane, Level, ManualClock, Overflow, Value, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

fn settings() -> DurableLog {
    DurableLog::at("simulated").topics("order.*")
}

fn bus_with(disk: &SimulatedLog, log: DurableLog) -> Bus {
    Bus::builder().durable(log).log_store(disk.clone()).build().unwrap()
}

fn bus(disk: &SimulatedLog) -> Bus {
    bus_with(disk, settings())
}

fn until(mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < GUARD, "it never came about");
        thread::yield_now();
    }
}

fn balanced(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.ledger.balanced(), "{end}\n{}", end.ledger);
}

/// What a fresh bus finds in the log.
fn found(disk: &SimulatedLog) -> Vec<u64> {
    let bus = bus(disk);
    let next = bus.stats().durable.unwrap().next;
    let core = bus.durable().unwrap();
    let lines = core.read(1, 100_000).unwrap();
    assert!(lines.last().is_none_or(|(last, _)| *last < next));
    let ids = lines.iter().map(|(_, line)| serde_json::from_slice::<Value>(line).unwrap()["payload"].as_u64().unwrap());
    let ids = ids.collect();
    balanced(&bus);
    ids
}

#[test]
fn what_was_acknowledged_as_synced_outlives_the_power_and_what_was_not_may_go() {
    let disk = SimulatedLog::default();
    let bus = bus(&disk);
    for id in 0..3_u64 {
        bus.emit_durable("order.placed", id).unwrap();
    }
    // So that nothing syncs it in passing.
    disk.fail_syncs(usize::MAX);
    bus.event("order.placed", 3_u64).durable(Level::Written).emit().unwrap();
    disk.lose_power();
    assert!(bus.emit_durable("order.placed", 9_u64).is_err(), "the machine of that bus is gone");
    disk.fail_syncs(0);
    disk.lose_power();
    drop(bus);
    disk.lose_power();
    let once = found(&disk);
    assert!(once.starts_with(&[0, 1, 2]), "{once:?}");
    assert_eq!(found(&disk), once, "and recovering again finds the same");
}

#[test]
fn wherever_a_process_ends_what_is_found_is_a_prefix_with_all_that_was_acknowledged() {
    type Ending = fn(&SimulatedLog);
    // Before the batch is written, after it is written and before that is told, between two events, and at the sync.
    let endings: [Ending; 4] = [|disk| disk.fail_appends(1), |disk| disk.tear(1), |_| (), |disk| disk.fail_syncs(1)];
    for (at, after) in (0..endings.len()).flat_map(|at| (0..12_u64).map(move |after| (at, after))) {
        let disk = SimulatedLog::default();
        let log = settings().checkpoint(1, GUARD).sync_every(Duration::from_secs(60));
        let bus = bus_with(&disk, log);
        bus.on("order.*").durable("d").from_start().handle(|_| ()).unwrap();
        let mut acknowledged = 0;
        for id in 0..after {
            let level = if id % 3 == 2 { Level::Synced } else { Level::Written };
            bus.event("order.placed", id).durable(level).emit().unwrap();
            acknowledged = if level == Level::Synced { id + 1 } else { acknowledged };
        }
        endings[at](&disk);
        let synced = acknowledged;
        if bus.emit_durable("order.placed", after).is_ok() {
            acknowledged = after + 1;
        }
        disk.lose_power();
        drop(bus);
        let once = found(&disk);
        assert!((0..synced).all(|id| once.contains(&id)), "{once:?} of {synced} acknowledged");
        let length = once.len() as u64;
        if at < 3 {
            assert_eq!(once, Vec::from_iter(0..length), "no gap, and nothing out of its place");
            assert!((acknowledged..=after + 1).contains(&length), "{length} of {acknowledged} acknowledged");
        } else {
            // What was only written when its sync failed may be gone although what came later is there.
            assert!(once.is_sorted() && (acknowledged == synced || once.contains(&after)), "{once:?}");
        }
        assert_eq!(found(&disk), once, "recovering again finds the same");
        disk.lose_power();
        assert_eq!(found(&disk), once, "what was recovered does not go with the power");
    }
}

#[test]
fn a_failed_sync_is_an_error_to_all_who_wait_and_the_next_one_is_no_success_for_them() {
    const THREADS: u64 = 8;
    let disk = SimulatedLog::default();
    let bus = bus(&disk);
    let (sender, records) = mpsc::channel();
    bus.on("system.log_error").handle(move |event| sender.send(event["error"].to_string()).unwrap()).unwrap();
    bus.emit_durable("order.placed", 100_u64).unwrap();
    disk.fail_syncs(1);
    let results: Vec<_> = thread::scope(|scope| {
        let emit = |id| {
            scope.spawn({
                let bus = &bus;
                move || (id, bus.emit_durable("order.placed", id))
            })
        };
        let threads: Vec<_> = (0..THREADS).map(emit).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let failed: Vec<_> = results.iter().filter(|(_, result)| result.is_err()).collect();
    assert!(!failed.is_empty(), "somebody waited for the sync that failed");
    for (_, result) in &failed {
        let error = result.as_ref().unwrap_err();
        assert!(matches!(error, DurableError::NotStored { .. }) && error.to_string().contains("would not sync"));
    }
    assert!(records.recv_timeout(GUARD).unwrap().contains("would not sync"));
    bus.emit_durable("order.placed", 101_u64).unwrap();
    let stats = bus.stats().durable.unwrap();
    assert_eq!((stats.sync_errors, stats.reopened), (1, 1), "the store was given up and opened anew");
    assert_eq!(stats.dropped, failed.len() as u64);
    assert!(records.try_recv().is_err(), "once an episode");
    balanced(&bus);
    disk.lose_power();
    let kept = found(&disk);
    let acknowledged = results.iter().filter(|(_, result)| result.is_ok()).map(|(id, _)| *id);
    for id in acknowledged.chain([100, 101]) {
        assert!(kept.contains(&id), "{id} was acknowledged as synced, and is not in {kept:?}");
    }
}

#[test]
fn a_write_that_fails_is_told_and_positions_are_not_given_twice() {
    let disk = SimulatedLog::default();
    let bus = bus(&disk);
    assert_eq!(bus.emit_durable("order.placed", 0_u64).unwrap().position(), Some(1));
    disk.fail_appends(1);
    let error = bus.emit_durable("order.placed", 1_u64).unwrap_err();
    assert!(error.to_string().contains("would not write"), "{error}");
    let after = bus.emit_durable("order.placed", 2_u64).unwrap().position().unwrap();
    assert!(after > 2, "position 2 may be known to somebody");
    disk.tear(1);
    assert!(bus.emit_durable("order.placed", 3_u64).is_err(), "it is in the log, but nobody knows");
    let last = bus.emit_durable("order.placed", 4_u64).unwrap().position().unwrap();
    assert!(last > after + 1);
    balanced(&bus);
    assert_eq!(found(&disk), [0, 2, 3, 4]);
}

#[test]
fn a_full_disk_is_told_and_the_log_goes_on_when_there_is_room() {
    let disk = SimulatedLog::default();
    let bus = bus(&disk);
    disk.leave_room(Some(400));
    let stored: Vec<u64> = (0..20).filter(|id| bus.emit_durable("order.placed", *id).is_ok()).collect();
    assert!(!stored.is_empty() && stored.len() < 20, "{stored:?}");
    disk.leave_room(None);
    bus.emit_durable("order.placed", 20_u64).unwrap();
    let stats = bus.stats().durable.unwrap();
    assert_eq!(stats.dropped, 20 - stored.len() as u64);
    balanced(&bus);
    assert_eq!(found(&disk), [stored, vec![20]].concat(), "what was told to be stored is, and nothing else");
}

#[test]
fn a_store_that_cannot_be_opened_again_is_tried_now_and_then() {
    let (disk, clock) = (SimulatedLog::default(), ManualClock::new());
    let bus = Bus::builder().durable(settings()).log_store(disk.clone()).clock(&clock).build().unwrap();
    disk.fail_syncs(1);
    disk.fail_opens(2);
    for id in 0..5_u64 {
        assert!(bus.emit_durable("order.placed", id).is_err(), "{id}");
    }
    clock.advance(Duration::from_millis(100));
    assert!(bus.emit_durable("order.placed", 5_u64).is_err(), "the second attempt to open it");
    clock.advance(Duration::from_millis(100));
    assert!(bus.emit_durable("order.placed", 6_u64).is_err(), "not yet: the pause has grown");
    clock.advance(Duration::from_millis(200));
    bus.emit_durable("order.placed", 7_u64).unwrap();
    assert_eq!(bus.stats().durable.unwrap().reopened, 1);
    let stopper = clock.clone();
    let stop = thread::spawn(move || stopper.advance(GUARD));
    balanced(&bus);
    stop.join().unwrap();
}

#[test]
fn nobody_misses_what_a_failed_batch_left_and_no_checkpoint_passes_what_was_not_given() {
    let disk = SimulatedLog::default();
    let bus = bus(&disk);
    let (sender, seen) = mpsc::channel();
    bus.on("order.*").durable("d").handle(move |event| sender.send(event.payload().as_u64()).unwrap()).unwrap();
    bus.emit_durable("order.placed", 0_u64).unwrap();
    disk.tear(1);
    assert!(bus.emit_durable("order.placed", 1_u64).is_err());
    bus.emit_durable("order.placed", 2_u64).unwrap();
    for id in 0..3 {
        assert_eq!(seen.recv_timeout(GUARD).unwrap(), Some(id));
    }
    balanced(&bus);
}

#[test]
fn checkpoints_are_not_lost_when_saving_them_fails() {
    let disk = SimulatedLog::default();
    let first = bus_with(&disk, settings().checkpoint(1, GUARD));
    let (sender, seen) = mpsc::channel();
    let on = |bus: &Bus, sender: mpsc::Sender<Option<u64>>| {
        let handler = move |event: &crate::Event<'_>| sender.send(event.payload().as_u64()).unwrap();
        bus.on("order.*").durable("d").from_start().handle(handler).unwrap()
    };
    on(&first, sender.clone());
    for id in 0..10_u64 {
        first.emit_durable("order.placed", id).unwrap();
        assert_eq!(seen.recv_timeout(GUARD).unwrap(), Some(id));
        disk.fail_appends(usize::from(id % 3 == 0));
        until(|| first.stats().durable.unwrap().subscriptions[0].checkpoint > id);
        disk.fail_appends(0);
    }
    balanced(&first);
    drop(first);
    let second = bus(&disk);
    on(&second, sender);
    second.emit_durable("order.placed", 10_u64).unwrap();
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), Some(10), "everything before had ended");
    balanced(&second);
}

#[test]
fn a_full_queue_goes_by_the_logs_policy() {
    for policy in [Overflow::Reject, Overflow::DropNewest] {
        let disk = SimulatedLog::default();
        let lane = Lane::new("default");
        let log = settings().capacity(1).overflow(policy);
        let bus = Bus::builder().durable(log).default_lane(lane).log_store(disk.clone()).build().unwrap();
        let (mut refused, mut dropped) = (0, 0);
        {
            let _held = disk.hold();
            bus.emit("order.placed", 0_u64).unwrap();
            // With that one in hand the log's thread takes no other.
            until(|| disk.waiting() > 0);
            for id in 1..20_u64 {
                match bus.emit("order.placed", id) {
                    Ok(_) => {}
                    Err(error) if error.is_full() => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            let error = bus.emit_durable("order.placed", 20_u64).unwrap_err();
            assert_eq!(error.into_payload(), Some(20), "who waits is refused by either");
        }
        until(|| bus.stats().durable.unwrap().lag == 0);
        dropped += bus.stats().durable.unwrap().dropped;
        assert_eq!(refused > 0, policy == Overflow::Reject);
        assert_eq!(dropped > 0, policy == Overflow::DropNewest);
        balanced(&bus);
        assert_eq!(found(&disk).len() as u64, 20 - refused - dropped);
    }
}

#[test]
fn a_shutdown_that_cannot_wait_for_the_log_says_what_is_left_and_tells_who_waits() {
    let disk = SimulatedLog::default();
    let bus = bus_with(&disk, settings());
    let held = disk.hold();
    let (told, tell) = mpsc::channel();
    thread::scope(|scope| {
        for id in 0..4_u64 {
            let (bus, told) = (&bus, told.clone());
            scope.spawn(move || told.send(bus.emit_durable("order.placed", id).is_ok()).unwrap());
        }
        until(|| bus.ledger().emitted == 4 && bus.ledger().emitting == 0);
        let report = bus.shutdown(Duration::from_millis(50));
        let log = report.lanes.iter().find(|lane| lane.name == "durable").unwrap().clone();
        assert!(!report.drained && log.abandoned, "{report}");
        drop(held);
        let stored = (0..4).filter(|_| tell.recv_timeout(GUARD).unwrap()).count() as u64;
        assert!(stored + log.left <= 4 && bus.shutdown(GUARD).ledger.balanced());
    });
}

/// A line as a run of this number has left it.
fn line_of_run(id: u64, run: u64, key: u64) -> Vec<u8> {
    let line = json!({
        "event_type": "order.placed",
        "payload": id,
        "timestamp": 1.5,
        "event_id": format!("event {id}"),
        "seq": id + 1,
        "run": format!("{run:016x}"),
        "key": format!("{key:016x}"),
    });
    line.to_string().into_bytes()
}

#[test]
fn keys_of_different_runs_may_be_the_same_and_are_kept_in_order() {
    let disk = SimulatedLog::default();
    let store = disk.open(false).unwrap();
    // The same key has another hash in each run, and so another worker.
    store.append(&[(1, line_of_run(0, 7, 1)), (2, line_of_run(1, 8, 2))]).unwrap();
    drop(store);
    let lane = Lane::new("wide").workers(2);
    let bus = Bus::builder().durable(settings()).log_store(disk.clone()).lane(lane).build().unwrap();
    let (begin, begun) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let handler = move |event: &crate::Event<'_>| {
        begin.send(event.payload().as_u64()).unwrap();
        let _ = gone.lock().unwrap().recv();
    };
    bus.on("order.*").lane("wide").durable("wide").from_start().handle(handler).unwrap();
    let (sender, seen) = mpsc::channel();
    let handler = move |event: &crate::Event<'_>| sender.send(event.payload().as_u64()).unwrap();
    bus.on("order.*").durable("after").from_start().handle(handler).unwrap();
    assert_eq!(begun.recv_timeout(GUARD).unwrap(), Some(0));
    // This one has its turn after the other, of which all was decided then.
    assert_eq!((seen.recv_timeout(GUARD).unwrap(), seen.recv_timeout(GUARD).unwrap()), (Some(0), Some(1)));
    assert_eq!(bus.stats().durable.unwrap().subscriptions[0].given, 1, "the second waits for the first");
    drop(go);
    assert_eq!(begun.recv_timeout(GUARD).unwrap(), Some(1));
    balanced(&bus);
}

#[test]
fn a_handler_waits_for_a_full_log_but_for_no_lane() {
    let disk = SimulatedLog::default();
    let bus = bus_with(&disk, settings().capacity(1));
    let (sender, said) = mpsc::channel();
    let weak = bus.downgrade();
    let handler = move |_: &crate::Event<'_>| {
        let bus = weak.upgrade().unwrap();
        (0..50_u64).for_each(|id| sender.send(bus.emit("order.placed", id).is_ok()).unwrap());
    };
    bus.on("go").handle(handler).unwrap();
    let held = disk.hold();
    bus.emit("go", ()).unwrap();
    assert!(said.recv_timeout(GUARD).unwrap(), "the first finds room");
    // The log's thread takes one and waits for the disk, one waits in the queue, and the handler waits with the third.
    drop(held);
    assert!((1..50).all(|_| said.recv_timeout(GUARD).unwrap()));
    balanced(&bus);
    assert_eq!(found(&disk), Vec::from_iter(0..50));
}
