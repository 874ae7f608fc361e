//! What events must be like: what is refused, what the report says of it, and who sees what of a refused event.
#![allow(clippy::disallowed_methods, reason = "tests read files")]

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nervebus::{
    AuditLog, BuildError, Builder, Bus, DeadLetterLog, EmitError, NameRule, Query, RateLimit, Reason, Record, Redactor,
    Replay, RequestError, TypedEvent, Validation, ValidationReport, Value, extract_action, extract_domain,
    is_valid_event_type, json,
};
use proptest::prelude::*;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};

#[path = "support/logs.rs"]
mod logs;

const LONG: Duration = Duration::from_secs(10);

fn with(rules: Validation) -> Bus {
    Bus::builder().validate(rules).build().unwrap()
}

/// The rules that are broken.
fn broken(report: &ValidationReport) -> Vec<&str> {
    report.errors.iter().map(|issue| &*issue.rule).collect()
}

fn report_of<P>(error: EmitError<P>) -> ValidationReport {
    match error {
        EmitError::Invalid { report, .. } => *report,
        other => panic!("another error: {other}"),
    }
}

/// A type with personal data.
#[derive(Serialize, Clone, PartialEq, Debug)]
struct Order {
    id: Option<u64>,
    email: String,
}

impl TypedEvent for Order {
    const TOPIC: &'static str = "order.placed";
    const PII: &'static [&'static str] = &["email"];
}

fn order() -> Order {
    Order { id: Some(7), email: "alice@example.com".into() }
}

#[test]
fn a_refused_event_reaches_nobody_comes_back_and_is_counted() {
    let folder = logs::Folder::new();
    let rules = Validation::new().require("*", "id");
    let bus = Bus::builder().audit(AuditLog::at(folder.log())).validate(rules).build().unwrap();
    let (sender, seen) = mpsc::channel();
    for on in [bus.on("*"), bus.on("order.placed").inline()] {
        let sender = sender.clone();
        on.handle(move |event| sender.send(event["id"].clone()).unwrap()).unwrap();
    }
    let error = bus.emit("order.placed", json!({"name": "refused"})).unwrap_err();
    assert_eq!(error.to_string(), "the event is not valid: required_field: id: it is missing or null");
    assert_eq!(error.into_payload(), json!({"name": "refused"}));
    bus.emit("order.placed", json!({"id": 7})).unwrap();
    assert!(bus.shutdown(LONG).drained);
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), [7, 7]);
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.refused, ledger.balanced()), (2, 1, true));
    assert_eq!((bus.stats().guards.invalid, bus.dead_letters().len()), (1, 0));
    let text = fs::read_to_string(folder.log()).unwrap();
    assert_eq!((text.lines().count(), text.contains("refused")), (1, false), "{text}");
}

