//! Where the audit log of a run goes.

use super::options::{Options, Source};
use std::fs::{self, DirBuilder};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The audit file of a run, and the folder that was made for it.
#[derive(Debug)]
pub(super) struct AuditPath {
    pub(super) path: PathBuf,
    folder: Option<PathBuf>,
}

impl AuditPath {
    /// Removes the fresh folder again, for a run that does not come about.
    pub(super) fn give_up(&self) {
        if let Some(folder) = &self.folder {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// The path that the options name, or one in a fresh temporary folder.
///
/// # Errors
/// One line, when the folder cannot be made or the log would be written into the file that is read.
pub(super) fn choose(options: &Options) -> Result<AuditPath, String> {
    let Some(path) = &options.audit else {
        let temporary = std::env::temp_dir();
        let folder = fresh_folder(&temporary)
            .map_err(|error| format!("cannot make a folder for the audit log in {temporary:?}: {error}"))?;
        return Ok(AuditPath { path: folder.join("events.jsonl"), folder: Some(folder) });
    };
    if let Source::File(events) = &options.source
        && same_file(events, path)
    {
        return Err(format!("--audit {path:?} is the file that the events are read from; it would never end"));
    }
    Ok(AuditPath { path: path.clone(), folder: None })
}

/// A folder that nobody else has and, where the system knows such a thing, nobody else can read.
fn fresh_folder(parent: &Path) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let mut attempt = 0;
    loop {
        let folder = parent.join(format!("nervebus-quickstart-{}-{}", std::process::id(), now + attempt));
        match private().create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => attempt += 1,
            Err(error) => return Err(error),
            Ok(()) => return Ok(folder),
        }
    }
}

#[cfg(unix)]
fn private() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(not(unix))]
fn private() -> DirBuilder {
    DirBuilder::new()
}

/// Whether both names lead to one file; files that do not exist yet are different.
fn same_file(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other && one.is_file(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_folder_of_its_own_and_can_be_given_up() {
        let options = Options::default();
        let (Ok(one), Ok(other)) = (choose(&options), choose(&options)) else { panic!("no folder") };
        assert_ne!(one.path, other.path);
        assert!(one.path.parent().is_some_and(Path::is_dir));
        one.give_up();
        other.give_up();
        assert!(one.path.parent().is_some_and(|folder| !folder.exists()));
    }

    #[test]
    fn the_log_never_goes_into_the_file_that_is_read() {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let detour = file.parent().map(|folder| folder.join("src/../Cargo.toml"));
        let options = Options { source: Source::File(file), audit: detour, ..Options::default() };
        assert!(choose(&options).is_err_and(|error| error.contains("would never end")));
    }
}
