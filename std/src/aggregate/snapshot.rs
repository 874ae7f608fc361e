//! Snapshots of aggregates: a file beside the log's folder, with one line for each state.

use std::io::{self, BufRead};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::image::Image;
use super::{Aggregate, Aggregates};
use crate::platform::storage::{Disk, Storage, append_all};
use crate::records::durable::cursor::Cursor;

/// What is said of all states, in the first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    topic: String,
    shape: u32,
    /// The last event: its place in the log, and its identity, by which is found out whether it is that log still.
    position: u64,
    identity: String,
    states: usize,
}

/// A state: its aggregate, its version, and what it is.
type State<A> = (String, u64, A);

/// A snapshot that was read.
pub(super) struct Snapshot<A> {
    pub(super) position: u64,
    pub(super) identity: String,
    pub(super) states: std::vec::IntoIter<State<A>>,
}

impl<A: Aggregate> Snapshot<A> {
    /// The snapshot, if there is one for this shape and this log; else what is wrong with it.
    pub(super) fn read(cursor: &Cursor, topic: &str) -> Result<Option<Self>, String> {
        let mut lines = Disk.open_read(&path(cursor, topic)).map_err(|error| error.to_string())?.lines();
        let Some(first) = lines.next() else { return Ok(None) };
        let first = first.map_err(|error| error.to_string())?;
        let head: Head = serde_json::from_str(&first).map_err(|error| error.to_string())?;
        if (&*head.topic, head.shape) != (topic, A::SHAPE) {
            return Err(format!("it has {} in shape {}", head.topic, head.shape));
        }
        if !fits(cursor, &head) {
            return Err(format!("the log has another event at position {}", head.position));
        }
        let state = |line: io::Result<String>| serde_json::from_str(&line?).map_err(io::Error::from);
        let states: Vec<State<A>> = lines.map(state).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        if states.len() != head.states {
            return Err(format!("it has {} states of {}", states.len(), head.states));
        }
        Ok(Some(Self { position: head.position, identity: head.identity, states: states.into_iter() }))
    }
}

/// Whether the log is the one that the snapshot was made of: a machine that failed may have forgotten its last lines, and
/// others are there now.
fn fits(cursor: &Cursor, head: &Head) -> bool {
    if head.position < cursor.core.first() {
        return true;
    }
    let page = cursor.read(head.position, |topic| topic == head.topic);
    let found = page.ok().and_then(|page| page.events.into_iter().next());
    found.is_some_and(|(position, event)| position == head.position && event.id().to_string() == head.identity)
}

/// Where the snapshot is.
fn path(cursor: &Cursor, topic: &str) -> PathBuf {
    let plain = |c: char| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' };
    // Without what may stand behind the folder's name.
    let mut path = cursor.core.settings.path.components().collect::<PathBuf>().into_os_string();
    path.push(format!(".{}.snapshot", topic.chars().map(plain).collect::<String>()));
    path.into()
}

impl<A: Aggregate> Image<A> {
    /// The lines of a snapshot, and the position that it goes to.
    fn written(&self, topic: &str) -> serde_json::Result<Option<(Vec<u8>, u64)>> {
        let Some((position, identity)) = self.last.clone().filter(|_| !self.is_broken()) else { return Ok(None) };
        let states = self.entries.len();
        let head = Head { topic: topic.to_owned(), shape: A::SHAPE, position, identity, states };
        let mut text = serde_json::to_vec(&head)?;
        for (id, entry) in &self.entries {
            text.push(b'\n');
            serde_json::to_writer(&mut text, &(id, entry.version, &entry.state))?;
        }
        text.push(b'\n');
        Ok(Some((text, position)))
    }
}

impl<A: Aggregate> Aggregates<A> {
    /// Takes a snapshot if enough has happened since the last.
    pub(super) fn save_if_due(&self) {
        let is_due = |image: &Image<A>| image.every > 0 && image.since >= image.every;
        // Somebody who is saving already need not be waited for.
        let Ok(_saving) = self.shared.saving.try_lock() else { return };
        let mut image = self.image();
        if !is_due(&image) {
            return;
        }
        image.since = 0;
        let written = image.written(&self.shared.topic);
        drop(image);
        let saved = match written {
            Ok(None) => return,
            Ok(Some((text, position))) => self.replace(&text).map(|()| position),
            Err(error) => Err(error.into()),
        };
        let mut image = self.image();
        match saved {
            Ok(position) => {
                (image.saved, image.error) = (Some(position), None);
                self.shared.cursor.hold(image.needed(), image.began, image.needed());
            }
            Err(error) => image.error = Some(error.to_string()),
        }
    }

    fn replace(&self, text: &[u8]) -> io::Result<()> {
        let path = path(&self.shared.cursor, &self.shared.topic);
        let mut file = Disk.begin_replacing(&path)?;
        append_all(&mut *file, text).1?;
        file.sync()?;
        Disk.finish_replacing(&path)
    }
}
