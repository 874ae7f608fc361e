//! The durable log: what an emit is told, what is in the log, and in which order.
#![cfg(feature = "durable")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use folder::Folder;
use nervebus::{
    BuildError, Bus, DedupWindow, DurableError, DurableLog, Event, Lane, Level, Overflow, SubscribeError, json,
};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(60);

fn log(folder: &Folder) -> DurableLog {
    DurableLog::at(folder.path()).topics("order.*").buffer(1 << 20)
}

fn bus(folder: &Folder) -> Bus {
    Bus::builder().durable(log(folder)).build().unwrap()
}

fn drained(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

/// The next of what a handler has sent.
fn next<T>(events: &mpsc::Receiver<T>) -> T {
    events.recv_timeout(GUARD).expect("an event")
}

#[test]
fn an_emit_is_told_the_level_it_asked_for_and_its_position() {
    let folder = Folder::of("levels");
    let bus = bus(&folder);
    let synced = bus.emit_durable("order.placed", json!({"id": 1})).unwrap();
    assert_eq!((synced.level(), synced.position()), (Level::Synced, Some(1)));
    let written = bus.event("order.placed", json!({"id": 2})).durable(Level::Written).emit().unwrap();
    assert_eq!((written.level(), written.position()), (Level::Written, Some(2)));
    let accepted = bus.event("order.placed", json!({"id": 3})).durable(Level::Accepted).emit().unwrap();
    assert_eq!((accepted.level(), accepted.position()), (Level::Accepted, None));
    bus.emit("order.placed", json!({"id": 4})).unwrap();
    assert_eq!(bus.emit_durable("order.placed", json!({"id": 5})).unwrap().position(), Some(5));
    let stats = bus.stats().durable.unwrap();
    assert_eq!((stats.first, stats.next, stats.lines, stats.dropped), (1, 6, 5, 0));
    assert!(stats.syncs >= 2 && stats.last_error.is_none());
    drained(&bus);
}

#[test]
fn a_receipt_says_whether_the_log_has_the_event_beside_those_who_are_subscribed() {
    let folder = Folder::of("receipt");
    let bus = bus(&folder);
    let (sender, given) = mpsc::channel();
    bus.on("order.placed").durable("billing").handle(move |event| sender.send(event.seq()).unwrap()).unwrap();
    let only_logged = bus.emit_durable("order.placed", ()).unwrap().receipt();
    assert!(only_logged.is_logged() && !only_logged.is_unrouted(), "{only_logged:?}");
    assert_eq!((only_logged.admitted(), next(&given)), (0, only_logged.seq()));
    let plain = bus.emit("order.placed", ()).unwrap();
    assert!(plain.is_logged() && !plain.is_unrouted(), "{plain:?}");
    bus.on("order.paid").inline().handle(|_| ()).unwrap();
    let both = bus.emit_durable("order.paid", ()).unwrap().receipt();
    assert_eq!((both.is_logged(), both.inline().handled), (true, 1));
    let nowhere = bus.emit("chat.message", ()).unwrap();
    assert!(!nowhere.is_logged() && nowhere.is_unrouted(), "{nowhere:?}");
    let books = bus.ledger();
    assert_eq!((books.routed, books.unrouted), (3, 1), "{books}");
    drained(&bus);
}

#[test]
fn a_topic_that_is_not_durable_hands_the_payload_back_and_is_not_in_the_log() {
    let folder = Folder::of("others");
    let bus = bus(&folder);
    let refused = bus.emit_durable("chat.message", json!({"text": "hello"})).unwrap_err();
    assert!(matches!(refused, DurableError::NotDurable { .. }), "{refused}");
    assert_eq!(refused.into_payload(), Some(json!({"text": "hello"})));
    bus.emit("chat.message", json!({})).unwrap();
    assert_eq!(bus.emit_durable("order.placed", json!({})).unwrap().position(), Some(1));
    drained(&bus);

    let plain = Bus::builder().build().unwrap();
    let refused = plain.emit_durable("order.placed", 7).unwrap_err();
    assert_eq!(refused.into_payload(), Some(7), "and so does a bus without a log");
    assert!(plain.on("order.*").durable("billing").handle(|_| ()).is_err());
}

#[test]
fn handlers_get_a_durable_event_as_any_other() {
    let folder = Folder::of("handlers");
    let bus = Bus::builder().durable(log(&folder)).lane(Lane::new("io")).build().unwrap();
    let (sender, events) = mpsc::channel();
    for lane in ["inline", "default", "io"] {
        let sender = sender.clone();
        let on = bus.on("order.*");
        let on = if lane == "inline" { on.inline() } else { on.lane(lane) };
        on.handle(move |event| sender.send((lane, event["id"].as_u64())).unwrap()).unwrap();
    }
    let receipt = bus.emit_durable("order.placed", json!({"id": 7})).unwrap().receipt();
    assert_eq!((receipt.inline().handled, receipt.admitted()), (1, 2));
    let mut seen: Vec<_> = (0..3).map(|_| next(&events)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("default", Some(7)), ("inline", Some(7)), ("io", Some(7))]);
    let report = bus.emit_and_wait("order.placed", json!({"id": 8})).unwrap();
    assert!(report.all_handled());
    drained(&bus);
}

