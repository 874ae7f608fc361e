//! How large a payload is and how deep it is nested, found while it is written to nowhere.

use std::io;

/// Counts what is written to it, and ends the writing once it is too much.
#[derive(Debug)]
pub(super) struct Gauge {
    max_bytes: Option<usize>,
    max_nesting: Option<usize>,
    bytes: usize,
    depth: usize,
    deepest: usize,
    in_text: bool,
    is_escaped: bool,
}

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) is_large: bool,
    pub(super) is_deep: bool,
}

impl Gauge {
    pub(super) const fn new(max_bytes: Option<usize>, max_nesting: Option<usize>) -> Self {
        Self { max_bytes, max_nesting, bytes: 0, depth: 0, deepest: 0, in_text: false, is_escaped: false }
    }

    pub(super) fn read(&self) -> Reading {
        Reading {
            is_large: self.max_bytes.is_some_and(|max| self.bytes > max),
            is_deep: self.max_nesting.is_some_and(|max| self.deepest > max),
        }
    }

    /// Follows brackets outside of texts. In UTF-8 no other character has a byte that looks like one of these.
    fn follow(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_text => self.is_escaped = true,
                b'"' => self.in_text = !self.in_text,
                b'{' | b'[' if !self.in_text => {
                    self.depth += 1;
                    self.deepest = self.deepest.max(self.depth);
                }
                b'}' | b']' if !self.in_text => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}

impl io::Write for Gauge {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.max_nesting.is_some() {
            self.follow(bytes);
        }
        let Reading { is_large, is_deep } = self.read();
        if is_large || (is_deep && self.max_bytes.is_none()) {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
