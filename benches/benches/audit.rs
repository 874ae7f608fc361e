//! What the audit log costs: an emit with it beside one without, and how many lines a second its lane writes.
//!
//! An emit is measured on the emitter's thread, in bursts that the lanes have room for: what the log's own thread does
//! meanwhile counts only as far as it is in the way. The lane is measured from the first emit to the last line in the file.

#![allow(clippy::print_stdout, reason = "the tables are the result")]
#![allow(clippy::disallowed_methods, clippy::expect_used, reason = "a bench reads the clock and removes its files")]

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use nervebus::{AuditLog, Bus, Event, Lane, Redactor, SyncPolicy, Value, json};

/// Events of a burst, and slots of every lane: none is ever full.
const BURST: usize = 60_000;
const SLOTS: usize = 1 << 16;

/// Events that the lane is to write in a sample.
const LINES: usize = 400_000;

const ROUNDS: usize = 9;
const TOPIC: &str = "shop.order.placed";

/// A typical payload: its line has 200 to 300 bytes.
fn order(number: usize) -> Value {
    json!({
        "order": number,
        "customer": "c-20931",
        "currency": "EUR",
        "cents": 12_950,
        "express": true,
        "note": "leave it at the door",
    })
}

/// A file of this run's own, removed when it is done with.
struct Log(PathBuf);

impl Log {
    fn new(name: &str) -> Self {
        let folder = env::temp_dir().join(format!("nervebus-audit-bench-{}-{name}", process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be written to");
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of its temporary folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Who hears of the events whose emits are measured.
#[derive(Clone, Copy)]
enum Heard {
    Inline,
    Lane,
}

/// What is emitted.
#[derive(Clone, Copy)]
enum Carried {
    Json,
    Struct,
}

/// Nanoseconds of a core that an emit takes on the emitter's thread.
fn emit(heard: Heard, carried: Carried, audit: Option<&Path>) -> f64 {
    let mut builder = Bus::builder().default_lane(Lane::new("default").capacity(SLOTS));
    if let Some(path) = audit {
        builder = builder.audit(AuditLog::at(path).capacity(SLOTS));
    }
    let bus = builder.build().expect("the settings are valid");
    let handler = |event: &Event<'_>| assert!(std::hint::black_box(event.seq()) > 0);
    let subscribe = bus.on(TOPIC);
    let subscribed = match heard {
        Heard::Inline => subscribe.inline().handle(handler),
        Heard::Lane => subscribe.handle(handler),
    };
    subscribed.expect("the table has room");
    // The first burst touches every slot of the rings and warms the allocator.
    burst(&bus, carried);
    let elapsed = burst(&bus, carried);
    assert!(bus.shutdown(Duration::from_secs(20)).drained);
    elapsed as f64 / BURST as f64
}

/// Emits a burst, and says how long this thread had a core for it; waits until all of it is done with.
fn burst(bus: &Bus, carried: Carried) -> u64 {
    let orders: Vec<Value> = (0..BURST).map(order).collect();
    let start = on_core();
    match carried {
        Carried::Json => orders.into_iter().for_each(|order| assert!(bus.emit(TOPIC, order).is_ok())),
        Carried::Struct => (0..BURST as u64).for_each(|n| assert!(bus.emit(TOPIC, [n; 8]).is_ok())),
    }
    let elapsed = on_core() - start;
    while bus.stats().pending > 0 || bus.stats().audit.is_some_and(|audit| audit.lag > 0) {
        thread::sleep(Duration::from_micros(100));
    }
    elapsed
}

/// For how many nanoseconds this thread has had a core: what others do with it meanwhile does not count. Where the system
/// does not say, the time since its first call.
fn on_core() -> u64 {
    static SINCE: OnceLock<Instant> = OnceLock::new();
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok();
    let told = told.and_then(|text| text.split(' ').next()?.parse().ok());
    told.unwrap_or_else(|| SINCE.get_or_init(Instant::now).elapsed().as_nanos() as u64)
}

/// Lines a second, and bytes a line.
fn lines(log: AuditLog) -> (f64, f64) {
    let bus = Bus::builder().audit(log.capacity(SLOTS)).build().expect("the settings are valid");
    let orders: Vec<Value> = (0..LINES).map(order).collect();
    let start = Instant::now();
    orders.into_iter().for_each(|order| assert!(bus.emit(TOPIC, order).is_ok()));
    let written = loop {
        let audit = bus.stats().audit.expect("there is a log");
        assert_eq!((audit.dropped, audit.errors), (0, 0), "the log lost lines");
        if audit.lines == LINES as u64 {
            break audit;
        }
        thread::sleep(Duration::from_micros(100));
    };
    let elapsed = start.elapsed();
    (LINES as f64 / elapsed.as_secs_f64(), written.bytes as f64 / LINES as f64)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() {
    println!("\n| emit, ns of a core, median of {ROUNDS} | without | with audit log | x |\n|---|---|---|---|");
    for (name, heard, carried) in [
        ("JSON to a lane", Heard::Lane, Carried::Json),
        ("64 bytes to a lane", Heard::Lane, Carried::Struct),
        ("JSON to an inline handler", Heard::Inline, Carried::Json),
        ("64 bytes to an inline handler", Heard::Inline, Carried::Struct),
    ] {
        let (mut off, mut on) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let log = Log::new("emit");
            off.push(emit(heard, carried, None));
            on.push(emit(heard, carried, Some(&log.path())));
        }
        let (off, on) = (median(off), median(on));
        println!("| {name} | {off:.1} | {on:.1} | {:.2} |", on / off);
    }
    println!("\n| audit lane, median of {ROUNDS} | lines a second | bytes a line |\n|---|---|---|");
    type Make = fn(&Path) -> AuditLog;
    let logs: [(&str, Make); 5] = [
        ("one file", |path| AuditLog::at(path)),
        ("one file, redacted", |path| AuditLog::at(path).redact(Redactor::default())),
        ("rotated at 10 MiB", |path| AuditLog::at(path).rotate(10 << 20, 5)),
        ("chained", |path| AuditLog::at(path).chain()),
        ("chained, rotated, compressed, synced every second", |path| {
            AuditLog::at(path).rotate(10 << 20, 5).chain().compress().sync(SyncPolicy::Every(Duration::from_secs(1)))
        }),
    ];
    for (name, make) in logs {
        let samples: Vec<_> = (0..ROUNDS)
            .map(|_| {
                let log = Log::new("lines");
                lines(make(&log.path()))
            })
            .collect();
        let (rates, sizes): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
        println!("| {name} | {:.0} | {:.0} |", median(rates), median(sizes));
    }
}
