//! What the benches share: the payload, the settings of a run, and every member behind one of a few small traits.
//!
//! * [`inline`]: members that call their handlers on the emitter's thread.
//! * [`queued`]: members that hand each event to handlers on other threads.
//! * [`ring`]: rings alone, one file a member.
//! * [`rounds`]: measures members in turn, and [`percentiles`] those of which the single event counts: [`latency`], beside
//!   what the [`machine`] takes.
//! * [`bars`]: what was asked of a bench beside what came out.
//! * [`bus`]: the members that are nervebus itself; [`tables`]: the core's subscription tables.
//! * [`subscriptions`], [`churn`]: emitting beside many subscriptions, and while others subscribe.
//! * [`waited`]: emitting and waiting for the handler; [`tick`]: a small struct to one inline handler.
//! * [`predecessor`]: the benchmarks of the bus before this one, one for one.
//! * [`peers`]: everybody else, one file a peer.
#![forbid(unsafe_code)]
// A bench that cannot be set up has nothing to measure and no caller to tell; it reads the clock because that is its work.
#![allow(clippy::expect_used, clippy::disallowed_methods)]

pub mod bars;
pub mod bus;
pub mod churn;
pub mod inline;
pub mod latency;
pub mod machine;
mod medians;
pub mod peers;
pub mod percentiles;
pub mod policies;
pub mod predecessor;
pub mod queued;
pub mod ring;
pub mod rounds;
pub mod subscriptions;
pub mod tables;
mod tally;
pub mod tick;
pub mod typed;
pub mod waited;

use std::time::{Duration, SystemTime};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};

pub use tally::Tally;

/// What every event carries: 64 bytes.
pub type Payload = [u64; 8];

/// Members that are measured one after the other.
pub type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Slots of every queue, ring and channel, where a member has any.
pub const CAPACITY: usize = 1_024;

/// A payload that says `value` in its first and its last word.
#[inline]
#[must_use]
pub fn payload(value: u64) -> Payload {
    [value, 0, 0, 0, 0, 0, 0, value]
}

/// Runs `benches` and prints a table of their medians: what the `main` of every bench does.
///
/// Each member is measured in 20 samples of the same size over 1.5 s, after a warm-up of 0.4 s. Flags after
/// `cargo bench --bench <file> --` win over these settings.
pub fn run(benches: impl FnOnce(&mut Criterion)) {
    let start = SystemTime::now();
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(400))
        .measurement_time(Duration::from_millis(1_500))
        .nresamples(20_000)
        .configure_from_args();
    benches(&mut criterion);
    criterion.final_summary();
    medians::print(start);
}

/// A group whose members are measured in samples of the same size, and whose unit is the event.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    // Flat: one size for all samples, large enough that waking a thread at both ends does not count.
    group.sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(1));
    group
}
