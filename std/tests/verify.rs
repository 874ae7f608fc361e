//! What a verifier says of a log with a chain, whole or tampered with.
#![cfg(feature = "blake3")]

#[path = "support/logs.rs"]
mod logs;

use std::fs;

use logs::{Folder, line, name};
use nervebus::{AuditReader, AuditVerifier, Beginning, Fault, Finding, Verification};

const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The lines of a log with a chain, as its writer makes them.
struct Chain {
    last: String,
    number: u64,
}

impl Chain {
    fn new() -> Self {
        Self { last: BEGINNING.to_owned(), number: 0 }
    }

    /// Ties a line to the chain.
    fn tie(&mut self, line: &str) -> String {
        let body = line.trim_end().strip_suffix('}').unwrap();
        self.last = blake3::hash(format!("{}{body}", self.last).as_bytes()).to_hex().to_string();
        format!("{body},\"hash\":\"{}\"}}\n", self.last)
    }

    fn line(&mut self) -> String {
        self.number += 1;
        self.tie(&line(self.number))
    }

    fn lines(&mut self, count: u64) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }

    /// A record of the log's own.
    fn own(&mut self, event_type: &str, payload: &str) -> String {
        self.number += 1;
        let number = self.number;
        self.tie(&format!(
            "{{\"event_type\":\"{event_type}\",\"payload\":{payload},\"timestamp\":1700000000.5,\"event_id\":\"o-{number}\",\
             \"source\":\"nervebus\",\"correlation_id\":null,\"seq\":{number}}}"
        ))
    }

    fn seal(&mut self, before: &str) -> String {
        let payload = format!("{{\"lines\":{},\"bytes\":{}}}", before.matches('\n').count(), before.len());
        self.own("system.audit_sealed", &payload)
    }

    /// The lines of a file that was rotated away.
    fn sealed(&mut self, count: u64) -> String {
        let text = self.lines(count).concat();
        let seal = self.seal(&text);
        text + &seal
    }

    /// A piece of a line with its end, and the record of it.
    fn recovered(&mut self, offset: usize, piece: &str) -> String {
        let hash = blake3::hash(piece.as_bytes()).to_hex();
        let payload = format!("{{\"offset\":{offset},\"bytes\":{},\"fragment_hash\":\"{hash}\"}}", piece.len());
        format!("{piece}\n{}", self.own("system.audit_recovered", &payload))
    }
}

fn verify(folder: &Folder) -> Verification {
    AuditVerifier::at(folder.log()).run().unwrap()
}

/// What is found in a log of this one file.
fn judge(folder: &Folder, text: impl AsRef<[u8]>) -> Verification {
    folder.write("events.jsonl", text);
    verify(folder)
}

/// The file, the line and the fault of the first finding.
fn first(found: &Verification) -> (&str, u64, &Fault) {
    let Finding { path, line, fault, .. } = found.findings.first().expect("a finding");
    (name(path), *line, fault)
}

#[test]
fn a_whole_log_over_three_files_fits() {
    let (folder, mut chain) = (Folder::new(), Chain::new());
    folder.write("events.4.jsonl", chain.sealed(5));
    folder.write("events.1.jsonl", chain.sealed(3));
    let active = chain.lines(4).concat();
    folder.write("events.jsonl", active + "{\"event_type\":\"chat.se");
    let found = verify(&folder);
    assert!(found.is_intact(), "{:?}", found.findings);
    assert_eq!((found.files, found.lines, found.verified, found.seals, found.unsealed), (3, 15, 14, 2, 0));
    assert_eq!((found.beginning, found.unfinished), (Beginning::Whole, 22));
    assert_eq!(found.last_hash.as_ref(), Some(&chain.last));

    let text = fs::read(folder.path("events.4.jsonl")).unwrap();
    let hash = AuditReader::open(folder.log()).unwrap().oldest_first().unwrap().next().unwrap().unwrap();
    assert!(text.starts_with(hash.json().as_bytes()) && hash.hash().is_some());
}

