//! Following a log as it grows, across rotations.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::platform::clock::Clock;
use crate::platform::log_file::id_at;
use crate::records::reader::entries::{AuditEntries, AuditEntry, Found, Sieve};
use crate::records::reader::forward::Forward;
use crate::records::reader::part::{Content, Part, snapshot};
use crate::records::reader::tally::ReadTally;
use crate::records::reader::{AuditReader, ReadError};

/// How many of a file's first bytes tell it from others: the first line, if it is shorter.
const MARK: u64 = 4 << 10;

/// How many of the files that were read before are known again.
const KNOWN: usize = 64;

/// The events of a log as they are written; see [`AuditReader::follow`].
///
/// It goes on across rotations: a file that was renamed is read to its end, then the files that came after it, and
/// nothing is lost or doubled. Files are known by what they are, and once they are compressed by their first line. A last
/// line that has no end yet is not there yet.
///
/// If the file that was read is gone, and with it perhaps others that came after it (more rotations between two looks
/// than files are kept), reading goes on with the oldest that is there; [`gaps`](Self::gaps) counts how often. A file
/// that is emptied in place is read from its beginning and counts as a gap; if it has grown beyond its old length by the
/// next look, that is not noticed.
///
/// # Cost
///
/// A look at a log at rest asks for the file's length and name. One file handle, and for a moment one for each file that
/// came after it.
///
/// # Examples
///
/// ```
/// use nervebus::{AuditLog, AuditReader, Bus, json};
/// use std::time::Duration;
///
/// let path = std::env::temp_dir().join(format!("nervebus-follow-doc-{}.jsonl", std::process::id()));
/// let bus = Bus::builder().audit(AuditLog::at(&path)).build()?;
/// let mut log = AuditReader::open(&path)?.topic("chat.*")?.follow()?;
/// assert!(log.poll()?.is_none());
/// bus.emit("chat.sent", json!({"text": "hello"}))?;
/// let entry = log.next_within(Duration::from_secs(60))?.ok_or("an event")?;
/// assert_eq!(entry.record.payload["text"], "hello");
/// # drop(bus);
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AuditFollow {
    path: PathBuf,
    sieve: Sieve,
    /// The file that is read, and those that come after it, oldest first.
    current: Option<Current>,
    queue: VecDeque<Part>,
    /// The marks of the files that come before it.
    known: VecDeque<Vec<u8>>,
    waiting: Option<AuditEntry>,
    gaps: u64,
    clock: Clock,
    interval: Duration,
}

#[derive(Debug)]
struct Current {
    /// The same file once more, for looking at it without losing the place.
    part: Part,
    lines: Forward<Content>,
    /// Whether the log is written to another file by now, so that this one has an end.
    closed: bool,
}

/// What to do at the end of what a file has now.
enum AtEnd {
    /// There may be more later.
    Stay,
    /// There may be more now.
    Look,
    /// There is no more to come from it.
    Leave,
}

impl Current {
    fn of(part: Part, longest: usize) -> io::Result<Self> {
        let mut again = part.again()?;
        again.file.watch();
        let closed = !part.active;
        Ok(Self { part, lines: again.forward(longest)?, closed })
    }

    /// Goes on at this byte, where a line begins.
    fn skip_to(&mut self, offset: u64, longest: usize) -> io::Result<()> {
        let mut again = self.part.again()?;
        again.file.watch();
        let mut content = again.content()?;
        match &mut content {
            Content::Plain(file) => file.go_to(offset),
            #[cfg(feature = "compress")]
            content => {
                io::copy(&mut content.by_ref().take(offset), &mut io::sink())?;
            }
        }
        // How many lines come before is not known.
        self.lines = Forward::new(content, offset, u64::from(offset == 0), longest);
        Ok(())
    }
}

impl AuditFollow {
    fn new(reader: &AuditReader, parts: Vec<Part>, first: usize) -> Result<Self, ReadError> {
        let mut follow = Self {
            path: reader.path.clone(),
            sieve: Sieve::new(reader),
            current: None,
            queue: VecDeque::new(),
            known: VecDeque::new(),
            waiting: None,
            gaps: 0,
            clock: Clock::machine(),
            interval: Duration::from_millis(100),
        };
        // The newest comes first, and what comes before the first one is known.
        for (index, part) in parts.into_iter().enumerate() {
            if index <= first {
                follow.queue.push_front(part);
            } else if follow.known.len() < KNOWN {
                follow.known.extend(mark_of(&part).map_err(|error| unreadable(&part.path, error))?);
            }
        }
        follow.take_next()?;
        Ok(follow)
    }

