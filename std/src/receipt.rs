//! What an emitter is told.

use nervebus_core::Tally;

use crate::event_id::EventId;

/// What became of an emit when it returned.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, json};
///
/// let bus = Bus::builder().build()?;
/// let receipt = bus.emit("nobody.listens", json!({}))?;
/// assert!(receipt.is_unrouted());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) bus: u64,
    pub(crate) seq: u64,
    pub(crate) handled: u32,
    pub(crate) failed: u32,
    pub(crate) admitted: u16,
    pub(crate) refused: u16,
    pub(crate) dropped: u16,
    /// Whether a lane that took it keeps it beside its full ring as yet.
    pub(crate) aside: bool,
    pub(crate) fate: Fate,
}

/// Whether an event had anywhere to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nobody was subscribed, and no log took it.
    Unrouted,
    /// Somebody was.
    Routed,
    /// Nobody was, but the durable log has taken it.
    #[cfg_attr(not(feature = "durable"), allow(dead_code, reason = "there is never such a log"))]
    Logged,
    /// Somebody was, and the durable log has taken it.
    #[cfg_attr(not(feature = "durable"), allow(dead_code, reason = "there is never such a log"))]
    RoutedAndLogged,
    /// It was emitted before.
    Duplicate,
}

impl Receipt {
    pub(crate) const fn new(bus: u64, seq: u64) -> Self {
        let fate = Fate::Unrouted;
        Self { bus, seq, handled: 0, failed: 0, admitted: 0, refused: 0, dropped: 0, aside: false, fate }
    }

    /// The event's number on its bus.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The identity that the bus gives an event that came without one.
    pub fn id(&self) -> EventId<'static> {
        EventId::made(self.bus, self.seq)
    }

    /// What the inline handlers did.
    pub fn inline(&self) -> Tally {
        Tally { handled: self.handled as usize, failed: self.failed as usize }
    }

    /// How many lanes took the event.
    pub fn admitted(&self) -> usize {
        self.admitted.into()
    }

    /// How many lanes refused it after others had taken it; their handlers will not see it, and the ledger counts it
    /// as dropped there.
    pub fn refused(&self) -> usize {
        self.refused.into()
    }

    /// How many lanes dropped it: because they are full and their policy is to drop the newest, or because they
    /// [shed load](crate::Lane::shed).
    pub fn dropped(&self) -> usize {
        self.dropped.into()
    }

    /// Whether it had nowhere to go: nobody was subscribed, and no durable log took it.
    pub fn is_unrouted(&self) -> bool {
        self.fate == Fate::Unrouted
    }

    /// Whether the [durable log](crate::DurableLog) has taken the event, to write it: its topic is durable, and there was
    /// room. Durable subscriptions are fed from there; they are no lanes, and are not among those that
    /// [took it](Self::admitted).
    #[cfg(feature = "durable")]
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn is_logged(&self) -> bool {
        matches!(self.fate, Fate::Logged | Fate::RoutedAndLogged)
    }

    /// Whether the same event was emitted before, within the [window for duplicates](crate::Builder::dedup). Nobody saw
    /// this one; it is not in the audit log.
    pub fn is_duplicate(&self) -> bool {
        self.fate == Fate::Duplicate
    }
}
