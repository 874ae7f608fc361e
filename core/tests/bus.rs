//! The static bus: every event is accounted for, whatever interrupts what, and every refusal says why.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use nervebus_core::bus::{AlreadyPolling, EmitError, Event, StaticBus, TopicId, TopicsError};
use nervebus_core::table::Busy;
use nervebus_core::topic::TopicRule;
use nervebus_core::{Handler, Priority, Reason, SubscriptionId};

const TOPICS: [&str; 3] = ["door.opened", "door.closed", "alarm.raised"];
const OPENED: TopicId = TopicId::of(&TOPICS, "door.opened").unwrap();
const CLOSED: TopicId = TopicId::of(&TOPICS, "door.closed").unwrap();
const ALARM: TopicId = TopicId::of(&TOPICS, "alarm.raised").unwrap();

type Closure = dyn Fn(&Event<u32>) -> Result<(), ()> + Send + Sync;

/// A handler that is a closure; `Arc` because a table copies its handlers.
#[derive(Clone)]
struct Run(Arc<Closure>);

impl Handler<Event<u32>> for Run {
    type Error = ();

    fn handle(&self, event: &Event<u32>) -> Result<(), ()> {
        (self.0)(event)
    }
}

fn run(handler: impl Fn(&Event<u32>) -> Result<(), ()> + Send + Sync + 'static) -> Run {
    Run(Arc::new(handler))
}

fn nothing() -> Run {
    run(|_| Ok(()))
}

/// What handlers noted, and a handler that notes `name` and the payload.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<(&'static str, u32)>>>);

impl Notes {
    fn by(&self, name: &'static str) -> Run {
        let notes = self.clone();
        run(move |event| {
            notes.0.lock().unwrap().push((name, event.payload));
            Ok(())
        })
    }

    fn take(&self) -> Vec<(&'static str, u32)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

type Bus = StaticBus<u32, Run, 3, 4, 4, 2>;

fn bus() -> Arc<Bus> {
    Arc::new(Bus::new(TOPICS))
}

#[test]
fn events_come_in_the_order_of_emitting_and_handlers_in_that_of_priority() {
    let (bus, notes) = (bus(), Notes::default());
    bus.subscribe("*", Priority::new(1), notes.by("last")).unwrap();
    bus.subscribe("door.*", Priority::new(300), notes.by("first")).unwrap();
    bus.subscribe("door.opened", Priority::DEFAULT, notes.by("second")).unwrap();
    bus.subscribe("*.opened", Priority::DEFAULT, notes.by("third")).unwrap();
    for (topic, payload) in [(OPENED, 1), (ALARM, 2), (CLOSED, 3)] {
        bus.emit(topic, payload).unwrap();
    }
    assert_eq!(bus.poll(), Ok(3));
    let opened = [("first", 1), ("second", 1), ("third", 1), ("last", 1)];
    assert_eq!(notes.take(), [&opened[..], &[("last", 2), ("first", 3), ("last", 3)]].concat());
    assert_eq!(bus.poll(), Ok(0));
}

#[test]
fn a_handler_is_told_topic_and_sequence() {
    let bus = bus();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&seen);
    let note = run(move |event| {
        copy.lock().unwrap().push((event.topic, event.sequence, event.payload));
        Ok(())
    });
    bus.subscribe("*", Priority::DEFAULT, note).unwrap();
    bus.emit(bus.topic("door.closed").unwrap(), 10).unwrap();
    bus.emit(OPENED, 11).unwrap();
    bus.poll().unwrap();
    assert_eq!(*seen.lock().unwrap(), [(CLOSED, 0, 10), (OPENED, 1, 11)]);
    assert_eq!((bus.name(CLOSED), bus.topic("door.locked")), (Some("door.closed"), None));
}

#[test]
fn poll_one_takes_one_event() {
    let (bus, notes) = (bus(), Notes::default());
    bus.subscribe("*", Priority::DEFAULT, notes.by("it")).unwrap();
    bus.emit(OPENED, 1).unwrap();
    bus.emit(OPENED, 2).unwrap();
    assert_eq!((bus.poll_one(), notes.take(), bus.ledger().pending), (Ok(true), vec![("it", 1)], 1));
    assert_eq!((bus.poll_one(), bus.poll_one()), (Ok(true), Ok(false)));
}

#[test]
fn a_full_queue_gives_the_payload_back_and_counts_it_as_refused() {
    let bus = bus();
    for payload in 0..4 {
        bus.emit(OPENED, payload).unwrap();
    }
    assert_eq!(bus.emit(OPENED, 4), Err(EmitError::Full(4)));
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.refused, ledger.pending, ledger.balanced()), (5, 1, 4, true));
}

