//! The outbox: what is committed is emitted in order, at least once, and what is rolled back never.
#![cfg(feature = "outbox")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/held.rs"]
mod held;
#[path = "support/until.rs"]
mod until;

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use folder::Folder;
use held::held;
use nervebus::rusqlite::Connection;
use nervebus::{
    Baggage, Bus, DedupWindow, Event, Lane, ManualClock, NameRule, Outbox, OutboxError, OutboxEvent, OutboxRelay,
    Overflow, TraceContext, json,
};
use serde::{Serialize, Serializer};
use until::{GUARD, until};

const HOUR: Duration = Duration::from_secs(3_600);

/// A database with an outbox in a folder of its own.
struct Shop {
    folder: Folder,
    connection: Connection,
}

impl Shop {
    fn new(test: &str) -> Self {
        let folder = Folder::of(&format!("outbox-{test}"));
        let shop = Self { connection: Connection::open(folder.path().join("shop")).unwrap(), folder };
        Outbox::create(&shop.connection).unwrap();
        shop.run("CREATE TABLE orders (id INTEGER)");
        shop
    }

    fn connect(&self) -> Connection {
        Connection::open(self.folder.path().join("shop")).unwrap()
    }

    fn run(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }

    /// Places orders, each in a transaction with its event.
    fn place(&mut self, ids: std::ops::Range<u64>) -> Vec<String> {
        let mut place = |id: u64| {
            let order = self.connection.transaction().unwrap();
            order.execute("INSERT INTO orders VALUES (?1)", [id.to_string()]).unwrap();
            let event = OutboxEvent::new("order.placed", &json!({"id": id})).record(&order).unwrap();
            order.commit().unwrap();
            event
        };
        ids.map(&mut place).collect()
    }

    /// Has nothing be marked as sent, as if the process ended before.
    fn forbid_marks(&self) {
        let forbid = "BEGIN SELECT RAISE(ABORT, 'no mark'); END";
        self.run(&format!("CREATE TRIGGER no_mark BEFORE UPDATE ON nervebus_outbox {forbid}"));
    }

    fn pending(&self) -> u64 {
        Outbox::pending(&self.connection).unwrap()
    }

    fn count(&self, condition: &str) -> i64 {
        let count = format!("SELECT count(*) FROM nervebus_outbox WHERE {condition}");
        self.connection.query_row(&count, (), |row| row.get(0)).unwrap()
    }

    fn start(&self, bus: &Bus) -> OutboxRelay {
        Outbox::over(self.connect()).every(Duration::from_millis(1)).start(bus).unwrap()
    }
}

/// What a handler of all orders sees: their numbers and identities.
fn seen(bus: &Bus) -> Receiver<(u64, String)> {
    let (sender, events) = mpsc::channel();
    let see = move |event: &Event<'_>| {
        let id = event.id().to_string();
        assert_eq!(event.idempotency_key(), Some(&*id));
        let _ = sender.send((event["id"].as_u64().unwrap(), id));
    };
    bus.on("order.*").inline().handle(see).unwrap();
    events
}

fn take(events: &Receiver<(u64, String)>, count: usize) -> Vec<(u64, String)> {
    (0..count).map(|_| events.recv_timeout(GUARD).expect("an event")).collect()
}

fn numbered(ids: impl IntoIterator<Item = u64>, events: &[String]) -> Vec<(u64, String)> {
    ids.into_iter().zip(events.iter().cloned()).collect()
}

#[test]
fn what_is_committed_is_emitted_in_order_and_what_is_rolled_back_never() {
    let mut shop = Shop::new("order");
    let bus = Bus::builder().build().unwrap();
    let events = seen(&bus);
    let mut recorded = shop.place(0..3);
    let relay = shop.start(&bus);
    let undone = shop.connection.transaction().unwrap();
    OutboxEvent::new("order.placed", &json!({"id": 99})).record(&undone).unwrap();
    undone.rollback().unwrap();
    recorded.extend(shop.place(3..120));
    relay.wake();
    assert_eq!(take(&events, 120), numbered(0..120, &recorded));
    until(|| shop.pending() == 0);
    let stats = relay.stop();
    assert_eq!((stats.sent, stats.refused, stats.failures, stats.ended), (120, 0, 0, true));
    assert!(events.try_recv().is_err());
}

