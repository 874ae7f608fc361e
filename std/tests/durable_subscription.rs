//! Durable subscriptions: where they begin and go on, what ends an event for them, what is kept for them.
#![cfg(feature = "durable")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/held.rs"]
mod held;
#[path = "support/until.rs"]
mod until;

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use folder::Folder;
use held::held;
use nervebus::{Bus, DedupWindow, DurableLog, DurableSubscriptionStats, Event, Lane, Level, Retry, json};
use until::{GUARD, until};

const DAY: Duration = Duration::from_secs(86_400);

fn log(folder: &Folder) -> DurableLog {
    DurableLog::at(folder.path().join("log")).topics("order.*").topics("*.audited").buffer(1 << 20)
}

fn bus(folder: &Folder) -> Bus {
    Bus::builder().durable(log(folder)).build().unwrap()
}

fn drained(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

fn emit(bus: &Bus, ids: std::ops::Range<u64>) {
    for id in ids {
        bus.event("order.placed", json!({"id": id})).durable(Level::Written).emit().unwrap();
    }
}

/// A handler that sends what it gets.
fn sending(sender: &Sender<u64>) -> impl Fn(&Event<'_>) + Send + Sync + 'static {
    let sender = sender.clone();
    move |event| sender.send(event["id"].as_u64().unwrap()).unwrap()
}

fn take(events: &Receiver<u64>, count: usize) -> Vec<u64> {
    (0..count).map(|_| events.recv_timeout(GUARD).expect("an event")).collect()
}

fn stats(bus: &Bus) -> DurableSubscriptionStats {
    bus.stats().durable.unwrap().subscriptions[0].clone()
}

#[test]
fn it_goes_on_where_it_was_and_misses_nothing_in_between() {
    let folder = Folder::of("on");
    let (sender, events) = mpsc::channel();
    let first = bus(&folder);
    emit(&first, 0..3);
    first.on("order.*").durable("billing").from_start().handle(sending(&sender)).unwrap();
    assert_eq!(take(&events, 3), [0, 1, 2]);
    drained(&first);
    drop(first);

    let without = bus(&folder);
    emit(&without, 3..6);
    drained(&without);
    drop(without);

    let second = bus(&folder);
    second.on("order.*").durable("billing").from_start().handle(sending(&sender)).unwrap();
    emit(&second, 6..8);
    assert_eq!(take(&events, 5), [3, 4, 5, 6, 7]);
    drained(&second);
    assert!(events.try_recv().is_err(), "nothing comes twice after a shutdown");
}

#[test]
fn a_new_name_begins_with_what_is_written_from_then_on() {
    let folder = Folder::of("now");
    let (sender, events) = mpsc::channel();
    let bus = bus(&folder);
    emit(&bus, 0..3);
    bus.on("order.*").durable("late").handle(sending(&sender)).unwrap();
    emit(&bus, 3..5);
    assert_eq!(take(&events, 2), [3, 4]);
    drained(&bus);
}

#[test]
fn it_gets_the_events_of_its_pattern_that_are_in_the_log_and_no_others() {
    let folder = Folder::of("pattern");
    let (sender, events) = mpsc::channel();
    let bus = bus(&folder);
    bus.on("order.*").durable("orders").handle(sending(&sender)).unwrap();
    bus.on("*")
        .durable("all")
        .handle({
            let sender = sender.clone();
            move |event| sender.send(100 + event["id"].as_u64().unwrap()).unwrap()
        })
        .unwrap();
    for (topic, id) in [("chat.said", 0), ("user.audited", 1), ("order.placed", 2), ("order.paid", 3)] {
        bus.emit(topic, json!({"id": id})).unwrap();
    }
    let mut seen = take(&events, 5);
    seen.sort_unstable();
    assert_eq!(seen, [2, 3, 101, 102, 103]);
    drained(&bus);
    assert!(events.try_recv().is_err());
}

#[test]
fn a_failure_is_tried_again_becomes_a_dead_letter_and_is_passed() {
    let folder = Folder::of("failure");
    let bus = bus(&folder);
    let (sender, attempts) = mpsc::channel();
    let retry = Retry::exponential(Duration::from_millis(1)).attempts(3);
    let handler = move |event: &Event<'_>| {
        let id = event["id"].as_u64().unwrap();
        sender.send((id, event.attempt())).unwrap();
        if id == 1 { Err("no stock") } else { Ok(()) }
    };
    bus.on("order.*").durable("billing").retry(retry).handle(handler).unwrap();
    emit(&bus, 0..4);
    let mut seen: Vec<_> = (0..6).map(|_| attempts.recv_timeout(GUARD).unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1), (3, 1)]);
    until(|| stats(&bus).checkpoint == 5);
    assert_eq!(bus.dead_letters().len(), 1);
    drained(&bus);
}

