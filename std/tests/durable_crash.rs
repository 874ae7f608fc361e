//! The durable log in a process that is killed: this binary itself, as a child that emits and handles events until it gets
//! a SIGKILL at some moment, round after round on the same folder.
//!
//! After each round this holds: every event that was acknowledged as synced is in the log where it was said to be (unless
//! the limit on size has let it go); within a key, the log has them in the order of the emits; opening the log twice finds
//! the same twice; a durable subscription that goes on sees every event of the log, none before one of the same key that
//! was emitted earlier, and again only what was at or above its saved checkpoint.
//!
//! `NERVEBUS_CRASH_ROUNDS` says how many rounds there are.
#![cfg(all(feature = "durable", unix))]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use folder::Folder;
use nervebus::{Bus, DurableLog, Event, Level, json};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(60);

const THREADS: u64 = 3;
const KEYS_EACH: u64 = 2;

/// An event: its key, and its number among those of the key.
type Mark = (u64, u64);

fn build(folder: &Path) -> Bus {
    let log = DurableLog::at(folder.join("log")).topics("*").buffer(64 << 10).keep_bytes(512 << 10);
    let log = log.checkpoint(16, Duration::from_millis(5)).sync_every(Duration::from_millis(20));
    Bus::builder().durable(log).build().unwrap()
}

fn mark(event: &Event<'_>) -> Mark {
    // What fills the journal has no number.
    (event["key"].as_u64().unwrap_or(u64::MAX), event["n"].as_u64().unwrap_or(event.seq()))
}

/// What the child does until it is killed.
#[test]
fn child() {
    let Some(folder) = std::env::var_os("NERVEBUS_CRASH_FOLDER") else { return };
    let (folder, round) = (Path::new(&folder), std::env::var("NERVEBUS_CRASH_ROUND").unwrap().parse::<u64>().unwrap());
    let bus = build(folder);
    let seen = OpenOptions::new().append(true).create(true).open(folder.join("seen")).unwrap();
    let handler = move |event: &Event<'_>| {
        let (key, n) = mark(event);
        (&seen).write_all(format!("{key} {n}\n").as_bytes()).unwrap();
    };
    bus.on("*").durable("s").from_start().handle(handler).unwrap();
    let padding = "x".repeat(300);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (bus, padding) = (&bus, &padding);
            scope.spawn(move || {
                for step in 0.. {
                    let (key, n) = (thread * KEYS_EACH + step % KEYS_EACH, round * 1_000_000 + step);
                    let event = bus.event("crash.test", json!({"key": key, "n": n, "padding": padding})).key(key);
                    match step % 5 {
                        3 => {
                            event.emit().unwrap();
                        }
                        4 => {
                            event.durable(Level::Written).emit().unwrap();
                        }
                        _ => {
                            let position = event.durable(Level::Synced).emit().unwrap().position().unwrap();
                            println!("\nack {key} {n} {position}");
                        }
                    }
                }
            });
        }
    });
}

