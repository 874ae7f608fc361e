//! Where logs may lie: beside one another, behind links, in odd places, and what is said where they may not.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/until.rs"]
mod until;

use std::fs;
use std::path::Path;

use folder::Folder;
use nervebus::{AuditLog, AuditReader, BuildError, Bus, DeadLetterLog, Redactor, json};
use until::GUARD;

/// The numbers of the events in a log, oldest first.
fn numbers(path: &Path) -> Vec<u64> {
    let events = AuditReader::open(path).unwrap().topic("order.*").unwrap().oldest_first().unwrap();
    events.map(|entry| entry.unwrap().record.payload["n"].as_u64().unwrap()).collect()
}

fn emit(bus: &Bus, numbers: std::ops::Range<u64>) {
    for n in numbers {
        bus.emit("order.placed", json!({"n": n})).unwrap();
    }
}

fn drained(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

#[test]
fn a_log_of_dead_letters_is_refused_where_the_audit_log_is_or_will_be() {
    let folder = Folder::of("path-both");
    let at = |name: &str| folder.path().join(name);
    let build = |letters: &Path| {
        let audit = AuditLog::at(at("events.jsonl")).rotate(1_024, 3);
        Bus::builder().audit(audit).dead_letter_log(DeadLetterLog::at(letters)).build()
    };
    let again = at(".").join("events.jsonl");
    for letters in [at("events.jsonl"), again, at("events.1.jsonl"), at("events.12.jsonl.zst")] {
        match build(&letters) {
            Err(BuildError::DeadLetterLog { path, error }) => {
                assert_eq!((path, error.to_string().contains("audit log")), (letters, true));
            }
            other => panic!("{letters:?}: {other:?}"),
        }
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(at("events.jsonl"), at("link.jsonl")).unwrap();
        assert!(matches!(build(&at("link.jsonl")), Err(BuildError::DeadLetterLog { .. })), "a link to it");
    }
    for beside in ["letters.jsonl", "events.letters.jsonl", "events.jsonl.letters"] {
        let bus = build(&at(beside)).unwrap();
        emit(&bus, 0..1);
        drained(&bus);
    }
    assert_eq!(numbers(&at("events.jsonl")), [0, 0, 0]);
}

#[cfg(unix)]
#[test]
fn the_lines_of_two_buses_in_one_file_are_whole() {
    let folder = Folder::of("path-two");
    let path = folder.path().join("events.jsonl");
    let build = || Bus::builder().audit(AuditLog::at(&path)).build().unwrap();
    let (one, other) = (build(), build());
    std::thread::scope(|scope| {
        scope.spawn(|| emit(&one, 0..2_000));
        scope.spawn(|| emit(&other, 2_000..4_000));
    });
    drained(&one);
    drained(&other);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 4_000);
    let found = numbers(&path);
    let (of_one, of_other): (Vec<_>, Vec<_>) = found.into_iter().partition(|n| *n < 2_000);
    assert_eq!((of_one, of_other), (Vec::from_iter(0..2_000), Vec::from_iter(2_000..4_000)), "each in its order");
}

#[cfg(unix)]
#[test]
fn two_buses_do_not_share_a_file_that_one_of_them_rotates() {
    let folder = Folder::of("path-shared-log");
    let path = folder.path().join("events.jsonl");
    let plain = || Bus::builder().audit(AuditLog::at(&path)).build();
    let rotating = || Bus::builder().audit(AuditLog::at(&path).rotate(1_024, 100)).build();
    let refused = |built: Result<Bus, BuildError>| {
        let error = built.unwrap_err();
        assert!(matches!(&error, BuildError::Audit { path: at, .. } if *at == path), "{error}");
        assert!(error.to_string().contains("another bus writes to it"), "{error}");
    };
    let first = rotating().unwrap();
    refused(rotating());
    refused(plain());
    emit(&first, 0..50);
    refused(plain());
    drained(&first);
    let second = plain().unwrap();
    refused(rotating());
    emit(&second, 50..60);
    drained(&second);
    let third = rotating().unwrap();
    emit(&third, 60..100);
    drained(&third);
    assert_eq!(third.stats().audit.unwrap().dropped, 0);
    assert!(numbers(&path).into_iter().eq(0..100));
}

