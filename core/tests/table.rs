//! Routes and tables: order, versions, limits, and what a reader sees while they change.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;

use nervebus_core::route::StaticRoute;
use nervebus_core::snapshot::Snapshot;
use nervebus_core::table::{Busy, StaticTable, SubscribeError, SubscriptionTable};
use nervebus_core::{Entry, LaneId, Priority, Route, SubscriptionId, route::EntryList};
use proptest::prelude::*;

fn entry<H>(id: u64, lane: u16, priority: i32, handler: H) -> Entry<H> {
    Entry::new(SubscriptionId::new(id), LaneId::new(lane), Priority::new(priority), handler)
}

fn ids<H>(entries: &[Entry<H>]) -> Vec<u64> {
    entries.iter().map(|entry| entry.id.get()).collect()
}

fn id(number: u64) -> SubscriptionId {
    SubscriptionId::new(number)
}

#[test]
fn entries_are_sorted_by_lane_then_priority_then_identity() {
    let route = StaticRoute::<(), 8>::new();
    let all = [(5, 1, 100), (4, 0, 100), (3, 0, 100), (2, 7, 1), (1, 0, 200), (6, 1, 300)];
    let route =
        all.iter().fold(route, |route, &(id, lane, priority)| route.with(entry(id, lane, priority, ())).unwrap());
    assert_eq!(ids(route.entries()), [1, 3, 4, 6, 5, 2]);
    assert_eq!(ids(route.inline()), [1, 3, 4]);
    let lanes: Vec<_> = route.lanes().map(|(lane, entries)| (lane.get(), ids(entries))).collect();
    assert_eq!(lanes, [(1, vec![6, 5]), (7, vec![2])]);
    assert_eq!(ids(route.lane(LaneId::new(1))), [6, 5]);
    assert_eq!(ids(route.lane(LaneId::INLINE)), [1, 3, 4]);
    assert!(route.lane(LaneId::new(2)).is_empty() && route.lane(LaneId::new(8)).is_empty());
}

#[test]
fn a_route_without_inline_entries_or_without_any_has_empty_parts() {
    let empty = StaticRoute::<(), 2>::new();
    assert!(empty.is_empty() && empty.inline().is_empty() && empty.lanes().next().is_none());
    let queued = empty.with(entry(1, 3, 100, ())).unwrap();
    assert!(queued.inline().is_empty());
    assert_eq!(queued.lanes().count(), 1);
    assert!(empty.is_empty(), "a change leaves the old route as it was");
}

#[test]
fn each_change_is_one_version_and_an_entry_remembers_its_first() {
    let table = StaticTable::<(), 4>::new();
    assert_eq!(table.subscribe(entry(1, 0, 100, ())).unwrap(), 1);
    assert_eq!(table.subscribe(entry(2, 0, 100, ())).unwrap(), 2);
    assert_eq!(table.unsubscribe(id(1)), Ok(Some(3)));
    assert_eq!(table.unsubscribe(id(1)), Ok(None), "it is gone, and nothing was published");
    let mut late = entry(3, 0, 100, ());
    late.since = 99;
    assert_eq!(table.subscribe(late).unwrap(), 4);
    let route = table.load();
    let since: Vec<_> = route.entries().iter().map(|entry| (entry.id.get(), entry.since)).collect();
    assert_eq!((route.version(), since), (4, vec![(2, 2), (3, 4)]));
}

#[test]
fn a_full_table_gives_the_entry_back_and_takes_it_when_there_is_room() {
    let table = StaticTable::<&str, 1>::new();
    table.subscribe(entry(1, 0, 100, "one")).unwrap();
    let refused = table.subscribe(entry(2, 5, 7, "two")).unwrap_err();
    assert!(refused.is_full() && !refused.is_busy());
    assert_eq!(refused.to_string(), "subscription 2: the table is full");
    let back = refused.into_inner();
    assert_eq!((back.id.get(), back.lane.get(), back.priority.get(), back.handler), (2, 5, 7, "two"));
    table.unsubscribe(id(1)).unwrap();
    assert_eq!(table.subscribe(back).unwrap(), 3);
}

