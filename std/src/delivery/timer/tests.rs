//! The timer on a clock that is moved by hand, and the bus's own on the machine's.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::*;
use crate::{Bus, ManualClock};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const SECOND: u64 = 1_000_000_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A timer at work whose owner is a number.
struct Rig {
    manual: ManualClock,
    timer: Arc<Timer<u32>>,
    owner: Arc<u32>,
    thread: JoinHandle<()>,
    ran: (Sender<u64>, Receiver<u64>),
}

impl Rig {
    fn new(capacity: usize) -> Self {
        let (manual, owner) = (ManualClock::new(), Arc::new(7));
        let timer = Arc::new(Timer::new(Clock::Manual(manual.clone()), capacity));
        let thread = start(&timer, &owner);
        Self { manual, timer, owner, thread, ran: mpsc::channel() }
    }

    /// A job that says this number when it runs.
    fn job(&self, number: u64) -> Job<u32> {
        let ran = self.ran.0.clone();
        Box::new(move |owner| {
            assert_eq!(**owner, 7);
            ran.send(number).unwrap();
        })
    }

    /// Schedules a job that says its moment.
    fn at(&self, moment: u64) -> TimerKey {
        self.timer.schedule(moment, self.job(moment)).unwrap()
    }

    /// Moves the clock, and waits until the thread has done all that is due and sleeps again.
    fn advance(&self, by: Duration) {
        self.manual.advance(by);
        self.until_asleep();
    }

    fn until_asleep(&self) {
        let since = Instant::now();
        while self.manual.parked() == 0 {
            assert!(since.elapsed() < GUARD && !self.thread.is_finished(), "the timer's thread does not sleep");
            thread::yield_now();
        }
    }

    fn seen(&self) -> Vec<u64> {
        self.ran.1.try_iter().collect()
    }

    fn end(self) {
        self.timer.close();
        self.thread.join().unwrap();
        assert!(self.timer.ended.is_open());
    }
}

fn start<T: Send + Sync + 'static>(timer: &Arc<Timer<T>>, owner: &Arc<T>) -> JoinHandle<()> {
    let (timer, owner) = (Arc::clone(timer), Arc::downgrade(owner));
    crate::platform::threads::spawn("timer".into(), move || run(&timer, &owner)).unwrap()
}

#[test]
fn jobs_run_in_order_of_their_moments_and_those_of_one_moment_in_the_order_they_came() {
    let rig = Rig::new(16);
    for (moment, number) in [(30, 4), (10, 1), (20, 3), (10, 2), (u64::MAX, 9)] {
        rig.timer.schedule(moment, rig.job(number)).unwrap();
    }
    rig.advance(DAY);
    assert_eq!((rig.seen(), rig.timer.pending()), (vec![1, 2, 3, 4], 1));
    rig.end();
}

#[test]
fn a_job_never_runs_a_nanosecond_early() {
    let rig = Rig::new(16);
    rig.at(1 + SECOND);
    rig.advance(Duration::from_nanos(SECOND - 1));
    assert_eq!((rig.seen(), rig.timer.pending()), (vec![], 1));
    rig.timer.schedule(u64::MAX, rig.job(0)).unwrap();
    rig.advance(Duration::from_nanos(1));
    assert_eq!(rig.seen(), [1 + SECOND]);
    rig.end();
}

#[test]
fn a_job_for_a_moment_that_has_passed_runs_at_once_though_the_thread_sleeps_for_a_later_one() {
    let rig = Rig::new(16);
    rig.at(DAY.as_nanos() as u64);
    rig.until_asleep();
    rig.at(0);
    assert_eq!(rig.ran.1.recv_timeout(GUARD), Ok(0));
    rig.end();
}

#[test]
fn a_cancelled_job_comes_back_and_does_not_run() {
    let rig = Rig::new(2);
    let (kept, cancelled) = (rig.at(20), rig.at(10));
    let job = rig.timer.cancel(cancelled).expect("it has not begun");
    assert!(rig.timer.cancel(cancelled).is_none(), "it has come back already");
    rig.at(30);
    rig.timer.schedule(40, rig.job(40)).expect_err("the place of one cancelled job is one place");
    rig.manual.advance(Duration::from_nanos(25));
    assert_eq!(rig.ran.1.recv_timeout(GUARD), Ok(20));
    assert!(rig.timer.cancel(kept).is_none(), "it has run");
    job(&rig.owner);
    assert_eq!(rig.seen(), [10]);
    rig.end();
}

#[test]
fn a_full_timer_hands_the_job_back() {
    let rig = Rig::new(2);
    let key = rig.at(10);
    rig.at(20);
    let refused = rig.timer.schedule(5, rig.job(5)).unwrap_err();
    assert!(matches!(refused, ScheduleError::Full(_)));
    refused.into_job()(&rig.owner);
    assert_eq!((rig.seen(), rig.timer.pending()), (vec![5], 2));
    assert!(!rig.timer.every(DAY, |_| ()), "nor is there room for what is done again and again");
    drop(rig.timer.cancel(key).unwrap());
    rig.at(30);
    rig.end();
}

#[test]
fn a_day_that_passes_at_once_runs_ten_thousand_jobs_in_order() {
    let rig = Rig::new(CAPACITY);
    // Every moment once, far from in order: 7919 has no divisor in common with the number of jobs.
    let step = DAY.as_nanos() as u64 / 10_000;
    for n in 0..10_000_u64 {
        rig.at(2 + (n * 7_919 % 10_000) * step);
    }
    rig.timer.schedule(u64::MAX, rig.job(0)).unwrap();
    rig.advance(DAY);
    let seen = rig.seen();
    assert!(seen.len() == 10_000 && seen.is_sorted(), "{} ran", seen.len());
    rig.end();
}

