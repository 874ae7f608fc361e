//! Any bytes as the files of an audit log. Both ways of reading give the same events, every line is counted once, and
//! whoever puts bytes between the lines of a log with a chain is found out.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nervebus::{AuditEntries, AuditReader, AuditVerifier, Record, json};

/// A folder of this process's own.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let folder = folder.join(format!("nervebus-fuzz-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
});

/// Five lines that are tied to a chain, and where each begins.
static CHAINED: LazyLock<(Vec<u8>, Vec<usize>)> = LazyLock::new(|| {
    let (mut text, mut begins, mut last) = (Vec::new(), Vec::new(), "0".repeat(64));
    for n in 0..5 {
        begins.push(text.len());
        let line = Record::new("order.placed", json!({"n": n})).to_jsonl();
        let body = line.strip_suffix('}').expect("an object");
        last = blake3::hash(format!("{last}{body}").as_bytes()).to_hex().to_string();
        text.extend_from_slice(format!("{body},\"hash\":\"{last}\"}}\n").as_bytes());
    }
    (text, begins)
});

/// The lines of all events, and how many lines there were.
fn read(mut entries: AuditEntries) -> (Vec<String>, u64) {
    let found = entries.by_ref().map(|entry| entry.expect("files that can be read").json().to_owned()).collect();
    let tally = entries.tally();
    let sum = tally.matched + tally.other + tally.blank + tally.skipped + tally.unfinished;
    assert_eq!(tally.lines, sum, "every line is counted once: {tally:?}");
    (found, tally.lines)
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let path = FOLDER.join("events.jsonl");
    let rotated = FOLDER.join("events.1.jsonl");

    // The bytes as two files of a log.
    let (older, newer) = data.split_at(data.len() * usize::from(*choice) / 256);
    fs::write(&rotated, older).expect("written");
    fs::write(&path, newer).expect("written");
    let reader = AuditReader::open(&path).expect("there are files");
    let (forward, lines) = read(reader.oldest_first().expect("opened"));
    let (mut backward, as_many) = read(reader.newest_first().expect("opened"));
    backward.reverse();
    assert_eq!((&forward, lines), (&backward, as_many));
    let all = [older, newer].concat();
    let plain: Vec<&str> = std::str::from_utf8(&all).map(|text| text.lines().collect()).unwrap_or_default();
    let readable = plain.iter().filter(|line| Record::from_jsonl(line.as_bytes()).is_ok()).count();
    // Where the cut is in the middle of a line, two pieces of it are in two files.
    let cut = usize::from(older.last().is_some_and(|last| *last != b'\n'));
    assert!(forward.len() + cut >= readable, "{} of {readable}", forward.len());
    let found = AuditVerifier::at(&path).run().expect("files that can be read");
    assert!(found.verified <= found.lines && found.findings.len() as u64 <= found.found);
    assert!(found.findings.iter().all(|finding| !finding.to_string().contains(char::is_control)));
    fs::remove_file(&rotated).expect("removed");

    // The bytes between two lines of a chain.
    let (chain, begins) = &*CHAINED;
    let at = begins[1 + usize::from(*choice) % (begins.len() - 1)];
    fs::write(&path, [&chain[..at], data, &chain[at..]].concat()).expect("written");
    let found = AuditVerifier::at(&path).run().expect("a file that can be read");
    assert_eq!(found.is_intact(), data.is_empty(), "{:?}", found.findings);
});
