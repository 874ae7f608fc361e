//! What an event carries: any serializable value, in place while it is small, shared when several need it.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use nervebus_core::inline::{Inline, Upcast};
use serde::Serialize;
use serde_json::Value;

/// How many machine words of an event's slot its payload may take: a value of up to 64 bytes with what belongs to it.
const WORDS: usize = 11;

/// What every [`payload_as`](crate::Event::payload_as) and JSON view of a payload falls back to.
static NULL: Value = Value::Null;

/// What can be emitted: anything that serializes and can go to another thread.
///
/// Implemented for every such type; there is nothing to write by hand. `serde_json::Value` is one of them, and events
/// that carry it are read without any conversion.
pub trait Payload: Serialize + Send + Sync + 'static {}

impl<T: Serialize + Send + Sync + 'static> Payload for T {}

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
    /// Itself on the heap, where further owners can be had; `None` for a value that lies in its event's place.
    fn shared(&self) -> Option<&Arc<dyn Content>>;
    /// Moves the value to the heap; the place it leaves holds nothing and must be overwritten.
    fn share(&mut self) -> Arc<dyn Content>;
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
            Some(value) => value,
            None => &(),
        }
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn json(&self) -> &Value {
        let Some(value) = &self.value else { return &NULL };
        if let Some(value) = (value as &dyn Any).downcast_ref::<Value>() {
            return value;
        }
        self.json.get_or_init(|| Box::new(serde_json::to_value(value).unwrap_or(Value::Null)))
    }

    fn write_json(&self, out: &mut Vec<u8>) -> serde_json::Result<()> {
        match &self.value {
            Some(value) => serde_json::to_writer(out, value),
            None => serde_json::to_writer(out, &NULL),
        }
    }

    fn shared(&self) -> Option<&Arc<dyn Content>> {
        None
    }

    fn share(&mut self) -> Arc<dyn Content> {
        Arc::new(Cargo { value: self.value.take(), json: std::mem::take(&mut self.json) })
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

    fn shared(&self) -> Option<&Arc<dyn Content>> {
        Some(self)
    }

    fn share(&mut self) -> Arc<dyn Content> {
        Arc::clone(self)
    }
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

    /// A second owner of the payload, if it is [shared](Self::share).
    pub(crate) fn clone_shared(&mut self) -> Self {
        self.share();
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
