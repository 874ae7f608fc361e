//! Events to an async handler that waits: one at a time beside 64 in flight, on a lane with one thread.

use std::future::poll_fn;
use std::sync::mpsc::{self, Sender};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use nervebus::{Bus, Lane};
use nervebus_benches::bars::Bars;
use nervebus_benches::ring::Stuck;
use nervebus_benches::rounds::{Member, Rounds};

/// How long a handler waits: what an answer takes that is on its way within a data centre.
const FAR: Duration = Duration::from_micros(100);
const LIMIT: Duration = Duration::from_secs(60);

/// What the handler of each event waits for.
#[derive(Clone, Copy)]
enum Wait {
    /// Another thread, which wakes it when [`FAR`] has passed.
    Timer,
    /// Its next turn.
    Turn,
}

/// A thread that wakes each future when its time has come.
fn timer() -> Sender<(Instant, Waker)> {
    let (sender, calls) = mpsc::channel::<(Instant, Waker)>();
    thread::spawn(move || {
        for (at, waker) in calls {
            while Instant::now() < at {
                thread::yield_now();
            }
            waker.wake();
        }
    });
    sender
}

/// Waits once.
async fn rest(wait: Wait, timer: &Sender<(Instant, Waker)>) {
    let mut until = None;
    poll_fn(|context| match (until, wait) {
        (None, Wait::Timer) => {
            let at = Instant::now() + FAR;
            until = Some(at);
            timer.send((at, context.waker().clone())).expect("the thread lives as long as this");
            Poll::Pending
        }
        (None, Wait::Turn) => {
            until = Some(Instant::now());
            context.waker().wake_by_ref();
            Poll::Pending
        }
        (Some(at), Wait::Timer) if Instant::now() < at => Poll::Pending,
        (Some(_), _) => Poll::Ready(()),
    })
    .await;
}

fn run(wait: Wait, concurrency: usize, events: u64) -> Result<Duration, Stuck> {
    let lane = Lane::new("many").concurrency(concurrency);
    let bus = Bus::builder().lane(lane).build().expect("the settings are valid");
    let timer = timer();
    let handler = move |_| {
        let timer = timer.clone();
        async move { rest(wait, &timer).await }
    };
    bus.on("bench.tick").lane("many").handle_async(handler).expect("the table has room");
    let mut ticks = bus.publisher("bench.tick").expect("the name is valid");
    let start = Instant::now();
    for number in 0..events {
        ticks.emit(number).expect("the bus is open");
    }
    let drained = bus.shutdown(LIMIT).drained;
    assert!(drained, "all of them end");
    Ok(start.elapsed())
}

const ONE: &str = "one at a time";
const MANY: &str = "64 in flight";

fn main() {
    let rounds = Rounds::from_args_or(21, 1_000);
    let mut bars = Bars::default();
    let members = [
        Member { name: ONE, run: |events| run(Wait::Timer, 1, events) },
        Member { name: MANY, run: |events| run(Wait::Timer, 64, events) },
    ];
    let measured = rounds.group("flight_timer", &members);
    bars.at_most(format!("100 µs of waiting: {MANY} / {ONE}"), 1.0 / 16.0, measured.ratio(MANY, ONE));
    let members = [
        Member { name: ONE, run: |events| run(Wait::Turn, 1, events) },
        Member { name: MANY, run: |events| run(Wait::Turn, 64, events) },
    ];
    let measured = rounds.group("flight_turn", &members);
    bars.shown(format!("one turn of waiting: {MANY} / {ONE}"), measured.ratio(MANY, ONE));
    bars.print();
}