#[test]
fn many_threads_emit_and_log_numbers_and_lanes_have_one_order() {
    const THREADS: u64 = 4;
    const EACH: u64 = 200;
    let folder = Folder::of("order");
    let bus = Bus::builder().durable(log(&folder)).default_lane(Lane::new("default").capacity(16)).build().unwrap();
    let (live, seen_live) = mpsc::channel();
    let (stored, seen_stored) = mpsc::channel();
    bus.on("order.*").handle(move |event| live.send(event.seq()).unwrap()).unwrap();
    let durable = bus.on("order.*").durable("audit").from_start();
    durable.handle(move |event| stored.send(event.seq()).unwrap()).unwrap();
    thread::scope(|scope| {
        for number in 0..THREADS {
            let bus = &bus;
            scope.spawn(move || {
                for step in 0..EACH {
                    let event = bus.event("order.placed", json!({"step": step})).key(number % 2);
                    if step % 8 == 0 {
                        event.durable(Level::Written).emit().unwrap();
                    } else {
                        event.emit().unwrap();
                    }
                }
            });
        }
    });
    let live: Vec<u64> = (0..THREADS * EACH).map(|_| next(&seen_live)).collect();
    let stored: Vec<u64> = (0..THREADS * EACH).map(|_| next(&seen_stored)).collect();
    assert!(stored.is_sorted(), "the log has them by their numbers");
    assert_eq!(live, stored, "and the lane in the same order");
    drained(&bus);
}

#[test]
fn waiting_emitters_share_their_syncs() {
    const THREADS: usize = 16;
    let folder = Folder::of("group");
    let bus = bus(&folder);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for id in 0..20 {
                    bus.emit_durable("order.placed", json!({"id": id})).unwrap();
                }
            });
        }
    });
    let stats = bus.stats().durable.unwrap();
    assert_eq!(stats.lines, 320);
    assert!(stats.syncs < 320, "{} syncs for 320 events", stats.syncs);
    drained(&bus);
}

#[test]
fn a_handler_may_wait_for_the_log_and_what_it_emits_comes_after_its_cause() {
    let folder = Folder::of("inside");
    let bus = bus(&folder);
    let (sender, positions) = mpsc::channel();
    for inline in [true, false] {
        let (weak, sender) = (bus.downgrade(), sender.clone());
        let on = bus.on("order.placed");
        let on = if inline { on.inline() } else { on };
        on.handle(move |_| {
            let bus = weak.upgrade().unwrap();
            sender.send(bus.emit_durable("order.billed", json!({})).unwrap().position()).unwrap();
        })
        .unwrap();
    }
    assert_eq!(bus.emit_durable("order.placed", json!({})).unwrap().position(), Some(1));
    let mut seen = [next(&positions), next(&positions)];
    seen.sort_unstable();
    assert_eq!(seen, [Some(2), Some(3)]);
    drained(&bus);
}

#[test]
fn an_async_emit_ends_with_the_position() {
    let folder = Folder::of("async");
    let bus = bus(&folder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for position in 1..=3 {
            let receipt = bus.emit_durable_async("order.placed", json!({})).await.unwrap();
            assert_eq!((receipt.level(), receipt.position()), (Level::Synced, Some(position)));
        }
        let refused = bus.emit_durable_async("chat.message", 7).await.unwrap_err();
        assert_eq!(refused.into_payload(), Some(7));
        drop(bus.emit_durable_async("order.placed", json!({})));
    });
    assert_eq!(bus.stats().durable.unwrap().next, 4, "a future that was never polled has emitted nothing");
    drained(&bus);
}

#[test]
fn positions_and_lines_outlive_the_bus() {
    let folder = Folder::of("again");
    for run in 0..3 {
        let bus = bus(&folder);
        let receipt = bus.event("order.placed", json!({"run": run})).event_id(format!("id-{run}")).source("shop");
        let receipt = receipt.correlation_id("c").timestamp(1.5).durable(Level::Synced).emit().unwrap();
        assert_eq!(receipt.position(), Some(run + 1));
        drained(&bus);
    }
    let bus = bus(&folder);
    let (sender, events) = mpsc::channel();
    let see = move |event: &Event<'_>| {
        let about = (event.id().to_string(), event.source().map(str::to_owned), event.timestamp());
        sender.send((event["run"].as_u64(), about, event.correlation_id().map(str::to_owned))).unwrap();
    };
    bus.on("*").durable("reader").from_start().handle(see).unwrap();
    for run in 0..3 {
        let about = (format!("id-{run}"), Some("shop".to_owned()), 1.5);
        assert_eq!(next(&events), (Some(run), about, Some("c".to_owned())));
    }
    drained(&bus);
}

