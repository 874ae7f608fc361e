//! A disk in memory, for tests: it tears writes at any byte, fills up, fails after so many operations, fails to sync,
//! hangs, and forgets at a power loss what was not synced.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, Cursor};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use super::{AppendFile, Standing, Storage};

const GUARD: Duration = Duration::from_secs(30);

/// A disk in memory. Clones are the same disk. At first it has all the room there is, and nothing fails.
///
/// Names (what is made, renamed and removed) are on it for good at once; bytes are when they are synced.
#[derive(Debug, Clone)]
pub(crate) struct SimulatedDisk(Arc<(Mutex<Contents>, Condvar)>);

#[derive(Debug)]
pub(crate) struct Contents {
    files: BTreeMap<PathBuf, FileId>,
    /// All files that were ever there, those without a name included.
    bytes: Vec<Bytes>,
    /// How many bytes it takes yet.
    pub(crate) room: usize,
    /// How many bytes a single write takes at most.
    pub(crate) gulp: usize,
    /// How many operations that change something succeed yet: then the machine is as good as dead.
    pub(crate) operations: usize,
    /// How many bytes are written yet before that happens, in the middle of a write if need be.
    pub(crate) bytes_left: usize,
    pub(crate) refuses_syncs: bool,
    pub(crate) refuses_renames: bool,
    pub(crate) refuses_opening: bool,
    pub(crate) hangs: bool,
    hanging: bool,
    /// What was asked of it: operations that change something, and syncs that succeeded.
    pub(crate) asked: usize,
    pub(crate) syncs: usize,
}

type FileId = usize;

#[derive(Debug, Default, Clone)]
struct Bytes {
    all: Vec<u8>,
    synced: usize,
    /// After a failed sync, what is missing is never written by another: only what comes later is.
    lost: bool,
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    path: PathBuf,
    id: FileId,
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        let contents = Contents {
            files: BTreeMap::new(),
            bytes: Vec::new(),
            room: usize::MAX,
            gulp: usize::MAX,
            operations: usize::MAX,
            bytes_left: usize::MAX,
            refuses_syncs: false,
            refuses_renames: false,
            refuses_opening: false,
            hangs: false,
            hanging: false,
            asked: 0,
            syncs: 0,
        };
        Self(Arc::new((Mutex::new(contents), Condvar::new())))
    }
}

impl SimulatedDisk {
    pub(crate) fn with_room(bytes: usize) -> Self {
        let disk = Self::default();
        disk.change(|contents| contents.room = bytes);
        disk
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.0.lock().unwrap()
    }

    /// Changes what the disk does from now on.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Contents)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    /// What a look at the disk gives.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Contents) -> T) -> T {
        look(&self.lock())
    }

    /// Puts a file there, synced.
    pub(crate) fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let mut contents = self.lock();
        let id = contents.make(Path::new(path));
        let all = text.as_ref().to_vec();
        contents.bytes[id] = Bytes { synced: all.len(), all, lost: false };
    }

    /// What is in a file; nothing if it is not there.
    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8(self.bytes(path)).unwrap()
    }

    pub(crate) fn bytes(&self, path: &str) -> Vec<u8> {
        let contents = self.lock();
        contents.files.get(Path::new(path)).map(|id| contents.bytes[*id].all.clone()).unwrap_or_default()
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().files.keys().map(|path| path.display().to_string()).collect()
    }

    /// Takes a file away from whoever writes to it.
    pub(crate) fn take_away(&self, path: &str) {
        self.lock().files.remove(Path::new(path)).unwrap();
    }

    /// A disk with what is on this one now, on which nothing fails.
    pub(crate) fn copy(&self) -> Self {
        let (copy, own) = (Self::default(), self.lock());
        copy.change(|contents| (contents.files, contents.bytes) = (own.files.clone(), own.bytes.clone()));
        copy
    }

    /// A disk with what is left of this one when the power fails now.
    pub(crate) fn after_power_loss(&self) -> Self {
        let copy = self.copy();
        copy.change(|contents| contents.bytes.iter_mut().for_each(|bytes| bytes.all.truncate(bytes.synced)));
        copy
    }

    pub(crate) fn wait_until_it_hangs(&self) {
        let (contents, changed) = &*self.0;
        let seen = changed.wait_timeout_while(contents.lock().unwrap(), GUARD, |contents| !contents.hanging).unwrap();
        assert!(!seen.1.timed_out());
    }
}

