//! The file of dead letters: what comes back after a restart or a crash, and what becomes of the file.
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use nervebus::{BuildError, Bus, DeadLetter, DeadLetterLog, Query, Reason, Record, Why, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nervebus-letters-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn log(&self) -> PathBuf {
        self.0.join("letters.jsonl")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.log()).unwrap()
    }

    fn put(&self, bytes: &[u8]) {
        fs::create_dir_all(&self.0).unwrap();
        fs::write(self.log(), bytes).unwrap();
    }

    /// A bus with this file and room for so many letters, whose handler `picky` fails every event on `t.*`.
    fn bus(&self, capacity: usize) -> Bus {
        let bus = Bus::builder().dead_letters(capacity).dead_letter_log(DeadLetterLog::at(self.log())).build().unwrap();
        bus.on("t.*").name("picky").inline().handle(|event| Err(format!("error {}", event["n"]))).unwrap();
        bus
    }

    /// A file with letters 1 to so many.
    fn fill(&self, letters: u64) {
        let bus = self.bus(1_000);
        emit(&bus, 1..=letters);
        end(bus);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn emit(bus: &Bus, numbers: impl Iterator<Item = u64>) {
    numbers.for_each(|n| assert!(bus.emit("t.a", json!({"n": n})).is_ok()));
}

fn end(bus: Bus) {
    assert!(bus.shutdown(GUARD).drained);
    let log = bus.stats().dead_letters.log.unwrap();
    assert_eq!((log.lag, log.lost, log.stale, log.errors), (0, 0, false, 0), "{log:?}");
}

fn ids(bus: &Bus) -> Vec<u64> {
    bus.dead_letters().list().iter().map(|letter| letter.id).collect()
}

/// Everything that is said of a letter, but for the subscription, which is this run's.
fn told(letter: &DeadLetter) -> String {
    let event = letter.event.as_event();
    let of_event = (event.topic(), event.seq(), event.id().to_string(), event.source(), event.correlation_id());
    let times = (event.timestamp(), letter.failed_at, event.causation());
    let DeadLetter { id, reason, handler, pattern, error, attempts, retries, .. } = letter;
    format!(
        "{of_event:?} {times:?} {} {id} {reason} {handler} {pattern:?} {error} {attempts} {retries}",
        event.payload()
    )
}

#[test]
fn a_letter_comes_back_as_it_was() {
    let folder = Folder::new("back");
    let bus = folder.bus(10);
    let given = bus.event("t.given", json!({"n": 1, "text": "a\nb\u{2028}\"é"})).source("shop").correlation_id("req-1");
    given.event_id("mine").timestamp(1.25).emit().unwrap();
    bus.emit("t.plain", vec![1, 2]).unwrap();
    let before: Vec<String> = bus.dead_letters().list().iter().map(|letter| told(letter)).collect();
    end(bus);

    let bus = folder.bus(10);
    let back = bus.dead_letters().list();
    // The time of an emit is kept to the microsecond.
    assert_eq!(told(&back[0]), before[0]);
    assert_eq!(back[1].event.as_event().payload(), &json!([1, 2]));
    assert!(back.iter().all(|letter| letter.subscription.is_none() && letter.failed_at > 1.6e9));
    assert_eq!((back[1].reason, &*back[1].handler, back[1].attempts), (Reason::HandlerError, "picky", 1));
    let stats = bus.stats().dead_letters;
    assert_eq!((stats.len, stats.total, stats.overwritten), (2, 2, 0));
    let log = stats.log.unwrap();
    assert_eq!((log.path, log.restored, log.surplus, log.skipped, log.lines), (folder.log(), 2, 0, 0, 2));
}

#[test]
fn a_line_is_a_record_that_other_readers_understand() {
    let folder = Folder::new("line");
    folder.fill(1);
    let record = Record::from_jsonl(folder.text().as_bytes()).unwrap();
    assert_eq!((&*record.event_type, record.payload), ("t.a", json!({"n": 1})));
    let line: nervebus::Value = serde_json::from_str(&folder.text()).unwrap();
    let letter = line["letter"].as_object().unwrap();
    let known = (&letter["id"], &letter["reason"], &letter["handler"], &letter["pattern"], &letter["error"]);
    assert_eq!(known, (&json!(1), &json!("handler_error"), &json!("picky"), &json!("t.*"), &json!("error 1")));
    assert!(letter["failed_at"].is_f64() && letter["attempts"] == 1 && letter["retries"] == 0);
}

#[test]
fn restarting_twice_changes_nothing() {
    let folder = Folder::new("twice");
    folder.fill(5);
    let bus = folder.bus(5);
    bus.dead_letters().remove(2).unwrap();
    emit(&bus, 6..=8);
    assert_eq!(ids(&bus), [4, 5, 6, 7, 8]);
    end(bus);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let bus = folder.bus(5);
        let letters: Vec<String> = bus.dead_letters().list().iter().map(|letter| told(letter)).collect();
        end(bus);
        seen.push((letters, folder.text()));
    }
    assert_eq!(seen[0].0.len(), 5);
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[1], seen[2]);
}