#[test]
fn an_event_without_json_is_a_dead_letter_and_an_error() {
    let folder = Folder::of("json");
    let bus = bus(&folder);
    let odd = || BTreeMap::from([((1_u8, 2_u8), 3_u8)]);
    let refused = bus.emit_durable("order.placed", odd()).unwrap_err();
    assert!(refused.to_string().contains("no JSON"), "{refused}");
    assert_eq!(bus.emit_durable("order.placed", 7).unwrap().position(), Some(1));
    assert_eq!(bus.dead_letters().len(), 1);
    assert_eq!(bus.stats().durable.unwrap().dropped, 1);
    drained(&bus);
}

#[test]
fn a_duplicate_is_an_error_of_its_own() {
    let folder = Folder::of("duplicate");
    let bus = Bus::builder().durable(log(&folder)).dedup(DedupWindow::new(10, GUARD)).build().unwrap();
    let emit = || bus.event("order.placed", 7).event_id("one").durable(Level::Synced).emit();
    assert_eq!(emit().unwrap().position(), Some(1));
    assert!(matches!(emit().unwrap_err(), DurableError::Duplicate { .. }));
    assert_eq!(bus.stats().durable.unwrap().lines, 1);
    drained(&bus);
}

#[test]
fn what_cannot_be_kept_is_refused_when_the_bus_is_built() {
    let folder = Folder::of("refused");
    let build = |log: DurableLog| Bus::builder().durable(log).build();
    assert!(matches!(build(log(&folder).topics("Order..x")).unwrap_err(), BuildError::Pattern { .. }));
    assert!(matches!(build(log(&folder).capacity(0)).unwrap_err(), BuildError::OutOfRange { .. }));
    assert!(matches!(build(log(&folder).overflow(Overflow::DropOldest)).unwrap_err(), BuildError::Durable { .. }));
    let silent = build(DurableLog::at(folder.path())).unwrap_err();
    assert!(silent.to_string().contains("no topic is durable: say which with `topics`"), "{silent}");
    let first = bus(&folder);
    let refused = build(log(&folder)).unwrap_err();
    assert!(refused.to_string().contains("another process or bus has it open"), "{refused}");
    drained(&first);
    drop(first);
    drained(&build(log(&folder)).unwrap());
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(build(DurableLog::at(file).topics("a")).unwrap_err(), BuildError::Durable { .. }));
}

#[test]
fn a_subscription_that_could_never_be_given_what_it_asks_for_is_refused_with_the_rule() {
    let folder = Folder::of("rules");
    let bus = Bus::builder().durable(log(&folder).topics("*.failed")).history("order.*", 10).build().unwrap();
    let rule_of = |refused: Result<_, SubscribeError>| match refused.unwrap_err() {
        SubscribeError::InvalidSetting { setting, rule } => (setting, rule),
        other => panic!("{other}"),
    };
    let window = || DedupWindow::new(10, GUARD);
    for (refused, name) in [
        (bus.on("order.*").from_start().handle(|_| ()), "from_start"),
        (bus.on("order.*").dedup(window()).handle(|_| ()), "dedup"),
        (bus.on("order.*").dedup(window()).from_start().handle(|_| ()), "from_start"),
    ] {
        let (setting, rule) = rule_of(refused);
        assert!(setting == name && rule.contains("give it a name with `durable`"), "{setting}: {rule}");
    }
    for pattern in ["chat.sent", "chat.sent.*", "order", "chat.*.seen"] {
        let (setting, rule) = rule_of(bus.on(pattern).durable(pattern).handle(|_| ()));
        assert!(setting == "durable" && rule.contains(r#"the log's topics are ["order.*", "*.failed"]"#), "{rule}");
    }
    let (setting, rule) = rule_of(bus.on("order.*").durable("both").with_history().handle(|_| ()));
    assert!(setting == "durable" && rule.contains("from_start"), "{rule}");
    // Topics may come later, and what is said may come in any order.
    for pattern in ["order.placed", "*", "chat.failed", "*.placed", "chat.*.failed.*", "*.*"] {
        let subscribed = bus.on(pattern).from_start().dedup(window()).durable(pattern).handle(|_| ());
        assert_eq!(subscribed.is_ok(), pattern != "chat.*.failed.*", "{pattern}: {subscribed:?}");
    }
    drained(&bus);
}

#[test]
fn the_name_of_a_durable_subscription_is_its_own() {
    let folder = Folder::of("names");
    let bus = bus(&folder);
    let on = |name: &str| bus.on("order.*").durable(name).handle(|_| ());
    let id = on("billing").unwrap();
    let refused = on("billing").unwrap_err();
    assert!(matches!(&refused, SubscribeError::InvalidSetting { setting: "durable", .. }), "{refused}");
    assert!(on("").is_err());
    assert!(matches!(
        bus.on("order.*").inline().durable("x").handle(|_| ()).unwrap_err(),
        SubscribeError::NotInline { setting: "durable" }
    ));
    assert!(!bus.forget_durable("billing"), "not while it is there");
    assert!(bus.unsubscribe(id));
    on("billing").unwrap();
    drained(&bus);
}
