//! The thread that keeps a read model up with the log.

use std::sync::Arc;
use std::time::Duration;

use super::{Failure, ProjectionFailure, ReadModel, Shared};
use crate::context::scope::Scope;
use crate::delivery::failure::HandlerError;
use crate::delivery::handler::guarded;
use crate::event::OwnedEvent;
use crate::records::audit::backoff::Backoff;
use crate::records::durable::cursor::Cursor;
use crate::records::durable::line;

/// How long a pause lasts before the next look at whether the bus is shut down, in real time.
const LOOK: Duration = Duration::from_millis(20);

pub(super) struct Runner<M> {
    shared: Arc<Shared<M>>,
    cursor: Cursor,
    patterns: Vec<String>,
    keep_all: bool,
    /// Where the projection has begun, when the log knew nothing of it.
    began: u64,
    /// Where the log is read on; nothing before the model has said it.
    next: Option<u64>,
}

/// Says that the thread has ended, however it did.
struct Ending<M>(Arc<Shared<M>>);

impl<M> Drop for Ending<M> {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_all();
    }
}

/// What went wrong, and where.
type Failed = (u64, String);

impl<M: ReadModel> Runner<M> {
    pub(super) fn new(shared: Arc<Shared<M>>, cursor: Cursor, patterns: Vec<String>, keep_all: bool) -> Self {
        let known = cursor.mark().flatten();
        let began = known.map_or(cursor.core.first(), |(began, _)| began);
        if known.is_none() {
            // Before anything is read: the model may take its time.
            cursor.hold(began, began, began);
        }
        Self { shared, cursor, patterns, keep_all, began, next: None }
    }

    pub(super) fn run(mut self) {
        let _ending = Ending(Arc::clone(&self.shared));
        let (mut backoff, mut seen) = (Backoff::default(), 0);
        while !self.shared.lock().stopped {
            let before = self.next;
            match self.step() {
                Ok(true) => backoff = Backoff::default(),
                Ok(false) => match self.shared.core.tap.feeding.wait(seen, None) {
                    Some(wakes) => seen = wakes,
                    None => break,
                },
                Err((position, error)) => {
                    // What has gone on has failed at something new.
                    if self.next != before {
                        backoff = Backoff::default();
                    }
                    if !self.pause(position, error, backoff.next()) {
                        break;
                    }
                }
            }
        }
    }

    /// Takes in a run of events; whether there may be more.
    fn step(&mut self) -> Result<bool, Failed> {
        if self.shared.lock().rebuild {
            self.reset()?;
        }
        let from = match self.next {
            Some(next) => next,
            None => self.find()?,
        };
        let page = self.cursor.read(from, |topic| {
            self.patterns.is_empty() || self.patterns.iter().any(|pattern| line::matches(pattern, topic))
        });
        let page = page.map_err(|error| (from, error.to_string()))?;
        if page.missed > 0 {
            self.shared.lock().missed += page.missed;
        }
        if page.is_empty && page.missed == 0 {
            self.shared.lock().failing = None;
            return Ok(false);
        }
        let (mut at, mut failed) = (page.next, None);
        let mut model = self.shared.model();
        for (position, event) in &page.events {
            if let Err(error) = self.take(&mut model, event, *position) {
                (at, failed) = (*position, Some((*position, error)));
                break;
            }
        }
        // What succeeded before a failure is kept.
        if at > from {
            let committed = tried(|| model.commit(at - 1));
            drop(model);
            if let Err(error) = committed {
                self.next = None;
                return Err((from, error));
            }
            self.pass(at);
        }
        failed.map_or(Ok(true), Err)
    }

    fn take(&self, model: &mut M, event: &OwnedEvent, position: u64) -> Result<(), String> {
        let skip = self.shared.lock().skip.take();
        if skip == Some(position) {
            self.shared.lock().skipped += 1;
            return Ok(());
        }
        // What a model emits or records belongs to the event's request, as what a handler does.
        let _scope = Scope::of(&event.as_event()).enter();
        tried(|| model.apply(&event.as_event(), position))?;
        self.shared.lock().applied += 1;
        Ok(())
    }

    /// Asks the model where it is, or else the log.
    fn find(&mut self) -> Result<u64, Failed> {
        let known = tried(|| self.shared.model().position()).map_err(|error| (self.began, error))?;
        let marked = self.cursor.mark().flatten().map(|(_, next)| next);
        let next = match known {
            // Positions begin with 1: an empty model misses nothing by that.
            Some(position) => (position + 1).max(self.began),
            None => marked.unwrap_or(self.began),
        };
        if next > self.cursor.core.next() {
            return Err((next, "the log ends before the model does: it is another log's".into()));
        }
        self.hold(next);
        self.go_on(next);
        Ok(next)
    }

    fn reset(&mut self) -> Result<(), Failed> {
        tried(|| self.shared.model().reset()).map_err(|error| (1, error))?;
        let first = self.cursor.core.first();
        let mut state = self.shared.lock();
        state.rebuild = false;
        state.missed = first - 1;
        (state.applied, state.skipped) = (0, 0);
        drop(state);
        self.pass(first);
        Ok(())
    }

    /// Everything below a position is behind the model.
    fn pass(&mut self, next: u64) {
        self.hold(next);
        self.shared.lock().failing = None;
        self.go_on(next);
    }

    /// Has the log keep what is needed by who goes on with a position.
    fn hold(&self, next: u64) {
        self.cursor.hold(if self.keep_all { self.began } else { next }, self.began, next);
    }

    fn go_on(&mut self, next: u64) {
        self.next = Some(next);
        let mut state = self.shared.lock();
        // Else somebody has asked for a new model meanwhile, which has nothing yet.
        if !state.rebuild {
            state.next = next;
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits before something is tried again, on the bus's clock; `false` when the bus is shut down.
    fn pause(&self, position: u64, error: String, time: Duration) -> bool {
        let Shared { core, clock, changed, .. } = &*self.shared;
        let wait = clock.wait(Some(clock.after(time)));
        let mut state = self.shared.lock();
        let before = state.failing.take().filter(|failing| failing.position == position);
        let attempts = before.map_or(1, |failing| failing.attempts + 1);
        state.failing = Some(ProjectionFailure { position, attempts, error });
        changed.notify_all();
        while !state.stopped && !state.rebuild && state.skip != Some(position) && !wait.is_over() {
            // A wait for no wakes in particular returns at once.
            if core.tap.feeding.wait(u64::MAX, None).is_none() {
                return false;
            }
            state = wait.sleep(changed, state, LOOK);
        }
        true
    }
}

/// Calls the user's model; its error or its panic as text.
fn tried<T>(call: impl FnOnce() -> Result<T, Failure>) -> Result<T, String> {
    guarded(|| call().map_err(HandlerError::Error)).map_err(|error| error.to_string())
}
