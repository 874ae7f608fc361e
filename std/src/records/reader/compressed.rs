//! Compressed files: forwards as they are decoded, and backwards in windows.
//!
//! A compressed file can only be decoded forwards, from the beginning of one of its frames. To read it backwards, it is
//! decoded once to learn where its frames begin and how long it is; then it is read in windows, the last one first, and
//! each is decoded from the beginning of the frame that it lies in. With frames no longer than a window that is twice the
//! work of reading forwards. A frame of `n` windows costs about `n / 2` times its own decoding beyond that.

use std::fmt;
use std::io::{self, Read};

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use crate::platform::log_file::LogFile;
use crate::records::reader::backward::Blocks;

/// How much is read from the file at once.
const BLOCK: usize = 64 << 10;

/// The most beginnings of frames that are remembered.
const MARKS: usize = 4_096;

/// A window has a sixteenth of the file, between these.
const SMALLEST_WINDOW: u64 = 4 << 20;
const LARGEST_WINDOW: u64 = 32 << 20;

/// The content of a compressed file.
pub(crate) struct Decoded {
    file: LogFile,
    decoder: Decoder<'static>,
    input: Vec<u8>,
    /// `input[start..end]` was read and not yet decoded.
    start: usize,
    end: usize,
    /// How many bytes of the file were decoded, and how many they became.
    packed: u64,
    plain: u64,
    /// Whether all that was decoded are whole frames.
    between_frames: bool,
}

impl Decoded {
    /// The content of a file from its beginning on.
    pub(crate) fn new(mut file: LogFile) -> io::Result<Self> {
        file.go_to(0);
        Ok(Self {
            file,
            decoder: Decoder::new()?,
            input: vec![0; BLOCK],
            start: 0,
            end: 0,
            packed: 0,
            plain: 0,
            between_frames: true,
        })
    }

    /// Goes on at the beginning of a frame.
    fn go_to(&mut self, mark: Mark) -> io::Result<()> {
        self.decoder.reinit()?;
        self.file.go_to(mark.packed);
        (self.start, self.end, self.packed, self.plain, self.between_frames) = (0, 0, mark.packed, mark.plain, true);
        Ok(())
    }

    fn fill(&mut self) -> io::Result<usize> {
        loop {
            match self.file.read(&mut self.input) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
                Ok(count) => {
                    (self.start, self.end) = (0, count);
                    return Ok(count);
                }
            }
        }
    }
}

impl Read for Decoded {
    /// Gives at least one byte unless the file is at its end; never bytes of two frames at once.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let at_end = self.start == self.end && self.fill()? == 0;
            if at_end && self.between_frames {
                return Ok(0);
            }
            let mut input = InBuffer::around(self.input.get(self.start..self.end).unwrap_or_default());
            let mut output = OutBuffer::around(&mut *buffer);
            let hint = self.decoder.run(&mut input, &mut output).map_err(damaged)?;
            let (taken, given) = (input.pos(), output.pos());
            self.start += taken;
            self.packed += taken as u64;
            self.plain += given as u64;
            self.between_frames = hint == 0;
            if given > 0 {
                return Ok(given);
            }
            if at_end && !self.between_frames {
                return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl fmt::Debug for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoded").field("packed", &self.packed).field("plain", &self.plain).finish_non_exhaustive()
    }
}

fn damaged(error: io::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the compressed file is damaged: {error}"))
}

/// Where a frame begins: in the file, and in its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    packed: u64,
    plain: u64,
}

/// The content of a compressed file, for reading backwards.
#[derive(Debug)]
pub(crate) struct Windows {
    content: Decoded,
    marks: Vec<Mark>,
    length: u64,
    window: u64,
}

impl Windows {
    /// Decodes the whole file to learn where its frames begin. If it is damaged, what stands before the damage is all
    /// there is, and the second value says so.
    pub(crate) fn new(file: LogFile) -> io::Result<(Self, Option<io::Error>)> {
        let mut content = Decoded::new(file)?;
        let (mut marks, mut spacing) = (vec![Mark { packed: 0, plain: 0 }], SMALLEST_WINDOW / 8);
        let mut scratch = vec![0; BLOCK * 2];
        let damage = loop {
            match content.read(&mut scratch) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => break Some(error),
                Err(error) => return Err(error),
            }
            let here = Mark { packed: content.packed, plain: content.plain };
            let last = marks.last().map_or(0, |mark| mark.plain);
            if content.between_frames && here.plain - last >= spacing {
                marks.push(here);
            }
            if marks.len() > MARKS {
                spacing *= 2;
                let mut keep = false;
                marks.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
        };
        let length = content.plain;
        let window = (length / 16).clamp(SMALLEST_WINDOW, LARGEST_WINDOW);
        Ok((Self { content, marks, length, window }, damage))
    }
}

impl Blocks for Windows {
    fn length(&self) -> u64 {
        self.length
    }

    fn before(&mut self, end: u64, block: &mut Vec<u8>) -> io::Result<()> {
        let known = self.marks.partition_point(|mark| mark.plain < end);
        let mark = self.marks.get(known.saturating_sub(1)).copied().unwrap_or(Mark { packed: 0, plain: 0 });
        let start = mark.plain + (end - 1 - mark.plain) / self.window * self.window;
        block.clear();
        self.content.go_to(mark)?;
        io::copy(&mut self.content.by_ref().take(start - mark.plain), &mut io::sink())?;
        self.content.by_ref().take(end - start).read_to_end(block)?;
        if block.len() as u64 == end - start {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the compressed file changed while it was read"))
        }
    }
}
