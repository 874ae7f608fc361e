//! The end of a file: its last whole line, what was torn off behind it, and where its chain stands.

use std::io;
use std::path::Path;

use crate::platform::storage::Storage;
use crate::records::audit::chain::{self, Digits};

/// How a line begins that ends a file.
pub(crate) const SEAL: &[u8] = br#"{"event_type":"system.audit_sealed","#;

/// How much is read at once.
const BLOCK: u64 = 64 * 1024;

/// What stands between the hash's key and the line's end; the most that has to be seen of a line to find its hash.
const HASH_BYTES: u64 = 80;

/// How a file ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) size: u64,
    /// Where the last whole line ends, its line end included; 0 if there is none. What is behind it was torn.
    pub(crate) whole: u64,
    /// Whether that line is a seal: then nothing more was to come.
    pub(crate) sealed: bool,
}

/// A fragment of a line at the end of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) hash: Option<String>,
}

impl Tail {
    /// Looks at a file; `None` if it is no regular one, or not there.
    pub(crate) fn of(storage: &dyn Storage, path: &Path) -> io::Result<Option<Self>> {
        let Some(size) = storage.size(path)? else { return Ok(None) };
        let whole = last_line_end(storage, path, size)?;
        let sealed = match whole.checked_sub(1) {
            None => false,
            Some(end) => {
                let mut start = [0; SEAL.len()];
                let from = last_line_end(storage, path, end)?;
                storage.read_at(path, from, &mut start)? == SEAL.len() && start == SEAL
            }
        };
        Ok(Some(Self { size, whole, sealed }))
    }

    /// What was torn off behind the last whole line.
    pub(crate) fn fragment(&self, storage: &dyn Storage, path: &Path) -> io::Result<Option<Fragment>> {
        if self.whole == self.size {
            return Ok(None);
        }
        let hash = digits_from(storage, path, self.whole)?;
        Ok(Some(Fragment { offset: self.whole, bytes: self.size - self.whole, hash }))
    }
}

/// The digits of all bytes from an offset on, where there is a hash to be had.
#[cfg(feature = "blake3")]
fn digits_from(storage: &dyn Storage, path: &Path, mut offset: u64) -> io::Result<Option<String>> {
    let (mut digest, mut block) = (chain::Digest::default(), vec![0; BLOCK as usize]);
    loop {
        let count = storage.read_at(path, offset, &mut block)?;
        if count == 0 {
            return Ok(std::str::from_utf8(&digest.digits()).ok().map(str::to_owned));
        }
        digest.update(block.get(..count).unwrap_or_default());
        offset += count as u64;
    }
}

#[cfg(not(feature = "blake3"))]
fn digits_from(_: &dyn Storage, _: &Path, _: u64) -> io::Result<Option<String>> {
    Ok(None)
}

/// Where the last line end before an offset ends; 0 if there is none.
fn last_line_end(storage: &dyn Storage, path: &Path, before: u64) -> io::Result<u64> {
    let (mut end, mut block) = (before, vec![0; BLOCK.min(before) as usize]);
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let part = block.get_mut(..(end - start) as usize).unwrap_or_default();
        let count = storage.read_at(path, start, part)?;
        let found = part.get(..count).unwrap_or_default().iter().rposition(|byte| *byte == b'\n');
        if let Some(at) = found {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The hash of the last line that has one; lines without are what was torn, or older than the chain.
pub(crate) fn last_hash(storage: &dyn Storage, path: &Path, whole: u64) -> io::Result<Option<Digits>> {
    let mut end = whole;
    while end > 0 {
        let mut line_end = [0; HASH_BYTES as usize];
        let from = end.saturating_sub(HASH_BYTES);
        let part = line_end.get_mut(..(end - from) as usize).unwrap_or_default();
        let count = storage.read_at(path, from, part)?;
        if let Some((_, digits)) = part.get(..count).and_then(chain::split) {
            return Ok(Some(*digits));
        }
        end = last_line_end(storage, path, end - 1)?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::storage::simulated::SimulatedDisk;

    fn tail(text: &str) -> (u64, bool, Option<(u64, u64)>) {
        let disk = SimulatedDisk::default();
        disk.put("log", text);
        let path = Path::new("log");
        let tail = Tail::of(&disk, path).unwrap().unwrap();
        let fragment = tail.fragment(&disk, path).unwrap();
        (tail.whole, tail.sealed, fragment.map(|fragment| (fragment.offset, fragment.bytes)))
    }

    #[test]
    fn the_last_whole_line_is_found_however_long_it_and_what_is_behind_it_are() {
        assert_eq!(tail(""), (0, false, None));
        assert_eq!(tail("torn"), (0, false, Some((0, 4))));
        assert_eq!(tail("whole\n"), (6, false, None));
        assert_eq!(tail("whole\ntorn"), (6, false, Some((6, 4))));
        let long = "x".repeat(200_000);
        assert_eq!(tail(&format!("{long}\n")), (200_001, false, None));
        assert_eq!(tail(&format!("{long}\n{long}")), (200_001, false, Some((200_001, 200_000))));
    }

    #[test]
    fn a_seal_is_one_only_as_the_last_whole_line() {
        let seal = r#"{"event_type":"system.audit_sealed","payload":{}}"#;
        assert!(tail(&format!("one\n{seal}\n")).1);
        assert!(tail(&format!("{seal}\n")).1);
        assert!(!tail(&format!("one\n{seal}")).1);
        assert!(!tail(&format!("{seal}\none\n")).1);
    }

    #[test]
    fn the_hash_is_that_of_the_last_line_that_has_one() {
        let disk = SimulatedDisk::default();
        let hashed = |digit: &str| format!(r#"{{"seq":1,"hash":"{}"}}"#, digit.repeat(64));
        let text = format!("{}\n{}\ntorn\n{}\n", hashed("a"), hashed("b"), "x".repeat(100_000));
        disk.put("log", &text);
        let found = last_hash(&disk, Path::new("log"), text.len() as u64).unwrap();
        assert_eq!(found, Some([b'b'; 64]));
        disk.put("log", "one\ntwo\n");
        assert_eq!(last_hash(&disk, Path::new("log"), 8).unwrap(), None);
    }
}
