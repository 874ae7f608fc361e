//! A typed inline emit beside the bus that everybody writes first, member by member in rounds.

use nervebus_benches::bars::Bars;
use nervebus_benches::inline::InlineBus;
use nervebus_benches::peers::hand_written::HandWritten;
use nervebus_benches::rounds::{Measured, Member, Rounds};
use nervebus_benches::tick::{Tick, Ticks, TicksByName, in_rounds};

type Bare = HandWritten<Tick>;

fn members<const TOPICS: usize>() -> [Member; 3] {
    [in_rounds::<Bare, TOPICS>(), in_rounds::<Ticks, TOPICS>(), in_rounds::<TicksByName, TOPICS>()]
}

fn ask(bars: &mut Bars, topics: &str, measured: &Measured) {
    bars.at_most(format!("{topics}: publisher / bare map"), 1.0, measured.ratio(Ticks::NAME, Bare::NAME));
    bars.shown(format!("{topics}: emit by name / bare map"), measured.ratio(TicksByName::NAME, Bare::NAME));
}

fn main() {
    let rounds = Rounds::from_args_or(41, 300_000);
    let mut bars = Bars::default();
    ask(&mut bars, "1 topic", &rounds.group("rwlock_inline/1", &members::<1>()));
    ask(&mut bars, "100 topics in turn", &rounds.group("rwlock_inline/100", &members::<100>()));
    bars.print();
}
