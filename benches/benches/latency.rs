//! From the moment an event is due until its handler, on another thread, has it: an event every 50 µs, then every 5 µs.

use nervebus_benches::bars::Bars;
use nervebus_benches::bus::{ByDefault, Parking, QueuedByName, QueuedByPublisher, Spinning, Waiting};
use nervebus_benches::latency::{BareStore, BareUnpark, member};
use nervebus_benches::peers::crossbeam::{self, Crossbeam};
use nervebus_benches::peers::sync_channel::SyncChannel;
use nervebus_benches::peers::tokio_broadcast::TokioBroadcast;
use nervebus_benches::percentiles::{Measured, Member};
use nervebus_benches::queued::Carrier;
use nervebus_benches::{machine, rounds::Rounds};

/// How far above the machine's own way a lane may be.
const OVER_UNPARK: f64 = 1.25;
/// Against the bare store and not the round trip: the clock calls that both of them contain take longer than the store.
const OVER_BARE_STORE: f64 = 2.0;

fn members<const PACE: u64>() -> Vec<Member> {
    let mut members = vec![
        machine::STORE_TO_SEEN,
        machine::UNPARK,
        member::<BareStore, PACE>(),
        member::<BareUnpark, PACE>(),
        member::<QueuedByName, PACE>(),
        member::<QueuedByPublisher, PACE>(),
        member::<crossbeam::Spinning, PACE>(),
        member::<Crossbeam, PACE>(),
        member::<TokioBroadcast, PACE>(),
        member::<SyncChannel, PACE>(),
    ];
    if Spinning::LANE.is_some() {
        members.push(member::<QueuedByPublisher<Spinning>, PACE>());
    }
    if Parking::LANE.is_some() {
        members.push(member::<QueuedByPublisher<Parking>, PACE>());
    }
    members
}

fn p50(measured: &Measured, member: &str, over: &str) -> Option<f64> {
    Some(measured.p50(member)? / measured.p50(over)?)
}

fn p999(measured: &Measured, member: &str, over: &str) -> Option<f64> {
    Some(measured.p999(member)? / measured.p999(over)?)
}

fn ask(bars: &mut Bars, pace: &str, measured: &Measured) {
    let (store, unpark) = (machine::STORE_TO_SEEN.name, machine::UNPARK.name);
    let (spinning_peer, parking_peer) = (crossbeam::Spinning::NAME, Crossbeam::NAME);
    let at = |what: &str| format!("{pace}: {what}");
    let bare = BareStore::NAME;
    bars.at_most(at("spinning lane, p50 / bare store"), OVER_BARE_STORE, p50(measured, Spinning::NAME, bare));
    bars.shown(at("spinning lane, p50 / store to seen"), p50(measured, Spinning::NAME, store));
    bars.at_most(at("parking lane, p50 / unpark"), OVER_UNPARK, p50(measured, Parking::NAME, unpark));
    let tail = |member, peer| p999(measured, member, peer);
    bars.at_most(at("spinning lane, p99.9 / crossbeam try_recv"), 1.0, tail(Spinning::NAME, spinning_peer));
    bars.at_most(at("parking lane, p99.9 / crossbeam recv"), 1.0, tail(Parking::NAME, parking_peer));
    bars.at_most(at("default lane, p99.9 / crossbeam recv"), 1.0, tail(ByDefault::NAME, parking_peer));
    bars.shown(at("default lane, p50 / store to seen"), p50(measured, ByDefault::NAME, store));
    bars.shown(at("default lane, p50 / unpark"), p50(measured, ByDefault::NAME, unpark));
    bars.shown(at("default lane, p50 / crossbeam recv"), p50(measured, ByDefault::NAME, parking_peer));
    bars.shown(at("crossbeam try_recv, p50 / bare store"), p50(measured, spinning_peer, bare));
    bars.shown(at("crossbeam try_recv, p50 / store to seen"), p50(measured, spinning_peer, store));
    bars.shown(at("crossbeam recv, p50 / unpark"), p50(measured, parking_peer, unpark));
    bars.shown(at("bare store, p50 / store to seen"), p50(measured, BareStore::NAME, store));
    bars.shown(at("bare unpark, p50 / unpark"), p50(measured, BareUnpark::NAME, unpark));
}

fn main() {
    // A fifth of a second for a member's round at the slow pace, a tenth of that at the fast one.
    let rounds = Rounds::from_args_or(15, 4_000);
    let mut bars = Bars::default();
    ask(&mut bars, "every 50 µs", &rounds.percentiles("latency_50us", &members::<50_000>()));
    ask(&mut bars, "every 5 µs", &rounds.percentiles("latency_5us", &members::<5_000>()));
    bars.print();
}
