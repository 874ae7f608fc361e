//! What becomes of a handler's failure: another try, or a record and a dead letter.

mod sequence;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use nervebus_core::Reason;

use crate::context::Handling;
use crate::context::cause::Known;
use crate::delivery::again::{NoWait, Origin, Redelivery};
use crate::delivery::breaker::{Breaker, Change};
use crate::delivery::count;
use crate::delivery::dead_letters::{DeadLetter, Obituary};
use crate::delivery::engine::{BREAKER_CLOSED, BREAKER_OPENED, Engine, HANDLER_ERROR, HANDLER_TIMEOUT};
use crate::delivery::failure::{HandlerError, drop_quietly, text_of};
use crate::delivery::lane::Queue;
use crate::delivery::retry::{GiveUp, Retrying};
use crate::delivery::subscription::{Failure, Subscription};
use crate::delivery::watch::Deferred;
use crate::event::{Call, Event, OwnedEvent};
use crate::range;

/// How a delivery that was made again has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Handled,
    Failed,
    TimedOut,
    Expired,
    Cancelled,
}

/// A failed delivery that is not tried again, and why.
type Lost = Box<(Redelivery, Reason)>;

impl Engine {
    /// Makes dead letters and records of an event's failures.
    #[cold]
    pub(crate) fn bury(&self, event: OwnedEvent, lane: &str, failures: &[(Arc<Subscription>, Arc<HandlerError>)]) {
        for (subscription, error) in failures {
            let mut failed = Redelivery::first(event.clone(), subscription);
            failed.calls += u32::from(was_called(error));
            self.lay_down(lane, failed, reason_of(error), error);
        }
    }

    /// Makes one dead letter of an event that came too late for handlers of a lane.
    #[cold]
    pub(crate) fn bury_expired(&self, event: OwnedEvent, lane: &str) {
        let obituary = Obituary {
            reason: Reason::Expired,
            subscription: None,
            handler: lane.into(),
            pattern: None,
            error: format!("it expired before lane {lane:?} got to it"),
            attempts: 0,
        };
        self.dead_letters.push(event, obituary);
    }

    /// Has an event's failures on a lane tried again, or makes dead letters and records of them; says how many are tried
    /// again.
    #[cold]
    pub(crate) fn fail(
        &self,
        queue: &Arc<Queue>,
        event: OwnedEvent,
        failures: &[(Arc<Subscription>, Arc<HandlerError>)],
    ) -> Deferred {
        let mut waiting = Deferred::default();
        // Before anybody sees that something waits: whoever moves a clock by hand then moves it far enough.
        let now = self.clock.now();
        for (subscription, error) in failures {
            let mut failed = Redelivery::first(event.clone(), subscription);
            failed.calls += u32::from(was_called(error));
            // Before it can be seen to have ended.
            queue.again.underway.begin();
            subscription.aside.begin();
            let kept = if let HandlerError::Parked = **error {
                Self::park(queue, failed)
            } else {
                failed.spot = subscription.parking().and_then(|parking| parking.begin(event.as_event().head.key));
                self.try_again(queue, failed, error, now)
            };
            match kept {
                Ok(()) => waiting.add(error),
                Err(lost) => {
                    self.lay_down(&queue.name, lost.0, lost.1, error);
                    subscription.aside.end();
                    queue.again.underway.end();
                }
            }
        }
        waiting
    }

    /// Has a delivery that failed just now wait for its next try, if its handler's policy has one for this error.
    fn try_again(
        &self,
        queue: &Arc<Queue>,
        mut failed: Redelivery,
        error: &HandlerError,
        now: u64,
    ) -> Result<(), Lost> {
        let subscription = Arc::clone(&failed.subscription);
        let Some(retrying) = subscription.retrying().filter(|_| !matches!(failed.origin, Origin::Letter(_))) else {
            return Err(Box::new((failed, reason_of(error))));
        };
        if was_called(error) {
            failed.history.record(self.text_of(error), self.clock.wall_seconds());
        }
        let Some(at) = self.next_try(retrying, &mut failed, error, now) else {
            return Err(Box::new((failed, reason_of(error))));
        };
        let job = |number| {
            let queue = Arc::clone(queue);
            let look = move |_: &Arc<Self>| {
                if queue.again.is_due(number) {
                    queue.unpark_worker();
                }
            };
            Box::new(look) as Box<_>
        };
        let deferred = queue.again.defer(at, failed, &self.timer, job);
        if deferred.is_ok() && was_called(error) {
            subscription.aside.retry(was_timeout(error));
        }
        deferred.map_err(|returned| {
            let (failed, why) = *returned;
            let reason = match why {
                NoWait::Closing => Reason::Shutdown,
                NoWait::Full => {
                    count::add(&retrying.no_room, 1);
                    reason_of(error)
                }
            };
            Box::new((failed, reason))
        })
    }

