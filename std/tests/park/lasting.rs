//! Across restarts and shutdowns.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, mpsc};

use nervebus::{Builder, Bus, DeadLetterLog, Event, ManualClock, Reason};

use super::until::GUARD;
use super::{HOUR, Picky, SECOND, emit, end, held, keeping, letters, retry, settled};

/// A file of the test's own, removed at its end.
struct Log(PathBuf);

impl Log {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nervebus-parked-{}-{test}.jsonl", std::process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn builder(&self) -> Builder {
        Bus::builder().dead_letter_log(DeadLetterLog::at(&self.0 as &Path))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn what_is_parked_is_parked_after_a_restart_and_holds_up_new_events_of_its_key() {
    let (log, picky) = (Log::new("restart"), Picky::failing([1]));
    let bus = keeping(log.builder(), &picky);
    emit(&bus, "a", 1..=3);
    settled(&bus, 0);
    end(&bus);
    drop(bus);

    picky.fail([]);
    let bus = keeping(log.builder(), &picky);
    assert_eq!(held(&bus), (1, 0, 3));
    emit(&bus, "a", [4]);
    emit(&bus, "b", [10]);
    settled(&bus, 0);
    assert_eq!(picky.done(), [10]);
    assert!(bus.dead_letters().retry(2).is_err());
    bus.dead_letters().retry(1).unwrap();
    settled(&bus, 0);
    assert_eq!((picky.done(), held(&bus)), (vec![10, 1, 2, 3, 4], (0, 0, 0)));
    end(&bus);
    drop(bus);

    let bus = keeping(log.builder(), &picky);
    assert_eq!((bus.dead_letters().len(), held(&bus)), (0, (0, 0, 0)));
}

#[test]
fn what_two_handlers_of_one_name_have_left_can_all_be_retried() {
    let (log, [one, other]) = (Log::new("names"), [1, 2].map(|bad| Picky::failing([bad])));
    let bus = keeping(log.builder(), &one);
    bus.on("order.*").name("book").keep_order_per_key().handle(other.handler()).unwrap();
    emit(&bus, "a", 1..=3);
    settled(&bus, 0);
    assert_eq!((one.done(), other.done()), (vec![], vec![1]), "each holds up its own");
    end(&bus);
    drop(bus);

    one.fail([]);
    let bus = keeping(log.builder(), &one);
    assert_eq!(held(&bus), (1, 0, 5));
    assert_eq!(bus.dead_letters().retry_all(9, 9).letters.len(), 1);
    settled(&bus, 0);
    let mut done = one.done();
    done.sort_unstable();
    assert_eq!((done, bus.dead_letters().len()), (vec![1, 2, 2, 3, 3], 0));
}

#[test]
fn a_shutdown_lets_no_further_letter_go_back() {
    let (picky, (begin, begun), (go, gone)) = (Picky::failing([1]), mpsc::channel(), mpsc::channel::<()>());
    let (gone, handle) = (Mutex::new(gone), picky.handler());
    let bus = Bus::builder().build().unwrap();
    let hold = move |event: &Event<'_>| {
        if event.attempt() == 2 {
            let _ = begin.send(());
            let _ = gone.lock().unwrap().recv();
        }
        handle(event)
    };
    bus.on("order.*").keep_order_per_key().handle(hold).unwrap();
    emit(&bus, "a", [1, 2]);
    settled(&bus, 0);
    picky.fail([]);
    bus.dead_letters().retry(1).unwrap();
    begun.recv_timeout(GUARD).unwrap();
    assert!(!bus.shutdown(SECOND / 1_000).drained);
    go.send(()).unwrap();
    settled(&bus, 0);
    assert_eq!((picky.done(), letters(&bus)), (vec![1], vec![(2, Reason::Parked)]));
}

#[test]
fn a_handler_that_is_subscribed_again_finds_what_it_left() {
    let picky = Picky::failing([1]);
    let bus = keeping(Bus::builder(), &picky);
    emit(&bus, "a", [1, 2]);
    settled(&bus, 0);
    let id = nervebus::SubscriptionId::new(bus.stats().subscriptions[0].id);
    bus.unsubscribe(id);
    bus.on("order.*").name("another").keep_order_per_key().handle(|_| ()).unwrap();
    assert_eq!(held(&bus), (0, 0, 0), "under its name only");
    picky.fail([]);
    bus.on("order.*").name("book").keep_order_per_key().handle(picky.handler()).unwrap();
    emit(&bus, "a", [3]);
    settled(&bus, 0);
    assert!(picky.done().is_empty());
    bus.dead_letters().retry(1).unwrap();
    settled(&bus, 0);
    assert_eq!(picky.done(), [1, 2, 3]);
}

#[test]
fn a_shutdown_leaves_what_waits_in_order_for_the_next_run() {
    let (log, clock, picky) = (Log::new("shutdown"), ManualClock::new(), Picky::failing([1]));
    let subscribe = |bus: &Bus| {
        let policy = retry(24 * HOUR).attempts(2);
        bus.on("order.*").name("book").keep_order_per_key().retry(policy).handle(picky.handler()).unwrap();
    };
    let bus = log.builder().clock(&clock).build().unwrap();
    subscribe(&bus);
    emit(&bus, "a", 1..=3);
    settled(&bus, 3);
    let report = bus.shutdown(SECOND);
    assert_eq!((report.drained, report.left), (false, 3));
    assert!(report.ledger.balanced(), "{}", report.ledger);
    assert_eq!((report.ledger.deliveries().dropped, report.ledger.deliveries().pending), (3, 0));
    assert_eq!(letters(&bus), [1, 2, 3].map(|n| (n, Reason::Shutdown)));
    drop(bus);

    picky.fail([]);
    let bus = log.builder().build().unwrap();
    subscribe(&bus);
    emit(&bus, "a", [4]);
    settled(&bus, 0);
    assert_eq!((picky.done(), held(&bus)), (vec![], (1, 0, 4)));
    assert_eq!(bus.dead_letters().retry_all(9, 9).letters, [1]);
    settled(&bus, 0);
    assert_eq!(picky.done(), [1, 2, 3, 4]);
    end(&bus);
}