#[cfg(feature = "compress")]
#[test]
fn compressed_files_are_checked_as_what_they_hold() {
    let (folder, mut chain) = (Folder::new(), Chain::new());
    folder.write("events.1.jsonl.zst", zstd::encode_all(chain.sealed(50).as_bytes(), 3).unwrap());
    folder.write("events.jsonl", chain.lines(2).concat());
    assert!(verify(&folder).is_intact());
    assert_eq!((verify(&folder).verified, verify(&folder).seals), (53, 1));
    let packed = fs::read(folder.path("events.1.jsonl.zst")).unwrap();
    folder.write("events.1.jsonl.zst", &packed[..packed.len() - 5]);
    let found = verify(&folder);
    assert!(matches!(first(&found), ("events.1.jsonl.zst", _, Fault::Unreadable { .. })), "{:?}", found.findings);
}

#[test]
fn each_way_of_tampering_is_named_at_its_first_line() {
    let folder = Folder::new();
    let lines = Chain::new().lines(12);
    let mut forger = Chain { last: lines[4][lines[4].len() - 67..][..64].to_owned(), number: 77 };
    let forged = forger.line();
    // What is done to the lines, and what is said of which.
    type Change<'a> = Box<dyn Fn(&mut Vec<String>) + 'a>;
    let cases: Vec<(Change<'_>, u64, Fault)> = vec![
        (Box::new(|log| log[5] = log[5].replace("\"n\":6", "\"n\":7")), 6, Fault::Edited),
        (Box::new(|log| log[5] = log[5].replace("chat.sent", "chat.read")), 6, Fault::Edited),
        (Box::new(|log| log[5] = log[5].replace("\"}\n", "\"}\r\n")), 6, Fault::NoHash),
        (Box::new(|log| log[5].replace_range(200..201, "!")), 6, Fault::NoHash),
        (Box::new(|log| drop(log.remove(5))), 6, Fault::Removed { missing: Some(1) }),
        (Box::new(|log| drop(log.drain(3..9))), 4, Fault::Removed { missing: Some(6) }),
        (Box::new(|log| log.insert(5, line(99))), 6, Fault::Inserted { lines: 1 }),
        (Box::new(|log| log.insert(5, "\n".to_owned())), 6, Fault::Inserted { lines: 1 }),
        (Box::new(|log| log.insert(5, Chain::new().line())), 6, Fault::Repeated),
        (
            Box::new(|log| log.insert(5, Chain { last: "1".repeat(64), number: 9 }.line())),
            6,
            Fault::Inserted { lines: 1 },
        ),
        // A line with a hash that fits where it stands is betrayed by the next one.
        (Box::new(|log| log.insert(5, forged.clone())), 6, Fault::Inserted { lines: 1 }),
        (Box::new(|log| log.insert(9, log[3].clone())), 10, Fault::Repeated),
        (Box::new(|log| log.swap(5, 6)), 6, Fault::Moved { lines: 1 }),
        (Box::new(|log| log[2..9].rotate_left(3)), 3, Fault::Moved { lines: 4 }),
        (Box::new(|log| log[2..9].rotate_right(1)), 3, Fault::Moved { lines: 1 }),
        (Box::new(|log| drop(log.remove(0))), 1, Fault::NoBeginning),
        (Box::new(|log| log[0] = log[0].replace("\"n\":1", "\"n\":2")), 1, Fault::NoBeginning),
        (Box::new(|log| log[11] = log[11].replace("\"n\":12", "\"n\":13")), 12, Fault::Edited),
    ];
    for (number, (change, at, fault)) in cases.into_iter().enumerate() {
        let mut log = lines.clone();
        change(&mut log);
        assert_ne!(log, lines, "case {number}");
        let found = judge(&folder, log.concat());
        assert_eq!(first(&found), ("events.jsonl", at, &fault), "case {number}: {:?}", found.findings);
        assert_eq!(found.findings.len(), 1, "case {number}: {:?}", found.findings);
        let offset: usize = log[..at as usize - 1].iter().map(String::len).sum();
        assert_eq!(found.findings[0].offset, offset as u64, "case {number}");
    }
}

