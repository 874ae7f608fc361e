//! All aggregates of a type as the log has them, as far as it was read.

use std::collections::HashMap;

use super::error::AggregateError;
use super::snapshot::Snapshot;
use super::{Aggregate, AggregateStats, Loaded};
use crate::delivery::failure::HandlerError;
use crate::delivery::handler::guarded;
use crate::event::OwnedEvent;
use crate::records::durable::cursor::Cursor;

/// The identity of the event that makes a version.
pub(super) fn identity(topic: &str, id: &str, version: u64) -> String {
    format!("{topic}/{id}#{version}")
}

/// What an identity says: the aggregate, and the version.
pub(super) fn parse<'a>(topic: &str, identity: &'a str) -> Option<(&'a str, u64)> {
    let (id, version) = identity.strip_prefix(topic)?.strip_prefix('/')?.rsplit_once('#')?;
    Some((id, version.parse().ok()?))
}

/// An aggregate.
#[derive(Debug, Clone)]
pub(super) struct Entry<A> {
    pub(super) state: A,
    pub(super) version: u64,
    /// The position of its last event.
    last: u64,
    /// The event that could not be taken in: where it is, and why.
    broken: Option<(u64, String)>,
}

/// All aggregates of a type.
#[derive(Debug)]
pub(super) struct Image<A> {
    pub(super) entries: HashMap<String, Entry<A>>,
    /// Where the log is read on, and where it was when there was no event yet.
    next: u64,
    pub(super) began: u64,
    /// The last event that was folded: its position, and its identity.
    pub(super) last: Option<(u64, String)>,
    events: u64,
    passed: u64,
    /// After how many events a snapshot is due, if ever, and how many there were since the last one.
    pub(super) every: u64,
    pub(super) since: u64,
    pub(super) saved: Option<u64>,
    pub(super) error: Option<String>,
}

impl<A: Aggregate> Image<A> {
    /// What the last snapshot has, if it can be used; else nothing, with all events still to be read.
    pub(super) fn open(cursor: &Cursor, topic: &str) -> Result<Self, AggregateError> {
        let first = cursor.core.first();
        let began = match cursor.mark() {
            None => Some(first),
            Some(mark) => mark.map(|(began, _)| began),
        };
        let mut image = Self {
            entries: HashMap::new(),
            next: began.unwrap_or(1),
            began: began.unwrap_or(1),
            last: None,
            events: 0,
            passed: 0,
            every: 0,
            since: 0,
            saved: None,
            error: None,
        };
        match Snapshot::<A>::read(cursor, topic) {
            Ok(None) => {}
            Ok(Some(Snapshot { position, identity, states })) => {
                let entry = |state, version| Entry { state, version, last: 0, broken: None };
                image.entries = states.map(|(id, version, state)| (id, entry(state, version))).collect();
                (image.next, image.saved, image.last) = (position + 1, Some(position), Some((position, identity)));
            }
            Err(error) => image.error = Some(error),
        }
        image.truncated(first).map_or(Ok(image), Err)
    }

    /// What is wrong with a log that begins with a position.
    fn truncated(&self, first: u64) -> Option<AggregateError> {
        (first > self.next).then_some(AggregateError::Truncated { needed: self.next, first })
    }

    /// Takes in what the log has that was not read yet.
    pub(super) fn catch_up(&mut self, cursor: &Cursor, topic: &str) -> Result<(), AggregateError> {
        loop {
            let page = cursor.read(self.next, |found| found == topic).map_err(AggregateError::Log)?;
            if let Some(error) = self.truncated(self.next + page.missed) {
                return Err(error);
            }
            if page.is_empty {
                return Ok(());
            }
            for (position, event) in page.events {
                self.take(topic, position, &event);
            }
            self.next = page.next;
        }
    }

    /// Takes an event in, if it makes the next version of its aggregate.
    fn take(&mut self, topic: &str, position: u64, event: &OwnedEvent) {
        let identity = event.id().to_string();
        let Some((id, version)) = parse(topic, &identity) else {
            self.passed += 1;
            return;
        };
        if !self.entries.contains_key(id) {
            let entry = Entry { state: A::default(), version: 0, last: 0, broken: None };
            self.entries.insert(id.to_owned(), entry);
        }
        let Some(entry) = self.entries.get_mut(id) else { return };
        if entry.broken.is_some() || version != entry.version + 1 {
            self.passed += 1;
            return;
        }
        let applied = guarded(|| {
            entry.state.apply(&restore::<A>(event)?);
            Ok(())
        });
        match applied {
            Ok(()) => (entry.version, entry.last) = (version, position),
            Err(error) => entry.broken = Some((position, error.to_string())),
        }
        self.last = Some((position, identity));
        self.events += 1;
        self.since += 1;
    }

    /// What an aggregate is.
    pub(super) fn get(&self, id: &str) -> Result<Loaded<A>, AggregateError> {
        match self.entries.get(id) {
            None => Ok(Loaded { state: A::default(), version: 0 }),
            Some(Entry { broken: Some((position, error)), .. }) => {
                Err(AggregateError::Broken { id: id.to_owned(), position: *position, error: error.clone() })
            }
            Some(Entry { state, version, .. }) => Ok(Loaded { state: state.clone(), version: *version }),
        }
    }

    /// The position of an aggregate's last event, or of the one that could not be taken in.
    pub(super) fn last(&self, id: &str) -> Option<u64> {
        self.entries.get(id).map(|entry| entry.broken.as_ref().map_or(entry.last, |(position, _)| *position))
    }

    /// The ids and versions of those that can be loaded and whose state is so.
    pub(super) fn ids(&self, is_meant: impl Fn(&A) -> bool) -> Vec<(String, u64)> {
        let meant = self.entries.iter().filter(|(_, entry)| entry.broken.is_none() && is_meant(&entry.state));
        meant.map(|(id, entry)| (id.clone(), entry.version)).collect()
    }

    /// Whether an event of any cannot be taken in: then no snapshot may stand for the events.
    pub(super) fn is_broken(&self) -> bool {
        self.entries.values().any(|entry| entry.broken.is_some())
    }

    /// From where on the log must keep lines: from the last one that the snapshot has, by which it is known to fit.
    pub(super) fn needed(&self) -> u64 {
        self.saved.unwrap_or(self.began)
    }

    pub(super) fn stats(&self) -> AggregateStats {
        AggregateStats {
            aggregates: self.entries.len(),
            events: self.events,
            passed: self.passed,
            snapshot: self.saved,
            snapshot_error: self.error.clone(),
        }
    }
}

/// The event of a line.
fn restore<A: Aggregate>(event: &OwnedEvent) -> Result<A::Event, HandlerError> {
    match A::restore(event.schema_version(), event.payload()) {
        Some(restored) => restored.map_err(HandlerError::Error),
        None => Err(HandlerError::Error("its type cannot be made from JSON: it has no `Deserialize`".into())),
    }
}
