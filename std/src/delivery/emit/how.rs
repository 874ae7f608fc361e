//! What an emitter says of an event beyond its topic and payload.

use std::sync::Arc;

use super::Refused;
use crate::context::Lineage;
use crate::delivery::class::Class;
use crate::delivery::envelope::Meta;
use crate::delivery::lane::Patience;
use crate::delivery::log_tap::{Commit, Order};
use crate::delivery::report::Waiter;
use crate::headers::attributes::AttributeError;

/// How to emit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) patience: Patience,
    /// Which events it stays in order with, as a hash; 0 for none.
    pub(crate) key: u64,
    /// What the emitter adds to topic and payload, if anything.
    pub(crate) extra: Option<&'a Extra>,
    /// The right to put events in the durable log now, which is given back when its event is in.
    #[cfg_attr(not(feature = "durable"), allow(dead_code, reason = "there is never a log without the feature"))]
    pub(crate) order: Option<&'a dyn Order>,
}

/// What an emitter may add to topic and payload.
#[derive(Debug, Default, Clone)]
pub(crate) struct Extra {
    pub(crate) meta: Option<Arc<Meta>>,
    /// What the event hands down, if it is not what it inherits.
    pub(crate) lineage: Option<Arc<Lineage>>,
    /// The moment at which the event expires by itself; 0 for none.
    pub(crate) expires: u64,
    pub(crate) waiter: Option<Arc<Waiter>>,
    pub(crate) class: Class,
    /// Whether an attempt that was taken back has passed the limits for it: it counts there once.
    pub(crate) admitted: bool,
    /// Emitted by the bus itself: nothing refuses it as a whole.
    pub(crate) system: bool,
    /// Recorded already, and given once more: nothing records it again, and no guard knows it.
    pub(crate) replayed: bool,
    /// Why what the emitter said cannot be taken.
    pub(crate) invalid: Option<Box<AttributeError>>,
    /// Who waits for the durable log.
    #[cfg_attr(not(feature = "durable"), allow(dead_code, reason = "there is never a log without the feature"))]
    pub(crate) commit: Option<Arc<Commit>>,
}

impl How<'static> {
    pub(crate) const PLAIN: Self = Self::with(Patience::Policy);

    #[inline]
    pub(crate) const fn with(patience: Patience) -> Self {
        Self { patience, key: 0, extra: None, order: None }
    }
}

impl How<'_> {
    /// What chooses among the rings of a lane: the key, or the event's number if it has none.
    #[inline]
    pub(super) fn pick(&self, seq: u64) -> u64 {
        if self.key == 0 { seq } else { self.key }
    }

    pub(super) fn waiter(&self) -> Option<&Arc<Waiter>> {
        self.extra?.waiter.as_ref()
    }

    pub(super) fn class(&self) -> Class {
        self.extra.map_or_else(Class::default, |extra| extra.class)
    }

    /// Who emits, if the emitter said so.
    pub(super) fn source(&self) -> Option<&str> {
        self.extra?.meta.as_ref()?.source.as_deref()
    }

    /// What duplicates of the event are known by: what the emitter said for that, or else the identity it gave.
    pub(super) fn identity(&self) -> Option<&str> {
        let meta = self.extra?.meta.as_ref()?;
        meta.idempotency_key.as_deref().or(meta.event_id.as_deref())
    }

    /// Refuses what the emitter said, if it cannot be taken.
    pub(super) fn can_be_said(&self) -> Result<(), Refused> {
        match self.extra.and_then(|extra| extra.invalid.as_ref()) {
            None => Ok(()),
            Some(error) => Err(Refused::InvalidAttribute(error.clone())),
        }
    }

    /// Whether the event was recorded already.
    pub(super) fn is_replayed(&self) -> bool {
        self.extra.is_some_and(|extra| extra.replayed)
    }

    /// Whether the bus itself emits.
    pub(super) fn is_system(&self) -> bool {
        self.extra.is_some_and(|extra| extra.system)
    }
}
