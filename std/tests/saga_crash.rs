//! Sagas in a process that is killed: this binary itself, as a child that begins sagas until it gets a SIGKILL at some moment,
//! round after round on the same folder.
//!
//! At the end this holds: every saga that was begun is over; what was asked for it, in the order in which it was asked and
//! with repetitions of one and the same request taken as one, is exactly what is asked of a saga that is never killed.
//!
//! `NERVEBUS_CRASH_ROUNDS` says how many rounds there are.
#![cfg(all(feature = "durable", unix))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use folder::Folder;
use nervebus::{Bus, DurableLog, Event, Lane, Level, Saga, SagaError, SagaHandle, SagaState, Step, Value, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(60);

/// A bus whose responders write what they are asked to a file, which outlives a kill.
fn start(folder: &Path) -> (Bus, SagaHandle) {
    let log = DurableLog::at(folder.join("log")).topics("trip.*").level(Level::Written).buffer(64 << 10);
    let bus = Bus::builder().durable(log).lane(Lane::new("sagas").workers(4)).build().unwrap();
    for topic in ["a.do", "a.undo", "b.do", "b.undo", "c.do", "c.undo"] {
        let asked = OpenOptions::new().append(true).create(true).open(folder.join("asked")).unwrap();
        let answer = move |request: &Event<'_>| {
            (&asked).write_all(format!("{} {topic}\n", request["saga"].as_str().unwrap()).as_bytes()).unwrap();
            if topic == "c.do" && request["data"] == "fails" { Err("refused") } else { Ok(Value::Null) }
        };
        bus.on(topic).answer(answer).unwrap();
    }
    let step = |name: &str| Step::new(name, format!("{name}.do")).undo(format!("{name}.undo"));
    let saga = Saga::new("trip.booking").step(step("a")).step(step("b")).step(step("c")).lane("sagas");
    let sagas = saga.start(&bus).unwrap();
    (bus, sagas)
}

/// What the child does until it is killed.
#[test]
fn child() {
    let Some(folder) = std::env::var_os("NERVEBUS_CRASH_FOLDER") else { return };
    let round = std::env::var("NERVEBUS_CRASH_ROUND").unwrap();
    let (_bus, sagas) = start(Path::new(&folder));
    for number in 0.. {
        let (id, data) = (format!("{round}-{number}"), if number % 3 == 0 { "fails" } else { "succeeds" });
        sagas.begin(&id, json!(data)).unwrap();
        println!("\nbegun {id} {data}");
    }
}

#[test]
fn every_saga_ends_as_if_nobody_had_been_killed() {
    let rounds = std::env::var("NERVEBUS_CRASH_ROUNDS").map_or(12, |rounds| rounds.parse::<usize>().unwrap());
    let folder = Folder::of("saga-crash");
    let mut begun = Vec::new();
    for round in 0..rounds {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child", "--nocapture", "--test-threads", "1"]);
        command.env("NERVEBUS_CRASH_FOLDER", folder.path()).env("NERVEBUS_CRASH_ROUND", round.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let take = |line: String, begun: &mut Vec<(String, String)>| {
            if let Some((id, data)) = line.strip_prefix("begun ").and_then(|line| line.split_once(' ')) {
                begun.push((id.to_owned(), data.to_owned()));
            }
        };
        let until = begun.len() + 1 + (round * 7) % 40;
        while begun.len() < until {
            take(lines.next().unwrap().unwrap(), &mut begun);
        }
        child.kill().unwrap();
        let mut rest: Vec<String> = lines.map_while(Result::ok).collect();
        // The last one may have been cut off.
        rest.pop();
        rest.into_iter().for_each(|line| take(line, &mut begun));
        child.wait().unwrap();
    }

    let (bus, sagas) = start(folder.path());
    for (id, data) in &begun {
        let state = sagas.wait(id, GUARD).unwrap_or_else(|| panic!("{id} was begun, and is not there")).state;
        assert_eq!(state, if data == "fails" { SagaState::Undone } else { SagaState::Completed }, "{id}");
        assert!(matches!(sagas.begin(id, Value::Null), Err(SagaError::Begun { .. })));
    }
    assert!(bus.shutdown(GUARD).drained);
    let text = fs::read_to_string(folder.path().join("asked")).unwrap();
    let mut asked: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut again = 0;
    for (id, topic) in text.lines().filter_map(|line| line.split_once(' ')) {
        let of = asked.entry(id).or_default();
        if of.last() == Some(&topic) {
            again += 1;
        } else {
            of.push(topic);
        }
    }
    for (id, data) in &begun {
        let (all, undone) = (["a.do", "b.do", "c.do"], ["c.undo", "b.undo", "a.undo"]);
        let expected = if data == "fails" { [all, undone].concat() } else { all.to_vec() };
        assert_eq!(asked[&**id], expected, "{id}");
    }
    println!("{rounds} kills: {} sagas begun, all over; {again} requests came again", begun.len());
}
