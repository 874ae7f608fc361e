//! Projections: what a read model is given, where it goes on, and what holds it up.
#![cfg(feature = "durable")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/until.rs"]
mod until;

use std::error::Error;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use folder::Folder;
use nervebus::{
    Bus, DurableLog, Event, Level, ManualClock, Projection, ProjectionError, ProjectionHandle, ReadModel, WeakBus, json,
};
use until::{GUARD, until};

type Failure = Box<dyn Error + Send + Sync>;

fn log(folder: &Folder) -> DurableLog {
    DurableLog::at(folder.path().join("log")).topics("order.*").topics("filling").buffer(1 << 20)
}

fn bus(folder: &Folder) -> Bus {
    Bus::builder().durable(log(folder)).build().unwrap()
}

fn end(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

/// The position of the last one.
fn emit(bus: &Bus, ids: std::ops::Range<u64>) -> u64 {
    let emit = |id| bus.event("order.placed", json!({"id": id})).durable(Level::Written).emit().unwrap();
    ids.map(emit).fold(None, |_, receipt| receipt.position()).unwrap()
}

fn fill(bus: &Bus) -> u64 {
    let padding = "x".repeat(1 << 20);
    let fill = |_| bus.event("filling", padding.clone()).durable(Level::Written).emit().unwrap();
    (0..3).map(fill).fold(None, |_, receipt| receipt.position()).unwrap()
}

/// A list of what has come, in memory.
#[derive(Default)]
struct List {
    ids: Vec<u64>,
    position: u64,
    /// What is refused, and how.
    refuse: Arc<Mutex<Option<u64>>>,
    panic: bool,
}

impl ReadModel for List {
    fn apply(&mut self, event: &Event<'_>, position: u64) -> Result<(), Failure> {
        let id = event["id"].as_u64().ok_or("no order")?;
        if *self.refuse.lock().unwrap() == Some(id) {
            assert!(!self.panic, "no such shelf");
            return Err("no room".into());
        }
        self.ids.push(id);
        self.position = position;
        Ok(())
    }

    fn position(&mut self) -> Result<Option<u64>, Failure> {
        Ok(Some(self.position))
    }

    fn reset(&mut self) -> Result<(), Failure> {
        (self.ids, self.position) = (Vec::new(), 0);
        Ok(())
    }
}

fn list() -> Projection<List> {
    Projection::new("list", List::default()).topics("order.*")
}

fn ids(projection: &ProjectionHandle<List>) -> Vec<u64> {
    projection.read(|list| list.ids.clone())
}

/// What outlives a process: a sum with the position that it goes to, or without.
#[derive(Default, Clone)]
struct Store(Arc<Mutex<(u64, u64)>>);

impl Store {
    fn sum(&self) -> u64 {
        self.0.lock().unwrap().0
    }
}

/// A sum in a store with transactions.
struct Sum {
    store: Store,
    open: u64,
    keeps_position: bool,
    /// How many commits are still to fail.
    failing: u32,
}

impl Sum {
    fn of(store: &Store, keeps_position: bool, failing: u32) -> Projection<Self> {
        Projection::new("sum", Self { store: store.clone(), open: 0, keeps_position, failing }).topics("order.*")
    }
}

impl ReadModel for Sum {
    fn apply(&mut self, event: &Event<'_>, _: u64) -> Result<(), Failure> {
        self.open += event["id"].as_u64().unwrap();
        Ok(())
    }

    fn commit(&mut self, position: u64) -> Result<(), Failure> {
        let open = std::mem::take(&mut self.open);
        if self.failing > 0 {
            self.failing -= 1;
            return Err("the disk is full".into());
        }
        let mut stored = self.store.0.lock().unwrap();
        *stored = (stored.0 + open, position);
        Ok(())
    }

    fn position(&mut self) -> Result<Option<u64>, Failure> {
        Ok(self.keeps_position.then_some(self.store.0.lock().unwrap().1))
    }

    fn reset(&mut self) -> Result<(), Failure> {
        *self.store.0.lock().unwrap() = (0, 0);
        Ok(())
    }
}

/// A model that emits of what it is given.
struct Loud(WeakBus);

impl ReadModel for Loud {
    fn apply(&mut self, event: &Event<'_>, _: u64) -> Result<(), Failure> {
        let bus = self.0.upgrade().ok_or("no bus")?;
        bus.emit("model.changed", event["id"].clone()).map(drop).map_err(|error| error.to_string().into())
    }

    fn reset(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

#[test]
fn what_a_model_emits_has_the_correlation_of_what_it_was_given_and_of_nothing_else() {
    let folder = Folder::of("projection-context");
    let bus = bus(&folder);
    let (sender, seen) = mpsc::channel();
    let see = move |event: &Event<'_>| sender.send(event.correlation_id().map(str::to_owned)).unwrap();
    bus.on("model.changed").inline().handle(see).unwrap();
    let loud = Projection::new("loud", Loud(bus.downgrade())).topics("order.*").start(&bus).unwrap();
    bus.event("order.placed", json!({"id": 1})).correlation_id("request 7").emit().unwrap();
    bus.event("order.placed", json!({"id": 2})).emit().unwrap();
    assert_eq!(seen.recv_timeout(GUARD).unwrap().as_deref(), Some("request 7"));
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), None);
    loud.stop();
    end(&bus);
}

#[test]
fn it_takes_in_the_events_of_its_topics_in_order_and_says_how_far_it_is() {
    let folder = Folder::of("projection-order");
    let bus = bus(&folder);
    emit(&bus, 0..300);
    bus.event("filling", json!({})).durable(Level::Written).emit().unwrap();
    let list = list().start(&bus).unwrap();
    let last = emit(&bus, 300..600);
    assert!(list.wait_for(last, GUARD));
    assert_eq!(ids(&list), (0..600).collect::<Vec<_>>());
    let status = list.status();
    assert_eq!((status.position, status.lag, status.applied, status.missed), (601, 0, 600, 0));
    assert!(status.failing.is_none() && !status.ended);
    // And one after the other, each when it is written.
    for id in 600..650 {
        assert!(list.wait_for(emit(&bus, id..id + 1), GUARD));
        assert_eq!(list.read(|list| list.ids.last().copied()), Some(id));
    }
    end(&bus);
}

#[test]
fn a_model_in_memory_is_made_anew_by_each_process() {
    let folder = Folder::of("projection-memory");
    for round in 1..=2 {
        let bus = bus(&folder);
        let list = list().start(&bus).unwrap();
        let last = emit(&bus, 0..3);
        assert!(list.wait_for(last, GUARD));
        assert_eq!(ids(&list).len(), round * 3);
        end(&bus);
    }
}

#[test]
fn without_a_position_of_its_own_it_goes_on_where_the_log_says() {
    let folder = Folder::of("projection-mark");
    let store = Store::default();
    for round in 1..=3 {
        let bus = bus(&folder);
        let sum = Sum::of(&store, false, 0).start(&bus).unwrap();
        assert!(sum.wait_for(emit(&bus, 1..5), GUARD));
        assert_eq!((store.sum(), sum.status().applied), (round * 10, 4));
        sum.stop();
        end(&bus);
    }
}

#[test]
fn with_its_position_each_event_has_its_effect_once_whatever_the_log_says() {
    let folder = Folder::of("projection-once");
    let store = Store::default();
    let first = bus(&folder);
    let clock = ManualClock::new();
    let last = emit(&first, 1..5);
    // Commits that fail take back what they were to settle.
    let sum = Sum::of(&store, true, 3).start(&first).unwrap();
    assert!(sum.wait_for(last, GUARD));
    assert_eq!((store.sum(), sum.status().failing), (10, None));
    end(&first);
    drop((first, sum));

    // A name that this log does not know, as after a kill before its mark was saved.
    let second = Bus::builder().clock(&clock).durable(log(&folder)).build().unwrap();
    let renamed = Sum { store: store.clone(), open: 0, keeps_position: true, failing: 0 };
    let sum = Projection::new("renamed", renamed).topics("order.*").start(&second).unwrap();
    assert!(sum.wait_for(emit(&second, 5..6), GUARD));
    assert_eq!((store.sum(), sum.status().applied), (15, 1));
    end(&second);
}

#[test]
fn an_event_that_fails_holds_up_those_behind_it_until_it_succeeds() {
    for panic in [false, true] {
        let folder = Folder::of("projection-failing");
        let clock = ManualClock::new();
        let bus = Bus::builder().clock(&clock).durable(log(&folder)).build().unwrap();
        let refuse = Arc::new(Mutex::new(Some(2)));
        let model = List { refuse: Arc::clone(&refuse), panic, ..List::default() };
        let list = Projection::new("list", model).topics("order.*").start(&bus).unwrap();
        let last = emit(&bus, 0..4);
        for (attempts, wait) in [(1, 10), (2, 20), (3, 40)] {
            until(|| list.status().failing.is_some_and(|failing| failing.attempts == attempts));
            assert_eq!(ids(&list), [0, 1]);
            let failing = list.status().failing.unwrap();
            let said = if panic { "no such shelf" } else { "no room" };
            assert!(failing.position == 3 && failing.error.contains(said), "{failing:?}");
            until(|| clock.waiting() > 0);
            clock.advance(Duration::from_millis(wait - 1));
            assert_eq!(list.status().failing.unwrap().attempts, attempts, "its pause is not over");
            clock.advance(Duration::from_millis(1));
        }
        *refuse.lock().unwrap() = None;
        until(|| {
            clock.advance(Duration::from_millis(80));
            list.status().lag == 0
        });
        assert!(list.wait_for(last, GUARD) && list.status().failing.is_none());
        assert_eq!(ids(&list), [0, 1, 2, 3]);
        end(&bus);
    }
}

#[test]
fn an_event_that_never_succeeds_can_be_skipped() {
    let folder = Folder::of("projection-skip");
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).durable(log(&folder)).build().unwrap();
    let model = List { refuse: Arc::new(Mutex::new(Some(1))), ..List::default() };
    let list = Projection::new("list", model).topics("order.*").start(&bus).unwrap();
    let last = emit(&bus, 0..3);
    until(|| list.status().failing.is_some());
    assert!(!list.skip(1), "that is not where it stands");
    // At once: no clock has to move for it.
    assert!(list.skip(2) && list.wait_for(last, GUARD));
    assert_eq!((ids(&list), list.status().skipped, list.status().failing), (vec![0, 2], 1, None));
    end(&bus);
}

