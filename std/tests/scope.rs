//! Scopes: what is emitted in one has its correlation, and what is emitted beside it has not.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

#[path = "support/gate.rs"]
#[allow(dead_code, reason = "these futures give way, and need no gate")]
mod gate;

use std::cell::RefCell;
use std::collections::HashSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use gate::give_way;
use nervebus::{
    Baggage, Bus, CorrelationScope, EmitError, EnteredScope, Event, Lane, ManualClock, Scope, TraceContext, TypedEvent,
    json,
};
use serde::Serialize;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A bus with a lane `io`, and the correlations of the events of `seen.*`.
fn bus() -> (Bus, Receiver<Option<String>>) {
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let (sender, seen) = mpsc::channel();
    let handler = move |event: &Event<'_>| sender.send(event.correlation_id().map(str::to_owned)).unwrap();
    bus.on("seen.*").inline().handle(handler).unwrap();
    (bus, seen)
}

/// What an emit on this thread has for its correlation, and what the scope says.
fn here(bus: &Bus, seen: &Receiver<Option<String>>) -> Option<String> {
    bus.emit("seen.here", ()).unwrap();
    let emitted = seen.try_recv().unwrap();
    assert_eq!(CorrelationScope::current().as_deref(), emitted.as_deref(), "the scope says what an emit has");
    emitted
}

fn some(id: &str) -> Option<String> {
    Some(id.to_owned())
}

#[test]
fn all_ways_to_emit_have_the_scopes_correlation_and_no_cause() {
    #[derive(Serialize)]
    struct Placed;
    impl TypedEvent for Placed {
        const TOPIC: &'static str = "order.placed";
    }
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let (sender, seen) = mpsc::channel();
    let origin = move |event: &Event<'_>| {
        sender.send((event.correlation_id().map(str::to_owned), event.causation())).unwrap();
    };
    bus.on("order.*").inline().handle(origin.clone()).unwrap();
    bus.on("order.*").lane("io").handle(origin).unwrap();
    let mut typed = bus.topic::<Placed>().unwrap();
    let mut publisher = bus.publisher("order.published").unwrap();

    let scope = CorrelationScope::enter("req-1");
    bus.emit("order.plain", ()).unwrap();
    bus.try_emit("order.tried", ()).unwrap();
    bus.event("order.said", ()).source("a source changes nothing").emit().unwrap();
    assert!(bus.emit_and_wait("order.awaited", ()).unwrap().all_handled());
    bus.emit_record(nervebus::Record::new("order.recorded", json!({}))).unwrap();
    publisher.emit(()).unwrap();
    typed.emit(Placed).unwrap();
    for _ in 0..2 * 7 {
        assert_eq!(seen.recv_timeout(GUARD).unwrap(), (some("req-1"), None));
    }
    bus.event("order.own", ()).correlation_id("own").emit().unwrap();
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), (some("own"), None), "what says its own has its own");
    seen.recv_timeout(GUARD).unwrap();
    drop(scope);
    bus.emit("order.after", ()).unwrap();
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), (None, None));
}

#[test]
fn nested_scopes_restore_what_was_before() {
    let (bus, seen) = bus();
    assert_eq!(here(&bus, &seen), None);
    let outer = CorrelationScope::enter("outer");
    for _ in 0..3 {
        let inner = CorrelationScope::enter("inner");
        assert_eq!(here(&bus, &seen), some("inner"));
        drop(inner);
        assert_eq!(here(&bus, &seen), some("outer"));
    }
    drop(outer);
    assert_eq!(here(&bus, &seen), None);
}

#[test]
fn scopes_that_are_dropped_in_any_order_leave_nothing_behind() {
    let (bus, seen) = bus();
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in orders {
        let names = ["a", "b", "c"];
        let mut scopes = names.map(|name| Some(CorrelationScope::enter(name)));
        for dropped in order {
            scopes[dropped] = None;
            let innermost = (0..3).rev().find(|at| scopes[*at].is_some()).map(|at| names[at].to_owned());
            assert_eq!(here(&bus, &seen), innermost, "{order:?} after {dropped}");
        }
    }
}

#[test]
fn a_scope_is_its_threads_own() {
    let (bus, seen) = bus();
    let _scope = CorrelationScope::enter("mine");
    thread::scope(|threads| {
        threads.spawn(|| assert_eq!(CorrelationScope::current(), None));
    });
    assert_eq!(here(&bus, &seen), some("mine"));
}

