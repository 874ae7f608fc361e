//! Commands that look at contracts: which topics there are, and what their payloads look like.

pub(crate) mod check;
pub(crate) mod export;
pub(crate) mod show;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};

use nervebus::{Contract, Value};

/// The largest document that is read.
const LARGEST: u64 = 64 << 20;

/// A document that is a contract, or a schema.
pub(crate) enum Document {
    Contract(Contract),
    Schema(Value),
}

/// Reads what a file has; `-` is standard input. The error names the file.
pub(crate) fn read(file: &OsStr) -> Result<Document, String> {
    let name = if file == OsStr::new("-") { "standard input".into() } else { file.to_string_lossy() };
    let text = text_of(file).map_err(|error| format!("cannot read {name}: {error}"))?;
    let value: Value = text.parse().map_err(|error| format!("{name} is no JSON: {error}"))?;
    if value.get("nervebus_contract").is_none() {
        return Ok(Document::Schema(value));
    }
    Contract::from_json(&value).map(Document::Contract).map_err(|error| format!("{name} is no contract: {error}"))
}

/// Reads a contract.
pub(crate) fn read_contract(file: &OsStr) -> Result<Contract, String> {
    match read(file)? {
        Document::Contract(contract) => Ok(contract),
        Document::Schema(_) => {
            Err(format!("{} is no contract: it has no \"nervebus_contract\"", file.to_string_lossy()))
        }
    }
}

fn text_of(file: &OsStr) -> io::Result<String> {
    let mut text = String::new();
    if file == OsStr::new("-") {
        io::stdin().lock().take(LARGEST + 1).read_to_string(&mut text)?;
    } else {
        #[expect(clippy::disallowed_methods, reason = "it is the file that the user named")]
        File::open(file)?.take(LARGEST + 1).read_to_string(&mut text)?;
    }
    if text.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MiB"));
    }
    Ok(text)
}
