//! What the log holds, in runs of lines: how large they are and how old, so that the oldest can go.

use std::collections::VecDeque;

/// A run of lines is closed when it has so many of them, or so many bytes.
const LINES: u64 = 1_024;
const BYTES: u64 = 1 << 20;

/// A run of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) first: u64,
    /// The position behind its last line.
    pub(crate) end: u64,
    pub(crate) bytes: u64,
    /// When its last line was written, in nanoseconds since the Unix epoch.
    pub(crate) newest: u64,
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.end - self.first >= LINES || self.bytes >= BYTES
    }

    /// As a mark's value.
    pub(crate) fn encode(&self) -> Vec<u8> {
        [self.end, self.bytes, self.newest].into_iter().flat_map(u64::to_be_bytes).collect()
    }

    pub(crate) fn decode(first: u64, value: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(value.get(at..at + 8)?.try_into().ok()?));
        let chunk = Self { first, end: number(0)?, bytes: number(8)?, newest: number(16)? };
        (chunk.end > first).then_some(chunk)
    }
}

/// All runs, oldest first; the last may be open.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    all: VecDeque<Chunk>,
    bytes: u64,
}

impl Chunks {
    /// Takes in a run that was closed earlier.
    pub(crate) fn restore(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes;
        self.all.push_back(chunk);
    }

    /// Takes in a line; the run that it closes, if it does.
    pub(crate) fn add(&mut self, position: u64, bytes: u64, now: u64) -> Option<Chunk> {
        self.bytes += bytes;
        if self.all.back().is_none_or(Chunk::is_full) {
            // From where the last one ends: what a failed batch may have left between them goes with this one.
            let first = self.all.back().map_or(position, |last| last.end);
            self.all.push_back(Chunk { first, end: position, bytes: 0, newest: now });
        }
        let open = self.all.back_mut()?;
        (open.end, open.bytes, open.newest) = (position + 1, open.bytes + bytes, now);
        open.is_full().then_some(*open)
    }

    /// The oldest run, if it is closed: the last is never given up, so that positions go on from it.
    pub(crate) fn oldest(&self) -> Option<&Chunk> {
        self.all.front().filter(|_| self.all.len() > 1)
    }

    /// Gives the oldest run up.
    pub(crate) fn pop(&mut self) {
        if let Some(chunk) = self.all.pop_front() {
            self.bytes -= chunk.bytes;
        }
    }

    /// Bytes of all lines.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}
