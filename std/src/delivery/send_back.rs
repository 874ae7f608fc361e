//! Sending dead letters back to their handlers, and ending retries early.

use std::sync::Arc;

use nervebus_core::SubscriptionId;

use crate::delivery::again::{NoWait, Origin, Redelivery};
use crate::delivery::count;
use crate::delivery::dead_letters::plan::{Targets, Unsent};
use crate::delivery::dead_letters::{DeadLetter, Released, SendBack};
use crate::delivery::engine::{Engine, InlineAccount as Inline};
use crate::delivery::failing::Ended;
use crate::delivery::failure::drop_quietly;
use crate::delivery::subscription::Subscription;
use crate::platform::place::place;

impl SendBack for Engine {
    fn send_back(&self, letter: Arc<DeadLetter>, to: &Arc<Subscription>) -> Result<(), Unsent> {
        if self.gate.is_closed() {
            self.dead_letters.put_back(letter);
            return Err(Unsent::Closed);
        }
        let key = letter.event.as_event().head.key;
        // One that has a key stays with the worker of that key.
        let which = if key == 0 { letter.id } else { key };
        let again = Redelivery::of_letter(letter, to);
        let Some(queue) = self.queues.pick(to.lane, which) else {
            self.redeliver_here(again);
            return Ok(());
        };
        // In this order no reading of the books finds the delivery taken on, but not under way.
        queue.again.underway.begin();
        to.aside.begin();
        queue.routed.add(place(), 0, 1);
        let Err(returned) = queue.again.push(again) else {
            queue.unpark_worker();
            return Ok(());
        };
        let (again, why) = *returned;
        if let Origin::Letter(letter) = &again.origin {
            self.dead_letters.put_back(Arc::clone(letter));
        }
        drop_quietly(again);
        count::add(&queue.retracted, 1);
        to.aside.end();
        queue.again.underway.end();
        Err(match why {
            NoWait::Full => Unsent::Full { lane: queue.name.to_string() },
            NoWait::Closing => Unsent::Closed,
        })
    }

    fn release(&self, released: Vec<Released>) {
        if released.is_empty() {
            return;
        }
        let targets = Targets::of(&self.directory);
        for Released { parking, key } in released {
            let first = parking.first(key).and_then(|id| self.dead_letters.take_for_retry(id, u32::MAX).ok());
            let Some(letter) = first else { continue };
            match targets.find(&letter) {
                // It is where it was if it could not be sent.
                Some(to) => drop(self.send_back(letter, to)),
                None => drop(self.dead_letters.put_back(letter)),
            }
        }
    }
}

impl Engine {
    /// Makes a delivery again to a handler whose place is its emitter's thread: that of whoever asks for it.
    fn redeliver_here(&self, again: Redelivery) {
        self.inline_again.begin();
        again.subscription.aside.begin();
        let place = place();
        self.inline.add(place, Inline::ROUTED, 1);
        let expired = |expires| self.clock.now() >= expires;
        let ended = match self.expiry(&again) {
            Some(expires) if again.subscription.is_active() && expired(expires) => Some(self.expire_again(None, again)),
            _ => self.call_again(None, again, None),
        };
        let which = match ended {
            Some(Ended::Handled) => Inline::HANDLED,
            Some(Ended::Cancelled) => Inline::CANCELLED,
            Some(Ended::Expired) => Inline::EXPIRED,
            // Without a lane nothing waits.
            Some(Ended::Failed | Ended::TimedOut) | None => Inline::FAILED,
        };
        self.inline.add(place, which, 1);
        self.inline_again.end();
    }

    /// Ends the retries to a subscription that has ended: their lanes' workers count them as cancelled.
    pub(crate) fn forget_retries(&self, subscription: SubscriptionId) {
        for queue in &self.queues {
            if queue.again.hurry(subscription, &self.timer) {
                queue.unpark_worker();
            }
        }
    }
}
