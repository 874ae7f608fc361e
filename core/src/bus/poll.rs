//! Delivering what is queued.

use core::cell::Cell;

use super::ledger::Books;
use super::{AlreadyPolling, Event, StaticBus};
use crate::dead_letter::StaticDeadLetterQueue;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::{DeadLetter, Handler, Reason, SubscriptionId, dispatch};

impl<E, H, const TOPICS: usize, const HANDLERS: usize, const QUEUE: usize, const DEAD: usize>
    StaticBus<E, H, TOPICS, HANDLERS, QUEUE, DEAD>
where
    H: Handler<Event<E>>,
{
    /// Delivers what is queued, in the order in which it was emitted, and returns how many events that were.
    ///
    /// It takes at most as many events as were queued when it began, so that handlers which emit cannot keep it for
    /// ever; what they emit is for the next poll. It ends earlier at an event that an emitter, stopped in the middle of
    /// its emit, has not finished putting in. What handlers say when they fail is dropped; [`poll_with`](Self::poll_with)
    /// hands it out.
    ///
    /// # Errors
    ///
    /// [`AlreadyPolling`] when this is called from a handler, from an interrupt of a poll, or while another thread
    /// polls. So handlers do not nest and events stay in order, and the stack has a bound.
    ///
    /// # Panics
    ///
    /// When a handler panics: the event that it was given is a dead letter then, and those behind it are still queued.
    ///
    /// # Cost
    ///
    /// For each event: a pop, two atomic steps for the table, a look at each subscription, and the handlers. No
    /// allocation, no waiting.
    pub fn poll(&self) -> Result<usize, AlreadyPolling> {
        self.poll_with(|_, _, _| ())
    }

    /// As [`poll`](Self::poll), and calls `on_failure` for each handler that fails, before the next one is called, with
    /// the event, the subscription and what the handler said.
    ///
    /// # Errors
    ///
    /// [`AlreadyPolling`], as [`poll`](Self::poll).
    ///
    /// # Panics
    ///
    /// As [`poll`](Self::poll), and when `on_failure` panics, with the same effect.
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus_core::Priority;
    /// use nervebus_core::bus::{Event, StaticBus, TopicId};
    ///
    /// type Handler = fn(&Event<u32>) -> Result<(), &'static str>;
    /// static BUS: StaticBus<u32, Handler, 1, 2, 4, 1> = StaticBus::new(["tank.filled"]);
    ///
    /// let gauge = BUS.subscribe("tank.filled", Priority::DEFAULT, |_event| Err("the gauge is stuck")).unwrap();
    /// BUS.emit(BUS.topic("tank.filled").unwrap(), 80).unwrap();
    /// let polled = BUS.poll_with(|event, subscription, error| {
    ///     assert_eq!((event.payload, subscription, error), (80, gauge, "the gauge is stuck"));
    /// });
    /// assert_eq!(polled, Ok(1));
    /// ```
    pub fn poll_with(
        &self,
        mut on_failure: impl FnMut(&Event<E>, SubscriptionId, H::Error),
    ) -> Result<usize, AlreadyPolling> {
        let _polling = Polling::begin(&self.polling)?;
        let queued = self.queue.len();
        Ok((0..queued).take_while(|_| self.deliver_next(&mut on_failure)).count())
    }

    /// As [`poll`](Self::poll), for one event at most; returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`AlreadyPolling`], as [`poll`](Self::poll).
    ///
    /// # Panics
    ///
    /// As [`poll`](Self::poll).
    pub fn poll_one(&self) -> Result<bool, AlreadyPolling> {
        let _polling = Polling::begin(&self.polling)?;
        Ok(self.deliver_next(&mut |_, _, _| ()))
    }

    fn deliver_next(&self, on_failure: &mut impl FnMut(&Event<E>, SubscriptionId, H::Error)) -> bool {
        let Ok(event) = self.queue.pop() else { return false };
        self.deliver(event, on_failure);
        true
    }

    fn deliver(&self, event: Event<E>, on_failure: &mut impl FnMut(&Event<E>, SubscriptionId, H::Error)) {
        let topic = event.topic.bit();
        let delivery = Delivery::of(event, &self.books, &self.dead_letters);
        let Some(event) = &delivery.event else { return };
        // Dropped before `delivery`, which may run destructors: they find no version of the table in use.
        let route = self.table.load();
        let asked = route.entries().iter().filter(|entry| entry.handler.topics & topic != 0);
        let called = asked.inspect(|_| delivery.called.set(delivery.called.get() + 1));
        dispatch(called, event, |entry, error| {
            delivery.failed.set(delivery.failed.get() + 1);
            on_failure(event, entry.id, error);
        });
        delivery.finished.set(true);
    }
}

/// The right to poll; exists once at most for a bus.
struct Polling<'a>(&'a AtomicBool);

impl<'a> Polling<'a> {
    fn begin(flag: &'a AtomicBool) -> Result<Self, AlreadyPolling> {
        // Acquire pairs with the Release in `drop`: what handlers did in one poll happened before the next.
        flag.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).map_err(|_| AlreadyPolling)?;
        Ok(Self(flag))
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        // Release pairs with the Acquire in `begin`.
        self.0.store(false, Ordering::Release);
    }
}

/// One event on its way through the handlers. Dropping it enters in the books how that went, also when a handler has
/// panicked.
struct Delivery<'a, E, const DEAD: usize> {
    /// Here until the delivery is dropped.
    event: Option<Event<E>>,
    called: Cell<usize>,
    failed: Cell<usize>,
    finished: Cell<bool>,
    books: &'a Books,
    dead_letters: &'a StaticDeadLetterQueue<Event<E>, DEAD>,
}

impl<'a, E, const DEAD: usize> Delivery<'a, E, DEAD> {
    fn of(event: Event<E>, books: &'a Books, dead_letters: &'a StaticDeadLetterQueue<Event<E>, DEAD>) -> Self {
        let (called, failed, finished) = (Cell::new(0), Cell::new(0), Cell::new(false));
        Self { event: Some(event), called, failed, finished, books, dead_letters }
    }

    /// How many calls failed. One that has not returned, because it panicked, is one of them.
    fn failures(&self) -> usize {
        let unfinished = usize::from(!self.finished.get());
        self.called.get().min(self.failed.get() + unfinished)
    }

    /// Why the event is a dead letter, if it is one.
    fn reason(&self, failures: usize) -> Option<Reason> {
        if failures == 0 {
            return None;
        }
        // After a panic, those behind were not asked.
        let all = self.finished.get() && failures > 1 && failures == self.called.get();
        Some(if all { Reason::AllHandlersFailed } else { Reason::HandlerError })
    }
}

impl<E, const DEAD: usize> Drop for Delivery<'_, E, DEAD> {
    fn drop(&mut self) {
        let Some(event) = self.event.take() else { return };
        let (called, failures) = (self.called.get(), self.failures());
        // Relaxed, as all counters of the books. They come before the event is dropped, which may panic.
        let add = |counter: &AtomicUsize, count| counter.fetch_add(count, Ordering::Relaxed);
        if called == 0 {
            add(&self.books.unrouted, 1);
            return;
        }
        add(&self.books.delivered, 1);
        add(&self.books.handled, called - failures);
        add(&self.books.failed, failures);
        if let Some(reason) = self.reason(failures) {
            self.dead_letters.push(DeadLetter { event, reason, attempts: 1 });
        }
    }
}
