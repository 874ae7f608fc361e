//! Cuts a byte stream into lines with a bounded buffer.

/// The longest line that is taken, in bytes without its line end: 16 MiB.
pub(super) const LONGEST: usize = 16 << 20;

/// A buffer grown past this by one long line is given back afterwards.
const KEPT: usize = 1 << 20;

/// What one line turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut<'a> {
    /// A whole line, without its line feed.
    Line(&'a [u8]),
    /// A line beyond the limit; its bytes were not kept.
    TooLong,
}

/// Takes chunks as they come and hands out lines; holds at most one line of at most `limit` bytes.
#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    partial: Vec<u8>,
    /// Bytes of the stream taken so far.
    position: u64,
    /// The line under way is over the limit: its bytes are let go until its end.
    skipping: bool,
}

impl Lines {
    /// Lines of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Lines { limit, partial: Vec::new(), position: 0, skipping: false }
    }

    /// Hands every line that `chunk` completes to `each`, in order and with the position in the stream, in bytes, where
    /// it ends; the rest is kept for the next chunk.
    ///
    /// # Cost
    /// Linear in the chunk; a line that lies inside one chunk is not copied.
    pub(super) fn feed(&mut self, chunk: &[u8], mut each: impl FnMut(Cut<'_>, u64)) {
        let mut pieces = chunk.split(|&byte| byte == b'\n');
        // `split` always yields the piece after the last line feed: it belongs to the line under way.
        let rest = pieces.next_back().unwrap_or_default();
        for piece in pieces {
            // The line feed counts.
            self.position += piece.len() as u64 + 1;
            self.complete(piece, &mut each);
        }
        self.position += rest.len() as u64;
        self.keep(rest);
    }

    /// Hands out the last line when the stream did not end with a line feed.
    pub(super) fn finish(&mut self, mut each: impl FnMut(Cut<'_>, u64)) {
        if self.skipping || !self.partial.is_empty() {
            self.complete(b"", &mut each);
        }
    }

    fn complete(&mut self, piece: &[u8], each: &mut impl FnMut(Cut<'_>, u64)) {
        if self.skipping || self.partial.len() + piece.len() > self.limit {
            each(Cut::TooLong, self.position);
        } else if self.partial.is_empty() {
            each(Cut::Line(piece), self.position);
        } else {
            self.partial.extend_from_slice(piece);
            each(Cut::Line(&self.partial), self.position);
        }
        self.partial.clear();
        self.partial.shrink_to(KEPT);
        self.skipping = false;
    }

    fn keep(&mut self, rest: &[u8]) {
        if self.skipping || self.partial.len() + rest.len() > self.limit {
            self.partial = Vec::new();
            self.skipping = true;
        } else {
            self.partial.extend_from_slice(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in chunks of `size` bytes; a line too long shows as `!`.
    fn cut(text: &[u8], size: usize, limit: usize) -> Vec<String> {
        let mut lines = Lines::new(limit);
        let mut out = Vec::new();
        let mut take = |cut: Cut<'_>, _| {
            out.push(match cut {
                Cut::Line(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Cut::TooLong => "!".to_owned(),
            });
        };
        for chunk in text.chunks(size) {
            lines.feed(chunk, &mut take);
        }
        lines.finish(&mut take);
        out
    }

    #[test]
    fn the_chunking_never_shows_in_the_lines() {
        let text = b"one\n\nthree\nabcdefgh\nfive";
        for size in 1..=text.len() {
            assert_eq!(cut(text, size, 5), ["one", "", "three", "!", "five"], "chunks of {size}");
        }
    }

    #[test]
    fn every_line_knows_where_it_ends_in_the_stream() {
        let text = b"one\n\nfar too long\nlast";
        for size in 1..=text.len() {
            let (mut lines, mut ends) = (Lines::new(5), Vec::new());
            for chunk in text.chunks(size) {
                lines.feed(chunk, |_, end| ends.push(end));
            }
            lines.finish(|_, end| ends.push(end));
            assert_eq!(ends, [4, 5, 18, 22], "chunks of {size}");
        }
    }

    #[test]
    fn a_final_line_feed_does_not_make_a_line() {
        assert_eq!(cut(b"a\nb\n", 3, 9), ["a", "b"]);
        assert_eq!(cut(b"\n", 3, 9), [""]);
        assert!(cut(b"", 3, 9).is_empty());
    }

    #[test]
    fn a_line_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
        assert_eq!(cut(b"12345\n123456\n123456", 2, 5), ["12345", "!", "!"]);
    }
}
