//! One producer to three handlers, each on a thread of its own.

use criterion::Criterion;
use nervebus_benches::bus::{QueuedByName, QueuedByPublisher};
use nervebus_benches::peers::crossbeam::Crossbeam;
use nervebus_benches::peers::disruptor::YieldingConsumers;
use nervebus_benches::peers::tokio_broadcast::TokioBroadcast;
use nervebus_benches::queued::measure;
use nervebus_benches::{group, run};

fn fan_out(criterion: &mut Criterion) {
    let mut group = group(criterion, "fan_out_3");
    measure::<QueuedByName>(&mut group, 1, 3);
    measure::<QueuedByPublisher>(&mut group, 1, 3);
    measure::<TokioBroadcast>(&mut group, 1, 3);
    measure::<Crossbeam>(&mut group, 1, 3);
    measure::<YieldingConsumers>(&mut group, 1, 3);
    group.finish();
}

fn main() {
    run(fan_out);
}