#[test]
fn a_busy_table_gives_the_entry_back_and_keeps_its_route() {
    let table = StaticTable::<&str, 4, 2>::new();
    let first = table.load();
    table.subscribe(entry(1, 0, 100, "one")).unwrap();
    let refused = table.subscribe(entry(2, 0, 100, "two")).unwrap_err();
    assert!(refused.is_busy());
    assert_eq!(table.unsubscribe(id(1)), Err(Busy), "the spare version is held by `first`");
    assert!(matches!(&refused, SubscribeError::Busy(back) if back.handler == "two"));
    drop(first);
    assert_eq!(table.subscribe(refused.into_inner()).unwrap(), 2);
    assert_eq!(ids(table.load().entries()), [1, 2]);
}

#[test]
fn an_emptied_table_keeps_no_handler_alive() {
    let handler = Arc::new(());
    let table = StaticTable::<Arc<()>, 4>::new();
    for number in 1..=4 {
        table.subscribe(entry(number, 0, 100, Arc::clone(&handler))).unwrap();
    }
    let reader = table.load();
    for number in 1..=4 {
        table.unsubscribe(id(number)).unwrap();
    }
    assert_eq!(Arc::strong_count(&handler), 5, "one here, and those the reader may still call");
    drop(reader);
    table.reclaim();
    assert_eq!(Arc::strong_count(&handler), 1);
}

#[test]
fn a_table_shows_its_route() {
    let table = StaticTable::<(), 2>::default();
    table.subscribe(entry(7, 1, 2, ())).unwrap();
    let shown = format!("{table:?}");
    assert!(shown.starts_with("SubscriptionTable(Route { version: 1, entries: [Entry { id: 7"), "{shown}");
}

#[test]
fn an_unsubscribe_that_nobody_reads_is_quiet_at_once() {
    let table = StaticTable::<(), 4>::new();
    table.subscribe(entry(1, 0, 100, ())).unwrap();
    assert!(table.unsubscribe_watched(id(2)).unwrap().is_none(), "there is no such entry");
    let mut gone = table.unsubscribe_watched(id(1)).unwrap().unwrap();
    assert_eq!((gone.version(), gone.is_quiet()), (2, true));
    assert_eq!(gone.wait(|_| panic!("nothing to wait for")).unwrap(), 2);
}

#[test]
fn every_route_from_before_an_unsubscribe_is_waited_for_and_none_from_after_it() {
    let table = StaticTable::<(), 4>::new();
    table.subscribe(entry(1, 0, 100, ())).unwrap();
    let oldest = table.load();
    table.subscribe(entry(2, 0, 100, ())).unwrap();
    let old = table.load();
    let gone = table.unsubscribe_watched(id(1)).unwrap().unwrap();
    let _new = table.load();
    let mut gone = gone.wait(|turn| turn < 2).expect_err("two routes with the handler are held");
    drop(old);
    assert!(!gone.is_quiet(), "the older one has the handler as well");
    drop(oldest);
    assert!(gone.is_quiet());
}

#[test]
fn a_place_that_is_read_again_does_not_count_for_the_route_that_was_there() {
    let table = StaticTable::<(), 4, 2>::new();
    table.subscribe(entry(1, 0, 100, ())).unwrap();
    let old = table.load();
    let mut gone = table.unsubscribe_watched(id(1)).unwrap().unwrap();
    assert_eq!(table.unsubscribe_watched(id(1)).err(), Some(Busy), "the other version is held");
    assert!(!gone.is_quiet());
    drop(old);
    table.subscribe(entry(2, 0, 100, ())).unwrap();
    let _new = table.load();
    drop(table.load());
    assert!(gone.is_quiet(), "the one who reads there now reads another route");
    table.subscribe(entry(3, 0, 100, ())).unwrap();
    assert!(gone.is_quiet(), "once quiet, always quiet");
}

