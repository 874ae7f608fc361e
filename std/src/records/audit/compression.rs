//! Compressing a file that was rotated away, a piece at a time.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use zstd::stream::write::Encoder;

use crate::platform::storage::{AppendFile, Storage};
use crate::records::audit::segments::Names;

/// How much is compressed at once: under a millisecond's work, so that lines need not wait long.
const PIECE: usize = 256 * 1024;

/// The fastest of the levels that are worth it: about a gigabyte a second, to a ninth of the size.
const LEVEL: i32 = 1;

/// A file that is being compressed.
pub(crate) struct Compression {
    source: Box<dyn Read + Send>,
    encoder: Encoder<'static, Sink>,
    piece: Vec<u8>,
    original: PathBuf,
    begun: PathBuf,
    compressed: PathBuf,
}

impl std::fmt::Debug for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compression").field("original", &self.original).finish_non_exhaustive()
    }
}

/// Where the compressed bytes go.
struct Sink(Box<dyn AppendFile>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Compression {
    /// Begins with the rotated file of this number.
    pub(crate) fn begin(storage: &dyn Storage, names: &Names, number: u32) -> io::Result<Self> {
        let (original, begun) = (names.rotated(number), names.begun(number));
        storage.remove(&begun)?;
        let source = storage.open_read(&original)?;
        let (file, _) = storage.open_append(&begun)?;
        let encoder = Encoder::new(Sink(file), LEVEL)?;
        let compressed = names.compressed(number);
        Ok(Self { source, encoder, piece: vec![0; PIECE], original, begun, compressed })
    }

    /// Compresses a piece; says whether it was the last.
    pub(crate) fn step(&mut self) -> io::Result<bool> {
        let count = self.source.read(&mut self.piece)?;
        self.encoder.write_all(self.piece.get(..count).unwrap_or_default())?;
        Ok(count == 0)
    }

    /// Puts the compressed file in the place of the other, once it is on stable storage.
    pub(crate) fn finish(self, storage: &dyn Storage) -> io::Result<()> {
        let written = self.encoder.finish().and_then(|mut sink| sink.0.sync());
        if let Err(error) = written.and_then(|()| storage.rename(&self.begun, &self.compressed)) {
            // If that cannot be removed, the next start does it.
            let _ = storage.remove(&self.begun);
            return Err(error);
        }
        storage.remove(&self.original)
    }

    /// Leaves the other file as it is.
    pub(crate) fn give_up(self, storage: &dyn Storage) {
        // If that cannot be removed, the next start does it.
        let _ = storage.remove(&self.begun);
    }
}
