//! `nervebus replay`, run as a user runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may say at once that something went wrong")]
#![allow(clippy::disallowed_methods, reason = "tests write files and look at the clock")]

#[path = "support/run.rs"]
mod run;

#[cfg(feature = "durable")]
use std::fs;
use std::time::{Duration, Instant};

use nervebus::Bus;
#[cfg(feature = "durable")]
use nervebus::{DurableLog, json};
use run::{Folder, line, lines, numbers, object};

const SEAL: &str =
    "{\"event_type\":\"system.audit_sealed\",\"payload\":{\"lines\":3},\"timestamp\":1,\"event_id\":\"s\"}\n";

/// Two rotated files, one of them compressed, and the active one: 3 lines and a seal, 3 lines and a seal, 3 lines.
fn set() -> Folder {
    let folder = Folder::new();
    folder.write("events.2.jsonl.zst", zstd::encode_all((lines(1..=3) + SEAL).as_bytes(), 1).unwrap());
    folder.write("events.1.jsonl", lines(4..=6) + SEAL);
    folder.write("events.jsonl", lines(7..=9));
    folder
}

/// Exit code, the numbers of the events, and what standard error says.
fn replay(folder: &Folder, arguments: &[&str]) -> (i32, Vec<u64>, String) {
    let (code, stdout, stderr) = folder.run(&[&["replay", "events.jsonl"], arguments].concat());
    (code, numbers(&stdout), stderr)
}

#[test]
fn events_come_in_the_order_in_which_they_were_recorded_and_can_be_emitted_again() {
    let folder = set();
    let (code, stdout, stderr) = folder.run(&["replay", "events.jsonl"]);
    assert_eq!((code, stdout.as_str()), (0, &*lines(1..=9)), "line by line as they are");
    assert_eq!(stderr, "nervebus: 9 events, 2 left out, to the end; go on with --from 12\n");
    let bus = Bus::builder().build().unwrap();
    for line in stdout.lines() {
        bus.emit_record(nervebus::Record::from_jsonl(line.as_bytes()).unwrap()).unwrap();
    }
    assert_eq!(bus.ledger().emitted, 9);
}

#[test]
fn filters_choose_and_the_bus_own_records_come_when_they_are_asked_for() {
    let folder = set();
    let given = |arguments: &[&str]| replay(&folder, arguments).1;
    assert_eq!(given(&["--correlation", "c-1"]), [1, 4, 7]);
    assert_eq!(given(&["--since", "1700000004.5", "--until", "1700000007.5"]), [4, 5, 6]);
    assert_eq!(given(&["--from-seq", "8"]), [8, 9]);
    assert_eq!(given(&["--type", "order.*"]), [0; 0]);
    let (code, stdout, _) = folder.run(&["replay", "events.jsonl", "--type", "system.*"]);
    assert_eq!((code, stdout), (0, SEAL.repeat(2)));
}

#[test]
fn it_goes_on_where_the_last_run_ended_across_files() {
    let folder = set();
    let (mut from, mut all, mut rounds) = ("1".to_owned(), Vec::new(), 0);
    loop {
        let (code, given, stderr) = replay(&folder, &["--limit", "2", "--from", &from, "--json"]);
        let account = object(&stderr);
        assert_eq!((code, account["given"].as_u64()), (0, Some(given.len() as u64)), "{stderr}");
        all.extend(given);
        (from, rounds) = (account["next"].to_string(), rounds + 1);
        if account["completed"] == true {
            break;
        }
    }
    assert_eq!((all, from.as_str(), rounds), (Vec::from_iter(1..=9), "12", 5));
}

#[test]
fn damaged_lines_are_skipped_and_said_and_a_torn_tail_comes_again_when_it_is_whole() {
    let folder = Folder::new();
    let whole = line(3);
    folder.write("events.jsonl", [lines(1..=2).as_bytes(), b"\xffgarbage\n", &whole.as_bytes()[..30]].concat());
    let (code, given, stderr) = replay(&folder, &[]);
    assert_eq!((code, given), (1, vec![1, 2]));
    assert!(stderr.contains("1 line was skipped") && stderr.ends_with("--from 4\n"), "{stderr}");
    folder.write("events.jsonl", [lines(1..=2).as_bytes(), b"\xffgarbage\n", whole.as_bytes()].concat());
    let (code, given, stderr) = replay(&folder, &["--from", "4"]);
    assert_eq!((code, given), (0, vec![3]));
    assert!(stderr.ends_with("1 events, 0 left out, to the end; go on with --from 5\n"), "{stderr}");
}

