//! Lines from the beginning of a file to its end, in bounded memory.

use std::io::{self, Read};
use std::ops::Range;

use memchr::memchr;

/// How much is read at once.
pub(crate) const BLOCK: usize = 128 << 10;

/// Where a line is, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first byte of the line, counted from 0 at the beginning of the file.
    pub(crate) offset: u64,
    /// The number of the line in its file, counted from 1; 0 when it is not known.
    pub(crate) number: u64,
    /// The bytes of the line without its line feed.
    pub(crate) length: u64,
    /// Whether a line feed ends it.
    pub(crate) ended: bool,
    /// Where it lies in memory; `None` when it was longer than the limit, and was not kept.
    pub(crate) kept: Option<Range<usize>>,
}

/// Reads lines one after the other.
#[derive(Debug)]
pub(crate) struct Forward<R> {
    input: R,
    buffer: Vec<u8>,
    /// `buffer[start..end]` is what was read and not yet given out; the first `looked` bytes of it have no line feed.
    start: usize,
    end: usize,
    looked: usize,
    /// The place and the number of the line that begins at `start`, and how many of its bytes were not kept.
    offset: u64,
    number: u64,
    dropped: u64,
    longest: usize,
}

impl<R: Read> Forward<R> {
    /// A reader whose first byte is the first of the line with this place and number, 0 if it is not known. Lines of more than `longest`
    /// bytes are passed over without being held.
    pub(crate) fn new(input: R, offset: u64, number: u64, longest: usize) -> Self {
        let buffer = Vec::new();
        Self { input, buffer, start: 0, end: 0, looked: 0, offset, number, dropped: 0, longest }
    }

    /// Where the line begins that comes next.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next line that is ended by a line feed; `None` when the input gives no more bytes now. It can be asked again
    /// later.
    pub(crate) fn next(&mut self) -> io::Result<Option<Span>> {
        loop {
            let found = self.buffer.get(self.start + self.looked..self.end).and_then(|rest| memchr(b'\n', rest));
            if let Some(at) = found {
                return Ok(Some(self.take(self.looked + at, true)));
            }
            self.looked = self.end - self.start;
            // Once it is too long, nothing more of it is gathered.
            if self.looked > self.longest || self.dropped > 0 {
                self.dropped += self.looked as u64;
                (self.start, self.end, self.looked) = (0, 0, 0);
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// What stands behind the last line feed, if anything.
    pub(crate) fn rest(&mut self) -> Option<Span> {
        let length = self.end - self.start;
        (length > 0 || self.dropped > 0).then(|| self.take(length, false))
    }

    /// The bytes of a line, until the next one is asked for.
    pub(crate) fn bytes(&self, span: &Span) -> &[u8] {
        span.kept.clone().and_then(|kept| self.buffer.get(kept)).unwrap_or_default()
    }

    fn take(&mut self, length: usize, ended: bool) -> Span {
        let kept = self.start..self.start + length;
        let whole = self.dropped + length as u64;
        let span = Span {
            offset: self.offset,
            number: self.number,
            length: whole,
            ended,
            kept: (self.dropped == 0 && length <= self.longest).then(|| kept.clone()),
        };
        self.start = kept.end + usize::from(ended);
        self.offset += whole + u64::from(ended);
        (self.looked, self.dropped) = (0, 0);
        self.number += u64::from(self.number > 0);
        span
    }

    /// Reads on, behind what is there already.
    fn fill(&mut self) -> io::Result<usize> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > 4 * BLOCK {
                // One long line is no reason to keep its room.
                self.buffer = Vec::new();
            }
        }
        if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.buffer.len() {
            let most = self.longest.saturating_add(BLOCK);
            self.buffer.resize((self.buffer.len() * 2).clamp(BLOCK, most), 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        loop {
            match self.input.read(room) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    self.end += count.min(room.len());
                    return Ok(count);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    /// Offset, number, length, whether it is ended, and what was kept.
    type Line = (u64, u64, u64, bool, Option<Vec<u8>>);

    fn lines(text: &[u8], step: usize, longest: usize) -> Vec<Line> {
        let (mut reader, mut all) = (Forward::new(Drops(text, step), 0, 1, longest), Vec::new());
        while let Some(span) = reader.next().unwrap().or_else(|| reader.rest()) {
            let kept = span.kept.is_some().then(|| reader.bytes(&span).to_vec());
            all.push((span.offset, span.number, span.length, span.ended, kept));
        }
        all
    }

    #[test]
    fn every_line_has_its_place_whatever_the_input_gives_at_once() {
        let text = b"one\n\ntwo is longer\nlast";
        for step in 1..=text.len() {
            let found = lines(text, step, 6);
            let wanted = [
                (0, 1, 3, true, Some(b"one".to_vec())),
                (4, 2, 0, true, Some(Vec::new())),
                (5, 3, 13, true, None),
                (19, 4, 4, false, Some(b"last".to_vec())),
            ];
            assert_eq!(found, wanted, "{step} bytes at once");
        }
        assert_eq!(lines(b"", 1, 6), []);
    }

    #[test]
    fn a_line_of_the_greatest_length_is_kept_and_its_room_is_bounded() {
        let (longest, mut text) = (BLOCK, vec![b'x'; BLOCK]);
        text.push(b'\n');
        text.extend(vec![b'y'; 9 * BLOCK]);
        text.push(b'\n');
        let mut reader = Forward::new(&text[..], 0, 1, longest);
        let first = reader.next().unwrap().unwrap();
        assert_eq!((reader.bytes(&first).len(), first.length), (BLOCK, BLOCK as u64));
        let second = reader.next().unwrap().unwrap();
        assert_eq!((second.kept, second.length), (None, 9 * BLOCK as u64));
        assert!(reader.buffer.len() <= longest + BLOCK);
    }
}
