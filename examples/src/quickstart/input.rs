//! Reads and parses the input on a thread of its own, so that a silent input never keeps the run from stopping.

use super::interrupt::Interrupt;
use super::lines::{Cut, LONGEST, Lines};
use super::options::Source;
use nervebus::Record;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// The story that is compiled in, so that the program runs from any folder.
const BUNDLED: &[u8] = include_bytes!("../../data/events.jsonl");

/// Bytes taken from the input at a time; the lines they complete travel together.
const CHUNK: usize = 64 << 10;

/// Batches that may wait for the run; together with `CHUNK` and `LONGEST` this bounds what is read ahead.
const BATCHES: usize = 4;

/// One line of input: an event, or the reason why it is none.
#[derive(Debug)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: u64,
    /// Where it ends in the input, in bytes.
    pub(super) end: u64,
    pub(super) parsed: Result<Record, String>,
}

/// What the reading thread reports.
#[derive(Debug)]
pub(super) enum Message {
    /// The input is open; its length in bytes when it is known.
    Opened(Option<u64>),
    /// The lines that the latest bytes completed.
    Lines(Vec<Line>),
    /// The input ended.
    End,
    /// The input cannot be opened, or not be read any further.
    Failed(String),
    /// The run was interrupted; it sees that by itself once it is awake.
    Wake,
}

/// The open input.
#[derive(Debug)]
pub(super) struct Input {
    messages: Receiver<Message>,
    /// The input's length in bytes when it is known.
    pub(super) length: Option<u64>,
}

impl Input {
    /// Starts to read `source`; from now on raising `interrupt` wakes whoever waits in `next`.
    ///
    /// Waits until the input is open, which may take long for a named pipe, or until the interrupt is raised.
    ///
    /// # Errors
    /// One line that says why the input cannot be opened.
    pub(super) fn open(source: &Source, stdin: Box<dyn Read + Send>, interrupt: &Interrupt) -> Result<Self, String> {
        let (sender, messages) = sync_channel(BATCHES);
        let sender = Arc::new(sender);
        // The waker must not keep the channel open: its end is how a reader that died is noticed.
        let waker = Arc::downgrade(&sender);
        interrupt.wake_with(move || {
            if let Some(sender) = waker.upgrade() {
                let _ = sender.try_send(Message::Wake);
            }
        });
        let source = source.clone();
        thread::Builder::new()
            .name("quickstart-input".to_owned())
            .spawn(move || read(&source, stdin, &sender))
            .map_err(|error| format!("cannot start a thread to read the input: {error}"))?;
        let mut input = Input { messages, length: None };
        input.length = input.opened(interrupt)?;
        Ok(input)
    }

    fn opened(&self, interrupt: &Interrupt) -> Result<Option<u64>, String> {
        while !interrupt.is_raised() {
            match self.next() {
                Message::Opened(length) => return Ok(length),
                Message::Failed(reason) => return Err(reason),
                Message::Lines(_) | Message::End | Message::Wake => {}
            }
        }
        Ok(None)
    }

    /// The next report; waits for it.
    pub(super) fn next(&self) -> Message {
        let gone = |_| Message::Failed("the thread that reads the input ended early".to_owned());
        self.messages.recv().unwrap_or_else(gone)
    }
}

/// The whole life of the reading thread. A run that no longer listens ends it at the next batch.
fn read(source: &Source, stdin: Box<dyn Read + Send>, sender: &SyncSender<Message>) {
    let last = match open(source, stdin) {
        Ok((reader, length)) => {
            if sender.send(Message::Opened(length)).is_err() {
                return;
            }
            pump(reader, sender).map_or_else(|error| Message::Failed(error.to_string()), |()| Message::End)
        }
        Err(reason) => Message::Failed(reason),
    };
    let _ = sender.send(last);
}

type Opened = (Box<dyn Read + Send>, Option<u64>);

fn open(source: &Source, stdin: Box<dyn Read + Send>) -> Result<Opened, String> {
    match source {
        Source::Bundled => Ok((Box::new(BUNDLED), Some(BUNDLED.len() as u64))),
        Source::Stdin => Ok((stdin, None)),
        Source::File(path) => open_file(path).map_err(|error| format!("cannot read events from {path:?}: {error}")),
    }
}

fn open_file(path: &Path) -> io::Result<Opened> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok((Box::new(file), metadata.is_file().then_some(metadata.len())))
}

/// Reads to the end; lines go out as soon as they are complete, so that a slow input is not held back.
fn pump(mut reader: impl Read, sender: &SyncSender<Message>) -> io::Result<()> {
    let mut batcher = Batcher { lines: Lines::new(LONGEST), number: 0 };
    let mut chunk = vec![0; CHUNK];
    loop {
        let taken = match reader.read(&mut chunk) {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let batch = batcher.batch(chunk.get(..taken).unwrap_or_default());
        if let Some(batch) = batch
            && sender.send(batch).is_err()
        {
            return Ok(());
        }
        if taken == 0 {
            return Ok(());
        }
    }
}

struct Batcher {
    lines: Lines,
    number: u64,
}

impl Batcher {
    /// The lines that `chunk` completes; an empty chunk is the end of the input.
    fn batch(&mut self, chunk: &[u8]) -> Option<Message> {
        let mut lines = Vec::new();
        let number = &mut self.number;
        let each = |cut: Cut<'_>, end| {
            *number += 1;
            lines.push(Line { number: *number, end, parsed: parse(&cut) });
        };
        if chunk.is_empty() {
            self.lines.finish(each);
        } else {
            self.lines.feed(chunk, each);
        }
        (!lines.is_empty()).then_some(Message::Lines(lines))
    }
}

fn parse(cut: &Cut<'_>) -> Result<Record, String> {
    match cut {
        Cut::TooLong => Err(format!("the line is longer than {} MiB", LONGEST >> 20)),
        Cut::Line(line) if line.starts_with(b"\x1f\x8b") => Err("this is gzip data: unpack the file first".to_owned()),
        Cut::Line(line) => Record::from_jsonl(line).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(line: &[u8]) -> String {
        parse(&Cut::Line(line)).err().unwrap_or_default()
    }

    #[test]
    fn lines_that_are_no_events_say_why() {
        assert_eq!(reason(b" \t\r"), "the line is empty");
        assert!(reason(b"ab\xff").contains("not UTF-8"));
        assert!(reason(b"\x1f\x8b\x08\x00").contains("gzip"));
        assert_eq!(parse(&Cut::TooLong).err().unwrap_or_default(), "the line is longer than 16 MiB");
    }

    #[test]
    fn a_byte_order_mark_and_windows_line_ends_are_no_part_of_an_event() {
        let line = b"\xef\xbb\xbf{\"event_type\": \"user.login\", \"payload\": {}}\r";
        assert!(parse(&Cut::Line(line)).is_ok_and(|record| record.event_type == "user.login"));
    }

    #[test]
    fn every_line_of_the_bundled_story_is_an_event() {
        let lines = BUNDLED.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let failed: Vec<String> = lines.filter_map(|line| parse(&Cut::Line(line)).err()).collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
}
