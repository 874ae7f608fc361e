//! Files that are read while others may write, rename and remove them: opened once, then known by what they are and not
//! by their name.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// Which file it is, whatever its name. Two files that are there at the same time have different ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    #[cfg(unix)]
    fn of(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(found.dev(), found.ino())
    }

    /// Where the system gives no stable number, the moment at which the file was made stands in.
    #[cfg(not(unix))]
    fn of(found: &Metadata) -> Self {
        Self(0, found.created().map_or(0, crate::platform::clock::unix_nanos))
    }
}

/// A file that is open for reading. It stays readable when it is renamed, and where the system allows it also when it is
/// removed.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
    id: FileId,
    at: u64,
    /// Nothing is read from here on.
    end: u64,
}

impl LogFile {
    /// Opens a regular file. What it grows by later is not read until [`watch`](Self::watch) says so.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Opening a pipe would wait for somebody to write to it.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let file = File::open(path)?;
        let found = file.metadata()?;
        Ok(Self { id: FileId::of(&found), end: found.len(), file, at: 0 })
    }

    /// Which file it is.
    pub(crate) fn id(&self) -> FileId {
        self.id
    }

    /// How many bytes it is read up to: what it had when it was opened.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// How many bytes it has now.
    pub(crate) fn grown_to(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// From now on the file is read as far as it goes, whatever is appended.
    pub(crate) fn watch(&mut self) {
        self.end = u64::MAX;
    }

    /// Goes to this byte, to read from there on.
    pub(crate) fn go_to(&mut self, at: u64) {
        self.at = at;
    }

    /// Another handle on the same file, at its beginning.
    pub(crate) fn again(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, id: self.id, at: 0, end: self.end })
    }

    /// Reads at a place of its own: handles made from one another share the system's.
    #[cfg(unix)]
    fn read_at(&self, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.file, buffer, self.at)
    }

    #[cfg(windows)]
    fn read_at(&self, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.file, buffer, self.at)
    }

    #[cfg(not(any(unix, windows)))]
    fn read_at(&self, buffer: &mut [u8]) -> io::Result<usize> {
        io::Seek::seek(&mut &self.file, io::SeekFrom::Start(self.at))?;
        (&self.file).read(buffer)
    }
}

impl Read for LogFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..room).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let count = self.read_at(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Which file has this path now.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn id_at(path: &Path) -> io::Result<FileId> {
    Ok(FileId::of(&std::fs::metadata(path)?))
}
