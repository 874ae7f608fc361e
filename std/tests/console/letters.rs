//! Dead letters over HTTP: listed, shown, sent back, taken out.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use nervebus::console::Console;
use nervebus::{Bus, Redactor, json};
use serde_json::Value;

use crate::client::{GUARD, Served, TOKEN};

/// A bus whose handlers fail until they are told that all is well.
fn failing() -> (Bus, Arc<AtomicBool>) {
    let bus = Bus::builder().dead_letters(100).build().unwrap();
    let well = Arc::new(AtomicBool::new(false));
    for (pattern, name) in [("order.*", "store"), ("mail.*", "smtp")] {
        let well = Arc::clone(&well);
        let handler = move |_: &nervebus::Event<'_>| well.load(Ordering::Relaxed).then_some(()).ok_or("no room");
        bus.on(pattern).name(name).inline().handle(handler).unwrap();
    }
    (bus, well)
}

fn served(bus: &Bus) -> Served {
    Served::of(Console::of(bus).token(TOKEN).unwrap())
}

/// The numbers of the letters in an answer.
fn ids(answer: &Value) -> Vec<u64> {
    answer["letters"].as_array().unwrap().iter().map(|letter| letter["id"].as_u64().unwrap()).collect()
}

#[test]
fn letters_are_listed_newest_first_and_narrowed_down() {
    let (bus, _) = failing();
    let served = served(&bus);
    for topic in ["order.placed", "mail.sent", "order.paid"] {
        bus.emit(topic, json!({"n": 1})).unwrap();
    }
    let list = served.get("/dead-letters").json();
    assert_eq!((ids(&list), &list["kept"], &list["total"]), (vec![3, 2, 1], &json!(3), &json!(3)));
    let letter = &list["letters"][0];
    let shown = ["topic", "reason", "handler", "pattern", "error"].map(|key| letter[key].as_str().unwrap());
    assert_eq!(shown, ["order.paid", "handler_error", "store", "order.*", "no room"]);
    assert!(letter.get("event").is_none() && letter["failed_at"].is_f64(), "{letter}");
    assert_eq!(ids(&served.get("/dead-letters?topic=order.%2A&limit=1").json()), [3]);
    assert_eq!(ids(&served.get("/dead-letters?topic=order.*&reason=handler_error").json()), [3, 1]);
    assert_eq!(ids(&served.get("/dead-letters?handler=smtp").json()), [2]);
    assert_eq!(ids(&served.get("/dead-letters?reason=expired").json()), [0; 0]);

    let whole = served.get("/dead-letters/3").json();
    assert_eq!((&whole["event"]["event_type"], &whole["event"]["payload"]), (&json!("order.paid"), &json!({"n": 1})));
    assert_eq!((&whole["event"]["event_id"], &whole["attempts"]), (&whole["event_id"], &json!(1)));
}

#[test]
fn a_letter_goes_back_to_its_handler_and_is_gone_when_that_is_well() {
    let (bus, well) = failing();
    let served = served(&bus);
    bus.emit("order.placed", json!({})).unwrap();
    let answer = served.change("POST", "/dead-letters/1/retry", "");
    assert_eq!((answer.status, answer.json()), (202, json!({"sent": [1]})));
    let letter = served.get("/dead-letters/1").json();
    assert_eq!((&letter["retries"], letter["history"].as_array().map(Vec::len)), (&json!(1), Some(2)));
    assert_eq!(letter["history"][1]["error"], "no room");

    well.store(true, Ordering::Relaxed);
    assert_eq!(served.change("POST", "/dead-letters/1/retry", "").status, 202);
    assert_eq!((bus.dead_letters().len(), bus.dead_letters().retried()), (0, 1));
    let answer = served.change("POST", "/dead-letters/1/retry", "");
    assert_eq!((answer.status, &*answer.error()), (404, "there is no dead letter 1"));
}

#[test]
fn a_letter_whose_handler_has_gone_stays() {
    let bus = Bus::builder().dead_letters(10).build().unwrap();
    let id = bus.on("order.placed").name("store").inline().handle(|_| Err::<(), _>("no stock")).unwrap();
    let served = served(&bus);
    bus.emit("order.placed", json!({})).unwrap();
    bus.unsubscribe(id);
    let answer = served.change("POST", "/dead-letters/1/retry", "");
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.error().contains("store"), "{answer:?}");
    let answer = served.change("POST", "/dead-letters/retry", r#"{"ids": [1, 9]}"#).json();
    assert_eq!(
        (&answer["sent"], &answer["skipped"][0]["id"], &answer["skipped"][1]["id"]),
        (&json!([]), &json!(1), &json!(9))
    );
    assert_eq!(bus.dead_letters().len(), 1);
}

