//! Files: where records are appended, read back, written anew, and moved aside.

#[cfg(test)]
pub(crate) mod simulated;

use std::ffi::OsString;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A file that records are appended to.
pub(crate) trait AppendFile: fmt::Debug + Send {
    /// Appends bytes and says how many the file took, which may be fewer than given.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Asks the system to bring what was appended to stable storage.
    fn sync(&mut self) -> io::Result<()>;

    /// Keeps others from appending to the file that claim it as well, until this is dropped: all others if it wants to be
    /// `alone`, else those that do. `false` if somebody was faster. Where files cannot be claimed, nobody is kept away.
    fn claim(&self, _alone: bool) -> bool {
        true
    }

    /// Whether whoever opens the file's path finds this file.
    fn standing(&mut self) -> Standing {
        Standing::InPlace
    }
}

/// Where a file is that was opened under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Under that path.
    InPlace,
    /// Under another name: what is in it can be read.
    Moved,
    /// Nowhere: what is in it is lost.
    Gone,
}

/// A place where files are.
pub(crate) trait Storage: fmt::Debug + Send + Sync {
    /// Opens a file for appending, with the folders above it, and says whether its last line was cut off.
    fn open_append(&self, path: &Path) -> io::Result<(Box<dyn AppendFile>, bool)>;

    /// Opens a file for reading from its beginning; one that is not there is empty.
    fn open_read(&self, _path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Begins the file that is to take the place of another. That one stays as it is until
    /// [`finish_replacing`](Self::finish_replacing).
    fn begin_replacing(&self, _path: &Path) -> io::Result<Box<dyn AppendFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Puts the file that was begun in the place of the other: whoever opens it sees all of the one or all of the
    /// other. What was begun can be appended to further.
    fn finish_replacing(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The names of what is in a folder, in no particular order.
    fn list(&self, _folder: &Path) -> io::Result<Vec<OsString>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The size of a regular file; `None` for one that is not there, and for a device or a pipe.
    fn size(&self, _path: &Path) -> io::Result<Option<u64>> {
        Ok(None)
    }

    /// Reads from this offset on until the buffer is full or the file ends, and says how many bytes that were.
    fn read_at(&self, _path: &Path, _offset: u64, _into: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives a file another name, in the place of whatever had it: at no moment is there neither.
    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes a file. One that is not there is removed already.
    fn remove(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Brings the names in a folder to stable storage, where the system can.
    fn sync_folder(&self, _folder: &Path) {}
}

/// Appends until all is taken or the file refuses; says how many bytes it took.
pub(crate) fn append_all(file: &mut dyn AppendFile, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut taken = 0;
    while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
        match file.append(rest) {
            Ok(0) => return (taken, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => taken += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (taken, Err(error)),
        }
    }
    (taken, Ok(()))
}

/// The file system of this machine.
#[derive(Debug)]
pub(crate) struct Disk;

#[derive(Debug)]
struct DiskFile {
    file: File,
    path: PathBuf,
    /// A device or a pipe is where it is.
    regular: bool,
}

impl DiskFile {
    fn new(file: File, path: &Path) -> Self {
        let regular = file.metadata().is_ok_and(|found| found.is_file());
        Self { file, path: path.to_owned(), regular }
    }
}

impl Storage for Disk {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn open_append(&self, path: &Path) -> io::Result<(Box<dyn AppendFile>, bool)> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| {
                let what = if folder.exists() { "is not a folder" } else { "cannot be made" };
                io::Error::new(error.kind(), format!("the folder {folder:?} {what}: {error}"))
            })?;
        }
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok((Box::new(DiskFile::new(file, path)), is_torn(path)))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn open_read(&self, path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Box::new(io::empty())),
            // Opening a pipe would wait for somebody to write to it.
            Ok(found) if !found.is_file() => {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
            }
            _ => {}
        }
        Ok(Box::new(BufReader::new(File::open(path)?)))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn begin_replacing(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let (target, begun) = replacement(path);
        // What a killed process may have left there has rights of its own.
        match std::fs::remove_file(&begun) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().append(true).create_new(true).open(&begun)?;
        // Whoever may not read the old file may not read the new one.
        if let Ok(found) = std::fs::metadata(target) {
            file.set_permissions(found.permissions())?;
        }
        Ok(Box::new(DiskFile::new(file, &begun)))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn finish_replacing(&self, path: &Path) -> io::Result<()> {
        let (target, begun) = replacement(path);
        std::fs::rename(begun, &target)?;
        // The new name is in the folder.
        self.sync_folder(target.parent().unwrap_or(Path::new("")));
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        match std::fs::metadata(path) {
            Ok(found) => Ok(found.is_file().then_some(found.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn read_at(&self, path: &Path, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut read = 0;
        while let Some(rest) = into.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match file.read(rest) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn sync_folder(&self, folder: &Path) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        // Where folders cannot be synced, the system decides when their names are on disk.
        if let Ok(folder) = File::open(folder) {
            let _ = folder.sync_all();
        }
    }
}

/// The file itself, behind whatever links lead to it, and the one beside it that is to take its place.
fn replacement(path: &Path) -> (PathBuf, PathBuf) {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut begun = OsString::from(&target);
    begun.push(".new");
    (target, begun.into())
}

impl AppendFile for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// By an advisory lock. Where locks are not advisory, they would keep readers away.
    #[cfg(unix)]
    fn claim(&self, alone: bool) -> bool {
        use std::fs::TryLockError;

        let claimed = if alone { self.file.try_lock() } else { self.file.try_lock_shared() };
        !(self.regular && matches!(claimed, Err(TryLockError::WouldBlock)))
    }

    #[cfg(unix)]
    fn standing(&mut self) -> Standing {
        use std::os::unix::fs::MetadataExt as _;

        let Some(own) = self.regular.then(|| self.file.metadata().ok()).flatten() else { return Standing::InPlace };
        let identity = |found: &std::fs::Metadata| (found.dev(), found.ino());
        match std::fs::metadata(&self.path) {
            Ok(found) if identity(&found) == identity(&own) => Standing::InPlace,
            _ if own.nlink() == 0 => Standing::Gone,
            _ => Standing::Moved,
        }
    }

    /// Here a file that is open keeps its name, or another has it.
    #[cfg(not(unix))]
    fn standing(&mut self) -> Standing {
        if self.regular && !self.path.exists() { Standing::Moved } else { Standing::InPlace }
    }
}

/// Whether the file's last byte is not a line end. What cannot be read (a device, a pipe) is taken as whole.
#[allow(clippy::disallowed_methods, reason = "this is the door")]
fn is_torn(path: &Path) -> bool {
    let mut last = [0; 1];
    let whole = path.is_file()
        && File::open(path)
            .and_then(|mut file| {
                file.seek(SeekFrom::End(-1))?;
                file.read_exact(&mut last)
            })
            .is_ok();
    whole && last != *b"\n"
}