#[test]
fn every_way_to_emit_is_held_against_the_rules() {
    let bus = with(Validation::new().require("*", "id"));
    let orders = bus.topic::<Order>().unwrap();
    orders.on().inline().handle(|_, _| ()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let none = Order { id: None, ..order() };
    let (name, bad) = (Order::TOPIC, || json!({}));
    let errors = [
        bus.emit(name, bad()).unwrap_err(),
        bus.try_emit(name, bad()).unwrap_err(),
        bus.event(name, bad()).source("shop").emit().unwrap_err(),
        bus.emit_and_wait(name, bad()).map(drop).unwrap_err(),
        bus.publisher(name).unwrap().emit(bad()).unwrap_err(),
        runtime.block_on(bus.emit_async(name, bad())).unwrap_err(),
        runtime.block_on(bus.emit_and_wait_async(name, bad())).map(drop).unwrap_err(),
        bus.emit("nobody.listens", bad()).unwrap_err(),
    ];
    let errors = errors.map(|error| (broken(error.report().unwrap()).join(" "), error.into_payload()));
    assert!(errors.iter().all(|(rule, payload)| (&**rule, payload) == ("required_field", &json!({}))), "{errors:?}");
    let mut topic = orders.clone();
    let typed = [
        topic.emit(none.clone()).unwrap_err(),
        topic.emit_shared(none.clone()).unwrap_err(),
        orders.emit_and_wait(none.clone()).map(drop).unwrap_err(),
        runtime.block_on(topic.emit_async(none.clone())).unwrap_err(),
    ];
    assert!(typed.into_iter().all(|error| error.report().is_some() && error.into_payload() == none));
    bus.on(name).inline().answer(|_| Ok::<_, String>(7_u64)).unwrap();
    let refused = bus.request::<_, u64>(name, bad(), LONG).unwrap_err();
    assert!(matches!(refused, RequestError::Emit(EmitError::Invalid { .. })), "{refused}");
    assert_eq!((bus.ledger().refused, bus.stats().guards.invalid, bus.ledger().balanced()), (13, 13, true));
    topic.emit(order()).expect("it has what it must have");
}

#[test]
fn all_that_is_wrong_is_in_the_report_unless_the_first_is_enough() {
    let rules = || {
        Validation::new()
            .domains(["user", "order"])
            .require_source()
            .require("*", "id")
            .require("*", "name")
            .rule("odd", |event| if event["n"] == 1 { Ok(()) } else { Err("it is not odd".into()) })
    };
    let bus = with(rules());
    let report = report_of(bus.emit("Shop.opened", json!({})).unwrap_err());
    assert_eq!(broken(&report), ["name", "domain", "source", "required_field", "required_field", "odd"]);
    let text = report.to_string();
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.contains(r#"error: domain: there are user, order (found "Shop")"#), "{text}");
    assert!(text.ends_with("error: odd: it is not odd"), "{text}");
    assert_eq!(broken(&report_of(bus.event("user.login", json!({"id": 7})).emit().unwrap_err())).len(), 3);
    bus.event("user.login", json!({"id": 7, "name": "", "n": 1})).source("web").emit().unwrap();

    let fast = with(rules().fail_fast());
    for (topic, source, payload, first) in [
        ("Shop.opened", "", json!({}), "name"),
        ("shop.opened", "", json!({}), "domain"),
        ("user.login", "", json!({}), "source"),
        ("user.login", "web", json!({}), "required_field"),
        ("user.login", "web", json!({"id": 7, "name": 7}), "odd"),
    ] {
        assert_eq!(broken(&report_of(fast.event(topic, payload).source(source).emit().unwrap_err())), [first]);
    }
}

#[test]
fn a_name_that_is_refused_does_not_become_known() {
    let bus = with(Validation::new().domains(["user"]));
    let known = bus.stats().topics;
    for name in ["User.login", "user", "order.placed", "system.failed"] {
        assert!(bus.emit(name, ()).unwrap_err().report().is_some(), "{name}");
    }
    assert!(matches!(bus.emit("user..login", ()), Err(EmitError::InvalidTopic { .. })), "no bus takes it");
    assert_eq!((bus.stats().topics, bus.ledger().refused), (known, 5));
    bus.on("User.login").handle(|_| ()).expect("rules are for events");
    assert_eq!(broken(&report_of(bus.emit("User.login", ()).unwrap_err())), ["name", "domain"]);
}

#[test]
fn names_are_free_where_the_rule_for_them_is_off() {
    let bus = with(Validation::new().names(NameRule::Lenient));
    bus.emit("Anything goes".replace(' ', "_").as_str(), ()).unwrap();
    assert_eq!(broken(&report_of(bus.emit("system.mine", ()).unwrap_err())), ["domain"]);
    with(Validation::new().allow_system()).emit("system.mine", ()).unwrap();
}

#[test]
fn the_bus_goes_on_to_say_what_it_has_to_say() {
    let bus = with(Validation::new().domains(["order"]).require_source().require("*", "id"));
    let (sender, told) = mpsc::channel();
    bus.on("system.handler_error").handle(move |event| sender.send(event["error"].clone()).unwrap()).unwrap();
    bus.on("order.*").handle(|_| Err::<(), _>("no stock")).unwrap();
    bus.event("order.placed", json!({"id": 7})).source("shop").emit().unwrap();
    assert!(bus.shutdown(LONG).drained);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), ["no stock"]);
}