#[test]
fn what_was_removed_or_overwritten_stays_away() {
    let folder = Folder::new("away");
    let bus = folder.bus(5);
    emit(&bus, 1..=7);
    bus.dead_letters().remove(5).unwrap();
    bus.dead_letters().clear_where(&Query::new().limit(1)).unwrap();
    assert_eq!(ids(&bus), [4, 6, 7], "with room for two that were overwritten");
    end(bus);
    assert_eq!(ids(&folder.bus(5)), [4, 6, 7]);
}

#[test]
fn numbers_rise_from_run_to_run_even_when_nothing_is_left() {
    let folder = Folder::new("rise");
    folder.fill(3);
    let bus = folder.bus(10);
    assert_eq!(bus.dead_letters().clear(), 3);
    end(bus);
    for run in 0..2 {
        let bus = folder.bus(10);
        assert_eq!((ids(&bus), bus.dead_letters().total()), (vec![], 0), "run {run}");
        end(bus);
    }
    let bus = folder.bus(10);
    emit(&bus, 1..=1);
    assert_eq!((ids(&bus), bus.dead_letters().total()), (vec![4], 1));
}

#[test]
fn a_file_cut_anywhere_in_its_last_line_loses_that_letter_alone_and_can_be_written_on() {
    let folder = Folder::new("cut");
    folder.fill(3);
    let whole = folder.text().into_bytes();
    let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in last..=whole.len() {
        folder.put(&whole[..cut]);
        let bus = folder.bus(10);
        // Without its line end, the line still says all there is to say.
        let survives = cut >= whole.len() - 1;
        let (expected, torn) = if survives { (vec![1, 2, 3], 0) } else { (vec![1, 2], u64::from(cut > last)) };
        assert_eq!(ids(&bus), expected, "cut at {cut}");
        assert_eq!(bus.stats().dead_letters.log.unwrap().skipped, torn, "cut at {cut}");
        emit(&bus, 9..=9);
        end(bus);
        let bus = folder.bus(10);
        let letters = bus.dead_letters().list();
        assert_eq!(letters.len(), expected.len() + 1, "cut at {cut}");
        assert_eq!(letters.last().unwrap().event.as_event()["n"], 9);
        assert_eq!(bus.stats().dead_letters.log.unwrap().skipped, 0, "the piece is gone");
    }
}

#[test]
fn a_file_that_is_only_the_piece_of_a_line_is_no_obstacle() {
    let folder = Folder::new("piece");
    for piece in ["{", "{\"event_ty", "{\"removed\":1", "{\"event_type\":\"t.a\",\"payload\":{\"n\"\n", "\n", ""] {
        folder.put(piece.as_bytes());
        let bus = folder.bus(10);
        assert!(bus.dead_letters().is_empty());
        emit(&bus, 1..=1);
        end(bus);
        assert_eq!(ids(&folder.bus(10)), [1]);
    }
}

