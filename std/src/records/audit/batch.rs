//! Lines that are ready to be written.

/// Lines that are ready to be written, in the order in which they are.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) text: Vec<u8>,
    /// Where each line ends, its line end included.
    ends: Vec<usize>,
    /// How many of the lines were taken.
    taken: usize,
}

impl Batch {
    /// Says that a line was appended to the text.
    #[inline]
    pub(crate) fn end_line(&mut self) {
        self.ends.push(self.text.len());
    }

    /// How many lines are left.
    pub(crate) fn lines(&self) -> usize {
        self.ends.len() - self.taken
    }

    /// Where the lines that are left begin.
    fn start(&self) -> usize {
        self.taken.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0)
    }

    /// The next line.
    pub(crate) fn first(&self) -> Option<&[u8]> {
        self.text.get(self.start()..*self.ends.get(self.taken)?)
    }

    /// Takes the next line.
    #[cfg(feature = "blake3")]
    pub(crate) fn take_first(&mut self) {
        self.taken = (self.taken + 1).min(self.ends.len());
    }

    /// Takes as many lines as have this many bytes together, and how many they are.
    pub(crate) fn take(&mut self, bytes: u64) -> (&[u8], usize) {
        let start = self.start();
        let room = usize::try_from(bytes).unwrap_or(usize::MAX);
        let fits = |end: &usize| end.saturating_sub(start) <= room;
        let last = self.ends.len();
        let all = self.ends.last().is_some_and(fits);
        let upto = if all { last } else { self.ends.partition_point(fits) };
        let lines = upto.saturating_sub(self.taken);
        let end = upto.checked_sub(1).and_then(|line| self.ends.get(line)).copied().unwrap_or(start);
        self.taken = self.taken.max(upto);
        (self.text.get(start..end).unwrap_or_default(), lines)
    }

    /// Empties it; its memory stays, unless a line was uncommonly long.
    pub(crate) fn clear(&mut self) {
        const KEPT: usize = 256 * 1024;
        self.text.clear();
        self.text.shrink_to(KEPT);
        self.ends.clear();
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(lines: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for line in lines {
            batch.text.extend_from_slice(line.as_bytes());
            batch.end_line();
        }
        batch
    }

    #[test]
    fn whole_lines_are_taken_as_far_as_they_fit() {
        let mut batch = batch(&["one\n", "three\n", "x\n"]);
        assert_eq!((batch.lines(), batch.first()), (3, Some(&b"one\n"[..])));
        assert_eq!(batch.take(3), (&b""[..], 0));
        assert_eq!(batch.take(9), (&b"one\n"[..], 1));
        assert_eq!(batch.first(), Some(&b"three\n"[..]));
        assert_eq!(batch.take(u64::MAX), (&b"three\nx\n"[..], 2));
        assert_eq!((batch.lines(), batch.first()), (0, None));
        assert_eq!(batch.take(10), (&b""[..], 0));
        batch.clear();
        assert_eq!((batch.lines(), batch.take(10)), (0, (&b""[..], 0)));
    }
}
