//! The breaker: opens when its rules say so, tries one call at a time, and listens to no call of another time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use nervebus_core::breaker::{Breaker, Open, Permit, Rules, RulesError, State, Transition, Trip};

const RESET: u64 = 1_000;

fn consecutive(failures: u32) -> Breaker {
    Breaker::new(Rules { trip: Trip::Consecutive(failures), reset_after: RESET }).unwrap()
}

fn rate(percent: u8, window: u64, min_calls: u32) -> Breaker {
    Breaker::new(Rules { trip: Trip::Rate { percent, window, min_calls }, reset_after: RESET }).unwrap()
}

/// A call at `now` that is let through and ends at once.
fn call(breaker: &Breaker, success: bool, now: u64) -> Option<Transition> {
    let permit = breaker.admit(now).expect("it lets this call through");
    breaker.record(permit, success, now)
}

#[test]
fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
    let breaker = consecutive(3);
    for success in [false, false, true, false, false] {
        assert_eq!(call(&breaker, success, 5), None);
    }
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(call(&breaker, false, 5), Some(Transition::Opened));
    assert_eq!((breaker.state(), breaker.opened()), (State::Open, 1));
    assert_eq!(breaker.admit(5), Err(Open { until: 5 + RESET }));
    assert_eq!(breaker.admit(4 + RESET), Err(Open { until: 5 + RESET }));
}

#[test]
fn a_probe_that_succeeds_closes_it_and_one_that_fails_opens_it_again() {
    let breaker = consecutive(1);
    assert_eq!(call(&breaker, false, 0), Some(Transition::Opened));
    let probe = breaker.admit(RESET).unwrap();
    assert_eq!((probe.is_probe(), probe.transition()), (true, Some(Transition::HalfOpened)));
    assert_eq!((breaker.state(), breaker.admit(RESET)), (State::HalfOpen, Err(Open { until: 2 * RESET })));
    assert_eq!(breaker.record(probe, false, RESET + 7), Some(Transition::Opened));
    assert_eq!(breaker.admit(2 * RESET), Err(Open { until: 2 * RESET + 7 }));
    assert_eq!(call(&breaker, true, 2 * RESET + 7), Some(Transition::Closed));
    assert_eq!((breaker.state(), breaker.opened()), (State::Closed, 2));
    assert!(!breaker.admit(2 * RESET + 7).unwrap().is_probe());
}

#[test]
fn calls_of_an_earlier_generation_change_nothing() {
    let breaker = consecutive(2);
    let mut late: Vec<Permit> = (0..4).map(|_| breaker.admit(0).unwrap()).collect();
    assert_eq!(call(&breaker, false, 0), None);
    assert_eq!(call(&breaker, false, 0), Some(Transition::Opened));
    assert_eq!(breaker.record(late.pop().unwrap(), true, 1), None);
    assert_eq!((breaker.record(late.pop().unwrap(), false, 1), breaker.opened()), (None, 1));
    let probe = breaker.admit(RESET).unwrap();
    assert_eq!((breaker.record(late.pop().unwrap(), true, RESET), breaker.state()), (None, State::HalfOpen));
    breaker.record(probe, true, RESET);
    assert_eq!(call(&breaker, false, RESET), None);
    assert_eq!((breaker.record(late.pop().unwrap(), false, RESET), breaker.state()), (None, State::Closed));
}

#[test]
fn a_cancelled_probe_makes_room_for_the_next_at_once() {
    let breaker = consecutive(1);
    call(&breaker, false, 0);
    let probe = breaker.admit(RESET).unwrap();
    breaker.cancel(probe);
    assert_eq!(breaker.state(), State::HalfOpen);
    let next = breaker.admit(RESET).unwrap();
    assert_eq!((next.is_probe(), next.transition()), (true, None));
    assert_eq!(breaker.admit(RESET), Err(Open { until: 2 * RESET }));
    assert_eq!(breaker.record(next, true, RESET), Some(Transition::Closed));
}

