//! Dead letters: events that a handler failed, or that a shutdown left, kept for inspection and for another try.

pub(crate) mod log;
pub(crate) mod plan;
pub(crate) mod query;
pub(crate) mod store;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nervebus_core::{Reason, SubscriptionId};

use crate::delivery::dead_letters::log::DeadLetterLogStats;
use crate::delivery::dead_letters::plan::{RetryError, RetryPlan, Unsent, Why};
use crate::delivery::dead_letters::query::{Query, QueryError};
pub(crate) use crate::delivery::dead_letters::store::{DeadLetterStore, Obituary, Released};
use crate::delivery::directory::Directory;
use crate::delivery::parking::Spot;
use crate::delivery::retry::Attempt;
use crate::delivery::subscription::Subscription;
use crate::event::OwnedEvent;

/// An event that was not handled, and why.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The number of the letter on its bus, starting at 1. With a [`DeadLetterLog`](crate::DeadLetterLog) the numbers
    /// go on rising from run to run.
    pub id: u64,
    /// The event.
    pub event: OwnedEvent,
    /// Why it is here.
    pub reason: Reason,
    /// The subscription that failed; `None` when the event did not reach one, or when the letter is from an earlier run,
    /// whose identities mean nothing now.
    pub subscription: Option<SubscriptionId>,
    /// The name of the handler that failed, or of the lane that was left.
    pub handler: Arc<str>,
    /// The pattern of the subscription that failed; `None` when the event did not reach one.
    pub pattern: Option<Arc<str>>,
    /// What the handler said.
    pub error: String,
    /// How often the handler was called with the event.
    pub attempts: u32,
    /// How often the letter was handed back to its handler after it had come here.
    pub retries: u32,
    /// When it came here, or failed again after it was sent back, in seconds since the Unix epoch.
    pub failed_at: f64,
    /// The calls that failed, oldest first, at most 100. Empty for a handler without a [`Retry`](crate::Retry) that was
    /// called once: then [`error`](Self::error) and [`failed_at`](Self::failed_at) say it all.
    pub history: Arc<[Attempt]>,
    /// Where it stands in the sequence of its key, if its handler keeps order.
    pub(crate) spot: Option<Spot>,
}

/// Who takes letters back to their handlers.
pub(crate) trait SendBack: fmt::Debug {
    /// Sends a letter that was taken for it to a handler. If that is not possible, the letter is put back.
    fn send_back(&self, letter: Arc<DeadLetter>, to: &Arc<Subscription>) -> Result<(), Unsent>;

    /// Sends the next letter of each sequence back; those that cannot be sent stay.
    fn release(&self, released: Vec<Released>);
}

/// A look at a bus's dead letters; see [`Bus::dead_letters`](crate::Bus::dead_letters).
///
/// The newest letters are kept, up to [`capacity`](Self::capacity). Whatever becomes of a letter is counted:
/// `total = len + overwritten + removed + retried` at every moment.
///
/// # Cost
///
/// All letters are behind one mutex. A call takes it once, for a time that is linear in the letters kept, and failing
/// handlers on other threads wait meanwhile; [`get`](Self::get) and [`remove`](Self::remove) look by bisection. Payloads
/// are shared, never copied, and dropped outside the lock. No call waits for a file.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Query, Reason, json};
///
/// let bus = Bus::builder().dead_letters(10).build()?;
/// bus.on("order.placed").inline().handle(|_| Err::<(), _>("no stock"))?;
/// bus.emit("order.placed", json!({"sku": 7}))?;
///
/// let letters = bus.dead_letters();
/// assert_eq!(letters.list()[0].error, "no stock");
/// let failed = letters.find(&Query::new().topic("order.*").reason(Reason::HandlerError))?;
/// assert_eq!(failed[0].event.as_event()["sku"], 7);
///
/// assert!(letters.remove(failed[0].id).is_some());
/// assert_eq!((letters.len(), letters.total(), letters.removed()), (0, 1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct DeadLetters<'a> {
    pub(crate) store: &'a DeadLetterStore,
    pub(crate) directory: &'a Directory,
    pub(crate) sender: &'a dyn SendBack,
}

