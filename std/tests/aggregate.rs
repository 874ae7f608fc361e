//! Event-sourced aggregates: folding, commands that conflict, snapshots, and what becomes of logs that do not fit.
#![cfg(feature = "durable")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests read files and stop at the first surprise")]

#[path = "support/folder.rs"]
mod folder;
#[path = "support/until.rs"]
mod until;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Barrier, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use folder::Folder;
use nervebus::{
    Aggregate, AggregateError, Aggregates, Bus, CommandError, DurableLog, Event, Level, TypedEvent, Value, json,
};
use serde::{Deserialize, Serialize};
use until::{GUARD, until};

#[derive(Event, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[event(topic = "account.changed", version = 2)]
enum Changed {
    Paid(u64),
    Withdrawn(u64),
    Frozen,
}

use Changed::{Frozen, Paid, Withdrawn};

#[derive(Default, Clone, Serialize, Deserialize, Debug, PartialEq)]
struct Account {
    cents: u64,
}

impl Aggregate for Account {
    type Event = Changed;

    fn apply(&mut self, event: &Changed) {
        match event {
            Paid(cents) => self.cents += cents,
            Withdrawn(cents) => self.cents -= cents,
            Frozen => panic!("frozen"),
        }
    }

    fn restore(version: Option<u32>, payload: &Value) -> Option<Result<Changed, Box<dyn Error + Send + Sync>>> {
        // Version 1 had only the amount.
        if version == Some(1) {
            return Some(payload["paid"].as_u64().map(Paid).ok_or_else(|| "no amount".into()));
        }
        Changed::from_json(payload)
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

fn log(folder: &Folder) -> DurableLog {
    DurableLog::at(folder.path().join("log")).topics("account.*").topics("filling").buffer(1 << 20)
}

fn bus(folder: &Folder) -> Bus {
    Bus::builder().durable(log(folder)).build().unwrap()
}

fn open(bus: &Bus) -> Aggregates<Account> {
    Aggregates::open(bus).unwrap()
}

fn end(bus: &Bus) {
    let end = bus.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced(), "{end}\n{}", end.ledger);
}

fn withdraw(cents: u64) -> impl Fn(&Account) -> Result<Changed, String> {
    move |account| match account.cents.checked_sub(cents) {
        Some(_) => Ok(Withdrawn(cents)),
        None => Err(format!("{cents} are more than {}", account.cents)),
    }
}

fn cents(accounts: &Aggregates<Account>, id: &str) -> (u64, u64) {
    let loaded = accounts.load(id).unwrap();
    (loaded.state.cents, loaded.version)
}

fn snapshot(folder: &Folder) -> PathBuf {
    folder.path().join("log.account.changed.snapshot")
}

/// Fills the log so that its oldest lines may go.
fn fill(bus: &Bus) {
    let padding = "x".repeat(1 << 20);
    for _ in 0..3 {
        bus.event("filling", padding.clone()).durable(Level::Written).emit().unwrap();
    }
}

#[test]
fn the_state_is_what_the_log_says_also_after_a_restart() {
    let folder = Folder::of("aggregate-fold");
    let first = bus(&folder);
    let accounts = open(&first);
    assert_eq!(accounts.append("a", 0, Paid(500)).unwrap(), 1);
    accounts.execute("b#1/x", |_| Ok::<_, String>(Paid(7))).unwrap();
    assert_eq!(accounts.execute("a", withdraw(200)).unwrap().version, 2);
    assert_eq!((cents(&accounts, "a"), cents(&accounts, "b#1/x"), cents(&accounts, "c")), ((300, 2), (7, 1), (0, 0)));
    end(&first);
    drop((first, accounts));

    let second = bus(&folder);
    let accounts = open(&second);
    assert_eq!((cents(&accounts, "a"), cents(&accounts, "b#1/x"), accounts.stats().events), ((300, 2), (7, 1), 3));
    assert_eq!(accounts.append("a", 2, Paid(1)).unwrap(), 3);
    end(&second);
}

#[test]
fn a_command_that_is_decided_against_stores_nothing() {
    let folder = Folder::of("aggregate-refused");
    let bus = bus(&folder);
    let accounts = open(&bus);
    let error = accounts.execute("a", withdraw(1)).unwrap_err();
    assert!(matches!(&error, CommandError::Refused(why) if why == "1 are more than 0"), "{error}");
    let nothing = accounts.execute("a", |_| Ok::<Option<Changed>, String>(None)).unwrap();
    assert_eq!((nothing.version, bus.stats().durable.unwrap().lines), (0, 0));
    end(&bus);
}

#[test]
fn an_append_to_another_version_than_was_expected_gives_the_event_back() {
    let folder = Folder::of("aggregate-conflict");
    let bus = bus(&folder);
    let accounts = open(&bus);
    accounts.append("a", 0, Paid(1)).unwrap();
    let error = accounts.append("a", 0, Paid(2)).unwrap_err();
    assert!(error.is_conflict() && error.to_string().contains("expected at version 0, and is at 1"), "{error}");
    assert_eq!(error.into_event(), Some(Paid(2)));
    assert_eq!((cents(&accounts, "a"), bus.stats().durable.unwrap().lines), ((1, 1), 1));
    end(&bus);
}

#[test]
fn commands_of_many_threads_are_decided_one_after_the_other() {
    let folder = Folder::of("aggregate-threads");
    let bus = bus(&folder);
    let accounts = open(&bus);
    let begin = Barrier::new(4);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (accounts, begin) = (accounts.clone(), &begin);
            scope.spawn(move || {
                begin.wait();
                for step in 0..50 {
                    // Each decides by what it sees: a state that somebody else has changed since would show.
                    let add = |account: &Account| Ok::<_, String>(Paid(account.cents + 1));
                    accounts.execute(if (thread + step) % 5 == 0 { "own" } else { "shared" }, add).unwrap();
                    if accounts.load("shared").unwrap().version % 20 == 19 {
                        accounts.execute("shared", |account| Ok::<_, String>(Withdrawn(account.cents))).unwrap();
                    }
                }
            });
        }
    });
    // Folded a second time, by who has only the log.
    let (live, passed) = (accounts.load("shared").unwrap(), accounts.stats().passed);
    drop(accounts);
    let again = open(&bus);
    assert_eq!((again.load("shared").unwrap(), again.stats().passed, passed), (live, 0, 0));
    end(&bus);
}

