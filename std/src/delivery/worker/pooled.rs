//! A lane without a thread of its own: threads of a pool serve it in turns.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use nervebus_core::lease::Revoked;

use super::{Ending, Memory, Step, step, take_up, watchdog, wind_up};
use crate::context;
use crate::delivery::engine::Engine;
use crate::delivery::failure::drop_quietly;
use crate::delivery::lane::Queue;
use crate::delivery::watch::Seat;
use crate::platform::pool::{After, Crew, Job, Turns};

/// How many looks a turn has, before other lanes have theirs.
const LOOKS: usize = 64;

/// A lane whose worker is whoever has the turn.
struct Pooled {
    engine: Arc<Engine>,
    queue: Arc<Queue>,
    /// What goes from turn to turn; there is one at a time, so nobody waits for it.
    sitting: Mutex<Option<Sitting>>,
}

/// The worker's place, and what it knows.
struct Sitting {
    seat: Seat,
    memory: Memory,
}

/// Has a crew serve the lane from now on.
pub(crate) fn join(engine: &Arc<Engine>, queue: &Arc<Queue>, crew: &Crew) {
    let (engine, own) = (Arc::clone(engine), Arc::clone(queue));
    let job = Job::new(crew, Pooled { engine, queue: own, sitting: Mutex::default() });
    queue.bed.how().is_done_by_whom(Waker::from(Arc::clone(&job)));
    // Something may be in the lane already.
    job.ask();
}

impl Turns for Pooled {
    fn turn(&self, job: &Arc<Job>) -> After {
        let _working = context::Working::enter(self.engine.bus, self.queue.id);
        let ending = Ending(&self.queue);
        let mut sitting = self.sitting.lock().unwrap_or_else(PoisonError::into_inner);
        self.queue.bed.bell().disarm();
        let after = self.sit(&mut sitting, job);
        drop(sitting);
        if after == After::Ended {
            drop(ending);
            // The lane knows its job, and the job its lane.
            self.queue.bed.how().is_done_by_nobody();
        } else {
            std::mem::forget(ending);
        }
        after
    }
}

impl Pooled {
    fn sit(&self, place: &mut Option<Sitting>, job: &Arc<Job>) -> After {
        loop {
            match self.serve(place, job) {
                Ok(after) => return after,
                Err(Revoked) => {
                    let Some(Sitting { seat, .. }) = place.take() else { return After::Ousted };
                    let number = seat.number;
                    // Perhaps the last that has what the call was about.
                    drop_quietly(seat);
                    if let Some(crew) = &self.queue.crew {
                        crew.comes_back();
                    }
                    if !self.queue.watch.come_back(number) {
                        return After::Ousted;
                    }
                }
            }
        }
    }

    fn serve(&self, place: &mut Option<Sitting>, job: &Arc<Job>) -> Result<After, Revoked> {
        let (engine, queue) = (&self.engine, &self.queue);
        let Sitting { seat, memory } = match place {
            Some(sitting) => sitting,
            None => {
                // Before it looks for work. Another may have had the lane meanwhile, and got stuck as well.
                queue.bed.how().is_done_by_whom(Waker::from(Arc::clone(job)));
                let (seat, unfinished, recovered) = queue.watch.sit_down();
                if recovered {
                    watchdog::say_recovered(engine, queue);
                }
                let sitting = place.insert(Sitting { seat, memory: Memory::default() });
                take_up(engine, queue, &mut sitting.seat, &mut sitting.memory, unfinished)?;
                sitting
            }
        };
        for _ in 0..LOOKS {
            match step(engine, queue, seat, memory)? {
                Step::Worked => {}
                Step::Idle => return Ok(rest(queue)),
                Step::Closed => {
                    wind_up(engine, queue, seat, memory)?;
                    return Ok(After::Ended);
                }
            }
        }
        Ok(After::GoesOn)
    }
}

/// Arms the lane's bell, unless something has come: whoever rings it asks for a turn.
fn rest(queue: &Queue) -> After {
    queue.bed.bell().arm();
    if queue.ring.has_arrivals() {
        queue.bed.bell().disarm();
        return After::GoesOn;
    }
    After::Rests
}
