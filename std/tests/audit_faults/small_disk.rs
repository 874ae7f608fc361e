//! Row 7: a disk that is full, a limit of file sizes.

use std::process::Command;

use nervebus::{AuditLog, EmitError, Overflow};

use super::*;

/// A disk in memory with room for so many kilobytes; `None` where it cannot be mounted.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path, kilobytes: u64) -> Option<Self> {
        let size = format!("size={kilobytes}k");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[test]
fn a_full_disk_refuses_or_drops_by_policy_and_the_log_resumes_when_there_is_room() {
    for policy in [Overflow::Block, Overflow::DropNewest] {
        let folder = Folder::of(&format!("full-{policy:?}"));
        let Some(_disk) = SmallDisk::mount(&folder.0, 64) else {
            return println!("skipped: nothing can be mounted here");
        };
        let filler = folder.0.join("events.99.jsonl");
        fs::write(&filler, vec![b'\n'; 40 * 1024]).unwrap();
        let log = AuditLog::at(folder.log()).capacity(64).overflow(policy);
        let bus = Bus::builder().audit(log).build().unwrap();
        let (mut accepted, mut refused) = (Vec::new(), 0);
        for n in 1..=2_000_u64 {
            match bus.emit("t", json!({"n": n})) {
                Ok(_) => accepted.push(n),
                Err(EmitError::AuditFailing { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            // Not faster than the log, as long as that writes.
            until(&bus, |stats| stats.lag < 32 || stats.failing);
        }
        let full = until(&bus, |stats| stats.failing);
        match policy {
            // The bus's own record of the failure waits for nobody, and may find no room.
            Overflow::Block => assert!(refused > 1_000 && full.dropped <= 1, "{refused} refused, {full:?}"),
            _ => assert!(refused == 0 && full.dropped > 1_000, "{full:?}"),
        }
        fs::remove_file(&filler).unwrap();
        let resumed = until(&bus, |stats| stats.lag == 0 && !stats.failing);
        assert!(bus.emit("t", json!({"n": 5_000})).is_ok());
        assert!(bus.shutdown(GUARD).ledger.balanced());
        let (events, bad) = events(&folder.0);
        let numbers = numbers(&events);
        assert_eq!((bad, numbers.last()), (0, Some(&5_000)), "no line was glued or left torn");
        assert!(numbers.is_sorted() && numbers.iter().all(|n| *n == 5_000 || accepted.contains(n)));
        if policy == Overflow::Block {
            assert_eq!(numbers.len(), accepted.len() + 1, "whoever was told yes has a line");
        } else {
            assert!(numbers.len() as u64 + resumed.dropped >= 2_000);
        }
    }
}

/// Set for the process whose files may not grow.
const LIMITED: &str = "NERVEBUS_AUDIT_LIMITED";

/// What that process does; a test that has nothing to do when it is called as one.
#[test]
fn the_process_whose_files_may_not_grow() {
    let Ok(path) = std::env::var(LIMITED) else { return };
    let bus = Bus::builder().audit(AuditLog::at(path)).build().unwrap();
    emit(&bus, 1..=1_000);
    let failing = until(&bus, |stats| stats.failing && stats.errors > 2);
    assert!(failing.lines > 0 && failing.lines < 1_000);
    let end = bus.shutdown(Duration::from_millis(300));
    let stats = stats(&bus);
    assert!(end.ledger.balanced(), "{}", end.ledger);
    assert_eq!(stats.lines + stats.dropped, end.ledger.emitted + end.ledger.system, "every line is written or counted");
    println!("{}", stats.lines);
}

#[test]
fn a_limit_of_file_sizes_is_a_full_disk_and_the_next_run_goes_on() {
    let folder = Folder::of("limited");
    // The signal that goes with the limit is ignored, as services do; then writes fail.
    let script =
        "trap '' XFSZ; ulimit -f 40; exec \"$0\" small_disk::the_process_whose_files_may_not_grow --exact --nocapture";
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(LIMITED, folder.log())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{said}\n{}", String::from_utf8_lossy(&child.stderr));
    let written: u64 = said.lines().find_map(|line| line.parse().ok()).unwrap();
    let bus = Bus::builder().audit(AuditLog::at(folder.log())).build().unwrap();
    emit(&bus, 5_000..=5_000);
    assert!(bus.shutdown(GUARD).drained);
    let (events, bad) = events(&folder.0);
    assert!(numbers(&events).into_iter().eq((1..=written).chain([5_000])), "{written} written");
    assert!(bad <= 1);
}
