//! `nervebus audit stats`, run as a user runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may say at once that something went wrong")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

const LOG: &str = r#"{"event_type": "user.login", "payload": {"username": "alice"}, "timestamp": 1709208000.25, "event_id": "e-1", "source": null, "correlation_id": null}
{"event_type": "chat.message", "payload": {"text": "hello"}, "timestamp": 1709208061.25, "event_id": "e-2", "source": "chat", "correlation_id": "c-1"}

{"event_type": "user.login", "payload": {"username": "bob"}, "timestamp": 1709208001, "event_id": "e-3"}
{"event_type": "user.log
{"payload": {}}
{"event_type": "user.login", "payload": {"username": "carol"}}"#;

/// Runs the command with `input` on its standard input.
fn run(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nervebus"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A command that does not read its input may be gone already.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the command ends");
    (status.code().expect("an exit code"), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

fn json_of(input: &str) -> (i32, nervebus::Value) {
    let (code, stdout, stderr) = run(&["audit", "stats", "-", "--json"], input);
    assert_eq!(stderr, "");
    // The library under test reads what the command printed: an event whose payload is the report.
    let line = format!("{{\"event_type\": \"report.printed\", \"payload\": {}}}", stdout.trim_end());
    (code, nervebus::Record::from_jsonl(line.as_bytes()).expect("one JSON object").payload)
}

#[test]
fn every_line_is_counted_once_and_malformed_ones_are_named() {
    let (code, report) = json_of(LOG);
    assert_eq!(code, 1, "malformed lines are told by the exit code");
    assert_eq!((&report["lines"], &report["events"]), (&7.into(), &4.into()));
    assert_eq!((&report["empty"], &report["malformed"]), (&1.into(), &2.into()));
    assert_eq!((&report["first_malformed"][0]["line"], &report["first_malformed"][1]["line"]), (&5.into(), &6.into()));
    assert_eq!(report["top_types"][0]["event_type"], "user.login");
    assert_eq!((&report["top_types"][0]["events"], &report["top_types"][1]["events"]), (&3.into(), &1.into()));
    assert_eq!(report["earliest_timestamp"], 1_709_208_000.25);
    assert_eq!(report["latest_timestamp"], 1_709_208_061.25);
    assert_eq!(report["path"], "standard input");
}

#[test]
fn the_table_shows_types_span_and_malformed_lines() {
    let (code, table, stderr) = run(&["audit", "stats", "-"], LOG);
    assert_eq!((code, stderr.as_str()), (1, ""));
    let expected = [
        "events     4",
        "malformed  2",
        "from       2024-02-29T12:00:00.250Z",
        "time span  1 min 1 s",
        "     3  user.login",
        "     1  chat.message",
        "  line 5: ",
    ];
    for part in expected {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
}

#[test]
fn a_clean_file_and_an_empty_one_exit_with_0() {
    let path = std::env::temp_dir().join(format!("nervebus-audit-stats-{}.jsonl", std::process::id()));
    std::fs::write(&path, LOG.lines().next().unwrap()).unwrap();
    let (code, table, stderr) = run(&["audit", "stats", path.to_str().unwrap()], "");
    std::fs::remove_file(&path).unwrap();
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(table.contains("events     1"), "{table}");

    let (code, report) = json_of("");
    assert_eq!((code, &report["lines"], &report["earliest_timestamp"]), (0, &0.into(), &nervebus::Value::Null));
}

#[test]
fn only_the_20_most_frequent_types_are_shown() {
    let log: String = (0..25).map(|n| format!("{{\"event_type\": \"type.n{n}\", \"payload\": {{}}}}\n")).collect();
    let (_, report) = json_of(&log);
    assert_eq!(report["top_types"].as_array().unwrap().len(), 20);
    assert_eq!(report["distinct_types"], 25);
    let (_, table, _) = run(&["audit", "stats", "-"], &log);
    assert!(table.contains("     5  of other types"), "{table}");
}

#[test]
fn text_from_the_log_cannot_steer_the_terminal() {
    let log = "{\"event_type\": \"a.\\u001b[2Jb\", \"payload\": {}}\n{\"event_type\": \"\x1b[31m\"}\n";
    let (_, table, _) = run(&["audit", "stats", "-"], log);
    assert!(!table.contains('\x1b'), "{table:?}");
}

#[test]
fn a_wrong_command_line_exits_with_2_and_a_missing_file_with_3() {
    let (code, stdout, stderr) = run(&["audit", "verify"], "");
    assert_eq!((code, stdout.as_str()), (2, ""));
    assert!(stderr.contains("'audit verify'") && stderr.contains("--help"), "{stderr}");

    let (code, stdout, stderr) = run(&["audit", "stats", "/no/such/folder/events.jsonl"], "");
    assert_eq!((code, stdout.as_str()), (3, ""));
    assert!(stderr.contains("/no/such/folder/events.jsonl"), "{stderr}");
}

#[test]
fn help_and_version_exit_with_0() {
    let (code, help, _) = run(&["--help"], "");
    assert!(code == 0 && help.contains("audit stats FILE") && help.contains("Exit codes"), "{help}");
    assert_eq!(run(&["--version"], "").1, format!("nervebus {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_reader_that_closes_its_end_is_not_an_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nervebus"))
        .args(["audit", "stats", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    // The report is written once the input ends, so the reader is certainly gone by then.
    drop(child.stdout.take());
    child.stdin.take().expect("a pipe").write_all(LOG.lines().next().unwrap().as_bytes()).unwrap();
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn rotated_and_compressed_files_are_counted_with_the_active_one() {
    let folder = std::env::temp_dir().join(format!("nervebus-audit-stats-set-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let line = LOG.lines().next().unwrap();
    std::fs::write(folder.join("events.1.jsonl"), format!("{line}\ngarbage\n")).unwrap();
    std::fs::write(folder.join("events.2.jsonl.zst"), zstd::encode_all(format!("{line}\n").as_bytes(), 3).unwrap())
        .unwrap();
    std::fs::write(folder.join("events.jsonl"), format!("{line}\n\n{}", &line[..40])).unwrap();
    let path = folder.join("events.jsonl");
    let (code, table, stderr) = run(&["audit", "stats", path.to_str().unwrap()], "");
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((code, stderr.as_str()), (1, ""));
    for part in ["files      3", "lines      6", "events     3", "empty      1", "malformed  1", "unfinished 1"] {
        assert!(table.contains(part), "no {part:?} in\n{table}");
    }
    assert!(table.contains("events.1.jsonl: line 2: "), "{table}");
}
