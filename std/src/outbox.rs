//! The outbox: events that are recorded in the transaction that they tell of, and emitted afterwards.

pub(crate) mod error;
mod relay;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Row, params};
use serde_json::Value;

use self::error::OutboxError;
pub use self::relay::{OutboxRelay, OutboxStats};
use crate::bus::Bus;
use crate::context::{self, Lineage};
use crate::payload::Payload;
use crate::platform::clock;

/// The table, and what is looked for in it.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS nervebus_outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    event_key TEXT,
    source TEXT,
    correlation_id TEXT,
    causation_id TEXT,
    schema_version INTEGER,
    traceparent TEXT,
    tracestate TEXT,
    baggage TEXT,
    recorded_at REAL NOT NULL,
    sent_at REAL,
    refused TEXT
);
CREATE INDEX IF NOT EXISTS nervebus_outbox_waiting ON nervebus_outbox (seq) WHERE sent_at IS NULL AND refused IS NULL;
CREATE INDEX IF NOT EXISTS nervebus_outbox_sent ON nervebus_outbox (sent_at) WHERE sent_at IS NOT NULL;
";

const RECORD: &str = "
INSERT INTO nervebus_outbox (
    id, topic, payload, event_key, source, correlation_id, causation_id, schema_version, traceparent, tracestate, baggage,
    recorded_at
) VALUES (lower(hex(randomblob(16))), ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) RETURNING id";

/// An event that is to be [recorded](Self::record).
#[derive(Debug, Clone)]
#[must_use = "nothing is recorded before `record`"]
pub struct OutboxEvent {
    topic: String,
    /// Or what the payload's `Serialize` said.
    payload: Result<Value, String>,
    is_personal: bool,
    key: Option<String>,
    source: Option<String>,
    schema_version: Option<u32>,
    causation: Option<String>,
    /// What it hands down, without the deadline, which is nobody's by the time it is emitted.
    lineage: Lineage,
}

impl OutboxEvent {
    /// An event of a topic. Made inside a handler or a [scope](crate::Scope), it has the correlation id, the trace and the
    /// baggage that an emit there would hand down, but no deadline, and the event that is handled as its cause.
    pub fn new<P: Payload>(topic: impl Into<String>, payload: &P) -> Self {
        let json = payload.reveal();
        // JSON that is shown otherwise has something that is not shown.
        let is_personal = json.as_ref().is_ok_and(|json| payload.to_json().is_ok_and(|shown| shown != *json));
        let payload = json.map_err(|error| error.to_string());
        let lineage = context::lineage().as_deref().cloned().unwrap_or_default();
        let causation = context::cause::id();
        Self {
            topic: topic.into(),
            payload,
            is_personal,
            key: None,
            source: None,
            schema_version: None,
            causation,
            lineage,
        }
    }

