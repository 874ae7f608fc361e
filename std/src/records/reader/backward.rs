//! Lines from the end of a file to its beginning, in bounded memory.

use std::io::{self, Read};

use memchr::memrchr;

use crate::platform::log_file::LogFile;
use crate::records::reader::forward::Span;

/// How much is read at once: little, for whoever reads backwards often wants a few lines only.
const BLOCK: u64 = 64 << 10;

/// A file that can be read in blocks from its end on.
pub(crate) trait Blocks {
    /// How many bytes it has.
    fn length(&self) -> u64;
    /// Puts the bytes that end at `end`, which is not 0, into `block`: at least one of them.
    fn before(&mut self, end: u64, block: &mut Vec<u8>) -> io::Result<()>;
}

impl Blocks for LogFile {
    fn length(&self) -> u64 {
        self.end()
    }

    fn before(&mut self, end: u64, block: &mut Vec<u8>) -> io::Result<()> {
        let start = (end - 1) / BLOCK * BLOCK;
        block.clear();
        self.go_to(start);
        // What was cut off since then is missing, and cannot be read.
        self.by_ref().take(end - start).read_to_end(block)?;
        block.resize(usize::try_from(end - start).unwrap_or_default(), 0);
        Ok(())
    }
}

/// Reads lines one before the other.
#[derive(Debug)]
pub(crate) struct Backward<B> {
    blocks: B,
    block: Vec<u8>,
    /// Where the block begins in the file, and how much of it was not yet given out.
    start: u64,
    cut: usize,
    /// The later parts of a line that spans blocks, the last one first, and their bytes together.
    parts: Vec<Vec<u8>>,
    length: u64,
    /// A line put together from its parts.
    line: Vec<u8>,
    ended: bool,
    /// Whether a line feed was seen that the next line stands before, or nothing was read yet.
    more: bool,
    longest: usize,
}

impl<B: Blocks> Backward<B> {
    /// Reads from the end on. Lines of more than `longest` bytes are passed over without being held.
    pub(crate) fn new(blocks: B, longest: usize) -> Self {
        let start = blocks.length();
        Self {
            blocks,
            block: Vec::new(),
            start,
            cut: 0,
            parts: Vec::new(),
            length: 0,
            line: Vec::new(),
            ended: false,
            more: start > 0,
            longest,
        }
    }

    /// The line before the one given last; `None` at the beginning of the file.
    pub(crate) fn next(&mut self) -> io::Result<Option<Span>> {
        if !self.more {
            return Ok(None);
        }
        if self.block.is_empty() {
            self.load()?;
            self.ended = self.block.last() == Some(&b'\n');
            self.cut -= usize::from(self.ended);
        }
        loop {
            let rest = self.block.get(..self.cut).unwrap_or_default();
            if let Some(at) = memrchr(b'\n', rest) {
                return Ok(Some(self.take(at + 1)));
            }
            if self.start == 0 {
                self.more = false;
                return Ok(Some(self.take(0)));
            }
            self.keep_part();
            self.load()?;
        }
    }

    /// The bytes of a line, until the next one is asked for.
    pub(crate) fn bytes(&self, span: &Span) -> &[u8] {
        let Some(kept) = span.kept.clone() else { return &[] };
        // A line in one piece is where it was read.
        let place = if self.line.is_empty() { &self.block } else { &self.line };
        place.get(kept).unwrap_or_default()
    }

    fn load(&mut self) -> io::Result<()> {
        self.blocks.before(self.start, &mut self.block)?;
        self.cut = self.block.len();
        self.start -= self.cut as u64;
        Ok(())
    }

    /// Puts what is left of the block by, unless the line is too long already.
    fn keep_part(&mut self) {
        let part = self.block.get(..self.cut).unwrap_or_default();
        self.length += part.len() as u64;
        if self.length > self.longest as u64 {
            self.parts = Vec::new();
        } else if !part.is_empty() {
            self.parts.push(part.to_vec());
        }
    }

    /// The line that begins at this byte of the block.
    fn take(&mut self, begin: usize) -> Span {
        let part = begin..self.cut;
        let length = self.length + part.len() as u64;
        let ended = std::mem::replace(&mut self.ended, true);
        let offset = self.start + begin as u64;
        self.cut = begin.saturating_sub(1);
        self.line = Vec::new();
        let mut kept = Some(part.clone());
        if length > self.longest as u64 {
            kept = None;
        } else if !self.parts.is_empty() {
            self.line.extend_from_slice(self.block.get(part).unwrap_or_default());
            self.parts.iter().rev().for_each(|part| self.line.extend_from_slice(part));
            kept = Some(0..self.line.len());
        }
        self.parts = Vec::new();
        self.length = 0;
        Span { offset, number: 0, length, ended, kept }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that is given in blocks of this size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Blocks for Pieces<'_> {
        fn length(&self) -> u64 {
            self.0.len() as u64
        }

        fn before(&mut self, end: u64, block: &mut Vec<u8>) -> io::Result<()> {
            let end = end as usize;
            block.clear();
            block.extend_from_slice(&self.0[end.saturating_sub(self.1)..end]);
            Ok(())
        }
    }

    fn lines(text: &[u8], step: usize, longest: usize) -> Vec<(u64, u64, bool, Option<String>)> {
        let (mut reader, mut all) = (Backward::new(Pieces(text, step), longest), Vec::new());
        while let Some(span) = reader.next().unwrap() {
            let kept = span.kept.is_some().then(|| String::from_utf8(reader.bytes(&span).to_vec()).unwrap());
            all.push((span.offset, span.length, span.ended, kept));
        }
        all
    }

    #[test]
    fn every_line_has_its_place_whatever_the_blocks() {
        let text = b"one\n\ntwo is longer\nlast";
        for step in 1..=text.len() + 1 {
            let wanted = [
                (19, 4, false, Some("last".to_owned())),
                (5, 13, true, None),
                (4, 0, true, Some(String::new())),
                (0, 3, true, Some("one".to_owned())),
            ];
            assert_eq!(lines(text, step, 6), wanted, "blocks of {step}");
        }
    }

    #[test]
    fn empty_lines_at_the_edges_are_lines() {
        let empty = |offset| (offset, 0, true, Some(String::new()));
        for step in 1..=4 {
            assert_eq!(lines(b"", step, 9), []);
            assert_eq!(lines(b"\n", step, 9), [empty(0)]);
            assert_eq!(lines(b"\n\na\n", step, 9), [(2, 1, true, Some("a".to_owned())), empty(1), empty(0)]);
        }
    }
}
