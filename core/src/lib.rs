//! The core of the nervebus event bus: what it does without an allocator, without threads and without `std`.
//!
//! Application authors want the [`nervebus`](https://docs.rs/nervebus) crate, which builds lanes, workers, audit and
//! records on top of this one. This crate is for targets where those cannot run, and for those who build on the parts.
//!
//! | part | what it is |
//! |---|---|
//! | [`Topic`], [`Pattern`], [`Priority`] | checked names, what subscribes to them, and in which order |
//! | [`Ring`](ring::Ring) | a bounded queue for many producers and consumers, in a `static` or on the heap |
//! | [`Spsc`](spsc::Spsc) | the same for one producer and one consumer, several times faster |
//! | [`SubscriptionTable`](table::SubscriptionTable) | copy-on-write list of handlers; readers never wait |
//! | [`dispatch`](dispatch()) | an event through a route: no allocation, no lock, failures isolated |
//! | [`Depth`] | how deep dispatches are nested, and where that ends |
//! | [`DeadLetterQueue`](dead_letter::DeadLetterQueue) | what failed, bounded, every overwrite counted |
//! | [`StaticBus`](bus::StaticBus) | all of these as one bus in a `static` |
//! | [`Gate`](gate::Gate), [`Waiter`](wait::Waiter) | counting who is inside, and waking who sleeps |
//! | `Breaker` | refusing calls of what fails, until a probe says that it works again |
//! | `lease` | a value that a watchdog can take over from a worker whose call does not end |
//! | [`Schedule`](schedule::Schedule) | what threads of a pool run in turns: one turn at a time, no wish for one lost |
//! | [`Inline`](inline::Inline) | a small value of any type, in place behind a trait object |
//!
//! # Features
//!
//! - none (default): no allocator, no threads.
//! - `alloc`: boxed rings, growable routes, leases.
//! - `std`: the subscription table over [`arc-swap`](https://docs.rs/arc-swap).
//! - `portable-atomic`: atomics from that crate, for targets that cannot compare and swap, such as `thumbv6m-none-eabi`.
//!   It must be told how they do it instead; what it offers is in its documentation.
//! - `critical-section`: the former, with interrupts turned off for the moment, by way of the crate of that name.
//!
//! `gate`, `breaker` and `lease` count or keep times in 64-bit atomics: they are there on targets that have these, and with
//! `critical-section` on every target.
//!
//! # Examples
//!
//! ```
//! use nervebus_core::{Entry, Handler, LaneId, Priority, SubscriptionId, dispatch, table::StaticTable};
//!
//! struct Add(u32);
//! impl Handler<core::cell::Cell<u32>> for Add {
//!     type Error = &'static str;
//!     fn handle(&self, sum: &core::cell::Cell<u32>) -> Result<(), Self::Error> {
//!         sum.set(sum.get() + self.0);
//!         if self.0 > 10 { Err("too much") } else { Ok(()) }
//!     }
//! }
//!
//! let table: StaticTable<&Add, 8> = StaticTable::new();
//! table.subscribe(Entry::new(SubscriptionId::new(1), LaneId::INLINE, Priority::DEFAULT, &Add(1)))?;
//! table.subscribe(Entry::new(SubscriptionId::new(2), LaneId::INLINE, Priority::from(200), &Add(20)))?;
//!
//! let sum = core::cell::Cell::new(0);
//! let tally = dispatch(table.load().entries(), &sum, |entry, error| {
//!     assert_eq!((entry.id.get(), error), (2, "too much"));
//! });
//! assert_eq!((tally.handled, tally.failed, sum.get()), (1, 1, 21));
//! # Ok::<(), nervebus_core::table::SubscribeError<&Add>>(())
//! ```

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(any(target_has_atomic = "64", feature = "critical-section"))]
pub mod breaker;
pub mod bus;
pub mod dead_letter;
pub mod depth;
pub mod dispatch;
pub mod entry;
#[cfg(any(target_has_atomic = "64", feature = "critical-section"))]
pub mod gate;
pub mod handler;
pub mod inline;
pub mod lane;
#[cfg(all(feature = "alloc", any(target_has_atomic = "64", feature = "critical-section")))]
pub mod lease;
pub mod pattern;
pub mod priority;
pub mod ring;
pub mod route;
pub mod schedule;
pub mod snapshot;
pub mod spsc;
mod sync;
pub mod table;
pub mod topic;
pub mod wait;

pub use dead_letter::{DeadLetter, Reason};
pub use depth::{Depth, TooDeep};
pub use dispatch::{Tally, dispatch, dispatch_nested};
pub use entry::{Entry, SubscriptionId};
pub use handler::Handler;
pub use lane::LaneId;
pub use pattern::{Pattern, PatternError};
pub use priority::Priority;
pub use route::Route;
pub use topic::{Topic, TopicError};