#[test]
fn a_cancelled_call_counts_neither_way() {
    let breaker = consecutive(2);
    assert_eq!(call(&breaker, false, 0), None);
    breaker.cancel(breaker.admit(0).unwrap());
    assert_eq!(call(&breaker, false, 0), Some(Transition::Opened));
}

#[test]
fn a_probe_that_is_lost_is_replaced_and_its_late_word_ignored() {
    let breaker = consecutive(1);
    call(&breaker, false, 0);
    let lost = breaker.admit(RESET).unwrap();
    assert!(breaker.admit(2 * RESET - 1).is_err());
    let second = breaker.admit(2 * RESET).unwrap();
    assert_eq!((second.is_probe(), second.transition()), (true, None));
    assert_eq!((breaker.record(lost, true, 2 * RESET), breaker.state()), (None, State::HalfOpen));
    assert_eq!(breaker.record(second, false, 2 * RESET), Some(Transition::Opened));
}

#[test]
fn a_late_cancel_does_not_free_the_place_of_another_probe() {
    let breaker = consecutive(1);
    call(&breaker, false, 0);
    let lost = breaker.admit(RESET).unwrap();
    let second = breaker.admit(2 * RESET).unwrap();
    breaker.cancel(lost);
    assert!(breaker.admit(2 * RESET).is_err());
    assert_eq!(breaker.record(second, true, 2 * RESET), Some(Transition::Closed));
}

#[test]
fn a_reset_closes_it_and_forgets() {
    let breaker = consecutive(2);
    call(&breaker, false, 0);
    let before = breaker.admit(0).unwrap();
    assert_eq!(breaker.reset(), None);
    assert_eq!((breaker.record(before, false, 0), call(&breaker, false, 0)), (None, None));
    assert_eq!(call(&breaker, false, 0), Some(Transition::Opened));
    assert_eq!((breaker.reset(), breaker.state()), (Some(Transition::Closed), State::Closed));
    call(&breaker, false, 0);
    call(&breaker, false, 0);
    let probe = breaker.admit(RESET).unwrap();
    assert_eq!(breaker.reset(), Some(Transition::Closed));
    assert_eq!((breaker.record(probe, false, RESET), breaker.state()), (None, State::Closed));
}

#[test]
fn a_share_of_the_calls_opens_it_once_there_are_enough() {
    let breaker = rate(50, 800, 10);
    for n in 0..9 {
        assert_eq!(call(&breaker, n % 2 == 0, n), None, "{n}");
    }
    assert_eq!(call(&breaker, true, 9), None, "it is looked at after failures only");
    assert_eq!(call(&breaker, false, 9), None, "five of eleven");
    assert_eq!(call(&breaker, false, 9), Some(Transition::Opened));
    let until = 9 + RESET;
    assert_eq!(call(&breaker, true, until), Some(Transition::Closed));
    for _ in 0..9 {
        assert_eq!(call(&breaker, false, until), None, "what came before it opened is forgotten");
    }
    assert_eq!(call(&breaker, false, until), Some(Transition::Opened));
}

#[test]
fn calls_leave_the_window_after_it_and_not_before_seven_eighths_of_it() {
    for (gap, opens) in [(0, true), (700, true), (799, true), (800, false), (6_400, false), (1_000_000, false)] {
        let breaker = rate(100, 800, 4);
        (0..3).for_each(|_| assert_eq!(call(&breaker, false, 0), None));
        assert_eq!(call(&breaker, false, gap).is_some(), opens, "after {gap}");
    }
    let breaker = rate(100, 800, 4);
    (0..3).for_each(|_| assert_eq!(call(&breaker, false, 99), None));
    assert_eq!(call(&breaker, false, 799), Some(Transition::Opened), "700 after the three");
}

#[test]
fn more_calls_than_a_bucket_counts_keep_their_ratio() {
    let breaker = rate(30, u64::MAX, 10_000);
    for n in 0..200_000 {
        assert_eq!(call(&breaker, n % 4 != 0, 0), None, "a quarter fails: {n}");
    }
    let more = (0..).position(|_| call(&breaker, false, 0).is_some()).unwrap();
    // A third of what a bucket remembers, 16,383 to 32,767 calls, has to fail beyond the quarter: some 7% of it.
    assert!((1_000..2_600).contains(&more), "{more}");
}

