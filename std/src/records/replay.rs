//! Replay: events that were recorded, once more. What a user says about it, what is read, and when each is due.

use std::fmt;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nervebus_core::{Pattern, Topic};
use serde::{Deserialize, Serialize};

use crate::records::line::Record;
use crate::records::reader::entries::AuditEntries;
use crate::records::reader::filter::seconds;
use crate::records::reader::{AuditReader, ReadError};

/// The longest line of a file that is read; a longer one is skipped.
const LONGEST_LINE: usize = 64 << 20;

/// How fast events are replayed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Speed {
    /// With the pauses that their timestamps have between them. An event without a timestamp, or with one before its
    /// predecessor's, comes at once.
    AsRecorded,
    /// So many times as fast as they were recorded.
    Times(f64),
    /// So many a second, evenly.
    PerSecond(u32),
    /// As fast as lanes take them.
    #[default]
    Fastest,
}

/// Which recorded events are to be given to handlers once more, how fast, and to whom; see
/// [`Bus::replay`](crate::Bus::replay).
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, Record, Replay, json};
///
/// let bus = Bus::builder().build()?;
/// bus.on("order.*").inline().handle(|event| assert!(event.is_replayed()))?;
/// let records = (0..3).map(|id| Record::new("order.placed", json!({"id": id})));
/// let report = bus.replay(Replay::from_records(records).pattern("order.*"))?;
/// assert_eq!((report.given, report.next), (3, 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is replayed before a bus does it"]
pub struct Replay {
    pub(crate) source: Source,
    pub(crate) filter: Filter,
    pub(crate) speed: Speed,
    pub(crate) into: Option<String>,
    pub(crate) limit: u64,
}

/// Records from wherever the user has them.
type Records = Box<dyn Iterator<Item = Record> + Send>;

/// Where events come from.
pub(crate) enum Source {
    #[cfg(feature = "durable")]
    Log,
    File(PathBuf),
    Records(Records),
}

/// Which events are meant.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    patterns: Vec<String>,
    since: Option<f64>,
    until: Option<f64>,
    correlation: Option<String>,
    /// Both ends included.
    sequence: Option<(u64, u64)>,
    pub(crate) first: u64,
    pub(crate) last: Option<u64>,
}

impl Replay {
    fn of(source: Source) -> Self {
        Self { source, filter: Filter::default(), speed: Speed::default(), into: None, limit: u64::MAX }
    }

    /// The events of the bus's own [durable log](crate::DurableLog), as far as it goes when the replay begins. Positions
    /// are those of the log.
    #[cfg(feature = "durable")]
    #[cfg_attr(docsrs, doc(cfg(feature = "durable")))]
    pub fn from_log() -> Self {
        Self::of(Source::Log)
    }

    /// The events of an [audit log](crate::AuditLog) whose active file this is, as far as it goes when the replay begins:
    /// the rotated files beside it first, the oldest of them foremost, the compressed ones too with the feature
    /// `compress`. Any other file of lines that [`Record::from_jsonl`] reads will do. Memory does not depend on how much
    /// there is.
    ///
    /// A line that is no record or longer than 64 MiB, an empty one, and a place from which on a compressed file cannot be
    /// read are skipped and counted. Lines whose first key shows that the [pattern](Self::pattern) leaves them out are not
    /// read further.
    ///
    /// Positions are numbers of lines over all files, the first is 1. They stay what they are when files are rotated or
    /// compressed, but not when the oldest is removed. A last line without an end counts as skipped if it is no record,
    /// and a further replay begins with it, for its writer may go on.
    pub fn from_audit(path: impl AsRef<Path>) -> Self {
        Self::of(Source::File(path.as_ref().to_owned()))
    }

    /// Events from wherever they are. Positions count the records, the first is 1.
    pub fn from_records(records: impl IntoIterator<Item = Record, IntoIter: Send + 'static>) -> Self {
        Self::of(Source::Records(Box::new(records.into_iter())))
    }