#[test]
fn a_closed_bus_refuses_emits_and_still_delivers_what_is_queued() {
    let (bus, notes) = (bus(), Notes::default());
    bus.subscribe("*", Priority::DEFAULT, notes.by("it")).unwrap();
    bus.emit(OPENED, 1).unwrap();
    assert!(bus.close() && !bus.close() && bus.is_closed());
    assert_eq!(bus.emit(OPENED, 2), Err(EmitError::Closed(2)));
    assert_eq!(bus.emit_overwrite(OPENED, 3), Err(EmitError::Closed(3)));
    assert_eq!((bus.poll(), notes.take()), (Ok(1), vec![("it", 1)]));
    assert!(bus.ledger().balanced() && bus.ledger().refused == 2);
}

#[test]
fn overwriting_makes_the_oldest_a_dead_letter() {
    let (bus, notes) = (bus(), Notes::default());
    bus.subscribe("*", Priority::DEFAULT, notes.by("it")).unwrap();
    for payload in 0..7 {
        bus.emit_overwrite(OPENED, payload).unwrap();
    }
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.displaced, ledger.pending, ledger.balanced()), (7, 3, 4, true));
    assert_eq!(bus.dead_letters().overwritten(), 1, "there is room for two of the three");
    let letters: Vec<_> = bus.dead_letters().drain().map(|letter| (letter.event.payload, letter.reason)).collect();
    assert_eq!(letters, [(1, Reason::Overflow), (2, Reason::Overflow)]);
    bus.poll().unwrap();
    assert_eq!(notes.take(), [("it", 3), ("it", 4), ("it", 5), ("it", 6)]);
}

#[test]
fn the_topic_of_a_larger_bus_is_refused() {
    let bus = bus();
    let foreign = TopicId::of(&["a", "b", "c", "d"], "d").unwrap();
    assert_eq!(bus.emit(foreign, 1), Err(EmitError::UnknownTopic(1)));
    assert_eq!(bus.emit_overwrite(foreign, 2), Err(EmitError::UnknownTopic(2)));
    assert_eq!((bus.name(foreign), bus.ledger().refused, bus.ledger().balanced()), (None, 2, true));
}

#[test]
fn an_event_that_nobody_asked_for_is_counted_and_dropped() {
    let bus = bus();
    bus.subscribe("door.*", Priority::DEFAULT, nothing()).unwrap();
    bus.emit(ALARM, 1).unwrap();
    bus.emit(OPENED, 2).unwrap();
    assert_eq!(bus.poll(), Ok(2));
    let ledger = bus.ledger();
    assert_eq!((ledger.unrouted, ledger.delivered, ledger.handled, ledger.balanced()), (1, 1, 1, true));
    assert!(bus.dead_letters().is_empty());
}

#[test]
fn a_failed_event_is_one_dead_letter_that_says_whether_all_failed() {
    let bus = bus();
    bus.subscribe("*", Priority::DEFAULT, run(|event| if event.payload == 0 { Ok(()) } else { Err(()) })).unwrap();
    bus.subscribe("door.*", Priority::DEFAULT, run(|event| if event.payload < 2 { Ok(()) } else { Err(()) })).unwrap();
    let reason_of = |topic, payload| {
        bus.emit(topic, payload).unwrap();
        bus.poll().unwrap();
        let letters: Vec<_> = bus.dead_letters().drain().collect();
        assert!(letters.iter().all(|letter| letter.event.payload == payload && letter.attempts == 1));
        letters.into_iter().map(|letter| letter.reason).collect::<Vec<_>>()
    };
    assert_eq!(reason_of(OPENED, 0), []);
    assert_eq!(reason_of(OPENED, 1), [Reason::HandlerError], "one of two");
    assert_eq!(reason_of(OPENED, 2), [Reason::AllHandlersFailed], "two of two");
    assert_eq!(reason_of(ALARM, 3), [Reason::HandlerError], "the only one");
    let ledger = bus.ledger();
    assert_eq!((ledger.delivered, ledger.handled, ledger.failed, ledger.balanced()), (4, 3, 4, true));
}