#[test]
fn a_clock_that_goes_backwards_counts_as_no_time_passed() {
    let breaker = consecutive(1);
    call(&breaker, false, 500);
    assert_eq!(breaker.admit(0), Err(Open { until: 500 + RESET }));
    let probe = breaker.admit(500 + RESET).unwrap();
    assert_eq!(breaker.record(probe, false, 3), Some(Transition::Opened));
    assert_eq!(
        breaker.admit(4).map(drop),
        Err(Open { until: 500 + 2 * RESET }),
        "the wait is that from the latest reading"
    );
    assert_eq!(call(&breaker, true, 500 + 2 * RESET), Some(Transition::Closed));

    let breaker = rate(100, 800, 4);
    for now in [10_000, 9_000, 0] {
        assert_eq!(call(&breaker, false, now), None);
    }
    assert_eq!(call(&breaker, false, 10_000), Some(Transition::Opened));
}

#[test]
fn the_ends_of_time_are_times_like_others() {
    let breaker = consecutive(1);
    assert_eq!(call(&breaker, false, u64::MAX - 1), Some(Transition::Opened));
    assert_eq!(breaker.admit(u64::MAX - 1), Err(Open { until: u64::MAX }));
    assert_eq!(call(&breaker, true, u64::MAX), Some(Transition::Closed));
    for window in [1, 8, u64::MAX] {
        let breaker = rate(100, window, 2);
        assert_eq!(call(&breaker, false, u64::MAX), None);
        assert_eq!(call(&breaker, false, u64::MAX), Some(Transition::Opened));
    }
}

#[test]
fn rules_out_of_range_are_refused_by_name() {
    let refused = |trip, reset_after| Breaker::new(Rules { trip, reset_after }).map(drop);
    let error = |field, value, max| Err(RulesError { field, value, min: 1, max });
    assert_eq!(refused(Trip::Consecutive(0), 1), error("consecutive", 0, (1 << 30) - 1));
    assert_eq!(refused(Trip::Consecutive(1 << 30), 1), error("consecutive", 1 << 30, (1 << 30) - 1));
    assert_eq!(refused(Trip::Consecutive(1), 0), error("reset_after", 0, u64::MAX));
    let share = |percent, window, min_calls| Trip::Rate { percent, window, min_calls };
    assert_eq!(refused(share(0, 1, 1), 1), error("percent", 0, 100));
    assert_eq!(refused(share(101, 1, 1), 1), error("percent", 101, 100));
    assert_eq!(refused(share(1, 0, 1), 1), error("window", 0, u64::MAX));
    assert_eq!(refused(share(1, 1, 0), 1), error("min_calls", 0, 16_383));
    assert_eq!(refused(share(1, 1, 16_384), 1), error("min_calls", 16_384, 16_383));
    assert_eq!((refused(share(100, 1, 16_383), 1), Rules::default().check()), (Ok(()), Ok(())));
}

/// The same machine, one step at a time and with everything remembered.
struct Reference {
    rules: Rules,
    state: State,
    /// How often anything began anew; permits remember it.
    generation: u64,
    until: u64,
    probing: bool,
    in_a_row: u32,
    /// Every outcome with the eighth of a window in which it came, counted from the beginning.
    outcomes: Vec<(u64, bool)>,
    latest: u64,
    opened: u64,
}

/// What a reference gives for a permit: of which generation, and whether it is a probe.
type Ticket = (u64, bool);

impl Reference {
    fn new(rules: Rules) -> Self {
        let (state, outcomes) = (State::Closed, Vec::new());
        Self { rules, state, generation: 0, until: 0, probing: false, in_a_row: 0, outcomes, latest: 0, opened: 0 }
    }

