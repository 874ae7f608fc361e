//! Whether every value that fits one schema, the writer's, fits another, the reader's.
//!
//! Each keyword of the reader is a promise that the writer's schemas must keep. What is not known of the writer is not
//! used, and what is not known of the reader is a finding: so an answer without findings is a proof, and one with findings
//! may be too strict.

mod accept;
mod alternative;
mod array;
mod number;
mod object;
mod same;
mod scalar;
mod types;
mod writer;

use std::ptr;

use serde_json::{Map, Value};

use self::accept::accepts;
use self::types::Types;
use self::writer::Writer;
use super::change::{Finding, Rule};
use super::compatibility::ContentModel;

/// How many pairs of schemas are looked at before the rest is unknown.
const STEPS: usize = 20_000;

/// How deep schemas are nested that are looked into.
const DEPTH: usize = 96;

/// The two documents, and how they are read.
#[derive(Debug, Clone, Copy)]
struct Documents<'a> {
    writer: &'a Value,
    reader: &'a Value,
    /// Whether they are in a draft of before 2019-09.
    legacy: bool,
    model: ContentModel,
}

/// What the reader does not grant the writer; empty if all that is written can be read.
pub(super) fn refused(writer: &Value, reader: &Value, model: ContentModel) -> Vec<Finding> {
    let of = Documents { writer, reader, legacy: is_legacy(writer), model };
    let mut comparison = Comparison { of, findings: Vec::new(), under_way: Vec::new(), steps: STEPS, depth: DEPTH };
    if is_legacy(writer) != is_legacy(reader) {
        let (ours, theirs) = (writer.get("$schema"), reader.get("$schema"));
        comparison.find("", Rule::Unknown, "$schema", ours.cloned(), theirs.cloned());
    } else if names_itself(writer, DEPTH) || names_itself(reader, DEPTH) {
        comparison.find("", Rule::Unknown, "$id", None, None);
    } else {
        comparison.compare(&Writer::of(writer, writer, of.legacy), reader, "");
    }
    comparison.findings
}

/// Whether the document says that it is in a draft in which nothing counts beside a `$ref`.
fn is_legacy(document: &Value) -> bool {
    document.get("$schema").and_then(Value::as_str).is_some_and(|draft| draft.contains("draft-0"))
}

/// Whether a schema within the document has an address of its own, to which references in it are relative. Documents that
/// are nested too deep count as such.
fn names_itself(schema: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return true };
    let within = |value: &Value| match value {
        Value::Object(map) => map.get("$id").is_some_and(Value::is_string) || names_itself(value, depth),
        Value::Array(_) => names_itself(value, depth),
        _ => false,
    };
    match schema {
        Value::Object(map) => map.values().any(within),
        Value::Array(list) => list.iter().any(within),
        _ => false,
    }
}

/// What a reference leads to, if that is in its own document.
fn resolve<'a>(root: &'a Value, reference: &Value) -> Option<&'a Value> {
    let pointer = reference.as_str()?.strip_prefix('#').filter(|pointer| !pointer.contains('%'))?;
    root.pointer(pointer)
}

/// Whether a keyword says nothing about which values fit.
fn is_annotation(keyword: &str) -> bool {
    let known = [
        "$schema",
        "$id",
        "$comment",
        "$defs",
        "definitions",
        "$anchor",
        "title",
        "description",
        "default",
        "example",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
        "contentSchema",
    ];
    known.contains(&keyword) || keyword.starts_with("x-")
}

/// A pair of schemas that is being compared, and is taken to be fine where it is met again inside itself.
type Pair = (Vec<(*const Map<String, Value>, [bool; 2])>, *const Value);

struct Comparison<'a> {
    of: Documents<'a>,
    findings: Vec<Finding>,
    under_way: Vec<Pair>,
    steps: usize,
    depth: usize,
}

impl<'a> Comparison<'a> {
    fn find(&mut self, path: &str, rule: Rule, keyword: &'static str, writer: Option<Value>, reader: Option<Value>) {
        self.findings.push(Finding { path: path.into(), rule, keyword, writer, reader });
    }

    /// What cannot be told.
    fn unknown(&mut self, path: &str, keyword: &'static str, reader: Option<&Value>) {
        self.find(path, Rule::Unknown, keyword, None, reader.cloned());
    }

