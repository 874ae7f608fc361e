//! What an event carries: any serializable value, in place while it is small, shared when several need it.

mod nesting;
pub(crate) mod personal;

use std::any::{self, Any};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use nervebus_core::inline::{Inline, Upcast};
use serde::Serialize;
use serde_json::Value;

use self::personal::{names_of, redacted};
use crate::typed_event::TypedEvent;

/// How many machine words of an event's slot its payload may take: a value of up to 64 bytes with what belongs to it.
const WORDS: usize = 11;

/// What every [`payload_as`](crate::Event::payload_as) and JSON view of a payload falls back to.
static NULL: Value = Value::Null;

/// What can be emitted: anything that serializes and can go to another thread.
///
/// Implemented for every such type; there is nothing to write by hand. `serde_json::Value` is one of them, and events
/// that carry it are read without any conversion.
pub trait Payload: Carried {}

impl<T: Carried> Payload for T {}

/// What the bus asks of a payload. Sealed: implemented for what serializes, and for [`Typed`].
pub trait Carried: Send + Sync + 'static {
    /// The value as [`payload_as`](crate::Event::payload_as) finds it.
    fn value(&self) -> &dyn Any;

    /// The name of the type of that value, for people.
    fn type_name(&self) -> &'static str;

    /// The version of the value's shape, if its type says one.
    fn version(&self) -> Option<u32> {
        None
    }

    /// For how long after its emit the value is worth delivering, if its type says so.
    fn ttl(&self) -> Option<Duration> {
        None
    }

    /// The value as JSON, with all that it says.
    ///
    /// # Errors
    ///
    /// What its `Serialize` said.
    fn reveal(&self) -> serde_json::Result<Value>;

    /// The value as JSON, as handlers and records see it.
    ///
    /// # Errors
    ///
    /// What its `Serialize` said.
    fn to_json(&self) -> serde_json::Result<Value>;

    /// Writes what [`to_json`](Self::to_json) returns.
    ///
    /// # Errors
    ///
    /// What its `Serialize` said, or that it is nested too deeply to be read again.
    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;

    /// Writes the value as JSON, with all that it says.
    ///
    /// # Errors
    ///
    /// What its `Serialize` said, or the writer.
    fn write_all(&self, out: &mut dyn io::Write) -> serde_json::Result<()>;

    /// A second value, if that is cheaper than sharing the first.
    fn duplicate(&self) -> Option<Self>
    where
        Self: Sized;
}

impl<T: Serialize + Send + Sync + 'static> Carried for T {
    #[inline]
    fn value(&self) -> &dyn Any {
        self
    }

    fn type_name(&self) -> &'static str {
        any::type_name::<T>()
    }

    fn reveal(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }

    fn to_json(&self) -> serde_json::Result<Value> {
        let json = serde_json::to_value(self)?;
        Ok(match names_of::<T>() {
            None => json,
            Some(names) => redacted(json, names),
        })
    }

    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match names_of::<T>() {
            None => nesting::write(out, self),
            Some(_) => nesting::write(out, &self.to_json()?),
        }
    }

    fn write_all(&self, out: &mut dyn io::Write) -> serde_json::Result<()> {
        serde_json::to_writer(out, self)
    }

    #[inline]
    fn duplicate(&self) -> Option<Self> {
        None
    }
}

/// A value whose type says more of it: what typed topics emit.
#[repr(transparent)]
pub(crate) struct Typed<T>(pub(crate) T);

/// It does not serialize by itself, so that the two implementations are for different types.
impl<T: TypedEvent> Carried for Typed<T> {
    #[inline]
    fn value(&self) -> &dyn Any {
        &self.0
    }