#[test]
fn an_event_has_what_was_recorded_with_it() {
    let mut shop = Shop::new("fields");
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (sender, events) = mpsc::channel();
    let see = move |event: &Event<'_>| {
        let said = (event.source().map(str::to_owned), event.correlation_id().map(str::to_owned));
        sender.send((said, event.timestamp(), event.to_jsonl())).unwrap();
    };
    bus.on("order.*").inline().handle(see).unwrap();
    let order = shop.connection.transaction().unwrap();
    let event =
        OutboxEvent::new("order.placed", &json!({"id": 1})).key("shop-1").source("shop").correlation_id("req-7");
    let id = event.record(&order).unwrap();
    order.commit().unwrap();
    let relay = shop.start(&bus);
    let ((source, correlation), timestamp, line) = events.recv_timeout(GUARD).unwrap();
    assert_eq!((source.as_deref(), correlation.as_deref()), (Some("shop"), Some("req-7")));
    assert!(timestamp > 1.6e9, "when it was recorded, by the machine's clock: {timestamp}");
    assert!(line.contains(&id) && id.len() == 32, "{line}");
    relay.stop();
}

#[test]
fn an_event_that_is_recorded_in_a_handler_has_its_cause_trace_and_baggage_and_the_version_it_was_recorded_with() {
    let shop = Shop::new("carried");
    let bus = Bus::builder().build().unwrap();
    let (sender, events) = mpsc::channel();
    let see = move |event: &Event<'_>| {
        let (trace, baggage) = (event.trace_context().unwrap(), event.baggage().unwrap().to_string());
        let said = (trace.to_string(), trace.state().map(str::to_owned), baggage, event.schema_version());
        sender.send((event.causation_id().unwrap().to_string(), said)).unwrap();
    };
    bus.on("order.*").inline().handle(see).unwrap();
    let connection = Mutex::new(shop.connect());
    let record = move |_: &Event<'_>| {
        let mut connection = connection.lock().unwrap();
        let order = connection.transaction().unwrap();
        OutboxEvent::new("order.placed", &json!({})).schema_version(3).record(&order).unwrap();
        order.commit().unwrap();
    };
    bus.on("cart.paid").inline().handle(record).unwrap();
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let paid = |id: &str| {
        let paid = bus.event("cart.paid", json!({})).deadline(Duration::from_secs(1)).event_id(id);
        let paid = paid.trace_context(TraceContext::parse(trace).unwrap().with_state("vendor=1"));
        paid.baggage(Baggage::parse("tenant=north").unwrap()).emit().unwrap();
    };
    paid("e-1");
    let relay = shop.start(&bus);
    let said = (trace.to_owned(), Some("vendor=1".to_owned()), "tenant=north".to_owned(), Some(3));
    assert_eq!(events.recv_timeout(GUARD).unwrap(), ("e-1".to_owned(), said));

    let (sender, causes) = mpsc::channel();
    bus.on("cart.paid").inline().handle(move |event| sender.send(event.id().to_string())).unwrap();
    let plain = bus.event("cart.paid", json!({})).trace_context(TraceContext::parse(trace).unwrap());
    plain.baggage(Baggage::parse("tenant=north").unwrap()).emit().unwrap();
    assert_eq!(
        events.recv_timeout(GUARD).unwrap().0,
        causes.recv_timeout(GUARD).unwrap(),
        "an identity of the bus's own"
    );
    relay.stop();
}

#[test]
fn an_event_that_is_recorded_in_a_handler_has_the_correlation_of_what_is_handled() {
    let shop = Shop::new("lineage");
    let bus = Bus::builder().build().unwrap();
    let (sender, correlations) = mpsc::channel();
    let see = move |event: &Event<'_>| sender.send(event.correlation_id().map(str::to_owned)).unwrap();
    bus.on("order.placed").inline().handle(see).unwrap();
    let connection = std::sync::Mutex::new(shop.connect());
    let record = move |_: &Event<'_>| {
        let mut connection = connection.lock().unwrap();
        let order = connection.transaction().unwrap();
        OutboxEvent::new("order.placed", &json!({})).record(&order).unwrap();
        order.commit().unwrap();
    };
    bus.on("order.wanted").inline().handle(record).unwrap();
    bus.event("order.wanted", json!({})).correlation_id("req-9").emit().unwrap();
    let relay = shop.start(&bus);
    assert_eq!(correlations.recv_timeout(GUARD).unwrap().as_deref(), Some("req-9"));
    relay.stop();
}

