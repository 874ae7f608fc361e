//! Delivering what is queued.

use core::cell::Cell;

use super::ledger::Books;
use super::{AlreadyPolling, Event, StaticBus};
use crate::dead_letter::StaticDeadLetterQueue;
use crate::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::{DeadLetter, Handler, Reason, dispatch};

impl<E, H, const TOPICS: usize, const HANDLERS: usize, const QUEUE: usize, const DEAD: usize>
    StaticBus<E, H, TOPICS, HANDLERS, QUEUE, DEAD>
where
    H: Handler<Event<E>>,
{
    /// Delivers what is queued, in the order in which it was emitted, and returns how many events that were.
    ///
    /// It takes at most as many events as were queued when it began, so that handlers which emit cannot keep it for
    /// ever; what they emit is for the next poll. It ends earlier at an event that an emitter, stopped in the middle of
    /// its emit, has not finished putting in.
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
        let _polling = Polling::begin(&self.polling)?;
        let queued = self.queue.len();
        Ok((0..queued).take_while(|_| self.deliver_next()).count())
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
        Ok(self.deliver_next())
    }

    fn deliver_next(&self) -> bool {
        let Ok(event) = self.queue.pop() else { return false };
        self.deliver(event);
        true
    }

    fn deliver(&self, event: Event<E>) {
        let topic = event.topic.bit();
        let delivery = Delivery::of(event, &self.books, &self.dead_letters);
        let Some(event) = &delivery.event else { return };
        // Dropped before `delivery`, which may run destructors: they find no version of the table in use.
        let route = self.table.load();
        let asked = route.entries().iter().filter(|entry| entry.handler.topics & topic != 0);
        let called = asked.inspect(|_| delivery.called.set(delivery.called.get() + 1));
        dispatch(called, event, |_, _| delivery.failed.set(delivery.failed.get() + 1));
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
