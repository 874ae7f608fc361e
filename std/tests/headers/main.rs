//! Headers: what an emitter says of an event reaches handlers, records, and whoever reads those.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

mod attributes;
mod causation;
mod records;

#[path = "../support/everything.rs"]
mod everything;
#[path = "../support/folder.rs"]
mod folder;

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use nervebus::{Bus, Class, EmitError, Event, Lane, ManualClock, Record, TypedEvent, json};

use self::everything::everything;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(30);

/// Whether an event says all of that.
fn assert_everything(event: &Event<'_>) {
    assert_eq!(event.id().to_string(), "e-1");
    assert_eq!((event.source(), event.timestamp()), (Some("shop"), 1_700_000_000.25));
    assert_eq!(event.correlation_id(), Some("c-1"));
    assert_eq!(event.causation_id().unwrap().to_string(), "e-0");
    assert_eq!(event.idempotency_key(), Some("order-7/placed"));
    assert_eq!((event.schema_version(), event.class()), (Some(3), Class::High));
    assert_eq!(event.ttl(), Some(Duration::from_millis(3_600_500)));
    let headers = event.headers().unwrap();
    assert_eq!(headers.content_type.as_deref(), Some("application/json"));
    assert_eq!(headers.destination.as_deref(), Some("billing"));
    assert_eq!(headers.operation_name.as_deref(), Some("checkout"));
    assert_eq!(headers.routing_key.as_deref(), Some("orders.eu"));
    assert_eq!(headers.partition_key.as_deref(), Some("customer-7"));
    assert_eq!((headers.retry_count, headers.max_retries), (Some(2), Some(5)));
    assert_eq!((event.attribute("tenant"), event.attribute("region")), (Some("north"), None));
    assert_eq!(event.attribute("a.b-c_d"), Some("line\nend \"quoted\" é🦀\u{7f}\u{2028}"));
    assert_eq!(headers.attributes.len(), 2);
}

#[test]
fn every_header_reaches_handlers_of_every_kind() {
    let bus = Bus::builder().lane(Lane::new("one")).lane(Lane::new("two").workers(2)).build().unwrap();
    bus.on("order.*").inline().handle(assert_everything).unwrap();
    bus.on("order.*").lane("one").handle(assert_everything).unwrap();
    bus.on("order.*").lane("two").handle_owned(|event| assert_everything(&event.as_event())).unwrap();
    bus.on("order.*").handle_async(|event| async move { assert_everything(&event.as_event()) }).unwrap();
    let report = everything(&bus, "order.placed").emit_and_wait().unwrap();
    assert!(report.all_handled() && report.outcomes.len() == 4, "{report}");
}

#[test]
fn an_event_of_which_nothing_was_said_has_no_headers() {
    let bus = Bus::builder().build().unwrap();
    let none = |event: &Event<'_>| {
        assert!(event.headers().is_none() && event.attribute("tenant").is_none());
        assert!(event.causation_id().is_none() && event.ttl().is_none());
    };
    bus.on("*").inline().handle(none).unwrap();
    assert_eq!(bus.emit("order.placed", 1).unwrap().inline().handled, 1);
    assert_eq!(bus.event("order.placed", 1).source("shop").emit().unwrap().inline().handled, 1);
}

#[test]
fn a_partition_key_orders_events_as_a_key_of_the_same_text_does() {
    let bus = Bus::builder().lane(Lane::new("many").workers(8)).build().unwrap();
    let (sender, threads) = mpsc::channel();
    bus.on("t").lane("many").handle(move |_| sender.send(thread::current().id())).unwrap();
    let next = || threads.recv_timeout(GUARD).unwrap();
    for customer in ["a", "b", "c", "d", "e", "f", "g", "h", "customer-7", ""] {
        bus.event("t", ()).key(customer).emit().unwrap();
        let wanted = next();
        for _ in 0..9 {
            bus.event("t", ()).partition_key(customer).emit().unwrap();
            assert_eq!(next(), wanted, "of {customer:?}");
            bus.event("t", ()).partition_key("another").key(customer).emit().unwrap();
            assert_eq!(next(), wanted, "the key that was said counts, of {customer:?}");
        }
    }
}

#[derive(serde::Serialize)]
struct Quote;

impl TypedEvent for Quote {
    const TOPIC: &'static str = "quote.made";
    const TTL: Option<Duration> = Some(Duration::from_secs(60));
}

#[test]
fn the_time_to_live_of_a_type_is_said_by_its_events() {
    let bus = Bus::builder().build().unwrap();
    let check = |event: &Event<'_>| {
        assert_eq!((event.ttl(), event.headers()), (Some(Duration::from_secs(60)), None));
        let line = nervebus::OwnedEvent::from_jsonl(event.to_jsonl().as_bytes()).unwrap();
        assert_eq!(line.as_event().ttl(), Some(Duration::from_secs(60)));
    };
    bus.on("quote.*").inline().handle(check).unwrap();
    assert_eq!(bus.topic::<Quote>().unwrap().emit(Quote).unwrap().inline().handled, 1);
}

#[test]
fn the_time_to_live_of_a_record_counts_from_its_timestamp() {
    let clock = ManualClock::new();
    let now = 1_700_000_000.5;
    clock.set_wall(UNIX_EPOCH + Duration::from_secs_f64(now));
    let bus = Bus::builder().clock(&clock).build().unwrap();
    bus.on("quote.*").inline().handle(|_| ()).unwrap();
    let record = |timestamp: Option<f64>| {
        let mut record = Record::new("quote.made", json!(1));
        record.timestamp = timestamp;
        record.headers.get_or_insert_default().ttl = Some(Duration::from_secs(60));
        record
    };
    for alive in [None, Some(now), Some(now - 50.0), Some(now + 1e9)] {
        assert_eq!(bus.emit_record(record(alive)).unwrap().inline().handled, 1, "at {alive:?}");
    }
    let late = bus.emit_record(record(Some(now - 61.0))).unwrap_err();
    assert!(matches!(&late, EmitError::Expired { payload } if *payload == json!(1)), "{late}");
}
