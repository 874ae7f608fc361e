//! The markers that stand where something was: `[REDACTED_EMAIL]`.

use super::text::{byte, run};

const START: &[u8] = b"[REDACTED";
/// The longest marker: a name and what keeps values linkable.
const LONGEST: usize = 128;

/// What a marker shows of the value it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// Nothing.
    Nothing,
    /// Its last four characters.
    LastFour,
    /// The beginning of a keyed hash of it.
    #[cfg(feature = "blake3")]
    Hash([u8; 32]),
}

/// The end of the marker at `at`, if there is one.
pub(super) fn end(text: &[u8], at: usize) -> Option<usize> {
    let name = at + START.len();
    if text.get(at..name).is_none_or(|start| start != START) {
        return None;
    }
    let stop =
        run(text, name, LONGEST, |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':' || byte == b'-');
    let named = stop == name || text[name] == b'_' || text[name] == b':';
    (byte(text, stop) == b']' && named).then_some(stop + 1)
}

/// Whether the whole of `text` is a marker.
pub(super) fn is_whole(text: &[u8]) -> bool {
    end(text, 0) == Some(text.len())
}

/// Where the markers in a text are.
#[cfg(feature = "regex")]
pub(super) fn all(text: &[u8]) -> Vec<(usize, usize)> {
    memchr::memmem::find_iter(text, START).filter_map(|at| Some((at, end(text, at)?))).collect()
}

/// Writes the marker for `value`. There is nothing in it that JSON would escape.
pub(super) fn write(out: &mut Vec<u8>, name: &str, value: &[u8], trace: Trace) {
    out.extend_from_slice(START);
    if !name.is_empty() {
        out.push(b'_');
        out.extend_from_slice(name.as_bytes());
    }
    match trace {
        Trace::LastFour if value.len() >= 12 && value[value.len() - 4..].iter().all(u8::is_ascii_alphanumeric) => {
            out.push(b':');
            out.extend_from_slice(&value[value.len() - 4..]);
        }
        Trace::Nothing | Trace::LastFour => {}
        #[cfg(feature = "blake3")]
        Trace::Hash(key) => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.push(b':');
            for byte in &blake3::keyed_hash(&key, value).as_bytes()[..6] {
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.push(b']');
}