#[test]
fn a_hash_that_was_edited_is_told_from_a_line_that_was() {
    let folder = Folder::new();
    let mut lines = Chain::new().lines(4);
    let place = lines[1].len() - 10;
    let digit = if lines[1].as_bytes()[place] == b'0' { "1" } else { "0" };
    lines[1].replace_range(place..=place, digit);
    let found = judge(&folder, lines.concat());
    assert_eq!((first(&found), found.found), (("events.jsonl", 2, &Fault::HashEdited), 1));
}

/// Row 5 of the table of faults.
#[test]
fn every_flipped_bit_is_found_and_costs_the_reader_one_record() {
    let folder = Folder::new();
    let mut chain = Chain::new();
    let mut text = chain.lines(18).concat();
    let piece = &line(900)[..70];
    text += &chain.recovered(text.len(), piece);
    let records = text.lines().count() - 1;
    assert!(text.len() > 4_096 && judge(&folder, &text).is_intact());
    let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    // Builds without optimisation take every seventh bit, which is each bit of some byte.
    let step = if cfg!(debug_assertions) { 7 } else { 1 };
    for byte in 0..text.len() {
        for bit in (0..8).filter(|bit| (byte * 8 + bit) % step == 0) {
            let mut bytes = text.clone().into_bytes();
            bytes[byte] ^= 1 << bit;
            let found = judge(&folder, &bytes);
            assert!(!found.is_intact(), "bit {bit} of byte {byte} was not found");
            let hit = ends.iter().position(|end| byte <= *end).unwrap();
            let begin = if hit == 0 { 0 } else { ends[hit - 1] + 1 };
            let offset = found.findings[0].offset as usize;
            // A piece of a line is unexplained where the record of it is damaged; all else is found at its own place.
            let of_piece = hit + 1 == ends.len() && offset == ends[hit - 2] + 1;
            assert!(
                offset == begin || of_piece,
                "bit {bit} of byte {byte}: {offset}, not {begin}: {:?}",
                found.findings
            );

            let reader = AuditReader::open(folder.log()).unwrap();
            let left = reader.oldest_first().unwrap().filter(|entry| entry.is_ok()).count();
            assert!(left + 1 >= records, "bit {bit} of byte {byte}: {left} of {records} left");
        }
    }
}

#[test]
fn a_piece_of_a_line_is_accepted_with_its_record_only() {
    let folder = Folder::new();
    let mut chain = Chain::new();
    let begin = chain.lines(3).concat();
    let piece = &line(4)[..50];
    let recovered = chain.recovered(begin.len(), piece);
    let end = chain.lines(2).concat();
    let whole = format!("{begin}{recovered}{end}");
    let found = judge(&folder, &whole);
    assert!(found.is_intact(), "{:?}", found.findings);
    assert_eq!((found.recovered, found.verified), (1, 6));

    let without = whole.replace(&format!("{piece}\n"), "");
    assert_eq!(first(&judge(&folder, without)), ("events.jsonl", 4, &Fault::WrongRecovery));
    let other = whole.replace(&format!("{piece}\n"), &format!("{}\n", &line(5)[..50]));
    assert_eq!(first(&judge(&folder, other)), ("events.jsonl", 4, &Fault::Inserted { lines: 1 }));
    let longer = whole.replace(&format!("{piece}\n"), &format!("{piece}\n{piece}\n"));
    assert!(!judge(&folder, longer).is_intact());
    let mut unexplained = Chain::new();
    let text = unexplained.lines(3).concat() + piece + "\n" + &unexplained.lines(2).concat();
    assert_eq!(first(&judge(&folder, text)), ("events.jsonl", 4, &Fault::Inserted { lines: 1 }));

    // All of a line but its line feed was written when the process was killed.
    let mut chain = Chain::new();
    let begin = chain.lines(2).concat();
    let piece = Chain { last: chain.last.clone(), number: 2 }.line();
    let recovered = chain.recovered(begin.len(), piece.trim_end());
    let found = judge(&folder, format!("{begin}{recovered}"));
    assert!(found.is_intact() && found.recovered == 1, "{:?}", found.findings);
}

