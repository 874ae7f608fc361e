//! Emitting to one topic beside 10 to 1,000,000 subscriptions on others; subscribing beside them, and beside others of
//! its own topic; what a subscription takes and gives back.

use criterion::Criterion;
use nervebus_benches::run;
use nervebus_benches::subscriptions::{Crowd, measure_crowd, measure_topic, print_memory};

fn subscriptions(criterion: &mut Criterion) {
    // First, while nothing has been freed that could be used again.
    print_memory(1_000_000);
    for others in [10, 1_000, 100_000, 1_000_000] {
        measure_crowd(criterion, &Crowd::open(others));
    }
    for handlers in [1, 10, 100, 1_000] {
        measure_topic(criterion, handlers);
    }
}

fn main() {
    run(subscriptions);
}