#[test]
fn an_inline_handler_may_read_and_command_others_but_not_the_one_at_work() {
    let folder = Folder::of("aggregate-inline");
    let bus = bus(&folder);
    let accounts: Arc<OnceLock<Aggregates<Account>>> = Arc::default();
    let (inner, (sender, said)) = (Arc::clone(&accounts), mpsc::channel());
    let handler = move |event: &Event<'_>| {
        let accounts = inner.get().unwrap();
        if event.id().to_string().ends_with("/a#1") {
            let busy = accounts.execute("a", withdraw(1)).unwrap_err();
            let read = accounts.load("a").unwrap().version;
            sender.send((matches!(busy, CommandError::Busy { .. }), read)).unwrap();
        }
    };
    bus.on("account.*").inline().handle(handler).unwrap();
    let opened = accounts.get_or_init(|| open(&bus));
    opened.append("a", 0, Paid(1)).unwrap();
    assert_eq!(said.recv_timeout(GUARD).unwrap(), (true, 0));
    assert_eq!(opened.append("a", 1, Paid(1)).unwrap(), 2, "its turn has come");
    end(&bus);
}

#[test]
fn its_events_are_those_of_the_typed_topic_with_key_version_and_identity() {
    let folder = Folder::of("aggregate-typed");
    let bus = bus(&folder);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let see = move |event: &Changed, of: &Event<'_>| {
        sees.lock().unwrap().push((event.clone(), of.id().to_string(), of.schema_version()));
    };
    bus.topic::<Changed>().unwrap().on().inline().handle(see).unwrap();
    open(&bus).append("7", 0, Paid(5)).unwrap();
    assert_eq!(*seen.lock().unwrap(), [(Paid(5), "account.changed/7#1".to_owned(), Some(2))]);
    end(&bus);
}

#[test]
fn what_is_emitted_on_the_topic_in_another_way_belongs_to_no_aggregate() {
    let folder = Folder::of("aggregate-foreign");
    let bus = bus(&folder);
    let accounts = open(&bus);
    bus.emit_durable("account.changed", json!({"Paid": 9})).unwrap();
    accounts.append("a", 0, Paid(1)).unwrap();
    // The first of two that make one version counts.
    bus.event("account.changed", json!({"Paid": 9}))
        .event_id("account.changed/a#1")
        .durable(Level::Synced)
        .emit()
        .unwrap();
    bus.event("account.changed", json!({"Paid": 9}))
        .event_id("account.changed/a#3")
        .durable(Level::Synced)
        .emit()
        .unwrap();
    assert_eq!((cents(&accounts, "a"), accounts.stats().passed), ((1, 1), 3));
    end(&bus);
}