/// Two threads are inside the handler when it is unsubscribed; a third one waits for them.
fn waiting_ends_with_the_last_call<L, C>(table: &SubscriptionTable<Arc<()>, L, C>)
where
    L: EntryList<Arc<()>> + Sync,
    C: Snapshot<Route<Arc<()>, L>> + Sync,
    for<'a> C::Retired<'a>: Send,
{
    let handler = Arc::new(());
    table.subscribe(entry(1, 0, 100, Arc::clone(&handler))).unwrap();
    let (inside, calls) = (Barrier::new(3), AtomicUsize::new(2));
    thread::scope(|scope| {
        // In here, so that a failed assertion drops the senders, and with that ends the calls.
        let [first, second] = [(); 2].map(|()| channel());
        for end in [first.1, second.1] {
            let (inside, calls) = (&inside, &calls);
            scope.spawn(move || {
                let route = table.load();
                inside.wait();
                end.recv().unwrap();
                calls.fetch_sub(1, Ordering::Relaxed);
                drop(route);
            });
        }
        inside.wait();
        let gone = table.unsubscribe_watched(id(1)).unwrap().unwrap();
        let gone = gone.wait(|turn| turn < 100).expect_err("two calls are running");
        first.0.send(()).unwrap();
        let gone = gone.wait(|turn| turn < 100).expect_err("one call is running");
        let waiter = scope.spawn(|| {
            let waited = gone.wait(|turn| {
                thread::yield_now();
                turn < 10_000_000
            });
            (waited.unwrap(), calls.load(Ordering::Relaxed))
        });
        second.0.send(()).unwrap();
        assert_eq!(waiter.join().unwrap(), (2, 0), "the version, and no call was running");
    });
}

#[test]
fn waiting_ends_with_the_last_call_in_place() {
    waiting_ends_with_the_last_call(&StaticTable::<_, 4>::new());
}

/// Threads subscribe and unsubscribe while others read; each route seen must be whole: sorted, and with both or none of
/// every pair that is complete at its version.
fn stress<L: EntryList<u64>, C: Snapshot<Route<u64, L>> + Sync>(table: &SubscriptionTable<u64, L, C>)
where
    SubscriptionTable<u64, L, C>: Sync,
{
    const ROUNDS: u64 = 2_000;
    let start = Barrier::new(4);
    let running = AtomicUsize::new(2);
    let changes: u64 = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                start.wait();
                let mut last = 0;
                while running.load(Ordering::Relaxed) > 0 {
                    let route = table.load();
                    assert!(route.version() >= last, "an older route");
                    last = route.version();
                    assert!(route.entries().iter().all(|entry| entry.handler == entry.id.get() + 1));
                    assert!(route.entries().iter().all(|entry| entry.since <= last));
                    assert!(route.entries().is_sorted_by_key(|entry| (entry.lane, entry.id)));
                    let queued: usize = route.lanes().map(|(_, entries)| entries.len()).sum();
                    assert_eq!(route.inline().len() + queued, route.entries().len());
                }
            });
        }
        let writers = [0, 10].map(|base| {
            let (start, running) = (&start, &running);
            scope.spawn(move || {
                start.wait();
                let mut changes = 0;
                for round in 0..ROUNDS {
                    let number = base + round % 3;
                    let new = entry(number, (number % 2) as u16, 100, number + 1);
                    if table.subscribe(new).is_err() {
                        continue;
                    }
                    assert!(table.load().entries().iter().any(|entry| entry.id.get() == number));
                    // Busy is passing: the other writer or a reader is in the way, and both go on.
                    while table.unsubscribe(id(number)).is_err() {
                        thread::yield_now();
                    }
                    assert!(table.load().entries().iter().all(|entry| entry.id.get() != number));
                    changes += 2;
                }
                running.fetch_sub(1, Ordering::Relaxed);
                changes
            })
        });
        writers.map(|writer| writer.join().unwrap_or_else(|panic| resume_unwind(panic))).iter().sum()
    });
    assert_eq!((table.load().version(), table.load().is_empty()), (changes, true));
}

