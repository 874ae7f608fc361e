//! The threads of a bus, and how they are started.

use std::sync::{Arc, Barrier};

use super::TIMER;
use crate::context;
use crate::delivery::engine::Engine;
use crate::delivery::lane::Queue;
use crate::delivery::timer;
use crate::error::BuildError;
use crate::platform::threads;
use crate::records::dead_letter_log::writer::LetterWriter;

/// Starts the thread that writes dead letters down. It ends when the bus is gone.
pub(super) fn start_letter_writer(writer: Option<LetterWriter>) -> Result<(), BuildError> {
    let Some(writer) = writer else { return Ok(()) };
    let started = threads::spawn("nervebus-letters".into(), move || writer.run());
    started.map(drop).map_err(|error| BuildError::Thread { lane: "letters".into(), error })
}

/// Starts the thread that runs what waits for its moment. It counts as a worker, so that no job waits for a lane.
pub(super) fn start_timer(engine: &Arc<Engine>) -> Result<(), BuildError> {
    let (timer, owner, bus) = (Arc::clone(&engine.timer), Arc::downgrade(engine), engine.bus);
    let running = Arc::new(Barrier::new(2));
    let begun = Arc::clone(&running);
    let body = move || {
        context::become_worker(bus, TIMER);
        begun.wait();
        timer::run(&timer, &owner);
    };
    threads::spawn("nervebus-timer".into(), body)
        .map_err(|error| BuildError::Thread { lane: "timer".into(), error })?;
    // A thread allocates while it starts; nobody should find that in the middle of something measured.
    running.wait();
    Ok(())
}

/// Starts a queue's thread and tells the queue whom to wake.
pub(super) fn start(queue: &Queue, body: impl FnOnce() + Send + 'static) -> Result<(), BuildError> {
    let thread = threads::spawn(queue.thread.to_string(), body)
        .map_err(|error| BuildError::Thread { lane: queue.name.to_string(), error })?;
    // The builder sets it once for each queue.
    queue.bed.how().is_done_by(thread.thread());
    Ok(())
}
