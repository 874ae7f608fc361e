//! `nervebus topology`, run as a user runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may say at once that something went wrong")]
#![allow(clippy::disallowed_methods, reason = "tests write files")]

#[path = "support/run.rs"]
mod run;

use run::{Folder, object};

const LOG: &str = r#"{"event_type":"order.placed","payload":{},"timestamp":1.5,"event_id":"a","source":"web","correlation_id":null,"seq":1}
{"event_type":"order.shipped","payload":{},"timestamp":1.6,"event_id":"b","source":null,"correlation_id":null,"seq":2,"causation_seq":1}
{"event_type":"order.placed","payload":{},"timestamp":1.7,"event_id":"c","source":"web","correlation_id":null,"seq":3,"causation_seq":2}
"#;

const SAVED: &str = r#"{"topics": {"order.placed": {}, "mail.queued": {}}, "handlers": [{"name": "store\u001b[31m",
"pattern": "order.*", "lane": "inline", "topics": ["order.placed"], "calls": 3}]}"#;

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("events.jsonl", LOG);
    folder.write("saved.json", SAVED);
    folder
}

#[test]
fn a_log_shows_topics_causes_and_loops() {
    let table = folder().clean(&["topology", "show", "events.jsonl"]);
    for part in [
        "  order.placed   2 events  from web\n",
        "  order.placed -> order.shipped  1 time\n",
        "  topics follow from each other: order.placed, order.shipped\n",
    ] {
        assert!(table.contains(part), "{table}");
    }
}

#[test]
fn a_saved_topology_shows_handlers_and_orphans_and_steers_no_terminal() {
    let table = folder().clean(&["topology", "show", "saved.json"]);
    for part in
        ["  store\\u{1b}[31m  listens to order.* on lane inline  3 calls\n", "nobody listens to topic \"mail.queued\""]
    {
        assert!(table.contains(part), "{table}");
    }
}

#[test]
fn it_is_drawn_in_three_forms_and_printed_as_json_that_can_be_read_again() {
    let folder = folder();
    assert!(folder.clean(&["topology", "show", "events.jsonl", "--dot"]).starts_with("digraph bus {\n"));
    assert!(folder.clean(&["topology", "show", "events.jsonl", "--mermaid"]).starts_with("flowchart LR\n"));
    assert!(folder.clean(&["topology", "show", "events.jsonl", "--svg"]).contains("<svg"));
    let json = folder.clean(&["topology", "show", "events.jsonl", "--json"]);
    assert_eq!(object(&json)["topics"]["order.placed"]["events"], 2);
    folder.write("again.json", &json);
    assert_eq!(folder.clean(&["topology", "diff", "events.jsonl", "again.json"]), "");
}

#[test]
fn changes_are_listed_and_told_by_the_exit_code() {
    let folder = folder();
    let (code, text, error) = folder.run(&["topology", "diff", "saved.json", "events.jsonl"]);
    assert_eq!((code, error.as_str()), (1, ""));
    for line in ["- topic mail.queued\n", "+ topic order.shipped\n", "+ causes order.placed to order.shipped\n"] {
        assert!(text.contains(line), "{text}");
    }
    let (_, json, _) = folder.run(&["topology", "diff", "saved.json", "events.jsonl", "--json"]);
    assert!(json.lines().all(|line| object(line)["what"].is_string()), "{json}");
}

#[test]
fn wrong_files_and_options_are_told_apart() {
    let folder = folder();
    folder.write("notes.txt", "no log\n");
    folder.write("wrong.json", r#"{"topics": 7}"#);
    let cases: [(&[&str], i32, &str); 6] = [
        (&["topology", "show", "missing.json"], 3, "cannot read 'missing.json'"),
        (&["topology", "show", "notes.txt"], 3, "neither a topology nor an audit log"),
        (&["topology", "show", "wrong.json"], 3, "'wrong.json' is no topology"),
        (&["topology", "show", "saved.json", "--dot", "--svg"], 2, "'--dot' and '--svg' exclude each other"),
        (&["topology", "diff", "saved.json"], 2, "'topology diff' needs two FILEs"),
        (&["topology", "show", "saved.json", "--png"], 2, "no option '--png'"),
    ];
    for (arguments, wanted, part) in cases {
        let (code, stdout, stderr) = folder.run(arguments);
        assert_eq!((code, stdout.as_str()), (wanted, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
    }
}
