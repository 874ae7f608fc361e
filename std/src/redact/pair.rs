//! Objects that are a name and a value: `{"name": "password", "value": "…"}`, in either order.

use serde_json::{Map, Value};

use super::Redactor;
use super::keys::Kind;

/// Keys whose value names what stands beside it.
#[rustfmt::skip]
const NAMING: &[&[u8]] = &[
    b"attribute", b"column", b"env", b"field", b"header", b"id", b"k", b"key", b"label", b"name", b"param", b"parameter",
    b"property", b"variable",
];
/// Keys whose value is named beside it.
const NAMED: &[&[u8]] = &[b"value", b"val", b"v", b"content", b"data"];
/// How many members behind a value are looked at for its name, as long as they are neither arrays nor objects.
pub(super) const BEHIND: usize = 4;

/// Whether the value under a key names what stands beside it.
pub(super) fn is_naming(key: &[u8]) -> bool {
    key.len() <= 9 && NAMING.iter().any(|known| key.eq_ignore_ascii_case(known))
}

/// Whether the value under a key is named beside it.
pub(super) fn is_named(key: &[u8]) -> bool {
    key.len() <= 7 && NAMED.iter().any(|known| key.eq_ignore_ascii_case(known))
}

/// What the names in an object say about the values in it, member by member; empty if there are no such values.
pub(super) fn kinds(redactor: &Redactor, members: &Map<String, Value>) -> Vec<Kind> {
    if !members.keys().any(|key| is_named(key.as_bytes())) {
        return Vec::new();
    }
    let name = |(key, value): (&String, &Value)| {
        let name = value.as_str().filter(|_| is_naming(key.as_bytes()));
        let kind = name.map_or(Kind::Plain, |name| redactor.kind_of_key(name.as_bytes()));
        (kind, !value.is_array() && !value.is_object())
    };
    let names: Vec<_> = members.iter().map(name).collect();
    let named = |at: usize, key: &String| {
        if !is_named(key.as_bytes()) {
            return Kind::Plain;
        }
        let before = names[..at].iter().rev().find(|(kind, _)| *kind != Kind::Plain);
        let scalars = names[at..].iter().take(BEHIND + 1).take_while(|(_, scalar)| *scalar);
        before.or_else(|| scalars.skip(1).find(|(kind, _)| *kind != Kind::Plain)).map_or(Kind::Plain, |(kind, _)| *kind)
    };
    members.keys().enumerate().map(|(at, key)| named(at, key)).collect()
}
