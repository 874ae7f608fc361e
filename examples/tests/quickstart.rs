//! The quickstart as its users meet it: what it prints, what it counts, how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test makes its own files, and says so at once when it cannot"
)]

use nervebus_examples::quickstart::{EXIT_CLEAN, EXIT_LOSS, EXIT_USAGE, Interrupt, Streams, run};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

#[path = "quickstart/interrupt.rs"]
mod interrupt;

/// The keys that programs may rely on.
const KEYS: [&str; 11] = [
    "emitted",
    "malformed",
    "handled",
    "failed",
    "dead_lettered",
    "dropped",
    "pending",
    "audit_lines",
    "audit_path",
    "ledger_balanced",
    "events_per_second",
];

/// How a run ended.
struct Done {
    code: u8,
    out: String,
    err: String,
}

impl Done {
    /// Standard output, which must be one JSON object and nothing else.
    fn object(&self) -> Value {
        let value: Value = serde_json::from_str(&self.out).expect("one JSON document on stdout");
        assert!(value.is_object(), "{value}");
        value
    }
}

fn start(args: &[&str], stdin: Box<dyn Read + Send>) -> Done {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let streams = Streams { stdin, stdout: &mut out, stderr: &mut err, stderr_is_terminal: false };
    let code = run(args.iter().map(OsString::from), streams, &Interrupt::default());
    Done { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn quickstart(args: &[&str]) -> Done {
    start(args, Box::new(io::empty()))
}

/// Runs `input` from standard input with `--json`, the log in a folder of the test's own.
fn through_stdin(test: &str, input: impl Into<Vec<u8>>) -> (Done, Value) {
    let audit = fresh(test).join("audit.jsonl");
    let args = ["--events", "-", "--json", "--audit", audit.to_str().unwrap()];
    let done = start(&args, Box::new(io::Cursor::new(input.into())));
    let object = done.object();
    (done, object)
}

/// An empty folder of the test's own, inside the build folder.
fn fresh(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quickstart").join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn number(object: &Value, key: &str) -> u64 {
    object[key].as_u64().unwrap_or_else(|| panic!("{key} is {}", object[key]))
}

/// The promise of every run that reads to the end: each line is an event in the log or a counted malformed line.
fn assert_nothing_lost(object: &Value) {
    assert_eq!(number(object, "emitted"), number(object, "lines") - number(object, "malformed"), "{object}");
    assert!(number(object, "audit_lines") >= number(object, "emitted"), "{object}");
    assert_eq!(object["ledger_balanced"], true, "{object}");
    assert_eq!([number(object, "dropped"), number(object, "pending")], [0, 0], "{object}");
    assert_eq!(object["losses"], serde_json::json!([]));
    let log = std::fs::read(object["audit_path"].as_str().unwrap()).unwrap();
    let lines = log.iter().filter(|&&byte| byte == b'\n').count() as u64;
    assert_eq!(lines, number(object, "audit_lines"), "counted in the file");
}

fn handler<'a>(object: &'a Value, name: &str) -> &'a Value {
    let handlers = object["handlers"].as_array().unwrap();
    let found = handlers.iter().find(|row| row["name"].as_str().unwrap().starts_with(name));
    found.unwrap_or_else(|| panic!("no handler {name}"))
}

