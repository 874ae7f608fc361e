//! A handle that emits on one topic.

use std::hash::Hash;
use std::sync::Arc;

use crate::bus::Bus;
use crate::delivery::directory::{RouteCache, TopicState};
use crate::delivery::emit::How;
use crate::delivery::key;
use crate::delivery::lane::Patience;
use crate::emit_async::EmitAsync;
use crate::error::EmitError;
use crate::payload::Payload;
use crate::receipt::Receipt;

/// Emits on one topic; see [`Bus::publisher`].
///
/// Each thread should have its own: cloning is cheap. A publisher keeps its bus alive, as a [`Bus`] does.
///
/// # Examples
///
/// ```
/// use nervebus::Bus;
///
/// #[derive(serde::Serialize)]
/// struct Tick { price: u64 }
///
/// let bus = Bus::builder().build()?;
/// bus.on("market.tick").inline().handle(|event| {
///     assert_eq!(event.payload_as::<Tick>().map(|tick| tick.price), Some(7));
/// })?;
/// let mut ticks = bus.publisher("market.tick")?;
/// ticks.emit(Tick { price: 7 })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Publisher {
    bus: Bus,
    topic: Arc<TopicState>,
    route: RouteCache,
}

impl Publisher {
    pub(crate) fn new(bus: &Bus, name: &str) -> Result<Self, EmitError<()>> {
        let engine = bus.engine();
        engine.names.check(name).map_err(|rule| EmitError::InvalidTopic { rule, payload: () })?;
        let topic = engine
            .directory
            .topic(name)
            .map_err(|error| EmitError::TooManyTopics { limit: error.limit, payload: () })?;
        Ok(Self { bus: bus.clone(), route: topic.route_cache(), topic })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic.name
    }

    /// Emits; see [`Bus::emit`].
    ///
    /// # Errors
    ///
    /// As [`Bus::emit`].
    ///
    /// # Cost
    ///
    /// That of [`Bus::emit`] without the lookup of the name: the route is checked for changes by one load.
    #[inline]
    pub fn emit<P: Payload>(&mut self, payload: P) -> Result<Receipt, EmitError<P>> {
        self.send(payload, How::PLAIN)
    }

    /// Emits an event that stays in order with those of the same key; see [`Emission::key`](crate::Emission::key).
    ///
    /// # Errors
    ///
    /// As [`Bus::emit`].
    ///
    /// # Cost
    ///
    /// That of [`emit`](Self::emit), and hashing the key.
    #[inline]
    pub fn emit_keyed<P: Payload>(&mut self, key: impl Hash, payload: P) -> Result<Receipt, EmitError<P>> {
        self.send(payload, How { key: key::hash(&key), ..How::PLAIN })
    }

    /// Emits without ever waiting; see [`Bus::try_emit`].
    ///
    /// # Errors
    ///
    /// As [`Bus::try_emit`].
    #[inline]
    pub fn try_emit<P: Payload>(&mut self, payload: P) -> Result<Receipt, EmitError<P>> {
        self.send(payload, How::with(Patience::Never))
    }

    /// Emits, and awaits room where [`emit`](Self::emit) would wait; see [`Bus::emit_async`].
    ///
    /// # Errors
    ///
    /// The future's output is that of [`emit`](Self::emit).
    pub fn emit_async<P: Payload>(&mut self, payload: P) -> EmitAsync<'_, P> {
        EmitAsync::on(self.bus.engine(), &self.topic, &mut self.route, payload)
    }

    #[inline]
    fn send<P: Payload>(&mut self, payload: P, how: How<'_>) -> Result<Receipt, EmitError<P>> {
        let route = self.route.load();
        self.bus.engine().emit_to(&self.topic, route, payload, how)
    }
}
