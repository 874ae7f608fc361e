//! Commands: exactly one handler, whoever emits and however that is subscribed.
#![cfg(feature = "macros")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nervebus::{Bus, ClaimError, EmitError, Event, Record, Replay, SubscribeError, json};
use serde::Serialize;

#[cfg(feature = "durable")]
#[path = "support/logs.rs"]
mod logs;

const LONG: Duration = Duration::from_secs(10);

#[derive(Event, Serialize, PartialEq, Debug)]
#[event(topic = "card.charge", category = "command")]
struct Charge {
    cents: u64,
}

fn bus() -> Bus {
    Bus::builder().build().unwrap()
}

#[test]
fn a_command_without_a_handler_is_refused_and_counted_and_comes_back() {
    let bus = bus();
    let mut charges = bus.topic::<Charge>().unwrap();
    bus.on("card.*").inline().handle(|_| -> () { panic!("an onlooker is no handler") }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let errors = [
        charges.emit(Charge { cents: 5 }).unwrap_err(),
        charges.try_emit(Charge { cents: 5 }).unwrap_err(),
        charges.emit_shared(Charge { cents: 5 }).unwrap_err(),
        charges.emit_and_wait(Charge { cents: 5 }).map(drop).unwrap_err(),
        runtime.block_on(charges.emit_async(Charge { cents: 5 })).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, EmitError::NoHandler { topic, .. } if &**topic == "card.charge"), "{error:?}");
        assert_eq!(error.into_payload(), Charge { cents: 5 });
    }
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.refused, ledger.balanced()), (5, 5, true));
}

#[test]
fn a_command_has_one_handler_however_it_is_subscribed() {
    let bus = bus();
    let mut charges = bus.topic::<Charge>().unwrap();
    let first = charges.on().name("till").inline().handle(|_, _| ()).unwrap();
    let refused = SubscribeError::CommandHandled { topic: "card.charge".into(), handler: "till".into() };
    assert_eq!(charges.subscribe(|_, _| ()), Err(refused.clone()));
    assert_eq!(bus.subscribe("card.charge", |_| ()), Err(refused));
    bus.on("card.*").inline().handle(|_| ()).expect("an onlooker is welcome");
    assert_eq!(charges.emit(Charge { cents: 5 }).unwrap().inline().handled, 2);
    assert!(bus.unsubscribe(first));
    assert!(charges.emit(Charge { cents: 5 }).is_err());
    charges.subscribe(|_, _| ()).expect("the place is free");
}

#[test]
fn a_command_that_is_emitted_by_name_is_refused_as_well_when_nobody_handles_it() {
    let bus = bus();
    let mut publisher = bus.publisher("card.charge").unwrap();
    bus.emit("card.charge", ()).expect("nobody has said that it is a command");
    let charges = bus.topic::<Charge>().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut emit_all = |by: &str| {
        [
            bus.emit("card.charge", by.to_owned()).map(drop),
            bus.try_emit("card.charge", by.to_owned()).map(drop),
            bus.event("card.charge", by.to_owned()).source("shop").emit().map(drop),
            bus.emit_and_wait("card.charge", by.to_owned()).map(drop),
            publisher.emit(by.to_owned()).map(drop),
            runtime.block_on(bus.emit_async("card.charge", by.to_owned())).map(drop),
        ]
    };
    let mut all_refused = |by: &str| {
        for refused in emit_all(by) {
            let error = refused.unwrap_err();
            assert!(matches!(&error, EmitError::NoHandler { topic, .. } if &**topic == "card.charge"), "{error:?}");
            assert_eq!(error.into_payload(), by);
        }
    };
    let seen = Arc::new(AtomicU32::new(0));
    let onlooker = |on: nervebus::Subscribe<'_>| {
        let seen = Arc::clone(&seen);
        on.handle(move |_| _ = seen.fetch_add(1, Ordering::Relaxed)).unwrap()
    };
    all_refused("nobody is there");
    let first = onlooker(bus.on("card.*").inline());
    all_refused("one who looks on inline");
    bus.unsubscribe(first);
    onlooker(bus.on("*.charge"));
    all_refused("one who looks on from a lane");
    onlooker(bus.on("card.*").inline());
    all_refused("both");
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.refused, ledger.balanced()), (25, 24, true));
    assert_eq!(seen.load(Ordering::Relaxed), 0, "an onlooker is no handler");
    assert!(matches!(charges.event(Charge { cents: 5 }).emit(), Err(EmitError::NoHandler { .. })));
    bus.emit("card.charged", ()).expect("another topic of the domain");

    let handler = bus.on("card.charge").inline().handle(|_| ()).unwrap();
    assert!(emit_all("second").into_iter().all(|emitted| emitted.is_ok()));
    assert!(bus.unsubscribe(handler));
    assert!(emit_all("third").into_iter().all(|emitted| emitted.is_err()));
    let replayed = bus.replay(Replay::from_records([Record::new("card.charge", json!({"cents": 5}))])).unwrap();
    assert_eq!(replayed.given, 1, "it was a command when it was recorded");
    assert!(bus.shutdown(LONG).ledger.balanced());
    // Six that were handled and one that was replayed, for each; and that of the other topic.
    assert_eq!(seen.load(Ordering::Relaxed), 2 * (6 + 1) + 1);
}