#[test]
fn a_line_feed_that_is_missing_at_the_end_is_told_from_one_that_was_changed() {
    let folder = Folder::new();
    let text = Chain::new().lines(3).concat();
    let found = judge(&folder, text.trim_end());
    assert!(found.is_intact() && found.verified == 3);
    assert_eq!(first(&judge(&folder, format!("{}!", text.trim_end()))), ("events.jsonl", 3, &Fault::NoHash));
    for cut in text.len() - 200..text.len() - 1 {
        assert!(judge(&folder, &text[..cut]).is_intact(), "cut off after {cut} bytes, which cannot be known");
    }
}

#[test]
fn files_and_ends_of_files_that_are_missing_are_found() {
    let (folder, mut chain) = (Folder::new(), Chain::new());
    let (old, middle, active) = (chain.sealed(4), chain.sealed(4), chain.lines(3).concat());
    let write = |oldest: &str, second: &str| {
        folder.write("events.2.jsonl", oldest);
        folder.write("events.1.jsonl", second);
        folder.write("events.jsonl", &active);
    };
    write(&old, &middle);
    assert!(verify(&folder).is_intact());
    // The last two lines of a rotated file, its seal among them.
    let cut: String = old.split_inclusive('\n').take(3).collect();
    write(&cut, &middle);
    let found = verify(&folder);
    assert_eq!((first(&found), found.unsealed), (("events.1.jsonl", 1, &Fault::Removed { missing: Some(2) }), 1));
    folder.remove("events.1.jsonl");
    folder.write("events.2.jsonl", &old);
    assert_eq!(first(&verify(&folder)), ("events.jsonl", 1, &Fault::Removed { missing: Some(5) }));

    // A seal that does not count right, though all hashes fit: rewritten by somebody who did not think of it.
    let mut forger = Chain::new();
    let text = forger.lines(3).concat();
    let seal = forger.seal(&(text.clone() + "one more\n"));
    let sealed = (4, text.len() as u64 + 9);
    let found = judge_set(&folder, &(text.clone() + &seal), &forger.lines(1).concat());
    assert_eq!(first(&found), ("events.1.jsonl", 4, &Fault::WrongSeal { sealed, there: (3, text.len() as u64) }));
}

fn judge_set(folder: &Folder, rotated: &str, active: &str) -> Verification {
    let _ = fs::remove_file(folder.path("events.2.jsonl"));
    folder.write("events.1.jsonl", rotated);
    judge(folder, active)
}

#[test]
fn what_only_an_anchor_shows() {
    let (folder, mut chain) = (Folder::new(), Chain::new());
    let (old, middle) = (chain.sealed(4), chain.sealed(4));
    let anchor_in_middle = middle.lines().nth(1).unwrap()[..].rsplit('"').nth(1).unwrap().to_owned();
    let end_of_old = old.trim_end().rsplit('"').nth(1).unwrap().to_owned();
    let active = chain.lines(3);
    folder.write("events.1.jsonl", &middle);
    folder.write("events.jsonl", active.concat());
    let anchored = |hash: &str| AuditVerifier::at(folder.log()).anchor(hash).unwrap().run().unwrap();
    let expected = |hash: &str| AuditVerifier::at(folder.log()).expect_last(hash).unwrap().run().unwrap();

    // The oldest file was rotated away.
    assert_eq!((verify(&folder).beginning, verify(&folder).verified), (Beginning::Unknown, 7));
    assert!(verify(&folder).is_intact());
    let found = anchored(&end_of_old);
    assert_eq!((found.beginning, found.verified, found.found), (Beginning::Anchored, 8, 0));
    assert!(anchored(&anchor_in_middle.to_uppercase()).is_intact() && expected(&chain.last).is_intact());

    // Cut off at the end.
    folder.write("events.jsonl", active[..2].concat());
    assert!(verify(&folder).is_intact());
    assert_eq!(first(&expected(&chain.last)), ("events.jsonl", 2, &Fault::NotTheLast));
    assert_eq!(first(&anchored(&chain.last)), ("events.jsonl", 2, &Fault::NoAnchor));
    assert!(anchored(&anchor_in_middle).is_intact());

    // Rewritten from some line on, with hashes that fit.
    let mut forger = Chain { last: active[0].trim_end().rsplit('"').nth(1).unwrap().to_owned(), number: 50 };
    folder.write("events.jsonl", active[0].clone() + &forger.lines(2).concat());
    assert!(verify(&folder).is_intact());
    assert_eq!(first(&anchored(&chain.last)), ("events.jsonl", 3, &Fault::NoAnchor));

    let refused = AuditVerifier::at(folder.log()).anchor("12\u{1b}34").unwrap_err();
    assert_eq!(refused.to_string(), "a hash has 64 hexadecimal digits, and \"12\\u{1b}34\" is none");
}