    fn begin(&mut self, state: State) {
        self.generation += 1;
        (self.state, self.probing, self.in_a_row) = (state, state == State::HalfOpen, 0);
        self.outcomes.clear();
    }

    fn wait_from(&mut self, now: u64) {
        self.until = self.until.max(now + self.rules.reset_after);
    }

    fn admit(&mut self, now: u64) -> Result<(Ticket, Option<Transition>), Open> {
        let before = self.state;
        if before == State::Closed {
            return Ok(((self.generation, false), None));
        }
        if now < self.until && (before == State::Open || self.probing) {
            return Err(Open { until: self.until });
        }
        self.begin(State::HalfOpen);
        self.wait_from(now);
        Ok(((self.generation, true), (before == State::Open).then_some(Transition::HalfOpened)))
    }

    fn open(&mut self, now: u64) -> Option<Transition> {
        self.begin(State::Open);
        self.wait_from(now);
        self.opened += 1;
        Some(Transition::Opened)
    }

    fn record(&mut self, (generation, probe): Ticket, success: bool, now: u64) -> Option<Transition> {
        if let (false, Trip::Rate { window, .. }) = (probe, self.rules.trip) {
            self.latest = self.latest.max(now / window.div_ceil(8));
        }
        if generation != self.generation {
            return None;
        }
        match (probe, success, self.rules.trip) {
            (true, true, _) => {
                self.begin(State::Closed);
                Some(Transition::Closed)
            }
            (true, false, _) => self.open(now),
            (false, true, Trip::Consecutive(_)) => {
                self.in_a_row = 0;
                None
            }
            (false, false, Trip::Consecutive(limit)) => {
                self.in_a_row += 1;
                if self.in_a_row == limit { self.open(now) } else { None }
            }
            (false, _, Trip::Rate { percent, min_calls, .. }) => {
                let (calls, failures) = self.count(success);
                let trips = calls >= u64::from(min_calls) && failures * 100 >= u64::from(percent) * calls;
                if trips && !success { self.open(now) } else { None }
            }
        }
    }

    /// Counts an outcome, and adds up those of the last eight eighths.
    fn count(&mut self, success: bool) -> (u64, u64) {
        self.outcomes.push((self.latest, success));
        let recent = self.outcomes.iter().filter(|(slot, _)| self.latest - slot < 8);
        recent.fold((0, 0), |(calls, failures), (_, success)| (calls + 1, failures + u64::from(!success)))
    }

    fn cancel(&mut self, (generation, probe): Ticket) {
        if probe && generation == self.generation {
            self.probing = false;
        }
    }

    fn reset(&mut self) -> Option<Transition> {
        let before = self.state;
        self.begin(State::Closed);
        (before != State::Closed).then_some(Transition::Closed)
    }
}

/// Numbers that look random and are the same in each run (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What a walk through the states came across.
#[derive(Default)]
struct Seen {
    changes: usize,
    stale: usize,
}

/// Takes both machines through the same steps and compares all they say.
fn walk(rules: Rules, seed: u64, steps: usize) -> Seen {
    let (breaker, mut reference) = (Breaker::new(rules).unwrap(), Reference::new(rules));
    let (mut numbers, mut seen) = (Numbers(seed), Seen::default());
    let (mut now, mut under_way, mut failing) = (1_000_000, Vec::<(Permit, Ticket)>::new(), false);
    for step in 0..steps {
        now += numbers.below(rules.reset_after / 4);
        if numbers.one_in(200) {
            now -= numbers.below(2 * rules.reset_after).min(now);
        }
        failing ^= numbers.one_in(50);
        let taken = numbers.below(under_way.len().max(1) as u64) as usize;
        match numbers.below(100) {
            0 => assert_eq!(breaker.reset(), reference.reset(), "step {step}"),
            1..50 if under_way.len() < 16 => match (breaker.admit(now), reference.admit(now)) {
                (Ok(permit), Ok((ticket, change))) => {
                    assert_eq!((permit.is_probe(), permit.transition()), (ticket.1, change), "step {step}");
                    seen.changes += usize::from(change.is_some());
                    under_way.push((permit, ticket));
                }
                (Err(one), Err(other)) => assert_eq!(one, other, "step {step}"),
                (one, other) => panic!("step {step}: {one:?} and {other:?}"),
            },
            _ if under_way.is_empty() => {}
            50..55 => {
                let (permit, ticket) = under_way.swap_remove(taken);
                breaker.cancel(permit);
                reference.cancel(ticket);
            }
            55..57 => drop(under_way.swap_remove(taken)),
            _ => {
                let (permit, ticket) = under_way.swap_remove(taken);
                seen.stale += usize::from(ticket.0 != reference.generation);
                let success = numbers.below(10) >= if failing { 8 } else { 1 };
                let change = reference.record(ticket, success, now);
                assert_eq!(breaker.record(permit, success, now), change, "step {step}");
                seen.changes += usize::from(change.is_some());
            }
        }
        assert_eq!((breaker.state(), breaker.opened()), (reference.state, reference.opened), "step {step}");
    }
    seen
}

