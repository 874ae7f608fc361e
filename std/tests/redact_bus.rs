//! A bus that redacts what it writes: the audit log, the dead letter log, the texts of errors.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

use std::fs;
use std::path::PathBuf;
use std::process;
use std::time::Duration;

use nervebus::{AuditLog, Bus, DataClass, DeadLetterLog, ManualClock, Record, Redactor, Retry, json};

const GUARD: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);

/// A file of this test, which goes with it.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("nervebus-redact-bus-{}-{name}", process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const SECRETS: [&str; 4] = ["alice@example.org", "4556737586899855", "hunter2", "bob@example.org"];

fn assert_clean(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is in {what}: {text}");
    }
}

fn payload() -> nervebus::Value {
    json!({"to": "alice@example.org", "card": 4556737586899855_u64, "login": {"Pass-Word": "hunter2"}, "seq": 7})
}

#[test]
fn nothing_sensitive_is_in_a_log_and_handlers_see_everything() {
    let (audit, letters) = (Temporary::new("events.jsonl"), Temporary::new("letters.jsonl"));
    let log = DeadLetterLog::at(&letters.0);
    let bus =
        Bus::builder().redact(Redactor::default()).audit(AuditLog::at(&audit.0)).dead_letter_log(log).build().unwrap();
    let fail = |event: &nervebus::Event<'_>| {
        assert_eq!(event.payload(), &payload());
        Err(format!("{} was not let in with {}", event["to"], event["login"]["Pass-Word"]))
    };
    bus.on("user.login").handle(fail).unwrap();
    let event = bus.event("user.login", payload()).source("app of bob@example.org").correlation_id("alice@example.org");
    assert_eq!(event.emit_and_wait().unwrap().failures().count(), 1);
    let letter = bus.dead_letters().list().remove(0);
    assert_clean("the error of a dead letter", &letter.error.replace("hunter2", ""));
    assert_eq!(letter.event.payload(), &payload(), "it is sent back as it was");
    assert!(bus.shutdown(GUARD).drained);
    let stats = bus.stats();
    assert!(stats.redacted[&DataClass::Email.to_string()] >= 3, "{:?}", stats.redacted);
    drop(bus);

    let first = audit.text().lines().next().unwrap().to_owned();
    let record = Record::from_jsonl(first.as_bytes()).unwrap();
    assert_eq!(record.event_type, "user.login");
    assert_eq!(record.payload["to"], "[REDACTED_EMAIL]");
    assert_eq!((&record.payload["card"], &record.payload["seq"]), (&json!("[REDACTED_CREDIT_CARD]"), &json!(7)));
    assert_eq!(record.correlation_id.as_deref(), Some("[REDACTED_EMAIL]"));
    assert_eq!(record.source.as_deref(), Some("app of [REDACTED_EMAIL]"));
    // A secret without a form of its own is known by its key, and not in a sentence.
    assert_clean("the audit log", &audit.text().replace("in with \\\"hunter2", ""));
    assert_clean("the log of dead letters", &letters.text().replace("in with \\\"hunter2", ""));
}

#[test]
fn errors_of_every_attempt_and_of_requests_are_redacted() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).redact(Redactor::default()).build().unwrap();
    let retry = Retry::exponential(SECOND).attempts(2).max_delay(SECOND).budget(100);
    bus.on("t").retry(retry).handle(|_| Err("no mailbox alice@example.org")).unwrap();
    bus.on("q").answer(|_| Err::<u32, _>("no mailbox alice@example.org")).unwrap();
    bus.emit("t", ()).unwrap();
    while !bus.ledger().lanes.iter().any(|lane| lane.retrying == 1) {
        std::thread::yield_now();
    }
    clock.advance(SECOND);
    while bus.dead_letters().is_empty() {
        std::thread::yield_now();
    }
    let letter = bus.dead_letters().list().remove(0);
    assert_eq!(letter.history.len(), 2);
    assert!(letter.history.iter().all(|attempt| attempt.error == "no mailbox [REDACTED_EMAIL]"));
    let error = bus.request::<_, u32>("q", (), GUARD).unwrap_err().to_string();
    assert!(error.contains("[REDACTED_EMAIL]") && !error.contains("alice"), "{error}");
    assert!(bus.shutdown(GUARD).ledger.balanced());
}

#[test]
fn a_hook_that_panics_hides_the_whole_value() {
    let audit = Temporary::new("panics.jsonl");
    let redactor = Redactor::default().allow_if(|_, _| panic!("a hook of the user's"));
    let bus = Bus::builder().audit(AuditLog::at(&audit.0).redact(redactor)).build().unwrap();
    bus.emit("mail.sent", payload()).unwrap();
    bus.emit("mail.sent", json!("nothing to see")).unwrap();
    let report = bus.shutdown(GUARD);
    assert!(report.drained && report.ledger.balanced());
    let text = audit.text();
    assert_clean("the audit log", &text);
    assert_eq!(text.lines().filter(|line| Record::from_jsonl(line.as_bytes()).is_ok()).count(), 2);
}

#[test]
fn a_log_of_dead_letters_may_keep_payloads_for_a_retry_after_a_restart() {
    let letters = Temporary::new("raw.jsonl");
    let build = || {
        let log = DeadLetterLog::at(&letters.0).unredacted();
        Bus::builder().redact(Redactor::default()).dead_letter_log(log).build().unwrap()
    };
    let bus = build();
    bus.on("user.login").name("login").handle(|_| Err("no mailbox alice@example.org")).unwrap();
    assert_eq!(bus.emit_and_wait("user.login", payload()).unwrap().failures().count(), 1);
    assert!(bus.shutdown(GUARD).drained);
    drop(bus);
    let bus = build();
    let letter = bus.dead_letters().list().remove(0);
    assert_eq!((letter.event.payload(), &*letter.error), (&payload(), "no mailbox [REDACTED_EMAIL]"));
}
