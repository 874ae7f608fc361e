//! The benchmarks of the bus before this one, one for one, beside what it achieved.
//!
//! That bus is `aperion-event-bus`, in Python. Its figures were measured with its own benchmark, on a virtual machine of the
//! kind that ours are measured on: 2 shared cores, x86-64. Which version of it, and of Python, was not recorded; nor what its
//! benchmark does in detail, so that ours follow its names and documentation: its handlers run on a pool of threads, and
//! its emitter waits for them.
//!
//! Each benchmark runs in up to two ways here. *Inline*, the handlers have run when `emit` returns, on the emitter's thread.
//! On a *lane* they run on another thread and the emitter waits for them: an event is handed over, and so is its outcome.

#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use nervebus::{AuditLog, Bus, Event, Lane, Overflow, Timing};
use serde::Serialize;
use serde_json::Value;

use crate::bus::fresh_folder;
use crate::inline::{Order, Sum};
use crate::medians::Spread;
use crate::rounds::Rounds;
use crate::tick::Tick;

/// What the predecessor achieved, in events a second.
mod recorded {
    pub(super) const NO_HANDLERS: Option<f64> = Some(286_348.0);
    pub(super) const ONE_HANDLER: Option<f64> = Some(31_958.0);
    pub(super) const AUDIT: Option<f64> = Some(18_529.0);
    pub(super) const FIVE_HANDLERS: Option<f64> = Some(6_740.0);
    pub(super) const TEN_HANDLERS: Option<f64> = Some(3_518.0);
    pub(super) const PATTERNS: Option<f64> = Some(17_517.0);
    pub(super) const METRICS: Option<f64> = Some(22_353.0);
    pub(super) const DEAD_LETTERS: Option<f64> = Some(25_316.0);
    pub(super) const BACKPRESSURE: Option<f64> = Some(30_878.0);
    /// Its tenth benchmark is known neither by name nor by figure; several emitters are what was left of its features.
    pub(super) const TENTH: Option<f64> = None;
}

/// How many times faster we are to be: on the emitter's thread, and where threads hand over.
const ALONE: f64 = 100.0;
const HANDED_OVER: f64 = 10.0;

const TOPIC: &str = "shop.placed";
const EXACT: &[&str] = &[TOPIC];
const PATTERNS: &[&str] = &[TOPIC, "shop.*", "*"];

/// How many events may wait on the lane, as the predecessor's documentation has it.
const PENDING: usize = 1_000;

const GRACE: Duration = Duration::from_secs(20);

/// What is emitted: a struct, or JSON, which is what the predecessor's dictionaries come closest to.
trait Carried: Order + Serialize {}

impl Carried for Tick {}
impl Carried for Value {}

/// How the emitter goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// With handlers on its own thread.
    Inline,
    /// When the handlers on the lane have answered.
    Waiting,
    /// At once, unless the lane is full.
    Queueing,
}

impl How {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Waiting => "lane, each waited for",
            Self::Queueing => "lane, the last waited for",
        }
    }

    const fn asked(self) -> f64 {
        match self {
            Self::Inline => ALONE,
            Self::Waiting | Self::Queueing => HANDED_OVER,
        }
    }

    /// A wait takes as long as tens of inline emits.
    const fn one_in(self) -> u64 {
        match self {
            Self::Inline => 1,
            Self::Waiting => 20,
            Self::Queueing => 2,
        }
    }
}

/// A benchmark in one of its ways.
#[derive(Clone, Copy, Debug)]
struct Row {
    name: &'static str,
    recorded: Option<f64>,
    how: How,
    handlers: usize,
    patterns: &'static [&'static str],
    timing: Timing,
    audit: bool,
    fails: bool,
    emitters: u64,
    by_publisher: bool,
}

impl Row {
    const fn new(name: &'static str, recorded: Option<f64>, how: How) -> Self {
        let timing = Timing::Sampled(64);
        let (patterns, audit, fails, by_publisher) = (EXACT, false, false, false);
        Self { name, recorded, how, handlers: 1, patterns, timing, audit, fails, emitters: 1, by_publisher }
    }
}

fn rows() -> Vec<Row> {
    use How::{Inline, Queueing, Waiting};
    let both = |row: fn(How) -> Row| [row(Inline), row(Waiting)];
    let silent = Row { handlers: 0, ..Row::new("emit without handlers, by name", recorded::NO_HANDLERS, Inline) };
    let publisher = Row { name: "emit without handlers, by publisher", by_publisher: true, ..silent };
    let mut rows = vec![silent, publisher];
    rows.extend(both(|how| Row::new("1 handler", recorded::ONE_HANDLER, how)));
    rows.extend(both(|how| Row { audit: true, ..Row::new("audit log, 1 handler", recorded::AUDIT, how) }));
    rows.extend(both(|how| Row { handlers: 5, ..Row::new("5 handlers", recorded::FIVE_HANDLERS, how) }));
    rows.extend(both(|how| Row { handlers: 10, ..Row::new("10 handlers", recorded::TEN_HANDLERS, how) }));
    rows.extend(both(|how| Row { patterns: PATTERNS, ..Row::new("3 patterns that match", recorded::PATTERNS, how) }));
    rows.extend(both(|how| Row {
        timing: Timing::Every,
        ..Row::new("metrics, every call timed", recorded::METRICS, how)
    }));
    rows.extend(both(|how| Row {
        fails: true,
        ..Row::new("dead letters, 1 of 10 fails", recorded::DEAD_LETTERS, how)
    }));
    rows.extend([Waiting, Queueing].map(|how| Row::new("backpressure, 1,000 may wait", recorded::BACKPRESSURE, how)));
    rows.push(Row { emitters: 2, ..Row::new("2 emitters (no figure of a tenth benchmark)", recorded::TENTH, Waiting) });
    rows
}