#[test]
fn several_letters_go_back_or_are_taken_out_at_once() {
    let (bus, well) = failing();
    let served = served(&bus);
    for _ in 0..4 {
        bus.emit("order.placed", json!({})).unwrap();
        bus.emit("mail.sent", json!({})).unwrap();
    }
    let change = |what: &str, body: &str| served.change("POST", &format!("/dead-letters/{what}"), body).json();
    assert_eq!(change("purge", r#"{"ids": [1, 99]}"#), json!({"purged": 1}));
    assert_eq!(change("purge", r#"{"handler": "smtp", "topic": "order.*"}"#), json!({"purged": 0}), "all must fit");
    assert_eq!(change("purge", r#"{"topic": "mail.*", "reason": "handler_error"}"#), json!({"purged": 4}));
    well.store(true, Ordering::Relaxed);
    assert_eq!(change("retry", r#"{"ids": [5]}"#), json!({"sent": [5], "skipped": []}));
    assert_eq!(change("retry", r#"{"limit": 1}"#), json!({"sent": [3], "skipped": []}));
    assert_eq!(change("purge", r#"{"all": true}"#), json!({"purged": 1}));
    assert_eq!((bus.dead_letters().retried(), bus.dead_letters().removed()), (2, 6));
}

#[test]
fn a_body_that_is_too_long_or_says_too_little_changes_nothing() {
    let (bus, _) = failing();
    let served = served(&bus);
    bus.emit("order.placed", json!({})).unwrap();
    let long = format!(r#"{{"all": true, "topic": "{}"}}"#, "x".repeat(16 << 10));
    for (body, status, why) in [
        (&*long, 413, "the body has more than 16384 bytes"),
        ("", 400, "the body must say which: "),
        ("{}", 400, "the body must say which: "),
        (r#"{"all": false}"#, 400, "the body must say which: "),
        (r#"{"all": true, "topic": "order.*"}"#, 400, "the body must say which: "),
        (r#"{"al": true}"#, 400, "the body is not what is wanted: unknown field `al`"),
        (r#"{"all": true"#, 400, "the body is not what is wanted: "),
        (r#"{"topic": "order."}"#, 400, "pattern \"order.\": "),
        (r#"{"reason": "mood"}"#, 400, "there is no reason \"mood\""),
        (r#"{"ids": ["1"]}"#, 400, "the body is not what is wanted: "),
    ] {
        let answer = served.change("POST", "/dead-letters/purge", body);
        assert_eq!(answer.status, status, "{body}");
        assert!(answer.error().starts_with(why), "{body}: {answer:?}");
    }
    let answer = served.change("POST", "/dead-letters/retry", r#"{"ids": [1], "limit": 5}"#);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(bus.dead_letters().get(1).map(|letter| letter.retries), Some(0));
}

#[test]
fn a_handler_that_takes_its_time_holds_up_nobody_else() {
    let bus = Bus::builder().dead_letters(10).build().unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let (here, arrived) = mpsc::channel();
    let wait = Mutex::new(wait);
    let handler = move |event: &nervebus::Event<'_>| {
        if event.attempt() == 1 {
            return Err("not at first");
        }
        here.send(()).unwrap();
        let _ = wait.lock().unwrap().recv();
        Ok(())
    };
    bus.on("order.placed").inline().handle(handler).unwrap();
    bus.emit("order.placed", json!({})).unwrap();
    let served = served(&bus);
    thread::scope(|scope| {
        let retrying = scope.spawn(|| served.change("POST", "/dead-letters/1/retry", "").status);
        arrived.recv_timeout(GUARD).unwrap();
        assert_eq!(served.get("/stats").status, 200, "the server's one thread is free");
        drop(go);
        assert_eq!(retrying.join().unwrap(), 202);
    });
}

/// What is shown of an event that failed: the list, the letter, and the event as it came.
fn shown(bus: &Bus, payload: Value, error: &'static str) -> String {
    bus.on("user.login").inline().handle(move |_| Err::<(), _>(error)).unwrap();
    let served = served(bus);
    let mut tail = served.tail("?pattern=user.*");
    bus.event("user.login", payload).source("bob@example.net").correlation_id("carol@example.net").emit().unwrap();
    served.change("POST", "/dead-letters/1/retry", "");
    let (list, letter) = (served.get("/dead-letters").body, served.get("/dead-letters/1").body);
    assert!(list.contains("user.login") && letter.contains("\"history\":[{"), "{letter}");
    format!("{list}\n{letter}\n{}", tail.event())
}

#[test]
fn nobody_is_shown_what_is_secret_even_where_the_bus_redacts_nothing() {
    let bus = Bus::builder().dead_letters(10).build().unwrap();
    let payload = json!({"email": "alice@example.net", "apiKey": "hunter2hunter2", "note": "4556 7375 8689 9855"});
    let shown = shown(&bus, payload, "no mail to dave@example.net");
    for secret in ["alice@", "bob@", "carol@", "dave@", "hunter2", "4556"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
    assert!(shown.contains("[REDACTED_EMAIL]"), "{shown}");
}

#[test]
fn what_the_bus_redacts_is_redacted_and_only_that_is_counted_which_it_did_itself() {
    let bus = Bus::builder().dead_letters(10).redact(Redactor::default().key("employee_no")).build().unwrap();
    let shown = shown(&bus, json!({"employeeNo": 8_061_945}), "no");
    assert!(!shown.contains("8061945") && shown.contains(r#""employeeNo":"[REDACTED]""#), "{shown}");
    assert_eq!(bus.stats().redacted.values().sum::<u64>(), 0, "looking on changes no figure");
}
