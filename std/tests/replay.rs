//! Replaying recorded events: which, in which order, how fast, and to whom.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/until.rs"]
mod until;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use folder::Folder;
use nervebus::{
    AuditLog, AuditReader, Bus, DedupWindow, Event, Lane, ManualClock, Overflow, Record, Replay, ReplayError,
    ReplayReport, Retry, Speed, json,
};
use until::{GUARD, until};

fn record(topic: &str, id: u64, at: f64) -> Record {
    let mut record = Record::new(topic, json!({"id": id}));
    record.timestamp = Some(at);
    record.event_id = Some(format!("event {id}"));
    record.correlation_id = Some(format!("request {}", id % 3));
    record
}

fn records(count: u64) -> Vec<Record> {
    let topic = |id| if id % 2 == 0 { "order.placed" } else { "order.paid" };
    (0..count).map(|id| record(topic(id), id, id as f64)).collect()
}

fn drained(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

/// The ids of the events that an inline handler has seen.
fn seen(replay: Replay) -> Vec<u64> {
    let bus = Bus::builder().build().unwrap();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&ids);
    bus.on("*").inline().handle(move |event| sees.lock().unwrap().extend(event["id"].as_u64())).unwrap();
    bus.replay(replay).unwrap();
    drained(&bus);
    let ids = ids.lock().unwrap();
    ids.clone()
}

#[test]
fn every_handler_gets_the_events_in_order_as_they_were_and_marked() {
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let (sender, events) = mpsc::channel();
    let see = move |event: &Event<'_>| {
        assert!(event.is_replayed());
        let id = event["id"].as_u64().unwrap();
        assert_eq!(event.id().to_string(), format!("event {id}"));
        assert_eq!((event.timestamp(), event.correlation_id()), (id as f64, Some(&*format!("request {}", id % 3))));
        sender.send(id).unwrap();
    };
    bus.on("order.*").lane("io").handle(see).unwrap();
    let report = bus.replay(Replay::from_records(records(500))).unwrap();
    assert_eq!((report.read, report.given, report.next, report.completed), (500, 500, 501, true));
    assert_eq!((0..500).map(|_| events.recv_timeout(GUARD).unwrap()).collect::<Vec<_>>(), Vec::from_iter(0..500));
    bus.on("order.*").inline().handle(|event| assert!(!event.is_replayed())).unwrap();
    assert_eq!(bus.emit("order.cancelled", json!({})).unwrap().inline().handled, 1, "an emit is no replay");
    bus.shutdown(GUARD);
}

#[test]
fn filters_choose_by_topic_time_correlation_and_position() {
    let all = || Replay::from_records(records(10));
    let second = |number| UNIX_EPOCH + Duration::from_secs(number);
    assert_eq!(seen(all().pattern("order.paid")), [1, 3, 5, 7, 9]);
    let bus = Bus::builder().build().unwrap();
    let report = bus.replay(all().pattern("order.placed")).unwrap();
    assert_eq!((report.given, report.filtered, report.next), (5, 5, 11), "what is left out is passed all the same");
    assert_eq!(seen(all().pattern("order.paid").pattern("*.placed")), Vec::from_iter(0..10));
    assert_eq!(seen(all().since(second(3)).until(second(6))), [3, 4, 5]);
    assert_eq!(seen(all().correlation_id("request 1")), [1, 4, 7]);
    assert_eq!(seen(all().positions(3..=5)), [2, 3, 4]);
    assert_eq!(seen(all().positions(8..)), [7, 8, 9]);
    assert_eq!(seen(all().positions(0..0)), [0; 0]);
    assert_eq!(seen(all().sequence(1..)), [0; 0], "records from elsewhere have no number");
    assert!(matches!(
        Bus::builder().build().unwrap().replay(all().pattern("a..b")).unwrap_err(),
        ReplayError::InvalidSetting { setting: "pattern", .. }
    ));
}

