//! A registry of buses: one bus for each name, whoever asks and however often, and nobody waits for another name.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start threads and stop at the first surprise"
)]

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nervebus::{AuditLog, Builder, Bus, BusRegistry, Event, Lane, RegistryError};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);

/// A bus that costs little.
fn small() -> Builder {
    Bus::builder().default_lane(Lane::new("default").capacity(16)).dead_letters(16)
}

/// A bus that cannot be built.
fn impossible() -> Builder {
    small().max_depth(0)
}

/// Which bus this is: no two have the same number in their events' ids.
fn identity(bus: &Bus) -> u64 {
    let (sender, id) = mpsc::channel();
    let subscription =
        bus.on("who").inline().handle(move |event| sender.send(event.id().to_string()).unwrap()).unwrap();
    bus.emit("who", ()).unwrap();
    bus.unsubscribe(subscription);
    let id = id.try_recv().unwrap();
    u64::from_str_radix(&id[..16], 16).unwrap()
}

/// A registry one of whose buses is being built on another thread until told to go on.
struct UnderWay {
    registry: BusRegistry,
    go: Sender<fn() -> Builder>,
    builder: JoinHandle<Result<Bus, RegistryError>>,
}

impl UnderWay {
    fn of(name: &'static str, max: usize) -> Self {
        let registry = BusRegistry::new(max).unwrap();
        let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<fn() -> Builder>());
        let own = registry.clone();
        let builder = thread::spawn(move || {
            own.get_or_create(name, || {
                begin.send(()).unwrap();
                gone.recv_timeout(GUARD).unwrap()()
            })
        });
        begun.recv_timeout(GUARD).unwrap();
        Self { registry, go, builder }
    }

    /// Asks on another thread. It may take that thread a while to begin to wait; the result comes by the channel.
    fn ask(&self, name: &'static str) -> Receiver<Result<Bus, RegistryError>> {
        let ((sender, result), (asking, asked)) = (mpsc::channel(), mpsc::channel());
        let registry = self.registry.clone();
        thread::spawn(move || {
            asking.send(()).unwrap();
            let _ = sender.send(registry.get_or_create(name, small));
        });
        asked.recv_timeout(GUARD).unwrap();
        (0..1_000).for_each(|_| thread::yield_now());
        assert!(result.try_recv().is_err(), "the bus is not there yet");
        result
    }
}

#[test]
fn many_threads_that_ask_for_one_name_build_one_bus() {
    const THREADS: usize = 64;
    let (registry, builds, start) = (BusRegistry::new(4).unwrap(), AtomicUsize::new(0), Barrier::new(THREADS));
    let seen = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                let describe = || {
                    builds.fetch_add(1, Ordering::Relaxed);
                    // Long enough for others to come by.
                    (0..1_000).for_each(|_| thread::yield_now());
                    small()
                };
                seen.lock().unwrap().push(registry.get_or_create("tenant", describe).unwrap());
            });
        }
    });
    assert_eq!(builds.into_inner(), 1);
    assert_eq!((registry.len(), registry.names()), (1, vec!["tenant".to_owned()]));
    let seen = seen.into_inner().unwrap();
    let first = identity(&registry.get("tenant").unwrap());
    assert!(seen.len() == THREADS && seen.iter().all(|bus| identity(bus) == first));
}

#[test]
fn nobody_waits_for_the_build_of_another_name() {
    let under_way = UnderWay::of("slow", 3);
    let registry = &under_way.registry;
    let quick = registry.get_or_create("quick", small).unwrap();
    assert_eq!(identity(&registry.get("quick").unwrap()), identity(&quick));
    registry.create("another", small).unwrap();
    assert!(registry.get("slow").is_none() && registry.remove("slow").is_none());
    assert_eq!((registry.len(), registry.names()), (2, vec!["another".to_owned(), "quick".to_owned()]));
    let full = registry.get_or_create("one.more", small).unwrap_err();
    assert!(matches!(full, RegistryError::Full { max: 3 }), "what is being built has its place: {full}");
    under_way.go.send(small).unwrap();
    let slow = under_way.builder.join().unwrap().unwrap();
    assert_eq!(identity(&under_way.registry.get("slow").unwrap()), identity(&slow));
}

