//! Row 8: folders that may not be written, and that go away.

use std::process::Command;
use std::sync::mpsc;

use nervebus::{AuditLog, BuildError};

use super::*;

/// Subscribes to what the bus says about its log: the types of the events.
fn told(bus: &Bus) -> mpsc::Receiver<String> {
    let (sender, told) = mpsc::channel();
    for topic in ["system.audit_error", "system.audit_resumed"] {
        let sender = sender.clone();
        bus.on(topic).handle(move |event| sender.send(event.topic().to_owned()).unwrap()).unwrap();
    }
    told
}

fn heard(told: &mpsc::Receiver<String>) -> String {
    told.recv_timeout(GUARD).unwrap()
}

#[test]
fn a_folder_that_is_deleted_is_made_again_and_the_bus_goes_on() {
    let folder = Folder::of("deleted");
    let path = folder.0.join("deep/er/events.jsonl");
    let bus = Bus::builder().audit(AuditLog::at(&path)).build().unwrap();
    let told = told(&bus);
    emit(&bus, 1..=2);
    until(&bus, |stats| stats.lag == 0);
    fs::remove_dir_all(folder.0.join("deep")).unwrap();
    emit(&bus, 3..=3);
    assert_eq!([heard(&told), heard(&told)], ["system.audit_error", "system.audit_resumed"]);
    emit(&bus, 4..=5);
    assert!(bus.shutdown(GUARD).ledger.balanced());
    assert_eq!(numbers(&events(path.parent().unwrap()).0), [3, 4, 5], "from the batch that was just written on");
    let stats = stats(&bus);
    assert_eq!((stats.errors, stats.dropped, stats.failing), (1, 0, false));
    assert!(told.try_recv().is_err(), "one report for one episode");
}

#[test]
fn a_file_that_another_program_moves_away_keeps_its_lines() {
    let folder = Folder::of("moved");
    let bus = Bus::builder().audit(AuditLog::at(folder.log())).build().unwrap();
    emit(&bus, 1..=2);
    until(&bus, |stats| stats.lag == 0);
    fs::rename(folder.log(), folder.0.join("events.1.jsonl")).unwrap();
    emit(&bus, 3..=4);
    until(&bus, |stats| stats.lag == 0);
    emit(&bus, 5..=6);
    assert!(bus.shutdown(GUARD).drained);
    assert_eq!(numbers(&events(&folder.0).0), [1, 2, 3, 4, 5, 6]);
    assert_eq!(stats(&bus).errors, 0);
}

/// A folder in which nothing can be made, renamed or removed, not even by root; `None` where there is no such thing.
struct Frozen<'a>(&'a Path);

impl<'a> Frozen<'a> {
    fn new(path: &'a Path) -> Option<Self> {
        let frozen = Command::new("chattr").arg("+i").arg(path).output().is_ok_and(|output| output.status.success());
        frozen.then_some(Self(path))
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        let _ = Command::new("chattr").arg("-i").arg(self.0).output();
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_a_typed_error_at_the_start_and_degrades_a_log_that_runs() {
    let folder = Folder::of("frozen");
    let bus = Bus::builder().audit(AuditLog::at(folder.log()).rotate(1_024, 100)).build().unwrap();
    let told = told(&bus);
    let Some(frozen) = Frozen::new(&folder.0) else {
        return println!("skipped: this file system has no immutable folders");
    };
    let other = folder.0.join("other.jsonl");
    let error = Bus::builder().audit(AuditLog::at(&other)).build().unwrap_err();
    assert!(matches!(&error, BuildError::Audit { path, .. } if *path == other), "{error}");
    emit(&bus, 1..=40);
    assert_eq!(heard(&told), "system.audit_error");
    let degraded = until(&bus, |stats| stats.lag == 0);
    assert!(degraded.failing && degraded.errors > 0 && degraded.dropped == 0, "{degraded:?}");
    assert_eq!(numbers(&events(&folder.0).0).len(), 40, "it goes on in the file that it has");
    drop(frozen);
    // The next attempt comes with a line after the wait, which is real time here.
    let mut n = 40;
    let since = Instant::now();
    while stats(&bus).failing {
        n += 1;
        emit(&bus, n..=n);
        until(&bus, |stats| stats.lag == 0);
        assert!(since.elapsed() < GUARD);
    }
    assert_eq!(heard(&told), "system.audit_resumed");
    assert!(bus.shutdown(GUARD).ledger.balanced());
    assert!(numbers(&events(&folder.0).0).into_iter().eq(1..=n));
}
