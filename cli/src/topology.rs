//! Commands that look at the graph of a bus, and how they read it.

pub(crate) mod diff;
pub(crate) mod show;

use std::ffi::OsStr;
use std::fs;

use nervebus::Topology;

/// A saved graph is not larger than this; what is, is a log.
const LARGEST: u64 = 64 << 20;

/// The graph of a file: one that was saved as JSON, or that which an audit log shows.
#[expect(clippy::disallowed_methods, reason = "a saved graph is read whole; it is no log of a bus")]
fn read(file: &OsStr) -> Result<Topology, String> {
    let name = || file.to_string_lossy();
    let size = fs::metadata(file).map_err(|error| format!("cannot read '{}': {error}", name()))?.len();
    if size <= LARGEST {
        let bytes = fs::read(file).map_err(|error| format!("cannot read '{}': {error}", name()))?;
        match serde_json::from_slice(&bytes) {
            Ok(topology) => return Ok(topology),
            // It has what only a graph has, so it was meant to be one.
            Err(error) if !error.is_syntax() && is_graph(&bytes) => {
                return Err(format!("'{}' is no topology: {error}", name()));
            }
            Err(_) => {}
        }
    }
    let topology = Topology::from_audit(file).map_err(|error| error.to_string())?;
    if topology.topics.is_empty() && size > 0 {
        return Err(format!("'{}' is neither a topology nor an audit log: it has no event", name()));
    }
    Ok(topology)
}

fn is_graph(bytes: &[u8]) -> bool {
    serde_json::from_slice::<nervebus::Value>(bytes).is_ok_and(|value| value.get("topics").is_some())
}

/// What the `--help` of both says of FILE.
macro_rules! file_help {
    () => {
        "FILE is a topology that was saved as JSON (`bus.topology().to_json()`, or this command's --json), or an audit log,
which is read with its rotated files. A log shows topics and what followed from what, and no handlers.
"
    };
}
pub(crate) use file_help;
