//! A topic that carries one type.

use std::any::{self, TypeId};
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use nervebus_core::SubscriptionId;

use crate::bus::Bus;
use crate::delivery::class::Class;
use crate::delivery::directory::claim::Claim;
use crate::delivery::directory::{RouteCache, TopicRoute, TopicState};
use crate::delivery::emit::{Extra, How, Refused};
use crate::delivery::engine::Engine;
use crate::delivery::handler::HandlerResult;
use crate::delivery::key;
use crate::delivery::lane::Patience;
use crate::delivery::report::{Report, Waiter};
use crate::emission::Emission;
use crate::emit_async::EmitAsync;
use crate::error::{ClaimError, EmitError, SubscribeError};
use crate::event::Event;
use crate::payload::{Typed, personal};
use crate::receipt::Receipt;
use crate::subscribe::Subscribe;
use crate::typed_event::{Category, TypedEvent};
use crate::typed_subscribe::TypedSubscribe;

/// Emits values of one type on that type's topic, and subscribes to them; see [`Bus::topic`].
///
/// Each thread should have its own: cloning is cheap. It keeps its bus alive, as a [`Bus`] does.
///
/// The key, the time to live and the class of an event are its type's. Those who subscribe by a pattern, or by name with
/// [`Bus::on`], get the same events, and read them as JSON or as the type.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Event};
/// use serde::Serialize;
///
/// #[derive(Event, Serialize, Clone, Copy)]
/// #[event(topic = "market.tick")]
/// struct Tick {
///     price: u64,
/// }
///
/// let bus = Bus::builder().build()?;
/// let mut ticks = bus.topic::<Tick>()?;
/// ticks.on().inline().handle(|tick, event| assert_eq!((tick.price, event.seq()), (7, 1)))?;
/// bus.on("market.*").inline().handle(|event| assert_eq!(event["price"], 7))?;
/// ticks.emit(Tick { price: 7 })?;
///
/// let other = bus.topic::<Other>().unwrap_err();
/// assert!(other.to_string().contains("Tick (version 1)"), "{other}");
///
/// #[derive(Event, Serialize)]
/// #[event(topic = "market.tick", version = 2)]
/// struct Other;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TypedTopic<T> {
    bus: Bus,
    topic: Arc<TopicState>,
    route: RouteCache,
    kind: PhantomData<fn(T)>,
}

impl<T: TypedEvent> TypedTopic<T> {
    pub(crate) fn claim(bus: &Bus) -> Result<Self, ClaimError> {
        let engine = bus.engine();
        engine.names.check(T::TOPIC).map_err(|rule| ClaimError::InvalidTopic { rule })?;
        let claim = Claim {
            id: TypeId::of::<T>(),
            name: any::type_name::<T>(),
            version: T::VERSION,
            emits: T::EMITS,
            is_command: T::CATEGORY == Category::Command,
        };
        // Before anybody can emit one.
        personal::know::<T>();
        let topic = engine.directory.claim(T::TOPIC, claim)?;
        Ok(Self { bus: bus.clone(), route: topic.route_cache(), topic, kind: PhantomData })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic.name
    }

    /// Emits a value; see [`Bus::emit`].
    ///
    /// # Errors
    ///
    /// As [`Bus::emit`]; [`EmitError::NoHandler`] for a [command](Category::Command) that nobody handles.
    ///
    /// # Cost
    ///
    /// That of [`Publisher::emit`](crate::Publisher::emit): the name is not looked up, and values of up to 64 bytes are not
    /// moved to the heap. A key is hashed. A type with a time to live or a class takes the general way, as
    /// [`Emission`](crate::Emission) does, and also allocates nothing. A command looks for its handler in the route.
    #[inline]
    pub fn emit(&mut self, value: T) -> Result<Receipt, EmitError<T>> {
        let route = self.route.load();
        emit(self.bus.engine(), &self.topic, route, value, Patience::Policy)
    }

