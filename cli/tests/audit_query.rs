//! `nervebus audit query`, run as a user runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may say at once that something went wrong")]
#![allow(clippy::disallowed_methods, reason = "tests write files")]

#[path = "support/run.rs"]
mod run;

use run::{Folder, line, lines, numbers};

fn set() -> Folder {
    let folder = Folder::new();
    folder.write("events.2.jsonl", lines(1..=3));
    folder.write("events.1.jsonl", lines(4..=6));
    folder.write(
        "events.jsonl",
        lines(7..=9).replace("chat.sent\",\"payload\":{\"n\":8}", "order.placed\",\"payload\":{\"n\":8}"),
    );
    folder
}

#[test]
fn the_newest_come_first_unless_the_oldest_are_asked_for() {
    let folder = set();
    let ask = |arguments: &[&str]| {
        numbers(&folder.clean(&[&["audit", "query", "events.jsonl", "--json"], arguments].concat()))
    };
    assert_eq!(ask(&[]), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(ask(&["--oldest", "--limit", "4"]), [1, 2, 3, 4]);
    assert_eq!(ask(&["--type", "order.*"]), [8]);
    assert_eq!(ask(&["--type=chat.sent", "--correlation", "c-2", "--limit=2"]), [5, 2]);
    assert_eq!(ask(&["--since", "1700000004.5", "--until", "2023-11-14T22:13:26.6Z"]), [6, 5, 4]);
    assert_eq!(ask(&["--since", "1700000004", "--until", "1700000006"]), [5, 4], "the end does not belong to it");
    assert_eq!(ask(&["--since", "1h"]), [0; 0]);
    assert_eq!(ask(&["--source", "nobody"]), [0; 0]);
}

#[test]
fn json_is_the_line_as_it_is_and_the_table_is_for_people() {
    let folder = set();
    assert_eq!(folder.clean(&["audit", "query", "events.jsonl", "--json", "--limit", "1"]), line(9));
    let table = folder.clean(&["audit", "query", "events.jsonl", "--limit", "1"]);
    assert_eq!(
        table,
        "2023-11-14T22:13:29.500Z  chat.sent                     {\"n\":9}  source=web  correlation=c-0\n"
    );
}

#[test]
fn what_is_skipped_is_said_and_the_rest_is_given() {
    let folder = Folder::new();
    folder.write(
        "events.jsonl",
        [lines(1..=2).as_bytes(), b"\xffgarbage\n{\"a\":1}\n", lines(3..=4).as_bytes()].concat(),
    );
    let (code, stdout, stderr) = folder.run(&["audit", "query", "events.jsonl", "--json"]);
    assert_eq!((code, numbers(&stdout)), (1, vec![4, 3, 2, 1]));
    assert!(stderr.contains("2 lines were skipped") && stderr.contains("byte 2"), "{stderr}");
}

#[test]
fn text_from_the_log_cannot_steer_the_terminal() {
    let folder = Folder::new();
    let evil = "{\"event_type\":\"a.b\",\"payload\":{\"\\u001b[2J\":\"\u{9b}31m\u{202e}\"},\"source\":\"\\u0007\\n\\u009b\"}\n";
    folder.write("events.jsonl", evil);
    for arguments in [&["audit", "query", "events.jsonl"][..], &["audit", "query", "events.jsonl", "--json"]] {
        let output = folder.clean(arguments);
        assert_eq!(output.lines().count(), 1);
        assert!(!output.trim_end().contains(|c: char| c.is_control() || c == '\u{202e}'), "{output:?}");
    }
    let json = folder.clean(&["audit", "query", "events.jsonl", "--json"]);
    let read = |text: &str| nervebus::Record::from_jsonl(text.as_bytes()).unwrap();
    assert_eq!(read(&json), read(evil), "and the JSON says the same as before");
}

#[test]
fn a_reader_that_closes_its_end_is_not_an_error() {
    let folder = Folder::new();
    folder.write("events.jsonl", lines(0..20_000));
    let mut child = folder.command(&["audit", "query", "events.jsonl", "--json"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}
