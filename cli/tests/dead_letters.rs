//! `nervebus dead-letters`, run as a user runs it, on files that a bus wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may say at once that something went wrong")]
#![allow(clippy::disallowed_methods, reason = "tests write files")]

#[path = "support/run.rs"]
mod run;

use std::fs;
use std::time::Duration;

use nervebus::{Bus, DeadLetterLog, Record, json};
use run::{Folder, object};

/// Letters 1 to 4: of orders the odd ones, of mails the even ones.
fn letters() -> Folder {
    let folder = Folder::new();
    let bus = bus(&folder);
    bus.on("order.*").name("stock").inline().handle(|_| Err::<(), _>("no stock\u{1b}[31m")).unwrap();
    bus.on("mail.*").name("smtp").inline().handle(|_| Err::<(), _>("refused")).unwrap();
    for n in 1..=4 {
        let topic = if n % 2 == 1 { "order.placed" } else { "mail.sent" };
        bus.event(topic, json!({"n": n})).correlation_id(format!("c-{n}")).emit().unwrap();
    }
    assert!(bus.shutdown(Duration::from_secs(30)).drained);
    folder
}

fn bus(folder: &Folder) -> Bus {
    Bus::builder().dead_letter_log(DeadLetterLog::at(folder.path("letters.jsonl"))).build().unwrap()
}

#[test]
fn letters_are_listed_and_chosen() {
    let folder = letters();
    let ids = |arguments: &[&str]| -> Vec<u64> {
        let output = folder.clean(&[&["dead-letters", "list", "letters.jsonl", "--json"], arguments].concat());
        output.lines().map(|line| object(line)["letter"]["id"].as_u64().unwrap()).collect()
    };
    assert_eq!(ids(&[]), [1, 2, 3, 4]);
    assert_eq!(ids(&["--newest", "--limit", "3"]), [4, 3, 2]);
    assert_eq!(ids(&["--type", "order.*"]), [1, 3]);
    assert_eq!(ids(&["--handler", "smtp", "--reason", "handler_error", "--since", "1h"]), [2, 4]);
    assert_eq!(ids(&["--until", "1h"]), [0; 0]);
    let table = folder.clean(&["dead-letters", "list", "letters.jsonl"]);
    assert!(
        table.lines().count() == 5 && table.contains("order.placed") && table.contains("no stock\\u{1b}[31m"),
        "{table}"
    );
    assert!(!table.contains('\x1b'), "{table:?}");
}

#[test]
fn one_letter_is_shown_whole() {
    let folder = letters();
    let text = folder.clean(&["dead-letters", "show", "letters.jsonl", "2"]);
    for part in [
        "letter      2",
        "handler     smtp",
        "error       refused",
        "type        mail.sent",
        "correlation c-2",
        "{\"n\":2}",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let json = folder.clean(&["dead-letters", "show", "letters.jsonl", "2", "--json"]);
    assert_eq!(object(&json)["letter"]["error"], "refused");
    let (code, stdout, stderr) = folder.run(&["dead-letters", "show", "letters.jsonl", "9"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("there is no letter 9"), "{stderr}");
}

#[test]
fn retry_hands_out_the_events_and_takes_the_letters_out_when_told_to() {
    let folder = letters();
    let before = fs::read(folder.path("letters.jsonl")).unwrap();
    let output = folder.clean(&["dead-letters", "retry", "letters.jsonl", "--type", "order.*"]);
    assert_eq!(fs::read(folder.path("letters.jsonl")).unwrap(), before, "nothing changed");
    let events: Vec<Record> = output.lines().map(|line| Record::from_jsonl(line.as_bytes()).unwrap()).collect();
    assert_eq!(events.iter().map(|event| event.payload["n"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3]);
    assert_eq!((&*events[0].event_type, events[0].correlation_id.as_deref()), ("order.placed", Some("c-1")));
    assert!(events[0].event_id.is_some() && !output.contains("\"letter\""), "{output}");

    let (code, output, stderr) = folder.run(&["dead-letters", "retry", "letters.jsonl", "3", "7", "--purge"]);
    assert_eq!((code, output.lines().count()), (1, 1));
    assert!(stderr.contains("there is no letter 7"), "{stderr}");
    // The bus agrees that it is gone.
    let bus = bus(&folder);
    assert_eq!(bus.dead_letters().list().iter().map(|letter| letter.id).collect::<Vec<_>>(), [1, 2, 4]);
}

#[cfg(unix)]
#[test]
fn a_file_that_a_bus_uses_is_read_but_not_changed() {
    let folder = letters();
    let bus = bus(&folder);
    let before = fs::read(folder.path("letters.jsonl")).unwrap();
    assert_eq!(folder.clean(&["dead-letters", "retry", "letters.jsonl", "1"]).lines().count(), 1);
    for arguments in [["purge", "--all"], ["retry", "--purge"]] {
        let (code, _, stderr) =
            folder.run(&["dead-letters", arguments[0], "letters.jsonl", "--type", "*", arguments[1]]);
        assert!(code == 3 && stderr.contains("another bus or command writes to it"), "{stderr}");
    }
    assert_eq!(fs::read(folder.path("letters.jsonl")).unwrap(), before);
    drop(bus);
    assert!(folder.clean(&["dead-letters", "purge", "letters.jsonl", "--all"]).starts_with("4 letters"));
}

#[test]
fn the_help_of_retry_says_that_it_emits_nothing() {
    let folder = Folder::new();
    let help = folder.clean(&["dead-letters", "retry", "--help"]);
    assert!(help.contains("emits nothing and calls no handler") && help.contains("Bus::emit_record"), "{help}");
    assert!(!help.contains("nervebus replay"), "that command emits nothing either: {help}");
}

#[test]
fn purge_takes_out_what_is_named_and_nothing_else() {
    let folder = letters();
    let purge = |arguments: &[&str]| folder.clean(&[&["dead-letters", "purge", "letters.jsonl"], arguments].concat());
    assert_eq!(purge(&["--type", "mail.*", "--dry-run"]), "2 letters would be taken out, 2 left\n");
    // A process that was killed left a piece of a line.
    let path = folder.path("letters.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + "{\"event_type\":\"order").unwrap();
    let (code, output, _) = folder.run(&["dead-letters", "purge", "letters.jsonl", "--type", "mail.*", "--json"]);
    assert_eq!((code, &object(&output)["purged"], &object(&output)["left"]), (1, &2.into(), &2.into()));
    let bus = bus(&folder);
    assert_eq!(bus.dead_letters().list().iter().map(|letter| letter.id).collect::<Vec<_>>(), [1, 3]);
    drop(bus);
    assert_eq!(purge(&["--all"]), "2 letters taken out, 0 left\n");
    assert_eq!(folder.clean(&["dead-letters", "list", "letters.jsonl", "--json"]), "");
}

#[test]
fn a_file_of_something_else_is_left_alone() {
    let folder = Folder::new();
    folder.write("letters.jsonl", "{\"level\":\"info\"}\n");
    let (code, _, stderr) = folder.run(&["dead-letters", "purge", "letters.jsonl", "--all"]);
    assert!(code == 3 && stderr.contains("other lines than dead letters"), "{stderr}");
    let (code, _, stderr) = folder.run(&["dead-letters", "purge", "letters.jsonl"]);
    assert!(code == 2 && stderr.contains("needs the IDs"), "{stderr}");
    assert_eq!(fs::read_to_string(folder.path("letters.jsonl")).unwrap(), "{\"level\":\"info\"}\n");
}
