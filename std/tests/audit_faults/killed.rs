//! Rows 1 and 2: `kill -9` at random moments, while lines are appended and files are rotated.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use nervebus::AuditLog;

use super::*;

/// Set for the process that is to be killed: its round, the kind of log, the most bytes of a file, and the log's path.
const CHILD: &str = "NERVEBUS_AUDIT_CHILD";

/// How many processes are killed, unless [`kills`] says so.
const KILLS: u64 = 60;

/// What a log is besides lines in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    /// Tied to a chain, and compressed when it is rotated away.
    #[cfg(all(feature = "blake3", feature = "compress"))]
    Tied,
}

impl Kind {
    fn log(self, path: &str) -> AuditLog {
        let log = AuditLog::at(path).capacity(256);
        match self {
            Self::Plain => log,
            #[cfg(all(feature = "blake3", feature = "compress"))]
            Self::Tied => log.chain().compress(),
        }
    }

    fn of(name: &str) -> Self {
        match name {
            #[cfg(all(feature = "blake3", feature = "compress"))]
            "Tied" => Self::Tied,
            _ => Self::Plain,
        }
    }
}

/// How many processes are killed: `NERVEBUS_KILLS`, or `NERVEBUS_CRASH_ROUNDS`, or so many.
pub(super) fn kills(otherwise: u64) -> u64 {
    let number = |name: &str| std::env::var(name).ok().and_then(|kills| kills.parse().ok());
    number("NERVEBUS_KILLS").or_else(|| number("NERVEBUS_CRASH_ROUNDS")).unwrap_or(otherwise)
}

pub(super) fn random(below: u64) -> u64 {
    RandomState::new().hash_one(0) % below
}

/// What the process does that is killed; a test that has nothing to do when it is called as one.
#[test]
fn the_process_that_is_killed() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let [round, kind, bytes, path] = *task.splitn(4, ' ').collect::<Vec<_>>() else { panic!("{task}") };
    let (round, bytes): (u64, u64) = (round.parse().unwrap(), bytes.parse().unwrap());
    let log = Kind::of(kind).log(path);
    let log = if bytes == 0 { log } else { log.rotate(bytes, 1_000) };
    let bus = Bus::builder().audit(log).build().unwrap();
    let (mut out, mut said) = (std::io::stdout(), 0);
    for n in 1..1_000_000_u64 {
        bus.emit("t", json!({"round": round, "n": n, "text": "x".repeat((n % 97) as usize)})).unwrap();
        // Events of one thread are written in their order: so many lines are so many events.
        let written = stats(&bus).lines;
        if written > said {
            said = written;
            writeln!(out, "acknowledged {written}").unwrap();
            out.flush().unwrap();
        }
    }
}

/// Lets a process write until it has said that so many events are written, kills it, and returns what it said last.
pub(super) fn run_and_kill(round: u64, kind: Kind, bytes: u64, path: &Path, after: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["killed::the_process_that_is_killed", "--exact", "--nocapture"])
        .env(CHILD, format!("{round} {kind:?} {bytes} {}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let (mut acknowledged, mut killed, mut line) = (0, false, String::new());
    while said.read_line(&mut line).unwrap() > 0 {
        // The last line may have been cut off by the kill.
        if let Some(number) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("acknowledged ")) {
            acknowledged = number.parse().unwrap();
        }
        line.clear();
        if acknowledged >= after && !killed {
            // SIGKILL.
            child.kill().unwrap();
            killed = true;
        }
    }
    assert!(!child.wait().unwrap().success() && killed, "it was killed");
    acknowledged
}

/// Kills one process after the other on the same log, and holds the log against what they said.
fn kill_many(folder: &Folder, bytes: u64) {
    let rounds = kills(KILLS);
    let acknowledged: Vec<u64> =
        (0..rounds).map(|round| run_and_kill(round, Kind::Plain, bytes, &folder.log(), random(1_500))).collect();
    let bus = Bus::builder().audit(AuditLog::at(folder.log())).build().unwrap();
    emit(&bus, 1..=1);
    assert!(bus.shutdown(GUARD).drained);
    let (events, bad) = events(&folder.0);
    let (last, events) = events.split_last().unwrap();
    assert_eq!(last, &json!({"n": 1}), "nothing is glued to the end");
    let mut found = events.chunk_by(|a, b| a["round"] == b["round"]);
    let mut written = 0;
    for (round, acknowledged) in acknowledged.iter().enumerate().filter(|(_, acknowledged)| **acknowledged > 0) {
        let chunk = found.find(|chunk| chunk[0]["round"] == round).unwrap();
        let numbers = numbers(chunk);
        assert!(
            numbers.iter().copied().eq(1..=numbers.len() as u64),
            "round {round}: none lost, none doubled, in order"
        );
        assert!(numbers.len() as u64 >= *acknowledged, "round {round}: {acknowledged} acknowledged, {}", numbers.len());
        written += numbers.len();
    }
    assert!(bad as u64 <= rounds, "at most one torn line for each kill: {bad}");
    let sum: u64 = acknowledged.iter().sum();
    println!("{rounds} kills: {sum} acknowledged, 0 lost; {written} written; {bad} torn lines");
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    kill_many(&Folder::of("append"), 0);
}

#[test]
fn a_kill_in_a_rotation_loses_and_doubles_nothing_and_leaves_no_orphan() {
    let folder = Folder::of("rotate");
    kill_many(&folder, 16 * 1024);
    // `files` has found nothing but files of the log.
    assert!(files(&folder.0).len() as u64 > kills(KILLS) / 6);
}