    /// The findings of a comparison that may be one of several.
    fn probe(&mut self, compare: impl FnOnce(&mut Self)) -> Vec<Finding> {
        let before = std::mem::take(&mut self.findings);
        compare(self);
        std::mem::replace(&mut self.findings, before)
    }

    /// Holds what is written against a schema of the reader.
    fn compare(&mut self, writer: &Writer<'a>, reader: &'a Value, path: &str) {
        if writer.is_empty() || *reader == Value::Bool(true) {
            return;
        }
        if self.steps == 0 || self.depth == 0 {
            return self.unknown(path, "$ref", None);
        }
        let Value::Object(map) = reader else {
            return self.find(path, Rule::Property, "false", None, Some(reader.clone()));
        };
        if writer.all.iter().any(|conjunct| self.is_same(conjunct.schema, reader)) {
            return;
        }
        let pair = (writer.key(), ptr::from_ref(reader));
        if writer.is_whole() && self.under_way.contains(&pair) {
            return;
        }
        self.steps -= 1;
        self.depth -= 1;
        // What is looked at only in part is not the pair itself.
        let noted = writer.is_whole();
        if noted {
            self.under_way.push(pair);
        }
        match writer.split(self.of) {
            Some(branches) => branches.iter().for_each(|branch| self.compare(branch, reader, path)),
            None => self.compare_keywords(writer, map, reader, path),
        }
        if noted {
            self.under_way.pop();
        }
        self.depth += 1;
    }

    /// Whether a schema of the writer is the reader's, so that nothing else is to be proven.
    fn is_same(&self, writer: &Map<String, Value>, reader: &Value) -> bool {
        let Value::Object(map) = reader else { return false };
        same::same_map(self.of, writer, map)
    }

    fn compare_keywords(&mut self, writer: &Writer<'a>, map: &'a Map<String, Value>, reader: &'a Value, path: &str) {
        if let Some(reference) = map.get("$ref") {
            match resolve(self.of.reader, reference) {
                Some(target) => self.compare(writer, target, path),
                None => self.unknown(path, "$ref", Some(reference)),
            }
            if self.of.legacy {
                return;
            }
        }
        if let Some(keyword) = map.get("type") {
            let Some(types) = Types::of_keyword(keyword) else { return self.unknown(path, "type", Some(keyword)) };
            let lost = writer.types().without(types);
            if !lost.is_empty() {
                let ours = writer.get("type").next().cloned();
                return self.find(path, Rule::Type, "type", ours, Some(keyword.clone()));
            }
        }
        if let Some(values) = writer.values() {
            return self.compare_values(&values, reader, path);
        }
        self.compare_scalars(writer, map, path);
        self.compare_arrays(writer, map, path);
        self.compare_objects(writer, map, path);
        self.compare_alternatives(writer, map, path);
    }

    /// Values that are given one by one are held against the reader's schema one by one.
    fn compare_values(&mut self, values: &[&'a Value], reader: &'a Value, path: &str) {
        for value in values {
            match accepts(self.of.reader, self.of.legacy, reader, value) {
                Some(true) => {}
                Some(false) => {
                    let keyword = if reader.get("const").is_some() { "const" } else { "enum" };
                    let theirs = reader.get("enum").or_else(|| reader.get("const"));
                    self.find(path, Rule::Values, keyword, Some((*value).clone()), theirs.cloned());
                }
                None => self.unknown(path, "enum", Some(value)),
            }
        }
    }

    /// Whether a schema of the writer says the same under this keyword, and what it says together with it.
    fn carries(&self, writer: &Writer<'a>, map: &Map<String, Value>, keywords: &[&str]) -> bool {
        let says = |ours: &Map<String, Value>, keyword: &str| match (ours.get(keyword), map.get(keyword)) {
            (None, None) => true,
            (Some(ours), Some(theirs)) => same::same_keyword(self.of, keyword, ours, theirs),
            _ => false,
        };
        writer.all.iter().any(|conjunct| keywords.iter().all(|keyword| says(conjunct.schema, keyword)))
    }
}

/// A place in the payload below another.
fn below(path: &str, name: &str) -> String {
    format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"))
}
