//! The identity of the event that a thread is handling, where its number does not say it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::handled;
#[cfg(feature = "outbox")]
use crate::event_id::EventId;

thread_local! {
    /// How many dispatches were nested when the identity was noted; 0 for none. Without a destructor, as whatever emits
    /// within a handler looks here.
    static DEPTH: Cell<u32> = const { Cell::new(0) };

    /// Gone when a thread emits while it ends.
    static ID: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// While this value lives, the event that this thread has begun to handle is known by an identity that was given to it.
#[derive(Debug)]
pub(crate) struct Known {
    depth: u32,
    id: Option<Arc<str>>,
}

impl Known {
    /// After [`Handling::enter`](super::Handling::enter), if the event has such an identity.
    #[inline]
    pub(crate) fn by(id: Option<&Arc<str>>) -> Option<Self> {
        id.map(Self::enter)
    }

    #[cold]
    fn enter(id: &Arc<str>) -> Self {
        let before = ID.try_with(|noted| noted.replace(Some(Arc::clone(id)))).unwrap_or_default();
        Self { depth: DEPTH.replace(handled().depth()), id: before }
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        DEPTH.set(self.depth);
        let id = self.id.take();
        // A thread that ends has noted nothing.
        let _ = ID.try_with(|noted| noted.replace(id));
    }
}

/// The identity that was given to the event that this thread is handling.
#[inline]
pub(crate) fn given() -> Option<Arc<str>> {
    // What is handled further down has another depth, and what is handled beside it has ended.
    let depth = DEPTH.get();
    if depth != 0 && depth == handled().depth() { noted() } else { None }
}

/// The identity of the event that this thread is handling, whoever gave it.
#[cfg(feature = "outbox")]
pub(crate) fn id() -> Option<String> {
    let super::Handled { bus, seq, .. } = handled();
    let made = || (handled().depth() != 0 && bus != 0 && seq != 0).then(|| EventId::made(bus, seq).to_string());
    given().map(|id| (*id).to_owned()).or_else(made)
}

#[cold]
fn noted() -> Option<Arc<str>> {
    ID.try_with(|noted| noted.borrow().clone()).unwrap_or_default()
}