#[test]
fn a_log_without_a_chain_says_so_and_one_that_got_it_later_begins_there() {
    let folder = Folder::new();
    let found = judge(&folder, line(1) + &line(2));
    assert_eq!(first(&found), ("events.jsonl", 1, &Fault::NoChain));
    assert!(found.is_unchained() && !found.is_intact());
    let known = AuditVerifier::at(folder.log()).anchor(BEGINNING).unwrap().run().unwrap();
    assert!(!known.is_unchained(), "somebody kept a hash of it");
    let found = judge(&folder, line(1) + &line(2) + &Chain::new().lines(3).concat());
    assert_eq!((found.before_chain, found.verified, found.found), (2, 3, 0));
    let mut lines = Chain::new().lines(3);
    lines[0] = line(1);
    assert_eq!(first(&judge(&folder, lines.concat())), ("events.jsonl", 1, &Fault::NoHash));
    let found = judge(&folder, "");
    assert_eq!((found.lines, found.found, found.last_hash), (0, 0, None));
}

#[test]
fn one_rotated_file_by_itself_is_checked_as_what_it_is() {
    let (folder, mut chain) = (Folder::new(), Chain::new());
    let before = (chain.sealed(3), chain.last.clone());
    let lines = chain.lines(5);
    let text = lines.concat();
    let text = text.clone() + &chain.seal(&text);
    let judge = |name: &str, text: &[u8]| AuditVerifier::at(folder.write(name, text)).run().unwrap();
    for (name, text) in [("events.2.jsonl", text.clone().into_bytes()), ("other.2.jsonl.zst", pack(&text))] {
        if name.ends_with("zst") && cfg!(not(feature = "compress")) {
            continue;
        }
        let found = judge(name, &text);
        assert!(found.is_intact(), "{:?}", found.findings);
        assert_eq!((found.beginning, found.verified, found.seals, found.unsealed), (Beginning::Unknown, 5, 1, 0));
        let log = name.replace(".2", "").replace(".zst", "");
        assert_eq!(found.rotated_from, Some(folder.path(&log)));
    }
    let anchored = AuditVerifier::at(folder.path("events.2.jsonl")).anchor(&before.1).unwrap().run().unwrap();
    assert!(anchored.is_intact() && anchored.beginning == Beginning::Anchored && anchored.verified == 6);
    // What is changed inside is found all the same, and an end that was cut off is not passed over.
    let edited = text.replacen("\"n\":6", "\"n\":7", 1);
    assert!(matches!(first(&judge("events.2.jsonl", edited.as_bytes())), ("events.2.jsonl", 2, Fault::Edited)));
    assert_eq!(judge("events.2.jsonl", lines.concat().as_bytes()).unsealed, 1);
    // Under the name of an active file the same lines are a log without its beginning.
    assert_eq!(first(&judge("alone.jsonl", text.as_bytes())).2, &Fault::NoBeginning);
}

#[cfg(feature = "compress")]
fn pack(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 3).unwrap()
}

#[cfg(not(feature = "compress"))]
fn pack(_: &str) -> Vec<u8> {
    Vec::new()
}

#[test]
fn a_finding_is_one_line_of_text() {
    let folder = Folder::new();
    let mut lines = Chain::new().lines(5);
    lines.remove(2);
    let text = judge(&folder, lines.concat()).findings[0].to_string();
    let offset = lines[..2].concat().len();
    let wanted = format!(
        "events.jsonl: line 3, byte {offset}: lines before it were removed (1 number is missing), or the line was edited"
    );
    assert!(text.ends_with(&wanted), "{text}");
}

