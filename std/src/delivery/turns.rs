//! The places of one future in the lines of the lanes that it waits for.

use std::sync::Arc;
use std::task::Waker;

use crate::context;
use crate::delivery::directory::TopicRoute;
use crate::delivery::engine::Engine;
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::{Patience, Queue};
use crate::delivery::timer::TimerKey;
use crate::delivery::waking::WakerSlot;

/// What a future that waits for room does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It tries: there is room, or nothing to wait for any more.
    Try,
    /// It is woken when there is something to look at.
    Wait,
    /// Its time is up: it tries once more, and takes no for an answer.
    GiveUp,
}

/// Where a future stands in line. What it goes away from, woken or not, it passes on.
#[derive(Debug)]
pub(crate) struct Turns {
    engine: Arc<Engine>,
    turns: Vec<Turn>,
    alarm: Option<Alarm>,
}

#[derive(Debug)]
struct Turn {
    queue: Arc<Queue>,
    /// Its number in line, for as long as the future lives: it loses no place by looking.
    number: u64,
    /// The end of this lane's patience.
    deadline: Option<u64>,
    in_line: bool,
    /// Whether it was woken for room that it has not used yet.
    is_called: bool,
}

impl Turns {
    pub(crate) fn new(engine: &Arc<Engine>) -> Self {
        Self { engine: Arc::clone(engine), turns: Vec::new(), alarm: None }
    }

    /// Looks for room in all lanes of the route, in the audit log's, and in that of the durable log if the event goes there,
    /// and stands in line where there is none.
    /// `key` chooses among the rings of each lane; `limit` is until when the future waits, if that is sooner than the lanes
    /// say.
    pub(crate) fn look(
        &mut self,
        route: Option<&TopicRoute>,
        logged: bool,
        key: u64,
        limit: Option<u64>,
        waker: &Waker,
    ) -> Look {
        self.step_out();
        let engine = Arc::clone(&self.engine);
        let (mut blocked, mut end) = (false, limit);
        let log = engine.log.as_ref().filter(|_| logged).map(|log| &log.queue);
        for queue in lanes(&engine, route, log, key) {
            if let Some(deadline) = self.line_up(queue, waker) {
                blocked = true;
                end = [end, deadline].into_iter().flatten().min();
            }
        }
        // After standing in line: whoever closes the gate wakes the line afterwards.
        if !blocked || engine.gate.is_closed() {
            return Look::Try;
        }
        self.pass_on();
        match end {
            Some(end) if engine.clock.now() >= end => Look::GiveUp,
            // Without a timer nobody would end this wait.
            Some(end) if !Alarm::set(&mut self.alarm, &engine, end, waker) => Look::GiveUp,
            _ => Look::Wait,
        }
    }

    /// Stands in a lane's line if it has no room; the lane's deadline then.
    fn line_up(&mut self, queue: &Arc<Queue>, waker: &Waker) -> Option<Option<u64>> {
        if queue.ring.would_accept() {
            return None;
        }
        let known = self.turns.iter().position(|turn| Arc::ptr_eq(&turn.queue, queue));
        let number = queue.room.stand_in_line(known.and_then(|at| Some(self.turns.get(at)?.number)), waker);
        if known.is_none() {
            let (queue, deadline) = (Arc::clone(queue), queue.deadline(Patience::Policy));
            self.turns.push(Turn { queue, number, deadline, in_line: false, is_called: false });
        }
        let at = known.unwrap_or(self.turns.len() - 1);
        let turn = self.turns.get_mut(at)?;
        turn.in_line = true;
        // What was freed before this place in line was seen wakes nobody.
        if queue.ring.has_room() {
            turn.step_out();
            return None;
        }
        Some(turn.deadline)
    }

    fn step_out(&mut self) {
        self.turns.iter_mut().for_each(Turn::step_out);
    }

    /// Offers the room that it was called for, and cannot use now, to the next in line.
    fn pass_on(&mut self) {
        for turn in &mut self.turns {
            // One that stands in line again found the room taken.
            if std::mem::take(&mut turn.is_called) && !turn.in_line {
                turn.queue.offer_room();
            }
        }
    }
}

impl Turn {
    fn step_out(&mut self) {
        if std::mem::take(&mut self.in_line) && !self.queue.room.leave_line(self.number) {
            self.is_called = true;
        }
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.step_out();
        self.pass_on();
        Alarm::cancel(&mut self.alarm, &self.engine);
    }
}

/// The queues that a future on this thread may wait for: none that the thread itself works for, and no lane on a worker's.
fn lanes<'a>(
    engine: &'a Engine,
    route: Option<&'a TopicRoute>,
    log: Option<&'a Arc<Queue>>,
    key: u64,
) -> impl Iterator<Item = &'a Arc<Queue>> {
    let (is_worker, own) = (context::is_worker(), context::lane_of(engine.bus));
    let lanes = route.filter(|_| !is_worker).into_iter().flat_map(|route| route.lanes());
    let tap = engine.tap.iter().chain(log).filter(move |tap| own != Some(tap.id));
    lanes.filter_map(move |(lane, _)| engine.queues.pick(lane, key)).chain(tap).filter(|queue| queue.makes_wait())
}

/// Wakes a task at a moment of the bus's clock.
#[derive(Debug)]
pub(crate) struct Alarm {
    at: u64,
    key: TimerKey,
    slot: Arc<WakerSlot>,
}

impl Alarm {
    /// Sets an alarm for `at`, in place of the one that is set; `false` when the timer takes no more.
    pub(crate) fn set(this: &mut Option<Self>, engine: &Engine, at: u64, waker: &Waker) -> bool {
        if let Some(alarm) = this.as_ref().filter(|alarm| alarm.at == at) {
            alarm.slot.set(waker);
            return true;
        }
        Self::cancel(this, engine);
        let slot = Arc::new(WakerSlot::default());
        slot.set(waker);
        let woken = Arc::clone(&slot);
        match engine.timer.schedule(at, Box::new(move |_| woken.wake())) {
            Ok(key) => {
                *this = Some(Self { at, key, slot });
                true
            }
            Err(error) => {
                drop_quietly(error);
                false
            }
        }
    }

    pub(crate) fn cancel(this: &mut Option<Self>, engine: &Engine) {
        if let Some(alarm) = this.take() {
            drop_quietly(engine.timer.cancel(alarm.key));
            drop_quietly(alarm);
        }
    }
}
