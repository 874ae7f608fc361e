//! One event to one handler once more, on its lane's worker.

use std::sync::Arc;

use nervebus_core::lease::Revoked;

use super::{flight, watchdog};
use crate::delivery::again::Redelivery;
use crate::delivery::engine::Engine;
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::Queue;
use crate::delivery::subscription::Failure;
use crate::delivery::watch::{CallLimit, Retried, Seat};

/// Makes a delivery again that is due.
///
/// # Errors
///
/// [`Revoked`] when the call has taken too long: then the calling thread is no longer the lane's worker, and must touch
/// nothing that is the worker's.
#[cold]
pub(super) fn redeliver(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    seat: &mut Seat,
    again: Redelivery,
) -> Result<(), Revoked> {
    let subscription = Arc::clone(&again.subscription);
    if let (Some(flight), Some(starter)) = (&queue.flight, subscription.starter()) {
        return flight::again(engine, queue, flight, starter, seat, again);
    }
    let (expires, timeout) = (engine.expiry(&again), subscription.timeout());
    if expires.is_none() && timeout.is_none() {
        engine.settle_again(queue, engine.call_again(Some(queue), again, None));
        return Ok(());
    }
    let (clock, now) = (&engine.clock, engine.clock.now());
    let ended = match (expires, timeout) {
        (Some(expires), _) if now >= expires && again.subscription.is_active() => {
            Some(engine.expire_again(Some(queue), again))
        }
        (expires, Some(timeout)) => {
            // As for a first delivery: not beyond the event's own end, or twice that for a future that blocks.
            let twice = if again.subscription.awaits() { 2 } else { 1 };
            let limit = expires.map_or(timeout, |at| timeout.min(at.saturating_sub(now).saturating_mul(twice)));
            return watched(engine, queue, seat, Retried { again, limit }, now.saturating_add(limit));
        }
        (expires, None) => {
            let limit = CallLimit { clock, deadline: expires.unwrap_or(u64::MAX), watchdogs: None };
            engine.call_again(Some(queue), again, Some(&limit))
        }
    };
    engine.settle_again(queue, ended);
    Ok(())
}

fn watched(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    seat: &mut Seat,
    retried: Retried,
    deadline: u64,
) -> Result<(), Revoked> {
    let ended = match seat.again.hold(retried) {
        Ok(()) => {
            let result = call(engine, queue, seat, deadline)?;
            let Retried { again, .. } = seat.again.take().ok_or(Revoked)?;
            engine.conclude_again(Some(queue), again, result)
        }
        // The seat is empty: what was in it was taken out when its call had ended.
        Err(retried) => engine.call_again(Some(queue), retried.again, None),
    };
    engine.settle_again(queue, ended);
    Ok(())
}

/// Calls the handler, and has the call watched.
fn call(
    engine: &Arc<Engine>,
    queue: &Arc<Queue>,
    seat: &mut Seat,
    deadline: u64,
) -> Result<Result<(), Failure>, Revoked> {
    let again = &seat.again.value().ok_or(Revoked)?.again;
    let subscription = Arc::clone(&again.subscription);
    if !subscription.is_active() {
        return Ok(Err(Failure::Cancelled));
    }
    let permit = match engine.with_event(again, None, |event| subscription.admit(event)) {
        Ok(permit) => permit,
        Err(refusal) => return Ok(Err(Failure::Failed(Arc::new(refusal)))),
    };
    queue.watch.keep_permit(permit);
    seat.again.begin(deadline);
    if queue.watch.expect(deadline) {
        watchdog::plan(engine, queue);
    }
    let again = &seat.again.value().ok_or(Revoked)?.again;
    let limit = CallLimit { clock: &engine.clock, deadline, watchdogs: Some(&seat.watchdogs) };
    let result = engine.with_event(again, Some(&limit), |event| subscription.call(event));
    if seat.again.end().is_err() {
        // The breaker was told when the time was up.
        drop_quietly(result);
        return Err(Revoked);
    }
    subscription.conclude(queue.watch.take_permit(&subscription), result.is_ok());
    subscription.count(&result);
    Ok(result.map_err(|error| Failure::Failed(Arc::new(error))))
}