#[test]
fn who_waits_for_a_build_gets_its_bus() {
    let under_way = UnderWay::of("slow", 1);
    let waiting = [under_way.ask("slow"), under_way.ask("slow")];
    under_way.go.send(small).unwrap();
    let slow = identity(&under_way.builder.join().unwrap().unwrap());
    waiting.iter().for_each(|waiting| assert_eq!(identity(&waiting.recv_timeout(GUARD).unwrap().unwrap()), slow));
}

#[test]
fn a_build_that_fails_leaves_no_trace_and_the_next_in_line_tries() {
    let under_way = UnderWay::of("tenant", 1);
    let next = under_way.ask("tenant");
    under_way.go.send(impossible).unwrap();
    let error = under_way.builder.join().unwrap().unwrap_err();
    assert!(matches!(error, RegistryError::Build(_)) && error.source().is_some());
    assert_eq!(error.to_string(), "the bus could not be built: max_depth is 0, outside its range 1..=1000");
    assert!(next.recv_timeout(GUARD).unwrap().is_ok());

    let registry = BusRegistry::new(1).unwrap();
    assert!(registry.create("first", impossible).is_err());
    assert!(registry.is_empty() && registry.names().is_empty() && registry.get("first").is_none());
    assert!(registry.create("second", small).is_ok(), "the first has given its place back");
}

#[test]
fn a_builder_that_panics_leaves_no_trace_and_the_next_in_line_tries() {
    let under_way = UnderWay::of("tenant", 1);
    let next = under_way.ask("tenant");
    under_way.go.send(|| panic!("a settings file is missing")).unwrap();
    assert!(under_way.builder.join().is_err(), "the panic goes to whoever asked with this builder");
    assert!(next.recv_timeout(GUARD).unwrap().is_ok());

    let registry = BusRegistry::new(1).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| registry.create("tenant", || panic!("again"))));
    assert!(panicked.is_err() && registry.is_empty());
    assert!(registry.get_or_create("tenant", small).is_ok());
}

