//! Schemas and contracts from files.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::contract::Contract;
use super::registry::{SchemaError, SchemaRegistry};
use crate::platform::storage::{Disk, Storage};

/// The largest file that is read.
const LARGEST: u64 = 16 << 20;

const NAMES: &str =
    "a schema's file is named by topic and version, such as order.placed.v2.json; any other .json file has a contract";

impl SchemaRegistry {
    /// Registers what a file has: a schema, if its name is that of a topic and a version (`order.placed.v2.json`), or else a
    /// [contract](Contract). What a contract says of a topic beside its schemas replaces what was said of it; its upcasters
    /// are code, and must be registered by hand, before the file.
    ///
    /// # Errors
    ///
    /// [`SchemaError`]: always with the file's path. What stands before the error in a contract is registered.
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, SchemaError> {
        let path = path.as_ref();
        let document = read(path)?;
        let within = |error| SchemaError::InFile { path: path.into(), error: Box::new(error) };
        if let Some((topic, version)) = path.file_name().and_then(OsStr::to_str).and_then(named) {
            self.register_schema(topic, version, document).map_err(within)?;
            return Ok(self);
        }
        if document.get("nervebus_contract").is_none() {
            return Err(SchemaError::FileName { path: path.into(), rule: NAMES.into() });
        }
        let wrong = |error| SchemaError::Contract { path: path.into(), error };
        let contract = Contract::from_json(&document).map_err(wrong)?;
        self.adopt(contract).map_err(within)?;
        Ok(self)
    }

    /// Registers what all files of a folder have that end in `.json`, the versions of a topic in their order. Folders in it
    /// are not looked into.
    ///
    /// # Errors
    ///
    /// As [`load_file`](Self::load_file). What the files before it have is registered.
    pub fn load_dir(&mut self, path: impl AsRef<Path>) -> Result<&mut Self, SchemaError> {
        let folder = path.as_ref();
        let names = Disk.list(folder).map_err(|error| SchemaError::File { path: folder.into(), error })?;
        let names = names.into_iter().filter(|name| Path::new(name).extension() == Some(OsStr::new("json")));
        let mut files: Vec<_> = names.map(|name| folder.join(name)).collect();
        // By number: version 10 comes behind version 9.
        files.sort_by_cached_key(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            named(&name).map_or((name.clone(), 0), |(topic, version)| (topic.to_owned(), version))
        });
        for file in files {
            self.load_file(file)?;
        }
        Ok(self)
    }

    fn adopt(&mut self, contract: Contract) -> Result<(), SchemaError> {
        for (name, topic) in contract.topics {
            let known = self.topic(&name)?;
            known.category = topic.category;
            known.key = topic.key;
            known.emits = topic.emits;
            known.pii = topic.pii;
            // What the topic would go by in its own document.
            known.compatibility = Some(topic.compatibility.unwrap_or(contract.compatibility));
            for (version, schema) in topic.versions {
                self.register_schema(&name, version, schema)?;
            }
        }
        Ok(())
    }
}

/// The topic and the version that a file is named by.
fn named(name: &str) -> Option<(&str, u32)> {
    let (topic, version) = name.strip_suffix(".json")?.rsplit_once(".v")?;
    let plain = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
    (plain && !topic.is_empty()).then_some((topic, version.parse().ok()?))
}

fn read(path: &Path) -> Result<Value, SchemaError> {
    let failed = |error| SchemaError::File { path: path.into(), error };
    let missing = || failed(std::io::ErrorKind::NotFound.into());
    // The door's files are empty when they are not there.
    Disk.size(path).map_err(failed)?.ok_or_else(missing)?;
    let mut text = Vec::new();
    Disk.open_read(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text)).map_err(failed)?;
    let wrong = |rule| SchemaError::Json { path: path.into(), rule };
    if text.len() as u64 > LARGEST {
        return Err(wrong(format!("it is larger than {LARGEST} bytes")));
    }
    serde_json::from_slice(&text).map_err(|error| wrong(format!("it is no JSON: {error}")))
}