    /// Which events it stays in order with on lanes with several workers; see [`Emission::key`](crate::Emission::key), with
    /// this text. Default: none.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Who emits it. Default: nobody.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What ties together all events of one request. Default: that of the event that is being handled.
    pub fn correlation_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.lineage.correlation = Some(id.into());
        self
    }

    /// The version of the payload's shape; see [`Emission::schema_version`](crate::Emission::schema_version). Default: none
    /// was said. What is of a [type](crate::TypedEvent::VERSION) beyond its first version should say that version, for what is
    /// emitted is JSON, of which handlers take it to be the first where there are upcasters.
    pub fn schema_version(mut self, version: u32) -> Self {
        self.schema_version = Some(version);
        self
    }

    /// Records it in the transaction that is open on this connection; the identity that it will have. If the transaction is
    /// rolled back, so is this.
    ///
    /// # Errors
    ///
    /// [`OutboxError`]: no transaction is open, the topic has no proper name, the payload has no JSON or is known to have
    /// [personal data](crate::TypedEvent::PII), or what SQLite says, for example that there is [no table](Outbox::create).
    ///
    /// # Cost
    ///
    /// One row: the JSON of the payload, and some 200 bytes.
    pub fn record(self, connection: &Connection) -> Result<String, OutboxError> {
        if connection.is_autocommit() {
            return Err(OutboxError::NoTransaction);
        }
        nervebus_core::Topic::new(&self.topic)
            .map_err(|error| OutboxError::InvalidTopic { rule: error.to_string() })?;
        let payload = self.payload.map_err(|error| OutboxError::NoJson { error })?;
        if self.is_personal {
            return Err(OutboxError::PersonalData { topic: self.topic });
        }
        let (text, now) = (payload.to_string(), clock::wall_nanos() as f64 / 1e9);
        let Lineage { correlation, trace, baggage, .. } = &self.lineage;
        let row = params![
            self.topic,
            text,
            self.key,
            self.source,
            correlation.as_deref(),
            self.causation,
            self.schema_version,
            trace.as_ref().map(ToString::to_string),
            trace.as_ref().and_then(|trace| trace.state()),
            baggage.as_ref().map(ToString::to_string),
            now
        ];
        connection.query_row(RECORD, row, |row| row.get(0)).map_err(OutboxError::Sqlite)
    }
}

/// Events that are recorded in a table of the user's own SQLite database, and emitted in the order in which they were
/// recorded, once their transactions are committed.
///
/// To change data and then to emit, or the other way round, goes wrong when the process ends in between. An event that is
/// recorded in the transaction of the data is there when the data is, and never otherwise. A relay, one for a database,
/// reads what was committed, emits it, and marks it as sent.
///
/// **At least once.** A process that ends between the emit and the mark emits those events again, with the same
/// [identity](crate::Event::id), which is their [idempotency key](crate::Emission::idempotency_key) too: a
/// [window for duplicates](crate::Builder::dedup) takes them out as far as it reaches, and a handler that stores the
/// identity with what it does, always. They have the time at which they were recorded.
///
/// **Who has it then.** An event is sent when the bus has accepted it: where its topic is [durable](crate::DurableLog), when
/// the log has it at the log's level; elsewhere when the lanes have it, which forget it with the process.
///
/// **Refused.** While the bus refuses an event for a reason that passes (a full lane, a rate limit, a failing log), it and
/// those behind it wait, 10 ms at first and up to 5 s. One that is refused for what it is, such as a name that breaks the
/// bus's [rule](crate::NameRule), is set aside with the reason in the column `refused`, and the next has its turn.
///
/// # Cost
///
/// A thread, which reads up to a batch at a time and marks it in one transaction. On a durable topic each event has a sync of
/// its own. Without a [wake](OutboxRelay::wake) it looks every 200 ms.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Outbox, OutboxEvent, json, rusqlite};
///
/// let path = std::env::temp_dir().join(format!("nervebus-outbox-doc-{}.sqlite", std::process::id()));
/// let mut shop = rusqlite::Connection::open(&path)?;
/// shop.execute_batch("CREATE TABLE orders (id INTEGER PRIMARY KEY, cents INTEGER)")?;
/// Outbox::create(&shop)?;
///
/// let bus = Bus::builder().build()?;
/// let placed = bus.wait_for_async("order.placed", |_| true, std::time::Duration::from_secs(5));
/// let relay = Outbox::over(rusqlite::Connection::open(&path)?).start(&bus)?;
///
/// let order = shop.transaction()?;
/// order.execute("INSERT INTO orders VALUES (7, 1999)", ())?;
/// OutboxEvent::new("order.placed", &json!({"id": 7})).record(&order)?;
/// order.commit()?; // both, or neither
/// relay.wake();
/// assert_eq!(placed.wait()?["id"], 7);
/// # relay.stop();
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is emitted before `start`"]
pub struct Outbox {
    connection: Connection,
    batch: u32,
    every: Duration,
    keep: Duration,
}