#[test]
fn payloads_need_no_clone_and_are_dropped_once() {
    struct Payload(Arc<AtomicUsize>);
    impl Drop for Payload {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    type Fail = fn(&Event<Payload>) -> Result<(), ()>;
    let bus: StaticBus<Payload, Fail, 1, 1, 2, 1> = StaticBus::new(["tick"]);
    bus.subscribe("tick", Priority::DEFAULT, |_event| Err(())).unwrap();
    let (tick, drops) = (bus.topic("tick").unwrap(), Arc::new(AtomicUsize::new(0)));
    for _ in 0..3 {
        drop(bus.emit(tick, Payload(Arc::clone(&drops))));
    }
    assert_eq!(drops.load(Ordering::Relaxed), 1, "the one that was refused");
    bus.poll().unwrap();
    assert_eq!(drops.load(Ordering::Relaxed), 2, "and one of two dead letters");
    drop(bus);
    assert_eq!(drops.load(Ordering::Relaxed), 3);
}

#[test]
fn a_subscription_is_refused_with_the_reason_and_the_handler() {
    let bus = bus();
    let text_of = |pattern| {
        let refused = bus.subscribe(pattern, Priority::DEFAULT, nothing()).unwrap_err();
        let text = refused.to_string();
        assert_eq!(refused.into_inner().0(&Event { topic: OPENED, sequence: 0, payload: 0 }), Ok(()));
        text
    };
    assert_eq!(text_of("window.*"), r#"pattern "window.*" matches no topic of this bus"#);
    assert_eq!(text_of("door"), r#"pattern "door" matches no topic of this bus"#);
    assert_eq!(text_of("doo*"), r#"pattern "doo*": the '*' at byte 3 must be the whole of segment 1"#);
    for _ in 0..4 {
        bus.subscribe("*", Priority::DEFAULT, nothing()).unwrap();
    }
    assert!(bus.subscribe("*", Priority::DEFAULT, nothing()).is_err_and(|refused| refused.is_full()));
}

#[test]
fn names_that_are_no_topics_or_stand_twice_are_refused() {
    type Two = StaticBus<u32, Run, 2, 1, 1, 1>;
    let refused = Two::try_new(["a", "b..c"]).unwrap_err();
    assert!(
        matches!(refused, TopicsError::Name { index: 1, error } if error.rule() == TopicRule::EmptySegment { index: 1 })
    );
    assert_eq!(refused.to_string(), r#"name 2 of the bus: topic "b..c": segment 2 is empty"#);
    let refused = Two::try_new(["a", "a"]).unwrap_err();
    assert_eq!(refused.to_string(), r#"name 2 of the bus: topic "a" stands before already"#);
    assert!(Two::try_new(["a", "aa"]).is_ok());
}

#[test]
fn the_last_of_64_topics_is_a_topic_like_any_other() {
    let names: [&'static str; 64] = std::array::from_fn(|number| &*format!("topic.t{number}").leak());
    let (bus, notes) = (StaticBus::<u32, Run, 64, 4, 4, 2>::try_new(names).unwrap(), Notes::default());
    bus.subscribe("topic.t63", Priority::DEFAULT, notes.by("63")).unwrap();
    bus.subscribe("topic.t0", Priority::DEFAULT, notes.by("0")).unwrap();
    bus.subscribe("*", Priority::DEFAULT, notes.by("all")).unwrap();
    for name in ["topic.t63", "topic.t0", "topic.t31"] {
        bus.emit(bus.topic(name).unwrap(), 0).unwrap();
    }
    bus.poll().unwrap();
    let called: Vec<_> = notes.take().into_iter().map(|(name, _)| name).collect();
    assert_eq!(called, ["63", "all", "0", "all", "all"]);
}

#[test]
fn an_unsubscribed_handler_is_not_called_again() {
    let (bus, notes) = (bus(), Notes::default());
    let id = bus.subscribe("*", Priority::DEFAULT, notes.by("it")).unwrap();
    bus.emit(OPENED, 1).unwrap();
    assert_eq!(bus.unsubscribe(id), Ok(true));
    assert_eq!((bus.poll(), notes.take()), (Ok(1), vec![]));
    assert_eq!((bus.unsubscribe(id), bus.unsubscribe(SubscriptionId::new(99))), (Ok(false), Ok(false)));
}

#[test]
fn what_a_handler_emits_is_for_the_next_poll_so_that_every_poll_ends() {
    let bus = bus();
    let inner = Arc::clone(&bus);
    let again = run(move |event| inner.emit(event.topic, event.payload + 1).map_err(drop));
    bus.subscribe("*", Priority::DEFAULT, again).unwrap();
    bus.emit(OPENED, 0).unwrap();
    bus.emit(CLOSED, 0).unwrap();
    for _ in 0..100 {
        assert_eq!(bus.poll(), Ok(2));
    }
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.delivered, ledger.pending, ledger.balanced()), (202, 200, 2, true));
}

#[test]
fn a_handler_may_change_subscriptions_again_and_again_but_not_poll() {
    let (bus, notes) = (bus(), Notes::default());
    let (inner, newcomer) = (Arc::clone(&bus), notes.by("newcomer"));
    let change = run(move |event| {
        assert_eq!((inner.poll(), inner.poll_one()), (Err(AlreadyPolling), Err(AlreadyPolling)));
        for _ in 0..5 {
            let id = inner.subscribe("*", Priority::new(1), newcomer.clone()).map_err(drop)?;
            assert_eq!(inner.unsubscribe(id), Ok(true));
        }
        if event.payload == 1 {
            inner.subscribe("alarm.raised", Priority::new(1), newcomer.clone()).map_err(drop)?;
        }
        Ok(())
    });
    bus.subscribe("door.*", Priority::DEFAULT, change).unwrap();
    for (topic, payload) in [(OPENED, 0), (CLOSED, 1), (ALARM, 2)] {
        bus.emit(topic, payload).unwrap();
    }
    assert_eq!(bus.poll(), Ok(3));
    assert_eq!((notes.take(), bus.ledger().failed), (vec![("newcomer", 2)], 0));
    assert_eq!(bus.poll(), Ok(0), "it may be polled again");
}

#[test]
fn a_change_inside_a_change_is_busy_and_gives_the_handler_back() {
    type Shared = Arc<StaticBus<u32, Meddler, 1, 4, 4, 2>>;
    /// Changes the table when it is copied, which happens while the table is being changed.
    struct Meddler(Option<Shared>);
    static BUSY: AtomicUsize = AtomicUsize::new(0);
    impl Clone for Meddler {
        fn clone(&self) -> Self {
            if let Some(bus) = &self.0 {
                let refused = bus.subscribe("tick", Priority::DEFAULT, Self(None)).unwrap_err();
                assert!(refused.is_busy() && refused.into_inner().0.is_none());
                assert_eq!(bus.unsubscribe(SubscriptionId::new(1)), Err(Busy));
                BUSY.fetch_add(1, Ordering::Relaxed);
            }
            Self(None)
        }
    }
    let bus: Shared = Arc::new(StaticBus::new(["tick"]));
    bus.subscribe("tick", Priority::DEFAULT, Meddler(Some(Arc::clone(&bus)))).unwrap();
    assert!(BUSY.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_panicking_handler_leaves_the_bus_usable_and_the_books_balanced() {
    let (bus, notes) = (bus(), Notes::default());
    bus.subscribe("*", Priority::new(3), notes.by("before")).unwrap();
    bus.subscribe("*", Priority::new(2), run(|event| if event.payload == 1 { panic!("one") } else { Ok(()) })).unwrap();
    let behind = bus.subscribe("*", Priority::new(1), notes.by("behind")).unwrap();
    for payload in 0..3 {
        bus.emit(OPENED, payload).unwrap();
    }
    assert!(catch_unwind(AssertUnwindSafe(|| bus.poll())).is_err());
    assert_eq!(notes.take(), [("before", 0), ("behind", 0), ("before", 1)]);
    let ledger = bus.ledger();
    assert_eq!((ledger.delivered, ledger.handled, ledger.failed, ledger.pending), (2, 4, 1, 1));
    assert!(ledger.balanced());
    let letter = bus.dead_letters().take().unwrap();
    assert_eq!((letter.event.payload, letter.reason), (1, Reason::HandlerError));
    assert_eq!((bus.poll(), notes.take()), (Ok(1), vec![("before", 2), ("behind", 2)]));
    for _ in 0..4 {
        bus.emit(OPENED, 1).unwrap();
        assert!(catch_unwind(AssertUnwindSafe(|| bus.poll())).is_err());
    }
    assert_eq!(bus.unsubscribe(behind), Ok(true), "no version of the table is held by the panics");
    assert!(bus.ledger().balanced());
}

#[test]
fn one_who_wants_to_sleep_is_told_of_what_came_before() {
    let bus = bus();
    assert!(bus.may_sleep() && !bus.has_events());
    bus.emit(OPENED, 1).unwrap();
    assert!(bus.bell().ring(), "the sleeper must be woken");
    assert!(bus.has_events() && !bus.may_sleep(), "there is something to poll");
    assert!(!bus.bell().ring(), "nobody sleeps");
    bus.poll().unwrap();
    assert!(bus.may_sleep());
    bus.close();
    assert!(!bus.may_sleep(), "nothing will end this sleep");
}

/// Threads stand in for interrupts: three emit, one of them overwriting, one subscribes and unsubscribes, one polls.
#[test]
fn every_event_is_accounted_for_while_all_contexts_are_at_work() {
    const EMITS: usize = if cfg!(miri) { 50 } else { 20_000 };
    type Shared = StaticBus<usize, fn(&Event<usize>) -> Result<(), ()>, 3, 4, 8, 4>;
    static BUS: Shared = StaticBus::new(TOPICS);
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    static DONE: AtomicBool = AtomicBool::new(false);
    static SEEN: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    fn count(_event: &Event<usize>) -> Result<(), ()> {
        CALLS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
    fn note(event: &Event<usize>) -> Result<(), ()> {
        SEEN.lock().unwrap().push(event.payload);
        if event.payload.is_multiple_of(16) { Err(()) } else { Ok(()) }
    }

    BUS.subscribe("*", Priority::DEFAULT, note).unwrap();
    let start = Barrier::new(5);
    let (refused, changes) = thread::scope(|scope| {
        let emitters: Vec<_> = (0..3)
            .map(|emitter| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    let topic = [OPENED, CLOSED, ALARM][emitter];
                    let emit = |number| match emitter {
                        0 => BUS.emit_overwrite(topic, number),
                        _ => BUS.emit(topic, number),
                    };
                    (0..EMITS).filter(|number| emit(number * 3 + emitter).is_err()).count()
                })
            })
            .collect();
        let subscriber = scope.spawn(|| {
            start.wait();
            let mut changes = 0;
            while !DONE.load(Ordering::Acquire) {
                let id = BUS.subscribe("door.*", Priority::new(9), count).unwrap();
                assert_eq!(BUS.unsubscribe(id), Ok(true));
                changes += 1;
            }
            changes
        });
        let poller = scope.spawn(|| {
            start.wait();
            while !DONE.load(Ordering::Acquire) {
                assert!(BUS.poll().is_ok());
            }
        });
        let refused: usize = emitters.into_iter().map(|emitter| emitter.join().unwrap()).sum();
        DONE.store(true, Ordering::Release);
        poller.join().unwrap();
        (refused, subscriber.join().unwrap())
    });
    BUS.poll().unwrap();

    let (ledger, seen) = (BUS.ledger(), SEEN.lock().unwrap());
    assert!(ledger.balanced() && changes > 0, "{ledger:?}");
    assert_eq!((ledger.emitted, ledger.refused, ledger.pending, ledger.unrouted), (3 * EMITS, refused, 0, 0));
    assert_eq!(ledger.delivered, seen.len());
    assert_eq!(ledger.handled + ledger.failed, seen.len() + CALLS.load(Ordering::Relaxed));
    assert_eq!(ledger.failed, seen.iter().filter(|payload| payload.is_multiple_of(16)).count());
    assert_eq!(BUS.dead_letters().pushed(), ledger.failed + ledger.displaced);
    assert_eq!(seen.iter().collect::<HashSet<_>>().len(), seen.len(), "no event was delivered twice");
    for emitter in 0..3 {
        let of_one = seen.iter().filter(|payload| **payload % 3 == emitter);
        assert!(of_one.is_sorted(), "the events of one emitter keep their order");
    }
}
