//! The answer to a request: where it comes in, and the right to give it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use crate::delivery::failure::drop_quietly;
use crate::platform::slot::Slot;

/// How a request ended.
pub(crate) enum Reply {
    /// The first answer, with the name of its type.
    Answer(Box<dyn Any + Send + Sync>, &'static str),
    /// All who could have answered have failed; what the last one said.
    Failed(String),
    /// Nobody can answer any more.
    Unanswered,
    TimedOut,
    /// The bus has shut down.
    Closed,
}

/// Where the answer to one request comes in.
#[derive(Default)]
pub(crate) struct ReplySlot {
    pub(crate) slot: Slot<Reply>,
    responders: Mutex<Responders>,
}

#[derive(Default)]
struct Responders {
    /// How many may still answer.
    left: usize,
    /// What the last one that failed said.
    error: Option<String>,
}

impl ReplySlot {
    /// A slot for the answer of one of so many.
    pub(crate) fn new(responders: usize) -> Self {
        Self { responders: Mutex::new(Responders { left: responders, error: None }), ..Self::default() }
    }

    /// Ends the request, unless it has ended.
    pub(crate) fn end(&self, reply: Reply) {
        // What nobody waits for is dropped on this thread.
        let _ = self.slot.fill(reply).map_err(drop_quietly);
    }
}

impl fmt::Debug for ReplySlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplySlot").field("ended", &self.slot.is_filled()).finish_non_exhaustive()
    }
}

/// The right to answer a request; the event has it with it. When the last copy of the event goes, nobody can answer.
#[derive(Debug)]
pub(crate) struct ReplyTo(pub(crate) Arc<ReplySlot>);

impl ReplyTo {
    /// Answers; only the first answer counts.
    pub(crate) fn answer<R: Send + Sync + 'static>(&self, answer: R) {
        self.0.end(Reply::Answer(Box::new(answer), std::any::type_name::<R>()));
    }

    /// Says that one who could have answered has failed.
    pub(crate) fn fail(&self, error: String) {
        let mut responders = self.0.responders.lock().unwrap_or_else(PoisonError::into_inner);
        responders.left = responders.left.saturating_sub(1);
        if responders.left > 0 {
            responders.error = Some(error);
            return;
        }
        drop(responders);
        self.0.end(Reply::Failed(error));
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        let error = self.0.responders.lock().unwrap_or_else(PoisonError::into_inner).error.take();
        self.0.end(error.map_or(Reply::Unanswered, Reply::Failed));
    }
}