/// What a bus writes, over runs, rotations and a torn line.
mod written {
    use std::time::Duration;

    use nervebus::{AuditLog, Bus, json};

    use super::*;

    fn run(folder: &Folder, log: AuditLog, events: u64) {
        let bus = Bus::builder().audit(log).build().unwrap();
        for n in 0..events {
            bus.emit("order.placed", json!({"n": n, "text": "a text of some length \"with quotes\" and é"})).unwrap();
        }
        assert!(bus.shutdown(Duration::from_secs(60)).drained);
        assert!(fs::metadata(folder.log()).is_ok());
    }

    fn fits(folder: &Folder) -> Verification {
        let found = verify(folder);
        assert!(found.is_intact(), "{:#?}", found.findings);
        found
    }

    #[test]
    fn a_bus_writes_what_fits_over_restarts_and_rotations() {
        let folder = Folder::new();
        let log = || AuditLog::at(folder.log()).chain().rotate(16 << 10, 100);
        run(&folder, log(), 300);
        run(&folder, log(), 300);
        let found = fits(&folder);
        assert!(found.files > 5 && found.seals + 1 >= found.files && found.unsealed == 0, "{found:#?}");
        assert_eq!((found.beginning, found.lines), (Beginning::Whole, found.verified));
        let newest = AuditReader::open(folder.log()).unwrap().topic("order.*").unwrap().newest_first().unwrap();
        let numbers = logs::numbers(newest);
        let expected: Vec<u64> = (0..300).rev().chain((0..300).rev()).collect();
        assert_eq!(numbers, expected);

        let active = fs::read_to_string(folder.log()).unwrap();
        fs::write(folder.log(), active.replacen("\"n\":2", "\"n\":3", 1)).unwrap();
        assert_eq!(verify(&folder).found, 1);
    }

    #[test]
    fn the_beginning_may_be_rotated_away() {
        let folder = Folder::new();
        run(&folder, AuditLog::at(folder.log()).chain().rotate(8 << 10, 2), 400);
        let found = fits(&folder);
        assert_eq!((found.files, found.beginning), (3, Beginning::Unknown));
    }

    #[test]
    fn a_line_that_was_cut_off_anywhere_is_explained_by_the_next_run() {
        let folder = Folder::new();
        let log = || AuditLog::at(folder.log()).chain();
        run(&folder, log(), 5);
        let text = fs::read(folder.log()).unwrap();
        let last = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for cut in (last..text.len()).step_by(3).chain([last + 1, text.len() - 2, text.len() - 1]) {
            fs::write(folder.log(), &text[..cut]).unwrap();
            run(&folder, log(), 3);
            let found = fits(&folder);
            assert_eq!(found.recovered, u64::from(cut > last), "cut off after {} bytes", cut - last);
        }
    }

    #[test]
    fn a_chain_that_is_switched_on_later_begins_there() {
        let folder = Folder::new();
        run(&folder, AuditLog::at(folder.log()), 5);
        run(&folder, AuditLog::at(folder.log()).chain(), 5);
        let found = fits(&folder);
        assert!(found.before_chain >= 5 && found.verified >= 5, "{found:#?}");
    }

    #[cfg(feature = "compress")]
    #[test]
    fn compressed_files_fit_and_are_read_in_either_order() {
        let folder = Folder::new();
        run(&folder, AuditLog::at(folder.log()).chain().rotate(16 << 10, 100).compress(), 2_000);
        let found = fits(&folder);
        assert!(found.files > 10 && found.beginning == Beginning::Whole, "{found:#?}");
        let reader = AuditReader::open(folder.log()).unwrap().topic("order.*").unwrap();
        assert_eq!(logs::numbers(reader.oldest_first().unwrap()), (0..2_000).collect::<Vec<_>>());
        assert_eq!(logs::numbers(reader.newest_first().unwrap()), (0..2_000).rev().collect::<Vec<_>>());
    }
}
