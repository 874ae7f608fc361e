//! Lanes at full throughput beside channels and buses, every member once a round: 1 → 1, 2 → 1 and 1 → 3 threads.

use nervebus_benches::bars::Bars;
use nervebus_benches::bus::{ByDefault, Parking, QueuedByName, QueuedByPublisher, Spinning, Waiting};
use nervebus_benches::peers::crossbeam::{Crossbeam, Wide};
#[cfg(feature = "qubit")]
use nervebus_benches::peers::qubit::Qubit;
use nervebus_benches::peers::tokio_broadcast::TokioBroadcast;
use nervebus_benches::queued::{Carrier, in_rounds};
use nervebus_benches::rounds::{Measured, Member, Rounds};
use nervebus_benches::typed::{Copied, Shared, TypedLanes};

fn members<const PRODUCERS: usize, const CONSUMERS: usize>() -> Vec<Member> {
    let mut members = vec![
        in_rounds::<QueuedByName, PRODUCERS, CONSUMERS, 1>(),
        in_rounds::<QueuedByPublisher, PRODUCERS, CONSUMERS, 1>(),
        in_rounds::<TokioBroadcast, PRODUCERS, CONSUMERS, 1>(),
        in_rounds::<Crossbeam, PRODUCERS, CONSUMERS, 1>(),
        in_rounds::<Wide, PRODUCERS, CONSUMERS, 1>(),
    ];
    if CONSUMERS > 1 {
        members.push(in_rounds::<TypedLanes<Copied>, PRODUCERS, CONSUMERS, 1>());
        members.push(in_rounds::<TypedLanes<Shared>, PRODUCERS, CONSUMERS, 1>());
    }
    if Parking::LANE.is_some() {
        members.push(in_rounds::<QueuedByPublisher<Parking>, PRODUCERS, CONSUMERS, 1>());
    }
    // Three spinners and a producer on two cores would measure the scheduler and nothing else.
    if Spinning::LANE.is_some() && CONSUMERS == 1 {
        members.push(in_rounds::<QueuedByPublisher<Spinning>, PRODUCERS, CONSUMERS, 1>());
    }
    // It takes microseconds for an event, and milliseconds where there are more threads than cores.
    #[cfg(feature = "qubit")]
    members.push(match CONSUMERS {
        1 => in_rounds::<Qubit, PRODUCERS, CONSUMERS, 128>(),
        _ => in_rounds::<Qubit, PRODUCERS, CONSUMERS, 4_096>(),
    });
    members
}

/// Twice as fast as a broadcast channel with one receiver and three times with three; no slower than a channel that
/// carries the same bytes, or 1.3 times with three; a hundred times as fast as the other bus.
fn ask(bars: &mut Bars, from_to: &str, measured: &Measured) {
    let (broadcast, channel) = if from_to.ends_with('3') { (1.0 / 3.0, 1.3) } else { (0.5, 1.0) };
    for ours in [ByDefault::NAME, QueuedByName::NAME] {
        for (peer, limit) in [(TokioBroadcast::NAME, broadcast), (Wide::NAME, channel), (Crossbeam::NAME, channel)] {
            bars.at_most(format!("{from_to}: {ours} / {peer}"), limit, measured.ratio(ours, peer));
        }
        #[cfg(feature = "qubit")]
        bars.at_most(format!("{from_to}: {ours} / {}", Qubit::NAME), 0.01, measured.ratio(ours, Qubit::NAME));
    }
}

fn main() {
    let rounds = Rounds::from_args_or(21, 200_000);
    let mut bars = Bars::default();
    ask(&mut bars, "1 → 1", &rounds.group("lanes_1p1c", &members::<1, 1>()));
    ask(&mut bars, "2 → 1", &rounds.group("lanes_2p1c", &members::<2, 1>()));
    let three = rounds.group("lanes_1p3c", &members::<1, 3>());
    ask(&mut bars, "1 → 3", &three);
    let (copied, shared) = (TypedLanes::<Copied>::NAME, TypedLanes::<Shared>::NAME);
    bars.at_most(format!("1 → 3: {copied} / {}", Crossbeam::NAME), 1.3, three.ratio(copied, Crossbeam::NAME));
    bars.shown(format!("1 → 3: {copied} / {shared}"), three.ratio(copied, shared));
    bars.print();
}
