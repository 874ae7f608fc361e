//! A whole bus in a `static`: for targets without an allocator and without threads.
//!
//! Interrupts, handlers and the main loop emit; the main loop polls, and a poll calls the handlers. All sizes are chosen
//! at compile time. The bus is made of this crate's other parts: one [table](StaticTable) for all topics, in which each
//! subscription carries the set of topics that its pattern matches; one [ring](crate::ring) of queued events; one
//! [queue of dead letters](crate::dead_letter).
//!
//! # Examples
//!
//! ```
//! use nervebus_core::bus::{EmitError, Event, StaticBus, TopicId};
//! use nervebus_core::{Priority, Reason};
//!
//! // What runs: one type for all handlers of a bus, an enum or, as here, a `fn` pointer.
//! type Handler = fn(&Event<u32>) -> Result<(), &'static str>;
//!
//! const TOPICS: [&str; 2] = ["door.opened", "door.closed"];
//! // A name that is not among them does not compile.
//! const OPENED: TopicId = TopicId::of(&TOPICS, "door.opened").unwrap();
//!
//! // 2 topics, 4 subscriptions, 8 queued events, 2 dead letters.
//! static BUS: StaticBus<u32, Handler, 2, 4, 8, 2> = StaticBus::new(TOPICS);
//!
//! fn light(_event: &Event<u32>) -> Result<(), &'static str> {
//!     Ok(())
//! }
//!
//! fn guard(event: &Event<u32>) -> Result<(), &'static str> {
//!     if event.payload == 13 { Err("nobody may open door 13") } else { Ok(()) }
//! }
//!
//! /// Called when a door opens: neither waits nor allocates.
//! fn interrupt(door: u32) {
//!     match BUS.emit(OPENED, door) {
//!         Ok(()) => {}
//!         Err(EmitError::Full(_door)) => { /* the main loop is too slow; the ledger counts this */ }
//!         Err(refused) => panic!("{refused}"),
//!     }
//! }
//!
//! BUS.subscribe("door.*", Priority::DEFAULT, light).unwrap();
//! let guarding = BUS.subscribe("door.opened", Priority::new(300), guard).unwrap();
//!
//! interrupt(7);
//! interrupt(13);
//! assert_eq!(BUS.poll(), Ok(2));
//!
//! let letter = BUS.dead_letters().take().unwrap();
//! assert_eq!((letter.event.payload, letter.reason), (13, Reason::HandlerError));
//! assert_eq!(BUS.unsubscribe(guarding), Ok(true));
//!
//! let ledger = BUS.ledger();
//! assert!(ledger.balanced());
//! assert_eq!((ledger.emitted, ledger.delivered, ledger.handled, ledger.failed), (2, 2, 3, 1));
//! ```
//!
//! # Sleeping
//!
//! A main loop with nothing to do asks [`may_sleep`](StaticBus::may_sleep) and then executes the instruction that waits
//! for an event. No emit is overlooked if whatever emits ends that wait, also when it comes just before it: on Cortex-M
//! `wfe` does, since entering or leaving an interrupt sets the event register; so does a parked thread. RISC-V's `wfi`
//! does not, but a pending interrupt ends it even with interrupts turned off: turn them off before `may_sleep` and on
//! again after `wfi`. Interrupts end the wait by themselves; emitters that run elsewhere (another core, another thread)
//! ring the bell and then wake the sleeper, if somebody sleeps:
//!
//! ```
//! use nervebus_core::Priority;
//! use nervebus_core::bus::{Event, StaticBus, TopicId};
//! use std::thread;
//!
//! static BUS: StaticBus<u32, fn(&Event<u32>) -> Result<(), ()>, 1, 1, 4, 1> = StaticBus::new(["tick"]);
//!
//! let sleeper = thread::current();
//! let emitter = thread::spawn(move || {
//!     BUS.emit(TopicId::of(&["tick"], "tick").unwrap(), 1).unwrap();
//!     BUS.close(); // refuses emits from now on, and ends the loop below
//!     if BUS.bell().ring() {
//!         sleeper.unpark(); // another core: `sev`
//!     }
//! });
//!
//! BUS.subscribe("tick", Priority::DEFAULT, |_event| Ok(())).unwrap();
//! while !(BUS.is_closed() && !BUS.has_events()) {
//!     if BUS.poll() == Ok(0) && BUS.may_sleep() {
//!         thread::park(); // Cortex-M: `cortex_m::asm::wfe()`
//!     }
//! }
//! emitter.join().unwrap();
//! assert_eq!(BUS.ledger().delivered, 1);
//! ```

