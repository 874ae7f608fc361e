//! The core's dispatch to 1, 4 and 16 handlers of one of 100 topics, beside tables that are not ours.

use criterion::Criterion;
use nervebus_benches::inline::measure;
use nervebus_benches::peers::arc_swap;
#[cfg(feature = "bevy")]
use nervebus_benches::peers::bevy;
use nervebus_benches::peers::hand_written::HandWritten;
use nervebus_benches::tables::{CachedLent, CachedShared, Guarded, Static};
use nervebus_benches::{Payload, group, run};

fn dispatch(criterion: &mut Criterion, handlers: usize) {
    let mut group = group(criterion, &format!("dispatch/{handlers}"));
    measure::<CachedShared>(&mut group, handlers);
    measure::<CachedLent>(&mut group, handlers);
    measure::<arc_swap::Cached>(&mut group, handlers);
    measure::<Guarded>(&mut group, handlers);
    measure::<Static>(&mut group, handlers);
    measure::<HandWritten<Payload>>(&mut group, handlers);
    #[cfg(feature = "bevy")]
    {
        measure::<bevy::Observers>(&mut group, handlers);
        measure::<bevy::EntityObservers>(&mut group, handlers);
    }
    group.finish();
}

fn main() {
    run(|criterion| {
        for handlers in [1, 4, 16] {
            dispatch(criterion, handlers);
        }
    });
}