    /// When a delivery that failed is due again, if it is to be tried again.
    fn next_try(&self, retrying: &Retrying, failed: &mut Redelivery, error: &HandlerError, now: u64) -> Option<u64> {
        let (policy, random) = (&retrying.policy, self.dice.roll());
        let after = |delay| now.saturating_add(range::nanos(delay));
        if let HandlerError::BreakerOpen { .. } = error {
            if failed.put_off >= policy.most_attempts() {
                return None;
            }
            failed.put_off += 1;
            if failed.put_off == 1 {
                // Whoever asks does not wait for the breaker.
                failed.decline(self.text_of(error));
            }
            // What waits for one breaker does not come back together.
            let left = failed.subscription.breaker().map_or(Duration::ZERO, Breaker::next_try);
            return Some(after(left.saturating_add(policy.delay(1, random))));
        }
        match policy.next(&retrying.budget, failed.calls, error, random) {
            Ok(delay) => Some(after(delay)),
            Err(why) => {
                count::add(&retrying.over_budget, u64::from(why == GiveUp::OverBudget));
                None
            }
        }
    }

    /// Writes into the lane's account how a redelivery has ended, unless it waits for yet another try. For the thread that
    /// is the lane's worker, or acts for it.
    pub(crate) fn settle_again(&self, queue: &Queue, ended: Option<Ended>) {
        let outcomes = &queue.outcomes;
        let counter = match ended {
            None => return,
            Some(Ended::Handled) => &outcomes.handled,
            Some(Ended::Failed) => &outcomes.failed,
            Some(Ended::TimedOut) => &outcomes.timed_out,
            Some(Ended::Expired) => &outcomes.expired,
            Some(Ended::Cancelled) => &outcomes.cancelled,
        };
        count::add_alone(counter, 1);
        queue.again.underway.end();
    }

    /// Calls one handler with one event once more; `None` if the delivery waits for yet another try.
    pub(crate) fn call_again(
        &self,
        queue: Option<&Arc<Queue>>,
        again: Redelivery,
        limit: Option<&dyn Call>,
    ) -> Option<Ended> {
        let result = self.with_event(&again, limit, |event| again.subscription.handle_again(event));
        self.conclude_again(queue, again, result)
    }

    /// Has a redelivery whose call has not ended in time end as a failure. For the thread that is the lane's worker, or acts
    /// for it.
    #[cold]
    pub(crate) fn fail_again(&self, queue: &Arc<Queue>, (again, error): (Redelivery, HandlerError)) {
        let ended = self.conclude_again(Some(queue), again, Err(Failure::Failed(Arc::new(error))));
        self.settle_again(queue, ended);
    }

    /// Draws the conclusion from the call of a redelivery; `None` if it waits for yet another try.
    pub(crate) fn conclude_again(
        &self,
        queue: Option<&Arc<Queue>>,
        mut again: Redelivery,
        result: Result<(), Failure>,
    ) -> Option<Ended> {
        let failure = match result {
            Ok(()) => {
                if let Origin::Letter(letter) = &again.origin {
                    self.dead_letters.tick_off(letter.id);
                }
                again.origin.has_ended();
                again.subscription.aside.end();
                self.go_on_after(queue, &again);
                drop_quietly(again);
                return Some(Ended::Handled);
            }
            Err(failure) => failure,
        };
        let Failure::Failed(error) = failure else {
            self.put_back(&again);
            if let Origin::Emit = again.origin {
                self.go_on_after(queue, &again);
            }
            drop_quietly(again);
            return Some(Ended::Cancelled);
        };
        again.calls = again.calls.saturating_add(u32::from(was_called(&error)));
        let tried = match queue {
            Some(queue) => self.try_again(queue, again, &error, self.clock.now()),
            None => Err(Box::new((again, reason_of(&error)))),
        };
        let ended = tried.map_or_else(
            |lost| {
                let lane = queue.map_or("inline", |queue| &*queue.name);
                let (subscription, spot) = (Arc::clone(&lost.0.subscription), lost.0.spot);
                self.lay_down(lane, lost.0, lost.1, &error);
                subscription.aside.end();
                self.park_behind(queue, &subscription, spot);
                Some(if was_timeout(&error) { Ended::TimedOut } else { Ended::Failed })
            },
            |()| None,
        );
        drop_quietly(error);
        ended
    }

