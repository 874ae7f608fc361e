//! The audit log: a line for every event, whatever becomes of it, in a file that is never damaged.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{AuditLog, BuildError, Bus, Event, Lane, Overflow, Reason, Record, Value, json};
use serde::ser::{Error as _, SerializeStruct};
use serde::{Serialize, Serializer};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A folder of a test's own, removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn of(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nervebus-audit-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    fn bus(&self) -> Bus {
        Bus::builder().audit(AuditLog::at(self.log())).build().unwrap()
    }

    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.log()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
        text.lines().map(str::to_owned).collect()
    }

    /// The lines as JSON.
    fn json(&self) -> Vec<Value> {
        self.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn drained(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

#[test]
fn a_line_has_the_six_fields_first_and_in_order() {
    let folder = Folder::of("six");
    let bus = folder.bus();
    let made = bus.emit("user.login", json!({"username": "alice"})).unwrap();
    let emission = bus.event("order.placed", json!([1])).source("shop").correlation_id("c-1").event_id("e-1");
    let given = emission.timestamp(1_700_000_000.25).emit().unwrap();
    drained(&bus);
    let lines = folder.lines();
    let [first, second] = &lines[..] else { panic!("{lines:?}") };
    let expected = r#"{"event_type":"order.placed","payload":[1],"timestamp":1700000000.25,"event_id":"e-1","#;
    let expected = format!(r#"{expected}"source":"shop","correlation_id":"c-1","seq":{}}}"#, given.seq());
    assert_eq!(*second, expected);

    let rest = first.strip_prefix(r#"{"event_type":"user.login","payload":{"username":"alice"},"timestamp":"#).unwrap();
    let (timestamp, rest) = rest.split_once(',').unwrap();
    let expected = format!(r#""event_id":"{}","source":null,"correlation_id":null,"seq":{}}}"#, made.id(), made.seq());
    assert_eq!(rest, expected);
    let (seconds, micros) = timestamp.split_once('.').unwrap();
    assert!(seconds.parse::<u64>().unwrap() > 1_500_000_000 && micros.len() == 6, "{timestamp}");
}

#[test]
fn every_event_that_is_accepted_has_one_line_whoever_listens() {
    let folder = Folder::of("one-line");
    let bus = folder.bus();
    bus.on("many").inline().handle(|_| ()).unwrap();
    bus.on("many").handle(|_| ()).unwrap();
    bus.on("many").handle(|_| Err("one fails")).unwrap();
    for topic in ["many", "nobody", "many", "nobody"] {
        bus.emit(topic, ()).unwrap();
    }
    bus.publisher("nobody").unwrap().emit(()).unwrap();
    bus.emit("not a topic", ()).unwrap_err();
    drained(&bus);
    bus.emit("too.late", ()).unwrap_err();
    let mut topics: Vec<_> = folder.json().iter().map(|line| line["event_type"].as_str().unwrap().to_owned()).collect();
    topics.sort();
    let expected = ["many", "many", "nobody", "nobody", "nobody", "system.handler_error", "system.handler_error"];
    assert_eq!(topics, expected);
    let ledger = bus.ledger();
    assert_eq!((ledger.routed, ledger.unrouted), (2, 3), "to be written down is not to be routed");
    let stats = bus.stats().audit.unwrap();
    assert_eq!((stats.lines, stats.dropped, stats.errors, stats.lag), (7, 0, 0, 0));
    assert_eq!((stats.bytes, stats.path), (fs::metadata(folder.log()).unwrap().len(), folder.log()));
}

#[test]
fn an_event_that_a_full_lane_rejects_has_no_line_and_one_that_it_drops_has() {
    for (overflow, expected) in [(Overflow::Reject, 2), (Overflow::DropNewest, 3)] {
        let folder = Folder::of(&format!("full-{expected}"));
        let lane = Lane::new("narrow").capacity(1).overflow(overflow);
        let bus = Bus::builder().audit(AuditLog::at(folder.log())).default_lane(lane).build().unwrap();
        let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
        let gone = Mutex::new(gone);
        bus.subscribe("t", move |_| {
            begin.send(()).unwrap();
            let _ = gone.lock().unwrap().recv();
        })
        .unwrap();
        bus.emit("t", ()).unwrap();
        begun.recv_timeout(GUARD).unwrap();
        bus.emit("t", ()).unwrap();
        assert_eq!(bus.emit("t", ()).is_err(), overflow == Overflow::Reject);
        drop(go);
        drained(&bus);
        assert_eq!(folder.lines().len(), expected, "{overflow:?}");
    }
}

#[test]
fn the_lines_of_an_emitter_are_in_the_order_of_its_emits() {
    let folder = Folder::of("order");
    let bus = Bus::builder().audit(AuditLog::at(folder.log()).capacity(16)).build().unwrap();
    let emitters: Vec<_> = (0..4)
        .map(|emitter| {
            let bus = bus.clone();
            thread::spawn(move || (0..500).for_each(|n| assert!(bus.emit("t", [emitter, n]).is_ok())))
        })
        .collect();
    emitters.into_iter().for_each(|emitter| emitter.join().unwrap());
    drained(&bus);
    let lines = folder.json();
    assert_eq!(lines.len(), 2_000);
    for emitter in 0..4 {
        let own: Vec<_> = lines.iter().filter(|line| line["payload"][0] == emitter).collect();
        assert!(own.iter().map(|line| line["payload"][1].as_u64().unwrap()).eq(0..500));
        assert!(own.iter().map(|line| line["seq"].as_u64().unwrap()).is_sorted());
    }
}

#[test]
fn what_a_handler_emits_comes_after_its_cause_and_names_it() {
    let folder = Folder::of("cause");
    let bus = folder.bus();
    let weak = bus.downgrade();
    bus.on("outer")
        .inline()
        .handle(move |_| weak.upgrade().unwrap().emit("inner", ()).is_ok().then_some(()).ok_or("refused"))
        .unwrap();
    let outer = bus.event("outer", ()).correlation_id("c-1").emit().unwrap();
    drained(&bus);
    let lines = folder.json();
    assert_eq!([&lines[0]["event_type"], &lines[1]["event_type"]], ["outer", "inner"]);
    assert_eq!(lines[0].get("causation_seq"), None);
    assert_eq!((&lines[1]["causation_seq"], &lines[1]["correlation_id"]), (&json!(outer.seq()), &json!("c-1")));
}

#[test]
fn a_line_that_is_read_back_is_what_was_emitted() {
    let payloads = [
        json!({}),
        json!(null),
        json!({"text": "line\nbreak \"quoted\" \u{0} \u{2028} é 🦀", "nested": {"a": [1, -2, 0.1, 1e300, u64::MAX, i64::MIN]}}),
        json!({"event_type": "a trap", "payload": {"timestamp": 1}}),
        json!("x".repeat(200_000)),
    ];
    let folder = Folder::of("read-back");
    let bus = folder.bus();
    let mut records = Vec::new();
    for (n, payload) in payloads.into_iter().enumerate() {
        let mut record = Record::new("order.placed.\u{e9}\"\\", payload);
        record.timestamp = Some([0.0, -0.5, 1_700_000_000.123_456_7, 1e300, f64::MIN_POSITIVE][n]);
        record.event_id = Some(format!("e-{n}\n\"\\"));
        record.source = (n % 2 == 0).then(|| "/shop \u{7f}\t".to_owned());
        record.correlation_id = (n % 2 == 1).then(String::new);
        bus.emit_record(record.clone()).unwrap();
        records.push(record);
    }
    drained(&bus);
    let read: Vec<_> = folder.lines().iter().map(|line| Record::from_jsonl(line.as_bytes()).unwrap()).collect();
    assert_eq!(read, records);
}

#[test]
fn an_existing_file_is_appended_to_and_a_missing_folder_is_made() {
    let folder = Folder::of("append");
    let path = folder.0.join("deep/er/events.jsonl");
    for run in 1..=3 {
        let bus = Bus::builder().audit(AuditLog::at(&path)).build().unwrap();
        bus.emit("t", run).unwrap();
        drained(&bus);
        assert_eq!(bus.stats().audit.unwrap().lines, 1, "lines written by this bus");
        let text = fs::read_to_string(&path).unwrap();
        let runs: Vec<u64> = text.lines().map(|line| payload(line).as_u64().unwrap()).collect();
        assert_eq!(runs, (1..=run).collect::<Vec<_>>());
    }
}

fn payload(line: &str) -> Value {
    Record::from_jsonl(line.as_bytes()).unwrap().payload
}

#[test]
fn a_last_line_that_was_cut_off_is_ended_and_nothing_is_glued_to_it() {
    let folder = Folder::of("torn");
    let torn = "{\"event_type\":\"whole\"}\n{\"event_type\":\"cut o";
    fs::write(folder.log(), torn).unwrap();
    let bus = folder.bus();
    bus.emit("t", 1).unwrap();
    bus.emit("t", 2).unwrap();
    drained(&bus);
    let text = fs::read_to_string(folder.log()).unwrap();
    let added = text.strip_prefix(torn).unwrap().strip_prefix('\n').unwrap();
    let (recovered, added) = added.split_once('\n').unwrap();
    assert_eq!(Record::from_jsonl(recovered.as_bytes()).unwrap().event_type, "system.audit_recovered");
    assert_eq!((&payload(recovered)["offset"], &payload(recovered)["bytes"]), (&json!(23), &json!(20)));
    assert_eq!(added.lines().map(payload).collect::<Vec<_>>(), [1, 2]);
    let stats = bus.stats().audit.unwrap();
    assert_eq!((stats.lines, stats.torn), (2, 1));
}

#[test]
fn a_bus_that_emits_nothing_leaves_its_file_as_it_was() {
    let folder = Folder::of("untouched");
    for text in ["", "whole\n"] {
        fs::write(folder.log(), text).unwrap();
        drained(&folder.bus());
        assert_eq!(fs::read_to_string(folder.log()).unwrap(), text);
    }
}

#[test]
fn a_path_that_cannot_be_written_is_an_error_when_the_bus_is_built() {
    let folder = Folder::of("unwritable");
    fs::write(folder.0.join("file"), "").unwrap();
    let below_a_file = folder.0.join("file/events.jsonl");
    for path in [folder.0.as_path(), &below_a_file, Path::new("")] {
        let error = Bus::builder().audit(AuditLog::at(path)).build().unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot append to the audit log {path:?}: ")), "{error}");
        assert!(matches!(error, BuildError::Audit { path: of, .. } if of == path));
    }
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing was made");
}

/// A payload that begins well and then fails, or panics.
struct Bad {
    panics: bool,
}

impl Serialize for Bad {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Bad", 2)?;
        fields.serialize_field("good", &1)?;
        assert!(!self.panics, "half-way");
        Err(S::Error::custom("no words for this"))
    }
}

#[test]
fn a_payload_that_does_not_serialize_has_a_line_that_says_so_and_a_dead_letter() {
    let folder = Folder::of("bad");
    let bus = folder.bus();
    bus.on("bad").handle(|event| assert!(event.payload_as::<Bad>().is_some())).unwrap();
    bus.emit("good", 1).unwrap();
    let failed = bus.event("bad", Bad { panics: false }).source("s").emit().unwrap();
    bus.emit("bad", Bad { panics: true }).unwrap();
    bus.emit("good", 2).unwrap();
    drained(&bus);
    let lines = folder.json();
    let payloads: Vec<_> = lines.iter().map(|line| line["payload"].clone()).collect();
    let error = |text: &str| json!({"serialization_error": text});
    let panicked = "its Serialize implementation panicked";
    assert_eq!(payloads, [json!(1), error("no words for this"), error(panicked), json!(2)]);
    assert_eq!((&lines[1]["source"], &lines[1]["seq"]), (&json!("s"), &json!(failed.seq())));
    let letters = bus.dead_letters().list();
    let told: Vec<_> = letters.iter().map(|letter| (letter.reason, &*letter.handler, &*letter.error)).collect();
    let reason = Reason::SerializationError;
    assert_eq!(told, [(reason, "audit", "no words for this"), (reason, "audit", panicked)]);
    assert!(letters[0].event.as_event().payload_as::<Bad>().is_some());
    assert_eq!(bus.ledger().deliveries().handled, 2, "handlers that need no JSON have got it");
}

/// Subscribes to the bus's own words about its log.
#[cfg(unix)]
fn complaints(bus: &Bus) -> mpsc::Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    bus.on("system.audit_error").handle(move |event| sender.send(event.payload().clone()).unwrap()).unwrap();
    receiver
}

/// Waits until so many writes have failed.
#[cfg(unix)]
fn until_failed(bus: &Bus, writes: u64) {
    let since = Instant::now();
    while bus.stats().audit.unwrap().errors < writes {
        assert!(since.elapsed() < GUARD, "no write fails");
        thread::yield_now();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_counted_and_told_once_and_the_bus_goes_on() {
    let bus = Bus::builder().audit(AuditLog::at("/dev/full")).build().unwrap();
    let complaints = complaints(&bus);
    let (sender, seen) = mpsc::channel();
    bus.subscribe("t", move |event: &Event<'_>| sender.send(*event.payload_as::<u64>().unwrap()).unwrap()).unwrap();
    for n in 1..=5 {
        bus.emit("t", n).unwrap();
        until_failed(&bus, n);
    }
    let complaint = complaints.recv_timeout(GUARD).unwrap();
    assert_eq!((&complaint["path"], &complaint["lines_lost"]), (&json!("/dev/full"), &json!(0)));
    assert!(complaint["error"].as_str().is_some_and(|text| !text.is_empty()));
    assert!(bus.stats().audit.unwrap().failing);
    let end = bus.shutdown(Duration::from_millis(200));
    assert!(end.ledger.balanced(), "{}", end.ledger);
    assert!(seen.try_iter().eq(1..=5), "the bus goes on");
    assert_eq!(complaints.try_iter().count(), 0, "once is enough");
    let stats = bus.stats().audit.unwrap();
    assert_eq!((stats.lines, stats.bytes, stats.lag), (0, 0, 0));
    assert_eq!(stats.dropped, 6, "five events and the complaint itself");
    assert_eq!(stats.last_error.as_deref(), complaint["error"].as_str());
    let account = end.ledger.lanes.last().unwrap();
    let lost = account.deliveries.failed + account.deliveries.dropped;
    assert_eq!((account.name.as_str(), lost, account.deliveries.pending), ("audit", 6, 0));
}

#[cfg(unix)]
#[test]
fn a_log_that_recovers_and_fails_again_is_told_of_again() {
    use std::io::{BufRead, BufReader};

    let folder = Folder::of("episodes");
    let pipe = folder.log();
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // A pipe that nobody reads cannot be written; opening one waits for the other side.
    let reading = {
        let pipe = pipe.clone();
        thread::spawn(move || BufReader::new(fs::File::open(pipe).unwrap()))
    };
    let bus = Bus::builder().audit(AuditLog::at(&pipe)).build().unwrap();
    let complaints = complaints(&bus);
    let mut reader = reading.join().unwrap();
    for episode in 1..=2_u64 {
        bus.emit("works", episode).unwrap();
        let mut line = String::new();
        while !line.contains(r#""event_type":"works""#) {
            line.clear();
            assert!(reader.read_line(&mut line).unwrap() > 0);
        }
        assert_eq!(payload(&line), episode);
        drop(reader);
        bus.emit("fails", episode).unwrap();
        assert!(complaints.recv_timeout(GUARD).unwrap()["error"].is_string());
        bus.emit("fails.again", episode).unwrap();
        reader = BufReader::new(fs::File::open(&pipe).unwrap());
    }
    let end = bus.shutdown(GUARD);
    assert!(end.ledger.balanced(), "{}", end.ledger);
    assert_eq!(complaints.try_iter().count(), 0, "one complaint for each episode");
    let stats = bus.stats().audit.unwrap();
    assert!(stats.errors >= 2 && stats.lines >= 3 * 2 + 2, "what waited was written: {stats:?}");
    assert_eq!(
        stats.lines + stats.dropped,
        bus.ledger().emitted + bus.ledger().system,
        "every event is written or lost"
    );
}

#[test]
fn a_log_that_drops_loses_lines_and_never_events() {
    // The writer is held by a payload that does not finish serializing before it is told to.
    struct Slow(Mutex<mpsc::Receiver<()>>, mpsc::Sender<()>);
    impl Serialize for Slow {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.1.send(()).unwrap();
            let _ = self.0.lock().unwrap().recv();
            serializer.serialize_unit()
        }
    }
    let folder = Folder::of("drops");
    let log = AuditLog::at(folder.log()).capacity(2).overflow(Overflow::DropNewest);
    let bus = Bus::builder().audit(log).build().unwrap();
    bus.subscribe("t", |_| ()).unwrap();
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel());
    bus.emit("slow", Slow(Mutex::new(gone), begin)).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    (1..=5).for_each(|n| assert!(bus.emit_and_wait("t", n).unwrap().all_handled()));
    let stats = bus.stats().audit.unwrap();
    assert_eq!((stats.dropped, stats.lag), (3, 3), "one in the writer's hands, two waiting");
    drop(go);
    drained(&bus);
    let payloads: Vec<_> = folder.json().iter().map(|line| line["payload"].clone()).collect();
    assert_eq!(payloads, [json!(null), json!(1), json!(2)]);
    let stats = bus.stats().audit.unwrap();
    assert_eq!((stats.lines, stats.dropped, stats.errors, stats.lag), (3, 3, 0, 0));
}