#[test]
fn an_event_of_an_older_version_is_lifted() {
    let folder = Folder::of("aggregate-lifted");
    let bus = bus(&folder);
    let old = bus.event("account.changed", json!({"paid": 9})).event_id("account.changed/a#1").schema_version(1);
    old.durable(Level::Synced).emit().unwrap();
    assert_eq!(cents(&open(&bus), "a"), (9, 1));
    end(&bus);
}

#[test]
fn an_event_that_cannot_be_taken_in_concerns_its_aggregate_only() {
    let folder = Folder::of("aggregate-broken");
    let bus = bus(&folder);
    let accounts = open(&bus).snapshot_every(1);
    accounts.append("a", 0, Paid(1)).unwrap();
    let error = accounts.append("b", 0, Frozen).unwrap_err();
    assert!(matches!(error, CommandError::Load(AggregateError::Broken { position: 2, .. })), "{error}");
    let unreadable = bus.event("account.changed", json!("?")).event_id("account.changed/c#1");
    unreadable.durable(Level::Synced).emit().unwrap();
    for id in ["b", "c"] {
        let error = accounts.load(id).unwrap_err();
        assert!(error.to_string().starts_with(&format!("aggregate {id:?} cannot be read")), "{error}");
    }
    accounts.append("a", 1, Paid(1)).unwrap();
    assert_eq!((cents(&accounts, "a"), accounts.stats().snapshot), ((2, 2), Some(1)), "no snapshot hides it");
    end(&bus);
}

#[test]
fn a_snapshot_stands_for_the_events_before_it() {
    let folder = Folder::of("aggregate-snapshot");
    let first = bus(&folder);
    let accounts = open(&first).snapshot_every(4);
    for version in 0..6 {
        accounts.append("a", version, Paid(1)).unwrap();
    }
    assert_eq!(accounts.stats().snapshot, Some(4));
    end(&first);
    drop((first, accounts));

    let second = bus(&folder);
    let accounts = open(&second);
    assert_eq!((cents(&accounts, "a"), accounts.stats().events), ((6, 6), 2));
    assert_eq!(accounts.append("a", 6, Paid(1)).unwrap(), 7);
    end(&second);
}

#[test]
fn a_snapshot_that_does_not_fit_is_not_used() {
    #[derive(Default, Clone, Serialize, Deserialize)]
    struct Reshaped {
        events: u64,
    }
    impl Aggregate for Reshaped {
        type Event = Changed;
        const SHAPE: u32 = 2;
        fn apply(&mut self, _: &Changed) {
            self.events += 1;
        }
    }
    let folder = Folder::of("aggregate-misfit");
    let first = bus(&folder);
    let accounts = open(&first).snapshot_every(2);
    (0..3).for_each(|version| assert_eq!(accounts.append("a", version, Paid(5)).unwrap(), version + 1));
    drop(accounts);
    let reshaped = Aggregates::<Reshaped>::open(&first).unwrap();
    let stats = reshaped.stats();
    assert_eq!((reshaped.load("a").unwrap().state.events, stats.events, stats.snapshot), (3, 3, None));
    assert_eq!(stats.snapshot_error.unwrap(), "it has account.changed in shape 1");
    drop(reshaped);

    // Cut off, as no kill leaves it, for it is replaced as a whole.
    let whole = fs::read_to_string(snapshot(&folder)).unwrap();
    for broken in ["", "{", whole.lines().next().unwrap(), &whole[..whole.len() - 3]] {
        fs::write(snapshot(&folder), broken).unwrap();
        let accounts = open(&first);
        assert_eq!((cents(&accounts, "a"), accounts.stats().events), ((15, 3), 3), "{broken}");
    }
    end(&first);
    drop(first);

    // Another log is there now, or the machine has forgotten the last lines of this one.
    fs::write(snapshot(&folder), whole).unwrap();
    fs::remove_dir_all(folder.path().join("log")).unwrap();
    let second = bus(&folder);
    let accounts = open(&second);
    assert_eq!(cents(&accounts, "a"), (0, 0));
    for (version, id) in ["b", "c", "d"].into_iter().enumerate() {
        assert_eq!(accounts.append(id, 0, Paid(version as u64)).unwrap(), 1);
    }
    drop(accounts);
    let accounts = open(&second);
    assert_eq!((cents(&accounts, "a"), cents(&accounts, "d")), ((0, 0), (2, 1)));
    assert!(accounts.stats().snapshot_error.unwrap().contains("another event at position 2"));
    end(&second);
}