#[test]
fn it_can_be_made_anew_from_what_the_log_has() {
    let folder = Folder::of("projection-rebuild");
    let store = Store::default();
    let bus = bus(&folder);
    let sum = Sum::of(&store, true, 0).start(&bus).unwrap();
    let last = emit(&bus, 1..5);
    assert!(sum.wait_for(last, GUARD));
    store.0.lock().unwrap().0 = 77;
    sum.rebuild();
    assert!(sum.wait_for(last, GUARD), "it means the new one");
    assert_eq!((store.sum(), sum.status().applied), (10, 4));
    end(&bus);
}

#[test]
fn the_log_keeps_for_it_what_it_has_not_passed_or_all() {
    for keep_all in [false, true] {
        let folder = Folder::of("projection-kept");
        let bus = Bus::builder().durable(log(&folder).keep_bytes(1)).build().unwrap();
        let model = List { refuse: Arc::new(Mutex::new(Some(0))), ..List::default() };
        let refuse = Arc::clone(&model.refuse);
        let list = Projection::new("list", model).topics("order.*");
        let list = if keep_all { list.keep_all() } else { list }.start(&bus).unwrap();
        emit(&bus, 0..1);
        let last = fill(&bus);
        until(|| list.status().failing.is_some());
        let first = || bus.stats().durable.unwrap().first;
        assert_eq!(first(), 1, "it stands before the first");
        *refuse.lock().unwrap() = None;
        assert!(list.wait_for(last, GUARD));
        // Made by the next line, if it is.
        fill(&bus);
        if !keep_all {
            until(|| first() > 1);
        }
        list.rebuild();
        until(|| list.status().lag == 0);
        let missed = list.status().missed;
        assert_eq!((ids(&list).len(), missed > 0), (usize::from(keep_all), !keep_all), "{missed} missed");
        end(&bus);
    }
}

