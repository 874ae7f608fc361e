//! Emit to 1, 4 and 16 handlers on the emitter's thread, to one of 100 topics.

use criterion::Criterion;
use nervebus_benches::bus::{ByName, ByPublisher};
use nervebus_benches::inline::measure;
use nervebus_benches::peers::arc_swap::{Cached, Guarded};
use nervebus_benches::peers::hand_written::HandWritten;
use nervebus_benches::{Payload, group, run};
use serde_json::Value;

fn inline_emit(criterion: &mut Criterion, handlers: usize) {
    let mut group = group(criterion, &format!("inline_emit/{handlers}"));
    measure::<ByName<Payload>>(&mut group, handlers);
    measure::<ByPublisher<true>>(&mut group, handlers);
    measure::<ByPublisher<false>>(&mut group, handlers);
    measure::<HandWritten<Payload>>(&mut group, handlers);
    measure::<Guarded>(&mut group, handlers);
    measure::<Cached>(&mut group, handlers);
    measure::<ByName<Value>>(&mut group, handlers);
    measure::<HandWritten<Value>>(&mut group, handlers);
    group.finish();
}

fn main() {
    run(|criterion| {
        for handlers in [1, 4, 16] {
            inline_emit(criterion, handlers);
        }
    });
}
