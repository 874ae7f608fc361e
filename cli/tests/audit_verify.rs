//! `nervebus audit verify`, run as a user runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may say at once that something went wrong")]
#![allow(clippy::disallowed_methods, reason = "tests write files")]

#[path = "support/run.rs"]
mod run;

use run::{Folder, lines, object};

/// Three lines of a log with a chain, and the hash of the last one.
fn chained() -> (String, String) {
    let (mut text, mut last) = (String::new(), "0".repeat(64));
    for line in lines(1..=3).lines() {
        let body = line.strip_suffix('}').unwrap();
        last = blake3::hash(format!("{last}{body}").as_bytes()).to_hex().to_string();
        text += &format!("{body},\"hash\":\"{last}\"}}\n");
    }
    (text, last)
}

#[test]
fn a_log_that_fits_shows_its_last_hash_and_what_is_not_known() {
    let (folder, (log, last)) = (Folder::new(), chained());
    folder.write("events.jsonl", &log);
    let table = folder.clean(&["audit", "verify", "events.jsonl"]);
    for part in ["everything that can be checked fits", "verified   3", &*last, "not known: whether lines were cut off"]
    {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    let anchored = folder.clean(&["audit", "verify", "events.jsonl", "--expect-last", &last, "--anchor", &last]);
    assert!(!anchored.contains("not known"), "{anchored}");
    let report = object(&folder.clean(&["audit", "verify", "events.jsonl", "--json"]));
    assert_eq!(
        (&report["intact"], &report["verified"], &report["beginning"]),
        (&true.into(), &3.into(), &"whole".into())
    );
    assert_eq!(report["last_hash"], *last);
}

#[test]
fn what_does_not_fit_is_named_and_exits_with_1() {
    let (folder, (log, last)) = (Folder::new(), chained());
    folder.write("events.jsonl", log.replace("\"n\":2", "\"n\":7"));
    let (code, table, stderr) = folder.run(&["audit", "verify", "events.jsonl"]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    assert!(table.starts_with("1 place does not fit\n  events.jsonl: line 2, byte "), "{table}");
    let (code, json, _) = folder.run(&["audit", "verify", "events.jsonl", "--json"]);
    let report = object(&json);
    assert_eq!((code, &report["found"], &report["findings"][0]["line"]), (1, &1.into(), &2.into()));

    folder.write("events.jsonl", log.lines().next().unwrap().to_owned() + "\n");
    assert_eq!(folder.run(&["audit", "verify", "events.jsonl"]).0, 0, "what was cut off cannot be seen");
    let (code, table, _) = folder.run(&["audit", "verify", "events.jsonl", "--anchor", &last]);
    assert!(code == 1 && table.contains("no line has the hash of the anchor"), "{table}");
    folder.write("events.jsonl", lines(1..=2));
    let (code, table, _) = folder.run(&["audit", "verify", "events.jsonl"]);
    assert!(code == 1 && table.starts_with("nothing to check: no line has a hash\n"), "{table}");
    assert!(!table.contains("not fit") && table.contains("AuditLog::chain"), "{table}");
    let report = object(&folder.run(&["audit", "verify", "events.jsonl", "--json"]).1);
    assert_eq!((&report["chained"], &report["intact"]), (&false.into(), &false.into()));
    let (_, table, _) = folder.run(&["audit", "verify", "events.jsonl", "--anchor", &last]);
    assert!(table.starts_with("2 places do not fit\n"), "there was a hash once: {table}");
}

#[test]
fn one_rotated_file_is_said_to_be_one() {
    let (folder, (log, _)) = (Folder::new(), chained());
    let later: String = log.lines().skip(1).map(|line| format!("{line}\n")).collect();
    folder.write("events.3.jsonl", later);
    let table = folder.clean(&["audit", "verify", "events.3.jsonl"]);
    for part in [
        "everything that can be checked fits",
        "this is one rotated file; all of the log is checked by 'nervebus audit verify events.jsonl'",
        "not known: what stood before the first line",
        "not known: why 1 rotated file has no seal",
    ] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    let report = object(&folder.clean(&["audit", "verify", "events.3.jsonl", "--json"]));
    assert_eq!((&report["rotated_from"], &report["chained"]), (&"events.jsonl".into(), &true.into()));
}