#[test]
fn it_goes_on_at_the_position_that_the_report_says() {
    let bus = Bus::builder().build().unwrap();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&ids);
    bus.on("order.paid").inline().handle(move |event| sees.lock().unwrap().extend(event["id"].as_u64())).unwrap();
    let (mut next, mut rounds) = (1, 0);
    loop {
        let replay = Replay::from_records(records(100)).pattern("order.paid").positions(next..).limit(7);
        let report = bus.replay(replay).unwrap();
        (next, rounds) = (report.next, rounds + 1);
        if report.completed {
            break;
        }
        assert_eq!(report.given, 7);
    }
    assert_eq!((rounds, next), (8, 101));
    assert_eq!(*ids.lock().unwrap(), (0..100).filter(|id| id % 2 == 1).collect::<Vec<_>>());
}

/// Handlers on a lane that remember what came before: what they have seen, as one number.
fn outcome(records: Vec<Record>) -> u64 {
    let bus = Bus::builder().default_lane(Lane::new("default").capacity(8)).build().unwrap();
    let state = Arc::new(Mutex::new((DefaultHasher::new(), 0_u64)));
    for topic in ["order.*", "order.placed", "*.paid"] {
        let state = Arc::clone(&state);
        let handler = move |event: &Event<'_>| {
            let mut state = state.lock().unwrap();
            let sum = state.1.wrapping_mul(31) + event["id"].as_u64().unwrap();
            state.1 = sum;
            (topic, event.topic(), sum, event.id().to_string()).hash(&mut state.0);
            if sum.is_multiple_of(7) { Err("unlucky") } else { Ok(()) }
        };
        bus.on(topic).handle(handler).unwrap();
    }
    bus.replay(Replay::from_records(records)).unwrap();
    drained(&bus);
    let state = state.lock().unwrap();
    state.0.finish()
}

#[test]
fn the_same_records_have_the_same_outcome() {
    let once = outcome(records(1_000));
    assert_eq!(outcome(records(1_000)), once);
    let mut others = records(1_000);
    others.swap(500, 501);
    assert_ne!(outcome(others), once, "the hash sees the order");
}

#[test]
fn one_subscription_gets_them_alone_and_the_call_waits_for_it() {
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&ids);
    let retry = Retry::exponential(Duration::from_millis(1)).attempts(2);
    let handler = move |event: &Event<'_>| {
        assert!(event.is_replayed());
        let id = event["id"].as_u64().unwrap();
        sees.lock().unwrap().push(id);
        if id == 3 { Err("never") } else { Ok(()) }
    };
    bus.on("nothing").name("billing").lane("io").retry(retry).handle(handler).unwrap();
    bus.on("*").handle(|event| assert!(event.topic().starts_with("system."), "not for others")).unwrap();
    let report = bus.replay(Replay::from_records(records(600)).into("billing")).unwrap();
    assert_eq!((report.given, report.completed), (600, true));
    let mut seen = ids.lock().unwrap().clone();
    assert_eq!(seen.len(), 601, "the second attempt is among them");
    seen.dedup();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, Vec::from_iter(0..600));
    assert_eq!(bus.dead_letters().len(), 1);

    let into = |name: &str| bus.replay(Replay::from_records(records(1)).into(name)).unwrap_err();
    assert!(matches!(into("nobody"), ReplayError::Subscription { found: 0, .. }));
    bus.on("twice").handle(|_| ()).unwrap();
    bus.on("twice").handle(|_| ()).unwrap();
    assert!(matches!(into("twice"), ReplayError::Subscription { found: 2, .. }));
    bus.on("here").inline().handle(|_| ()).unwrap();
    assert!(matches!(into("here"), ReplayError::InvalidSetting { setting: "into", .. }));
    drained(&bus);
}

/// When the events of a replay come, in milliseconds of the bus's clock, which goes on when all have come that should.
fn moments(speed: Speed, times: &[f64], expected: &[u64]) -> Vec<u64> {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let came: Arc<Mutex<Vec<u64>>> = Arc::default();
    let (comes, at) = (Arc::clone(&came), clock.clone());
    bus.on("order.*").inline().handle(move |_| comes.lock().unwrap().push(at.now().as_millis() as u64)).unwrap();
    let records: Vec<_> = times.iter().map(|at| record("order.placed", 0, *at)).collect();
    let player = bus.clone();
    let replay = thread::spawn(move || player.replay(Replay::from_records(records).speed(speed)).unwrap());
    for now in (0..=expected.last().copied().unwrap_or(0)).step_by(100) {
        until(|| came.lock().unwrap().len() >= expected.iter().filter(|moment| **moment <= now).count());
        clock.advance(Duration::from_millis(100));
    }
    replay.join().unwrap();
    let came = came.lock().unwrap();
    came.clone()
}