    /// When the event of a redelivery expires, if it does. That of an earlier run went by another clock.
    pub(crate) fn expiry(&self, again: &Redelivery) -> Option<u64> {
        let event = again.event.as_event();
        Some(event.head.expires).filter(|expires| *expires != 0 && event.bus == self.bus)
    }

    /// Ends a redelivery whose event has expired: the handler is not called, and there is one dead letter of it, or still.
    /// It holds up no others of its key.
    #[cold]
    pub(crate) fn expire_again(&self, queue: Option<&Arc<Queue>>, again: Redelivery) -> Ended {
        match &again.origin {
            Origin::Emit | Origin::Log(..) => {
                let error = format!("it expired before attempt {}", again.calls.saturating_add(1));
                self.keep_letter(Redelivery { spot: None, ..again.clone() }, Reason::Expired, error);
            }
            Origin::Letter(letter) if again.spot.is_some() => {
                self.dead_letters.put_back(Arc::new(DeadLetter { spot: None, ..DeadLetter::clone(letter) }));
            }
            Origin::Letter(_) => self.put_back(&again),
        }
        again.subscription.count_expired();
        again.subscription.aside.end();
        self.go_on_after(queue, &again);
        drop_quietly(again);
        Ended::Expired
    }

    /// Has something done with a redelivery's event as its handler sees it, which is known for the cause of what is emitted.
    pub(crate) fn with_event<R>(
        &self,
        again: &Redelivery,
        call: Option<&dyn Call>,
        act: impl FnOnce(&Event<'_>) -> R,
    ) -> R {
        let kept = again.event.as_event();
        let mut head = kept.head.clone();
        head.earlier = u16::try_from(again.calls).unwrap_or(u16::MAX);
        // The number of an event of an earlier run is another event's in this one, so it is nobody's cause.
        let seq = if kept.bus == self.bus { head.seq } else { 0 };
        let _scope = Handling::enter(self.bus, seq, head.hops, head.lineage.as_ref());
        let _known = Known::by(head.given_id());
        act(&Event { head: &head, call, ..kept })
    }

    /// What is written of an error: its text, redacted.
    fn text_of(&self, error: &HandlerError) -> String {
        self.screen.owned(text_of(error))
    }

    /// The end of a delivery that failed: a record, and a dead letter, or the one that it came from.
    fn lay_down(&self, lane: &str, failed: Redelivery, reason: Reason, error: &HandlerError) {
        if matches!(failed.origin, Origin::Log(..)) && reason == Reason::Shutdown {
            // It will be given again.
            return drop_quietly(failed);
        }
        let text = self.text_of(error);
        if failed.put_off == 0 {
            failed.decline(text.clone());
        }
        if !was_called(error) {
            failed.subscription.aside.fail();
        }
        // A record that cannot be handled makes no further record, or one bad handler of records would go on for ever.
        // What is parked has not failed: it waits.
        if !failed.event.as_event().head.own && reason != Reason::Parked {
            let record = failure_record(&failed, lane, error.kind(), &text);
            let topic = if reason == Reason::HandlerTimeout { HANDLER_TIMEOUT } else { HANDLER_ERROR };
            self.emit_system(topic, record, Some(&failed.event));
        }
        match &failed.origin {
            Origin::Emit | Origin::Log(..) => self.keep_letter(failed, reason, text),
            // The call was not made: the letter stays as it is.
            Origin::Letter(_) if !was_called(error) => {
                self.put_back(&failed);
                drop_quietly(failed);
            }
            Origin::Letter(_) => self.return_letter(failed, error, text),
        }
    }

    fn keep_letter(&self, failed: Redelivery, reason: Reason, error: String) {
        let Redelivery { event, subscription, calls, history, spot, origin, .. } = failed;
        let obituary = Obituary {
            reason,
            subscription: Some(subscription.id),
            handler: Arc::clone(&subscription.name),
            pattern: Some(Arc::from(&*subscription.pattern)),
            error,
            attempts: calls,
        };
        let sequence = subscription.parking().cloned().zip(spot);
        if let Some(released) = self.dead_letters.push_after(event, obituary, history.into_attempts(), sequence) {
            self.send_next(&released.parking, released.key, &subscription);
        }
        // After there is a letter of it.
        origin.has_ended();
        drop_quietly(subscription);
    }

    /// Puts a letter back with what its handler said this time.
    fn return_letter(&self, failed: Redelivery, error: &HandlerError, text: String) {
        let Redelivery { event, subscription, calls, mut history, origin, .. } = failed;
        let Origin::Letter(letter) = origin else { return };
        let failed_at = self.clock.wall_seconds();
        history.record(text.clone(), failed_at);
        self.dead_letters.put_back(Arc::new(DeadLetter {
            id: letter.id,
            event,
            reason: reason_of(error),
            subscription: Some(subscription.id),
            handler: Arc::clone(&letter.handler),
            pattern: letter.pattern.clone(),
            error: text,
            attempts: calls,
            retries: letter.retries.saturating_add(1),
            failed_at,
            history: history.into_attempts().into(),
            spot: letter.spot,
        }));
        drop_quietly(letter);
        drop_quietly(subscription);
    }

    /// Puts the letter that a redelivery is of back as it was, if it is of one.
    fn put_back(&self, again: &Redelivery) {
        if let Origin::Letter(letter) = &again.origin {
            self.dead_letters.put_back(Arc::clone(letter));
        }
    }

    /// Ends what a shutdown left waiting beside a lane.
    #[cold]
    pub(crate) fn leave(&self, queue: &Queue, left: Vec<Redelivery>) {
        for again in left {
            let subscription = Arc::clone(&again.subscription);
            count::add(&subscription.aside.dropped, 1);
            subscription.aside.end();
            match &again.origin {
                Origin::Emit => {
                    let error = format!("the bus shut down before attempt {}", again.calls.saturating_add(1));
                    self.keep_letter(again, Reason::Shutdown, error);
                }
                Origin::Letter(_) => {
                    self.put_back(&again);
                    drop_quietly(again);
                }
                // It will be given again.
                Origin::Log(..) => drop_quietly(again),
            }
            count::add(&queue.left, 1);
            count::add(&queue.outcomes.dropped, 1);
            queue.again.underway.end();
        }
    }

    /// Says that a breaker has opened or closed.
    #[cold]
    pub(crate) fn record_change(&self, change: &Change) {
        let Change { breaker, failures, opened, until } = change;
        let mut record = serde_json::json!({"breaker": &**breaker, "failures": failures, "opened": opened});
        let topic = if let Some(until) = until {
            record["until"] = (*until).into();
            BREAKER_OPENED
        } else {
            BREAKER_CLOSED
        };
        self.emit_system(topic, record, None);
    }
}

/// What a failure is called among the reasons for a dead letter.
fn reason_of(error: &HandlerError) -> Reason {
    match error {
        HandlerError::Timeout { .. } => Reason::HandlerTimeout,
        HandlerError::Parked => Reason::Parked,
        HandlerError::SchemaMismatch(_) => Reason::ValidationError,
        _ => Reason::HandlerError,
    }
}

fn was_timeout(error: &HandlerError) -> bool {
    matches!(error, HandlerError::Timeout { .. })
}

/// Whether the handler had a say in this.
fn was_called(error: &HandlerError) -> bool {
    !matches!(error, HandlerError::BreakerOpen { .. } | HandlerError::Parked)
}

/// The payload of a `system.handler_error`.
fn failure_record(failed: &Redelivery, lane: &str, kind: &str, error: &str) -> serde_json::Value {
    let (event, subscription) = (failed.event.as_event(), &failed.subscription);
    let mut id = String::new();
    let _ = write!(id, "{}", event.id());
    serde_json::json!({
        "event_type": event.topic(),
        "event_id": id,
        "seq": event.seq(),
        "handler": &*subscription.name,
        "subscription": subscription.id.get(),
        "lane": lane,
        "error_type": kind,
        "error": error,
        "attempts": failed.calls,
    })
}
