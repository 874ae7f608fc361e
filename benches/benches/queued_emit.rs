//! One producer, then two, to one handler on another thread.

use criterion::Criterion;
use nervebus_benches::bus::{QueuedByName, QueuedByPublisher};
use nervebus_benches::peers::crossbeam::Crossbeam;
use nervebus_benches::peers::disruptor::{Spinning, Yielding, YieldingProducers};
use nervebus_benches::peers::sync_channel::SyncChannel;
use nervebus_benches::peers::tokio_broadcast::TokioBroadcast;
use nervebus_benches::queued::measure;
use nervebus_benches::{group, run};

fn one_producer(criterion: &mut Criterion) {
    let mut group = group(criterion, "queued_emit");
    measure::<QueuedByName>(&mut group, 1, 1);
    measure::<QueuedByPublisher>(&mut group, 1, 1);
    measure::<TokioBroadcast>(&mut group, 1, 1);
    measure::<Crossbeam>(&mut group, 1, 1);
    measure::<SyncChannel>(&mut group, 1, 1);
    measure::<Spinning>(&mut group, 1, 1);
    measure::<Yielding>(&mut group, 1, 1);
    group.finish();
}

fn two_producers(criterion: &mut Criterion) {
    let mut group = group(criterion, "queued_emit_2p");
    measure::<QueuedByName>(&mut group, 2, 1);
    measure::<QueuedByPublisher>(&mut group, 2, 1);
    measure::<TokioBroadcast>(&mut group, 2, 1);
    measure::<Crossbeam>(&mut group, 2, 1);
    measure::<SyncChannel>(&mut group, 2, 1);
    measure::<YieldingProducers>(&mut group, 2, 1);
    group.finish();
}

fn main() {
    run(|criterion| {
        one_producer(criterion);
        two_producers(criterion);
    });
}
