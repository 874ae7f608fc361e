//! The order of keys while the bus is being shut down.

use std::time::Duration;

use nervebus::{Bus, Event, Lane, ManualClock, Retry, json};

use super::{balanced, shutdown_in_time, wide};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const NANO: Duration = Duration::from_nanos(1);

#[test]
fn nothing_waits_behind_a_retry_that_a_shutdown_has_taken_out() {
    const KEYS: u64 = 2_000;
    for _ in 0..20 {
        let clock = ManualClock::new();
        let lane = Lane::new("default").capacity(8_192);
        let bus = Bus::builder().clock(&clock).default_lane(lane).dead_letters(10_000).build().unwrap();
        let handler = |event: &Event<'_>| if event["n"] == 0 { Err("bad") } else { Ok(()) };
        let late = Retry::exponential(DAY).max_delay(DAY).budget(100).reserve(10_000);
        bus.on("t").key_order(wide()).retry(late).handle(handler).unwrap();
        for n in 0..2 {
            for key in 0..KEYS {
                bus.event("t", json!({"n": n})).key(key).emit().unwrap();
            }
        }
        // The clock stands still: what waited for nothing would keep the shutdown for ever. No retry is due so soon.
        balanced(&shutdown_in_time(&bus, NANO));
    }
}
