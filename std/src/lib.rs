//! An event bus that a Rust service embeds: rich events at ring-buffer cost, and every loss counted.
//!
//! ```
//! use nervebus::{Bus, json};
//! use std::time::Duration;
//!
//! let bus = Bus::builder().dead_letters(1_000).build()?;
//! bus.subscribe("user.login", |event| println!("{} logged in", event["username"]))?;
//! bus.on("chat.*").priority(200).handle(|event| match event["text"].as_str() {
//!     Some(text) => Ok(println!("chat: {text}")),
//!     None => Err("a chat message without text"),
//! })?;
//!
//! bus.emit("user.login", json!({"username": "alice"}))?;
//! let report = bus.emit_and_wait("chat.message", json!({"text": "hello"}))?;
//! assert!(report.all_handled());
//!
//! let report = bus.shutdown(Duration::from_secs(5));
//! assert!(report.drained && report.ledger.balanced());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Start at [`Bus`]. An event is emitted on a topic ([`Bus::emit`]) and reaches the handlers whose pattern matches
//! ([`Bus::subscribe`]), each on the thread of its [`Lane`] or, inline, on the emitter's. What a handler returns decides
//! between the [`Ledger`] and the [`DeadLetters`]; the [`AuditLog`] has a line for every event; [`Bus::shutdown`] drains
//! and accounts for what was left.
//!
//! A Rust type can have a topic of its own, and say version, key, time to live and personal data: see [`TypedEvent`] and
//! [`Bus::topic`].
//!
//! # Records
//!
//! What a bus writes down is in files that outlive it, each written by a thread of its own and read without a bus.
//! [`Builder::redact`] has a [`Redactor`] stand before all of them but the durable log, and before the texts of errors.
//!
//! | record | holds | read with |
//! |---|---|---|
//! | [`AuditLog`] | a line for every event that was accepted, in files that rotate | [`AuditReader`], [`AuditFollow`] |
//! | its chain (feature `blake3`) | a hash in each line of it and the line before | `AuditVerifier` |
//! | [`DeadLetterLog`] | events that were not handled, and why | [`Bus::dead_letters`], [`DeadLetterFile`] |
//! | `DurableLog` (feature `durable`) | events of durable topics, for whoever handles them | `Subscribe::durable` |
//! | [`Builder::history`] | the last events of a pattern, in memory only | [`Subscribe::with_history`] |
//!
//! [`Bus::replay`] gives events of the audit log, of the durable log, or of any [`Record`]s to handlers once more.
//!
//! # Over HTTP
//!
//! With the feature `console`, the module `console` is a router of figures, graph, dead letters and live events, and a page
//! that shows them; it is mounted in a service or served on loopback.
//!
//! The parts that need neither threads nor an allocator are in [`nervebus-core`](nervebus_core).

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
mod builder;
mod bus;
#[cfg(feature = "console")]
#[cfg_attr(docsrs, doc(cfg(feature = "console")))]
pub mod console;
mod context;
mod delivery;
#[cfg(feature = "durable")]
mod durable_emission;
#[cfg(feature = "durable")]
mod durable_subscription;
mod emission;
mod emit_async;
mod error;
mod event;
mod event_id;
mod history;
mod observe;
mod payload;
mod platform;
mod publisher;
mod range;
mod receipt;
mod records;
mod redact;
mod registry;
mod replaying;
mod request;
mod stream;
mod subscribe;
mod typed_event;
mod typed_subscribe;
mod typed_topic;
mod wait_for;
mod weak_bus;
mod worker_pool;

/// The README's program is a test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

pub use nervebus_core::breaker::State as BreakerState;
pub use nervebus_core::{Pattern, Priority, Reason, SubscriptionId, Tally, Topic};
#[cfg(feature = "macros")]
pub use nervebus_macros::Event;
pub use serde_json::{Value, json};

