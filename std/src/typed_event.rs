//! What a type says about the events that carry it.

use std::error::Error;
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::delivery::class::Class;

/// What an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Category {
    /// It says what has happened. Whoever wants to know is told.
    #[default]
    Event,
    /// It asks for something to be done, by exactly one handler. A second one cannot be subscribed, and an emit that finds none
    /// is refused, through a typed topic or, once a bus has one for the type, by name. That one is subscribed by the topic's
    /// name; those that a pattern such as `order.*` brings look on, and are not counted.
    Command,
    /// It says what somebody would like to happen. Whoever can may do something about it.
    Intent,
}

impl Category {
    /// The name, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Command => "command",
            Self::Intent => "intent",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A type that is carried by events of one topic: its contract.
///
/// `#[derive(Event)]` writes it (the derive macro and the view that handlers get share a name: `use nervebus::Event`
/// brings both). Only the topic must be given when it is written by hand; the rest has the defaults of the derive.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Event};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Event, Serialize, Deserialize)]
/// #[event(topic = "order.placed", version = 2, key = id, emits("order.shipped"))]
/// struct OrderPlaced {
///     id: u64,
///     #[event(pii)]
///     email: String,
/// }
///
/// let bus = Bus::builder().build()?;
/// let mut orders = bus.topic::<OrderPlaced>()?;
/// orders.on().inline().handle(|order: &OrderPlaced, _| assert_eq!(order.email, "alice@example.com"))?;
/// bus.on("order.*").inline().handle(|event| {
///     assert_eq!(event["email"], "[REDACTED_PII]");
///     assert_eq!(event.reveal()["email"], "alice@example.com");
/// })?;
/// let receipt = orders.emit(OrderPlaced { id: 7, email: "alice@example.com".into() })?;
/// assert_eq!(receipt.inline().handled, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// By hand:
///
/// ```
/// use nervebus::{Category, TypedEvent};
/// use std::hash::Hash;
///
/// #[derive(serde::Serialize)]
/// struct ChargeCard {
///     account: u64,
///     cents: u64,
/// }
///
/// impl TypedEvent for ChargeCard {
///     const TOPIC: &'static str = "card.charge";
///     const CATEGORY: Category = Category::Command;
///
///     fn key(&self) -> Option<impl Hash> {
///         Some(self.account)
///     }
/// }
/// ```
pub trait TypedEvent: Serialize + Send + Sync + Sized + 'static {
    /// The topic that the type's events are emitted on.
    const TOPIC: &'static str;

    /// The version of the payload's shape. Two versions are two types, of which a bus carries one on a topic.
    const VERSION: u32 = 1;

    /// What it is for.
    const CATEGORY: Category = Category::Event;

    /// How much it matters to a lane that [sheds load](crate::Lane::shed).
    const CLASS: Class = Class::Normal;

    /// How long it is worth delivering; see [`Emission::ttl`](crate::Emission::ttl).
    const TTL: Option<Duration> = None;

    /// The topics that its handlers emit on. For drawings of the whole; nothing is checked.
    const EMITS: &'static [&'static str] = &[];

    /// The fields that are personal data, by their names in JSON. What a typed topic emits has `"[REDACTED_PII]"` in their
    /// place wherever it is seen as JSON: in the audit log, in files of dead letters, in `event["field"]`. Handlers of the
    /// type see the values, and so does who asks: [`Event::payload_as`](crate::Event::payload_as),
    /// [`Event::reveal`](crate::Event::reveal). A type with personal data that serde does not write as a map is redacted as
    /// a whole.
    ///
    /// A dead letter that is read back from a file has lost them.
    ///
    /// From the first [`Bus::topic`](crate::Bus::topic) for the type on, this holds for all its values in the process, also for
    /// those that are emitted by name. Before it, [`Bus::emit`](crate::Bus::emit) knows nothing of the type, and a value is seen
    /// as its `Serialize` writes it.
    const PII: &'static [&'static str] = &[];

    /// The name of the field that [`key`](Self::key) is, if it is one: for contracts.
    const KEY: Option<&'static str> = None;

    /// Which events it stays in order with; see [`Emission::key`](crate::Emission::key).
    fn key(&self) -> Option<impl Hash> {
        None::<()>
    }

    /// A second value, for an event that goes to several lanes: if there is one, each lane has a value in its slot and none
    /// shares. `None` to share, which is one allocation. The derive makes one for types that are [`Copy`]: any other clone may
    /// allocate more than is saved. Asked of values that lie in place only, of up to 64 bytes.
    ///
    /// JSON is then made for each lane that asks for it. This is called while a slot of a lane is held: it should take no
    /// time, and may not emit. A panic is caught, and the value shared.
    fn duplicate(&self) -> Option<Self> {
        None
    }

    /// The value that an event carries as JSON, for handlers of the type: events that come from a log, from another process,
    /// or from who has no type. `None` if it cannot be made from JSON; the handler fails with
    /// [`HandlerError::WrongType`](crate::HandlerError::WrongType) then. The derive makes it for types that are
    /// `DeserializeOwned`.
    ///
    /// # Errors
    ///
    /// What is wrong with the JSON.
    fn from_json(value: &Value) -> Option<Result<Self, Box<dyn Error + Send + Sync>>> {
        let _ = value;
        None
    }
}

/// What the derive's code stands on: it finds out what a type can do without asking for it. The receiver of a method is
/// looked for with fewer references only if it has none with more, so the trait that is implemented for `&Probe` goes first
/// where its bound holds.
#[doc(hidden)]
#[allow(missing_docs, missing_debug_implementations, reason = "for generated code only")]
pub mod derive {
    use std::marker::PhantomData;

    use serde::de::DeserializeOwned;
    use serde_json::Value;

    pub type Error = Box<dyn std::error::Error + Send + Sync>;

    pub struct Probe<T>(PhantomData<T>);

    impl<T> Probe<T> {
        pub const NEW: Self = Self(PhantomData);
    }

    #[inline]
    pub fn hashed<K: std::hash::Hash>(key: K) -> K {
        key
    }

    pub trait Copied<T> {
        #[inline]
        fn duplicate(&self, value: &T) -> Option<T>
        where
            T: Copy,
        {
            Some(*value)
        }
    }

    impl<T: Copy> Copied<T> for &Probe<T> {}

    pub trait NotCopied<T> {
        #[inline]
        fn duplicate(&self, _: &T) -> Option<T> {
            None
        }
    }

    impl<T> NotCopied<T> for Probe<T> {}

    pub trait Deserialized<T> {
        fn deserialized(&self, value: &Value) -> Option<Result<T, Error>>
        where
            T: DeserializeOwned,
        {
            Some(T::deserialize(value).map_err(Into::into))
        }
    }

    impl<T: DeserializeOwned> Deserialized<T> for &Probe<T> {}

    pub trait NotDeserialized<T> {
        fn deserialized(&self, _: &Value) -> Option<Result<T, Error>> {
            None
        }
    }

    impl<T> NotDeserialized<T> for Probe<T> {}
}