fn spawn(folder: &Path, round: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads", "1"]);
    command.env("NERVEBUS_CRASH_FOLDER", folder).env("NERVEBUS_CRASH_ROUND", round.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

/// Runs a child and kills it when it has acknowledged so many; all that it acknowledged.
fn run(folder: &Path, round: u64, kill_after: usize, pause: u64) -> Vec<(Mark, u64)> {
    let mut child = spawn(folder, round);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    let mut acknowledged = Vec::new();
    let mut take = |line: Vec<u8>| {
        let line = String::from_utf8(line).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        if let ["ack", key, n, position] = words[..] {
            // The kill may have cut the last one off in the middle: then its position is wrong, or no number.
            acknowledged.push(((key.parse().unwrap(), n.parse().unwrap()), position.parse().unwrap()));
        }
        acknowledged.len()
    };
    while lines.next().is_some_and(|line| take(line.unwrap()) < kill_after) {}
    // A moment that is not always right after an acknowledgement.
    (0..pause).for_each(|_| std::hint::spin_loop());
    child.kill().unwrap();
    let mut rest: Vec<Vec<u8>> = lines.map(Result::unwrap).collect();
    // What has no end was cut off.
    rest.pop();
    for line in rest {
        take(line);
    }
    child.wait().unwrap();
    acknowledged
}

/// What the log holds, by position, and the first position.
fn contents(folder: &Path) -> (BTreeMap<u64, Mark>, u64) {
    let bus = build(folder);
    let stats = bus.stats().durable.unwrap();
    let (sender, events) = mpsc::channel();
    bus.on("*").durable("check").from_start().handle(move |event| sender.send(mark(event)).unwrap()).unwrap();
    let mut all = Vec::new();
    while bus.stats().durable.unwrap().subscriptions[0].lag > 0 || bus.stats().pending > 0 || all.is_empty() {
        all.extend(events.recv_timeout(Duration::from_millis(1)));
        if stats.next == stats.first {
            break;
        }
    }
    assert!(bus.shutdown(GUARD).drained);
    all.extend(events.try_iter());
    let given = bus.stats().durable.unwrap().subscriptions[0].given;
    assert_eq!(all.len() as u64, given);
    drop(bus);
    let bus = build(folder);
    assert!(bus.forget_durable("check"));
    drop(bus);
    // Without failures of the store there are no gaps.
    assert_eq!(stats.next - stats.first, given, "positions {} to {}", stats.first, stats.next);
    ((stats.first..).zip(all).collect(), stats.first)
}

/// Fills the journal of the store nearly up to the 64 MB at which it begins another, so that a round does.
fn fill(folder: &Path) {
    let bus = build(folder);
    let padding = "x".repeat(1 << 20);
    for _ in 0..60 {
        bus.event("filling", padding.clone()).durable(Level::Written).emit().unwrap();
    }
    assert!(bus.shutdown(GUARD).drained);
}

/// Lets the subscription go on in this process to the end of the log; what it sees, and where it began.
fn go_on(folder: &Path) -> (Vec<Mark>, u64) {
    let bus = build(folder);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    // Held until the checkpoint was read.
    let held = seen.lock().unwrap();
    bus.on("*").durable("s").from_start().handle(move |event| sees.lock().unwrap().push(mark(event))).unwrap();
    let began = bus.stats().durable.unwrap().subscriptions[0].saved;
    drop(held);
    while bus.stats().durable.unwrap().subscriptions[0].lag > 0 {
        thread::yield_now();
    }
    assert!(bus.shutdown(GUARD).drained);
    drop(bus);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, began)
}

/// Checks that no event comes after one of its key that was emitted later, unless it comes again.
fn in_order(marks: &[Mark], seen: &mut BTreeSet<Mark>, highest: &mut BTreeMap<u64, u64>) -> usize {
    let mut again = 0;
    for (key, n) in marks {
        if !seen.insert((*key, *n)) {
            again += 1;
            continue;
        }
        let before = highest.insert(*key, *n);
        assert!(before < Some(*n), "key {key}: {n} comes after {before:?}");
    }
    again
}

/// Numbers that are not the same twice; Marsaglia's xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn nothing_that_was_acknowledged_as_synced_is_lost_and_nothing_comes_out_of_order() {
    let rounds = std::env::var("NERVEBUS_CRASH_ROUNDS").map_or(30, |rounds| rounds.parse().unwrap());
    let folder = Folder::of("crash");
    let seed = u64::from(std::process::id()) * 0x9E37_79B9 + 1;
    let mut dice = Dice(seed);
    println!("seed {seed}");
    let (mut acknowledged, mut unacknowledged, mut again, mut retired) = (0, 0, 0, 0);
    let (mut seen, mut highest, mut journals) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
    for round in 1..=rounds {
        // Late, for from then on every opening reads all of it back.
        if round + 2 == rounds {
            fill(folder.path());
        }
        let acks = run(folder.path(), round, 1 + dice.roll(300) as usize, dice.roll(200_000));
        for entry in fs::read_dir(folder.path().join("log")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            journals.extend(name.ends_with(".jnl").then_some(name));
        }
        let (log, first) = contents(folder.path());
        assert_eq!(contents(folder.path()).0, log, "round {round}: recovering again finds the same");
        for (mark, position) in &acks {
            if *position < first {
                retired += 1;
            } else {
                assert_eq!(log.get(position), Some(mark), "round {round}: it was acknowledged at {position}");
            }
        }
        acknowledged += acks.len();
        let of_round: Vec<_> = log.values().filter(|(_, n)| n / 1_000_000 == round).collect();
        unacknowledged += of_round.len().saturating_sub(acks.len());
        let mut last = BTreeMap::new();
        for (key, n) in log.values() {
            assert!(last.insert(*key, *n) < Some(*n), "round {round}: the log is out of order in key {key}");
        }

        // What the child's handler has seen; the last line may have been cut off by the kill.
        let text = fs::read_to_string(folder.path().join("seen")).unwrap_or_default();
        let whole = text.lines().map(|line| line.split_once(' ').unwrap());
        let of_child: Vec<Mark> = whole.map(|(key, n)| (key.parse().unwrap(), n.parse().unwrap())).collect();
        let _ = fs::remove_file(folder.path().join("seen"));
        let twice = in_order(&of_child, &mut seen, &mut highest);
        assert_eq!(twice, 0, "round {round}: the child went on from where this process has come to");
        let (of_parent, began) = go_on(folder.path());
        let positions: BTreeMap<Mark, u64> = log.iter().map(|(position, mark)| (*mark, *position)).collect();
        for mark in of_parent.iter().filter(|mark| seen.contains(mark)) {
            assert!(positions[mark] >= began, "round {round}: {mark:?} was below the checkpoint {began}");
        }
        again += in_order(&of_parent, &mut seen, &mut highest);
        for mark in log.values() {
            assert!(seen.contains(mark), "round {round}: {mark:?} was given to nobody");
        }
    }
    println!(
        "{rounds} kills: {acknowledged} acknowledged as synced, 0 lost ({retired} let go by the limit on size); \
         {unacknowledged} others in the log; {} handled, {again} of them again; {} journals",
        seen.len(),
        journals.len()
    );
    assert!(acknowledged > 0);
}