#[test]
fn stress_in_place() {
    stress(&StaticTable::<u64, 4>::new());
}

#[cfg(feature = "std")]
mod hosted {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use nervebus_core::snapshot::Retired;
    use nervebus_core::table::HostedTable;

    #[test]
    fn stress_on_the_heap() {
        stress(&HostedTable::<u64>::new());
    }

    #[test]
    fn it_grows_and_empties() {
        let handler = Arc::new(());
        let table = HostedTable::default();
        for number in 0..1_000 {
            table.subscribe(entry(number, (number % 3) as u16, 100, Arc::clone(&handler))).unwrap();
        }
        assert_eq!(table.load().inline().len(), 334);
        for number in 0..1_000 {
            table.unsubscribe(id(number)).unwrap();
        }
        assert!(table.load().is_empty());
        assert_eq!(Arc::strong_count(&handler), 1);
    }

    #[test]
    fn waiting_ends_with_the_last_call_on_the_heap() {
        waiting_ends_with_the_last_call(&HostedTable::new());
    }

    #[test]
    fn a_cache_that_has_not_looked_since_is_waited_for() {
        let handler = Arc::new(());
        let table = HostedTable::new();
        table.subscribe(entry(1, 0, 100, Arc::clone(&handler))).unwrap();
        let (mut looking, idle, kept) = (table.cache(), table.cache(), table.cell().load_full());
        let mut gone = table.unsubscribe_watched(id(1)).unwrap().unwrap();
        assert!(looking.load().is_empty() && !gone.is_quiet());
        drop(idle);
        assert!(!gone.is_quiet() && table.cell().retired() == 1);
        drop(kept);
        assert!(gone.is_quiet());
        assert_eq!((table.cell().retired(), Arc::strong_count(&handler)), (0, 1), "nothing is left behind");
    }

    #[test]
    fn every_route_from_before_is_waited_for_on_the_heap_too() {
        let table = HostedTable::new();
        table.subscribe(entry(1, 0, 100, ())).unwrap();
        let oldest = table.load();
        table.subscribe(entry(2, 0, 100, ())).unwrap();
        let old = table.load();
        let mut gone = table.unsubscribe_watched(id(1)).unwrap().unwrap();
        let _new = table.load();
        assert_eq!((gone.is_quiet(), table.cell().retired()), (false, 2));
        drop(old);
        assert_eq!((gone.is_quiet(), table.cell().retired()), (false, 1));
        drop(oldest);
        assert_eq!((gone.is_quiet(), table.cell().retired()), (true, 0));
    }

    #[test]
    fn a_change_that_lost_a_race_leaves_no_old_route_unwatched() {
        let table = HostedTable::<()>::new();
        table.subscribe(entry(1, 0, 100, ())).unwrap();
        let (first, mut second, mut tries) = (table.load(), None, 0);
        let next = table.cell().update_watched(|route| {
            tries += 1;
            if tries == 1 {
                table.subscribe(entry(2, 0, 100, ())).unwrap();
                second = Some(table.load());
            }
            route.without(id(1)).map(|route| (route, ())).ok_or(())
        });
        let ((), mut retired) = next.unwrap();
        assert_eq!((tries, retired.is_quiet()), (2, false));
        drop(first);
        assert!(!retired.is_quiet(), "the winner's version has the handler too");
        drop(second);
        assert!(retired.is_quiet());
    }