    /// Only events whose topic matches the pattern; said several times, one of the patterns. Default: all but the bus's own
    /// records (`system.*`), which come of the handlers again.
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.filter.patterns.push(pattern.into());
        self
    }

    /// Only events of this moment or later, by their timestamps. One without a timestamp is not among them. Default: all.
    pub fn since(mut self, moment: SystemTime) -> Self {
        self.filter.since = Some(seconds(moment));
        self
    }

    /// Only events from before this moment, by their timestamps. One without a timestamp is not among them. Default: all.
    pub fn until(mut self, moment: SystemTime) -> Self {
        self.filter.until = Some(seconds(moment));
        self
    }

    /// Only events with this correlation id. Default: all.
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.filter.correlation = Some(id.into());
        self
    }

    /// Only events that had a number in this range when they were emitted. A record that does not say its number is not
    /// among them. Default: all.
    pub fn sequence(mut self, numbers: impl RangeBounds<u64>) -> Self {
        self.filter.sequence = Some(ends(numbers));
        self
    }

    /// Only events at positions in this range. Default: all. With the [`next`](ReplayReport::next) of an earlier report as
    /// its beginning, a replay goes on where that one ended.
    pub fn positions(mut self, positions: impl RangeBounds<u64>) -> Self {
        let (first, last) = ends(positions);
        (self.filter.first, self.filter.last) = (first, Some(last));
        self
    }

    /// At most so many events; then the report says where to go on. Default: all.
    pub fn limit(mut self, events: u64) -> Self {
        self.limit = events;
        self
    }

    /// How fast. Default: [`Speed::Fastest`].
    pub fn speed(mut self, speed: Speed) -> Self {
        self.speed = speed;
        self
    }

    /// Only to the subscription of this name, whatever its pattern. Default: to all handlers, as if the events were emitted
    /// again.
    pub fn into(mut self, subscription: impl Into<String>) -> Self {
        self.into = Some(subscription.into());
        self
    }

    /// Which setting cannot be, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        for pattern in &self.filter.patterns {
            Pattern::new(pattern).map_err(|error| ("pattern", error.to_string()))?;
        }
        let rule = match self.speed {
            Speed::Times(factor) if !(factor.is_finite() && factor > 0.0) => "a factor is more than zero",
            Speed::PerSecond(0) => "at least one a second",
            _ => return Ok(()),
        };
        Err(("speed", rule.into()))
    }
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { filter, speed, into, limit, .. } = self;
        let mut shown = f.debug_struct("Replay");
        shown.field("filter", filter).field("speed", speed).field("into", into).field("limit", limit);
        shown.finish_non_exhaustive()
    }
}

/// The first and the last number of a range.
fn ends(range: impl RangeBounds<u64>) -> (u64, u64) {
    let first = match range.start_bound() {
        Bound::Included(first) => *first,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let last = match range.end_bound() {
        Bound::Included(last) => *last,
        Bound::Excluded(0) => return (1, 0),
        Bound::Excluded(behind) => behind - 1,
        Bound::Unbounded => u64::MAX,
    };
    (first, last)
}

/// A recorded event.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) record: Record,
    pub(crate) said: Said,
}

/// What a line says beside the record.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Said {
    pub(crate) seq: Option<u64>,
    key: Option<String>,
}

impl Said {
    /// The hash of the event's key, as it was in its run, if it had one.
    pub(crate) fn key(&self) -> Option<u64> {
        u64::from_str_radix(self.key.as_deref()?, 16).ok()
    }
}

#[cfg(feature = "durable")]
impl Item {
    /// Reads a line; `None` for what is no record.
    pub(crate) fn read(line: &[u8]) -> Option<Self> {
        let record = Record::from_jsonl(line).ok()?;
        Some(Self { record, said: serde_json::from_slice(line).unwrap_or_default() })
    }
}

/// One event, or the end of what can be read now, and what was passed over before it.
#[derive(Debug)]
pub(crate) struct Step {
    /// Where the event is, or what comes next would be.
    pub(crate) position: u64,
    pub(crate) item: Option<Item>,
    /// What was no record, and what the filter has left out already.
    pub(crate) skipped: u64,
    pub(crate) filtered: u64,
}

impl Step {
    /// What is at a position: an event, or no record.
    pub(crate) fn at(position: u64, item: Option<Item>) -> Self {
        let skipped = u64::from(item.is_none());
        Self { position: position + skipped, item, skipped, filtered: 0 }
    }
}

/// Events with their positions.
pub(crate) type Items<'a> = Box<dyn Iterator<Item = io::Result<Step>> + 'a>;

/// The events of an audit log, or another file of lines.
pub(crate) fn file_items(path: &Path, filter: &Filter) -> io::Result<Items<'static>> {
    let entries = filter.entries(path).map_err(as_io)?;
    Ok(Box::new(FileItems { entries, skipped: 0, filtered: 0, ended: false }))
}

/// The events of an iterator.
pub(crate) fn record_items(records: Records) -> Items<'static> {
    let item = |(number, record)| Ok(Step::at(number, Some(Item { record, said: Said::default() })));
    Box::new((1..).zip(records).map(item))
}

/// The events of a file, and how much of what the reader has passed over was told.
struct FileItems {
    entries: AuditEntries,
    skipped: u64,
    filtered: u64,
    ended: bool,
}

impl FileItems {
    fn step(&mut self, position: u64, item: Option<Item>) -> Step {
        let tally = self.entries.tally();
        let (skipped, filtered) = (tally.skipped + tally.blank + tally.unfinished, tally.other);
        let step = Step { position, item, skipped: skipped - self.skipped, filtered: filtered - self.filtered };
        (self.skipped, self.filtered) = (skipped, filtered);
        step
    }
}

impl Iterator for FileItems {
    type Item = io::Result<Step>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.entries.next() {
            Some(Ok(entry)) => {
                let said = serde_json::from_str(entry.json()).unwrap_or_default();
                let item = Item { record: entry.record, said };
                let position = self.entries.line();
                Some(Ok(self.step(position, Some(item))))
            }
            Some(Err(error)) => {
                self.ended = true;
                Some(Err(as_io(error)))
            }
            None => {
                self.ended = true;
                let next = self.entries.next_line();
                Some(Ok(self.step(next, None)))
            }
        }
    }
}

