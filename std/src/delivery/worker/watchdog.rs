//! The watchdog of a lane's worker: takes the event over from a call that has taken too long, and finds another worker.
//!
//! It is a job of the bus's timer. It looks at the moment at which the call under way must have ended, and no job waits
//! while no such call is under way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::guarded::{finish, report};
use super::{pooled, run};
use crate::delivery::again::Redelivery;
use crate::delivery::count;
use crate::delivery::engine::{Engine, LANE_RECOVERED, LANE_UNHEALTHY};
use crate::delivery::failure::{HandlerError, drop_quietly};
use crate::delivery::lane::Queue;
use crate::delivery::watch::Unfinished;
use crate::platform::threads;

/// How long until the system is asked again for a thread that it has refused.
pub(super) const AGAIN: Duration = Duration::from_millis(100);

/// Why a lane has no worker.
#[derive(Debug)]
enum Vacancy {
    /// As many calls have not ended as may.
    Limit,
    /// The system would not start a thread.
    NotStarted(io::Error),
}

/// Sees to it that somebody looks at the next moment that the watch expects something at.
#[cold]
pub(super) fn plan(engine: &Arc<Engine>, queue: &Arc<Queue>) {
    let mut state = queue.watch.lock();
    // First, so that a lane has one job at most.
    let before = state.look.take().and_then(|key| engine.timer.cancel(key));
    if let Some(at) = queue.watch.next_look() {
        let queue = Arc::clone(queue);
        // A timer that is closed watches nothing any more: the bus has been shut down.
        state.look = engine.timer.schedule_always(at, Box::new(move |engine| look(engine, &queue))).ok();
    }
    drop(state);
    drop_quietly(before);
}

fn look(engine: &Arc<Engine>, queue: &Arc<Queue>) {
    queue.watch.looks_now();
    let now = engine.clock.now();
    let mut state = queue.watch.lock();
    let Some(watchdogs) = state.watchdogs.clone() else { return };
    // Under the lock, without which a worker does not come back: so that it finds itself among those that are stuck.
    let Some((subscription, unfinished)) = watchdogs.revoke(now) else {
        drop(state);
        if watchdogs.due().is_some_and(|due| queue.watch.expect(due)) {
            plan(engine, queue);
        }
        return;
    };
    let number = state.number;
    let handler = subscription.as_ref().map_or_else(|| Arc::from(""), |of| Arc::clone(&of.name));
    state.stuck.push((number, handler));
    state.unfinished = Some(unfinished);
    drop(state);
    if let Some(crew) = &queue.crew {
        crew.gives_up();
    }
    // Outside the lock: a breaker that opens says so to whoever listens.
    if let Some(subscription) = subscription {
        subscription.conclude(queue.watch.take_permit(&subscription), false);
    }
    replace(engine, queue);
}

/// Finds a worker for a lane that has none, or leaves it without. For the thread that acts for the worker.
fn replace(engine: &Arc<Engine>, queue: &Arc<Queue>) {
    loop {
        let why = match start(engine, queue) {
            Ok(true) => return,
            Ok(false) => Vacancy::Limit,
            Err(error) => Vacancy::NotStarted(error),
        };
        clear_up(engine, queue);
        queue.watch.set_unserved(true);
        queue.room.wake_sleepers();
        queue.room.wake_line();
        let episode = !std::mem::replace(&mut queue.watch.lock().unhealthy, true);
        if episode {
            say_unhealthy(engine, queue, &why);
        }
        let mut state = queue.watch.lock();
        if matches!(why, Vacancy::NotStarted(_)) {
            state.vacant = true;
            drop(state);
            return ask_again(engine, queue);
        }
        if state.stuck.len() > engine.max_abandoned {
            state.vacant = true;
            return;
        }
        // One of them has come back meanwhile.
    }
}

/// Starts another worker; `false` when as many calls have not ended as may.
fn start(engine: &Arc<Engine>, queue: &Arc<Queue>) -> io::Result<bool> {
    if let Some(crew) = &queue.crew {
        // The thread is the other lanes' as well, whatever becomes of this one.
        refusable(queue).and_then(|()| crew.fill_up()).inspect_err(|_| count::add(&queue.watch.not_started, 1))?;
    }
    let number = {
        let state = queue.watch.lock();
        if state.stuck.len() > engine.max_abandoned {
            return Ok(false);
        }
        state.number + 1
    };
    if let Some(crew) = &queue.crew {
        pooled::join(engine, queue, crew);
        return Ok(true);
    }
    let (own_engine, own) = (Arc::clone(engine), Arc::clone(queue));
    let body = move || {
        own.pinning.pin_to(own.core);
        run(&own_engine, &own);
    };
    let name = format!("{}.{number}", queue.thread);
    let started = refusable(queue).and_then(|()| threads::spawn(name, body).map(drop));
    started.inspect_err(|_| count::add(&queue.watch.not_started, 1)).map(|()| true)
}

/// Where a test has the system refuse a thread.
fn refusable(queue: &Queue) -> io::Result<()> {
    #[cfg(test)]
    if count::read(&queue.watch.refuse) > 0 {
        queue.watch.refuse.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        return Err(io::Error::other("no more threads"));
    }
    let _ = queue;
    Ok(())
}

/// Has a redelivery end as a failure whose call has not ended in time. For the thread that is the lane's worker, or acts
/// for it.
pub(super) fn fail_again(engine: &Engine, queue: &Arc<Queue>, failed: (Redelivery, HandlerError)) {
    let key = failed.0.event.as_event().head.key;
    engine.fail_again(queue, failed);
    queue.release(key);
}

/// Does what needs no worker for the event that was taken over, and finishes it when no handler is left.
fn clear_up(engine: &Arc<Engine>, queue: &Arc<Queue>) {
    let work = match queue.watch.lock().unfinished.take() {
        Some(Unfinished::Event(work)) => work,
        Some(Unfinished::Again(again)) => return fail_again(engine, queue, *again),
        None => return,
    };
    report(engine, queue, &work);
    let route = work.topic.table.load();
    if work.to_come(route.lane(queue.id)).any(|entry| entry.handler.is_active()) {
        queue.watch.lock().unfinished = Some(Unfinished::Event(work));
    } else {
        finish(engine, queue, *work);
    }
}

/// Asks the system for a worker again after a while, unless a stuck one has come back by then.
fn ask_again(engine: &Arc<Engine>, queue: &Arc<Queue>) {
    let own = Arc::clone(queue);
    let job = move |engine: &Arc<Engine>| {
        if std::mem::take(&mut own.watch.lock().vacant) {
            replace(engine, &own);
        }
    };
    // A timer that is closed starts nothing any more: the bus has been shut down.
    let _ = engine.timer.schedule_always(engine.clock.after(AGAIN), Box::new(job)).map_err(drop_quietly);
}

#[cold]
fn say_unhealthy(engine: &Engine, queue: &Queue, why: &Vacancy) {
    let stuck = queue.watch.stuck();
    let error = match why {
        Vacancy::Limit => format!("{} handlers have not returned in time", stuck.len()),
        Vacancy::NotStarted(error) => format!("cannot start a worker: {error}"),
    };
    engine.emit_system(LANE_UNHEALTHY, json!({"lane": &*queue.name, "stuck": stuck, "error": error}), None);
}

#[cold]
pub(super) fn say_recovered(engine: &Engine, queue: &Queue) {
    let stuck = queue.watch.stuck();
    engine.emit_system(LANE_RECOVERED, json!({"lane": &*queue.name, "stuck": stuck}), None);
}
