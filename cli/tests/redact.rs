//! `nervebus redact`, run as the user runs it.
#![allow(clippy::disallowed_methods, reason = "a test feeds the command while it reads what comes out")]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

/// Runs the command with these arguments on this input: exit code, standard output and standard error.
fn run(args: &[&str], input: &[u8]) -> (i32, Vec<u8>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nervebus"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let (mut stdin, input) = (child.stdin.take().expect("a pipe"), input.to_vec());
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the command ends");
    writer.join().expect("the writer ends").expect("all input is read");
    (output.status.code().expect("an exit code"), output.stdout, String::from_utf8(output.stderr).expect("UTF-8"))
}

fn redacted(input: &str) -> String {
    let (code, stdout, stderr) = run(&["redact"], input.as_bytes());
    assert_eq!((code, stderr.as_str()), (0, ""));
    String::from_utf8(stdout).expect("UTF-8 stays UTF-8")
}

#[test]
fn lines_of_json_are_redacted_as_json_and_others_as_text() {
    let input = "to maria@example.org\n{\"password\": \"maria\"}\n[{\"n\": 4556737586899855}]\n{\"password\": \"hunter2\n\nplain\n";
    let expected = "to [REDACTED_EMAIL]\n{\"password\": \"[REDACTED]\"}\n[{\"n\": \"[REDACTED_CREDIT_CARD]\"}]\n{\"password\": \"[REDACTED]\n\nplain\n";
    assert_eq!(redacted(input), expected);
}

#[test]
fn line_ends_are_kept_as_they_are() {
    assert_eq!(redacted(""), "");
    assert_eq!(redacted("\n\n"), "\n\n");
    assert_eq!(
        redacted("a@example.org\r\n{\"pin\":\"1\"}\r\nlast a@example.org"),
        "[REDACTED_EMAIL]\r\n{\"pin\":\"[REDACTED]\"}\r\nlast [REDACTED_EMAIL]"
    );
}

#[test]
fn many_lines_come_out_in_order_whatever_their_length() {
    let line = |n: usize| match n % 3 {
        0 => format!("{n} {}", "x".repeat(n * 7 % 5_000)),
        1 => format!("{n} a@example.org"),
        _ => format!("{{\"n\":{n},\"token\":\"t{n}\"}}"),
    };
    let expect = |n: usize| match n % 3 {
        0 => line(n),
        1 => format!("{n} [REDACTED_EMAIL]"),
        _ => format!("{{\"n\":{n},\"token\":\"[REDACTED]\"}}"),
    };
    let lines = |make: &dyn Fn(usize) -> String| (0..1_000).map(|n| make(n) + "\n").collect::<String>();
    assert_eq!(redacted(&lines(&line)), lines(&expect));
}

#[test]
fn bytes_that_are_not_utf8_come_out_as_they_went_in() {
    let (code, stdout, _) = run(&["redact"], b"\xff a@example.org \xfe\n{\"pin\": \"\xff\", \"n\": \"\xfe\"}\n");
    assert_eq!(
        (code, &stdout[..]),
        (0, &b"\xff [REDACTED_EMAIL] \xfe\n{\"pin\": \"[REDACTED]\", \"n\": \"\xfe\"}\n"[..])
    );
}

#[test]
fn counts_are_printed_to_standard_error() {
    let (code, stdout, stderr) = run(&["redact", "--stats"], b"a@example.org b@example.org\n{\"pin\": 1}\n");
    assert_eq!((code, stdout.len()), (0, b"[REDACTED_EMAIL] [REDACTED_EMAIL]\n{\"pin\": \"[REDACTED]\"}\n".len()));
    for part in ["lines              2", "values replaced    3", "2  EMAIL", "1  (by key)"] {
        assert!(stderr.contains(part), "no {part:?} in\n{stderr}");
    }
    assert!(!stderr.contains("example.org"), "{stderr}");
}

#[test]
fn counts_are_one_object_if_json_is_asked_for() {
    let (code, _, stderr) = run(&["redact", "--stats", "--json"], b"a@example.org b@example.org\n{\"pin\": 1}\n");
    let expected = r#"{"classes":{"EMAIL":2,"KEY":1},"lines":2,"lines_too_long":0,"replaced":3}"#;
    assert_eq!((code, stderr.trim_end()), (0, expected));
}

#[test]
fn a_line_is_there_before_the_next_one_is_read() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nervebus"))
        .arg("redact")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    for _ in 0..3 {
        stdin.write_all(b"a@example.org\n").expect("it reads");
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it writes");
        assert_eq!(line, "[REDACTED_EMAIL]\n");
    }
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_reader_that_closes_its_end_is_not_an_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nervebus"))
        .arg("redact")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().expect("a pipe");
    // The command may be gone before it has read everything.
    let _ = stdin.write_all(&b"a@example.org\n".repeat(100_000));
    drop(stdin);
    let mut stderr = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
    assert_eq!((child.wait().expect("it ends").code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for args in [&["redact", "file"][..], &["redact", "--newest"], &["redact", "--stat"]] {
        let (code, stdout, stderr) = run(args, b"");
        assert!(code == 2 && stdout.is_empty() && stderr.contains("--help"), "{args:?}: {code} {stderr}");
    }
}