impl Contents {
    fn make(&mut self, path: &Path) -> FileId {
        let fresh = self.bytes.len();
        let id = *self.files.entry(path.to_owned()).or_insert(fresh);
        if id == fresh {
            self.bytes.push(Bytes::default());
        }
        id
    }

    /// Whether one more operation succeeds.
    fn operate(&mut self) -> io::Result<()> {
        self.asked += 1;
        if self.operations == 0 || self.bytes_left == 0 {
            return Err(io::Error::other("the machine has failed"));
        }
        self.operations -= 1;
        Ok(())
    }

    fn id(&self, path: &Path) -> io::Result<FileId> {
        self.files.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn replacement(path: &Path) -> PathBuf {
    let mut begun = OsString::from(path);
    begun.push(".new");
    begun.into()
}

impl Storage for SimulatedDisk {
    fn open_append(&self, path: &Path) -> io::Result<(Box<dyn AppendFile>, bool)> {
        let mut contents = self.lock();
        if contents.refuses_opening {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        if !contents.files.contains_key(path) {
            contents.operate()?;
        }
        let id = contents.make(path);
        let torn = contents.bytes[id].all.last().is_some_and(|last| *last != b'\n');
        Ok((Box::new(SimulatedFile { disk: self.clone(), path: path.to_owned(), id }), torn))
    }

    fn open_read(&self, path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
        let contents = self.lock();
        let all = contents.id(path).map(|id| contents.bytes[id].all.clone()).unwrap_or_default();
        Ok(Box::new(Cursor::new(all)))
    }

    fn begin_replacing(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        let begun = replacement(path);
        self.lock().files.remove(&begun);
        Ok(self.open_append(&begun)?.0)
    }

    fn finish_replacing(&self, path: &Path) -> io::Result<()> {
        self.rename(&replacement(path), path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let folder = if folder == Path::new(".") { Path::new("") } else { folder };
        let contents = self.lock();
        let inside = contents.files.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| path.file_name().map(OsString::from)).collect())
    }

    fn size(&self, path: &Path) -> io::Result<Option<u64>> {
        let contents = self.lock();
        Ok(contents.files.get(path).map(|id| contents.bytes[*id].all.len() as u64))
    }

    fn read_at(&self, path: &Path, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let contents = self.lock();
        let all = &contents.bytes[contents.id(path)?].all;
        let found = all.get(offset as usize..).unwrap_or_default();
        let count = found.len().min(into.len());
        into[..count].copy_from_slice(&found[..count]);
        Ok(count)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut contents = self.lock();
        if contents.refuses_renames {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let id = contents.id(from)?;
        contents.operate()?;
        contents.files.remove(from);
        contents.files.insert(to.to_owned(), id);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut contents = self.lock();
        if contents.files.contains_key(path) {
            contents.operate()?;
            contents.files.remove(path);
        }
        Ok(())
    }
}

impl AppendFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (contents, changed) = &*self.disk.0;
        let mut contents = contents.lock().unwrap();
        while contents.hangs {
            contents.hanging = true;
            changed.notify_all();
            contents = changed.wait(contents).unwrap();
        }
        contents.operate()?;
        let taken = bytes.len().min(contents.room).min(contents.gulp).min(contents.bytes_left);
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let left = |left: usize| if left == usize::MAX { left } else { left - taken };
        (contents.room, contents.bytes_left) = (left(contents.room), left(contents.bytes_left));
        contents.bytes[self.id].all.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut contents = self.disk.lock();
        contents.operate()?;
        if contents.refuses_syncs {
            contents.bytes[self.id].lost = true;
            return Err(io::Error::other("the disk failed to sync"));
        }
        contents.syncs += 1;
        let bytes = &mut contents.bytes[self.id];
        // The system has forgotten that there was something to be written: another sync says yes, and writes nothing.
        if !bytes.lost {
            bytes.synced = bytes.all.len();
        }
        Ok(())
    }

    fn standing(&mut self) -> Standing {
        let contents = self.disk.lock();
        match contents.files.get(&self.path) {
            Some(id) if *id == self.id => Standing::InPlace,
            _ if contents.files.values().any(|id| *id == self.id) => Standing::Moved,
            _ => Standing::Gone,
        }
    }
}