#[test]
fn a_model_that_is_ahead_of_the_log_is_another_logs() {
    let folder = Folder::of("projection-ahead");
    let bus = bus(&folder);
    let store = Store(Arc::new(Mutex::new((50, 10))));
    let sum = Sum::of(&store, true, 0).start(&bus).unwrap();
    let last = emit(&bus, 1..3);
    until(|| sum.status().failing.is_some_and(|failing| failing.error.contains("another log")));
    assert_eq!(store.sum(), 50);
    sum.rebuild();
    assert!(sum.wait_for(last, GUARD));
    assert_eq!(store.sum(), 3);
    end(&bus);
}

#[test]
fn what_cannot_be_is_refused_and_a_name_is_free_again_when_it_ends() {
    let folder = Folder::of("projection-refused");
    let plain = Bus::builder().build().unwrap();
    assert!(matches!(list().start(&plain), Err(ProjectionError::NoLog)));
    let bus = bus(&folder);
    let malformed = Projection::new("list", List::default()).topics("a..b").start(&bus);
    assert!(matches!(malformed, Err(ProjectionError::InvalidPattern { .. })));
    assert!(matches!(Projection::new("", List::default()).start(&bus), Err(ProjectionError::Name { .. })));
    let first = list().start(&bus).unwrap();
    assert!(matches!(list().start(&bus), Err(ProjectionError::Name { name }) if name == "list"));
    first.stop();
    let second = list().start(&bus).unwrap();
    end(&bus);
    until(|| second.status().ended);
    assert!(!second.wait_for(1_000, GUARD), "it will not come any more");
}
