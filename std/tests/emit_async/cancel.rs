//! Futures that are dropped at each moment at which they can be.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use nervebus::{AuditLog, Bus};

use super::{GUARD, Held, Woken, finish, lane, poll, until};

/// A payload that holds up the audit log while it is written, and says when that begins.
struct Slow(Arc<(Sender<()>, Mutex<Receiver<()>>)>);

impl serde::Serialize for Slow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (begin, gone) = &*self.0;
        let _ = begin.send(());
        let _ = gone.lock().unwrap().recv();
        serializer.serialize_none()
    }
}

/// A folder that is gone at the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nervebus-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Polls an emit to `lanes` full lanes until it has been polled `polls` times or is ready, frees one lane after each poll,
/// and drops it. Returns whether it was ready, and what each lane has handled of it.
fn poll_and_drop(lanes: usize, with_audit: bool, polls: usize) -> (bool, Vec<usize>) {
    let folder = Folder::new(&format!("emit-async-{lanes}-{with_audit}-{polls}"));
    let names = &["a", "b", "c"][..lanes];
    let mut builder = names.iter().fold(Bus::builder(), |builder, name| builder.lane(lane(name, 1)));
    let log = folder.0.join("events.jsonl");
    if with_audit {
        builder = builder.audit(AuditLog::at(&log).capacity(1));
    }
    let bus = builder.build().unwrap();
    let mut helds = Vec::new();
    for name in names {
        let held = Held::on(&bus, name);
        if with_audit {
            until(|| bus.stats().audit.unwrap().lag == 0, "the log is not written");
        }
        helds.push(held.fill(&bus, 1));
        if with_audit {
            until(|| bus.stats().audit.unwrap().lag == 0, "the log is not written");
        }
    }
    let ((begin, begun), (audit_go, gone)) = (mpsc::channel(), mpsc::channel());
    if with_audit {
        bus.emit("slow", Slow(Arc::new((begin, Mutex::new(gone))))).unwrap();
        begun.recv_timeout(GUARD).unwrap();
        bus.emit("nobody", 0).unwrap();
    }
    let (before, task, mut is_ready) = (bus.ledger().emitted, Arc::<Woken>::default(), false);
    let mut audit_go = Some(audit_go);
    let mut future = bus.emit_async("all", 1_u64);
    for turn in 0..polls {
        let woken = task.times();
        if let Poll::Ready(receipt) = poll(&mut future, &task) {
            assert_eq!(receipt.unwrap().admitted(), lanes);
            is_ready = true;
            break;
        }
        match helds.get(turn) {
            Some(held) => held.free(),
            None => drop(audit_go.take()),
        }
        task.until(woken + 1);
    }
    drop(future);
    assert_eq!(bus.ledger().emitted, before + u64::from(is_ready));
    drop(audit_go);
    let handled = finish(&bus, helds).into_iter().map(|seen| seen.len()).collect();
    if with_audit {
        let text = std::fs::read_to_string(&log).unwrap();
        let lines = text.lines().filter(|line| line.contains(r#""event_type":"all""#)).count();
        assert_eq!(lines, usize::from(is_ready));
    }
    (is_ready, handled)
}

#[test]
fn dropped_at_any_await_it_has_emitted_to_all_or_to_nobody() {
    for (lanes, with_audit) in [(1, false), (2, false), (3, false), (1, true), (3, true)] {
        let waits = lanes + usize::from(with_audit);
        for polls in 0..=waits + 1 {
            let (is_ready, handled) = poll_and_drop(lanes, with_audit, polls);
            let case = format!("{lanes} lanes, audit {with_audit}, {polls} polls");
            assert_eq!(is_ready, polls > waits, "{case}");
            assert_eq!(handled, vec![usize::from(is_ready); lanes], "{case}");
        }
    }
}