#[test]
fn a_field_is_found_through_objects_arrays_and_pointers() {
    let has = |path: &str, payload: Value| with(Validation::new().require("a.*", path)).validate("a.b", &payload);
    for (path, payload) in [
        ("customer.id", json!({"customer": {"id": 0}})),
        ("items.1.sku", json!({"items": [7, {"sku": false}]})),
        ("0", json!([""])),
        ("0", json!({"0": []})),
        ("/a.b/c~1d", json!({"a.b": {"c/d": 1}})),
    ] {
        assert!(has(path, payload.clone()).is_valid(), "{path} in {payload}");
    }
    for (path, payload) in [
        ("customer.id", json!({"customer": {"id": null}})),
        ("customer.id", json!({"customer.id": 7})),
        ("customer.id", json!("customer.id")),
        ("items.1", json!({"items": [7]})),
        ("items.-1", json!({"items": [7]})),
        ("/a/b", json!({"a": 7})),
    ] {
        let report = has(path, payload.clone());
        assert_eq!(report.errors.first().and_then(|issue| issue.field.as_deref()), Some(path), "{payload}");
    }
    let bus = with(Validation::new().require("a.*", "id").require("*.b", "name"));
    let missing = |topic: &str| bus.validate(topic, &()).errors.len();
    assert_eq!(["a.b", "a.c", "b.b", "c.c"].map(missing), [2, 1, 1, 0]);
}

#[test]
fn personal_data_counts_as_there_and_is_not_in_the_report() {
    let rules = Validation::new().require("order.*", "email").require("order.*", "id").max_payload_bytes(37);
    let bus = with(rules);
    let mut orders = bus.topic::<Order>().unwrap();
    assert_eq!(serde_json::to_string(&order()).unwrap().len(), 36);
    orders.emit(order()).unwrap();
    let longer = Order { email: "alice2@example.com".into(), ..order() };
    orders.emit(longer.clone()).expect("37 bytes");
    let error = orders.emit(Order { email: format!("x{}", longer.email), ..longer }).unwrap_err();
    assert_eq!(broken(error.report().unwrap()), ["payload_size"], "it is measured with its personal data");
    assert!(!format!("{error} {error:?}").contains("example.com"));
}