#[test]
fn the_pace_is_as_recorded_or_a_multiple_of_it_or_even() {
    let times = [10.0, 10.2, 10.2, 9.0, 9.4];
    let expected = [
        (Speed::AsRecorded, [0, 200, 200, 200, 600]),
        (Speed::Times(2.0), [0, 100, 100, 100, 300]),
        (Speed::PerSecond(5), [0, 200, 400, 600, 800]),
        (Speed::Fastest, [0; 5]),
    ];
    for (speed, expected) in expected {
        assert_eq!(moments(speed, &times, &expected), expected, "{speed:?}");
    }
    for speed in [Speed::Times(0.0), Speed::Times(f64::NAN), Speed::PerSecond(0)] {
        let replay = Replay::from_records(records(1)).speed(speed);
        let error = Bus::builder().build().unwrap().replay(replay).unwrap_err();
        assert!(matches!(error, ReplayError::InvalidSetting { setting: "speed", .. }));
    }
}

#[test]
fn an_audit_file_is_replayed_and_not_recorded_again() {
    let folder = Folder::of("replay-audit");
    let path = folder.path().join("events.jsonl");
    let first = Bus::builder().audit(AuditLog::at(&path)).build().unwrap();
    for id in 0..20 {
        first.event("order.placed", json!({"id": id})).source("shop").emit().unwrap();
    }
    drained(&first);
    let mut text = fs::read_to_string(&path).unwrap();
    text.insert_str(0, "no record\n\n");
    text.push_str(r#"{"event_type": "order.pla"#);
    fs::write(&path, &text).unwrap();

    let window = DedupWindow::new(100, GUARD);
    let second = Bus::builder().audit(AuditLog::at(folder.path().join("new.jsonl"))).dedup(window).build().unwrap();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&ids);
    second.on("order.*").inline().handle(move |event| sees.lock().unwrap().extend(event["id"].as_u64())).unwrap();
    for _ in 0..2 {
        let report = second.replay(Replay::from_audit(&path).sequence(1..=10)).unwrap();
        assert_eq!((report.skipped, report.filtered, report.given, report.next), (3, 10, 10, 23));
    }
    assert_eq!(
        *ids.lock().unwrap(),
        [Vec::from_iter(0..10), Vec::from_iter(0..10)].concat(),
        "no window holds them up"
    );
    drained(&second);
    assert_eq!(fs::read_to_string(folder.path().join("new.jsonl")).unwrap(), "");
    assert!(matches!(second.replay(Replay::from_audit(folder.path())).unwrap_err(), ReplayError::Source { .. }));
}

/// Replays a file, and says what was given.
fn replayed(replay: Replay) -> (Vec<u64>, ReplayReport) {
    let bus = Bus::builder().build().unwrap();
    let ids = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&ids);
    bus.on("*").inline().handle(move |event| sees.lock().unwrap().extend(event["id"].as_u64())).unwrap();
    let report = bus.replay(replay).unwrap();
    drained(&bus);
    let ids = ids.lock().unwrap().clone();
    (ids, report)
}

