//! Logs written by hand, in folders of their own.
#![allow(dead_code, reason = "each test that has logs needs some of this")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed with what is in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("nervebus-logs-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of the log's active file.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("events.jsonl")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn append(&self, name: &str, content: impl AsRef<[u8]>) {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(content.as_ref()).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The line of an event with this number, as our own writer makes it.
pub(crate) fn line(number: u64) -> String {
    named("chat.sent", number)
}

/// The same with a name.
pub(crate) fn named(event_type: &str, number: u64) -> String {
    format!(
        "{{\"event_type\":\"{event_type}\",\"payload\":{{\"n\":{number}}},\"timestamp\":{}.000000,\"event_id\":\"e-{number}\",\
         \"source\":null,\"correlation_id\":\"c-{}\",\"seq\":{number}}}\n",
        1_700_000_000 + number,
        number % 10
    )
}

/// The lines of the events with these numbers.
pub(crate) fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
    numbers.into_iter().map(line).collect()
}

/// The numbers of what a reader gives.
pub(crate) fn numbers<E: std::fmt::Debug>(
    entries: impl IntoIterator<Item = Result<nervebus::AuditEntry, E>>,
) -> Vec<u64> {
    entries.into_iter().map(|entry| number(&entry.unwrap())).collect()
}

/// The number of an event.
pub(crate) fn number(entry: &nervebus::AuditEntry) -> u64 {
    entry.record.payload["n"].as_u64().unwrap()
}

/// The name of a file.
pub(crate) fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}
