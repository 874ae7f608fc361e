//! A typed inline emit beside the bus that everybody writes first, member by member in rounds.

use nervebus_benches::bars::Bars;
use nervebus_benches::bus::ByPublisher;
use nervebus_benches::inline::InlineBus;
use nervebus_benches::peers::hand_written::HandWritten;
use nervebus_benches::rounds::{Measured, Member, Rounds};
use nervebus_benches::tables::CachedShared;
use nervebus_benches::tick::{Tick, Ticks, TicksByName, in_rounds};
use nervebus_benches::typed::TypedInline;

type Bare = HandWritten<Tick>;

fn members<const TOPICS: usize>() -> [Member; 3] {
    [in_rounds::<Bare, TOPICS>(), in_rounds::<Ticks, TOPICS>(), in_rounds::<TicksByName, TOPICS>()]
}

fn ask(bars: &mut Bars, topics: &str, measured: &Measured) {
    bars.at_most(format!("{topics}: publisher / bare map"), 1.0, measured.ratio(Ticks::NAME, Bare::NAME));
    bars.shown(format!("{topics}: emit by name / bare map"), measured.ratio(TicksByName::NAME, Bare::NAME));
}

/// 64 bytes to one inline handler: through the core's table alone, by publisher, and by typed topic.
fn typed_members() -> [Member; 3] {
    [in_rounds::<CachedShared, 1>(), in_rounds::<ByPublisher<true>, 1>(), in_rounds::<TypedInline, 1>()]
}

/// A typed emit costs what the publisher's does, and no more than 1.2 times what the core alone takes.
fn ask_typed(bars: &mut Bars, measured: &Measured) {
    let (typed, publisher) = (TypedInline::NAME, ByPublisher::<true>::NAME);
    bars.at_most("typed topic / core alone", 1.2, measured.ratio(typed, CachedShared::NAME));
    bars.shown("typed topic / publisher", measured.ratio(typed, publisher));
}

fn main() {
    let rounds = Rounds::from_args_or(41, 300_000);
    let mut bars = Bars::default();
    ask(&mut bars, "1 topic", &rounds.group("rwlock_inline/1", &members::<1>()));
    ask(&mut bars, "100 topics in turn", &rounds.group("rwlock_inline/100", &members::<100>()));
    ask_typed(&mut bars, &rounds.group("typed_inline/1", &typed_members()));
    bars.print();
}
