//! Schemas that are made of schemas.

use serde_json::{Map, Value};

use super::accept::accepts;
use super::same::same;
use super::types::Types;
use super::writer::{Property, Writer, equal};
use super::{Comparison, Documents};
use crate::schema::change::{Finding, Rule};

/// How deep two schemas are looked into for what tells their values apart.
const DEPTH: usize = 4;

impl<'a> Comparison<'a> {
    pub(super) fn compare_alternatives(&mut self, writer: &Writer<'a>, map: &'a Map<String, Value>, path: &str) {
        let schemas = |keyword: &str| map.get(keyword).and_then(Value::as_array).into_iter().flatten();
        for part in schemas("allOf") {
            self.compare(writer, part, path);
        }
        for (keyword, exclusive) in [("anyOf", false), ("oneOf", true)] {
            if let Some(Value::Array(branches)) = map.get(keyword) {
                self.compare_branches(writer, Branches { keyword, exclusive, all: branches }, path);
            }
        }
        if let Some(says) = map.get("not")
            && !self.carries(writer, map, &["not"])
            && !are_disjoint(self.of, writer, &self.read(says), DEPTH)
        {
            self.unknown(path, "not", Some(says));
        }
        let decides = map.contains_key("then") || map.contains_key("else");
        if let Some(says) = map.get("if").filter(|_| decides)
            && !self.carries(writer, map, &["if", "then", "else"])
        {
            self.unknown(path, "if", Some(says));
        }
        for keyword in ["$dynamicRef", "$recursiveRef"] {
            if let Some(says) = map.get(keyword) {
                self.unknown(path, keyword, Some(says));
            }
        }
    }

    /// The values that fit a schema of the reader's.
    fn read(&self, schema: &'a Value) -> Writer<'a> {
        Writer::of(schema, self.of.reader, self.of.legacy)
    }

    fn compare_branches(&mut self, writer: &Writer<'a>, branches: Branches<'a>, path: &str) {
        let mut tried = Vec::new();
        for branch in branches.all {
            let findings = self.probe(|this| this.compare(writer, branch, path));
            if findings.is_empty() && (!branches.exclusive || self.fits_no_other(writer, branch, branches.all)) {
                return;
            }
            tried.push((branch, findings));
        }
        let types = writer.types();
        let kinds: Vec<Types> = Types::EACH.into_iter().filter(|kind| types.has(*kind)).collect();
        if kinds.len() > 1 {
            // Values of different types may fit different alternatives.
            return kinds.into_iter().for_each(|kind| self.compare_branches(&writer.only(kind), branches, path));
        }
        self.tell(writer, branches, tried, path);
    }

    /// Whether what fits one alternative fits none of the others, for certain.
    fn fits_no_other(&self, writer: &Writer<'a>, fitting: &Value, all: &'a [Value]) -> bool {
        let excluded = |branch: &Value| writer.not.iter().any(|ours| same(self.of, ours, branch));
        let mut others = all.iter().filter(|branch| !std::ptr::eq(*branch, fitting));
        others.all(|branch| excluded(branch) || are_disjoint(self.of, writer, &self.read(branch), DEPTH))
    }

    /// Says why no alternative will do: by the one that is meant, if it is clear which that is.
    fn tell(&mut self, writer: &Writer<'a>, branches: Branches<'a>, tried: Vec<(&'a Value, Vec<Finding>)>, path: &str) {
        let says = || Some(Value::Array(branches.all.to_vec()));
        let mut near = Vec::new();
        for (branch, findings) in tried {
            if findings.is_empty() {
                // It fits, and another may fit as well, which `oneOf` does not allow.
                return self.find(path, Rule::Unknown, branches.keyword, None, says());
            }
            if !are_disjoint(self.of, writer, &self.read(branch), DEPTH) {
                near.push(findings);
            }
        }
        if near.len() == 1 {
            return self.findings.extend(near.remove(0));
        }
        let ours = writer.all.first().map(|conjunct| Value::Object(conjunct.schema.clone()));
        self.find(path, Rule::Alternative, branches.keyword, ours, says());
    }
}

#[derive(Clone, Copy)]
struct Branches<'a> {
    keyword: &'static str,
    /// Whether a value may fit one only.
    exclusive: bool,
    all: &'a [Value],
}

/// Whether no value fits both, for certain: the first is of the writer's document, the second of the reader's.
fn are_disjoint<'a>(of: Documents<'a>, writer: &Writer<'a>, reader: &Writer<'a>, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let types = writer.types().and(reader.types());
    if writer.is_empty() || reader.is_empty() || types.is_empty() {
        return true;
    }
    if have_no_common_value(of, writer, reader) {
        return true;
    }
    // Some property that every value has, which cannot be what both want.
    let required = |name: &str| writer.requires(name) || reader.requires(name);
    let differs = |name: &&str| match (writer.property(of, of.writer, name), reader.property(of, of.reader, name)) {
        (Property::Absent, _) | (_, Property::Absent) => true,
        (Property::Known(ours), Property::Known(theirs)) => are_disjoint(of, &ours, &theirs, depth),
        _ => false,
    };
    let mut names = writer.names();
    names.extend(reader.names());
    types == Types::OBJECT && names.iter().filter(|name| required(name)).any(differs)
}

fn have_no_common_value<'a>(of: Documents<'a>, writer: &Writer<'a>, reader: &Writer<'a>) -> bool {
    let refuses = |root: &Value, other: &Writer<'a>, value: &Value| {
        other.all.iter().any(|conjunct| {
            let schema = Value::Object(conjunct.schema.clone());
            accepts(root, of.legacy, &schema, value) == Some(false)
        })
    };
    match (writer.values(), reader.values()) {
        (Some(ours), Some(theirs)) => !ours.iter().any(|value| theirs.iter().any(|other| equal(value, other))),
        (Some(ours), None) => ours.iter().all(|value| refuses(of.reader, reader, value)),
        (None, Some(theirs)) => theirs.iter().all(|value| refuses(of.writer, writer, value)),
        (None, None) => false,
    }
}
