//! `kill -9` at random moments, while lines are tied to a chain and files are rotated and compressed. After each kill the
//! log is a whole chain as it lies there, and what was acknowledged is in it.

use nervebus::{AuditReader, AuditVerifier, Beginning};

use super::killed::{Kind, kills, random, run_and_kill};
use super::*;

/// How many processes are killed, unless `NERVEBUS_KILLS` or `NERVEBUS_CRASH_ROUNDS` says so.
const KILLS: u64 = 12;

/// The most bytes of a file: small, so that most kills come near a rotation.
const BYTES: u64 = 8 * 1024;

/// What the log holds of each round: the numbers of its events, in the log's order.
fn rounds(log: &Path) -> BTreeMap<u64, Vec<u64>> {
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut entries = AuditReader::open(log).unwrap().topic("t").unwrap().oldest_first().unwrap();
    for entry in entries.by_ref() {
        let payload = entry.unwrap().record.payload;
        found.entry(payload["round"].as_u64().unwrap()).or_default().push(payload["n"].as_u64().unwrap());
    }
    found
}

#[test]
fn a_kill_leaves_a_whole_chain_over_compressed_files_and_loses_nothing_that_was_acknowledged() {
    let folder = Folder::of("tied");
    let (rounds_wanted, mut acknowledged, mut recovered) = (kills(KILLS), Vec::new(), 0);
    for round in 0..rounds_wanted {
        acknowledged.push(run_and_kill(round, Kind::Tied, BYTES, &folder.log(), random(1_500)));
        let found = AuditVerifier::at(folder.log()).run().unwrap();
        assert!(found.is_intact(), "round {round}: {:?}", found.findings);
        // A kill may come before anything was written.
        assert!(found.verified == 0 || found.beginning == Beginning::Whole, "round {round}");
        assert!(found.recovered >= recovered, "round {round}: what was said to be a piece stays one");
        recovered = found.recovered;
    }
    let found = rounds(&folder.log());
    for (round, acknowledged) in (0..).zip(&acknowledged).filter(|(_, acknowledged)| **acknowledged > 0) {
        let numbers = &found[&round];
        assert!(
            numbers.iter().copied().eq(1..=numbers.len() as u64),
            "round {round}: none lost, none doubled, in order"
        );
        assert!(numbers.len() as u64 >= *acknowledged, "round {round}: {acknowledged} acknowledged, {}", numbers.len());
    }
    let names: Vec<String> =
        fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let packed = names.iter().filter(|name| name.ends_with(".zst")).count();
    assert!(packed > 0, "{names:?}");
    let sum: u64 = acknowledged.iter().sum();
    println!("{rounds_wanted} kills: {sum} acknowledged, 0 lost; {packed} compressed files; {recovered} torn lines");
}