use core::fmt;

use crate::dead_letter::StaticDeadLetterQueue;
use crate::ring::{PushError, StaticRing};
use crate::sync::{AtomicBool, AtomicUsize, Ordering, const_fn};
use crate::table::StaticTable;
use crate::wait::Doorbell;
use crate::{DeadLetter, Reason};

use self::ledger::Books;
use self::subscribe::Member;

mod error;
mod ledger;
mod poll;
mod subscribe;
mod topics;

pub use self::error::{AlreadyPolling, EmitError, SubscribeError};
pub use self::ledger::Ledger;
pub use self::topics::{MAX_TOPICS, TopicId, TopicsError};

/// Versions of the table: the current one, the one that a poll is reading, and one to write.
const VERSIONS: usize = 3;

/// What a handler gets: something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<E> {
    /// What it is called; [`StaticBus::name`] has the text.
    pub topic: TopicId,
    /// How many emits of the bus had begun before this one's, refused ones included. Unique until it wraps at the
    /// machine's word. Emits of one context are in order; one that interrupts another may be queued before it.
    pub sequence: usize,
    /// What the emitter gave.
    pub payload: E,
}

/// A bus for events with payloads `E` and handlers `H` that needs no allocator and no threads, and fits in a `static`.
///
/// It has `TOPICS` topics (1 to [`MAX_TOPICS`]), at most `HANDLERS` subscriptions, a queue of `QUEUE` events and one of
/// `DEAD` dead letters; a 0 among these fails to compile. Its calls never wait for another context: the main loop,
/// interrupts, handlers and threads may make any of them at any time. Those that cannot be done now say so.
///
/// An event that a handler fails is moved to the [dead letters](Self::dead_letters) after the last handler, once: with
/// [`Reason::AllHandlersFailed`] when there were several and all failed, else with [`Reason::HandlerError`]. One that
/// nobody asks for when its turn comes is dropped, and counted. A handler that panics, where panics unwind, takes its
/// poll along: the event becomes a dead letter and the call counts as failed, the handlers behind it are not called,
/// and the next poll goes on with the next event.
///
/// # Cost
///
/// `emit`: one addition and one push; non-blocking, as [`Ring::try_push`](crate::ring::Ring::try_push) is. `poll`: for
/// each event a pop, two atomic steps for the table, a look at each subscription, and the handlers. Nothing allocates.
/// Memory: all of it in place; the table takes three times the space of its subscriptions.
///
/// Subscribing asks for `H: Clone`, since a change copies the table; a bus in a `static` needs `E: Send` and handlers that
/// are `Send + Sync`, as `fn` pointers and plain enums are.
///
/// On targets that cannot compare and swap, each atomic step turns interrupts off for a few instructions.
///
/// # Examples
///
/// See the [module](self).
pub struct StaticBus<E, H, const TOPICS: usize, const HANDLERS: usize, const QUEUE: usize, const DEAD: usize> {
    topics: [&'static str; TOPICS],
    table: StaticTable<Member<H>, HANDLERS, VERSIONS>,
    queue: StaticRing<Event<E>, QUEUE>,
    dead_letters: StaticDeadLetterQueue<Event<E>, DEAD>,
    next_subscription: AtomicUsize,
    polling: AtomicBool,
    bell: Doorbell,
    books: Books,
}

impl<E, H, const TOPICS: usize, const HANDLERS: usize, const QUEUE: usize, const DEAD: usize>
    StaticBus<E, H, TOPICS, HANDLERS, QUEUE, DEAD>
{
    const_fn! {
        /// An open bus with these topics and no subscriptions.
        ///
        /// # Panics
        ///
        /// When a name is not a [topic](crate::Topic::new) or stands twice. In the initialiser of a `static` or a constant
        /// that is an error of compilation. The message is the name; [`try_new`](Self::try_new) says what is wrong with it,
        /// and is for names that are known only at run time.
        ///
        /// ```
        /// # use nervebus_core::bus::{Event, StaticBus};
        /// # type Handler = fn(&Event<u8>) -> Result<(), ()>;
        /// static BUS: StaticBus<u8, Handler, 2, 1, 1, 1> = StaticBus::new(["a", "b"]);
        /// ```
        ///
        /// ```compile_fail
        /// # use nervebus_core::bus::{Event, StaticBus};
        /// # type Handler = fn(&Event<u8>) -> Result<(), ()>;
        /// // A topic that stands twice: does not compile.
        /// static BUS: StaticBus<u8, Handler, 2, 1, 1, 1> = StaticBus::new(["a", "a"]);
        /// ```
        ///
        /// ```compile_fail
        /// # use nervebus_core::bus::{Event, StaticBus};
        /// # type Handler = fn(&Event<u8>) -> Result<(), ()>;
        /// // A name that is not a topic: does not compile.
        /// static BUS: StaticBus<u8, Handler, 2, 1, 1, 1> = StaticBus::new(["a", "b..c"]);
        /// ```
        ///
        /// ```compile_fail
        /// # use nervebus_core::bus::{Event, StaticBus};
        /// # type Handler = fn(&Event<u8>) -> Result<(), ()>;
        /// // A queue without room: does not compile.
        /// static BUS: StaticBus<u8, Handler, 2, 1, 0, 1> = StaticBus::new(["a", "b"]);
        /// ```
        pub const fn new(topics: [&'static str; TOPICS]) -> Self {
            match topics::check(&topics) {
                Ok(()) => Self::of(topics),
                // Meant for statics, where a panic is an error of compilation; whoever has names at run time has `try_new`.
                Err(TopicsError::Name { error, .. }) => panic!("{}", error.name()),
                Err(TopicsError::Twice { name, .. }) => panic!("{}", name),
            }
        }
    }

    const_fn! {
        /// As [`new`](Self::new), without panics.
        ///
        /// # Errors
        ///
        /// [`TopicsError`] with the first name that is not a topic or stands twice.
        pub const fn try_new(topics: [&'static str; TOPICS]) -> Result<Self, TopicsError> {
            match topics::check(&topics) {
                Ok(()) => Ok(Self::of(topics)),
                Err(error) => Err(error),
            }
        }
    }

    const_fn! {
        const fn of(topics: [&'static str; TOPICS]) -> Self {
            const { assert!(TOPICS > 0 && TOPICS <= MAX_TOPICS, "a bus needs 1 to 64 topics") };
            const { assert!(HANDLERS > 0, "a bus needs room for a subscription") };
            Self {
                topics,
                table: StaticTable::new(),
                queue: StaticRing::new(),
                dead_letters: StaticDeadLetterQueue::new(),
                next_subscription: AtomicUsize::new(1),
                polling: AtomicBool::new(false),
                bell: Doorbell::new(),
                books: Books::new(),
            }
        }
    }

    /// The topic of this name; `None` if the bus has none. Where the names are constants, [`TopicId::of`] finds it at
    /// compile time.
    ///
    /// # Cost
    ///
    /// Compares with each name; constant time with [`TopicId::of`] in a constant.
    #[must_use]
    pub const fn topic(&self, name: &str) -> Option<TopicId> {
        TopicId::of(&self.topics, name)
    }

    /// The name of a topic; `None` if the bus has no such topic.
    #[must_use]
    pub fn name(&self, topic: TopicId) -> Option<&'static str> {
        self.topics.get(topic.index()).copied()
    }

    /// Queues an event for the next poll.
    ///
    /// # Errors
    ///
    /// [`EmitError::Full`] when the queue has no room, [`EmitError::Closed`] after [`close`](Self::close), and
    /// [`EmitError::UnknownTopic`] for a number that no topic of this bus has. Each gives the payload back, and counts as
    /// refused. A [`TopicId`] of another bus is a number: one that is small enough means another topic here.
    ///
    /// # Cost
    ///
    /// One atomic addition and one push. Non-blocking: it repeats only after another emit succeeded. No allocation.
    #[inline]
    pub fn emit(&self, topic: TopicId, payload: E) -> Result<(), EmitError<E>> {
        self.admit(topic, payload, |event| self.queue.try_push(event))
    }

    /// As [`emit`](Self::emit), but a full queue displaces its oldest event, which becomes a dead letter with
    /// [`Reason::Overflow`].
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit); [`EmitError::Full`] only when another context, stopped in the middle of an emit or a
    /// poll, is in the way: this call does not wait for it.
    ///
    /// # Cost
    ///
    /// As [`emit`](Self::emit), plus a pop and a push of a dead letter for each event displaced; bounded spin.
    pub fn emit_overwrite(&self, topic: TopicId, payload: E) -> Result<(), EmitError<E>> {
        self.admit(topic, payload, |event| self.queue.push_overwrite(event, |oldest| self.displace(oldest)))
    }

    #[inline]
    fn admit(
        &self,
        topic: TopicId,
        payload: E,
        push: impl FnOnce(Event<E>) -> Result<(), PushError<Event<E>>>,
    ) -> Result<(), EmitError<E>> {
        // Relaxed, as all counters of the books: no access to an event depends on them.
        let sequence = self.books.emitted.fetch_add(1, Ordering::Relaxed);
        let refused = if topic.index() >= TOPICS {
            EmitError::UnknownTopic(payload)
        } else {
            match push(Event { topic, sequence, payload }) {
                Ok(()) => return Ok(()),
                Err(PushError::Full(event)) => EmitError::Full(event.payload),
                Err(PushError::Closed(event)) => EmitError::Closed(event.payload),
            }
        };
        self.books.refused.fetch_add(1, Ordering::Relaxed);
        Err(refused)
    }

    fn displace(&self, event: Event<E>) {
        self.books.displaced.fetch_add(1, Ordering::Relaxed);
        self.dead_letters.push(DeadLetter { event, reason: Reason::Overflow, attempts: 0 });
    }

    /// Refuses every emit from now on; what is queued can still be polled. Returns whether this call closed the bus.
    ///
    /// Whoever closes a bus whose poller may be asleep wakes it as an emitter does.
    pub fn close(&self) -> bool {
        self.queue.close()
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// Whether an event is queued, or being queued.
    #[inline]
    pub fn has_events(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Arms the [bell](Self::bell) and says whether the caller, who polls this bus, may sleep; `false`, with the bell
    /// disarmed, when an event has come meanwhile, and always when the bus is closed.
    ///
    /// The [module](self) shows the loop around it.
    ///
    /// # Cost
    ///
    /// A few atomic steps; wait-free where the target has them.
    pub fn may_sleep(&self) -> bool {
        self.bell.arm();
        let may_sleep = !self.queue.has_arrivals();
        if !may_sleep {
            self.bell.disarm();
        }
        may_sleep
    }

    /// The bell that [`may_sleep`](Self::may_sleep) arms. An emitter whose emit does not end the poller's sleep by
    /// itself rings it after the emit, and wakes the poller if that says `true`.
    pub const fn bell(&self) -> &Doorbell {
        &self.bell
    }

    /// Events that failed or were displaced, the newest `DEAD` of them.
    pub const fn dead_letters(&self) -> &StaticDeadLetterQueue<Event<E>, DEAD> {
        &self.dead_letters
    }

    /// What became of every event; exact when nobody is emitting or polling meanwhile.
    pub fn ledger(&self) -> Ledger {
        self.books.read(self.queue.len())
    }
}

impl<E, H, const TOPICS: usize, const HANDLERS: usize, const QUEUE: usize, const DEAD: usize> fmt::Debug
    for StaticBus<E, H, TOPICS, HANDLERS, QUEUE, DEAD>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticBus")
            .field("topics", &self.topics)
            .field("closed", &self.is_closed())
            .field("ledger", &self.ledger())
            .finish_non_exhaustive()
    }
}
