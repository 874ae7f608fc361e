//! The graph that an audit log shows.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;

use super::{CauseEdge, Topology};
use crate::records::reader::entries::AuditEntry;
use crate::records::reader::{AuditReader, ReadError};

/// How many events back a cause is looked for.
const WINDOW: usize = 1 << 16;
/// How many sources a topic has at most.
const SOURCES: usize = 64;

/// What has been seen of a log so far.
#[derive(Debug, Default)]
struct Observed {
    topology: Topology,
    causes: BTreeMap<(u32, u32), u64>,
    /// The topics by number, and back.
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    /// The topics of the last events, by their numbers on the bus.
    recent: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

impl Topology {
    /// The graph that an audit log shows, with its rotated files: topics with the number of their events and who emitted them, and
    /// which follow from which and how often. Handlers leave no lines, so there are none in it.
    ///
    /// A cause that lies more than 65,536 events back is not found. Where a new bus goes on with a log, its events are not taken for effects of
    /// an earlier one's.
    ///
    /// # Errors
    ///
    /// A file that cannot be read. Lines that are no events are passed over.
    ///
    /// # Cost
    ///
    /// Reads all files; the memory is that of the topics and of 65,536 numbers.
    pub fn from_audit(path: impl AsRef<Path>) -> Result<Self, ReadError> {
        let mut observed = Observed::default();
        for entry in AuditReader::open(path)?.oldest_first()? {
            observed.add(&entry?);
        }
        Ok(observed.finish())
    }
}

impl Observed {
    fn add(&mut self, entry: &AuditEntry) {
        let record = &entry.record;
        let (seq, cause) = entry.numbers();
        let topic = self.number(&record.event_type);
        if let Some(node) = self.topology.topics.get_mut(&record.event_type) {
            *node.events.get_or_insert(0) += 1;
            if let Some(source) = &record.source
                && (node.sources.len() < SOURCES || node.sources.contains_key(source.as_str()))
            {
                *node.sources.entry(source.clone()).or_default() += 1;
            }
        }
        if let Some(cause) = cause.and_then(|seq| self.recent.get(&seq)) {
            *self.causes.entry((*cause, topic)).or_default() += 1;
        }
        self.remember(seq.unwrap_or(0), topic);
    }

    fn number(&mut self, topic: &str) -> u32 {
        if let Some(number) = self.numbers.get(topic) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(topic.to_owned());
        self.numbers.insert(topic.to_owned(), number);
        self.topology.topics.entry(topic.to_owned()).or_default();
        number
    }

    fn remember(&mut self, seq: u64, topic: u32) {
        if seq == 0 {
            return;
        }
        // Numbers begin anew with each bus. A bus's own come nearly in order.
        if self.order.back().is_some_and(|last| seq + (WINDOW as u64) < *last || (seq == 1 && *last > 1)) {
            self.recent.clear();
            self.order.clear();
        }
        self.recent.insert(seq, topic);
        self.order.push_back(seq);
        if self.order.len() > WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            self.recent.remove(&oldest);
        }
    }

    fn finish(mut self) -> Topology {
        let name = |number: u32| self.names.get(number as usize).cloned().unwrap_or_default();
        let edge = |((from, to), seen): (&(u32, u32), &u64)| CauseEdge {
            from: name(*from),
            to: name(*to),
            declared: false,
            seen: *seen,
        };
        self.topology.causes = self.causes.iter().map(edge).collect();
        self.topology.causes.sort();
        self.topology
    }
}