    pub(crate) fn from_beginning(reader: &AuditReader) -> Result<Self, ReadError> {
        let parts = snapshot(&reader.path)?;
        let oldest = parts.len().saturating_sub(1);
        Self::new(reader, parts, oldest)
    }

    pub(crate) fn from_end(reader: &AuditReader) -> Result<Self, ReadError> {
        let mut follow = Self::new(reader, snapshot(&reader.path)?, 0)?;
        let longest = follow.sieve.longest();
        if let Some(current) = &mut follow.current {
            let end = end_of(&current.part, longest).and_then(|end| current.skip_to(end, longest));
            end.map_err(|error| unreadable(&current.part.path, error))?;
        }
        Ok(follow)
    }

    pub(crate) fn from_last(reader: &AuditReader, events: usize) -> Result<Self, ReadError> {
        let parts = snapshot(&reader.path)?;
        let again = parts.iter().map(|part| part.again().map_err(|error| unreadable(&part.path, error)));
        let looked_at = again.collect::<Result<Vec<_>, _>>()?;
        let mut entries = AuditEntries::newest_first(looked_at, &reader.clone().limit(events));
        let (mut place, mut count) = (None, 0);
        for entry in entries.by_ref() {
            let entry = entry?;
            place = Some((entry.path, entry.offset));
            count += 1;
        }
        let oldest = parts.len().saturating_sub(1);
        // Fewer than were asked for: then all of them.
        let Some((path, offset)) = place.filter(|_| count == events) else { return Self::new(reader, parts, oldest) };
        let first = parts.iter().position(|part| part.path == path).unwrap_or(oldest);
        let mut follow = Self::new(reader, parts, first)?;
        let longest = follow.sieve.longest();
        if let Some(current) = &mut follow.current {
            current.skip_to(offset, longest).map_err(|error| unreadable(&path, error))?;
        }
        Ok(follow)
    }

    /// How long [`next_within`](Self::next_within) rests between two looks. Default: 100 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The next event, if it is there; never waits. `None` now says nothing about later.
    ///
    /// # Errors
    ///
    /// [`ReadError::Unreadable`]; it can be asked again.
    pub fn poll(&mut self) -> Result<Option<AuditEntry>, ReadError> {
        loop {
            if let Some(waiting) = self.waiting.take() {
                return Ok(Some(waiting));
            }
            let Some(current) = &mut self.current else { return Ok(None) };
            let path = Arc::clone(&current.part.path);
            match current.lines.next() {
                Ok(Some(span)) => {
                    let bytes = current.lines.bytes(&span);
                    let [first, second] = self.sieve.sift(&Found { path: &path, active: true, span: &span, bytes });
                    let (now, later) = if first.is_some() { (first, second) } else { (second, None) };
                    if now.is_some() {
                        self.waiting = later;
                        return Ok(now);
                    }
                }
                Ok(None) => match self.at_end().map_err(|error| unreadable(&path, error))? {
                    AtEnd::Look => {}
                    AtEnd::Leave if self.take_next()? => {}
                    AtEnd::Leave | AtEnd::Stay => return Ok(None),
                },
                Err(error) if error.kind() == io::ErrorKind::InvalidData && current.closed => {
                    self.sieve.note_damage(&path, current.lines.offset(), &error);
                    if !self.take_next()? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(unreadable(&path, error)),
            }
        }
    }

    /// The next event; waits for it, `wait` at most, and looks from time to time.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn next_within(&mut self, wait: Duration) -> Result<Option<AuditEntry>, ReadError> {
        let clock = self.clock.clone();
        let waiting = clock.wait(Some(clock.after(wait)));
        loop {
            match self.poll()? {
                None if !waiting.is_over() => waiting.park(self.interval),
                found => return Ok(found),
            }
        }
    }

