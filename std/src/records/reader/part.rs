//! The files of a log set, opened at one moment.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::platform::log_file::{FileId, LogFile, id_at};
use crate::platform::storage::Disk;
use crate::platform::threads;
use crate::records::audit::segments::Names;
use crate::records::reader::ReadError;
use crate::records::reader::backward::{Backward, Blocks};
#[cfg(feature = "compress")]
use crate::records::reader::compressed::{Decoded, Windows};
use crate::records::reader::forward::Forward;

/// How often a set that changes while its files are opened is looked at anew. A rotation takes as long as a look; only a log
/// that is rotated for every line or two keeps anybody at it.
const LOOKS: u32 = 10_000;

/// One file of the set.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) path: Arc<Path>,
    pub(crate) file: LogFile,
    pub(crate) compressed: bool,
    /// Whether the log is still written to this file.
    pub(crate) active: bool,
}

/// A file by name, before it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    path: PathBuf,
    compressed: bool,
    active: bool,
}

/// The files of the log at this path, the newest first. They are opened at one moment: a rotation that goes on meanwhile
/// neither hides a line nor shows one twice.
pub(crate) fn snapshot(path: &Path) -> Result<Vec<Part>, ReadError> {
    let mut looks = 0;
    loop {
        let named = list(path)?;
        let mut parts: Vec<Part> = Vec::with_capacity(named.len());
        for named in &named {
            match open(named) {
                // It was renamed after it was listed, and is met again under its next name, or already was.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(ReadError::Unreadable { path: named.path.clone(), error }),
                Ok(part) if parts.iter().any(|known| known.file.id() == part.file.id()) => {}
                Ok(part) => parts.push(part),
            }
        }
        if is_as_opened(path, &named, &parts)? {
            return if parts.is_empty() { Err(ReadError::NotThere { path: path.to_owned() }) } else { Ok(parts) };
        }
        looks += 1;
        if looks == LOOKS {
            // Better none than some with a file missing that nobody would know of.
            let error =
                io::Error::new(io::ErrorKind::ResourceBusy, "it is rotated faster than its files can be opened");
            return Err(ReadError::Unreadable { path: path.to_owned(), error });
        }
        threads::yield_now();
    }
}

/// The names of the files that are there, the newest first.
fn list(path: &Path) -> Result<Vec<Named>, ReadError> {
    let active = Named { path: path.to_owned(), compressed: false, active: true };
    if path.extension().is_some_and(|extension| extension == "zst") {
        return Ok(vec![Named { compressed: true, active: false, ..active }]);
    }
    let found = Names::of(path).list(&Disk);
    let listing = found.map_err(|error| ReadError::Unreadable { path: path.to_owned(), error })?;
    let rotated = listing.segments.into_iter();
    let rotated = rotated.map(|found| Named { path: found.path, compressed: found.compressed, active: false });
    Ok(std::iter::once(active).chain(rotated).collect())
}

fn open(named: &Named) -> io::Result<Part> {
    if named.compressed && cfg!(not(feature = "compress")) {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "it is compressed, and the feature `compress` is off"));
    }
    let file = LogFile::open(&named.path)?;
    Ok(Part { path: named.path.as_path().into(), file, compressed: named.compressed, active: named.active })
}

/// Whether the names still lead to the files that were opened.
fn is_as_opened(path: &Path, named: &[Named], parts: &[Part]) -> Result<bool, ReadError> {
    let id_of = |named: &Named| parts.iter().find(|part| *part.path == *named.path).map(|part| part.file.id());
    let same = |named: &Named| -> Option<FileId> { id_at(&named.path).ok() };
    Ok(list(path)? == named && named.iter().all(|named| same(named) == id_of(named)))
}

/// The bytes of a file, decoded if need be.
#[derive(Debug)]
pub(crate) enum Content {
    Plain(LogFile),
    #[cfg(feature = "compress")]
    Compressed(Box<Decoded>),
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            #[cfg(feature = "compress")]
            Self::Compressed(content) => content.read(buffer),
        }
    }
}

/// The same, in blocks from the end on.
#[derive(Debug)]
pub(crate) enum Tail {
    Plain(LogFile),
    #[cfg(feature = "compress")]
    Compressed(Box<Windows>),
}

impl Blocks for Tail {
    fn length(&self) -> u64 {
        match self {
            Self::Plain(file) => file.length(),
            #[cfg(feature = "compress")]
            Self::Compressed(windows) => windows.length(),
        }
    }

    fn before(&mut self, end: u64, block: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.before(end, block),
            #[cfg(feature = "compress")]
            Self::Compressed(windows) => windows.before(end, block),
        }
    }
}

impl Part {
    /// The same file once more, to be read from its beginning.
    pub(crate) fn again(&self) -> io::Result<Self> {
        let Self { path, file, compressed, active } = self;
        Ok(Self { path: Arc::clone(path), file: file.again()?, compressed: *compressed, active: *active })
    }

    /// What the file holds, from its beginning on.
    pub(crate) fn content(self) -> io::Result<Content> {
        let mut file = self.file;
        file.go_to(0);
        #[cfg(feature = "compress")]
        if self.compressed {
            return Ok(Content::Compressed(Box::new(Decoded::new(file)?)));
        }
        Ok(Content::Plain(file))
    }

    /// Its lines, the first one first.
    pub(crate) fn forward(self, longest: usize) -> io::Result<Forward<Content>> {
        Ok(Forward::new(self.content()?, 0, 1, longest))
    }

    /// Its lines, the last one first, and what is wrong with a compressed file whose end cannot be read.
    pub(crate) fn backward(self, longest: usize) -> io::Result<(Backward<Tail>, Option<io::Error>)> {
        #[cfg(feature = "compress")]
        if self.compressed {
            let (windows, damage) = Windows::new(self.file)?;
            return Ok((Backward::new(Tail::Compressed(Box::new(windows)), longest), damage));
        }
        Ok((Backward::new(Tail::Plain(self.file), longest), None))
    }
}