impl Outbox {
    /// Makes the table `nervebus_outbox`, unless it is there.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn create(connection: &Connection) -> Result<(), OutboxError> {
        connection.execute_batch(SCHEMA).map_err(OutboxError::Sqlite)
    }

    /// How many events wait to be emitted.
    ///
    /// # Errors
    ///
    /// What SQLite says.
    pub fn pending(connection: &Connection) -> Result<u64, OutboxError> {
        let count = "SELECT count(*) FROM nervebus_outbox WHERE sent_at IS NULL AND refused IS NULL";
        let count: i64 = connection.query_row(count, (), |row| row.get(0)).map_err(OutboxError::Sqlite)?;
        Ok(count.unsigned_abs())
    }

    /// The outbox of this database, with a connection that nobody else uses. Its
    /// [busy timeout](rusqlite::Connection::busy_timeout) says how long a mark waits for a writer of the user's.
    pub fn over(connection: Connection) -> Self {
        Self { connection, batch: 100, every: Duration::from_millis(200), keep: Duration::from_secs(60 * 60) }
    }

    /// How many events are emitted before they are marked as sent, and may be emitted again after a kill. Default: 100.
    /// Range: 1 to 10,000.
    pub fn batch(mut self, events: u32) -> Self {
        self.batch = events;
        self
    }

    /// How often to look for new events when nobody [says](OutboxRelay::wake) that there are some. Default: 200 ms. Range:
    /// 1 ms to an hour.
    pub fn every(mut self, time: Duration) -> Self {
        self.every = time;
        self
    }

    /// How long rows stay that were sent; they go some time after it. Those that were refused stay. Default: an hour.
    pub fn keep_sent(mut self, time: Duration) -> Self {
        self.keep = time;
        self
    }

    /// Starts the thread that emits. It does not keep the bus alive, and ends with it.
    ///
    /// # Errors
    ///
    /// [`OutboxError::OutOfRange`] for a setting; [`OutboxError::Sqlite`] if there is no table;
    /// [`OutboxError::Thread`].
    pub fn start(self, bus: &Bus) -> Result<OutboxRelay, OutboxError> {
        crate::range::number(|| "batch".into(), self.batch.into(), 1, 10_000).map_err(OutboxError::OutOfRange)?;
        crate::range::wait(|| "every".into(), self.every, Duration::from_secs(60 * 60))
            .map_err(OutboxError::OutOfRange)?;
        Self::pending(&self.connection)?;
        relay::start(self, bus)
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("batch", &self.batch).field("every", &self.every).finish_non_exhaustive()
    }
}

/// A row that waits.
#[derive(Debug)]
struct Waiting {
    seq: i64,
    id: String,
    topic: String,
    /// Or why it is none.
    payload: Result<Value, String>,
    key: Option<String>,
    source: Option<String>,
    correlation: Option<String>,
    causation: Option<String>,
    schema_version: Option<u32>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    baggage: Option<String>,
    recorded_at: f64,
}

impl Waiting {
    const SELECT: &str = "
        SELECT seq, id, topic, payload, event_key, source, correlation_id, causation_id, schema_version, traceparent,
            tracestate, baggage, recorded_at FROM nervebus_outbox
        WHERE sent_at IS NULL AND refused IS NULL ORDER BY seq LIMIT ?1";

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let payload: String = row.get(3)?;
        Ok(Self {
            seq: row.get(0)?,
            id: row.get(1)?,
            topic: row.get(2)?,
            payload: serde_json::from_str(&payload).map_err(|error| format!("the payload is no JSON: {error}")),
            key: row.get(4)?,
            source: row.get(5)?,
            correlation: row.get(6)?,
            causation: row.get(7)?,
            schema_version: row.get(8)?,
            traceparent: row.get(9)?,
            tracestate: row.get(10)?,
            baggage: row.get(11)?,
            recorded_at: row.get(12)?,
        })
    }
}
