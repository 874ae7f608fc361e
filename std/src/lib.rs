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
//! [`Bus::topic`]. What every event must be like, [`Validation`] says.
//!
//! What an event inherits, correlation, trace, baggage and deadline, it has from the event whose handler emits it, or from the
//! [`Scope`] that it is emitted in.
//!
//! What payloads look like can be said as JSON Schemas, by topic and version. A [`Contract`] is a document of them, and
//! [`Compatibility`] says which changes of one break whom; a `SchemaRegistry` (feature `schema`) makes them from types, and a
//! bus holds events against them.
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
//! [`CloudEvent`] is an event as other systems say it, in JSON or over HTTP; [`Headers`] has a table of what can be said of one.
//!
//! # Patterns
//!
//! Built on the durable log: `Aggregates` (state that is folded from events, with commands that are decided against it),
//! `Projection` (a read model that follows the log) and `Saga` (steps that are done, or
//! undone). With the feature `outbox`: `Outbox`, events that are recorded in a transaction of the user's own.
//!
//! # Over HTTP
//!
//! With the feature `console`, the module `console` is a router of figures, graph, dead letters and live events, and a page
//! that shows them; it is mounted in a service or served on loopback.
//!
//! The parts that need neither threads nor an allocator are in [`nervebus-core`](nervebus_core).

#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
#[cfg(feature = "durable")]
mod aggregate;
mod builder;
mod bus;
mod cloud_event;
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
mod headers;
mod history;
mod observe;
#[cfg(feature = "outbox")]
mod outbox;
mod payload;
mod platform;
#[cfg(feature = "durable")]
mod projection;
mod publisher;
mod range;
mod receipt;
mod records;
mod redact;
mod registry;
mod replaying;
mod request;
#[cfg(feature = "durable")]
mod saga;
mod schema;
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
/// What [`Outbox`] takes connections of.
#[cfg(feature = "outbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "outbox")))]
pub use rusqlite;
/// What types have their schemas from; see [`SchemaRegistry::register`].
#[cfg(feature = "schema")]
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
pub use schemars;
pub use serde_json::{Value, json};

pub use crate::admission::dedup::DedupWindow;
pub use crate::admission::name::{NameRule, extract_action, extract_domain, is_valid_event_type};
pub use crate::admission::rate::RateLimit;
pub use crate::admission::storm::{Storm, StormGuard};
pub use crate::admission::validation::Validation;
pub use crate::admission::validation::draft::Draft;
#[cfg(feature = "durable")]
#[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
pub use crate::aggregate::error::{AggregateError, CommandError};
#[cfg(feature = "durable")]
#[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
pub use crate::aggregate::{Aggregate, AggregateStats, Aggregates, Loaded};
pub use crate::builder::Builder;
pub use crate::bus::Bus;
pub use crate::cloud_event::{CloudData, CloudEvent, CloudEventError, CloudValue, HttpMessage};
pub use crate::context::baggage::{Baggage, BaggageError};
#[cfg(feature = "tower")]
#[cfg_attr(docsrs, doc(cfg(feature = "tower")))]
pub use crate::context::correlation_layer::{CorrelationFuture, CorrelationLayer, CorrelationService};
pub use crate::context::scope::{CorrelationScope, EnteredScope, Scope};
pub use crate::context::trace::TraceContext;
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
    BuildError, ClaimError, EmitError, Limited, RecvError, RequestError, SchemaMismatch, SubscribeError,
    ValidationIssue, ValidationReport, WaitError,
};
pub use crate::event::{Event, OwnedEvent};
pub use crate::event_id::EventId;
pub use crate::headers::Headers;
pub use crate::headers::attributes::{AttributeError, Attributes};
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use crate::observe::export::FacadeMetrics;
pub use crate::observe::export::{CallbackMetrics, InMemoryMetrics, MetricsExport, MetricsExporter};
pub use crate::observe::metrics::{Metric, MetricKind, MetricValue, Metrics, Sample};
pub use crate::observe::prometheus::PrometheusText;
pub use crate::observe::stats::{
    BreakerStats, DeadLetterStats, DedupStats, GuardStats, LaneStats, ParkingStats, RetryStats, ShedStats, Stats,
    SubscriptionStats,
};
pub use crate::observe::topology::diff::TopologyChange;
pub use crate::observe::topology::finding::TopologyFinding;
pub use crate::observe::topology::{CauseEdge, HandlerNode, TopicNode, Topology};
#[cfg(feature = "outbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "outbox")))]
pub use crate::outbox::error::OutboxError;
#[cfg(feature = "outbox")]
#[cfg_attr(docsrs, doc(cfg(feature = "outbox")))]
pub use crate::outbox::{Outbox, OutboxEvent, OutboxRelay, OutboxStats};
pub use crate::payload::Payload;
pub use crate::platform::manual_clock::ManualClock;
#[cfg(feature = "durable")]
#[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
pub use crate::projection::error::ProjectionError;
#[cfg(feature = "durable")]
#[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
pub use crate::projection::{Projection, ProjectionFailure, ProjectionHandle, ProjectionStatus, ReadModel};
pub use crate::publisher::Publisher;
pub use crate::receipt::Receipt;
pub use crate::records::audit::AuditLog;
pub use crate::records::audit::account::{AuditError, AuditStats};
pub use crate::records::audit::sync::SyncPolicy;
pub use crate::records::dead_letter_log::DeadLetterLog;
pub use crate::records::dead_letter_log::file::{DeadLetterFile, StoredLetter};
#[cfg(feature = "durable")]
#[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
pub use crate::records::durable::reader::{DurableEntry, DurableReader};
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
#[cfg(feature = "durable")]
#[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
pub use crate::saga::error::SagaError;
#[cfg(feature = "durable")]
#[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
pub use crate::saga::{Saga, SagaHandle, SagaState, SagaStatus, Step};
pub use crate::schema::change::{Breaking, Change, Direction};
pub use crate::schema::compatibility::{Compatibility, ContentModel, ParseCompatibilityError};
pub use crate::schema::contract::{Contract, ContractError, TopicBreaking, TopicContract};
#[cfg(feature = "schema")]
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
pub use crate::schema::gate::SchemaCheck;
#[cfg(feature = "schema")]
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
pub use crate::schema::registry::{SchemaError, SchemaRegistry};
#[cfg(feature = "schema")]
#[cfg_attr(docsrs, doc(cfg(feature = "schema")))]
pub use crate::schema::upcast::UpcastError;
pub use crate::stream::EventStream;
pub use crate::subscribe::Subscribe;
#[doc(hidden)]
pub use crate::typed_event::derive as __derive;
pub use crate::typed_event::{Category, TypedEvent};
pub use crate::typed_subscribe::{TypedOwned, TypedSubscribe};
pub use crate::typed_topic::TypedTopic;
pub use crate::wait_for::WaitFor;
pub use crate::weak_bus::WeakBus;
pub use crate::worker_pool::WorkerPool;
