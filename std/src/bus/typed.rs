//! Typed topics from the handle.

use crate::bus::Bus;
use crate::error::ClaimError;
use crate::typed_event::TypedEvent;
use crate::typed_topic::TypedTopic;

impl Bus {
    /// A handle that emits values of one type on that type's topic, and subscribes to them. The topic carries that type
    /// from now on, and no other.
    ///
    /// # Errors
    ///
    /// [`ClaimError`]: another type has the topic, or another version of this one; its name breaks the bus's rule; a limit;
    /// a [command](crate::Category::Command) that has several handlers already.
    ///
    /// # Cost
    ///
    /// A lookup and a lock. What the handle does needs neither.
    pub fn topic<T: TypedEvent>(&self) -> Result<TypedTopic<T>, ClaimError> {
        TypedTopic::claim(self)
    }
}