    /// Emits without ever waiting; see [`Bus::try_emit`].
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit); [`EmitError::Full`] where that would wait.
    #[inline]
    pub fn try_emit(&mut self, value: T) -> Result<Receipt, EmitError<T>> {
        let route = self.route.load();
        emit(self.bus.engine(), &self.topic, route, value, Patience::Never)
    }

    /// Emits through a handle that is shared, for example by the calls of a handler.
    ///
    /// # Errors
    ///
    /// As [`emit`](Self::emit).
    ///
    /// # Cost
    ///
    /// As [`emit`](Self::emit), with the route read as [`Bus::emit`] reads it, which takes some nanoseconds more.
    pub fn emit_shared(&self, value: T) -> Result<Receipt, EmitError<T>> {
        emit(self.bus.engine(), &self.topic, &self.topic.table.load(), value, Patience::Policy)
    }

    /// An event with more to say than its value: correlation, source, identity, deadline, another key. Version, key, class and
    /// time to live are those of the type, unless something else is said.
    ///
    /// ```
    /// use nervebus::{Bus, Event};
    /// use serde::Serialize;
    ///
    /// #[derive(Event, Serialize)]
    /// #[event(topic = "order.placed", version = 2, key = id)]
    /// struct OrderPlaced {
    ///     id: u64,
    /// }
    ///
    /// let bus = Bus::builder().build()?;
    /// let orders = bus.topic::<OrderPlaced>()?;
    /// orders.on().inline().handle(|order, event| {
    ///     assert_eq!((order.id, event.source(), event.schema_version()), (7, Some("shop"), Some(2)));
    /// })?;
    /// let receipt = orders.event(OrderPlaced { id: 7 }).source("shop").correlation_id("req-1").emit()?;
    /// assert_eq!(receipt.inline().handled, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cost
    ///
    /// That of an [`Emission`]: the name is looked up, the general way is taken, and what is said lies in one allocation. An
    /// event for several lanes shares its value among them.
    pub fn event(&self, value: T) -> Emission<'_, T> {
        let key = key_of(&value);
        let emission = Emission::new(&self.bus, T::TOPIC, value).schema_version(T::VERSION).class(T::CLASS);
        let emission = emission.hashed_key(key);
        match T::TTL {
            Some(ttl) => emission.ttl(ttl),
            None => emission,
        }
    }

    /// Emits, and awaits room where [`emit`](Self::emit) would wait; see [`Bus::emit_async`], also for what holds when the
    /// future is dropped.
    ///
    /// # Errors
    ///
    /// The future's output is that of [`emit`](Self::emit).
    pub fn emit_async(&mut self, value: T) -> impl Future<Output = Result<Receipt, EmitError<T>>> + Send + use<'_, T> {
        let Self { bus, topic, route, .. } = self;
        async move {
            let engine = bus.engine();
            if lacks_handler::<T>(engine, topic, route.load()) {
                return Err(refuse(engine, value));
            }
            let (key, extra) = (key_of(&value), (!is_plain::<T>()).then(|| extra::<T>(engine)));
            let emit = EmitAsync::on(engine, topic, route, Typed(value)).with_extra(key, extra);
            emit.await.map_err(untyped)
        }
    }

    /// Emits, waits for all handlers, and returns the outcome of each; see [`Bus::emit_and_wait`].
    ///
    /// # Errors
    ///
    /// As [`Bus::emit_and_wait`]; [`EmitError::NoHandler`] for a [command](Category::Command) that nobody handles.
    pub fn emit_and_wait(&self, value: T) -> Result<Report, EmitError<T>> {
        let (engine, route) = (self.bus.engine(), self.topic.table.load());
        if lacks_handler::<T>(engine, &self.topic, &route) {
            return Err(refuse(engine, value));
        }
        let deadline = engine.clock.after(engine.wait_limit);
        let waiter = Arc::new(Waiter::default());
        let extra = Extra { waiter: Some(Arc::clone(&waiter)), ..extra::<T>(engine) };
        let how = How { patience: Patience::Until(deadline), key: key_of(&value), extra: Some(&extra), ..How::PLAIN };
        let receipt = engine.emit_claimed(&self.topic, &route, Typed(value), how).map_err(untyped)?;
        // Emitters that come after it need not keep this route.
        drop(route);
        Ok(waiter.wait(&engine.clock, deadline, receipt))
    }

    /// Subscribes a handler of values on the default lane with the default priority; see [`on`](Self::on) for more.
    ///
    /// # Errors
    ///
    /// As [`TypedSubscribe::handle`].
    pub fn subscribe<F, R>(&self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(&T, &Event<'_>) -> R + Send + Sync + 'static,
        R: HandlerResult,
    {
        self.on().handle(handler)
    }

    /// Begins a subscription with more to say: lane, priority, timeout, retry.
    ///
    /// The handler gets values of the type. An event that carries JSON, be it from a log or from an emitter without the type,
    /// is [converted](TypedEvent::from_json) where the type allows it: one deserialization for each handler. Any other
    /// payload is a failure, [`HandlerError::WrongType`](crate::HandlerError::WrongType), and a dead letter; it is not tried
    /// again. So it is with JSON that says that it has the shape of another [version](crate::Event::schema_version) than the
    /// type's: [`HandlerError::WrongVersion`](crate::HandlerError::WrongVersion).
    ///
    /// ```
    /// use nervebus::{Bus, Event, Retry, json};
    /// use serde::{Deserialize, Serialize};
    /// use std::time::Duration;
    ///
    /// #[derive(Event, Serialize, Deserialize)]
    /// #[event(topic = "mail.queued", key = to)]
    /// struct Mail {
    ///     to: String,
    /// }
    ///
    /// let bus = Bus::builder().build()?;
    /// let mut mails = bus.topic::<Mail>()?;
    /// let retry = Retry::exponential(Duration::from_millis(100)).attempts(3);
    /// mails.on().priority(200).retry(retry).handle(|mail, _| println!("to {}", mail.to))?;
    ///
    /// mails.emit(Mail { to: "alice".into() })?;
    /// assert!(bus.emit_and_wait("mail.queued", json!({"to": "bob"}))?.all_handled());
    /// assert!(!bus.emit_and_wait("mail.queued", "carol")?.all_handled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on(&self) -> TypedSubscribe<'_, T> {
        TypedSubscribe::new(Subscribe::new(&self.bus, &self.topic.name))
    }
}