#[test]
fn a_handler_of_a_command_that_is_fed_by_a_history_counts() {
    let bus = Bus::builder().history("card.*", 10).build().unwrap();
    let mut charges = bus.topic::<Charge>().unwrap();
    let (sender, seen) = mpsc::channel();
    let refused =
        |handler: &str| SubscribeError::CommandHandled { topic: "card.charge".into(), handler: handler.into() };
    bus.on("card.charge").name("late").with_history().handle(move |_| sender.send(()).unwrap()).unwrap();
    assert_eq!(charges.subscribe(|_, _| ()), Err(refused("late")));
    assert_eq!(charges.on().with_history().handle(|_, _| ()), Err(refused("late")));
    charges.emit(Charge { cents: 5 }).unwrap();
    bus.emit("card.charge", json!({"cents": 5})).unwrap();
    assert!(bus.shutdown(LONG).drained);
    assert_eq!(seen.try_iter().count(), 2);
}

#[cfg(feature = "durable")]
#[test]
fn a_handler_of_a_command_that_is_fed_from_the_durable_log_counts() {
    #[derive(Event, Serialize, serde::Deserialize)]
    #[event(topic = "card.refund", category = "command", version = 3)]
    struct Refund {
        cents: u64,
    }
    let folder = logs::Folder::new();
    let bus = Bus::builder().durable(nervebus::DurableLog::at(folder.path("log")).topics("card.*")).build().unwrap();
    let mut refunds = bus.topic::<Refund>().unwrap();
    assert!(matches!(refunds.emit(Refund { cents: 5 }), Err(EmitError::NoHandler { .. })));
    let (sender, seen) = mpsc::channel();
    refunds.on().name("till").durable("till").handle(move |refund, _| sender.send(refund.cents).unwrap()).unwrap();
    let second = refunds.on().durable("second").from_start().handle(|_, _| ());
    assert!(matches!(second, Err(SubscribeError::CommandHandled { handler, .. }) if handler == "till"));
    refunds.emit(Refund { cents: 5 }).unwrap();
    bus.emit_durable("card.refund", json!({"cents": 6})).unwrap();
    assert_eq!([seen.recv_timeout(LONG), seen.recv_timeout(LONG)], [Ok(5), Ok(6)]);
}

#[test]
fn two_handlers_that_were_there_first_keep_a_command_from_its_topic() {
    let bus = bus();
    let first = bus.on("card.charge").name("a").handle(|_| ()).unwrap();
    bus.on("card.charge").name("b").handle(|_| ()).unwrap();
    let error = bus.topic::<Charge>().unwrap_err();
    assert_eq!(error, ClaimError::Handlers { topic: "card.charge".into(), handlers: vec!["a".into(), "b".into()] });
    bus.unsubscribe(first);
    bus.topic::<Charge>().expect("one is left");
}