#[test]
fn a_scope_cannot_be_sent_and_a_future_in_one_can() {
    // Which of the two is meant is only clear for what cannot be sent, so this would not compile for the rest.
    trait Stays<Which> {
        fn stays() {}
    }
    impl<T> Stays<()> for T {}
    impl<T: Send> Stays<u8> for T {}
    <CorrelationScope as Stays<_>>::stays();
    <EnteredScope as Stays<_>>::stays();
    fn goes(_: impl Send) {}
    goes((Scope::new(), CorrelationScope::run("req-1", async {})));
}

#[test]
fn what_a_scope_does_not_say_comes_from_around_it_unless_it_is_detached() {
    let trace = TraceContext::parse(TRACEPARENT).unwrap();
    let baggage = Baggage::parse("user=alice").unwrap();
    let outer = Scope::new().with_trace_context(trace.clone()).with_baggage(baggage.clone()).with_correlation_id("a");
    let _outer = outer.enter();
    let inner = CorrelationScope::enter("b");
    let current = Scope::current();
    assert_eq!((current.correlation_id(), current.trace_context()), (Some("b"), Some(&trace)));
    assert_eq!(current.baggage(), Some(&baggage));
    drop(inner);
    {
        let _nothing = Scope::detached().enter();
        let current = Scope::current();
        assert_eq!((current.correlation_id(), current.trace_context(), current.baggage()), (None, None, None));
    }
    assert_eq!(CorrelationScope::current().as_deref(), Some("a"));
}

#[test]
fn the_earlier_of_two_deadlines_counts_and_what_comes_after_it_is_refused() {
    let (bus, seen) = bus();
    let left = || Scope::current().deadline().unwrap();
    let _hour = Scope::new().with_deadline(Duration::from_secs(3_600)).enter();
    let day = Scope::new().with_deadline(Duration::from_secs(86_400)).enter();
    assert!(left() <= Duration::from_secs(3_600), "a later one changes nothing");
    drop(day);
    assert_eq!(here(&bus, &seen), None);
    let _now = Scope::new().with_deadline(Duration::ZERO).enter();
    assert!(matches!(bus.emit("seen.late", ()), Err(EmitError::Expired { .. })));
    let by_hand = Bus::builder().clock(&ManualClock::new()).build().unwrap();
    by_hand.on("late").inline().handle(|_| ()).unwrap();
    assert!(matches!(by_hand.emit("late", ()), Err(EmitError::Expired { .. })), "whatever the clock of the bus");
}

#[test]
fn an_inline_handler_inherits_from_its_event_and_then_the_scope_is_back() {
    let (bus, seen) = bus();
    let weak = bus.downgrade();
    bus.on("relay").inline().handle(move |_| assert!(weak.upgrade().unwrap().emit("seen.inner", ()).is_ok())).unwrap();
    let _scope = CorrelationScope::enter("scope");
    bus.event("relay", ()).correlation_id("event").emit().unwrap();
    assert_eq!(seen.try_recv().unwrap(), some("event"));
    bus.emit("relay", ()).unwrap();
    assert_eq!(seen.try_recv().unwrap(), some("scope"));
    assert_eq!(here(&bus, &seen), some("scope"));
}

#[test]
fn a_scope_in_a_handler_holds_for_the_rest_of_the_call_and_the_cause_stays() {
    let bus = Bus::builder().lane(Lane::new("io")).build().unwrap();
    let (sender, seen) = mpsc::channel();
    bus.on("inner")
        .inline()
        .handle(move |event| sender.send((event.correlation_id().map(str::to_owned), event.causation())).unwrap())
        .unwrap();
    let weak = bus.downgrade();
    let relay = move |_: &Event<'_>| {
        let bus = weak.upgrade().unwrap();
        bus.emit("inner", ()).unwrap();
        let scope = CorrelationScope::enter("scope");
        bus.emit("inner", ()).unwrap();
        drop(scope);
        bus.emit("inner", ()).unwrap();
    };
    bus.on("outer.inline").inline().handle(relay.clone()).unwrap();
    bus.on("outer.lane").lane("io").handle(relay).unwrap();
    for (topic, own) in [("outer.inline", Some("event")), ("outer.lane", Some("event")), ("outer.lane", None)] {
        let event = bus.event(topic, ());
        let outer = if let Some(own) = own { event.correlation_id(own) } else { event }.emit().unwrap().seq();
        for wanted in [own, Some("scope"), own] {
            assert_eq!(seen.recv_timeout(GUARD).unwrap(), (wanted.map(str::to_owned), Some(outer)), "{topic}");
        }
    }
}