#[test]
fn the_bundled_story_goes_through_with_nothing_lost() {
    let done = quickstart(&["--json"]);
    assert_eq!((done.code, done.err.as_str()), (EXIT_CLEAN, ""));
    let object = done.object();
    for key in KEYS {
        assert!(!object[key].is_null(), "{key} is missing: {object}");
    }
    assert_nothing_lost(&object);
    assert!((200..=500).contains(&number(&object, "emitted")), "a few hundred events");
    assert_eq!(number(&object, "malformed"), 0);
    for name in ["stock-keeper", "till", "chat-logger", "payment-alarm", "type-counter", "live-counter"] {
        let row = handler(&object, name);
        assert!(number(row, "handled") > 0 && number(row, "failed") == 0, "{row}");
    }
    let failed = number(handler(&object, "spot-check"), "failed");
    assert_eq!(failed, number(&object, "emitted").div_ceil(10), "the first and then every tenth event");
    assert_eq!(number(&object, "dead_lettered"), failed);
    let folder = Path::new(object["audit_path"].as_str().unwrap()).parent().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_table_shows_every_part_of_the_account() {
    let audit = fresh("table").join("audit.jsonl");
    let done = quickstart(&["--audit", audit.to_str().unwrap()]);
    assert_eq!((done.code, done.err.as_str()), (EXIT_CLEAN, ""));
    let parts = ["events per second", "Events by type", "more types", "Handlers", "failed", "p50", "p99"];
    let more = ["Dead letters", "handler_error", "Audit log", "Ledger", "Nothing was lost", audit.to_str().unwrap()];
    for part in parts.iter().chain(&more) {
        assert!(done.out.contains(part), "{part:?} is missing in:\n{}", done.out);
    }
    assert!(!done.out.contains('\x1b'));
}

#[test]
fn the_higher_priority_of_one_topic_is_listed_with_its_count() {
    let audit = fresh("priorities").join("audit.jsonl");
    let object = quickstart(&["--json", "--audit", audit.to_str().unwrap()]).object();
    let (first, second) = (handler(&object, "stock-keeper"), handler(&object, "till"));
    assert_eq!(first["pattern"], second["pattern"]);
    assert!(first["priority"].as_i64() > second["priority"].as_i64());
    // The till fails for an order whose goods were not reserved first, so this shows the order in which they ran.
    assert_eq!(number(second, "failed"), 0);
}

#[test]
fn malformed_lines_are_reported_by_number_and_the_run_goes_on() {
    let good = r#"{"event_type": "user.login", "payload": {"username": "ada"}}"#;
    let mut input = format!("{good}\n\nno json\n{good}\n").into_bytes();
    input.extend_from_slice(b"\"\xff\"\n");
    input.extend_from_slice(br#"{"event_type": "user..login", "payload": {}}"#);
    input.extend_from_slice(format!("\n[1]\n{good}").as_bytes());
    let (done, object) = through_stdin("malformed", input);
    assert_nothing_lost(&object);
    let counts = ["lines", "malformed", "emitted", "refused"].map(|key| number(&object, key));
    assert_eq!((done.code, counts), (EXIT_CLEAN, [8, 5, 3, 0]), "{}", done.err);
    let reported: Vec<&str> = done.err.lines().filter_map(|line| line.strip_prefix("quickstart: line ")).collect();
    let numbers: Vec<&str> = reported.iter().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(numbers, ["2", "3", "5", "6", "7"], "{}", done.err);
    assert!(reported[0].contains("empty") && reported[2].contains("UTF-8"), "{}", done.err);
    assert!(done.err.ends_with("5 of 8 lines malformed\n"), "{}", done.err);
}

#[test]
fn a_line_beyond_the_limit_is_skipped_and_counted() {
    let mut input = vec![b'x'; (16 << 20) + 1];
    input.extend_from_slice(b"\n{\"event_type\": \"after.it\", \"payload\": {}}\n");
    let (done, object) = through_stdin("too_long", input);
    assert_nothing_lost(&object);
    assert_eq!([number(&object, "malformed"), number(&object, "emitted")], [1, 1]);
    assert!(done.err.contains("line 1: the line is longer than 16 MiB"), "{}", done.err);
}

#[test]
fn cloud_events_and_audit_lines_go_through_together() {
    let input = concat!(
        r#"{"specversion": "1.0", "type": "order.placed", "id": "1", "source": "/shop", "data": {"order_id": 7}}"#,
        "\r\n",
        r#"{"event_type": "order.placed", "payload": {"order_id": 8}, "source": "shop"}"#,
        "\r\n",
    );
    let (done, object) = through_stdin("cloud_events", input);
    assert_eq!((done.code, done.err.as_str()), (EXIT_CLEAN, ""));
    assert_nothing_lost(&object);
    assert_eq!(number(&object["event_types"], "order.placed"), 2);
    let log = std::fs::read_to_string(object["audit_path"].as_str().unwrap()).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    // The record of the first one's failure may come between them.
    let orders: Vec<Value> = lines.filter(|line: &Value| line["event_type"] == "order.placed").collect();
    assert_eq!([&orders[0]["payload"]["order_id"], &orders[1]["payload"]["order_id"]], [7, 8]);
}

#[test]
fn an_empty_input_is_a_balanced_run_of_nothing() {
    let (done, object) = through_stdin("empty", "");
    assert_eq!((done.code, done.err.as_str()), (EXIT_CLEAN, ""));
    assert_nothing_lost(&object);
    assert_eq!([number(&object, "lines"), number(&object, "handled")], [0, 0]);
}

#[test]
fn handlers_that_match_nothing_are_shown_as_such() {
    let folder = fresh("foreign");
    let (events, audit) = (folder.join("events.jsonl"), folder.join("audit.jsonl"));
    std::fs::write(
        &events,
        "{\"event_type\": \"x.\\u001b[2J\", \"payload\": {}}\n{\"event_type\": \"s3.get\", \"payload\": {}}\n",
    )
    .unwrap();
    let done = quickstart(&["--events", events.to_str().unwrap(), "--audit", audit.to_str().unwrap()]);
    assert_eq!(done.code, EXIT_CLEAN, "{}", done.out);
    let till = done.out.lines().find(|line| line.trim_start().starts_with("till")).unwrap();
    assert!(till.contains("none") && done.out.contains("no event in this input matches"), "{}", done.out);
    assert!(done.err.contains("line 1:") && !done.err.contains('\x1b'), "{:?}", done.err);
}

#[test]
fn an_audit_log_that_exists_is_continued_and_counted_apart() {
    let audit = fresh("continued").join("audit.jsonl");
    let args = ["--json", "--audit", audit.to_str().unwrap()];
    let first = quickstart(&args).object();
    let second = quickstart(&args).object();
    assert_nothing_lost(&second);
    assert_eq!(second["audit_lines_before"], first["audit_lines"]);
    assert!(number(&second, "audit_lines") >= 2 * number(&second, "emitted"));
}

#[test]
fn what_cannot_work_ends_with_one_line_and_code_two() {
    let folder = fresh("refused");
    let file = folder.join("file.jsonl");
    std::fs::write(&file, "").unwrap();
    let (folder, file) = (folder.to_str().unwrap(), file.to_str().unwrap());
    let inside_a_file = format!("{file}/audit.jsonl");
    let missing = format!("{folder}/missing.jsonl");
    let cases: [(&[&str], &str); 9] = [
        (&["--bogus"], "--bogus"),
        (&["events.jsonl"], "events.jsonl"),
        (&["--events"], "--events FILE: the value is missing"),
        (&["--deadline", "soon"], "0 to 86400"),
        (&["--events", &missing], "missing.jsonl"),
        (&["--events", folder], "directory"),
        (&["--audit", &inside_a_file], "audit.jsonl"),
        (&["--audit", folder], "refused"),
        (&["--events", file, "--audit", file], "never end"),
    ];
    for (args, part) in cases {
        let done = quickstart(args);
        assert_eq!((done.code, done.out.as_str()), (EXIT_USAGE, ""), "{args:?}: {}", done.err);
        assert!(done.err.contains(part) && done.err.lines().count() == 1, "{args:?}: {}", done.err);
    }
}

#[test]
fn the_help_names_every_option() {
    let done = quickstart(&["--help"]);
    assert_eq!((done.code, done.err.as_str()), (EXIT_CLEAN, ""));
    for option in ["--events", "--json", "--audit", "--deadline", "--pace", "Ctrl-C", "130"] {
        assert!(done.out.contains(option), "{option}");
    }
}

/// A stream that fails in a chosen way.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
}

#[test]
fn a_reader_that_went_away_is_no_error_and_a_full_disk_is_one() {
    let audit = fresh("stdout").join("audit.jsonl");
    for (kind, expected) in [(io::ErrorKind::BrokenPipe, EXIT_CLEAN), (io::ErrorKind::StorageFull, EXIT_LOSS)] {
        let (mut out, mut err) = (Broken(kind), Vec::new());
        let stdin = Box::new(io::empty());
        let streams = Streams { stdin, stdout: &mut out, stderr: &mut err, stderr_is_terminal: false };
        let args = ["--audit", audit.to_str().unwrap()].map(OsString::from);
        assert_eq!(run(args, streams, &Interrupt::default()), expected);
        assert_eq!(err.is_empty(), expected == EXIT_CLEAN);
    }
}

#[test]
fn an_input_that_breaks_off_is_accounted_for_and_a_loss() {
    let audit = fresh("broken").join("audit.jsonl");
    let good = io::Cursor::new(b"{\"event_type\": \"a.b\", \"payload\": {}}\n".to_vec());
    let stdin = Box::new(good.chain(Broken(io::ErrorKind::ConnectionReset)));
    let done = start(&["--events", "-", "--json", "--audit", audit.to_str().unwrap()], stdin);
    let object = done.object();
    assert_eq!((done.code, number(&object, "emitted")), (EXIT_LOSS, 1));
    assert!(object["input_error"].is_string() && done.err.contains("the input failed"), "{}", done.err);
}

/// Events as other systems write them: hundreds of types, long payloads, deep ones, text in many scripts, records of
/// another bus.
#[test]
fn events_from_elsewhere_go_through_with_nothing_lost() {
    let mut input = String::new();
    for number in 0..2_000 {
        let payload = match number % 5 {
            0 => serde_json::json!({ "text": "x".repeat(number * 20) }),
            1 => serde_json::json!([number, null, -0.5, "\u{1f980} \u{202e} \0"]),
            2 => (0..100).fold(Value::Null, |inner, _| serde_json::json!([inner])),
            3 => serde_json::json!("not an object"),
            _ => Value::Null,
        };
        let topic = format!("system.elsewhere_{}.Événement", number % 700);
        let line = serde_json::json!({ "event_type": topic, "payload": payload, "event_id": "always the same" });
        input.push_str(&format!("{line}\n"));
    }
    let (done, object) = through_stdin("elsewhere", input);
    assert_eq!((done.code, done.err.as_str()), (EXIT_CLEAN, ""));
    assert_nothing_lost(&object);
    assert_eq!([number(&object, "lines"), number(&object, "emitted")], [2_000, 2_000]);
    let types = object["event_types"].as_object().unwrap();
    assert_eq!((types.len(), types.values().filter_map(Value::as_u64).sum::<u64>()), (700, 2_000));
}

/// An audit log is an input like any other, with the records of the bus that wrote it.
#[test]
fn the_audit_log_of_a_run_can_be_run_again() {
    let folder = fresh("again");
    let paths = ["first.jsonl", "second.jsonl"].map(|name| folder.join(name));
    let [first, second] = paths.each_ref().map(|path| path.to_str().unwrap());
    let story = quickstart(&["--json", "--audit", first]).object();
    let again = quickstart(&["--json", "--events", first, "--audit", second]).object();
    assert_nothing_lost(&again);
    assert_eq!([number(&again, "malformed"), number(&again, "emitted")], [0, number(&story, "audit_lines")]);
    let records = number(&again["event_types"], "system.handler_error");
    assert_eq!(records, number(&story, "dead_lettered"), "its own records are not counted as input");
}

#[test]
fn a_pace_is_kept_and_said() {
    let audit = fresh("paced").join("audit.jsonl");
    let done = quickstart(&["--pace", "1000", "--audit", audit.to_str().unwrap()]);
    assert_eq!((done.code, done.err.as_str()), (EXIT_CLEAN, ""));
    assert!(done.out.contains("held to 1000 a second by --pace"), "{}", done.out);
    let object = quickstart(&["--json", "--pace", "1000", "--audit", audit.to_str().unwrap()]).object();
    assert_eq!(object["pace"], 1000.0);
    assert!(object["events_per_second"].as_f64().unwrap() <= 1010.0, "{object}");
}

/// Real webhook and cloud events lie beside the repository where the project is developed. They are not part of it, so
/// elsewhere there is nothing to run.
#[test]
fn real_events_go_through_with_nothing_lost_where_they_are_at_hand() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/events_sample.jsonl.gz");
    if !sample.exists() {
        return;
    }
    let unpacked = std::process::Command::new("gzip").arg("-dc").arg(sample).output().expect("gzip is installed");
    let lines = unpacked.stdout.iter().filter(|byte| **byte == b'\n').count() as u64;
    let (done, object) = through_stdin("real-events", unpacked.stdout);
    assert_eq!(done.code, EXIT_CLEAN, "{}", done.err);
    assert_nothing_lost(&object);
    assert_eq!(number(&object, "emitted"), lines - number(&object, "malformed"));
    assert!(number(&object, "audit_lines") >= number(&object, "emitted"));
}