#[test]
fn a_million_steps_go_as_in_a_machine_that_remembers_everything() {
    let trips = [
        Trip::Consecutive(1),
        Trip::Consecutive(4),
        Trip::Rate { percent: 50, window: 4_000, min_calls: 10 },
        Trip::Rate { percent: 20, window: 100, min_calls: 1 },
        Trip::Rate { percent: 90, window: 50_000, min_calls: 20 },
    ];
    for (seed, trip) in trips.into_iter().enumerate() {
        let seen = walk(Rules { trip, reset_after: RESET }, 0x9E37_79B9 + seed as u64, 200_000);
        assert!(seen.changes > 100 && seen.stale > 1_000, "{trip:?}: {} and {}", seen.changes, seen.stale);
    }
}

#[test]
fn what_always_fails_is_tried_once_in_every_reset_after() {
    let breaker = consecutive(1);
    let (mut tried, mut changes) = (0, 0);
    for now in (0..100 * RESET).step_by(10) {
        if let Ok(permit) = breaker.admit(now) {
            tried += 1;
            changes += usize::from(permit.transition().is_some());
            changes += usize::from(breaker.record(permit, false, now).is_some());
        }
    }
    assert_eq!((tried, changes, breaker.opened()), (100, 199, 100));
}

#[test]
fn under_threads_each_change_is_told_once_and_one_probe_is_out() {
    const STEPS: u64 = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
    let breaker = Arc::new(consecutive(2));
    let (start, probes) = (Arc::new(Barrier::new(4)), Arc::new(AtomicUsize::new(0)));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (breaker, start, probes) = (Arc::clone(&breaker), Arc::clone(&start), Arc::clone(&probes));
            thread::spawn(move || {
                start.wait();
                let (mut numbers, mut told) = (Numbers(thread + 1), [0; 3]);
                for step in 0..STEPS {
                    // Slow enough that no probe is given up: what it does takes no time.
                    let now = step / 1_000 * RESET;
                    let Ok(permit) = breaker.admit(now) else { continue };
                    let (probe, success) = (permit.is_probe(), numbers.below(3) > 0);
                    let first = permit.transition();
                    if probe {
                        probes.fetch_add(1, Ordering::Relaxed);
                    }
                    for change in first.into_iter().chain(breaker.record(permit, success, now)) {
                        told[change as usize] += 1;
                    }
                }
                told
            })
        })
        .collect();
    let told = threads.into_iter().map(|thread| thread.join().unwrap()).fold([0; 3], |mut sum, told| {
        sum.iter_mut().zip(told).for_each(|(sum, told)| *sum += told);
        sum
    });
    let [opened, half_opened, closed] = told;
    assert_eq!(opened, breaker.opened());
    assert!(half_opened > 0 && probes.load(Ordering::Relaxed) as u64 >= half_opened);
    // Each probe ends by opening or closing; each opening comes before one half-opening at most.
    assert!(closed <= half_opened && half_opened <= opened, "{told:?}");
}
