//! Subscribing to values of one type.

use std::any;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use nervebus_core::{Priority, SubscriptionId};
use serde_json::Value;

use crate::delivery::breaker::Breaker;
use crate::delivery::failure::HandlerError;
use crate::delivery::handler::{HandlerResult, Thunk, guarded, owned_thunk};
use crate::delivery::parking::KeyOrder;
use crate::delivery::retry::Retry;
use crate::error::SubscribeError;
use crate::event::{Event, OwnedEvent};
use crate::schema::Schemas;
use crate::subscribe::Subscribe;
use crate::typed_event::TypedEvent;

/// A subscription to a typed topic that lacks its handler; see [`TypedTopic::on`](crate::TypedTopic::on).
#[must_use = "nothing is subscribed before `handle`"]
pub struct TypedSubscribe<'a, T> {
    to: Subscribe<'a>,
    kind: PhantomData<fn(&T)>,
}

impl<'a, T: TypedEvent> TypedSubscribe<'a, T> {
    pub(crate) fn new(to: Subscribe<'a>) -> Self {
        Self { to, kind: PhantomData }
    }

    fn with(self, change: impl FnOnce(Subscribe<'a>) -> Subscribe<'a>) -> Self {
        Self::new(change(self.to))
    }

    /// See [`Subscribe::name`]. Default: the topic's.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with(|to| to.name(name))
    }

    /// See [`Subscribe::priority`].
    pub fn priority(self, priority: impl Into<Priority>) -> Self {
        self.with(|to| to.priority(priority))
    }

    /// See [`Subscribe::lane`].
    pub fn lane(self, name: impl Into<String>) -> Self {
        self.with(|to| to.lane(name))
    }

    /// See [`Subscribe::inline`].
    pub fn inline(self) -> Self {
        self.with(Subscribe::inline)
    }

    /// See [`Subscribe::timeout`].
    pub fn timeout(self, limit: impl Into<Option<Duration>>) -> Self {
        self.with(|to| to.timeout(limit))
    }

    /// See [`Subscribe::retry`].
    pub fn retry(self, retry: Retry) -> Self {
        self.with(|to| to.retry(retry))
    }

    /// See [`Subscribe::breaker`].
    pub fn breaker(self, breaker: &Breaker) -> Self {
        self.with(|to| to.breaker(breaker))
    }

    /// See [`Subscribe::keep_order_per_key`].
    pub fn keep_order_per_key(self) -> Self {
        self.with(Subscribe::keep_order_per_key)
    }

    /// See [`Subscribe::key_order`].
    pub fn key_order(self, order: KeyOrder) -> Self {
        self.with(|to| to.key_order(order))
    }

    /// See [`Subscribe::with_history`].
    pub fn with_history(self) -> Self {
        self.with(Subscribe::with_history)
    }

    /// See [`Subscribe::durable`]. What comes from the log is JSON, from which the type must be
    /// [made](TypedEvent::from_json).
    #[cfg(feature = "durable")]
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn durable(self, name: impl Into<String>) -> Self {
        self.with(|to| to.durable(name))
    }

    /// See [`Subscribe::from_start`].
    #[cfg(feature = "durable")]
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn from_start(self) -> Self {
        self.with(Subscribe::from_start)
    }

    /// See [`Subscribe::dedup`].
    #[cfg(feature = "durable")]
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn dedup(self, window: crate::DedupWindow) -> Self {
        self.with(|to| to.dedup(window))
    }