impl DeadLetters<'_> {
    /// How many letters are kept now.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many letters are kept at most.
    pub fn capacity(&self) -> usize {
        self.store.capacity()
    }

    /// How many letters there ever were on this bus, those read back from its log included.
    pub fn total(&self) -> u64 {
        self.store.account().total
    }

    /// How many letters made way for newer ones.
    pub fn overwritten(&self) -> u64 {
        self.store.account().overwritten
    }

    /// How many letters were taken out by [`remove`](Self::remove) and the `clear` calls.
    pub fn removed(&self) -> u64 {
        self.store.account().removed
    }

    /// How many letters were handed back to their handler, and handled.
    pub fn retried(&self) -> u64 {
        self.store.account().retried
    }

    /// The letters, oldest first.
    pub fn list(&self) -> Vec<Arc<DeadLetter>> {
        self.store.list()
    }

    /// The letter of this number, if it is still kept.
    pub fn get(&self, id: u64) -> Option<Arc<DeadLetter>> {
        self.store.get(id)
    }

    /// The letters that a query asks for.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the query's topic is not a pattern.
    pub fn find(&self, query: &Query) -> Result<Vec<Arc<DeadLetter>>, QueryError> {
        Ok(self.store.find(&query.check()?))
    }

    /// Takes a letter out and hands it over; `None` if it is not kept any more. Where its handler [keeps
    /// order](crate::Subscribe::keep_order_per_key) and it was the first of its key, the one behind it is sent back. So it
    /// is with the `clear` calls.
    pub fn remove(&self, id: u64) -> Option<Arc<DeadLetter>> {
        let (letter, released) = self.store.remove(id)?;
        self.sender.release(released.into_iter().collect());
        Some(letter)
    }

    /// Takes all letters out, and says how many there were.
    pub fn clear(&self) -> usize {
        self.take_out(&query::Filter::ALL)
    }

    fn take_out(&self, filter: &query::Filter<'_>) -> usize {
        let (count, released) = self.store.clear(filter);
        self.sender.release(released);
        count
    }

    /// Takes out the letters that came here at least this long ago by the wall clock, and says how many there were.
    ///
    /// ```
    /// use nervebus::Bus;
    /// use std::time::Duration;
    ///
    /// let bus = Bus::builder().build()?;
    /// assert_eq!(bus.dead_letters().clear_older_than(Duration::from_secs(24 * 60 * 60)), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clear_older_than(&self, age: Duration) -> usize {
        self.take_out(&query::Filter::older_than(age, &self.store.clock))
    }

    /// Takes out what [`find`](Self::find) would return, limit and order included, and says how many letters that were.
    ///
    /// # Errors
    ///
    /// [`QueryError`] when the query's topic is not a pattern. Nothing is taken out then.
    pub fn clear_where(&self, query: &Query) -> Result<usize, QueryError> {
        Ok(self.take_out(&query.check()?))
    }

    /// How many kept letters there are for each reason.
    pub fn by_reason(&self) -> BTreeMap<&'static str, usize> {
        self.store.count_by(|letter| letter.reason.as_str())
    }

    /// How many kept letters there are for each topic; no more topics than letters.
    pub fn by_topic(&self) -> BTreeMap<String, usize> {
        self.store.count_by(|letter| letter.event.as_event().topic().to_owned())
    }

    /// What a retry of up to `limit` letters would do now, oldest first; nothing is changed.
    ///
    /// A letter goes back to the one handler that failed: to its subscription if that is still there, or else to the
    /// oldest one with the same name and the same pattern, which is how a letter from an earlier run finds its handler.
    /// Letters that never reached a handler (left by a shutdown, not serializable) cannot go back to one. A letter
    /// that was sent back `max_retries` times stays, and so does one that is parked behind another of its key: it goes
    /// back when that one has been handled.
    ///
    /// # Cost
    ///
    /// Linear in letters and subscriptions; allocates for both.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, Why};
    ///
    /// let bus = Bus::builder().build()?;
    /// let handler = bus.on("job.run").inline().handle(|_| Err::<(), _>("busy"))?;
    /// bus.emit("job.run", ())?;
    /// assert_eq!(bus.dead_letters().dry_run(100, 3).letters, [1]);
    ///
    /// bus.unsubscribe(handler);
    /// assert_eq!(bus.dead_letters().dry_run(100, 3).skipped, [(1, Why::NoHandler { handler: "job.run".into() })]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn dry_run(&self, limit: usize, max_retries: u32) -> RetryPlan {
        plan::plan_retry(self.store, self.directory, limit, max_retries)
    }

    /// Sends a letter back to the one handler that failed, which [`dry_run`](Self::dry_run) says more of. Its lane's
    /// worker calls it, soon after this returns; a handler on the emitter's own thread is called here, before this returns.
    ///
    /// It is called once, whatever its [`Retry`](crate::Retry) says, with the [attempt](crate::Event::attempt) that is
    /// next. If it succeeds the letter is gone, and counted as [`retried`](Self::retried). If it fails, the same letter
    /// stays, with one more in `retries` and `attempts`, what the handler said this time, and its history. If its breaker
    /// refuses the call, the handler has been unsubscribed meanwhile, or the bus shuts down before its turn, the letter
    /// stays as it is. Either way it can be seen, removed and overwritten in the meantime. In the [`Ledger`](crate::Ledger)
    /// this is a delivery of its own.
    ///
    /// # Errors
    ///
    /// [`RetryError`]: the letter is not kept, or has no handler to go back to; another thread is sending it back; it is
    /// parked behind another; its lane has no room for it; or the bus is shutting down. The letter is where it was.
    ///
    /// # Cost
    ///
    /// Linear in subscriptions; allocates for them.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::Bus;
    ///
    /// let bus = Bus::builder().build()?;
    /// bus.on("job.run").inline().handle(|event| if event.attempt() < 3 { Err("busy") } else { Ok(()) })?;
    /// bus.emit("job.run", ())?;
    ///
    /// bus.dead_letters().retry(1)?;
    /// let letter = bus.dead_letters().get(1).ok_or("it failed again")?;
    /// assert_eq!((letter.retries, letter.attempts, letter.history.len()), (1, 2, 2));
    ///
    /// bus.dead_letters().retry(1)?;
    /// assert_eq!((bus.dead_letters().len(), bus.dead_letters().retried()), (0, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retry(&self, id: u64) -> Result<(), RetryError> {
        let targets = plan::Targets::of(self.directory);
        self.send(id, u32::MAX, &targets)
    }

    /// Sends up to `limit` letters back, oldest first, each as [`retry`](Self::retry) does, and says which; those that
    /// were sent back `max_retries` times stay. What [`dry_run`](Self::dry_run) says is what this does, unless something
    /// changes in between; a letter that cannot be sent after all is among the skipped ones.
    ///
    /// # Cost
    ///
    /// That of `dry_run`, twice; and one place beside its lane for each letter.
    pub fn retry_all(&self, limit: usize, max_retries: u32) -> RetryPlan {
        let RetryPlan { letters, mut skipped } = self.dry_run(limit, max_retries);
        let targets = plan::Targets::of(self.directory);
        let mut sent = Vec::with_capacity(letters.len());
        for id in letters {
            match self.send(id, max_retries, &targets) {
                Ok(()) => sent.push(id),
                Err(error) => skipped.extend(Why::of(error).map(|why| (id, why))),
            }
        }
        RetryPlan { letters: sent, skipped }
    }

    fn send(&self, id: u64, max_retries: u32, targets: &plan::Targets) -> Result<(), RetryError> {
        let letter = self.store.take_for_retry(id, max_retries)?;
        let Some(target) = targets.find(&letter) else {
            let handler = letter.handler.to_string();
            self.store.put_back(letter);
            return Err(RetryError::NoHandler { id, handler });
        };
        self.sender.send_back(letter, target).map_err(|unsent| match unsent {
            Unsent::Full { lane } => RetryError::Full { id, lane },
            Unsent::Closed => RetryError::Closed { id },
        })
    }

    /// The state of the file that letters are kept in, if there is one.
    pub(crate) fn log(&self) -> Option<DeadLetterLogStats> {
        self.store.log_stats()
    }
}
