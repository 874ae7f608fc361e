//! What each policy costs an event that it lets through: on the emitter's thread, and through a lane.

use nervebus_benches::bars::Bars;
use nervebus_benches::policies::{
    Broken, Classed, Deadline, Dedup, DedupUnsaid, Guarded, Key, Keyed, None, Policy, Retried, Shedding, Source,
    SourceRate, Storm, Timeout, TopicRate, Ttl, inline, queued,
};
use nervebus_benches::rounds::{Measured, Rounds};

/// Shows each policy over the bare emit, or over the emit that says the same to a bus without the policy.
fn show(bars: &mut Bars, way: &str, measured: &Measured) {
    let over_bare =
        [TopicRate::NAME, Storm::NAME, DedupUnsaid::NAME, Ttl::NAME, Deadline::NAME, Classed::NAME, Keyed::NAME];
    let handlers = [Timeout::NAME, Retried::NAME, Broken::NAME, Guarded::NAME];
    for policy in over_bare.into_iter().chain(handlers) {
        bars.shown(format!("{way}: {policy} / none"), measured.ratio(policy, None::NAME));
    }
    for (policy, unguarded) in
        [(SourceRate::NAME, Source::NAME), (Dedup::NAME, Key::NAME), (Shedding::NAME, Classed::NAME)]
    {
        bars.shown(format!("{way}: {policy} / {unguarded}"), measured.ratio(policy, unguarded));
    }
}

fn main() {
    let rounds = Rounds::from_args_or(21, 200_000);
    let mut bars = Bars::default();
    let inline = [
        inline::<None>(),
        inline::<TopicRate>(),
        inline::<Source>(),
        inline::<SourceRate>(),
        inline::<Storm>(),
        inline::<DedupUnsaid>(),
        inline::<Key>(),
        inline::<Dedup>(),
        inline::<Ttl>(),
        inline::<Deadline>(),
        inline::<Classed>(),
        inline::<Keyed>(),
        inline::<Broken>(),
    ];
    show(&mut bars, "inline", &rounds.group("policies/inline", &inline));
    let queued = [
        queued::<None>(),
        queued::<TopicRate>(),
        queued::<Storm>(),
        queued::<Ttl>(),
        queued::<Classed>(),
        queued::<Shedding>(),
        queued::<Timeout>(),
        queued::<Retried>(),
        queued::<Broken>(),
        queued::<Guarded>(),
    ];
    show(&mut bars, "lane", &rounds.group("policies/lane", &queued));
    bars.print();
}