#[test]
fn foreign_lines_among_letters_are_skipped_and_counted() {
    let folder = Folder::new("foreign");
    folder.fill(2);
    let text = folder.text();
    let (first, second) = text.split_once('\n').unwrap();
    let odd = [
        "hello",
        "[null,null,null,1,null]",
        r#"{"removed":"2"}"#,
        r#"{"removed":0}"#,
        r#"{"event_type":"t.a","payload":1}"#,
        r#"{"type":"t.a"}"#,
    ];
    let unknown = first.replace("handler_error", "bad_mood");
    let bad_topic = first.replace("\"t.a\"", "\"..\"");
    let mut bytes = format!("{first}\n{}\n{unknown}\n{bad_topic}\n", odd.join("\n")).into_bytes();
    bytes.extend_from_slice(b"\xff\xfe\n");
    bytes.extend_from_slice(second.as_bytes());
    folder.put(&bytes);
    let bus = folder.bus(10);
    assert_eq!(ids(&bus), [1, 2]);
    assert_eq!(bus.stats().dead_letters.log.unwrap().skipped, odd.len() as u64 + 3);
    end(bus);
    // As values: a time with a zero at its end may lose it.
    let values =
        |text: &str| text.lines().map(serde_json::from_str).collect::<Result<Vec<nervebus::Value>, _>>().unwrap();
    assert_eq!(values(&folder.text()), values(&text), "the file is tidy again");
}

#[test]
fn a_file_of_something_else_is_refused_and_left_alone() {
    let folder = Folder::new("else");
    for text in ["127.0.0.1 localhost\n", "{\"event_type\":\"a.b\",\"payload\":{}}\n"] {
        folder.put(text.as_bytes());
        let error = Bus::builder().dead_letter_log(DeadLetterLog::at(folder.log())).build().unwrap_err();
        assert!(matches!(&error, BuildError::DeadLetterLog { path, .. } if *path == folder.log()));
        assert!(error.to_string().ends_with("it holds other lines than dead letters"), "{error}");
        assert_eq!(folder.text(), text);
    }
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let folder = Folder::new("settings");
    let build = |builder: nervebus::Builder| builder.build().unwrap_err().to_string();
    let log = || DeadLetterLog::at(folder.log());
    let error = build(Bus::builder().dead_letters(0).dead_letter_log(log()));
    assert_eq!(error, "dead_letters is 0, outside its range 1..=16777216");
    let error = build(Bus::builder().dead_letter_log(log().queue(0)));
    assert_eq!(error, "dead_letter_log.queue is 0, outside its range 1..=1048576");
    let audit = nervebus::AuditLog::at(folder.log());
    assert!(build(Bus::builder().audit(audit).dead_letter_log(log())).ends_with("the audit log is kept there"));
    fs::create_dir_all(&folder.0).unwrap();
    let error = build(Bus::builder().dead_letter_log(DeadLetterLog::at(&folder.0)));
    assert!(error.ends_with("it is not a regular file"), "{error}");
    assert!(!folder.log().exists());
}

#[test]
fn a_smaller_bus_takes_the_newest_letters_and_counts_the_others() {
    let folder = Folder::new("smaller");
    folder.fill(8);
    let bus = folder.bus(3);
    assert_eq!(ids(&bus), [6, 7, 8]);
    let stats = bus.stats().dead_letters;
    let log = stats.log.unwrap();
    assert_eq!((stats.total, log.restored, log.surplus, log.lines), (3, 3, 5, 3));
}

#[test]
fn a_letter_from_an_earlier_run_finds_its_handler_by_name_and_pattern() {
    let folder = Folder::new("handler");
    folder.fill(1);
    let bus = Bus::builder().dead_letter_log(DeadLetterLog::at(folder.log())).build().unwrap();
    // Whatever has the number that the subscription had is not the one.
    bus.on("t.a").name("picky").handle(|_| ()).unwrap();
    bus.on("t.*").handle(|_| ()).unwrap();
    let skipped = bus.dead_letters().dry_run(10, 1).skipped;
    assert_eq!(skipped, [(1, Why::NoHandler { handler: "picky".into() })]);
    bus.on("t.*").name("picky").handle(|_| ()).unwrap();
    assert_eq!(bus.dead_letters().dry_run(10, 1).letters, [1]);
}

#[test]
fn letters_are_cleared_by_an_age_that_spans_runs() {
    let folder = Folder::new("age");
    folder.fill(3);
    let text = folder.text();
    let mut lines: Vec<nervebus::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed_at = lines[1]["letter"]["failed_at"].as_f64().unwrap();
    lines[1]["letter"]["failed_at"] = json!(failed_at - 25.0 * 3600.0);
    let lines: Vec<String> = lines.iter().map(|line| format!("{line}\n")).collect();
    folder.put(lines.concat().as_bytes());
    let bus = folder.bus(10);
    assert_eq!(bus.dead_letters().clear_older_than(Duration::from_secs(24 * 3600)), 1);
    assert_eq!(ids(&bus), [1, 3]);
}