    #[test]
    fn a_cache_sees_every_change_that_happened_before() {
        let table = HostedTable::<u64>::new();
        let mut cache = table.cache();
        let subscribed = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                table.subscribe(entry(1, 0, 100, 2)).unwrap();
                subscribed.store(true, Ordering::Release);
            });
            while !subscribed.load(Ordering::Acquire) {
                thread::yield_now();
            }
            assert_eq!(ids(cache.load().entries()), [1]);
        });
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Subscribe(u64, u16, i32),
    Unsubscribe(u64),
    Hold,
    Release(usize),
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..7_u64, 0..3_u16, -1..2_i32).prop_map(|(number, lane, priority)| Step::Subscribe(number, lane, priority)),
        (0..7_u64).prop_map(Step::Unsubscribe),
        Just(Step::Hold),
        any::<usize>().prop_map(Step::Release),
        Just(Step::Look),
    ];
    prop::collection::vec(step, 0..60)
}

/// Takes the steps on the table and on a plain list of plain routes, of at most `room` entries and with at most `spare`
/// old ones held; both must say the same after each.
fn follows_a_plain_list<L: EntryList<()>, C: Snapshot<Route<(), L>>>(
    table: &SubscriptionTable<(), L, C>,
    steps: Vec<Step>,
    room: usize,
    spare: usize,
) -> Result<(), TestCaseError> {
    let mut routes: Vec<Vec<(u16, i32, u64)>> = vec![Vec::new()];
    let (mut guards, mut tokens) = (Vec::new(), Vec::new());
    for step in steps {
        let now = routes.len() - 1;
        let next = now as u64 + 1;
        let mut route = routes[now].clone();
        let held: BTreeSet<u64> = guards.iter().map(|guard: &C::Guard<'_>| guard.version()).collect();
        let busy = held.range(..now as u64).count() >= spare;
        match step {
            Step::Subscribe(number, ..) if route.iter().any(|(.., known)| *known == number) => {}
            Step::Subscribe(number, lane, priority) => match table.subscribe(entry(number, lane, priority, ())) {
                Err(refused) if busy => prop_assert!(refused.is_busy()),
                Err(refused) => prop_assert!(refused.is_full() && route.len() == room),
                Ok(version) => {
                    prop_assert_eq!((version, busy), (next, false));
                    route.push((lane, -priority, number));
                    route.sort_unstable();
                    routes.push(route);
                }
            },
            Step::Unsubscribe(number) => {
                let length = route.len();
                route.retain(|(.., known)| *known != number);
                match table.unsubscribe_watched(id(number)) {
                    Err(Busy) => prop_assert!(busy),
                    Ok(None) => prop_assert!(!busy && route.len() == length),
                    Ok(Some(token)) => {
                        prop_assert_eq!((token.version(), busy), (next, false));
                        prop_assert_eq!(route.len() + 1, length);
                        routes.push(route);
                        tokens.push(token);
                    }
                }
            }
            Step::Hold => guards.push(table.load()),
            Step::Release(_) if guards.is_empty() => {}
            Step::Release(which) => drop(guards.swap_remove(which % guards.len())),
            Step::Look => {
                for token in &mut tokens {
                    let read = guards.iter().any(|guard| guard.version() < token.version());
                    prop_assert_eq!(token.is_quiet(), !read, "unsubscribed in version {}", token.version());
                }
            }
        }
        prop_assert_eq!(table.load().version() as usize, routes.len() - 1);
        for seen in guards.iter().chain([&table.load()]) {
            let expected = &routes[seen.version() as usize];
            prop_assert_eq!(ids(seen.entries()), expected.iter().map(|(.., number)| *number).collect::<Vec<_>>());
            prop_assert_eq!(seen.inline().len(), expected.iter().filter(|(lane, ..)| *lane == 0).count());
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_sequence_of_steps_gives_what_a_plain_list_gives_in_place(steps in steps()) {
        follows_a_plain_list(&StaticTable::<(), 5, 3>::new(), steps, 5, 2)?;
    }

    #[cfg(feature = "std")]
    #[test]
    fn any_sequence_of_steps_gives_what_a_plain_list_gives_on_the_heap(steps in steps()) {
        follows_a_plain_list(&nervebus_core::table::HostedTable::new(), steps, usize::MAX, usize::MAX)?;
    }
}
