//! Lines of bounded length from any reader.

use std::io::{self, BufRead};

/// The longest line that is kept, in bytes without its end.
pub(crate) const MAX_LINE: usize = 16 << 20;

/// What [`read`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// The buffer holds the line without its end (`\n` or `\r\n`).
    Whole,
    /// The line is longer than the limit. It was read to its end, and the buffer holds its beginning.
    TooLong,
    /// The input is at its end.
    End,
}

/// Reads the next line into `line`, whose old content goes.
///
/// # Errors
///
/// Whatever the reader reports, except interruptions, which are tried again.
///
/// # Cost
///
/// Time in proportion to the line; memory at most `limit` bytes beyond the reader's own.
pub(crate) fn read(input: &mut dyn BufRead, line: &mut Vec<u8>, limit: usize) -> io::Result<Line> {
    line.clear();
    let (mut taken, mut too_long) = (0_usize, false);
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        if chunk.is_empty() && taken == 0 {
            return Ok(Line::End);
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        // One byte more than the limit, for the `\r` that may not belong to the line.
        let room = (limit + 1).saturating_sub(line.len());
        line.extend_from_slice(&part[..part.len().min(room)]);
        too_long |= part.len() > room;
        let (used, at_end) = (part.len() + usize::from(end.is_some()), end.is_some() || chunk.is_empty());
        input.consume(used);
        taken += used;
        if at_end {
            break;
        }
    }
    if !too_long && line.last() == Some(&b'\r') {
        line.pop();
    }
    too_long |= line.len() > limit;
    line.truncate(limit);
    Ok(if too_long { Line::TooLong } else { Line::Whole })
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// All lines of `text`, read through a buffer of `buffer` bytes.
    fn lines(text: &str, buffer: usize, limit: usize) -> Vec<(Line, String)> {
        let (mut input, mut line, mut all) =
            (BufReader::with_capacity(buffer, text.as_bytes()), Vec::new(), Vec::new());
        loop {
            match read(&mut input, &mut line, limit).expect("reading from memory") {
                Line::End => return all,
                found => all.push((found, String::from_utf8_lossy(&line).into_owned())),
            }
        }
    }

    #[test]
    fn lines_are_the_same_whatever_the_buffer() {
        let text = "one\n\r\ntwo\r\n\nlast one";
        let expected = ["one", "", "two", "", "last one"].map(|line| (Line::Whole, line.to_string()));
        for buffer in 1..=text.len() + 1 {
            assert_eq!(lines(text, buffer, 100), expected, "buffer of {buffer}");
        }
        assert_eq!(lines("", 4, 100), []);
    }

    #[test]
    fn a_line_over_the_limit_is_cut_and_the_next_one_is_whole() {
        for buffer in 1..=12 {
            let found = lines("12345\r\n123456\n12\n", buffer, 5);
            let whole = |line: &str| (Line::Whole, line.to_string());
            assert_eq!(found, [whole("12345"), (Line::TooLong, "12345".into()), whole("12")], "buffer of {buffer}");
        }
    }
}