thread_local! {
    static KEPT: RefCell<Vec<CorrelationScope>> = const { RefCell::new(Vec::new()) };
}

#[test]
fn a_scope_that_outlives_its_handlers_call_reaches_no_other_event() {
    for correlation in [None, Some("event")] {
        let (bus, seen) = bus();
        let weak = bus.downgrade();
        bus.on("keep")
            .inline()
            .handle(|_| KEPT.with_borrow_mut(|kept| kept.push(CorrelationScope::enter("kept"))))
            .unwrap();
        bus.on("forget").inline().handle(|_| std::mem::forget(CorrelationScope::enter("forgotten"))).unwrap();
        let relay = move |_: &Event<'_>| {
            let bus = weak.upgrade().unwrap();
            bus.emit("seen.inner", ()).unwrap();
            drop(CorrelationScope::enter("own"));
            bus.emit("seen.inner", ()).unwrap();
            // Dropped in the call of another event than it was entered in.
            KEPT.with_borrow_mut(Vec::clear);
            bus.emit("seen.inner", ()).unwrap();
        };
        bus.on("relay").inline().handle(relay).unwrap();
        for topic in ["keep", "forget", "keep"] {
            let event = bus.event(topic, ());
            if let Some(id) = correlation { event.correlation_id(id) } else { event }.emit().unwrap();
            assert_eq!(here(&bus, &seen), None, "after {topic}");
        }
        bus.emit("relay", ()).unwrap();
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [None, None, None]);
        let scope = CorrelationScope::enter("later");
        assert_eq!(here(&bus, &seen), some("later"));
        drop(scope);
        assert_eq!(here(&bus, &seen), None);
    }
}

#[test]
fn a_scope_is_no_step_of_a_chain_and_no_level_of_nesting() {
    let deepest = |scope: bool, depth: u32, chain: u32| {
        let bus = Bus::builder().max_depth(depth).max_chain(chain).build().unwrap();
        let (weak, (sender, levels)) = (bus.downgrade(), mpsc::channel());
        let handler = move |event: &Event<'_>| {
            sender.send(*event.payload_as::<u32>().unwrap()).unwrap();
            let _scope = scope.then(|| CorrelationScope::enter("inner"));
            let _ = weak.upgrade().unwrap().emit("nested", event.payload_as::<u32>().unwrap() + 1);
        };
        bus.on("nested").inline().handle(handler).unwrap();
        let _scope = scope.then(|| CorrelationScope::enter("outer"));
        bus.emit("nested", 1_u32).unwrap();
        levels.try_iter().max().unwrap()
    };
    assert_eq!(deepest(true, 4, 8), deepest(false, 4, 8));
    assert_eq!(deepest(true, 8, 4), deepest(false, 8, 4));
    assert_ne!(deepest(true, 8, 4), deepest(true, 8, 8));
}

#[test]
fn a_thread_that_ends_may_emit_and_enter_scopes_from_its_last_values() {
    struct Last(Bus);
    impl Drop for Last {
        fn drop(&mut self) {
            let _scope = CorrelationScope::enter("last");
            self.0.emit("seen.last", ()).unwrap();
        }
    }
    thread_local! {
        static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
    }
    let (bus, seen) = bus();
    let emits = bus.clone();
    let ended = thread::spawn(move || {
        LAST.with_borrow_mut(|last| *last = Some(Last(emits.clone())));
        let _scope = CorrelationScope::enter("first");
        emits.emit("seen.first", ()).unwrap();
    });
    ended.join().unwrap();
    assert_eq!(seen.recv_timeout(GUARD).unwrap(), some("first"));
    // Whether the scope is still there by then is the system's business; that the event comes is not.
    assert!([None, some("last")].contains(&seen.recv_timeout(GUARD).unwrap()));
}

/// Emits, gives way and emits again, some times over.
async fn stretch(bus: Bus, times: usize) {
    for _ in 0..times {
        bus.emit("seen.async", ()).unwrap();
        give_way().await;
    }
}

