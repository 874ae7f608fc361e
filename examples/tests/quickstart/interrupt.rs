//! Ctrl-C at every stage of a run: it ends soon, with the account.

use super::{assert_nothing_lost, fresh, number};
use nervebus_examples::quickstart::{self, EXIT_INTERRUPTED, Interrupt, Streams, run};
use serde_json::Value;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A standard input that says nothing until it is told to.
struct Pipe(Receiver<Vec<u8>>);

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Ok(bytes) = self.0.recv() else { return Ok(0) };
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

/// A standard error that tells the test what it was told.
struct Told(Sender<String>);

impl Write for Told {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs in the background until `mark` shows on standard error, interrupts it there and returns its account.
fn interrupted_at(mark: &str, test: &str, more: &[&str], stdin: Box<dyn Read + Send>) -> (u8, Value) {
    let audit = fresh(test).join("audit.jsonl");
    let args = ["--events", "-", "--json", "--audit", audit.to_str().unwrap()];
    let args: Vec<OsString> = args.iter().chain(more).map(OsString::from).collect();
    let interrupt = Interrupt::default();
    let (told, heard) = channel();
    let inside = interrupt.clone();
    let running = thread::spawn(move || {
        let (mut out, mut err) = (Vec::new(), Told(told));
        let streams = Streams { stdin, stdout: &mut out, stderr: &mut err, stderr_is_terminal: false };
        let code = run(args, streams, &inside);
        (code, serde_json::from_slice(&out).expect("one JSON document on stdout"))
    });
    let mut text = String::new();
    while !text.contains(mark) {
        text.push_str(&heard.recv().expect("the run ended before it was interrupted"));
    }
    assert!(interrupt.raise(), "the first one asks");
    assert!(!interrupt.raise(), "the second one is told that it is the second");
    running.join().unwrap()
}

#[test]
fn an_interrupt_ends_a_run_whose_input_is_silent() {
    let (speak, listen) = channel();
    let good = "{\"event_type\": \"user.login\", \"payload\": {}}\n";
    speak.send(format!("{good}{good}not an event\n").into_bytes()).unwrap();
    let (code, object) = interrupted_at("line 3:", "silent", &[], Box::new(Pipe(listen)));
    assert_eq!((code, &object["interrupted"]), (EXIT_INTERRUPTED, &Value::Bool(true)));
    assert_eq!(["lines", "emitted", "malformed"].map(|key| number(&object, key)), [3, 2, 1]);
    assert_nothing_lost(&object);
    drop(speak);
}

#[test]
fn an_interrupt_ends_a_run_whose_input_never_ends_and_every_line_taken_is_accounted_for() {
    let mut story = b"not an event\n".to_vec();
    for order in 0..1_000 {
        story.extend_from_slice(
            format!("{{\"event_type\": \"order.placed\", \"payload\": {{\"order_id\": {order}}}}}\n").as_bytes(),
        );
    }
    let (code, object) = interrupted_at("line 1:", "endless", &[], Box::new(Endless { story, at: 0 }));
    assert_eq!((code, &object["interrupted"]), (EXIT_INTERRUPTED, &Value::Bool(true)));
    assert_nothing_lost(&object);
    assert_eq!(number(&object, "left"), 0, "the handlers are quick and the deadline is not");
}

#[test]
fn an_interrupt_does_not_wait_for_the_pace() {
    let good = "{\"event_type\": \"user.login\", \"payload\": {}}\n";
    let input = io::Cursor::new(format!("{good}not an event\n{good}"));
    // The second event is due a quarter of an hour after the first.
    let (code, object) = interrupted_at("line 2:", "pace", &["--pace", "0.001"], Box::new(input));
    assert_eq!((code, &object["interrupted"]), (EXIT_INTERRUPTED, &Value::Bool(true)));
    assert_eq!(["lines", "emitted", "malformed"].map(|key| number(&object, key)), [2, 1, 1]);
    assert_nothing_lost(&object);
}

#[test]
fn an_interrupt_before_the_input_is_open_gives_the_account_of_nothing() {
    let audit = fresh("early").join("audit.jsonl");
    let args = ["--events", "-", "--json", "--audit", audit.to_str().unwrap()].map(OsString::from);
    let (_speak, listen) = channel();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let stdin = Box::new(Pipe(listen));
    let streams = Streams { stdin, stdout: &mut out, stderr: &mut err, stderr_is_terminal: false };
    let interrupt = Interrupt::default();
    interrupt.raise();
    assert_eq!(run(args, streams, &interrupt), EXIT_INTERRUPTED);
    let object: Value = serde_json::from_slice(&out).expect("one JSON document on stdout");
    assert_eq!((&object["interrupted"], number(&object, "lines")), (&Value::Bool(true), 0));
    assert_nothing_lost(&object);
}

/// The same lines over and over.
struct Endless {
    story: Vec<u8>,
    at: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let taken = buffer.len().min(self.story.len() - self.at);
        buffer[..taken].copy_from_slice(&self.story[self.at..self.at + taken]);
        self.at = (self.at + taken) % self.story.len();
        Ok(taken)
    }
}

/// The program as a process, with the signal that a terminal sends. The child is this test once more, and becomes the
/// program: so there is nothing to build first, and nothing to skip.
#[cfg(unix)]
#[test]
fn a_real_signal_stops_the_real_program_with_its_account() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    const AUDIT: &str = "NERVEBUS_QUICKSTART_CHILD_AUDIT";
    if let Some(audit) = std::env::var_os(AUDIT) {
        let args = ["--events", "-", "--json", "--audit"].map(OsString::from).into_iter().chain([audit]);
        std::process::exit(quickstart::main(args).into());
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "interrupt::a_real_signal_stops_the_real_program_with_its_account"])
        .env(AUDIT, fresh("signal").join("audit.jsonl"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"event_type\": \"a.b\", \"payload\": {}}\nnot an event\n").unwrap();
    let mut reported = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut reported).unwrap();
    assert!(reported.contains("line 2:"), "{reported}");
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    // Standard input is still open: the program must not wait for its end.
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(i32::from(EXIT_INTERRUPTED)));
    // The test harness of the child has printed its own heading before the account.
    let out = String::from_utf8(done.stdout).unwrap();
    let object: Value = serde_json::from_str(&out[out.find('{').expect(&out)..]).unwrap();
    assert_eq!((number(&object, "emitted"), &object["interrupted"]), (1, &Value::Bool(true)));
    assert_nothing_lost(&object);
    drop(stdin);
}