    /// How often it is not known what came between two events.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps
    }

    /// What was looked at so far.
    #[must_use]
    pub fn tally(&self) -> &ReadTally {
        &self.sieve.tally
    }

    /// What to do at the end of what the current file has now.
    fn at_end(&mut self) -> io::Result<AtEnd> {
        let longest = self.sieve.longest();
        let Some(current) = self.current.as_mut().filter(|current| !current.closed) else { return Ok(AtEnd::Leave) };
        if current.part.file.grown_to()? < current.lines.offset() {
            self.gaps += 1;
            current.skip_to(0, longest)?;
            return Ok(AtEnd::Look);
        }
        match id_at(&self.path) {
            Ok(id) if id == current.part.file.id() => return Ok(AtEnd::Stay),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // It was renamed. What was written before that may have come after the last look; nothing is written to it now.
        current.closed = true;
        Ok(AtEnd::Look)
    }

    /// Goes on with the file that comes after the current one. If there is none yet, everything stays.
    fn take_next(&mut self) -> Result<bool, ReadError> {
        if self.queue.is_empty() {
            self.look_for_newer()?;
        }
        let Some(part) = self.queue.front() else { return Ok(false) };
        // If that fails it is tried again, and nothing has changed.
        let again = part.again().and_then(|part| Current::of(part, self.sieve.longest()));
        let current = again.map_err(|error| unreadable(&part.path, error))?;
        self.queue.pop_front();
        self.finish();
        self.sieve.tally.files += 1;
        self.current = Some(current);
        Ok(true)
    }

    /// Leaves the current file: what stands behind its last line feed will never be a line.
    fn finish(&mut self) {
        let Some(mut current) = self.current.take() else { return };
        if let Some(span) = current.lines.rest() {
            let (path, bytes) = (&current.part.path, current.lines.bytes(&span));
            let [entry, _] = self.sieve.sift(&Found { path, active: false, span: &span, bytes });
            self.waiting = self.waiting.take().or(entry);
        }
        if let Ok(Some(mark)) = mark_of(&current.part) {
            self.remember(mark);
        }
    }

    fn remember(&mut self, mark: Vec<u8>) {
        self.known.truncate(KNOWN - 1);
        self.known.push_front(mark);
    }

    /// Looks for the files that came after the current one.
    fn look_for_newer(&mut self) -> Result<(), ReadError> {
        let Some(current) = &self.current else { return Ok(()) };
        let parts = match snapshot(&self.path) {
            Err(ReadError::NotThere { .. }) => return Ok(()),
            found => found?,
        };
        let mark = mark_of(&current.part).map_err(|error| unreadable(&current.part.path, error))?;
        let (mut is_known, mut newer) = (false, VecDeque::new());
        for part in parts {
            let found = mark_of(&part).map_err(|error| unreadable(&part.path, error))?;
            is_known = part.file.id() == current.part.file.id()
                || found.is_some_and(|found| mark.as_ref() == Some(&found) || self.known.contains(&found));
            if is_known {
                break;
            }
            newer.push_front(part);
        }
        self.queue = newer;
        // An empty file that is gone took nothing with it.
        self.gaps += u64::from(!is_known && !self.queue.is_empty() && mark.is_some());
        Ok(())
    }
}

/// What tells a file from others, compressed or not: its first line, or as much of it as [`MARK`] takes. `None` while
/// it has not even that.
fn mark_of(part: &Part) -> io::Result<Option<Vec<u8>>> {
    let mut again = part.again()?;
    again.file.watch();
    let mut mark = Vec::new();
    match again.content()?.take(MARK).read_to_end(&mut mark) {
        // Nobody will know it again.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        read => read?,
    };
    let end = memchr::memchr(b'\n', &mark);
    mark.truncate(end.unwrap_or(mark.len()));
    Ok((end.is_some() || mark.len() as u64 == MARK).then_some(mark))
}

/// Where the line begins that has no end yet, or the end of the file.
fn end_of(part: &Part, longest: usize) -> io::Result<u64> {
    let again = part.again()?;
    if !again.compressed {
        let end = again.file.end();
        let (mut lines, _) = again.backward(longest)?;
        let last = lines.next()?;
        return Ok(last.filter(|span| !span.ended).map_or(end, |span| span.offset));
    }
    let mut lines = again.forward(longest)?;
    while lines.next()?.is_some() {}
    Ok(lines.offset())
}

fn unreadable(path: &Path, error: io::Error) -> ReadError {
    ReadError::Unreadable { path: path.to_owned(), error }
}
