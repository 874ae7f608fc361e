//! The lines of all files of a log, one after the other, with a look ahead.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::records::audit::chain::{self, Chain, Digits};
use crate::records::reader::ReadError;
use crate::records::reader::forward::Forward;
use crate::records::reader::part::{Content, Part};

/// How far a look ahead goes: so many lines, or so many bytes, but at least two lines.
const AHEAD_LINES: usize = 64;
const AHEAD_BYTES: usize = 1 << 20;

/// A line, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) path: Arc<Path>,
    /// The place of the file in the log, the oldest first.
    pub(crate) file: u64,
    pub(crate) active: bool,
    pub(crate) number: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) ended: bool,
    pub(crate) text: Text,
}

/// What a line holds.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    Kept(Vec<u8>),
    TooLong,
    /// There is no line: the file cannot be read from here on.
    Unreadable(String),
}

impl Line {
    /// The line without its line feed.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.text {
            Text::Kept(bytes) => bytes,
            Text::TooLong | Text::Unreadable(_) => &[],
        }
    }

    /// What is hashed of it, and the hash that it carries. Another line end than the writer's own is no part of a line.
    pub(crate) fn split(&self) -> Option<(&[u8], &Digits)> {
        chain::split(self.bytes()).filter(|_| self.bytes().ends_with(chain::END))
    }

    /// The hash that it carries.
    pub(crate) fn claim(&self) -> Option<Digits> {
        self.split().map(|(_, digits)| *digits)
    }

    /// Whether it comes right after a line with these digits.
    pub(crate) fn follows(&self, before: &Digits) -> bool {
        self.split().is_some_and(|(hashed, digits)| Chain::after(*before).digits_of(hashed) == *digits)
    }

    /// Whether it is a record of the log's own with this name.
    pub(crate) fn is_own(&self, name: &str) -> bool {
        let begins = self.bytes().strip_prefix(br#"{"event_type":""#);
        begins.and_then(|rest| rest.strip_prefix(name.as_bytes())).is_some_and(|rest| rest.starts_with(b"\""))
    }
}

/// Gives the lines out.
#[derive(Debug)]
pub(crate) struct Stream {
    parts: std::vec::IntoIter<Part>,
    files: usize,
    current: Option<(Arc<Path>, bool, Forward<Content>)>,
    begun: u64,
    ahead: VecDeque<Line>,
    longest: usize,
}

impl Stream {
    pub(crate) fn new(parts: Vec<Part>, longest: usize) -> Self {
        let files = parts.len();
        Self { parts: parts.into_iter(), files, current: None, begun: 0, ahead: VecDeque::new(), longest }
    }

    /// How many files there are.
    pub(crate) fn files(&self) -> usize {
        self.files
    }

    /// The next line.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, ReadError> {
        match self.ahead.pop_front() {
            Some(line) => Ok(Some(line)),
            None => self.read(),
        }
    }

    /// The lines that come next, without taking them.
    pub(crate) fn ahead(&mut self) -> Result<&VecDeque<Line>, ReadError> {
        let mut bytes: usize = self.ahead.iter().map(|line| line.bytes().len()).sum();
        while self.ahead.len() < 2 || (self.ahead.len() < AHEAD_LINES && bytes < AHEAD_BYTES) {
            let Some(line) = self.read()? else { break };
            bytes += line.bytes().len();
            self.ahead.push_back(line);
        }
        Ok(&self.ahead)
    }

    fn read(&mut self) -> Result<Option<Line>, ReadError> {
        loop {
            let Some((path, active, lines)) = &mut self.current else {
                let Some(part) = self.parts.next() else { return Ok(None) };
                let (path, active) = (Arc::clone(&part.path), part.active);
                let lines = part.forward(self.longest).map_err(|error| unreadable(&path, error))?;
                self.begun += 1;
                self.current = Some((path, active, lines));
                continue;
            };
            let place = |number, offset| Line {
                path: Arc::clone(path),
                file: self.begun,
                active: *active,
                number,
                offset,
                length: 0,
                ended: false,
                text: Text::TooLong,
            };
            let span = match lines.next() {
                Ok(Some(span)) => Some(span),
                Ok(None) => lines.rest(),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let line = Line { text: Text::Unreadable(error.to_string()), ..place(0, lines.offset()) };
                    self.current = None;
                    return Ok(Some(line));
                }
                Err(error) => return Err(unreadable(path, error)),
            };
            let Some(span) = span else {
                self.current = None;
                continue;
            };
            let text = if span.kept.is_some() { Text::Kept(lines.bytes(&span).to_vec()) } else { Text::TooLong };
            let (length, ended) = (span.length, span.ended);
            return Ok(Some(Line { length, ended, text, ..place(span.number, span.offset) }));
        }
    }
}

fn unreadable(path: &Path, error: io::Error) -> ReadError {
    ReadError::Unreadable { path: path.to_owned(), error }
}