fn as_io(error: ReadError) -> io::Error {
    let kind = match &error {
        ReadError::NotThere { .. } => io::ErrorKind::NotFound,
        ReadError::Unreadable { error, .. } => error.kind(),
        ReadError::InvalidPattern { .. } => io::ErrorKind::InvalidInput,
    };
    io::Error::new(kind, error)
}

impl Filter {
    /// The lines of a file that may be meant: what the reader leaves out is not, but not all it gives is.
    fn entries(&self, path: &Path) -> Result<AuditEntries, ReadError> {
        let mut reader = AuditReader::open(path)?.longest_line(LONGEST_LINE);
        if let [pattern] = &*self.patterns {
            reader = reader.topic(pattern)?;
        }
        if let Some(id) = &self.correlation {
            reader = reader.correlation_id(id);
        }
        reader.filter.set_span(self.since, self.until);
        Ok(reader.oldest_first()?.from_line(self.first).until_line(self.last.unwrap_or(u64::MAX)))
    }

    /// Whether an event is meant.
    pub(crate) fn asks_for(&self, item: &Item) -> bool {
        let Item { record, said } = item;
        let time = |test: &dyn Fn(f64) -> bool| record.timestamp.is_some_and(test);
        self.since.is_none_or(|since| time(&|at| at >= since))
            && self.until.is_none_or(|until| time(&|at| at < until))
            && self.correlation.as_ref().is_none_or(|id| record.correlation_id.as_ref() == Some(id))
            && self.sequence.is_none_or(|(first, last)| said.seq.is_some_and(|seq| (first..=last).contains(&seq)))
            && self.matches(&record.event_type)
    }

    fn matches(&self, topic: &str) -> bool {
        if self.patterns.is_empty() {
            return !topic.starts_with("system.");
        }
        let asks = |topic| self.patterns.iter().any(|pattern| Pattern::new(pattern).is_ok_and(|of| of.matches(topic)));
        Topic::new(topic).is_ok_and(asks)
    }
}

/// When each event is due.
#[derive(Debug)]
pub(crate) struct Pace {
    speed: Speed,
    /// The last event's time, if it had one.
    last: Option<f64>,
    /// When the next event is due, in nanoseconds since the first.
    due: f64,
    given: u64,
}

impl Pace {
    pub(crate) fn new(speed: Speed) -> Self {
        Self { speed, last: None, due: 0.0, given: 0 }
    }

    /// How long after the beginning an event of this time is due.
    pub(crate) fn next(&mut self, timestamp: Option<f64>) -> Duration {
        let factor = match self.speed {
            Speed::Fastest => return Duration::ZERO,
            Speed::PerSecond(rate) => {
                let due = self.given as f64 / f64::from(rate.max(1));
                self.given += 1;
                return Duration::try_from_secs_f64(due).unwrap_or(Duration::MAX);
            }
            Speed::AsRecorded => 1.0,
            Speed::Times(factor) => factor,
        };
        if let (Some(last), Some(now)) = (self.last, timestamp) {
            self.due += (now - last).max(0.0) / factor;
        }
        self.last = timestamp.or(self.last);
        Duration::try_from_secs_f64(self.due).unwrap_or(Duration::MAX)
    }
}

/// The account of a replay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReplayReport {
    /// Records that were read.
    pub read: u64,
    /// Lines that were no records.
    pub skipped: u64,
    /// Records that the filters left out.
    pub filtered: u64,
    /// Events that were given to the bus or the subscription.
    pub given: u64,
    /// Events that the bus refused: a full lane that rejects, or a name that is no topic.
    pub refused: u64,
    /// The position at which a further replay goes on.
    pub next: u64,
    /// Whether it came to the end of what there was; `false` when the bus was shut down before or the limit was reached.
    pub completed: bool,
}

/// Why a replay did not take place, or ended early.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The bus has no durable log.
    NoLog,
    /// There is no subscription of this name, or several.
    Subscription {
        /// The name.
        name: String,
        /// How many there are.
        found: usize,
    },
    /// A setting cannot be.
    InvalidSetting {
        /// Which one.
        setting: &'static str,
        /// Which rule it breaks.
        rule: String,
    },
    /// The worker of a lane may not wait for lanes, so it cannot replay.
    WouldDeadlock,
    /// The source could not be read further.
    Source {
        /// What was wrong.
        error: io::Error,
        /// What was done before.
        report: ReplayReport,
    },
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLog => f.write_str("the bus has no durable log"),
            Self::Subscription { name, found: 0 } => write!(f, "there is no subscription {name:?}"),
            Self::Subscription { name, found } => write!(f, "there are {found} subscriptions {name:?}"),
            Self::InvalidSetting { setting, rule } => write!(f, "{setting}: {rule}"),
            Self::WouldDeadlock => f.write_str("the worker of a lane cannot replay events"),
            Self::Source { error, report } => write!(f, "reading stopped at position {}: {error}", report.next),
        }
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Source { error, .. } => Some(error),
            _ => None,
        }
    }
}