pub use crate::admission::dedup::DedupWindow;
pub use crate::admission::name::NameRule;
pub use crate::admission::rate::RateLimit;
pub use crate::admission::storm::{Storm, StormGuard};
pub use crate::builder::Builder;
pub use crate::bus::Bus;
pub use crate::delivery::breaker::Breaker;
pub use crate::delivery::class::{Class, ParseClassError};
pub use crate::delivery::dead_letters::log::DeadLetterLogStats;
pub use crate::delivery::dead_letters::plan::{RetryError, RetryPlan, Why};
pub use crate::delivery::dead_letters::query::{Query, QueryError};
pub use crate::delivery::dead_letters::{DeadLetter, DeadLetters};
pub use crate::delivery::failure::HandlerError;
pub use crate::delivery::handler::HandlerResult;
pub use crate::delivery::histogram::Durations;
pub use crate::delivery::lane::{Lane, Overflow, WaitStrategy};
pub use crate::delivery::ledger::{
    Account, Imbalance, LaneAccount, Ledger, SubscriptionAccount, SubscriptionDeliveries,
};
#[cfg(feature = "durable")]
#[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
pub use crate::delivery::log_tap::Level;
pub use crate::delivery::parking::KeyOrder;
pub use crate::delivery::report::{Outcome, Report};
pub use crate::delivery::retry::{Attempt, Retry};
pub use crate::delivery::shed::Shed;
pub use crate::delivery::shutdown::{LaneReport, ShutdownAsync, ShutdownReport};
pub use crate::delivery::timing::Timing;
#[cfg(feature = "durable")]
#[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
pub use crate::durable_emission::{DurableEmission, DurableError, DurableReceipt, EmitDurableAsync};
pub use crate::emission::Emission;
pub use crate::emit_async::{EmitAndWaitAsync, EmitAsync};
pub use crate::error::{
    BuildError, ClaimError, EmitError, Limited, RecvError, RequestError, SubscribeError, WaitError,
};
pub use crate::event::{Event, OwnedEvent};
pub use crate::event_id::EventId;
pub use crate::observe::prometheus::PrometheusText;
pub use crate::observe::stats::{
    BreakerStats, DeadLetterStats, DedupStats, GuardStats, LaneStats, ParkingStats, RetryStats, ShedStats, Stats,
    SubscriptionStats,
};
pub use crate::observe::topology::diff::TopologyChange;
pub use crate::observe::topology::finding::TopologyFinding;
pub use crate::observe::topology::{CauseEdge, HandlerNode, TopicNode, Topology};
pub use crate::payload::Payload;
pub use crate::platform::manual_clock::ManualClock;
pub use crate::publisher::Publisher;
pub use crate::receipt::Receipt;
pub use crate::records::audit::AuditLog;
pub use crate::records::audit::account::{AuditError, AuditStats};
pub use crate::records::audit::sync::SyncPolicy;
pub use crate::records::dead_letter_log::DeadLetterLog;
pub use crate::records::dead_letter_log::file::{DeadLetterFile, StoredLetter};
#[cfg(feature = "durable")]
#[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
pub use crate::records::durable::{DurableLog, DurableStats, DurableSubscriptionStats};
pub use crate::records::line::{LineError, Record};
pub use crate::records::reader::entries::{AuditEntries, AuditEntry};
pub use crate::records::reader::follow::AuditFollow;
pub use crate::records::reader::tally::{ReadTally, SkipReason, SkippedLine};
pub use crate::records::reader::{AuditReader, ReadError};
pub use crate::records::replay::{Replay, ReplayError, ReplayReport, Speed};
#[cfg(feature = "blake3")]
pub use crate::records::verify::finding::{Fault, Finding};
#[cfg(feature = "blake3")]
pub use crate::records::verify::{AuditVerifier, Beginning, InvalidHash, Verification};
#[cfg(feature = "regex")]
pub use crate::redact::PatternError;
pub use crate::redact::{Counts, DataClass, Redactor};
pub use crate::registry::{BusRegistry, RegistryError};
pub use crate::request::Request;
pub use crate::stream::EventStream;
pub use crate::subscribe::Subscribe;
#[doc(hidden)]
pub use crate::typed_event::derive as __derive;
pub use crate::typed_event::{Category, TypedEvent};
pub use crate::typed_subscribe::TypedSubscribe;
pub use crate::typed_topic::TypedTopic;
pub use crate::wait_for::WaitFor;
pub use crate::weak_bus::WeakBus;
pub use crate::worker_pool::WorkerPool;
