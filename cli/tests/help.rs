//! What the command says of itself, and of command lines and inputs that are wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may say at once that something went wrong")]
#![allow(clippy::disallowed_methods, reason = "tests write files")]

#[path = "support/run.rs"]
mod run;

use run::{Folder, lines};

const COMMANDS: [&str; 11] = [
    "audit tail",
    "audit query",
    "audit verify",
    "audit stats",
    "dead-letters list",
    "dead-letters show",
    "dead-letters retry",
    "dead-letters purge",
    "replay",
    "topology show",
    "topology diff",
];

#[test]
fn every_command_has_help_with_usage_examples_and_exit_codes() {
    let folder = Folder::new();
    let all = folder.clean(&["--help"]);
    for command in COMMANDS {
        assert!(all.contains(&format!("  {command} FILE")), "{all}");
        let words: Vec<&str> = command.split(' ').collect();
        let help = folder.clean(&[&words[..], &["--help"]].concat());
        for part in ["Usage:\n", "Examples:\n", "Exit codes: 0 ", &format!("  nervebus {command} ")] {
            assert!(help.contains(part), "no {part:?} in\n{help}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_2_and_says_what_is_wrong() {
    let folder = Folder::new();
    folder.write("events.jsonl", lines(1..=2));
    let cases: [(&[&str], &str); 12] = [
        (&["audit", "quer", "events.jsonl"], "unknown command 'audit quer'"),
        (&["audit", "query"], "'audit query' needs a FILE"),
        (&["audit", "query", "events.jsonl", "second"], "'second'"),
        (&["audit", "query", "events.jsonl", "--sinse", "1d"], "no option '--sinse'"),
        (&["audit", "query", "events.jsonl", "--since", "yesterday"], "--since: 'yesterday'"),
        (&["audit", "query", "events.jsonl", "--limit", "-3"], "--limit: '-3' is not a number"),
        (&["audit", "query", "events.jsonl", "--type", "chat."], "pattern \"chat.\""),
        (&["audit", "tail", "events.jsonl", "-n"], "'-n'"),
        (&["audit", "verify", "events.jsonl", "--anchor", "123"], "--anchor: a hash has 64 hexadecimal digits"),
        (&["audit", "stats", "events.jsonl", "--newest"], "no option '--newest'"),
        (&["dead-letters", "show", "letters.jsonl", "one"], "'one' is not the number of a letter"),
        (&["dead-letters", "list", "letters.jsonl", "--type", "a..b"], "--type: pattern \"a..b\""),
    ];
    for (arguments, part) in cases {
        let (code, stdout, stderr) = folder.run(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(part) && stderr.starts_with("nervebus: "), "{arguments:?}: {stderr}");
    }
}

#[test]
fn an_input_that_cannot_be_read_exits_with_3_and_is_named() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("folder.jsonl")).unwrap();
    for command in COMMANDS {
        let words: Vec<&str> = command.split(' ').collect();
        let rest: &[&str] = match command {
            "dead-letters show" => &["1"],
            "dead-letters retry" | "dead-letters purge" => &["--all"],
            "topology diff" => &["other.json"],
            _ => &[],
        };
        for file in ["missing\u{1b}.jsonl", "folder.jsonl"] {
            let (code, stdout, stderr) = folder.run(&[&words[..], &[file], rest].concat());
            assert_eq!((code, stdout.as_str()), (3, ""), "{command} {file}: {stderr}");
            assert!(stderr.contains(&file[..6]) && !stderr.contains('\u{1b}'), "{command} {file}: {stderr:?}");
        }
    }
}
