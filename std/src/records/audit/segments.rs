//! The files of one log: the active one and those that were rotated away.
//!
//! The log at `events.jsonl` is written to that file. Rotated files are `events.1.jsonl` (the newest),
//! `events.2.jsonl` and so on; a compressed one has `.zst` behind. A process that is killed while it rotates may leave a
//! gap in the numbers, so whoever reads goes by ascending number over what is there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use crate::platform::storage::Storage;

/// What a compressed file has behind its name.
const COMPRESSED: &[u8] = b".zst";

/// What a file that is being compressed has behind the name it is to have.
const BEGUN: &[u8] = b".tmp";

/// The names that the files of one log have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    active: PathBuf,
    folder: PathBuf,
    /// What stands before and behind the number: `events.` and `.jsonl`.
    stem: OsString,
    extension: OsString,
}

/// A file that was rotated away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    /// 1 for the newest.
    pub(crate) number: u32,
    pub(crate) compressed: bool,
    pub(crate) path: PathBuf,
}

/// What a file beside the log is to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Whole,
    Compressed,
    /// Compression had begun when the process ended.
    Begun,
}

/// What a log's folder holds of it beside the active file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The newest first, each number once.
    pub(crate) segments: Vec<Segment>,
    /// What a killed process left: what it had begun to compress, and what it had compressed but whose original, which
    /// is the truth, is still there. No reader looks at them, and the next start removes them.
    pub(crate) leftovers: Vec<PathBuf>,
}

impl Names {
    /// The names of the log whose active file has this path.
    pub(crate) fn of(active: &Path) -> Self {
        let mut stem = active.file_stem().unwrap_or_default().to_owned();
        stem.push(".");
        let mut extension = OsString::new();
        if let Some(found) = active.extension() {
            extension.push(".");
            extension.push(found);
        }
        let folder = active.parent().unwrap_or(Path::new("")).to_owned();
        Self { active: active.to_owned(), folder, stem, extension }
    }

    /// Whether a path is that of a file of this log, now or after rotations, by whatever links it leads there.
    pub(crate) fn claims(&self, path: &Path) -> bool {
        let of = Self::of(path);
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let is_beside = real(of.folder()) == real(self.folder());
        let is_named_so = |name: &OsStr| Some(name) == self.active.file_name() || self.kind(name).is_some();
        real(path) == real(&self.active) || (is_beside && path.file_name().is_some_and(is_named_so))
    }

    /// The file that is written to.
    pub(crate) fn active(&self) -> &Path {
        &self.active
    }

    /// The folder of all of them; the current one, if the path of the active file names none.
    pub(crate) fn folder(&self) -> &Path {
        if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder }
    }

    /// The rotated file with this number.
    pub(crate) fn rotated(&self, number: u32) -> PathBuf {
        let mut name = self.stem.clone();
        name.push(number.to_string());
        name.push(&self.extension);
        self.folder.join(name)
    }

    /// The rotated file with this number, compressed.
    pub(crate) fn compressed(&self, number: u32) -> PathBuf {
        let mut name = self.rotated(number).into_os_string();
        name.push(".zst");
        name.into()
    }

    /// What is to become the compressed file with this number.
    pub(crate) fn begun(&self, number: u32) -> PathBuf {
        let mut name = self.compressed(number).into_os_string();
        name.push(".tmp");
        name.into()
    }

    /// What a file of this name is to the log, if it is one of the rotated ones.
    fn kind(&self, name: &OsStr) -> Option<(u32, Kind)> {
        let rest = name.as_encoded_bytes().strip_prefix(self.stem.as_encoded_bytes())?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = rest.split_at(digits);
        // Only what `rotated` makes: no sign, no leading zero.
        let number = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('0'))?.parse().ok()?;
        let kind = match rest.strip_prefix(self.extension.as_encoded_bytes())? {
            [] => Kind::Whole,
            COMPRESSED => Kind::Compressed,
            rest if rest.strip_prefix(COMPRESSED) == Some(BEGUN) => Kind::Begun,
            _ => return None,
        };
        Some((number, kind))
    }

    /// Sorts out the names of what is in the folder.
    pub(crate) fn sort_out(&self, names: impl IntoIterator<Item = OsString>) -> Listing {
        let mut found: Vec<(u32, Kind)> = names.into_iter().filter_map(|name| self.kind(&name)).collect();
        // The whole file of a number comes before the compressed one.
        found.sort_unstable_by_key(|(number, kind)| (*number, *kind as u8));
        let mut listing = Listing::default();
        for (number, kind) in found {
            let known = listing.segments.last().is_some_and(|last| last.number == number);
            match kind {
                Kind::Whole => {
                    let path = self.rotated(number);
                    listing.segments.push(Segment { number, compressed: false, path });
                }
                Kind::Compressed if known => listing.leftovers.push(self.compressed(number)),
                Kind::Compressed => {
                    let path = self.compressed(number);
                    listing.segments.push(Segment { number, compressed: true, path });
                }
                Kind::Begun => listing.leftovers.push(self.begun(number)),
            }
        }
        listing
    }

    /// What the folder holds of the log beside the active file. A folder that is not there holds nothing.
    ///
    /// # Errors
    ///
    /// What the system says when the folder cannot be listed.
    pub(crate) fn list(&self, storage: &dyn Storage) -> io::Result<Listing> {
        match storage.list(self.folder()) {
            Ok(names) => Ok(self.sort_out(names)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Listing::default()),
            Err(error) => Err(error),
        }
    }
}

