//! `qubit-event-bus`, with its provider for one process.
//!
//! A full subscription refuses an event, so its producers hold back as those of `tokio_broadcast` do.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use qubit_event_bus::EventBus;
use qubit_event_bus::local::LocalEventBusConfig;
use qubit_event_bus::model::{AdmissionRequirement, Delivery, PublishRequest, SubscribeRequest, Topic};
use qubit_event_bus::spi::ShutdownMode;

use super::tokio_broadcast::Pace;
use crate::queued::{Carrier, Producer};
use crate::{CAPACITY, Payload, Tally};

const TOPIC: &str = "shop.order.placed";

/// How long it may take to shut down.
const GRACE: Duration = Duration::from_secs(20);

/// A bus with a subscription for each consumer.
pub struct Qubit {
    bus: EventBus,
}

/// One producer.
pub struct Publishing {
    bus: EventBus,
    topic: Topic<Payload>,
    pace: Pace,
}

impl fmt::Debug for Qubit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qubit").finish_non_exhaustive()
    }
}

impl fmt::Debug for Publishing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publishing").finish_non_exhaustive()
    }
}

impl Carrier for Qubit {
    const NAME: &'static str = "qubit_event_bus";
    type Producer = Publishing;

    fn open(producers: usize, tallies: &[Arc<Tally>]) -> (Self, Vec<Publishing>) {
        // An event keeps its place for a moment after its handler has counted it: twice the room, so that none is refused.
        let config = LocalEventBusConfig::new().queue_capacity(2 * CAPACITY);
        let bus = EventBus::local(config).expect("the settings are valid");
        let topic = Topic::<Payload>::new(TOPIC).expect("the name is valid");
        for (index, tally) in tallies.iter().enumerate() {
            let request = SubscribeRequest::new(&format!("handler-{index}"), topic.clone()).expect("the name is valid");
            // Its handlers may run on several threads, and a tally is for one.
            let handler = Mutex::new(tally.handler());
            let handle =
                move |delivery: Delivery<Payload>| handler.lock().expect("no handler panicked")(delivery.payload());
            // Dropped, it lasts as long as the bus.
            let _ = bus.subscribe(request, handle).expect("the bus is open");
        }
        let pace = Pace::new(tallies);
        let publishing = |_| Publishing { bus: bus.clone(), topic: topic.clone(), pace: pace.clone() };
        let ends = (0..producers).map(publishing).collect();
        (Self { bus }, ends)
    }
}

impl Producer for Publishing {
    #[inline]
    fn emit(&mut self, payload: Payload) {
        self.pace.hold();
        let request = PublishRequest::new(self.topic.clone(), payload).expect("an identity can be made");
        let requirement = AdmissionRequirement::AtLeastOneAcceptedAndNoRejected;
        let _ = self.bus.publish_checked(request, requirement).expect("every subscription has room");
    }
}

impl Drop for Qubit {
    fn drop(&mut self) {
        // What is late in ending is left to itself.
        let _ = self.bus.shutdown(ShutdownMode::Graceful { timeout: GRACE });
    }
}