#[test]
fn futures_that_take_turns_on_one_thread_have_each_their_own_scope() {
    let (bus, seen) = bus();
    let mut futures: Vec<Pin<Box<dyn Future<Output = ()>>>> = (0..8)
        .map(|number| Box::pin(CorrelationScope::run(format!("req-{number}"), stretch(bus.clone(), 5))) as _)
        .collect();
    let mut context = Context::from_waker(Waker::noop());
    while !futures.is_empty() {
        futures.retain_mut(|future| {
            let pending = future.as_mut().poll(&mut context).is_pending();
            assert_eq!(CorrelationScope::current(), None, "between polls there is no scope");
            pending
        });
    }
    let mut all: Vec<_> = seen.try_iter().map(|id| id.unwrap()).collect();
    assert_eq!(all.len(), 40);
    all.sort_unstable();
    assert!(all.chunks(5).enumerate().all(|(number, chunk)| chunk.iter().all(|id| *id == format!("req-{number}"))));
}

#[test]
fn a_future_takes_its_scope_along_from_thread_to_thread() {
    let bus = Bus::builder().build().unwrap();
    let (sender, seen) = mpsc::channel();
    let handler = move |event: &Event<'_>| {
        let own = event.correlation_id() == event["of"].as_str();
        sender.send(own).unwrap();
    };
    bus.on("t").inline().handle(handler).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let (bus, id) = (bus.clone(), format!("req-{number}"));
            let own = id.clone();
            let task = async move {
                for _ in 0..20 {
                    bus.emit("t", json!({"of": id})).unwrap();
                    tokio::task::yield_now().await;
                    assert_eq!(CorrelationScope::current().as_deref(), Some(&*id));
                }
            };
            runtime.spawn(CorrelationScope::run(own, task))
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
    let all: Vec<bool> = seen.try_iter().collect();
    assert!(all.len() == 64 * 20 && all.into_iter().all(|own| own));
}

#[test]
fn a_future_has_the_scope_that_was_around_when_it_was_made() {
    let (bus, seen) = bus();
    let future = {
        let _scope = Scope::new().with_baggage(Baggage::parse("user=alice").unwrap()).enter();
        CorrelationScope::run("of the future", async {
            bus.emit("seen.async", ()).unwrap();
            Scope::current().baggage().and_then(|baggage| baggage.get("user").map(str::to_owned))
        })
    };
    let _other = CorrelationScope::enter("of who polls");
    let polled = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(polled, Poll::Ready(some("alice")));
    assert_eq!(seen.try_recv().unwrap(), some("of the future"));
    assert_eq!(here(&bus, &seen), some("of who polls"));
}

#[test]
fn what_panics_in_a_scope_leaves_nothing_behind() {
    let (bus, seen) = bus();
    let caught = std::panic::catch_unwind(|| {
        let _scope = CorrelationScope::enter("outer");
        let future = pin!(CorrelationScope::run("inner", async { panic!("in the middle") }));
        let _: Poll<()> = future.poll(&mut Context::from_waker(Waker::noop()));
    });
    assert!(caught.is_err());
    assert_eq!(here(&bus, &seen), None);
}

#[test]
fn new_correlation_ids_differ_everywhere_and_those_of_a_thread_rise() {
    let start = Barrier::new(4);
    let ids = |start: &Barrier| {
        start.wait();
        (0..500)
            .map(|_| Scope::new().with_new_correlation_id().correlation_id().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let all: Vec<String> = thread::scope(|threads| {
        let threads: Vec<_> = (0..4).map(|_| threads.spawn(|| ids(&start))).collect();
        threads
            .into_iter()
            .flat_map(|thread| {
                let ids = thread.join().unwrap();
                assert!(ids.is_sorted());
                ids
            })
            .collect()
    });
    assert!(all.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())));
    assert_eq!(all.into_iter().collect::<HashSet<_>>().len(), 2_000);
}

#[test]
fn a_snapshot_is_taken_to_a_thread_of_ones_own() {
    let (bus, seen) = bus();
    let (weak, sender) = (bus.downgrade(), Arc::new(Barrier::new(2)));
    let done = Arc::clone(&sender);
    let handler = move |event: &Event<'_>| {
        let (bus, of_event, current, done) =
            (weak.upgrade().unwrap(), Scope::of(event), Scope::current(), Arc::clone(&done));
        thread::spawn(move || {
            for scope in [of_event, current] {
                let _scope = scope.enter();
                bus.emit("seen.thread", ()).unwrap();
            }
            done.wait();
        });
    };
    bus.on("outer").inline().handle(handler).unwrap();
    bus.event("outer", ()).correlation_id("req-1").emit().unwrap();
    sender.wait();
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [some("req-1"), some("req-1")]);
}