#[cfg(unix)]
#[test]
fn two_buses_do_not_share_a_file_of_dead_letters() {
    let folder = Folder::of("path-shared-letters");
    let path = folder.path().join("letters.jsonl");
    let build = || Bus::builder().dead_letter_log(DeadLetterLog::at(&path)).build();
    let fail = |bus: &Bus, numbers| {
        bus.on("order.*").inline().handle(|_| Err::<(), _>("no stock")).unwrap();
        emit(bus, numbers);
    };
    let first = build().unwrap();
    let refused = || {
        let error = build().unwrap_err();
        assert!(matches!(&error, BuildError::DeadLetterLog { path: at, .. } if *at == path), "{error}");
        assert!(error.to_string().contains("another bus or command writes to it"), "{error}");
    };
    refused();
    // Enough for the file to be written anew, so that another has its name.
    fail(&first, 0..100);
    first.dead_letters().clear();
    emit(&first, 100..101);
    while first.stats().dead_letters.log.is_some_and(|log| log.lag > 0 || log.rewrites == 0) {
        std::thread::yield_now();
    }
    refused();
    let error = nervebus::DeadLetterFile::open(&path).unwrap().remove(&[101]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy, "{error}");

    drained(&first);
    let second = build().unwrap();
    assert_eq!(second.dead_letters().list().iter().map(|letter| letter.id).collect::<Vec<_>>(), [101]);
    fail(&second, 101..102);
    drained(&second);
    // What the first does now would be about letters of the second.
    first.dead_letters().clear();
    while first.stats().dead_letters.log.is_some_and(|log| log.lag > 0) {
        std::thread::yield_now();
    }
    let log = first.stats().dead_letters.log.unwrap();
    assert_eq!((log.lost, log.errors), (1, 1), "{log:?}");
    assert_eq!(build().unwrap().dead_letters().len(), 2);
}