#[test]
fn the_file_stays_small_however_many_letters_come_and_go() {
    let folder = Folder::new("small");
    let bus = folder.bus(10);
    for n in 1..=2_000 {
        emit(&bus, n..=n);
        if n % 3 == 0 {
            bus.dead_letters().clear();
        }
        if n % 100 == 0 {
            // The writer keeps up, whatever the machine does.
            while bus.stats().dead_letters.log.unwrap().lag > 0 {
                std::thread::yield_now();
            }
        }
    }
    let kept = ids(&bus);
    end(bus.clone());
    let log = bus.stats().dead_letters.log.unwrap();
    assert!(log.rewrites > 0 && log.lines <= 64 + 200, "{log:?}");
    assert_eq!(log.lines, folder.text().lines().count() as u64);
    drop(bus);
    let bus = folder.bus(10);
    assert_eq!(ids(&bus), kept);
    assert!(!folder.0.join("letters.jsonl.new").exists());
}

#[test]
fn what_a_shutdown_leaves_is_in_the_file_when_it_returns() {
    let folder = Folder::new("shutdown");
    let bus = Bus::builder().dead_letter_log(DeadLetterLog::at(folder.log())).build().unwrap();
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
    let gone = Mutex::new(gone);
    let handler = move |_: &nervebus::Event<'_>| {
        let _ = begin.send(());
        let _ = gone.lock().unwrap().recv();
    };
    bus.on("t.a").handle(handler).unwrap();
    emit(&bus, 1..=3);
    begun.recv_timeout(GUARD).unwrap();
    // An eighth of the deadline belongs to the files.
    assert_eq!(bus.shutdown(Duration::from_secs(2)).left, 2);
    let reasons = folder.text().matches(r#""reason":"shutdown""#).count();
    assert_eq!(reasons, 2);
    drop(go);
}

#[test]
fn a_payload_without_json_says_so_in_its_line() {
    struct Refuses;
    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("never"))
        }
    }
    let folder = Folder::new("refuses");
    let bus = folder.bus(10);
    bus.emit("t.a", Refuses).unwrap();
    end(bus);
    let bus = folder.bus(10);
    assert_eq!(bus.dead_letters().get(1).unwrap().event.as_event()["serialization_error"], "never");
}

#[cfg(unix)]
#[test]
fn a_file_that_is_written_anew_keeps_its_rights_and_its_link() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("rights");
    folder.fill(2);
    let (real, link) = (folder.0.join("real"), folder.log());
    fs::rename(&link, &real).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let bus = folder.bus(1);
    assert_eq!(bus.stats().dead_letters.log.unwrap().rewrites, 1);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&real).unwrap().lines().count(), 1);
}

#[test]
fn a_letter_of_an_earlier_run_is_retried_and_what_became_of_it_is_in_the_file() {
    let folder = Folder::new("retry");
    folder.fill(3);
    let bus = folder.bus(10);
    bus.dead_letters().retry(2).unwrap();
    let letter = bus.dead_letters().get(2).unwrap();
    assert_eq!((letter.retries, letter.attempts, &*letter.error), (1, 2, "error 2"));
    assert!(letter.subscription.is_some(), "one of this run's");
    assert!(bus.ledger().balanced());
    end(bus);

    let bus = Bus::builder().dead_letter_log(DeadLetterLog::at(folder.log())).build().unwrap();
    bus.on("t.*").name("picky").handle(|event| assert_eq!((event.attempt(), event.causation()), (3, None))).unwrap();
    let letter = bus.dead_letters().get(2).unwrap();
    assert_eq!((letter.retries, letter.attempts), (1, 2));
    let history: Vec<_> = letter.history.iter().map(|attempt| (attempt.number, &*attempt.error)).collect();
    assert_eq!(history, [(1, "error 2"), (2, "error 2")]);
    bus.dead_letters().retry(2).unwrap();
    end(bus);

    let bus = folder.bus(10);
    assert_eq!(ids(&bus), [1, 3]);
}
