//! Headers: what can be said of an event beyond its topic, its payload, and what every event has.

pub(crate) mod attributes;

use std::time::Duration;

use self::attributes::Attributes;

/// What an emitter said of an event, for those who handle, record or pass it on; see [`Event::headers`](crate::Event::headers).
/// The bus itself looks at none of it.
///
/// What other systems call a header is, here:
///
/// | header | said with | read with |
/// |---|---|---|
/// | `message_id` | [`event_id`](crate::Emission::event_id) | [`Event::id`](crate::Event::id) |
/// | `event_type` | the topic | [`Event::topic`](crate::Event::topic) |
/// | `timestamp` | [`timestamp`](crate::Emission::timestamp) | [`Event::timestamp`](crate::Event::timestamp) |
/// | `source` | [`source`](crate::Emission::source) | [`Event::source`](crate::Event::source) |
/// | `sequence` | the bus | [`Event::seq`](crate::Event::seq) |
/// | `correlation_id` | [`correlation_id`](crate::Emission::correlation_id), or inherited | [`Event::correlation_id`](crate::Event::correlation_id) |
/// | `causation_id` | [`causation_id`](crate::Emission::causation_id), or the bus | [`Event::causation_id`](crate::Event::causation_id) |
/// | `idempotency_key` | [`idempotency_key`](crate::Emission::idempotency_key) | [`Event::idempotency_key`](crate::Event::idempotency_key) |
/// | `schema_version` | [`schema_version`](crate::Emission::schema_version), or the type | [`Event::schema_version`](crate::Event::schema_version) |
/// | `priority` | [`class`](crate::Emission::class): `low`, `normal`, `high`, `critical` | [`Event::class`](crate::Event::class) |
/// | `ttl` | [`ttl`](crate::Emission::ttl), or the type | [`Event::ttl`](crate::Event::ttl) |
/// | `content_type`, `destination`, `operation_name`, `routing_key`, `partition_key`, `retry_count`, `max_retries` | the [`Emission`](crate::Emission)'s method of that name | the field of that name |
/// | any other | [`attribute`](crate::Emission::attribute) | [`Event::attribute`](crate::Event::attribute) |
///
/// `trace_id`, `span_id` and `parent_span_id` belong to the context that an event inherits, and are no headers of its own.
///
/// # Cost
///
/// An event of which nothing of this was said has no `Headers`, and pays nothing for them. Otherwise they are one
/// allocation, one for each text, and one for all attributes; lanes share them.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, json};
///
/// let bus = Bus::builder().build()?;
/// bus.on("order.*").inline().handle(|event| {
///     let headers = event.headers().expect("the emitter said some");
///     assert_eq!(headers.partition_key.as_deref(), Some("customer-7"));
///     assert_eq!(event.attribute("tenant"), Some("north"));
/// })?;
/// let order = bus.event("order.placed", json!({"id": 1})).partition_key("customer-7").attribute("tenant", "north");
/// assert!(order.emit_and_wait()?.all_handled());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Headers {
    /// What kind of data the payload is, as a media type. A payload is JSON in every record, whatever is said here.
    pub content_type: Option<Box<str>>,
    /// For whom it is meant.
    pub destination: Option<Box<str>>,
    /// What was being done when it was emitted.
    pub operation_name: Option<Box<str>>,
    /// What a broker finds its way by.
    pub routing_key: Option<Box<str>>,
    /// Which events it stays in order with, as text: its hash is the event's [key](crate::Emission::key), unless another
    /// was said.
    pub partition_key: Option<Box<str>>,
    /// The identity of the event that caused it, where the bus cannot know it by itself. Read it with
    /// [`Event::causation_id`](crate::Event::causation_id), which knows both.
    pub causation_id: Option<Box<str>>,
    /// How often it was tried before it came to this bus. What this bus has tried since is not in it: see
    /// [`Event::attempt`](crate::Event::attempt).
    pub retry_count: Option<u32>,
    /// How often it should be tried at most, to whoever minds. Handlers here have their [`Retry`](crate::Retry) instead.
    pub max_retries: Option<u32>,
    /// For how long after its emit it was worth delivering. Read it with [`Event::ttl`](crate::Event::ttl), which knows what
    /// the type says as well.
    pub ttl: Option<Duration>,
    /// All others, by name.
    pub attributes: Attributes,
}

impl Headers {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
