//! As many handlers that never return as a lane has workers.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex};

use nervebus::{Bus, Event, Lane, ManualClock, Reason};

use super::{GUARD, SECOND, bounded, end, is_quiet, until};

const WORKERS: usize = 4;
const EVENTS: u64 = 400;

/// Emits to both lanes, as often with stuck handlers as without; returns what each has handled, and what has timed out.
fn run(stuck: usize) -> [u64; 3] {
    let clock = ManualClock::new();
    let lanes = Bus::builder().lane(Lane::new("hurt").workers(WORKERS)).lane(Lane::new("other"));
    let bus = lanes.clock(&clock).build().unwrap();
    let ends: Arc<Mutex<Vec<Sender<()>>>> = Arc::default();
    let ((begin, begun), endings) = (mpsc::channel(), Arc::clone(&ends));
    let never = move |_: &Event<'_>| {
        let (end, ended) = mpsc::channel();
        endings.lock().unwrap().push(end);
        begin.send(()).unwrap();
        let _ = ended.recv();
    };
    bus.on("stuck").lane("hurt").name("never").timeout(SECOND).handle(never).unwrap();
    bus.on("stuck").lane("hurt").name("sibling").priority(1).handle(|_| ()).unwrap();
    bus.on("fine").lane("hurt").handle(|_| ()).unwrap();
    bus.on("other").lane("other").handle(|_| ()).unwrap();
    let emit = |topic: &str| assert_eq!(bus.emit(topic, ()).unwrap().admitted(), 1);
    // Events without a key go to the workers in turn: each worker has one.
    (0..stuck).for_each(|_| emit("stuck"));
    (0..stuck).for_each(|_| begun.recv_timeout(GUARD).unwrap());
    (0..EVENTS / 2).for_each(|_| emit("fine"));
    (0..EVENTS / 2).for_each(|_| emit("other"));
    let account = |name: &str| bus.ledger().lanes.into_iter().find(|lane| lane.name == name).unwrap().deliveries;
    until("the other lane waits", || account("other").handled == EVENTS / 2);
    assert_eq!(account("hurt").timed_out, 0, "the clock stands");
    if stuck == WORKERS {
        assert_eq!(account("hurt").handled, 0, "all workers are taken");
    }
    clock.advance(SECOND);
    (0..EVENTS / 2).for_each(|_| emit("fine"));
    (0..EVENTS / 2).for_each(|_| emit("other"));
    until("a lane does not go on", || is_quiet(&bus));
    let letters = bus.dead_letters().list();
    assert_eq!(letters.len(), stuck);
    let told = |letter: &nervebus::DeadLetter| (letter.reason, letter.attempts, letter.handler.to_string());
    assert!(letters.iter().all(|letter| told(letter) == (Reason::HandlerTimeout, 1, "never".to_owned())));
    let stats = bus.stats();
    let hurt = stats.lanes.iter().find(|lane| lane.name == "hurt").unwrap();
    assert_eq!((hurt.stuck, hurt.healthy), (stuck, true));
    ends.lock().unwrap().clear();
    until("a late call is not counted", || bus.stats().lanes.iter().map(|lane| lane.late).sum::<u64>() == stuck as u64);
    end(&bus);
    let (hurt, other) = (account("hurt"), account("other"));
    [hurt.handled, hurt.timed_out, other.handled]
}

#[test]
fn as_many_stuck_handlers_as_workers_time_out_each_and_both_lanes_handle_everything_else() {
    bounded(|| {
        assert_eq!(run(0), [EVENTS, 0, EVENTS]);
        for stuck in [1, WORKERS] {
            assert_eq!(run(stuck), [EVENTS + stuck as u64, stuck as u64, EVENTS], "with {stuck} stuck");
        }
    });
}