#[test]
fn a_job_that_panics_is_counted_and_the_next_one_runs() {
    let rig = Rig::new(16);
    rig.timer.schedule(10, Box::new(|_| panic!("a job"))).unwrap();
    rig.at(20);
    rig.timer.schedule(u64::MAX, rig.job(0)).unwrap();
    rig.advance(DAY);
    assert_eq!((rig.seen(), rig.timer.panics()), (vec![20], 1));
    rig.end();
}

#[test]
fn a_closed_timer_hands_back_what_has_not_run_and_takes_nothing_more() {
    let rig = Rig::new(16);
    assert!(rig.timer.every(DAY, |_| ()));
    for moment in [30, 10, 20] {
        rig.at(moment);
    }
    let left = rig.timer.close();
    rig.manual.advance(DAY * 2);
    rig.thread.join().unwrap();
    assert_eq!((left.len(), rig.timer.pending()), (3, 0));
    left.into_iter().for_each(|job| job(&rig.owner));
    assert_eq!(rig.ran.1.try_iter().collect::<Vec<_>>(), [10, 20, 30], "by moment, and only by us");
    let refused = rig.timer.schedule(0, Box::new(|_| ())).unwrap_err();
    assert!(matches!(refused, ScheduleError::Closed(_)));
    assert!(!rig.timer.every(DAY, |_| ()) && rig.timer.close().is_empty());
}

#[test]
fn what_is_done_every_second_is_done_on_the_second_and_once_for_all_that_were_missed() {
    let rig = Rig::new(16);
    let (second, (ran, clock)) = (Duration::from_secs(1), (rig.ran.0.clone(), rig.manual.clone()));
    let beat = move |_: &Arc<u32>| {
        ran.send(clock.now().as_millis() as u64).unwrap();
        panic!("every time");
    };
    assert!(rig.timer.every(second, beat));
    for millis in [1_000, 500, 499, 1, 3_600_700, 300, 1_000] {
        rig.advance(Duration::from_millis(millis));
    }
    assert_eq!(rig.seen(), [1_000, 2_000, 3_602_700, 3_603_000, 3_604_000]);
    assert_eq!((rig.timer.panics(), rig.timer.pending()), (5, 1));
    rig.end();
}

#[test]
fn the_thread_does_not_keep_the_owner_alive_and_ends_when_it_has_gone() {
    let rig = Rig::new(16);
    rig.at(10);
    rig.at(20);
    rig.advance(Duration::from_nanos(10));
    assert_eq!((rig.seen(), Arc::strong_count(&rig.owner)), (vec![10], 1));
    drop(rig.owner);
    rig.manual.advance(DAY);
    rig.thread.join().unwrap();
    assert!(rig.timer.ended.is_open() && rig.timer.pending() == 0);
    assert_eq!(rig.ran.1.try_iter().count(), 0, "there was nobody to run it for");
}

#[test]
fn the_machines_clock_wakes_the_thread_and_not_early() {
    let (clock, owner) = (Clock::machine(), Arc::new(()));
    let timer = Arc::new(Timer::new(clock.clone(), 16));
    let thread = start(&timer, &owner);
    let (sender, ran) = mpsc::channel();
    let moments = [5, 1, 3].map(|millis| clock.after(Duration::from_millis(millis)));
    for at in moments {
        let (sender, clock) = (sender.clone(), clock.clone());
        timer.schedule(at, Box::new(move |_| sender.send((at, clock.now())).unwrap())).unwrap();
    }
    for at in [moments[1], moments[2], moments[0]] {
        let (due, now) = ran.recv_timeout(GUARD).unwrap();
        assert!(due == at && now >= at, "{now} for {at}, and {due} came");
    }
    timer.close();
    thread.join().unwrap();
}

#[test]
fn the_timer_of_a_bus_works_on_its_clock_emits_and_ends_with_it() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (sender, seen) = mpsc::channel();
    bus.subscribe("t", move |event| sender.send(*event.payload_as::<u32>().unwrap()).unwrap()).unwrap();
    let (timer, weak) = (Arc::clone(&bus.engine().timer), bus.downgrade());
    let emit = move |_: &Arc<_>| {
        assert_eq!(thread::current().name(), Some("nervebus-timer"));
        weak.upgrade().unwrap().emit("t", 7_u32).unwrap();
    };
    timer.schedule(bus.engine().clock.after(DAY), Box::new(emit)).unwrap();
    clock.advance(DAY);
    assert_eq!(seen.recv_timeout(GUARD), Ok(7));
    timer.schedule(u64::MAX, Box::new(|_| ())).unwrap();
    assert!(bus.shutdown(GUARD).drained);
    assert!(timer.ended.is_open() && timer.pending() == 0);
    drop(bus);
    // The thread has said that it ends; what it holds goes with its last lines.
    while Arc::strong_count(&timer) > 1 {
        thread::yield_now();
    }
}

#[test]
fn a_job_that_shuts_its_bus_down_does_not_wait_for_itself() {
    let bus = Bus::builder().build().unwrap();
    let (timer, (sender, done)) = (Arc::clone(&bus.engine().timer), mpsc::channel());
    let closing = bus.clone();
    timer.schedule(0, Box::new(move |_| sender.send(closing.shutdown(DAY).drained).unwrap())).unwrap();
    done.recv_timeout(GUARD).expect("the job waits for the thread that it runs on");
    let end = bus.engine().clock.after(GUARD);
    assert!(timer.ended.wait_until(&bus.engine().clock, end));
}