#[test]
fn a_crash_between_emit_and_mark_emits_again_with_the_same_identity() {
    let mut shop = Shop::new("crash");
    shop.forbid_marks();
    let recorded = shop.place(0..3);
    let first = Bus::builder().build().unwrap();
    let events = seen(&first);
    let relay = shop.start(&first);
    assert_eq!(take(&events, 3), numbered(0..3, &recorded));
    until(|| relay.stats().failures > 1);
    assert!(relay.stats().last_error.unwrap().contains("no mark"));
    assert_eq!((relay.stop().sent, shop.pending()), (3, 3), "and in one process not twice");
    assert!(events.try_recv().is_err());

    shop.run("DROP TRIGGER no_mark");
    let second = Bus::builder().dedup(DedupWindow::new(100, HOUR)).build().unwrap();
    // The first of them was emitted on this bus already.
    second.event("order.placed", json!({"id": 0})).idempotency_key(&*recorded[0]).emit().unwrap();
    let again = seen(&second);
    let relay = shop.start(&second);
    assert_eq!(take(&again, 2), numbered(1..3, &recorded[1..]));
    until(|| shop.pending() == 0);
    let stats = relay.stop();
    assert_eq!((stats.sent, stats.duplicates), (3, 1));
}

#[test]
fn a_mark_that_has_to_wait_for_a_writer_is_made_later_and_nothing_is_emitted_twice() {
    let mut shop = Shop::new("busy");
    let recorded = shop.place(0..2);
    let bus = Bus::builder().build().unwrap();
    let events = seen(&bus);
    shop.run("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE");
    let connection = shop.connect();
    connection.busy_timeout(Duration::ZERO).unwrap();
    let relay = Outbox::over(connection).every(Duration::from_millis(1)).start(&bus).unwrap();
    until(|| relay.stats().failures > 2);
    shop.run("COMMIT");
    assert_eq!(take(&events, 2), numbered(0..2, &recorded));
    until(|| shop.pending() == 0);
    relay.stop();
    assert!(events.try_recv().is_err());
}

#[test]
fn while_the_bus_refuses_it_waits_longer_and_longer_and_keeps_the_order() {
    let mut shop = Shop::new("refused");
    let clock = ManualClock::new();
    let lane = Lane::new("narrow").capacity(1).overflow(Overflow::Reject);
    let bus = Bus::builder().clock(&clock).lane(lane).build().unwrap();
    let (hold, begun, go) = held();
    bus.on("order.*").lane("narrow").handle(hold).unwrap();
    shop.place(0..4);
    let relay = shop.start(&bus);
    assert_eq!(begun.recv_timeout(GUARD).unwrap(), 1);
    until(|| relay.stats().failures == 1);
    for (failures, wait) in [(2, 10), (3, 20), (4, 40)] {
        let (before, short) = (Duration::from_millis(wait - 1), Duration::from_millis(1));
        until(|| clock.waiting() == 1);
        clock.advance(before);
        relay.wake();
        assert_eq!(relay.stats().failures, failures - 1, "it does not hurry when it is woken");
        clock.advance(short);
        until(|| relay.stats().failures == failures);
    }
    assert!(relay.stats().last_error.unwrap().contains("narrow"));
    let mut order = Vec::new();
    drop(go);
    until(|| {
        clock.advance(Duration::from_secs(5));
        order.extend(begun.try_iter());
        order.len() == 3
    });
    assert!(order.is_sorted());
    until(|| shop.pending() == 0);
    relay.stop();
}

#[test]
fn what_is_refused_for_what_it_is_is_set_aside_and_holds_nobody_up() {
    let mut shop = Shop::new("aside");
    let bus = Bus::builder().names(NameRule::Strict).build().unwrap();
    let events = seen(&bus);
    let order = shop.connection.transaction().unwrap();
    OutboxEvent::new("Order.Placed", &json!({"id": 0})).record(&order).unwrap();
    OutboxEvent::new("order.placed", &json!({"id": 1})).record(&order).unwrap();
    order.execute("UPDATE nervebus_outbox SET payload = '{' WHERE seq = 2", ()).unwrap();
    OutboxEvent::new("order.placed", &json!({"id": 2})).record(&order).unwrap();
    order.commit().unwrap();
    let relay = shop.start(&bus);
    assert_eq!(take(&events, 1)[0].0, 2);
    until(|| shop.pending() == 0);
    let stats = relay.stop();
    assert_eq!((stats.sent, stats.refused, stats.failures), (1, 2, 0));
    assert_eq!(shop.count("refused LIKE 'topic \"Order.Placed\"%' OR refused LIKE 'the payload is no JSON%'"), 2);
}