    fn type_name(&self) -> &'static str {
        any::type_name::<T>()
    }

    fn version(&self) -> Option<u32> {
        Some(T::VERSION)
    }

    fn ttl(&self) -> Option<Duration> {
        T::TTL
    }

    fn reveal(&self) -> serde_json::Result<Value> {
        serde_json::to_value(&self.0)
    }

    fn to_json(&self) -> serde_json::Result<Value> {
        let json = serde_json::to_value(&self.0)?;
        Ok(if T::PII.is_empty() { json } else { redacted(json, T::PII) })
    }

    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        if T::PII.is_empty() {
            return nesting::write(out, &self.0);
        }
        nesting::write(out, &self.to_json()?)
    }

    fn write_all(&self, out: &mut dyn io::Write) -> serde_json::Result<()> {
        serde_json::to_writer(out, &self.0)
    }

    #[inline]
    fn duplicate(&self) -> Option<Self> {
        self.0.duplicate().map(Self)
    }
}

/// The payload of one event, its type forgotten.
pub(crate) enum Body {
    /// In the event's own slot: one owner.
    Inline(Inline<dyn Content, WORDS>),
    /// On the heap: cheap to clone.
    Shared(Arc<dyn Content>),
}

/// What the bus can do with a payload of any type.
pub(crate) trait Content: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn json(&self) -> &Value;
    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()>;
    /// Writes the value as JSON, with all that it says.
    fn write_all(&self, out: &mut dyn io::Write) -> serde_json::Result<()>;
    /// Itself on the heap, where further owners can be had; `None` for a value that lies in its event's place.
    fn shared(&self) -> Option<&Arc<dyn Content>>;
    /// Moves the value to the heap; the place it leaves holds nothing and must be overwritten.
    fn share(&mut self) -> Arc<dyn Content>;
    /// A second value beside this one; or what [`share`](Self::share) returns.
    fn second(&mut self) -> Second;
    /// The JSON view with all that the value says.
    fn reveal(&self) -> Value;
    /// The name of the value's type, for people.
    fn type_name(&self) -> &'static str;
    /// The version of the value's shape, if its type says one.
    fn version(&self) -> Option<u32>;
    /// For how long after its emit the value is worth delivering, if its type says so.
    fn ttl(&self) -> Option<Duration>;
}

/// How a value comes to a second place.
pub(crate) enum Second {
    Duplicate(Body),
    Shared(Arc<dyn Content>),
}

/// A value with the JSON view that is made when somebody first asks for it.
pub(crate) struct Cargo<T> {
    /// `None` only after the value was taken out of a place that is about to be overwritten.
    value: Option<T>,
    json: OnceLock<Box<Value>>,
}

impl<T> Cargo<T> {
    #[inline]
    pub(crate) const fn new(value: T) -> Self {
        Self { value: Some(value), json: OnceLock::new() }
    }
}

impl<T: Payload> Content for Cargo<T> {
    fn as_any(&self) -> &dyn Any {
        match &self.value {
            Some(value) => value.value(),
            None => &(),
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn json(&self) -> &Value {
        let Some(value) = &self.value else { return &NULL };
        if let Some(value) = value.value().downcast_ref::<Value>() {
            return value;
        }
        self.json.get_or_init(|| Box::new(value.to_json().unwrap_or(Value::Null)))
    }

    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match &self.value {
            Some(value) => value.write_json(out),
            None => serde_json::to_writer(out, &NULL),
        }
    }

    fn write_all(&self, out: &mut dyn io::Write) -> serde_json::Result<()> {
        self.value.as_ref().map_or(Ok(()), |value| value.write_all(out))
    }

    fn shared(&self) -> Option<&Arc<dyn Content>> {
        None
    }

    fn share(&mut self) -> Arc<dyn Content> {
        Arc::new(Cargo { value: self.value.take(), json: std::mem::take(&mut self.json) })
    }

    fn second(&mut self) -> Second {
        // JSON that is there already is worth more than the allocation.
        if self.json.get().is_none()
            && let Some(value) = self.value.as_ref().and_then(duplicate)
        {
            return Second::Duplicate(Body::new(value));
        }
        Second::Shared(self.share())
    }

    fn reveal(&self) -> Value {
        self.value.as_ref().and_then(|value| value.reveal().ok()).unwrap_or(Value::Null)
    }

    fn type_name(&self) -> &'static str {
        self.value.as_ref().map_or("()", Carried::type_name)
    }

