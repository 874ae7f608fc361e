//! Subscribing to values of one type.

use std::any;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use nervebus_core::{Priority, SubscriptionId};
use serde_json::Value;

use crate::delivery::breaker::Breaker;
use crate::delivery::failure::HandlerError;
use crate::delivery::handler::{HandlerResult, Thunk, guarded};
use crate::delivery::parking::KeyOrder;
use crate::delivery::retry::Retry;
use crate::error::SubscribeError;
use crate::event::Event;
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
    // Upcasters are the user's, and so is `Deserialize`.
    let json = match guarded(|| Ok(upcast::<T>(event, schemas, json)))? {
        Ok(json) => json,
        Err(error) => return wrong(error),
    };
    match guarded(|| Ok(T::from_json(&json)))? {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) if T::PII.is_empty() => wrong(format!("JSON that does not fit: {error}")),
        // What serde says quotes the value.
        Some(Err(_)) => wrong("JSON that does not fit".into()),
        None => wrong("JSON, from which the type cannot be made: it has no `Deserialize`".into()),
    }
}

/// The payload in the shape of the type's version, if there are upcasters from its own.
fn upcast<'v, T: TypedEvent>(
    event: &Event<'_>,
    schemas: Option<&dyn Schemas>,
    json: &'v Value,
) -> Result<Cow<'v, Value>, String> {
    let Some(schemas) = schemas else { return Ok(Cow::Borrowed(json)) };
    let upcast = schemas.upcast(event, T::VERSION, json);
    // What an upcaster says may quote the value.
    upcast.map_err(|error| if T::PII.is_empty() { error } else { "JSON of a version that cannot be upcast".into() })
}