#[test]
fn no_more_than_a_batch_is_emitted_before_it_is_marked() {
    let mut shop = Shop::new("batch");
    shop.place(0..5);
    let bus = Bus::builder().build().unwrap();
    let (looks, (sender, pending)) = (std::sync::Mutex::new(shop.connect()), mpsc::channel());
    let look = move |_: &Event<'_>| sender.send(Outbox::pending(&looks.lock().unwrap()).unwrap()).unwrap();
    bus.on("order.*").inline().handle(look).unwrap();
    let relay = Outbox::over(shop.connect()).batch(2).start(&bus).unwrap();
    let counts: Vec<u64> = (0..5).map(|_| pending.recv_timeout(GUARD).unwrap()).collect();
    assert_eq!(counts, [5, 5, 3, 3, 1]);
    relay.stop();
}

#[test]
fn rows_that_were_sent_go_when_their_time_has_passed() {
    let mut shop = Shop::new("clean");
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    shop.place(0..3);
    let relay = Outbox::over(shop.connect()).keep_sent(HOUR).start(&bus).unwrap();
    until(|| shop.count("sent_at IS NOT NULL") == 3);
    clock.advance(HOUR / 2);
    shop.place(3..4);
    relay.wake();
    until(|| shop.count("sent_at IS NOT NULL") == 4);
    assert_eq!(relay.stats().removed, 0);
    clock.advance(HOUR / 2);
    // It may be about to rest until a moment that is counted from now.
    relay.wake();
    until(|| shop.count("1") == 1);
    until(|| relay.stats().removed == 3);
    relay.stop();
}

#[test]
fn it_ends_with_its_bus_and_keeps_what_was_not_sent() {
    let mut shop = Shop::new("end");
    let bus = Bus::builder().build().unwrap();
    let relay = shop.start(&bus);
    assert!(bus.shutdown(GUARD).drained);
    until(|| relay.stats().ended);
    shop.place(0..1);
    drop(bus);
    assert_eq!((relay.stop().sent, shop.pending()), (0, 1));

    let dropped = Bus::builder().build().unwrap();
    let events = seen(&dropped);
    let relay = shop.start(&dropped);
    assert_eq!(take(&events, 1).len(), 1);
    drop(dropped);
    until(|| relay.stats().ended);
}

#[test]
fn what_could_not_be_emitted_truly_is_not_recorded() {
    struct NoJson;
    impl Serialize for NoJson {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("none"))
        }
    }
    #[derive(Event, Serialize)]
    #[event(topic = "user.named")]
    struct Named {
        #[event(pii)]
        name: &'static str,
    }
    let mut shop = Shop::new("record");
    let event = || OutboxEvent::new("order.placed", &json!({}));
    assert!(matches!(event().record(&shop.connection), Err(OutboxError::NoTransaction)));
    let bus = Bus::builder().build().unwrap();
    bus.topic::<Named>().unwrap();
    let order = shop.connection.transaction().unwrap();
    let named = OutboxEvent::new("user.named", &Named { name: "alice" }).record(&order);
    assert!(matches!(named, Err(OutboxError::PersonalData { .. })));
    assert!(matches!(OutboxEvent::new("a..b", &1).record(&order), Err(OutboxError::InvalidTopic { .. })));
    assert!(matches!(OutboxEvent::new("a.b", &NoJson).record(&order), Err(OutboxError::NoJson { .. })));
    order.commit().unwrap();
    assert_eq!(shop.pending(), 0);

    let without = Outbox::over(Connection::open_in_memory().unwrap()).start(&bus);
    assert!(matches!(without, Err(OutboxError::Sqlite(_))), "no table");
    for outbox in [Outbox::over(shop.connect()).batch(0), Outbox::over(shop.connect()).every(Duration::ZERO)] {
        assert!(matches!(outbox.start(&bus), Err(OutboxError::OutOfRange(_))));
    }
}

#[cfg(feature = "durable")]
#[test]
fn on_a_durable_topic_an_event_is_sent_when_the_log_has_it() {
    let mut shop = Shop::new("durable");
    let log = nervebus::DurableLog::at(shop.folder.path().join("log")).topics("order.*").buffer(1 << 20);
    let bus = Bus::builder().durable(log).build().unwrap();
    let recorded = shop.place(0..3);
    let relay = shop.start(&bus);
    until(|| shop.pending() == 0);
    let stats = bus.stats().durable.unwrap();
    assert_eq!((stats.lines, stats.syncs >= 3, relay.stop().sent), (3, true, 3));
    let (sender, events) = mpsc::channel();
    let see = move |event: &Event<'_>| sender.send((event["id"].as_u64().unwrap(), event.id().to_string())).unwrap();
    bus.on("order.*").durable("check").from_start().handle(see).unwrap();
    assert_eq!(take(&events, 3), numbered(0..3, &recorded));
}