/// The path of the log that a file belongs to whose name is that of a rotated file; `None` for any other name.
#[cfg(feature = "blake3")]
pub(crate) fn log_of(path: &Path) -> Option<PathBuf> {
    let compressed = path.extension().is_some_and(|extension| extension.as_encoded_bytes() == &COMPRESSED[1..]);
    let path = if compressed { path.with_extension("") } else { path.to_owned() };
    let name = path.file_name()?;
    // `events.1.jsonl`, and `events.1` of a log whose name has no extension.
    let numbered = path.with_file_name(path.file_stem()?);
    let with_extension = path.extension().map(|extension| numbered.with_extension(extension));
    let logs = [with_extension, Some(numbered)];
    logs.into_iter().flatten().find(|log| matches!(Names::of(log).kind(name), Some((_, Kind::Whole))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Names {
        Names::of(Path::new(path))
    }

    fn listed(path: &str, found: &[&str]) -> (Vec<(u32, bool, String)>, Vec<String>) {
        let listing = names(path).sort_out(found.iter().map(OsString::from));
        let text = |path: &Path| path.display().to_string();
        let segments = listing.segments.iter().map(|found| (found.number, found.compressed, text(&found.path)));
        (segments.collect(), listing.leftovers.iter().map(|path| text(path)).collect())
    }

    #[test]
    fn the_number_stands_before_the_extension() {
        let log = names("logs/events.jsonl");
        assert_eq!(log.rotated(1), Path::new("logs/events.1.jsonl"));
        assert_eq!(log.compressed(12), Path::new("logs/events.12.jsonl.zst"));
        assert_eq!(log.begun(1), Path::new("logs/events.1.jsonl.zst.tmp"));
        assert_eq!(log.folder(), Path::new("logs"));
        assert_eq!(names("events").rotated(3), Path::new("events.3"));
        assert_eq!(names("events").folder(), Path::new("."));
        assert_eq!(names(".events").rotated(3), Path::new(".events.3"));
        assert_eq!(names("a.b.log").rotated(2), Path::new("a.b.2.log"));
    }

    #[test]
    fn what_is_there_is_listed_by_ascending_number_whatever_gaps_there_are() {
        let found = ["events.10.jsonl.zst", "events.jsonl", "events.2.jsonl", "events.4.jsonl.zst"];
        let (segments, leftovers) = listed("events.jsonl", &found);
        let wanted = [(2, false, "events.2.jsonl"), (4, true, "events.4.jsonl.zst"), (10, true, "events.10.jsonl.zst")];
        assert_eq!(segments, wanted.map(|(number, compressed, path)| (number, compressed, path.to_owned())));
        assert_eq!(leftovers, [""; 0]);
    }

    #[test]
    fn the_uncompressed_file_is_the_truth_and_the_other_one_a_leftover() {
        let found = ["events.1.jsonl.zst", "events.1.jsonl", "events.1.jsonl.zst.tmp", "events.2.jsonl.zst.tmp"];
        let (segments, leftovers) = listed("events.jsonl", &found);
        assert_eq!(segments, [(1, false, "events.1.jsonl".to_owned())]);
        assert_eq!(leftovers, ["events.1.jsonl.zst", "events.1.jsonl.zst.tmp", "events.2.jsonl.zst.tmp"]);
    }

    #[cfg(feature = "blake3")]
    #[test]
    fn a_rotated_file_by_itself_is_known_by_its_name() {
        let of = |path: &str| log_of(Path::new(path)).map(|log| log.display().to_string());
        let log = |path: &str| Some(path.to_owned());
        assert_eq!(of("logs/events.1.jsonl"), log("logs/events.jsonl"));
        assert_eq!(of("logs/events.12.jsonl.zst"), log("logs/events.jsonl"));
        assert_eq!(of("a.b.2.log"), log("a.b.log"));
        assert_eq!(of("events.3"), log("events"));
        for other in ["events.jsonl", "events.01.jsonl", "events.0.jsonl", "events", "events.jsonl.zst", "1.jsonl", "/"]
        {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn what_belongs_to_somebody_else_is_left_alone() {
        let found = [
            "events.0.jsonl",
            "events.01.jsonl",
            "events.+1.jsonl",
            "events..jsonl",
            "events.1.json",
            "events.1.jsonl.gz",
            "events.1.jsonl.tmp",
            "events.1.1.jsonl",
            "events.99999999999.jsonl",
            "other.1.jsonl",
            "events.jsonl.new",
        ];
        assert_eq!(listed("events.jsonl", &found), (Vec::new(), Vec::new()));
    }
}
