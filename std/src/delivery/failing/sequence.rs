//! Keeping the order of a key whose event has failed: what comes after that event waits behind it, and goes on after it.

use std::sync::Arc;

use nervebus_core::Reason;

use crate::delivery::again::{Origin, Redelivery};
use crate::delivery::dead_letters::SendBack;
use crate::delivery::engine::Engine;
use crate::delivery::failing::{Ended, Lost};
use crate::delivery::failure::HandlerError;
use crate::delivery::lane::Queue;
use crate::delivery::parking::{Next, Parking, Place, Spot};
use crate::delivery::subscription::Subscription;

impl Engine {
    /// Has an event whose key is held up wait behind what holds it up, beside the lane if that is where this waits.
    pub(super) fn park(queue: &Arc<Queue>, mut event: Redelivery) -> Result<(), Lost> {
        let key = event.event.as_event().head.key;
        let Some((spot, place)) = event.subscription.parking().map(|parking| parking.line_up(key)) else {
            return Err(Box::new((event, Reason::Parked)));
        };
        event.spot = Some(spot);
        let kept = match place {
            Place::Front => queue.again.push(event),
            Place::Behind => queue.again.line_up(event),
            Place::Letters => return Err(Box::new((event, Reason::Parked))),
        };
        kept.map_err(|returned| Box::new((returned.0, Reason::Parked)))
    }

    /// Lets the next event of a key have its turn, after a redelivery that holds it up no longer. For the thread that is the
    /// lane's worker, or acts for it.
    pub(super) fn go_on_after(&self, queue: Option<&Arc<Queue>>, again: &Redelivery) {
        let (Some(queue), Some(spot), Some(parking)) = (queue, again.spot, again.subscription.parking()) else {
            return;
        };
        let next = match again.origin {
            Origin::Emit => parking.step(spot.key),
            Origin::Letter(_) => Next::Letter,
            // A durable subscription has a way of its own to keep events in order.
            Origin::Log(..) => Next::Nothing,
        };
        match next {
            Next::Waiting => {
                queue.again.advance(parking, spot.key);
                queue.unpark_worker();
            }
            Next::Letter if again.subscription.is_active() => self.send_next(parking, spot.key, &again.subscription),
            Next::Letter | Next::Nothing => {}
        }
    }

    /// Makes dead letters of what waits behind a delivery that has become one. For the thread that is the lane's worker, or
    /// acts for it.
    pub(super) fn park_behind(&self, queue: Option<&Arc<Queue>>, subscription: &Subscription, spot: Option<Spot>) {
        let (Some(queue), Some(spot), Some(parking)) = (queue, spot, subscription.parking()) else { return };
        for waiting in queue.again.take_behind(parking, spot.key) {
            self.keep_letter(waiting, Reason::Parked, HandlerError::Parked.to_string());
            subscription.aside.fail();
            subscription.aside.end();
            self.settle_again(queue, Some(Ended::Failed));
        }
    }

    /// Sends the first dead letter of a key back, unless that has been done or something else comes first. If there is no
    /// room for it, or the bus is shutting down, it stays, and so do those behind it.
    pub(super) fn send_next(&self, parking: &Parking, key: u64, to: &Arc<Subscription>) {
        let first = parking.first(key).and_then(|id| self.dead_letters.take_for_retry(id, u32::MAX).ok());
        if let Some(letter) = first {
            let _ = self.send_back(letter, to);
        }
    }
}
