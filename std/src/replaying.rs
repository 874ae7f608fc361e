//! Replaying recorded events into a bus, or into one subscription of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::bus::Bus;
use crate::context;
use crate::delivery::again::{Followed, Redelivery};
use crate::delivery::count;
use crate::delivery::emit::{Extra, How};
use crate::delivery::engine::Engine;
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::Patience;
use crate::delivery::subscription::Subscription;
use crate::event::OwnedEvent;
use crate::platform::place::place;
use crate::records::line::restored::Restored;
use crate::records::replay::{
    Item, Items, Pace, Replay, ReplayError, ReplayReport, Source, Step, file_items, record_items,
};

/// How many events a subscription is given that have not ended.
const WINDOW: usize = 256;

/// How long a wait for the clock or a lane lasts before the next look at whether the bus is closed, in real time.
const LOOK: Duration = Duration::from_millis(20);

/// What one subscription was given and has not ended.
#[derive(Debug, Default)]
struct Given {
    count: Mutex<usize>,
    ended: Condvar,
}

impl Followed for Given {
    fn ended(&self, _: u64) {
        *self.lock() -= 1;
        self.ended.notify_all();
    }
}

impl Given {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until fewer than `most` have not ended; `false` when the bus is closed before.
    fn wait(&self, most: usize, engine: &Engine) -> bool {
        let mut count = self.lock();
        while *count >= most {
            if engine.gate.is_closed() {
                return false;
            }
            count = self.ended.wait_timeout(count, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// To whom events go.
enum Target {
    Bus,
    One(Arc<Subscription>, Arc<Given>),
}

impl Bus {
    /// Gives recorded events to handlers once more, in the order in which they were recorded, on this thread; returns when
    /// all are given. Events are read one after the other, however many there are.
    ///
    /// Handlers can tell: [`Event::is_replayed`](crate::Event::is_replayed). An event has the identity, source, time,
    /// correlation and payload of the record, and a number of its own on this bus. Without
    /// [`into`](Replay::into) it goes to all handlers as if it were emitted again, and waits for lanes as
    /// [`emit`](Self::emit) does; but it is written neither to the audit log nor to the durable log, and neither rates nor
    /// windows for duplicates apply. Durable subscriptions, which are fed from the log, do not get it that way. With `into`, it
    /// goes to the handler of one subscription only, which may be a durable one; this returns when all have ended there.
    ///
    /// **Deterministic.** The same source and filters give the same events in the same order; lanes with one worker handle
    /// them in it, and lanes with several those of each key.
    ///
    /// A shutdown ends it, and the report says where to go on.
    ///
    /// # Errors
    ///
    /// [`ReplayError`].
    pub fn replay(&self, replay: Replay) -> Result<ReplayReport, ReplayError> {
        replay.check().map_err(|(setting, rule)| ReplayError::InvalidSetting { setting, rule })?;
        if context::is_worker() {
            return Err(ReplayError::WouldDeadlock);
        }
        let target = self.target(replay.into.as_deref())?;
        let Replay { source, filter, speed, limit, .. } = replay;
        let (first, last) = (filter.first.max(1), filter.last.unwrap_or(u64::MAX));
        let mut report = ReplayReport { next: first, ..ReplayReport::default() };
        let opened = match source {
            #[cfg(feature = "durable")]
            Source::Log => Ok(self.log_items(first)?),
            Source::File(path) => file_items(&path, &filter),
            Source::Records(records) => Ok(record_items(records)),
        };
        let items: Items<'_> = opened.map_err(|error| ReplayError::Source { error, report })?;
        let (engine, mut pace) = (self.engine(), Pace::new(speed));
        let begun = engine.clock.now();
        for step in items {
            let step = step.map_err(|error| ReplayError::Source { error, report })?;
            if step.position < first {
                continue;
            }
            if step.position > last.saturating_add(u64::from(step.item.is_none())) {
                break;
            }
            let Step { position, item, skipped, filtered } = step;
            report.skipped += skipped;
            report.filtered += filtered;
            report.read += filtered;
            report.next = position;
            let Some(item) = item else { continue };
            if !filter.asks_for(&item) {
                report.read += 1;
                report.filtered += 1;
                report.next = position + 1;
                continue;
            }
            let due = begun.saturating_add(crate::range::nanos(pace.next(item.record.timestamp)));
            if report.given + report.refused >= limit || !wait_until(engine, due) {
                return Ok(self.settle(&target, report));
            }
            let Some(given) = self.give(&target, item) else { return Ok(self.settle(&target, report)) };
            report.read += 1;
            report.given += u64::from(given);
            report.refused += u64::from(!given);
            report.next = position + 1;
        }
        report.completed = true;
        Ok(self.settle(&target, report))
    }

    fn target(&self, name: Option<&str>) -> Result<Target, ReplayError> {
        let Some(name) = name else { return Ok(Target::Bus) };
        let mut found = self.engine().directory.subscriptions();
        found.retain(|subscription| *subscription.name == *name || self.is_durable(subscription, name));
        match <[_; 1]>::try_from(found) {
            Ok([subscription]) if subscription.lane.is_inline() => Err(ReplayError::InvalidSetting {
                setting: "into",
                rule: "a handler on the emitter's own thread cannot be replayed into: give it a lane".into(),
            }),
            Ok([subscription]) => Ok(Target::One(subscription, Arc::default())),
            Err(found) => Err(ReplayError::Subscription { name: name.to_owned(), found: found.len() }),
        }
    }

    #[cfg(not(feature = "durable"))]
    fn is_durable(&self, _: &Subscription, _: &str) -> bool {
        false
    }

    /// Gives one event; whether it was taken, or `None` when the bus is closed.
    fn give(&self, target: &Target, item: Item) -> Option<bool> {
        match target {
            Target::Bus => self.emit_again(item),
            Target::One(subscription, given) => {
                given.wait(WINDOW, self.engine()).then(|| give_one(self.engine(), subscription, given, item))
            }
        }
    }

    fn emit_again(&self, item: Item) -> Option<bool> {
        let Item { record, said } = item;
        let Restored { topic, payload, meta, lineage, class, key } = record.restored();
        let meta = Some(Arc::new(meta));
        let extra = Extra { meta, lineage, class, replayed: true, ..Extra::default() };
        let how = How { key: said.key().unwrap_or(key), extra: Some(&extra), ..How::with(Patience::Policy) };
        match self.engine().emit(&topic, payload, how) {
            Ok(_) => Some(true),
            Err(error) if error.is_closed() => None,
            Err(_) => Some(false),
        }
    }

    /// Waits for what one subscription was given.
    fn settle(&self, target: &Target, report: ReplayReport) -> ReplayReport {
        if let Target::One(_, given) = target {
            given.wait(1, self.engine());
        }
        report
    }
}

/// Gives one event to one subscription; whether its lane has taken it.
fn give_one(engine: &Engine, subscription: &Arc<Subscription>, given: &Arc<Given>, item: Item) -> bool {
    let Item { record, said } = item;
    let mut kept = record.restored().kept(said.seq.unwrap_or(0), 0);
    let head = &mut kept.head;
    head.set_replayed();
    head.key = said.key().unwrap_or(head.key);
    let pick = if head.key == 0 { head.seq } else { head.key };
    let Some(queue) = engine.queues.pick(subscription.lane, pick) else { return false };
    let event = OwnedEvent(Arc::new(kept));
    *given.lock() += 1;
    let delivery = Redelivery::of_log(event, subscription, Arc::clone(given) as _, 0);
    // In this order no reading of the books finds the delivery taken on, but not under way.
    queue.again.underway.begin();
    queue.routed.add(place(), 0, 1);
    match queue.again.push(delivery) {
        Ok(()) => {
            queue.unpark_worker();
            true
        }
        Err(returned) => {
            *given.lock() -= 1;
            count::add(&queue.retracted, 1);
            queue.again.underway.end();
            drop_quietly(returned);
            false
        }
    }
}

/// Waits for a moment of the bus's clock; `false` when the bus is closed before.
fn wait_until(engine: &Engine, moment: u64) -> bool {
    if engine.clock.now() >= moment {
        return !engine.gate.is_closed();
    }
    let wait = engine.clock.wait(Some(moment));
    while !engine.gate.is_closed() {
        if wait.is_over() {
            return true;
        }
        wait.park(LOOK);
    }
    false
}

#[cfg(feature = "durable")]
impl Bus {
    /// The events of the durable log from a position on, as far as it goes now.
    fn log_items(&self, first: u64) -> Result<Items<'_>, ReplayError> {
        const READ: usize = 256;
        let core = self.durable().ok_or(ReplayError::NoLog)?;
        let (mut at, end) = (first.max(core.first()), core.next());
        let mut lines = Vec::new().into_iter();
        let next = move || {
            let mut line = lines.next();
            if line.is_none() && at < end {
                lines = match core.read(at, READ) {
                    Ok(lines) => lines.into_iter(),
                    Err(error) => return Some(Err(error)),
                };
                line = lines.next();
            }
            let (position, line): (u64, Vec<u8>) = line.filter(|(position, _)| *position < end)?;
            at = position + 1;
            Some(Ok(Step::at(position, Item::read(&line))))
        };
        Ok(Box::new(std::iter::from_fn(next)))
    }

    /// Whether it is the durable subscription of this name.
    fn is_durable(&self, subscription: &Subscription, name: &str) -> bool {
        let of = |core: &Arc<crate::records::durable::core::Core>| {
            core.lock()
                .active
                .iter()
                .any(|follower| follower.name == name && follower.subscription.id == subscription.id)
        };
        self.durable().is_some_and(of)
    }
}
