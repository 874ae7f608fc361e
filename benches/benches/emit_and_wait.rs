//! From `emit_and_wait` to its return, with one handler on a lane, beside what it takes to wake a thread.

use nervebus_benches::bars::Bars;
use nervebus_benches::bus::{ByDefault, Parking, Spinning, Waiting};
use nervebus_benches::machine;
use nervebus_benches::percentiles::{Measured, Member};
use nervebus_benches::rounds::Rounds;
use nervebus_benches::waited::{ChannelPair, member, on_a_lane, peer};

/// There and back are two wake-ups; half of one is left for everything else.
const OVER_UNPARK: f64 = 2.5;

fn members<const REST: u64>() -> Vec<Member> {
    let mut members = vec![
        machine::UNPARK,
        member(ByDefault::NAME, on_a_lane::<ByDefault, REST>),
        member(ChannelPair::NAME, peer::<REST>),
    ];
    if Spinning::LANE.is_some() {
        members.push(member(Spinning::NAME, on_a_lane::<Spinning, REST>));
    }
    if Parking::LANE.is_some() {
        members.push(member(Parking::NAME, on_a_lane::<Parking, REST>));
    }
    members
}

fn ask(bars: &mut Bars, when: &str, measured: &Measured) {
    let over_unpark = |member| Some(measured.p50(member)? / measured.p50(machine::UNPARK.name)?);
    bars.at_most(format!("{when}: default lane, p50 / unpark"), OVER_UNPARK, over_unpark(ByDefault::NAME));
    bars.at_most(format!("{when}: parking lane, p50 / unpark"), OVER_UNPARK, over_unpark(Parking::NAME));
    bars.at_most(format!("{when}: spinning lane, p50 / unpark"), OVER_UNPARK, over_unpark(Spinning::NAME));
    bars.shown(format!("{when}: two crossbeam channels, p50 / unpark"), over_unpark(ChannelPair::NAME));
}

fn main() {
    let rounds = Rounds::from_args_or(15, 2_000);
    let mut bars = Bars::default();
    ask(&mut bars, "without pause", &rounds.percentiles("emit_and_wait", &members::<0>()));
    ask(&mut bars, "after 100 µs of rest", &rounds.percentiles("emit_and_wait_rested", &members::<100_000>()));
    bars.print();
}
