//! Numbers, texts, and values that are given one by one.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::Comparison;
use super::number::{Bound, Num};
use super::types::Types;
use super::writer::Writer;
use crate::schema::change::Rule;

impl<'a> Comparison<'a> {
    pub(super) fn compare_scalars(&mut self, writer: &Writer<'a>, map: &'a Map<String, Value>, path: &str) {
        for keyword in ["enum", "const"] {
            if let Some(values) = map.get(keyword) {
                self.compare_enum(writer, keyword, values, path);
            }
        }
        if writer.types().has(Types::NUMBER) {
            self.compare_numbers(writer, map, path);
        }
        if writer.types().has(Types::STRING) {
            self.compare_count(writer, map, ["minLength", "maxLength"], path);
            if let Some(pattern) = map.get("pattern")
                && !self.carries(writer, map, &["pattern"])
            {
                let ours = writer.get("pattern").next().cloned();
                self.find(path, Rule::Pattern, "pattern", ours, Some(pattern.clone()));
            }
        }
        self.compare_format(writer, map, path);
        // Some drafts hold texts against these.
        for keyword in ["contentEncoding", "contentMediaType"] {
            if let Some(says) = map.get(keyword)
                && writer.types().has(Types::STRING)
                && !self.carries(writer, map, &[keyword])
            {
                let ours = writer.get(keyword).next().cloned();
                self.find(path, Rule::Format, keyword, ours, Some(says.clone()));
            }
        }
    }

    /// The writer's values are not given one by one, but may be few all the same.
    fn compare_enum(&mut self, writer: &Writer<'a>, keyword: &'static str, values: &'a Value, path: &str) {
        const FEW: [Value; 3] = [Value::Null, Value::Bool(true), Value::Bool(false)];
        let types = writer.types();
        let list = if keyword == "const" {
            std::slice::from_ref(values)
        } else {
            values.as_array().map_or(&[][..], |list| list)
        };
        let mut written = FEW.iter().filter(|value| types.has(Types::of_value(value)));
        if types.is_within(Types::NULL_OR_BOOLEAN) && written.all(|value| list.contains(value)) {
            return;
        }
        let ours = writer.get("type").next().cloned();
        self.find(path, Rule::Values, keyword, ours, Some(values.clone()));
    }

    fn compare_numbers(&mut self, writer: &Writer<'a>, map: &'a Map<String, Value>, path: &str) {
        for (keyword, above, exclusive) in [
            ("minimum", false, false),
            ("exclusiveMinimum", false, true),
            ("maximum", true, false),
            ("exclusiveMaximum", true, true),
        ] {
            let Some(says) = map.get(keyword) else { continue };
            let Some(at) = Num::of(says) else {
                self.unknown(path, keyword, Some(says));
                continue;
            };
            let ours = writer.bound(above);
            if !ours.is_some_and(|ours| is_tighter(ours, Bound { at, exclusive }, above)) {
                let ours = writer.get(keyword).next().cloned();
                self.find(path, Rule::Bound, keyword, ours, Some(says.clone()));
            }
        }
        if let Some(says) = map.get("multipleOf") {
            let whole = !writer.types().has(Types::FRACTION)
                && Num::of(says).is_some_and(|step| matches!(step, Num::Integer(1)));
            let mut steps = writer.get("multipleOf").filter_map(Num::of);
            let is_multiple =
                Num::of(says).is_some_and(|step| steps.any(|ours| ours.is_multiple_of(step) == Some(true)));
            if !whole && !is_multiple {
                let ours = writer.get("multipleOf").next().cloned();
                self.find(path, Rule::Bound, "multipleOf", ours, Some(says.clone()));
            }
        }
    }

    /// A least and a largest count.
    pub(super) fn compare_count(
        &mut self,
        writer: &Writer<'a>,
        map: &'a Map<String, Value>,
        [least, most]: [&'static str; 2],
        path: &str,
    ) {
        self.compare_counted(writer.count(least, true), writer, map, least, path);
        self.compare_counted(writer.count(most, false), writer, map, most, path);
    }

    /// One of the two, of which this is known of the writer.
    pub(super) fn compare_counted(
        &mut self,
        ours: Option<u64>,
        writer: &Writer<'a>,
        map: &'a Map<String, Value>,
        keyword: &'static str,
        path: &str,
    ) {
        let Some(says) = map.get(keyword) else { return };
        let is_least = keyword.starts_with("min");
        let kept = match says.as_u64() {
            Some(0) if is_least => true,
            Some(limit) => ours.is_some_and(|ours| if is_least { ours >= limit } else { ours <= limit }),
            None => return self.unknown(path, keyword, Some(says)),
        };
        if !kept {
            let ours = writer.get(keyword).next().cloned();
            self.find(path, Rule::Bound, keyword, ours, Some(says.clone()));
        }
    }

    /// Validators take a format as a remark; who parses the value does not.
    fn compare_format(&mut self, writer: &Writer<'a>, map: &'a Map<String, Value>, path: &str) {
        let Some(Value::String(format)) = map.get("format") else { return };
        let is_numeric = is_numeric_format(format);
        if !writer.types().has(if is_numeric { Types::NUMBER } else { Types::STRING }) {
            return;
        }
        let mut formats = writer.get("format").filter_map(Value::as_str);
        let kept = formats.any(|ours| ours == format || (is_numeric && holds(format, ours))) || fits(writer, format);
        if !kept {
            let ours = writer.get("format").next().cloned();
            self.find(path, Rule::Format, "format", ours, Some(Value::String(format.clone())));
        }
    }
}

/// Whether the writer's bound keeps within the reader's.
fn is_tighter(ours: Bound, theirs: Bound, above: bool) -> bool {
    let order = if above { theirs.at.cmp(ours.at) } else { ours.at.cmp(theirs.at) };
    order == Ordering::Greater || (order == Ordering::Equal && (ours.exclusive || !theirs.exclusive))
}

/// The range of a format of whole numbers.
fn range(format: &str) -> Option<(i128, i128)> {
    let signed = |bits: u32| (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1);
    let unsigned = |bits: u32| (0, (1_i128 << bits) - 1);
    Some(match format {
        "int8" => signed(8),
        "int16" => signed(16),
        "int32" => signed(32),
        "int" | "int64" => signed(64),
        "int128" => (i128::MIN, i128::MAX),
        "uint8" => unsigned(8),
        "uint16" => unsigned(16),
        "uint32" => unsigned(32),
        "uint" | "uint64" => unsigned(64),
        // No JSON number of this library is larger than an i128 holds exactly.
        "uint128" => (0, i128::MAX),
        _ => return None,
    })
}

/// Whether a format is one of numbers, as schemars and OpenAPI name them.
pub(super) fn is_numeric_format(format: &str) -> bool {
    range(format).is_some() || matches!(format, "float" | "double")
}

/// Whether every number of the one format is one of the other.
fn holds(format: &str, ours: &str) -> bool {
    match (range(format), range(ours)) {
        (Some((min, max)), Some((from, to))) => min <= from && to <= max,
        (None, _) => format == "double",
        (Some(_), None) => false,
    }
}

/// Whether the writer's bounds keep within a format, or the format excludes nothing.
fn fits(writer: &Writer<'_>, format: &str) -> bool {
    let Some((min, max)) = range(format) else { return format == "double" };
    let bound = |at, above| {
        let limit = Bound { at: Num::Integer(at), exclusive: false };
        writer.bound(above).is_some_and(|ours| is_tighter(ours, limit, above))
    };
    bound(min, false) && bound(max, true)
}