impl<T> Clone for TypedTopic<T> {
    fn clone(&self) -> Self {
        Self { bus: self.bus.clone(), topic: Arc::clone(&self.topic), route: self.route.clone(), kind: PhantomData }
    }
}

impl<T> fmt::Debug for TypedTopic<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedTopic").field("topic", &self.topic.name).finish_non_exhaustive()
    }
}

/// Emits a value on its topic by a route of that topic.
#[inline]
fn emit<T: TypedEvent>(
    engine: &Engine,
    topic: &TopicState,
    route: &TopicRoute,
    value: T,
    patience: Patience,
) -> Result<Receipt, EmitError<T>> {
    if lacks_handler::<T>(engine, topic, route) {
        return Err(refuse(engine, value));
    }
    let key = key_of(&value);
    if is_plain::<T>() {
        return engine.emit_claimed(topic, route, Typed(value), How { patience, key, ..How::PLAIN }).map_err(untyped);
    }
    let extra = extra::<T>(engine);
    engine
        .emit_claimed(topic, route, Typed(value), How { patience, key, extra: Some(&extra), ..How::PLAIN })
        .map_err(untyped)
}

/// Whether there is nothing to say of an event beyond topic, key and payload: then it can take the short ways.
const fn is_plain<T: TypedEvent>() -> bool {
    T::TTL.is_none() && matches!(T::CLASS, Class::Normal)
}

/// What the type says of its events.
fn extra<T: TypedEvent>(engine: &Engine) -> Extra {
    Extra { expires: T::TTL.map_or(0, |ttl| engine.clock.after(ttl)), class: T::CLASS, ..Extra::default() }
}

#[inline]
fn key_of<T: TypedEvent>(value: &T) -> u64 {
    value.key().map_or(0, |key| key::hash(&key))
}

/// Whether it is a command that nobody handles.
#[inline]
fn lacks_handler<T: TypedEvent>(engine: &Engine, topic: &TopicState, route: &TopicRoute) -> bool {
    matches!(T::CATEGORY, Category::Command) && !engine.directory.has_handler(topic, route)
}

#[cold]
fn refuse<T: TypedEvent>(engine: &Engine, value: T) -> EmitError<T> {
    engine.refuse(Refused::NoHandler(T::TOPIC.into()), value)
}

#[cold]
fn untyped<T>(error: EmitError<Typed<T>>) -> EmitError<T> {
    error.map(|Typed(value)| value)
}
