//! `emit_durable` by level and number of emitters: what the software adds, and how many events share a sync.
//!
//! What a sync takes is the machine's business, and on many virtual disks it does nothing: no figure here says how fast
//! events become durable.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::Criterion;
use nervebus::{Bus, DurableLog, Level};
use nervebus_benches::{group, payload, run};

const TOPIC: &str = "bench.durable";

/// Emits so many events by so many threads, each of which waits for its own before it goes on.
fn emit(bus: &Bus, level: Level, emitters: u64, events: u64) -> Duration {
    let left = AtomicU64::new(events);
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..emitters {
            scope.spawn(|| {
                // Relaxed: the number is all there is.
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                    bus.event(TOPIC, payload(1)).durable(level).emit().expect("a log that takes everything");
                }
            });
        }
    });
    start.elapsed()
}

fn durable(criterion: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("nervebus-bench-durable-{}", std::process::id()));
    let log = DurableLog::at(&folder).topics("bench.*").keep_bytes(16 << 20);
    let bus = Bus::builder().durable(log).build().expect("a folder that can be written");
    let mut group = group(criterion, "durable");
    for level in [Level::Accepted, Level::Written, Level::Synced] {
        for emitters in [1, 8, 64] {
            let before = bus.stats().durable.expect("a log");
            group.bench_function(format!("{level}/{emitters}"), |bencher| {
                bencher.iter_custom(|events| emit(&bus, level, emitters, events));
            });
            let after = bus.stats().durable.expect("a log");
            let (lines, batches) = (after.lines - before.lines, after.batches - before.batches);
            let each = |of: u64| lines as f64 / of.max(1) as f64;
            let syncs = after.syncs - before.syncs;
            println!("{level}/{emitters}: {:.1} events a write, {:.1} a sync", each(batches), each(syncs));
        }
    }
    group.finish();
    drop(bus);
    let _ = std::fs::remove_dir_all(folder);
}

fn main() {
    run(durable);
}