/// A bus as a row wants it, with the folder of its audit log.
struct Course {
    bus: Bus,
    sum: Arc<Sum>,
    folder: Option<std::path::PathBuf>,
}

impl Course {
    fn open<P: Carried>(row: &Row) -> Self {
        let folder = row.audit.then(fresh_folder);
        let lane = Lane::new("default").capacity(PENDING).overflow(Overflow::Block);
        let mut builder = Bus::builder().default_lane(lane).timing(row.timing);
        if let Some(folder) = &folder {
            builder = builder.audit(AuditLog::at(folder.join("events.jsonl")));
        }
        let bus = builder.build().expect("the settings are valid");
        let sum = Arc::new(Sum::default());
        for pattern in row.patterns.iter().cycle().take(row.handlers * row.patterns.len()) {
            let (sum, fails) = (Arc::clone(&sum), row.fails);
            let handler = move |event: &Event<'_>| {
                // The bus's own records of failures reach `*`, and carry something else.
                let Some(cents) = event.payload_as::<P>().map(Order::cents) else { return Ok(()) };
                sum.add(1);
                if fails && cents.is_multiple_of(10) { Err("no such order") } else { Ok(()) }
            };
            let subscription = bus.on(pattern);
            let subscription = if row.how == How::Inline { subscription.inline() } else { subscription };
            subscription.handle(handler).expect("the table has room");
        }
        Self { bus, sum, folder }
    }

    fn emit<P: Carried>(&self, row: &Row, events: u64) {
        if row.by_publisher {
            let mut publisher = self.bus.publisher(TOPIC).expect("the name is valid");
            for cents in 0..events {
                publisher.emit(P::of(cents)).expect("the bus is open");
            }
            return;
        }
        for cents in 0..events {
            if row.how == How::Waiting {
                let report = self.bus.emit_and_wait(TOPIC, P::of(cents)).expect("the bus is open");
                assert_eq!((report.not_delivered, report.unfinished), (0, 0), "{report}");
            } else {
                self.bus.emit(TOPIC, P::of(cents)).expect("the bus is open, and waits while it is full");
            }
        }
    }

    /// Emits, and waits until what was emitted so far, `total` events, is handled and written.
    fn emit_and_finish<P: Carried>(&self, row: &Row, events: u64, total: u64) -> Duration {
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 1..row.emitters {
                scope.spawn(|| self.emit::<P>(row, events / row.emitters));
            }
            self.emit::<P>(row, events / row.emitters);
        });
        while row.audit && self.bus.stats().audit.is_some_and(|audit| audit.lines < total) {
            thread::sleep(Duration::from_micros(50));
        }
        let calls = total * (row.handlers * row.patterns.len()) as u64;
        while self.sum.get() < calls {
            thread::yield_now();
        }
        let elapsed = start.elapsed();
        assert_eq!(self.sum.get(), calls, "{}: a handler saw an event twice", row.name);
        elapsed
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        self.bus.shutdown(GRACE);
        if let Some(folder) = &self.folder {
            // What cannot be removed is left to the system's own cleaning of its temporary folder.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// Events a second of one round of a row.
fn run<P: Carried>(row: &Row, events: u64) -> f64 {
    // Two emitters share them evenly.
    let events = (events / row.how.one_in()).next_multiple_of(row.emitters);
    let warm_up = (events / 16).next_multiple_of(row.emitters);
    let course = Course::open::<P>(row);
    // A failure makes a line of its own, and lines are counted.
    assert!(!(row.audit && row.fails), "a row with an audit log has no failures");
    course.emit_and_finish::<P>(row, warm_up, warm_up);
    events as f64 / course.emit_and_finish::<P>(row, events, warm_up + events).as_secs_f64()
}

/// Runs every benchmark with a small struct, then with JSON, and prints a table of each.
pub fn compare(rounds: &Rounds) {
    compare_with::<Tick>(rounds, "struct");
    compare_with::<Value>(rounds, "json");
}

fn compare_with<P: Carried>(rounds: &Rounds, payload: &str) {
    let group = format!("predecessor/{payload}");
    let chosen = |row: &Row| rounds.has_chosen(&group, row.name);
    let mut courses: Vec<_> = rows().into_iter().filter(chosen).map(|row| (row, Vec::new())).collect();
    if rounds.is_test() {
        for (row, _) in &courses {
            println!("Testing {group}/{}, {}", row.name, row.how.in_words());
            run::<P>(row, Rounds::TEST_EVENTS);
            println!("Success");
        }
        return;
    }
    rounds.take_turns(&mut courses, |(row, rates), counts| {
        let rate = run::<P>(row, rounds.events());
        rates.extend(Some(rate).filter(|_| counts));
    });
    if courses.is_empty() {
        return;
    }
    println!("\n| {group} | how | predecessor, events/s | events/s (least to most) | × | asked | |");
    println!("|---|---|---|---|---|---|---|");
    courses.into_iter().for_each(|(row, rates)| print(&row, rates));
}

fn print(row: &Row, rates: Vec<f64>) {
    let Some(spread) = Spread::of(rates) else { return };
    let (name, how, asked) = (row.name, row.how.in_words(), row.how.asked());
    let Some(recorded) = row.recorded else {
        return println!("| {name} | {how} | none | {spread:.0} | - | - | |");
    };
    let ratio = spread.median / recorded;
    let verdict = if ratio >= asked { "met" } else { "not met" };
    println!("| {name} | {how} | {recorded:.0} | {spread:.0} | {ratio:.1} | {asked:.0} | {verdict} |");
}