#[test]
fn rotated_and_compressed_files_are_replayed_before_the_active_one_and_a_torn_tail_is_come_back_to() {
    let folder = Folder::of("replay-set");
    let path = folder.path().join("events.jsonl");
    let log = AuditLog::at(&path).rotate(1_024, 1_000);
    #[cfg(feature = "compress")]
    let log = log.compress();
    let first = Bus::builder().audit(log).build().unwrap();
    for id in 0..200 {
        first.event(["order.placed", "order.paid"][id % 2], json!({"id": id})).emit().unwrap();
    }
    drained(&first);
    let names = || fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names().count() > 10);
    assert_eq!(names().any(|name| name.ends_with(".zst")), cfg!(feature = "compress"));
    let (whole, torn) = (json!({"event_type": "order.paid", "payload": {"id": 200}}).to_string(), 20);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}no event\n{}", &whole[..torn])).unwrap();

    let (ids, all) = replayed(Replay::from_audit(&path));
    assert_eq!(ids, Vec::from_iter(0..200));
    let seals = all.filtered;
    assert!(seals > 10 && all.completed, "{all:?}");
    assert_eq!((all.read, all.given, all.skipped), (200 + seals, 200, 2));
    assert_eq!(all.next, 200 + seals + 2, "the torn line comes again");

    // What the reader leaves out is in the account as well, and filters mean the same as they do for other sources.
    let (ids, report) = replayed(Replay::from_audit(&path).pattern("order.paid"));
    assert_eq!(ids, Vec::from_iter((0..200).filter(|id| id % 2 == 1)));
    assert_eq!((report.given, report.filtered, report.skipped, report.next), (100, 100 + seals, 2, all.next));
    let (ids, _) = replayed(Replay::from_audit(&path).pattern("order.paid").pattern("*.placed").sequence(51..=60));
    assert_eq!(ids, Vec::from_iter(50..60));

    // Piece by piece it is the same, whatever the pieces and whatever was left out on the way.
    for pattern in ["order.*", "order.paid"] {
        let (mut pieces, mut next, mut filtered) = (Vec::new(), 1, 0);
        loop {
            let replay = Replay::from_audit(&path).pattern(pattern).positions(next..).limit(7);
            let (ids, report) = replayed(replay);
            pieces.extend(ids);
            (next, filtered) = (report.next, filtered + report.filtered);
            if report.completed {
                break;
            }
        }
        let (ids, at_once) = replayed(Replay::from_audit(&path).pattern(pattern));
        assert_eq!((pieces, next, filtered), (ids, at_once.next, at_once.filtered), "{pattern}");
    }

    // Its writer goes on.
    fs::write(&path, format!("{text}no event\n{whole}\n")).unwrap();
    let (ids, report) = replayed(Replay::from_audit(&path).positions(all.next..));
    assert_eq!((ids, report.given, report.skipped, report.next), (vec![200], 1, 0, all.next + 1));
    let (ids, report) = replayed(Replay::from_audit(&path).positions(report.next..));
    assert_eq!((ids, report.given, report.next), (vec![], 0, all.next + 1));
    let (_, report) = replayed(Replay::from_audit(&path).positions(..=3));
    assert_eq!((report.read + report.skipped, report.next), (3, 4));
}

#[test]
fn times_are_compared_as_they_stand_in_the_file() {
    let folder = Folder::of("replay-times");
    let path = folder.path().join("events.jsonl");
    let line = |id: u64, at: f64| format!("{}\n", json!({"event_type": "a", "payload": {"id": id}, "timestamp": at}));
    let times = [0.123_456_789, 1.5, 1_700_000_000.123_456, 1_700_000_001.0];
    fs::write(&path, (0..).zip(times).map(|(id, at)| line(id, at)).collect::<String>()).unwrap();
    let moment = |seconds: f64| UNIX_EPOCH + Duration::from_secs_f64(seconds);
    let given = |since: f64, until: f64| {
        let (since, until) = (moment(since), moment(until));
        let replay = replayed(Replay::from_audit(&path).since(since).until(until)).0;
        let reader = AuditReader::open(&path).unwrap().since(since).until(until);
        let read = reader.oldest_first().unwrap().map(|entry| entry.unwrap().record.payload["id"].as_u64().unwrap());
        assert_eq!(Vec::from_iter(read), replay, "both mean the same span");
        replay
    };
    assert_eq!(given(times[0], times[1]), [0], "the end does not belong to it");
    assert_eq!(given(times[1], times[3]), [1, 2]);
    assert_eq!(given(times[2], times[3]), [2], "the beginning does, to the microsecond");
    assert_eq!(given(0.0, 1e10), [0, 1, 2, 3]);
}

#[test]
fn one_bad_line_anywhere_costs_no_other() {
    let folder = Folder::of("replay-bad");
    let path = folder.path().join("events.jsonl");
    let good = |id| format!("{}\n", json!({"event_type": "a", "payload": {"id": id}})).into_bytes();
    let bad: [&[u8]; 6] =
        [b"\xff\xfe\xc0", b"{\"a\":1}", b"[1,2]", b"\0\0\0", b"{\"event_type\":\"a\",\"payload\":{\"id\":NaN}}", b"}"];
    for at in 0..=50 {
        let mut lines: Vec<Vec<u8>> = (0..50).map(good).collect();
        lines.insert(at, [bad[at % bad.len()], b"\n"].concat());
        fs::write(&path, lines.concat()).unwrap();
        let (ids, report) = replayed(Replay::from_audit(&path));
        assert_eq!((ids, report.skipped, report.next), (Vec::from_iter(0..50), 1, 52), "at {at}");
    }
    // A hole of NUL bytes, longer than any line that is held.
    let hole = 65 << 20;
    fs::write(&path, good(0)).unwrap();
    let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.set_len(good(0).len() as u64 + hole).unwrap();
    (&file).write_all(&[b"\n".to_vec(), good(1)].concat()).unwrap();
    let (ids, report) = replayed(Replay::from_audit(&path));
    assert_eq!((ids, report.skipped, report.next), (vec![0, 1], 1, 4));
}

