//! Routes and tables: order, versions, limits, and what a reader sees while they change.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
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

proptest! {
    #[test]
    fn any_sequence_of_changes_gives_what_a_plain_list_gives(
        changes in prop::collection::vec((any::<bool>(), 0..6_u64, 0..3_u16, -1..2_i32), 0..40),
    ) {
        let table = StaticTable::<(), 5>::new();
        let mut model: Vec<(u16, i32, u64)> = Vec::new();
        for (add, number, lane, priority) in changes {
            let known = model.iter().any(|entry| entry.2 == number);
            if add && !known {
                let taken = table.subscribe(entry(number, lane, priority, ())).is_ok();
                prop_assert_eq!(taken, model.len() < 5);
                if taken {
                    model.push((lane, -priority, number));
                }
            } else if !add {
                prop_assert_eq!(table.unsubscribe(id(number)).unwrap().is_some(), known);
                model.retain(|entry| entry.2 != number);
            }
            model.sort_unstable();
            let expected: Vec<_> = model.iter().map(|entry| entry.2).collect();
            let route = table.load();
            prop_assert_eq!(ids(route.entries()), expected);
            prop_assert_eq!(route.inline().len(), model.iter().filter(|entry| entry.0 == 0).count());
        }
    }
}

#[cfg(feature = "std")]
mod hosted {
    use std::sync::atomic::AtomicBool;

    use super::*;
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
