//! Files: where records are appended.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A file that records are appended to.
pub(crate) trait AppendFile: fmt::Debug + Send {
    /// Appends bytes and says how many the file took, which may be fewer than given.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Asks the system to bring what was appended to stable storage.
    fn sync(&mut self) -> io::Result<()>;
}

/// A place where files are.
pub(crate) trait Storage: fmt::Debug + Send + Sync {
    /// Opens a file for appending, with the folders above it, and says whether its last line was cut off.
    fn open_append(&self, path: &Path) -> io::Result<(Box<dyn AppendFile>, bool)>;
}

/// The file system of this machine.
#[derive(Debug)]
pub(crate) struct Disk;

#[derive(Debug)]
struct DiskFile(File);

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
        Ok((Box::new(DiskFile(file)), is_torn(path)))
    }
}

impl AppendFile for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
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
