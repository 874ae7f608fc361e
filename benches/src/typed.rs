//! Typed topics: a struct that says its topic, beside the same bytes by publisher and beside the core alone.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use nervebus::{Bus, Event, Lane, Overflow, TypedEvent, TypedTopic};
use serde::Serialize;

use crate::inline::{InlineBus, Order, Sum};
use crate::queued::{Carrier, Producer};
use crate::{CAPACITY, Payload, Tally, payload};

/// How long a bus may take to end its work before its bench is void.
const GRACE: Duration = Duration::from_secs(20);

/// A struct around the bytes that other members carry.
pub trait Placed: TypedEvent + Copy + Debug {
    /// The member's name in the output of lanes.
    const NAME: &'static str;

    /// A struct with these bytes.
    fn of(payload: Payload) -> Self;

    /// Its bytes.
    fn payload(&self) -> &Payload;
}

/// It is `Copy`: several lanes get copies.
#[derive(Event, Clone, Copy, Debug, Serialize)]
#[event(topic = "shop.order.placed")]
pub struct Copied(Payload);

impl Placed for Copied {
    const NAME: &'static str = "nervebus/typed";

    #[inline]
    fn of(payload: Payload) -> Self {
        Self(payload)
    }

    #[inline]
    fn payload(&self) -> &Payload {
        &self.0
    }
}

/// The same by hand, without copies: several lanes share one.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Shared(Payload);

impl TypedEvent for Shared {
    const TOPIC: &'static str = "shop.order.placed";
}

impl Placed for Shared {
    const NAME: &'static str = "nervebus/typed_shared";

    #[inline]
    fn of(payload: Payload) -> Self {
        Self(payload)
    }

    #[inline]
    fn payload(&self) -> &Payload {
        &self.0
    }
}

/// `topic.emit(value)` to inline handlers of the one topic that the type has.
#[derive(Debug)]
pub struct TypedInline(TypedTopic<Copied>);

impl InlineBus for TypedInline {
    const NAME: &'static str = "nervebus/typed";

    fn open(topics: &[String], handlers: usize, sum: &Arc<Sum>) -> Self {
        assert_eq!(topics.len(), 1, "a type has one topic");
        let bus = Bus::builder().build().expect("the settings are valid");
        let topic = bus.topic::<Copied>().expect("the topic is free");
        for _ in 0..handlers {
            let sum = Arc::clone(sum);
            topic.on().inline().handle(move |value, _| sum.add(value.0.cents())).expect("the table has room");
        }
        Self(topic)
    }

    #[inline]
    fn emit(&mut self, _: usize, value: u64) {
        self.0.emit(Copied(payload(value))).expect("the bus is open");
    }
}

/// `topic.emit(value)` to lanes.
#[derive(Debug)]
pub struct TypedLanes<T: Placed> {
    bus: Bus,
    kind: PhantomData<T>,
}

impl<T: Placed> Carrier for TypedLanes<T> {
    const NAME: &'static str = T::NAME;
    type Producer = TypedTopic<T>;

    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Self::Producer>) {
        let names: Vec<_> = (0..tallies.len()).map(|index| format!("lane_{index}")).collect();
        let lane = |name: &String| Lane::new(name).capacity(CAPACITY).overflow(Overflow::Block);
        let bus = names.iter().fold(Bus::builder(), |builder, name| builder.lane(lane(name)));
        let bus = bus.build().expect("the settings are valid");
        let topic = bus.topic::<T>().expect("the topic is free");
        for (name, tally) in names.iter().zip(tallies) {
            let tally = Arc::clone(tally);
            topic.on().lane(name).handle(move |value, _| tally.count(value.payload())).expect("the lane exists");
        }
        let ends = vec![topic.clone(); producers];
        (Self { bus, kind: PhantomData }, ends)
    }
}

impl<T: Placed> Drop for TypedLanes<T> {
    fn drop(&mut self) {
        self.bus.shutdown(GRACE);
    }
}

impl<T: Placed> Producer for TypedTopic<T> {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        Self::emit(self, T::of(payload)).expect("the bus is open and waits while it is full");
    }
}