#[test]
fn a_payload_that_is_too_large_or_too_deep_is_not_looked_into() {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let rules = Validation::new().max_payload_bytes(64).max_nesting(2).require("*", "id").rule("asked", |_| {
        CALLS.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    let bus = with(rules);
    let deep = json!([[["deep"]]]);
    assert_eq!(broken(&bus.validate("a.b", &deep)), ["payload_nesting"]);
    assert_eq!(broken(&bus.validate("a.b", &"x".repeat(63))), ["payload_size"]);
    let both = json!({"id": [[["x".repeat(64)]]]});
    assert_eq!(broken(&bus.validate("a.b", &both)), ["payload_size", "payload_nesting"]);
    assert_eq!(CALLS.load(Ordering::Relaxed), 0);
    assert!(bus.validate("a.b", &json!({"id": ["[[[{{{\\\"[["]})).is_valid(), "brackets in a text are none");
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
}

/// Its `Serialize` fails, or panics.
#[derive(Debug)]
struct Broken {
    panics: bool,
}

impl Serialize for Broken {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        assert!(!self.panics, "out of paper");
        Err(S::Error::custom("no ink"))
    }
}

#[test]
fn a_payload_that_cannot_be_written_is_refused_where_it_must_be_read() {
    let bus = with(Validation::new().max_nesting(9).dead_letter());
    for (panics, message) in [(false, "it cannot be written as JSON"), (true, "its `Serialize` panicked: out of paper")]
    {
        let report = report_of(bus.emit("a.b", Broken { panics }).unwrap_err());
        assert_eq!((broken(&report), &*report.errors[0].message), (vec!["payload"], message));
    }
    let bus = with(Validation::new().require("*", "id").dead_letter());
    assert_eq!(broken(&report_of(bus.emit("a.b", Broken { panics: true }).unwrap_err())), ["payload"]);
    assert_eq!(broken(&report_of(bus.emit("a.b", Broken { panics: false }).unwrap_err())), ["required_field"]);
    let bus = with(Validation::new().rule("no", |_| Err("no".into())).dead_letter());
    assert_eq!(broken(&report_of(bus.emit("a.b", Broken { panics: true }).unwrap_err())), ["no"]);
    assert_eq!(*bus.dead_letters().list()[0].event.payload(), Value::Null);
    with(Validation::new()).emit("a.b", Broken { panics: true }).expect("nobody reads it");
}

#[test]
fn a_rule_sees_what_is_said_of_an_event() {
    let (sender, seen) = mpsc::channel();
    let bus = with(Validation::new().rule("look", move |event| {
        let said = (event.source(), event.correlation_id(), event.event_id(), event.idempotency_key());
        sender.send(format!("{} {said:?} {:?}", event.topic(), event.schema_version())).unwrap();
        sender.send(format!("{} {}", event["email"], event.reveal()["email"])).unwrap();
        sender.send(format!("{:?}", event.payload_as::<Order>().map(|order| order.id))).unwrap();
        Ok(())
    }));
    bus.topic::<Order>().unwrap().emit(order()).unwrap();
    let emission = bus.event("order.placed", order()).source("shop").correlation_id("req-1");
    emission.event_id("e-1").idempotency_key("k-1").schema_version(3).emit().unwrap();
    bus.validate("order.placed", &order());
    let value = [r#""[REDACTED_PII]" "alice@example.com""#, "Some(Some(7))"];
    let nothing = "order.placed (None, None, None, None)";
    let all = r#"order.placed (Some("shop"), Some("req-1"), Some("e-1"), Some("k-1")) Some(3)"#;
    let firsts = [format!("{nothing} Some(1)"), all.to_owned(), format!("{nothing} None")];
    let expected: Vec<_> =
        firsts.into_iter().flat_map(|first| [first, value[0].to_owned(), value[1].to_owned()]).collect();
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_rule_sees_the_headers_of_an_event() {
    let bus = with(Validation::new().rule("tenant", |event| match event.attribute("tenant") {
        Some(_) => Ok(()),
        None => Err(format!("no tenant, for {:?}", event.headers().and_then(|headers| headers.destination.as_deref()))),
    }));
    let emission = || bus.event("order.placed", json!({})).destination("billing");
    let refused = report_of(emission().emit().unwrap_err());
    assert_eq!(refused.errors[0].message, r#"no tenant, for Some("billing")"#);
    assert!(emission().attribute("tenant", "acme").emit().is_ok());
}

#[test]
fn a_rule_sees_what_an_event_inherits() {
    let bus = with(Validation::new().rule("traced", |event| event.correlation_id().map(drop).ok_or("untraced".into())));
    let inner = bus.downgrade();
    let (sender, seen) = mpsc::channel();
    bus.on("order.placed")
        .handle(move |_| sender.send(inner.upgrade().unwrap().emit("order.seen", ()).is_ok()).unwrap())
        .unwrap();
    assert!(bus.emit("order.placed", ()).is_err());
    bus.event("order.placed", ()).correlation_id("req-1").emit().unwrap();
    assert_eq!(seen.recv_timeout(LONG), Ok(true));
}

#[test]
fn a_rule_that_panics_refuses_the_event_and_the_bus_goes_on() {
    let bus = with(Validation::new().rule("brittle", |event| match event["n"].as_u64() {
        Some(_) => Ok(()),
        None => panic!("no number"),
    }));
    let report = report_of(bus.emit("a.b", json!({})).unwrap_err());
    assert_eq!(report.to_string(), "error: brittle: the rule panicked: no number");
    bus.emit("a.b", json!({"n": 1})).unwrap();
    assert!(bus.ledger().balanced());
}

#[test]
fn a_warning_lets_the_event_go_and_is_told() {
    let told = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&told);
    let rules = Validation::new()
        .warn("dated", |event| if event["date"].is_null() { Err("it has no date".into()) } else { Ok(()) })
        .warn("brittle", |event| if event["date"] == 0 { panic!("epoch") } else { Ok(()) })
        .require("*", "id")
        .on_report(move |event, report| {
            assert_eq!(event.topic(), "a.b");
            count.fetch_add(1, Ordering::Relaxed);
            assert!(report.errors.is_empty(), "this panic ends here");
        });
    let bus = with(rules);
    bus.emit("a.b", json!({"id": 1})).unwrap();
    bus.emit("a.b", json!({"id": 1, "date": 0})).unwrap();
    assert_eq!(bus.emit("a.b", json!({})).unwrap_err().report().map(|report| report.warnings.len()), Some(1));
    bus.emit("a.b", json!({"id": 1, "date": 1})).unwrap();
    let guards = bus.stats().guards;
    assert_eq!((guards.invalid, guards.warned, told.load(Ordering::Relaxed)), (1, 2, 3));
    let report = bus.validate("a.b", &json!({"id": 1}));
    assert_eq!((report.is_valid(), report.is_empty()), (true, false));
    assert_eq!(report.to_string(), "warning: dated: it has no date");
    assert_eq!(bus.stats().guards.warned, 2, "trying out counts nothing");
}

#[test]
fn a_refused_event_is_a_dead_letter_where_that_was_asked_for() {
    let rules = Validation::new().require("order.*", "id").max_payload_bytes(64).dead_letter();
    let bus = with(rules);
    bus.on("order.*").inline().handle(|_| ()).unwrap();
    let none = Order { id: None, ..order() };
    let emission = bus.event("order.placed", json!({"id": null})).source("shop").correlation_id("req-1");
    emission.emit().unwrap_err();
    assert_eq!(bus.topic::<Order>().unwrap().emit(none.clone()).unwrap_err().into_payload(), none);
    bus.emit("Order.placed", json!({"id": 1})).unwrap_err();
    bus.emit("order.placed", "x".repeat(64)).unwrap_err();
    let letters = bus.dead_letters().list();
    let rows: Vec<_> = letters.iter().map(|letter| (letter.event.topic(), letter.event.payload().clone())).collect();
    let redacted = json!({"id": null, "email": "[REDACTED_PII]"});
    assert_eq!(
        rows,
        [
            ("order.placed", json!({"id": null})),
            ("order.placed", redacted),
            ("Order.placed", json!({"id": 1})),
            ("order.placed", Value::Null)
        ]
    );
    let first = &letters[0];
    assert_eq!((first.reason, &*first.handler, first.attempts), (Reason::ValidationError, "validation", 0));
    assert_eq!(first.error, "required_field: id: it is missing or null");
    let event = first.event.as_event();
    assert_eq!((event.source(), event.correlation_id(), event.seq()), (Some("shop"), Some("req-1"), 1));
    assert!(bus.dead_letters().retry(first.id).is_err(), "no handler has failed");
    let ledger = bus.ledger();
    assert_eq!((ledger.refused, ledger.balanced()), (4, true));
}

#[test]
fn such_a_dead_letter_is_read_back_from_its_file() {
    let folder = logs::Folder::new();
    let build = || {
        let log = DeadLetterLog::at(folder.path("letters.jsonl"));
        Bus::builder()
            .dead_letter_log(log)
            .validate(Validation::new().require("*", "id").dead_letter())
            .build()
            .unwrap()
    };
    let bus = build();
    bus.event("a.b", json!({"n": 7})).source("shop").emit().unwrap_err();
    bus.shutdown(LONG);
    let bus = build();
    let letters = bus.dead_letters().find(&Query::new().reason(Reason::ValidationError)).unwrap();
    let [letter] = &letters[..] else { panic!("{} letters", letters.len()) };
    assert_eq!((letter.event["n"].as_u64(), letter.event.as_event().source()), (Some(7), Some("shop")));
    assert_eq!((&*letter.handler, &*letter.error), ("validation", "required_field: id: it is missing or null"));
}

#[test]
fn what_the_rules_refuse_takes_nothing_from_a_limit() {
    let limit = RateLimit::per_second(1).burst(1);
    let bus = Bus::builder().rate_limit("*", limit).validate(Validation::new().require("*", "id")).build().unwrap();
    for _ in 0..3 {
        assert!(bus.emit("a.b", json!({})).unwrap_err().report().is_some());
    }
    bus.emit("a.b", json!({"id": 1})).expect("the token is there");
    assert!(bus.emit("a.b", json!({"id": 1})).unwrap_err().retry_after().is_some());
}

#[test]
fn what_is_replayed_was_checked_before() {
    let bus = with(Validation::new().require("*", "id"));
    let (sender, seen) = mpsc::channel();
    bus.on("a.*").handle(move |_| sender.send(()).unwrap()).unwrap();
    bus.replay(Replay::from_records([Record::new("a.b", json!({}))])).unwrap();
    assert!(bus.shutdown(LONG).drained);
    assert_eq!(seen.try_iter().count(), 1);
}

#[test]
fn what_a_rule_says_is_redacted_and_cannot_forge_a_line() {
    let says = |text: &'static str| Validation::new().rule("mail", move |_| Err(text.into())).dead_letter();
    let bus = Bus::builder().redact(Redactor::default()).validate(says("alice@example.com is no\nerror: name")).build();
    let bus = bus.unwrap();
    let text = bus.emit("a.b", ()).unwrap_err().report().unwrap().to_string();
    assert!(text.starts_with("error: mail: ") && text.contains("[REDACTED_EMAIL]"), "{text}");
    assert!(!text.contains('\n') && !text.contains("alice"), "{text}");
    assert!(!bus.dead_letters().list()[0].error.contains("alice"));
    assert!(!bus.validate("a.b", &()).to_string().contains("alice"));
    let long = with(Validation::new().rule("long", |_| Err("x".repeat(100_000))));
    assert!(long.emit("a.b", ()).unwrap_err().to_string().len() < 400);
}

#[test]
fn rules_that_cannot_be_kept_fail_when_the_bus_is_built() {
    let refused = |rules: Validation| Bus::builder().validate(rules).build().map(drop).unwrap_err().to_string();
    for (rules, expected) in [
        (Validation::new().max_payload_bytes(0), "validation.max_payload_bytes is 0, outside its range 1..=1073741824"),
        (Validation::new().max_nesting(1_001), "validation.max_nesting is 1001, outside its range 0..=1000"),
        (Validation::new().domains(["a.b"]), r#"validation.domains: "a.b" is no domain"#),
        (Validation::new().domains(["user", ""]), r#"validation.domains: "" is no domain"#),
        (Validation::new().domains(Vec::<String>::new()), "validation.domains: no domain is named"),
        (Validation::new().require("*", ""), r#"validation.require: "" is no path"#),
        (Validation::new().require("*", "/a~2"), r#"validation.require: "/a~2" is no JSON Pointer"#),
        (Validation::new().require("*", "/a~"), r#"validation.require: "/a~" is no JSON Pointer"#),
        (Validation::new().require("*", "a..b"), r#"validation.require: "a..b" is no path"#),
    ] {
        let error = refused(rules);
        assert!(error.starts_with(expected), "{error}");
    }
    let error = Bus::builder().validate(Validation::new().require("a..b", "id")).build().unwrap_err();
    assert!(matches!(error, BuildError::Pattern { .. }), "{error}");
    let built = |builder: Builder| builder.build().map(drop);
    built(Bus::builder().validate(Validation::new().max_nesting(0).max_payload_bytes(1 << 30))).unwrap();
    built(Bus::builder().validate(Validation::new().require("*", "/a~1b~0"))).unwrap();
}

#[test]
fn names_can_be_looked_at_without_a_bus() {
    let names = ["user.login", "chat.message.sent", "login", "User.login", "a..b", ""];
    assert_eq!(names.map(is_valid_event_type), [true, true, false, false, false, false]);
    let domains = [Some("user"), Some("chat"), Some("login"), Some("User"), None, None];
    assert_eq!(names.map(extract_domain), domains);
    assert_eq!(names.map(extract_action), [Some("login"), Some("message.sent"), None, Some("login"), None, None]);
}

#[cfg(feature = "durable")]
#[test]
fn a_rule_for_a_durable_topic_holds_up_no_other_emitter() {
    use nervebus::{DurableError, DurableLog};
    let folder = logs::Folder::new();
    let (begun, asked) = mpsc::channel();
    let (answer, answered) = mpsc::channel::<()>();
    let answered = std::sync::Mutex::new(answered);
    let rules = Validation::new().require("order.*", "id").dead_letter().rule("slow", move |event| {
        if event["id"] == 1 {
            begun.send(()).unwrap();
            answered.lock().unwrap().recv_timeout(LONG).map_err(|_| "nobody else could emit".to_owned())?;
        }
        Ok(())
    });
    let log = DurableLog::at(folder.path("log")).topics("order.*");
    let bus = Bus::builder().durable(log).validate(rules).build().unwrap();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| bus.emit("order.placed", json!({"id": 1})).map(drop));
        asked.recv_timeout(LONG).unwrap();
        bus.emit_durable("order.placed", json!({"id": 2})).unwrap();
        answer.send(()).unwrap();
        slow.join().unwrap().unwrap();
    });
    let refused = bus.emit_durable("order.placed", json!({})).unwrap_err();
    assert!(matches!(refused, DurableError::Emit(EmitError::Invalid { .. })), "{refused}");
    assert!(bus.publisher("order.placed").unwrap().emit(json!({})).is_err());
    assert!(bus.emit("order.Placed", json!({"id": 3})).is_err());
    let ledger = bus.ledger();
    assert_eq!((ledger.emitted, ledger.refused, ledger.balanced()), (5, 3, true));
    assert_eq!(bus.dead_letters().list().iter().map(|letter| letter.event.seq()).collect::<Vec<_>>(), [3, 4, 5]);
    assert!(bus.shutdown(LONG).drained);
    assert!(bus.emit("order.placed", json!({})).unwrap_err().is_closed());
    assert_eq!(bus.dead_letters().len(), 3);
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[\\[\\]{}\"\\\\a\u{e9}\u{1}]{0,6}", any::<String>()];
    let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), text.prop_map(Value::from)];
    leaf.prop_recursive(5, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[\\[{\"\\\\a]{0,3}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn size_and_nesting_are_what_a_whole_document_would_say(value in any_json()) {
        let (size, depth) = (serde_json::to_vec(&value).unwrap().len(), depth(&value));
        let judged = |rules| broken(&with(rules).validate("a.b", &value)).is_empty();
        prop_assert!(judged(Validation::new().max_payload_bytes(size)));
        prop_assert!(judged(Validation::new().max_nesting(depth)));
        prop_assert!(judged(Validation::new().max_payload_bytes(size).max_nesting(depth)));
        if size > 1 {
            prop_assert!(!judged(Validation::new().max_payload_bytes(size - 1)));
        }
        if depth > 0 {
            prop_assert!(!judged(Validation::new().max_nesting(depth - 1)));
            prop_assert!(!judged(Validation::new().max_nesting(depth - 1).max_payload_bytes(size)));
        }
    }
}