#[test]
fn the_log_keeps_what_no_snapshot_has_and_lets_go_what_one_has() {
    let folder = Folder::of("aggregate-kept");
    let build = || Bus::builder().durable(log(&folder).keep_bytes(1).checkpoint(1, HOUR)).build().unwrap();
    let first_position = |bus: &Bus| bus.stats().durable.unwrap().first;
    let first = build();
    let accounts = open(&first);
    accounts.append("a", 0, Paid(1)).unwrap();
    fill(&first);
    end(&first);
    drop((first, accounts));

    let second = build();
    assert_eq!(first_position(&second), 1, "all of it, also while they are not open");
    let accounts = open(&second).snapshot_every(1);
    accounts.append("a", 1, Paid(1)).unwrap();
    fill(&second);
    end(&second);
    assert_eq!(first_position(&second), 5, "the run of the snapshot's last event is the first");
    drop((second, accounts));

    let third = build();
    let accounts = open(&third);
    assert_eq!((cents(&accounts, "a"), accounts.stats().events), ((2, 2), 0));
    end(&third);
    drop((third, accounts));

    fs::remove_file(snapshot(&folder)).unwrap();
    let fourth = build();
    let error = Aggregates::<Account>::open(&fourth).unwrap_err();
    assert!(matches!(error, AggregateError::Truncated { needed: 1, first: 5 }), "{error}");
    end(&fourth);
}

#[test]
fn events_that_a_hard_limit_has_let_go_are_missed_and_not_forgotten() {
    let folder = Folder::of("aggregate-overrun");
    let build = || Bus::builder().durable(log(&folder).hard_limit(1)).build().unwrap();
    let first = build();
    let accounts = open(&first);
    accounts.append("a", 0, Paid(1)).unwrap();
    accounts.append("a", 1, Paid(1)).unwrap();
    assert_eq!(cents(&accounts, "a"), (2, 2));
    fill(&first);
    until(|| first.stats().durable.unwrap().first > 2);
    assert!(matches!(accounts.load("a"), Err(AggregateError::Truncated { .. })), "there may have been more of it");
    end(&first);
    drop((first, accounts));

    let second = build();
    let error = Aggregates::<Account>::open(&second).unwrap_err();
    assert!(matches!(error, AggregateError::Truncated { .. }), "{error}");
    end(&second);
}

#[test]
fn what_cannot_be_folded_is_refused_when_it_is_opened() {
    #[derive(Event, Serialize, Deserialize)]
    #[event(topic = "account.named")]
    struct Named {
        #[event(pii)]
        name: String,
    }
    #[derive(Default, Clone, Serialize, Deserialize, Debug)]
    struct Person;
    impl Aggregate for Person {
        type Event = Named;
        fn apply(&mut self, _: &Named) {}
    }
    let folder = Folder::of("aggregate-refusals");
    let plain = Bus::builder().build().unwrap();
    assert!(matches!(Aggregates::<Account>::open(&plain), Err(AggregateError::NotDurable { .. })));
    let other = Bus::builder().durable(DurableLog::at(folder.path().join("other")).topics("order.*")).build().unwrap();
    assert!(matches!(Aggregates::<Account>::open(&other), Err(AggregateError::NotDurable { .. })));
    let bus = bus(&folder);
    assert!(matches!(Aggregates::<Person>::open(&bus), Err(AggregateError::PersonalData { .. })));
    let accounts = open(&bus);
    assert!(matches!(Aggregates::<Account>::open(&bus), Err(AggregateError::InUse { .. })));
    drop(accounts);
    let accounts = open(&bus);
    end(&bus);
    assert_eq!(accounts.append("a", 0, Paid(1)).unwrap_err().into_event(), Some(Paid(1)), "the bus is shut down");
    drop(bus);
    let error = accounts.append("a", 0, Paid(1)).unwrap_err();
    assert!(matches!(error, CommandError::Closed { event: Some(Paid(1)) }), "{error}");
}