    fn version(&self) -> Option<u32> {
        self.value.as_ref().and_then(Carried::version)
    }

    fn ttl(&self) -> Option<Duration> {
        self.value.as_ref().and_then(Carried::ttl)
    }
}

/// A payload that several may own is seen through its pointer, so that whoever sees it can become one of them.
impl Content for Arc<dyn Content> {
    fn as_any(&self) -> &dyn Any {
        (**self).as_any()
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn json(&self) -> &Value {
        (**self).json()
    }

    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        (**self).write_json(out)
    }

    fn write_all(&self, out: &mut dyn io::Write) -> serde_json::Result<()> {
        (**self).write_all(out)
    }

    fn shared(&self) -> Option<&Arc<dyn Content>> {
        Some(self)
    }

    fn share(&mut self) -> Arc<dyn Content> {
        Arc::clone(self)
    }

    fn second(&mut self) -> Second {
        Second::Shared(Arc::clone(self))
    }

    fn reveal(&self) -> Value {
        (**self).reveal()
    }

    fn type_name(&self) -> &'static str {
        (**self).type_name()
    }

    fn version(&self) -> Option<u32> {
        (**self).version()
    }

    fn ttl(&self) -> Option<Duration> {
        (**self).ttl()
    }
}

/// A second value, unless making it panics: that would leave a hole in the ring whose slot it is made in.
#[inline]
fn duplicate<T: Payload>(value: &T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(|| value.duplicate())).unwrap_or_else(|panic| {
        // What it panicked with may itself panic when dropped; leaking it ends the chain.
        std::mem::forget(panic);
        None
    })
}

impl<T: Payload> Upcast<dyn Content> for Cargo<T> {
    fn upcast(&self) -> &(dyn Content + 'static) {
        self
    }

    fn upcast_mut(&mut self) -> &mut (dyn Content + 'static) {
        self
    }
}

impl Body {
    /// Takes a value in: in place if it fits, on the heap if not.
    pub(crate) fn new<P: Payload>(value: P) -> Self {
        Self::of(Cargo::new(value))
    }

    /// Takes in a value that a handler may have seen already.
    #[inline]
    pub(crate) fn of<P: Payload>(cargo: Cargo<P>) -> Self {
        match Inline::new(cargo) {
            Ok(inline) => Self::Inline(inline),
            Err(large) => Self::Shared(Arc::new(large)),
        }
    }

    /// Makes the payload cheap to clone: at most one allocation, once.
    pub(crate) fn share(&mut self) {
        if let Self::Inline(inline) = self {
            *self = Self::Shared(inline.share());
        }
    }

    /// The payload once more: a value of its own where the type makes those, or else a second owner.
    pub(crate) fn clone_shared(&mut self) -> Self {
        if let Self::Inline(inline) = self {
            match inline.second() {
                Second::Duplicate(body) => return body,
                Second::Shared(shared) => *self = Self::Shared(shared),
            }
        }
        match self {
            Self::Shared(shared) => Self::Shared(Arc::clone(shared)),
            Self::Inline(_) => Self::new(()),
        }
    }

    /// The value itself, as long as nobody else holds it.
    pub(crate) fn take<P: Payload>(mut self) -> Option<P> {
        let content: &mut dyn Content = match &mut self {
            Self::Inline(inline) => &mut **inline,
            Self::Shared(shared) => Arc::get_mut(shared)?,
        };
        content.as_any_mut().downcast_mut::<Cargo<P>>()?.value.take()
    }

    pub(crate) fn content(&self) -> &dyn Content {
        match self {
            Self::Inline(inline) => &**inline,
            Self::Shared(shared) => shared,
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inline(_) => "Body::Inline",
            Self::Shared(_) => "Body::Shared",
        })
    }
}
