//! A handle that does not keep its bus alive.

use std::sync::{Arc, Weak};

use crate::bus::{Bus, Owner};

/// A handle that does not keep its bus alive, for handlers that emit.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, json};
///
/// let bus = Bus::builder().build()?;
/// let weak = bus.downgrade();
/// bus.subscribe("order.placed", move |event| {
///     if let Some(bus) = weak.upgrade() {
///         let _ = bus.emit("order.confirmed", json!({"id": event["id"]}));
///     }
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct WeakBus {
    owner: Weak<Owner>,
}

impl WeakBus {
    pub(crate) fn of(bus: &Bus) -> Self {
        Self { owner: Arc::downgrade(&bus.owner) }
    }

    /// The bus, unless its last handle was dropped.
    pub fn upgrade(&self) -> Option<Bus> {
        self.owner.upgrade().map(|owner| Bus { owner })
    }
}