#[test]
fn create_wants_a_new_name() {
    let registry = BusRegistry::new(2).unwrap();
    registry.create("a", small).unwrap();
    let error = registry.create("a", || panic!("nobody needs it")).unwrap_err();
    assert!(matches!(&error, RegistryError::Exists { name } if name == "a"));
    assert_eq!(error.to_string(), r#"there is a bus "a" already"#);
    registry.get_or_create("a", || panic!("nor here")).unwrap();
}

#[test]
fn a_full_registry_says_its_limit_and_takes_one_again_when_one_is_removed() {
    let registry = BusRegistry::new(2).unwrap();
    registry.create("a", small).unwrap();
    registry.create("b", small).unwrap();
    let error = registry.create("c", || panic!("there is no room")).unwrap_err();
    assert_eq!(error.to_string(), "the registry has its limit of 2 buses");
    assert!(registry.get_or_create("b", small).is_ok(), "one that is there needs no room");
    assert_eq!((registry.len(), registry.max()), (2, 2));

    let removed = registry.remove("a").unwrap();
    assert!(registry.get("a").is_none() && registry.remove("a").is_none());
    registry.create("c", small).unwrap();
    removed.subscribe("t", |_| ()).unwrap();
    assert!(removed.emit_and_wait("t", ()).unwrap().all_handled(), "a removed bus goes on");
}

#[test]
fn the_number_of_buses_and_their_names_have_a_range() {
    for max in [0, 65_537, usize::MAX] {
        let error = BusRegistry::new(max).unwrap_err();
        assert_eq!(error.to_string(), format!("registry.max is {max}, outside its range 1..=65536"));
    }
    let registry = BusRegistry::new(65_536).unwrap();
    for name in ["", "a b", "a*", "ä", "a\0", "a:b", &"x".repeat(65)] {
        let error = registry.get_or_create(name, || panic!("the name is wrong")).unwrap_err();
        let rule = "is not 1 to 64 bytes of letters, digits, '-', '_', '.' and '/'";
        assert_eq!(error.to_string(), format!("bus name {name:?} {rule}"));
        assert!(registry.get(name).is_none());
    }
    for name in ["a", "A-1_b.c/d", &"x".repeat(64)] {
        registry.create(name, small).unwrap();
    }
}

#[test]
fn a_bus_that_is_asked_for_by_its_own_builder_is_an_error_and_no_deadlock() {
    let registry = BusRegistry::new(2).unwrap();
    let mut inner = None;
    let built = registry.get_or_create("a", || {
        inner = registry.get_or_create("a", small).err();
        small()
    });
    assert!(built.is_ok() && matches!(inner, Some(RegistryError::WouldDeadlock { name }) if name == "a"));
}

#[test]
fn builders_that_ask_for_each_others_buses_do_not_lock_up() {
    let (registry, both) = (BusRegistry::new(2).unwrap(), Arc::new(Barrier::new(2)));
    let (sender, results) = mpsc::channel();
    for (own, other) in [("a", "b"), ("b", "a")] {
        let (registry, both, sender) = (registry.clone(), both.clone(), sender.clone());
        thread::spawn(move || {
            let mut refused = false;
            let built = registry.get_or_create(own, || {
                both.wait();
                refused = matches!(registry.get_or_create(other, small), Err(RegistryError::WouldDeadlock { .. }));
                small()
            });
            sender.send((built.is_ok(), refused)).unwrap();
        });
    }
    let results = [results.recv_timeout(GUARD).unwrap(), results.recv_timeout(GUARD).unwrap()];
    assert!(results.iter().all(|(built, _)| *built));
    assert_eq!(results.iter().filter(|(_, refused)| *refused).count(), 1, "one of the two is told, the other waits");
}

#[test]
fn shutting_all_down_drains_each_and_reports_by_name() {
    let registry = BusRegistry::new(8).unwrap();
    for (n, name) in ["c", "a", "b"].into_iter().enumerate() {
        let bus = registry.create(name, small).unwrap();
        bus.subscribe("t", |_| ()).unwrap();
        (0..=n).for_each(|_| assert_eq!(bus.emit("t", ()).unwrap().admitted(), 1));
    }
    let reports = registry.shutdown_all(GUARD);
    let handled: Vec<_> = reports.iter().map(|(name, report)| (&**name, report.handled)).collect();
    assert_eq!(handled, [("a", 2), ("b", 3), ("c", 1)]);
    assert!(reports.iter().all(|(_, report)| report.drained && report.ledger.balanced()));

    for refused in [registry.get_or_create("a", small), registry.get_or_create("d", small), registry.create("d", small)]
    {
        assert_eq!(refused.unwrap_err().to_string(), "the registry was shut down");
    }
    let a = registry.get("a").unwrap();
    assert!(a.emit("t", ()).unwrap_err().is_closed());
    assert_eq!(registry.len(), 3, "they are still there to be looked at");
    assert_eq!(registry.shutdown_all(GUARD), reports.into_iter().map(with_refusal).collect::<Vec<_>>());
}

/// The account of a bus after what the test above emits on the closed bus `a`.
fn with_refusal(of: (String, nervebus::ShutdownReport)) -> (String, nervebus::ShutdownReport) {
    let (name, mut report) = of;
    if name == "a" {
        report.ledger.emitted += 1;
        report.ledger.refused += 1;
    }
    (name, report)
}

/// A handler that says that it has begun, and goes on when it is told to, or nobody is left to tell it.
fn held() -> (impl Fn(&Event<'_>) + Send + Sync + 'static, Receiver<()>, Sender<()>) {
    let ((begin, begun), (go, gone)) = (mpsc::channel(), mpsc::channel::<()>());
    let gone = Mutex::new(gone);
    let handler = move |_: &Event<'_>| {
        let _ = begin.send(());
        let _ = gone.lock().unwrap().recv();
    };
    (handler, begun, go)
}

#[test]
fn buses_that_are_stuck_share_one_deadline_and_cost_the_others_nothing() {
    let registry = BusRegistry::new(8).unwrap();
    let mut held_up = Vec::new();
    for name in ["a", "b", "c"] {
        let bus = registry.create(name, small).unwrap();
        let (handler, begun, go) = held();
        bus.subscribe("t", handler).unwrap();
        (0..3).for_each(|_| assert!(bus.emit("t", ()).is_ok()));
        begun.recv_timeout(GUARD).unwrap();
        held_up.push((bus, go));
    }
    // This one can go on only while the others are being waited for, and has a log to write out and sync after that.
    let log = std::env::temp_dir().join(format!("nervebus-registry-{}.jsonl", std::process::id()));
    let late = registry.create("z", || small().audit(AuditLog::at(&log))).unwrap();
    let (handler, begun, go) = held();
    late.subscribe("t", handler).unwrap();
    (0..3).for_each(|_| assert!(late.emit("t", ()).is_ok()));
    begun.recv_timeout(GUARD).unwrap();
    let bus = held_up[0].0.clone();
    let releaser = thread::spawn(move || {
        let since = Instant::now();
        while !(bus.emit("t", ()).is_err_and(|error| error.is_closed())) {
            assert!(since.elapsed() < GUARD, "the shutdown did not begin");
            thread::yield_now();
        }
        drop(go);
    });
    let reports = registry.shutdown_all(Duration::from_secs(1));
    releaser.join().unwrap();
    std::fs::remove_file(log).unwrap();
    for (name, report) in &reports {
        let outcome = (report.drained, report.left);
        assert_eq!(outcome, if name == "z" { (true, 0) } else { (false, 2) }, "{name}: {report}");
    }
    for (bus, go) in held_up {
        drop(go);
        let report = bus.shutdown(GUARD);
        assert!(report.ledger.balanced() && report.handled == 1, "{}", report.ledger);
    }
}

#[test]
fn whoever_waits_or_builds_when_all_is_shut_down_is_told() {
    let under_way = UnderWay::of("slow", 2);
    under_way.registry.create("there", small).unwrap();
    let waiting = under_way.ask("slow");
    let reports = under_way.registry.shutdown_all(GUARD);
    assert_eq!(reports.len(), 1, "nobody waits for the one that is being built");
    assert!(matches!(waiting.recv_timeout(GUARD).unwrap(), Err(RegistryError::Closed)));
    under_way.go.send(small).unwrap();
    assert!(matches!(under_way.builder.join().unwrap(), Err(RegistryError::Closed)));
    assert_eq!(under_way.registry.names(), ["there"]);
}

#[test]
fn a_handler_may_shut_all_down() {
    let registry = BusRegistry::new(2).unwrap();
    let (own, other) = (registry.create("own", small).unwrap(), registry.create("other", small).unwrap());
    other.subscribe("t", |_| ()).unwrap();
    assert!(other.emit("t", ()).is_ok());
    let (sender, reports) = mpsc::channel();
    let all = registry.clone();
    own.subscribe("stop", move |_| sender.send(all.shutdown_all(GUARD)).unwrap()).unwrap();
    own.emit("stop", ()).unwrap();
    // Had the handler waited for its own bus, this would take all of the deadline.
    let reports = reports.recv_timeout(GUARD / 2).unwrap();
    assert_eq!(reports.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["other", "own"]);
    assert!(reports[0].1.drained && reports[0].1.handled == 1);
    let end = own.shutdown(GUARD);
    assert!(end.drained && end.ledger.balanced());
}

#[test]
fn dropping_the_last_registry_drops_its_buses() {
    let registry = BusRegistry::new(2).unwrap();
    let (kept, weak) = (registry.create("kept", small).unwrap(), registry.create("gone", small).unwrap().downgrade());
    let clone = registry.clone();
    drop(registry);
    assert!(weak.upgrade().is_some(), "a clone is left");
    drop(clone);
    assert!(weak.upgrade().is_none());
    assert!(kept.emit("t", ()).is_ok(), "another handle keeps this one at work");
}

#[test]
fn two_registries_know_nothing_of_each_other() {
    let (left, right) = (BusRegistry::new(1).unwrap(), BusRegistry::new(1).unwrap());
    let buses = [left.create("same", small).unwrap(), right.create("same", small).unwrap()];
    assert_ne!(identity(&buses[0]), identity(&buses[1]));
    left.shutdown_all(GUARD);
    assert!(right.get_or_create("same", small).is_ok());
}

/// Handles go anywhere.
const _: () = {
    const fn anywhere<T: Send + Sync + Clone + 'static>() {}
    anywhere::<BusRegistry>();
};