#[test]
fn the_pace_is_never_faster_than_was_asked_for() {
    let folder = Folder::new();
    folder.write("events.jsonl", lines(1..=5));
    let lasts = |speed: &str| {
        let begun = Instant::now();
        assert_eq!(replay(&folder, &["--speed", speed]).1, [1, 2, 3, 4, 5]);
        begun.elapsed()
    };
    // Four pauses, of a hundredth of a recorded second or as many as the rate says.
    assert!(lasts("100") >= Duration::from_millis(40));
    assert!(lasts("200/s") >= Duration::from_millis(20));
    lasts("max");
    for wrong in ["0", "fast", "-2", "0/s"] {
        let (code, stdout, stderr) = folder.run(&["replay", "events.jsonl", "--speed", wrong]);
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert!(stderr.contains(&format!("--speed: '{wrong}': a speed is as-recorded")), "{stderr}");
    }
}

#[test]
fn a_reader_that_closes_its_end_is_not_an_error() {
    let folder = Folder::new();
    folder.write("events.jsonl", lines(0..20_000));
    for speed in ["max", "1000000"] {
        let mut child = folder.command(&["replay", "events.jsonl", "--speed", speed]).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]), "{speed}");
    }
}

#[test]
fn a_compressed_file_that_is_damaged_costs_its_rest_and_nothing_else() {
    let folder = set();
    let mut bytes = std::fs::read(folder.path("events.2.jsonl.zst")).unwrap();
    bytes.truncate(bytes.len() / 2);
    folder.write("events.2.jsonl.zst", bytes);
    let (code, given, stderr) = replay(&folder, &[]);
    assert_eq!(code, 1);
    assert!(given.ends_with(&[4, 5, 6, 7, 8, 9]) && stderr.contains("events.2.jsonl.zst"), "{given:?} {stderr}");
}

#[cfg(not(feature = "durable"))]
#[test]
fn a_folder_is_refused_with_what_would_read_it() {
    let folder = Folder::new();
    let (code, stdout, stderr) = folder.run(&["replay", "."]);
    assert_eq!((code, &*stdout), (3, ""));
    assert!(
        stderr.contains("built without the feature 'durable'") && stderr.contains("--features durable"),
        "{stderr}"
    );
}

#[cfg(feature = "durable")]
#[test]
fn the_folder_of_a_durable_log_is_replayed_by_its_positions() {
    let folder = Folder::new();
    let bus = Bus::builder().durable(DurableLog::at(folder.path("log")).topics("order.*")).build().unwrap();
    for n in 1..=300_u64 {
        let topic = if n % 100 == 0 { "order.paid" } else { "order.placed" };
        let event = bus.event(topic, json!({"n": n})).correlation_id(format!("c-{}", n % 3)).timestamp(n as f64);
        event.source("shop").emit().unwrap();
    }
    let (code, _, stderr) = folder.run(&["replay", "log"]);
    assert!(code == 3 && stderr.contains("another process or bus has it open"), "{stderr}");
    assert!(bus.shutdown(Duration::from_secs(60)).drained);
    drop(bus);
    let given = |arguments: &[&str]| {
        let (code, stdout, stderr) = folder.run(&[&["replay", "log"], arguments].concat());
        (code, numbers(&stdout), stderr)
    };
    let (code, all, stderr) = given(&[]);
    assert_eq!((code, all), (0, (1..=300).collect()));
    assert_eq!(stderr, "nervebus: 300 events, 0 left out, to the end; go on with --from 301\n");
    let (_, piece, stderr) = given(&["--from", "10", "--limit", "2"]);
    assert_eq!((piece, stderr.contains("go on with --from 12")), (vec![10, 11], true), "{stderr}");
    assert_eq!(given(&["--type", "order.paid"]).1, [100, 200, 300]);
    assert_eq!(given(&["--since", "5", "--until", "8"]).1, [5, 6, 7]);
    assert_eq!(given(&["--correlation", "c-0", "--until", "10", "--source", "shop"]).1, [3, 6, 9]);
    assert_eq!(given(&["--from-seq", "299"]).1, [299, 300]);

    fs::create_dir(folder.path("empty")).unwrap();
    let (code, _, stderr) = folder.run(&["replay", "empty"]);
    assert!(code == 3 && stderr.contains("there is no durable log in this folder"), "{stderr}");
    assert_eq!(fs::read_dir(folder.path("empty")).unwrap().count(), 0, "and none was made");
}
