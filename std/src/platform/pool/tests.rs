use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use super::*;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// Tells of each turn on which thread it was, and then does what it is told.
struct Told {
    turns: Mutex<Sender<String>>,
    what: Mutex<Receiver<After>>,
}

impl Turns for Told {
    fn turn(&self, _: &Arc<Job>) -> After {
        let _ = self.turns.lock().unwrap().send(thread::current().name().unwrap_or_default().to_owned());
        self.what.lock().unwrap().recv().unwrap_or(After::Ended)
    }
}

/// A job that has each turn told here, and does there what it is told.
fn told(crew: &Crew) -> (Arc<Job>, Receiver<String>, Sender<After>) {
    let ((turn, turns), (tell, what)) = (mpsc::channel(), mpsc::channel());
    (Job::new(crew, Told { turns: Mutex::new(turn), what: Mutex::new(what) }), turns, tell)
}

fn next(turns: &Receiver<String>) -> String {
    turns.recv_timeout(GUARD).unwrap()
}

#[test]
fn a_job_has_a_turn_for_what_was_asked_before_it_began_and_one_more_for_what_was_asked_since() {
    let crew = Crew::start(2).unwrap();
    let (job, turns, tell) = told(&crew);
    job.ask();
    next(&turns);
    (0..3).for_each(|_| job.ask());
    assert!(turns.try_recv().is_err(), "one turn at a time");
    tell.send(After::Rests).unwrap();
    next(&turns);
    tell.send(After::GoesOn).unwrap();
    next(&turns);
    tell.send(After::Ended).unwrap();
    job.ask();
    let (other, others, _tell) = told(&crew);
    other.ask();
    next(&others);
    assert!(turns.try_recv().is_err(), "an ended job has no turn");
}

#[test]
fn two_threads_have_two_turns_at_once_and_a_third_job_waits_for_one_of_them() {
    let crew = Crew::start(2).unwrap();
    let [first, second, third] = [(); 3].map(|()| told(&crew));
    first.0.ask();
    second.0.ask();
    assert_ne!(next(&first.1), next(&second.1));
    third.0.ask();
    assert!(third.1.try_recv().is_err());
    second.2.send(After::Rests).unwrap();
    next(&third.1);
}

#[test]
fn a_thread_that_was_ousted_ends_and_the_one_in_its_place_goes_on() {
    let crew = Crew::start(1).unwrap();
    let (stuck, stuck_turns, tell) = told(&crew);
    stuck.ask();
    assert_eq!(next(&stuck_turns), "nervebus-pool-1");
    crew.gives_up();
    crew.fill_up().unwrap();
    crew.comes_back();
    tell.send(After::Ousted).unwrap();
    let (other, turns, tell) = told(&crew);
    for _ in 0..3 {
        other.ask();
        assert_eq!(next(&turns), "nervebus-pool-2");
        tell.send(After::Rests).unwrap();
    }
}

#[test]
fn the_threads_go_home_when_the_last_has_gone_who_may_have_work_for_them() {
    let crew = Crew::start(2).unwrap();
    let shared = Arc::downgrade(&crew.shared);
    let (job, turns, tell) = told(&crew);
    job.ask();
    drop((job, crew));
    next(&turns);
    tell.send(After::Ended).unwrap();
    while shared.strong_count() > 0 {
        thread::yield_now();
    }
}

#[test]
fn no_wish_is_lost_among_many_jobs_that_many_threads_ask_for() {
    const ASKS: usize = 2_000;
    struct Count(Arc<[AtomicUsize; 2]>);
    impl Turns for Count {
        fn turn(&self, _: &Arc<Job>) -> After {
            // All that was asked for by now.
            self.0[1].store(self.0[0].load(Ordering::Relaxed), Ordering::Relaxed);
            After::Rests
        }
    }
    let crew = Crew::start(3).unwrap();
    let counts: Vec<Arc<[AtomicUsize; 2]>> = (0..8).map(|_| Arc::default()).collect();
    let jobs: Vec<_> = counts.iter().map(|count| Job::new(&crew, Count(Arc::clone(count)))).collect();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for turn in 0..ASKS {
                    let which = turn % jobs.len();
                    counts[which][0].fetch_add(1, Ordering::Relaxed);
                    jobs[which].ask();
                }
            });
        }
    });
    let each = 3 * ASKS / jobs.len();
    for count in &counts {
        while count[1].load(Ordering::Relaxed) < each {
            thread::yield_now();
        }
    }
}
