use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::admission::storm::StormGuard;
use crate::bus::Bus;
use crate::platform::manual_clock::ManualClock;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_storm_that_goes_on_is_looked_at_again_until_it_ends() {
    let (clock, (tell, told)) = (ManualClock::new(), mpsc::channel());
    let bus = Bus::builder().clock(&clock).storm_guard(StormGuard::per_second(10)).build().unwrap();
    for topic in ["system.event_storm", "system.event_storm_ended"] {
        let tell = tell.clone();
        let tell = move |event: &crate::Event<'_>| {
            tell.send((event.topic().to_owned(), event["lasted_seconds"].clone(), event["events"].clone())).unwrap();
        };
        bus.on(topic).inline().handle(tell).unwrap();
    }
    // The timer has looked when it sleeps again.
    let advance = || {
        clock.advance(SECOND);
        while clock.parked() == 0 {
            thread::yield_now();
        }
    };
    for _ in 0..5 {
        (0..50).for_each(|_| assert!(bus.emit("t", ()).is_ok()));
        advance();
    }
    assert_eq!(told.try_iter().map(|(topic, ..)| topic).collect::<Vec<_>>(), ["system.event_storm"]);
    assert_eq!(bus.engine().timer.pending(), 2, "one look, and the look at the books");
    (0..3).for_each(|_| advance());
    let ended = told.recv_timeout(GUARD).unwrap();
    assert_eq!(ended, ("system.event_storm_ended".to_owned(), 5.0.into(), 240.into()));
    assert_eq!(bus.engine().timer.pending(), 1, "nobody looks at a calm topic");
    assert!(bus.ledger().balanced());
}
