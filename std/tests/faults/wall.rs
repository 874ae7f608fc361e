//! A wall clock that jumps ten years while timeouts, retries and times to live run.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nervebus::{Bus, Event, Lane, ManualClock, Retry};

use super::{DAY, GUARD, SECOND, bounded, end, held, idle, is_quiet, until};

/// Midnight of 1 January 2000, where the wall clock begins.
const START: Duration = Duration::from_secs(946_684_800);
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What has come of everything at one moment: handled, failed, timed out, expired, waiting for a retry.
type Moment = [u64; 5];

fn moment(bus: &Bus) -> Moment {
    let ledger = bus.ledger();
    let of = ledger.deliveries();
    let retrying = ledger.lanes.iter().map(|lane| lane.retrying).sum();
    [of.handled, of.failed, of.timed_out, of.expired, retrying]
}

/// A timeout, a retry and a time to live, each of a second, with the wall clock set twice in the middle of them.
fn run(walls: [SystemTime; 2]) -> Vec<Moment> {
    let clock = ManualClock::new();
    let lanes = ["slow", "busy", "again"].map(Lane::new);
    let bus = lanes.into_iter().fold(Bus::builder().clock(&clock), nervebus::Builder::lane).build().unwrap();
    let ((slow, slow_begun, slow_go), (busy, busy_begun, busy_go)) = (held(), held());
    bus.on("slow").lane("slow").timeout(SECOND).handle(slow).unwrap();
    bus.on("busy").lane("busy").handle(busy).unwrap();
    let seqs: Arc<Mutex<Vec<(u64, u32)>>> = Arc::default();
    let noted = Arc::clone(&seqs);
    let fail = move |event: &Event<'_>| {
        noted.lock().unwrap().push((event.seq(), event.attempt()));
        Err("no")
    };
    let retry = Retry::exponential(SECOND).attempts(2).max_delay(SECOND).budget(100);
    bus.on("again").lane("again").retry(retry).handle(fail).unwrap();

    let mut receipts = vec![bus.emit("slow", ()).unwrap().seq(), bus.emit("busy", ()).unwrap().seq()];
    slow_begun.recv_timeout(GUARD).unwrap();
    busy_begun.recv_timeout(GUARD).unwrap();
    // Whoever is called first is done at once; the retry waits.
    receipts.push(bus.emit("again", ()).unwrap().seq());
    receipts.push(bus.event("busy", ()).ttl(SECOND).emit().unwrap().seq());
    receipts.push(bus.event("busy", ()).ttl(3 * SECOND).emit().unwrap().seq());
    until("the first attempt does not fail", || moment(&bus)[4] == 1);
    let mut moments = vec![moment(&bus)];
    for wall in walls {
        clock.set_wall(wall);
        idle();
        moments.push(moment(&bus));
        receipts.push(bus.emit("nobody", ()).unwrap().seq());
    }
    clock.advance(SECOND);
    until("the timeout or the retry does not come", || matches!(moment(&bus), [_, 1, 1, _, 0]));
    // One event's time is over, the other's is not: both wait behind the busy handler.
    moments.push(moment(&bus));
    drop(busy_go);
    until("something is left", || is_quiet(&bus));
    moments.push(moment(&bus));
    clock.advance(DAY);
    receipts.push(bus.emit("nobody", ()).unwrap().seq());
    drop(slow_go);
    moments.push(moment(&bus));
    assert_eq!(end(&bus).emitted, receipts.len() as u64);
    assert_eq!(*seqs.lock().unwrap(), [(receipts[2], 1), (receipts[2], 2)]);
    assert!(receipts.windows(2).all(|pair| pair[0] < pair[1]), "numbers rise: {receipts:?}");
    moments
}

#[test]
fn a_wall_clock_that_jumps_ten_years_changes_no_timeout_no_retry_and_no_time_to_live() {
    bounded(|| {
        let start = UNIX_EPOCH + START;
        let undisturbed = run([start, start]);
        let (middle, over) = ([0, 0, 0, 0, 1], [0, 1, 1, 0, 0]);
        let expected = [middle, middle, middle, over, [2, 1, 1, 1, 0], [2, 1, 1, 1, 0]];
        assert_eq!(undisturbed, expected);
        for walls in [[-1, -1], [1, 1], [-1, 1], [1, -1]] {
            let wall = |way: i32| if way < 0 { start - TEN_YEARS } else { start + TEN_YEARS };
            assert_eq!(run(walls.map(wall)), undisturbed, "{walls:?}");
        }
    });
}