#[test]
fn what_a_bus_refuses_is_counted_and_a_shutdown_ends_it() {
    let bus = Bus::builder().default_lane(Lane::new("default").capacity(1).overflow(Overflow::Reject)).build().unwrap();
    let mut odd = records(3);
    odd[1].event_type = "not a topic".into();
    let report = bus.replay(Replay::from_records(odd).pattern("order.*")).unwrap();
    assert_eq!((report.given, report.filtered, report.refused), (2, 1, 0));
    let player = bus.clone();
    let endless = (0..).map(|id| record("order.placed", id, 0.0));
    let replay = thread::spawn(move || player.replay(Replay::from_records(endless)).unwrap());
    until(|| bus.ledger().emitted > 1_000);
    bus.shutdown(GUARD);
    let report = replay.join().unwrap();
    assert!(!report.completed && report.next == report.given + 1, "{report:?}");
}

#[test]
fn a_handler_cannot_replay() {
    let bus = Bus::builder().build().unwrap();
    let (sender, said) = mpsc::channel();
    let weak = bus.downgrade();
    bus.on("go")
        .handle(move |_| {
            let bus = weak.upgrade().unwrap();
            sender.send(bus.replay(Replay::from_records(records(1))).unwrap_err().to_string()).unwrap();
        })
        .unwrap();
    bus.emit("go", ()).unwrap();
    assert_eq!(said.recv_timeout(GUARD).unwrap(), "the worker of a lane cannot replay events");
    drained(&bus);
}

#[cfg(feature = "durable")]
mod log {
    use nervebus::DurableLog;

    use super::*;

    #[test]
    fn the_durable_log_is_replayed_as_far_as_it_goes_and_not_recorded_again() {
        let folder = Folder::of("replay-log");
        let build = || {
            let log = DurableLog::at(folder.path().join("log")).topics("order.*");
            Bus::builder().durable(log).lane(Lane::new("wide").workers(3)).build().unwrap()
        };
        let first = build();
        for id in 0..300 {
            first.event("order.placed", json!({"id": id, "key": id % 5})).key(id % 5).emit().unwrap();
        }
        drained(&first);
        drop(first);
        let second = build();
        let (sender, events) = mpsc::channel();
        let send = move |event: &Event<'_>| {
            assert!(event.is_replayed());
            sender.send((event["key"].as_u64().unwrap(), event["id"].as_u64().unwrap())).unwrap();
        };
        second.on("order.*").lane("wide").handle(send).unwrap();
        second.on("order.*").durable("billing").handle(|event| assert!(event.is_replayed())).unwrap();
        let report = second.replay(Replay::from_log().positions(11..)).unwrap();
        assert_eq!((report.given, report.next, report.completed), (290, 301, true));
        let mut seen: Vec<_> = (0..290).map(|_| events.recv_timeout(GUARD).unwrap()).collect();
        seen.sort_by_key(|(key, _)| *key);
        assert!(seen.is_sorted() && seen.len() == 290, "each key in order");
        assert_eq!(second.stats().durable.unwrap().next, 301, "nothing is written again");
        let report = second.replay(Replay::from_log().sequence(..=20).into("billing")).unwrap();
        assert_eq!((report.given, report.filtered), (20, 280));
        let stats = second.stats().durable.unwrap().subscriptions[0].clone();
        assert_eq!((stats.given, stats.checkpoint), (0, 301), "its checkpoint knows nothing of it");
        drained(&second);
        assert!(matches!(Bus::builder().build().unwrap().replay(Replay::from_log()).unwrap_err(), ReplayError::NoLog));
    }
}