#[test]
fn no_checkpoint_passes_an_event_that_has_not_ended() {
    let folder = Folder::of("low");
    let lane = || Lane::new("wide").workers(4);
    let bus = Bus::builder().durable(log(&folder)).lane(lane()).build().unwrap();
    let (hold, begun, go) = held();
    let (sender, events) = mpsc::channel();
    let send = sending(&sender);
    let handler = move |event: &Event<'_>| if event["id"] == 0 { hold(event) } else { send(event) };
    bus.on("order.*").lane("wide").durable("billing").handle(handler).unwrap();
    emit(&bus, 0..40);
    begun.recv_timeout(GUARD).unwrap();
    // Three of four workers go on; the fourth has those behind the first.
    let seen = take(&events, 30);
    assert!(seen.contains(&39) || seen.contains(&38));
    until(|| stats(&bus).ended == 30);
    assert_eq!((stats(&bus).checkpoint, stats(&bus).in_flight), (1, 10));
    go.send(()).unwrap();
    take(&events, 9);
    until(|| stats(&bus).checkpoint == 41);
    drained(&bus);
}

#[test]
fn what_ended_behind_one_that_has_not_is_not_given_again() {
    let folder = Folder::of("behind");
    let build = || Bus::builder().durable(log(&folder)).lane(Lane::new("wide").workers(4)).build().unwrap();
    let first = build();
    let (sender, events) = mpsc::channel();
    let send = sending(&sender);
    let handler = move |event: &Event<'_>| {
        if event["id"] == 0 {
            Err("later")
        } else {
            send(event);
            Ok(())
        }
    };
    let retry = Retry::exponential(DAY).max_delay(DAY).attempts(2);
    first.on("order.*").lane("wide").durable("billing").retry(retry).handle(handler).unwrap();
    emit(&first, 0..20);
    take(&events, 19);
    until(|| stats(&first).ended == 19);
    let end = first.shutdown(GUARD);
    assert!(end.ledger.balanced() && end.left == 1, "{end}");
    assert!(first.dead_letters().is_empty(), "it is in the log, and will be given again");
    drop(first);
    let second = build();
    second.on("order.*").lane("wide").durable("billing").handle(sending(&sender)).unwrap();
    emit(&second, 20..22);
    let mut seen = take(&events, 3);
    seen.sort_unstable();
    assert_eq!(seen, [0, 20, 21]);
    drained(&second);
    assert!(events.try_recv().is_err());
}

#[test]
fn a_lane_with_several_workers_keeps_each_key_in_order_across_a_restart() {
    const KEYS: u64 = 7;
    let folder = Folder::of("keys");
    let build = || Bus::builder().durable(log(&folder)).lane(Lane::new("wide").workers(4)).build().unwrap();
    let seen: Arc<Mutex<BTreeMap<u64, Vec<u64>>>> = Arc::default();
    for run in 0..3_u64 {
        let bus = build();
        for n in run * 50..run * 50 + 50 {
            for key in 0..KEYS {
                let event = bus.event("order.placed", json!({"key": key, "n": n})).key(format!("key {key}"));
                event.durable(Level::Accepted).emit().unwrap();
            }
        }
        // Two runs before the subscription comes to any of it.
        if run < 2 {
            drained(&bus);
            continue;
        }
        let all = Arc::clone(&seen);
        let handler = move |event: &Event<'_>| {
            let (key, n) = (event["key"].as_u64().unwrap(), event["n"].as_u64().unwrap());
            all.lock().unwrap().entry(key).or_default().push(n);
        };
        bus.on("order.*").lane("wide").durable("billing").from_start().handle(handler).unwrap();
        until(|| stats(&bus).ended == 3 * 50 * KEYS);
        drained(&bus);
    }
    for (key, seen) in &*seen.lock().unwrap() {
        assert!(seen.is_sorted() && seen.len() == 150, "key {key}: {seen:?}");
    }
}