#[cfg(unix)]
#[test]
fn letters_taken_out_after_a_shutdown_are_taken_out_of_the_file() {
    let folder = Folder::of("path-after");
    let path = folder.path().join("letters.jsonl");
    let build = || Bus::builder().dead_letter_log(DeadLetterLog::at(&path)).build().unwrap();
    let bus = build();
    bus.on("order.*").inline().handle(|_| Err::<(), _>("no stock")).unwrap();
    emit(&bus, 0..3);
    drained(&bus);
    bus.dead_letters().remove(2).unwrap();
    drained(&bus);
    assert_eq!(bus.stats().dead_letters.log.unwrap().lost, 0);
    assert_eq!(build().dead_letters().list().iter().map(|letter| letter.id).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn an_empty_file_is_a_log_and_a_folder_is_none() {
    let folder = Folder::of("path-empty");
    let path = folder.path().join("events.jsonl");
    fs::write(&path, "").unwrap();
    let bus = Bus::builder().audit(AuditLog::at(&path)).build().unwrap();
    emit(&bus, 0..3);
    drained(&bus);
    assert_eq!(numbers(&path), [0, 1, 2]);
    let error = Bus::builder().audit(AuditLog::at(folder.path())).build().unwrap_err();
    assert!(matches!(&error, BuildError::Audit { path, .. } if path == folder.path()), "{error}");
    let error = Bus::builder().dead_letter_log(DeadLetterLog::at(folder.path())).build().unwrap_err();
    assert!(matches!(&error, BuildError::DeadLetterLog { path, .. } if path == folder.path()), "{error}");
}

#[cfg(unix)]
#[test]
fn a_log_behind_a_link_is_written_there_and_rotates_without_losing_a_line() {
    let folder = Folder::of("path-link");
    let (real, link) = (folder.path().join("elsewhere.jsonl"), folder.path().join("events.jsonl"));
    fs::write(&real, "").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let bus = Bus::builder().audit(AuditLog::at(&link).rotate(1_024, 100)).build().unwrap();
    emit(&bus, 0..3);
    until::until(|| numbers(&real).len() == 3);
    emit(&bus, 3..50);
    drained(&bus);
    assert_eq!(numbers(&link), Vec::from_iter(0..50));
    assert!(fs::read_link(&link).is_err(), "the first file is where it was, and the next has the log's own name");
}

#[test]
fn control_characters_in_what_an_event_carries_make_no_second_line() {
    let folder = Folder::of("path-lines");
    let path = folder.path().join("events.jsonl");
    let bus = Bus::builder().audit(AuditLog::at(&path).redact(Redactor::default())).build().unwrap();
    let forged = "\n{\"event_type\":\"order.forged\",\"payload\":{\"n\":0}}\n";
    let texts = (0..0x20_u8).chain([0x7f]).map(|byte| format!("a{}b", char::from(byte)));
    let texts: Vec<String> = texts.chain(["\u{85}", "\u{2028}", "\u{2029}", forged].map(str::to_owned)).collect();
    for (n, text) in (0_u64..).zip(&texts) {
        for (key, value) in [("a", text.as_str()), (text.as_str(), "a")] {
            let event = bus.event("order.placed", json!({"n": n, key: value})).source(text.as_str());
            let event = event.correlation_id(text.as_str()).event_id(text.as_str()).key(text);
            event.idempotency_key(text.as_str()).emit().unwrap();
        }
        assert!(bus.emit(&format!("order.{text}"), ()).is_err(), "no topic");
    }
    drained(&bus);
    let written = fs::read(&path).unwrap();
    let lines = written.split_inclusive(|byte| *byte == b'\n');
    assert_eq!(lines.clone().count(), 2 * texts.len());
    let plain = |line: &[u8]| line[..line.len() - 1].iter().all(|byte| (0x20..0x7f).contains(byte) || *byte >= 0x80);
    assert!(lines.clone().all(plain), "no control character stands there as it is");
    assert_eq!(numbers(&path), Vec::from_iter((0..texts.len() as u64).flat_map(|n| [n, n])));
    let log = AuditReader::open(&path).unwrap().oldest_first().unwrap();
    for (entry, text) in log.zip(texts.iter().flat_map(|text| [text, text])) {
        assert_eq!(entry.unwrap().record.source.as_ref(), Some(text));
    }
}

#[test]
fn hostile_payloads_of_a_megabyte_are_redacted_and_written_like_others() {
    let folder = Folder::of("path-hostile");
    let path = folder.path().join("events.jsonl");
    let bus = Bus::builder().audit(AuditLog::at(&path).redact(Redactor::default())).build().unwrap();
    let size = 1 << 20;
    // Work that grew with the square of a text's length would take hours here, and the shutdown's patience ends it.
    for (n, piece) in (0_u64..).zip(["a", "1-", "://a", "1:", "a@", "eyJ", "=", "\\\"", "-----BEGIN ", "[REDACTED_"]) {
        let text = piece.repeat(size / piece.len());
        bus.emit("order.placed", json!({"n": n, "text": text})).unwrap();
    }
    emit(&bus, 10..11);
    drained(&bus);
    assert_eq!(numbers(&path), Vec::from_iter(0..=10));
}

#[cfg(feature = "durable")]
mod durable {
    use nervebus::DurableLog;

    use super::*;

    #[test]
    fn an_audit_log_and_dead_letters_may_lie_in_the_folder_of_the_durable_log() {
        let folder = Folder::of("path-durable");
        let at = |name: &str| folder.path().join(name);
        for run in 0..3 {
            let log = DurableLog::at(folder.path()).topics("order.*");
            let audit = AuditLog::at(at("events.jsonl")).rotate(1_024, 100);
            let letters = DeadLetterLog::at(at("letters.jsonl"));
            let bus = Bus::builder().durable(log).audit(audit).dead_letter_log(letters).build().unwrap();
            bus.on("order.*").handle(|event| if event["n"] == 5 { Err("never") } else { Ok(()) }).unwrap();
            emit(&bus, run * 20..run * 20 + 20);
            drained(&bus);
            assert_eq!(bus.stats().durable.unwrap().next, run * 20 + 21);
            assert_eq!(bus.dead_letters().len(), 1, "of the first run, read back in the others");
            drop(bus);
            assert_eq!(numbers(&at("events.jsonl")), Vec::from_iter(0..run * 20 + 20));
        }
    }

    #[test]
    fn two_buses_do_not_share_a_durable_log_and_a_file_is_none() {
        let folder = Folder::of("path-shared");
        let build = |path: &Path| Bus::builder().durable(DurableLog::at(path).topics("order.*")).build();
        let first = build(&folder.path().join("log")).unwrap();
        let error = build(&folder.path().join("log")).unwrap_err();
        assert!(matches!(error, BuildError::Durable { .. }), "{error}");
        emit(&first, 0..1);
        drained(&first);
        drop(first);
        let second = build(&folder.path().join("log")).unwrap();
        assert_eq!(second.stats().durable.unwrap().next, 2);
        drained(&second);
        fs::write(folder.path().join("file"), "").unwrap();
        let error = build(&folder.path().join("file")).unwrap_err();
        assert!(matches!(error, BuildError::Durable { .. }), "{error}");
    }
}
