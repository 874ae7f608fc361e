//! Whether two schemas are the same, whatever they say about themselves.

use std::ptr;

use serde_json::{Map, Value};

use super::{Documents, is_annotation, resolve};

/// Two schemas that are being compared, or were: they are taken for the same when they are met again, for otherwise the
/// whole is not the same anyway.
type Seen = Vec<(*const Value, *const Value)>;

/// Whether both accept the same values because they are the same, references resolved: the first in the writer's document,
/// the second in the reader's.
pub(super) fn same(of: Documents<'_>, writer: &Value, reader: &Value) -> bool {
    schemas(of, writer, reader, &mut Seen::new())
}

/// As [`same`], for a schema that is known to be a map.
pub(super) fn same_map(of: Documents<'_>, writer: &Map<String, Value>, reader: &Map<String, Value>) -> bool {
    maps(of, writer, reader, &mut Seen::new())
}

/// Whether two schemas say the same under a keyword.
pub(super) fn same_keyword(of: Documents<'_>, keyword: &str, writer: &Value, reader: &Value) -> bool {
    under(of, keyword, writer, reader, &mut Seen::new())
}

fn schemas(of: Documents<'_>, writer: &Value, reader: &Value, seen: &mut Seen) -> bool {
    match (writer, reader) {
        (Value::Object(a), Value::Object(b)) => maps(of, a, b, seen),
        _ => writer == reader,
    }
}

fn maps(of: Documents<'_>, a: &Map<String, Value>, b: &Map<String, Value>, seen: &mut Seen) -> bool {
    let says = |map: &Map<String, Value>| map.keys().filter(|key| !is_annotation(key)).count();
    let mut theirs = b.iter().filter(|(key, _)| !is_annotation(key));
    says(a) == says(b) && theirs.all(|(key, theirs)| a.get(key).is_some_and(|ours| under(of, key, ours, theirs, seen)))
}

fn under(of: Documents<'_>, keyword: &str, writer: &Value, reader: &Value, seen: &mut Seen) -> bool {
    match (keyword, writer, reader) {
        ("$ref", ..) => referred(of, writer, reader, seen),
        ("enum" | "const" | "required" | "type" | "dependentRequired", ..) => writer == reader,
        ("properties" | "patternProperties" | "dependentSchemas", Value::Object(a), Value::Object(b)) => {
            let mut theirs = b.iter();
            let all = theirs.all(|(key, theirs)| a.get(key).is_some_and(|ours| schemas(of, ours, theirs, seen)));
            a.len() == b.len() && all
        }
        (_, Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(ours, theirs)| schemas(of, ours, theirs, seen))
        }
        _ => schemas(of, writer, reader, seen),
    }
}

fn referred(of: Documents<'_>, writer: &Value, reader: &Value, seen: &mut Seen) -> bool {
    let (Some(a), Some(b)) = (resolve(of.writer, writer), resolve(of.reader, reader)) else { return false };
    let pair = (ptr::from_ref(a), ptr::from_ref(b));
    if seen.contains(&pair) {
        return true;
    }
    seen.push(pair);
    schemas(of, a, b, seen)
}
