//! `nervebus audit tail`, run as a user runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may say at once that something went wrong")]
#![allow(clippy::disallowed_methods, reason = "tests write files")]

#[path = "support/run.rs"]
mod run;

use std::fs;
use std::io::{BufRead, BufReader, Write};

use run::{Folder, line, lines, numbers};

#[test]
fn the_last_events_come_oldest_first() {
    let folder = Folder::new();
    folder.write("events.1.jsonl", lines(1..=20));
    folder.write("events.jsonl", lines(21..=24));
    let tail = |arguments: &[&str]| {
        numbers(&folder.clean(&[&["audit", "tail", "events.jsonl", "--json"], arguments].concat()))
    };
    assert_eq!(tail(&[]), (15..=24).collect::<Vec<_>>());
    assert_eq!(tail(&["-n", "2"]), [23, 24]);
    assert_eq!(tail(&["-n2", "--correlation", "c-1"]), [19, 22]);
    assert_eq!(tail(&["-n", "0"]), [0; 0]);
}

#[test]
fn it_follows_across_a_rotation_until_nobody_listens() {
    let folder = Folder::new();
    folder.write("events.jsonl", lines(1..=3));
    let mut child = folder.command(&["audit", "tail", "-f", "-n", "2", "--json", "events.jsonl"]).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || numbers(&output.next().expect("a line").unwrap())[0];
    assert_eq!([next(), next()], [2, 3]);
    let append = |text: &str| {
        let file = fs::OpenOptions::new().append(true).create(true).open(folder.path("events.jsonl"));
        file.unwrap().write_all(text.as_bytes()).unwrap();
    };
    append(&line(4));
    assert_eq!(next(), 4);
    append(&line(5));
    fs::rename(folder.path("events.jsonl"), folder.path("events.1.jsonl")).unwrap();
    append(&line(6));
    assert_eq!([next(), next()], [5, 6]);
    drop(output);
    // It notices with the next line that it cannot bring out.
    while child.try_wait().unwrap().is_none() {
        append(&line(7));
        std::thread::yield_now();
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_log_that_is_not_there_yet_is_waited_for_and_shown_whole() {
    let folder = Folder::new();
    let arguments = ["audit", "tail", "-f", "-n", "1", "--json", "later/events.jsonl"];
    let mut child = folder.command(&arguments).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "nervebus: there is no log at \"later/events.jsonl\" yet; waiting for it\n");
    fs::create_dir(folder.path("later")).unwrap();
    // Nothing is there half written.
    folder.write("events", lines(1..=3));
    fs::rename(folder.path("events"), folder.path("later/events.jsonl")).unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let came: Vec<u64> = (0..3).map(|_| numbers(&output.next().expect("a line").unwrap())[0]).collect();
    assert_eq!(came, [1, 2, 3]);
    child.kill().unwrap();
    child.wait().unwrap();

    let (code, _, stderr) = folder.run(&["audit", "tail", "never.jsonl"]);
    assert!(code == 3 && stderr.contains("there is no log at"), "{stderr}");
    let (code, _, stderr) = folder.run(&["audit", "tail", "-f", "never.jsonl", "--type", "a..b"]);
    assert!(code == 2 && stderr.contains("a..b"), "what is wrong is said before anybody waits: {stderr}");
}