    /// Subscribes the handler, which gets the value and the event that carries it; see
    /// [`TypedTopic::on`](crate::TypedTopic::on) for events that carry no value of the type.
    ///
    /// # Errors
    ///
    /// As [`Subscribe::handle`]; [`SubscribeError::CommandHandled`] for a second handler of a
    /// [command](crate::Category::Command).
    pub fn handle<F, R>(self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(&T, &Event<'_>) -> R + Send + Sync + 'static,
        R: HandlerResult,
    {
        let schemas = self.to.schemas();
        self.to.add(typed_thunk(handler, schemas))
    }

    /// Subscribes a handler that gets the value to keep, or to send elsewhere, with the event that carries it. In all else as
    /// [`handle`](Self::handle).
    ///
    /// # Errors
    ///
    /// As [`handle`](Self::handle).
    ///
    /// # Cost
    ///
    /// As [`Subscribe::handle_owned`].
    pub fn handle_owned<F, R>(self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(TypedOwned<T>) -> R + Send + Sync + 'static,
        R: HandlerResult,
    {
        let schemas = self.to.schemas();
        self.to.add_owning(owned_thunk(move |event| Ok(handler(TypedOwned::of(event, schemas.as_deref())?))))
    }

    /// Subscribes an async handler; see [`Subscribe::handle_async`].
    ///
    /// # Errors
    ///
    /// As [`handle`](Self::handle); [`SubscribeError::AsyncInline`] after [`inline`](Self::inline).
    ///
    /// # Examples
    ///
    /// ```
    /// use nervebus::{Bus, Event};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Event, Serialize, Deserialize)]
    /// #[event(topic = "mail.queued")]
    /// struct Mail {
    ///     to: String,
    /// }
    ///
    /// # async fn send(_: &str) -> Result<(), std::io::Error> { Ok(()) }
    /// let bus = Bus::builder().build()?;
    /// let mails = bus.topic::<Mail>()?;
    /// mails.on().handle_async(|mail| async move { send(&mail.to).await })?;
    /// assert!(mails.emit_and_wait(Mail { to: "alice".into() })?.all_handled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn handle_async<F, Fut>(self, handler: F) -> Result<SubscriptionId, SubscribeError>
    where
        F: Fn(TypedOwned<T>) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: HandlerResult,
    {
        let schemas = self.to.schemas();
        self.to.add_async(move |event| Ok(handler(TypedOwned::of(event, schemas.as_deref())?)))
    }
}

/// A value that outlives its delivery, with the event that carries it: what handlers get that
/// [own](TypedSubscribe::handle_owned) their events, and [async](TypedSubscribe::handle_async) ones.
///
/// It is read as the value. Cheap to clone; the value is shared, never copied.
pub struct TypedOwned<T> {
    event: OwnedEvent,
    /// The value, where the event carries JSON.
    made: Option<Arc<T>>,
}

impl<T: TypedEvent> TypedOwned<T> {
    fn of(event: OwnedEvent, schemas: Option<&dyn Schemas>) -> Result<Self, HandlerError> {
        let is_carried = event.payload_as::<T>().is_some();
        let made = if is_carried { None } else { Some(Arc::new(converted(&event.as_event(), schemas)?)) };
        Ok(Self { event, made })
    }

    /// The event that carries the value.
    pub fn event(&self) -> &OwnedEvent {
        &self.event
    }
}

impl<T: TypedEvent> Deref for TypedOwned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.made {
            Some(made) => made,
            // It was looked at when this was made, and an event that is kept stays as it is.
            None => self.event.payload_as().unwrap_or_else(|| unreachable!("the event carries the value")),
        }
    }
}

impl<T> Clone for TypedOwned<T> {
    fn clone(&self) -> Self {
        Self { event: self.event.clone(), made: self.made.clone() }
    }
}

impl<T> fmt::Debug for TypedOwned<T> {
    /// Identity only: a value may hold what no log should.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedOwned").field(&self.event).finish()
    }
}

impl<T> fmt::Debug for TypedSubscribe<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedSubscribe").field(&self.to).finish()
    }
}

/// Wraps a user's closure that is for values of one type.
fn typed_thunk<T, F, R>(handler: F, schemas: Option<Arc<dyn Schemas>>) -> Thunk
where
    T: TypedEvent,
    F: Fn(&T, &Event<'_>) -> R + Send + Sync + 'static,
    R: HandlerResult,
{
    Box::new(move |event| {
        let call = |value: &T| guarded(|| handler(value, event).into_result().map_err(HandlerError::Error));
        match event.payload_as::<T>() {
            Some(value) => call(value),
            None => call(&converted(event, schemas.as_deref())?),
        }
    })
}

/// The value that an event carries as JSON, if it does.
#[cold]
fn converted<T: TypedEvent>(event: &Event<'_>, schemas: Option<&dyn Schemas>) -> Result<T, HandlerError> {
    let expected = any::type_name::<T>();
    let wrong = |found| Err(HandlerError::WrongType { expected, found });
    let Some(json) = event.payload_as::<Value>() else {
        return wrong(format!("{}, which is neither that nor JSON", event.content.type_name()));
    };
    let json = admit_version::<T>(event, schemas, json)?;
    // `Deserialize` is the user's.
    match guarded(|| Ok(T::from_json(&json)))? {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) if T::PII.is_empty() => wrong(format!("JSON that does not fit: {error}")),
        // What serde says quotes the value.
        Some(Err(_)) => wrong("JSON that does not fit".into()),
        None => wrong("JSON, from which the type cannot be made: it has no `Deserialize`".into()),
    }
}

/// The JSON of an event in the shape that the type's version has, by upcasters if there are some from its own. What says no
/// version is taken to have the type's, where there are none.
fn admit_version<'a, T: TypedEvent>(
    event: &Event<'_>,
    schemas: Option<&dyn Schemas>,
    json: &'a Value,
) -> Result<Cow<'a, Value>, HandlerError> {
    // Upcasters are the user's.
    let upcast = guarded(|| Ok(schemas.and_then(|schemas| schemas.upcast(event, T::VERSION, json))))?;
    match (upcast, event.schema_version()) {
        (Some(Ok(upcast)), _) => Ok(Cow::Owned(upcast)),
        (Some(Err(error)), _) => {
            // What an upcaster says may quote the value.
            let found = if T::PII.is_empty() { error } else { "JSON of a version that cannot be upcast".into() };
            Err(HandlerError::WrongType { expected: any::type_name::<T>(), found })
        }
        (None, Some(found)) if found != T::VERSION => Err(HandlerError::WrongVersion { expected: T::VERSION, found }),
        (None, _) => Ok(Cow::Borrowed(json)),
    }
}