#[test]
fn a_window_gives_an_event_once_that_was_emitted_twice_also_after_a_restart() {
    let folder = Folder::of("once");
    let (sender, events) = mpsc::channel();
    for run in 0..2 {
        let bus = bus(&folder);
        let on = bus.on("order.*").durable("billing").from_start().dedup(DedupWindow::new(100, GUARD));
        on.handle(sending(&sender)).unwrap();
        for id in [1, 2, 1, 3 + run] {
            let event = bus.event("order.placed", json!({"id": id})).event_id(format!("order {id}"));
            event.durable(Level::Written).emit().unwrap();
        }
        until(|| stats(&bus).checkpoint == 4 * (run + 1) + 1);
        assert_eq!(stats(&bus).duplicates, 1 + 2 * run);
        drained(&bus);
    }
    assert_eq!(events.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
}

#[test]
fn an_unsubscribed_name_keeps_its_place() {
    let folder = Folder::of("place");
    let (sender, events) = mpsc::channel();
    let bus = bus(&folder);
    let on = || bus.on("order.*").durable("billing").from_start().handle(sending(&sender)).unwrap();
    let id = on();
    emit(&bus, 0..3);
    assert_eq!(take(&events, 3), [0, 1, 2]);
    until(|| stats(&bus).checkpoint == 4);
    assert!(bus.unsubscribe(id));
    emit(&bus, 3..6);
    on();
    assert_eq!(take(&events, 3), [3, 4, 5]);
    drained(&bus);
    assert!(events.try_recv().is_err());
}

#[test]
fn an_async_handler_may_be_durable() {
    let folder = Folder::of("async");
    let (sender, events) = mpsc::channel();
    let bus = bus(&folder);
    let on = bus.on("order.*").durable("billing");
    on.handle_async(move |event| {
        let sender = sender.clone();
        async move { sender.send(event["id"].as_u64().unwrap()).unwrap() }
    })
    .unwrap();
    emit(&bus, 0..100);
    assert_eq!(take(&events, 100), (0..100).collect::<Vec<_>>());
    drained(&bus);
}

#[test]
fn a_slow_subscription_holds_up_no_emitter_and_gets_everything_in_the_end() {
    let folder = Folder::of("slow");
    let bus = Bus::builder().durable(log(&folder)).default_lane(Lane::new("default").capacity(2)).build().unwrap();
    let (hold, begun, go) = held();
    bus.on("order.*").durable("billing").handle(hold).unwrap();
    emit(&bus, 0..2_000);
    begun.recv_timeout(GUARD).unwrap();
    let held = stats(&bus);
    assert!(held.in_flight <= 256 && held.lag >= 1_744, "{held:?}");
    drop(go);
    until(|| stats(&bus).checkpoint == 2_001);
    drained(&bus);
}

#[test]
fn old_lines_go_when_all_have_passed_them_and_not_before() {
    let folder = Folder::of("retire");
    let build = || {
        let log = log(&folder).keep_bytes(10_000).checkpoint(1, Duration::from_millis(1));
        Bus::builder().durable(log).lane(Lane::new("slow")).build().unwrap()
    };
    let first = build();
    let (hold, begun, go) = held();
    first.on("order.*").lane("slow").durable("slow").handle(hold).unwrap();
    first.on("order.*").durable("fast").handle(|_| ()).unwrap();
    emit(&first, 0..3_000);
    begun.recv_timeout(GUARD).unwrap();
    until(|| first.stats().durable.unwrap().subscriptions[1].checkpoint == 3_001);
    assert_eq!(first.stats().durable.unwrap().first, 1, "one has not passed the first line");
    drop(go);
    until(|| first.stats().durable.unwrap().first > 2_000);
    drained(&first);
    let stats = first.stats().durable.unwrap();
    assert!(stats.held_bytes < stats.bytes / 2 && stats.retired == stats.first - 1, "{stats:?}");
    assert!(stats.subscriptions.iter().all(|subscription| subscription.missed == 0));
    drop(first);

    let second = build();
    let (sender, events) = mpsc::channel();
    second.on("order.*").durable("new").from_start().handle(sending(&sender)).unwrap();
    assert_eq!(take(&events, 1), [stats.first - 1], "the first that is left");
    emit(&second, 3_000..3_001);
    assert_eq!(take(&events, (3_001 - stats.first) as usize).last(), Some(&3_000));
    drained(&second);
}

#[test]
fn lines_that_only_an_absent_subscription_needs_stay_until_it_is_forgotten() {
    let folder = Folder::of("absent");
    let build = || Bus::builder().durable(log(&folder).keep_bytes(10_000).checkpoint(1, Duration::from_millis(1)));
    let first = build().build().unwrap();
    first.on("order.*").durable("gone").handle(|_| ()).unwrap();
    drained(&first);
    drop(first);
    let second = build().build().unwrap();
    emit(&second, 0..3_000);
    until(|| second.stats().durable.unwrap().lag == 0);
    assert_eq!(second.stats().durable.unwrap().retired, 0);
    assert!(second.forget_durable("gone") && !second.forget_durable("gone"));
    until(|| second.stats().durable.unwrap().retired > 2_000);
    drained(&second);
}

#[test]
fn beyond_the_hard_limit_lines_go_whoever_needs_them_and_that_is_counted_and_said() {
    let folder = Folder::of("hard");
    let log = log(&folder).hard_limit(100_000).checkpoint(1, Duration::from_millis(1));
    let bus = Bus::builder().durable(log).lane(Lane::new("records")).build().unwrap();
    let (sender, overruns) = mpsc::channel();
    let on = bus.on("system.log_overrun").lane("records");
    on.handle(move |event| sender.send(event["missed"].as_u64().unwrap()).unwrap()).unwrap();
    let (hold, begun, go) = held();
    bus.on("order.*").durable("slow").handle(hold).unwrap();
    emit(&bus, 0..4_000);
    begun.recv_timeout(GUARD).unwrap();
    assert!(overruns.recv_timeout(GUARD).unwrap() > 0);
    until(|| bus.stats().durable.unwrap().held_bytes < 400_000);
    assert!(stats(&bus).missed > 0);
    drop(go);
    until(|| stats(&bus).checkpoint == 4_001);
    let end = stats(&bus);
    assert_eq!(end.missed + end.ended, 4_000, "each was given, or counted");
    drained(&bus);
}
