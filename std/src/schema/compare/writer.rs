//! What is known of the values that somebody writes: the conjunction of some schemas.

use std::cmp::Ordering;
use std::ptr;

use serde_json::{Map, Value};

use super::number::{Bound, Num};
use super::types::Types;
use super::{Documents, resolve};
use crate::schema::compatibility::ContentModel;

/// How many references and `allOf` lead into each other at most.
const DEPTH: usize = 64;

/// One schema that the values fit. What is not known of it is not used, which can only make a proof fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conjunct<'a> {
    pub(super) schema: &'a Map<String, Value>,
    /// Whether its `anyOf`, and its `oneOf`, stand among the other conjuncts by the alternative that is looked at.
    chosen: [bool; 2],
}

/// The values that fit all of some schemas.
#[derive(Debug, Clone)]
pub(super) struct Writer<'a> {
    pub(super) all: Vec<Conjunct<'a>>,
    /// No value fits.
    pub(super) never: bool,
    /// Those that are looked at; the schemas may allow fewer.
    only: Types,
    /// Schemas that the values do not fit: the other alternatives of a `oneOf`.
    pub(super) not: Vec<&'a Value>,
}

/// What is known of the values under one name.
#[derive(Debug)]
pub(super) enum Property<'a> {
    /// There are none.
    Absent,
    /// They fit this.
    Known(Writer<'a>),
    /// They may be anything.
    Open,
    /// The schema does not name it, and does not say that there may be others.
    Unnamed,
}

const ALTERNATIVES: [&str; 2] = ["anyOf", "oneOf"];

impl<'a> Writer<'a> {
    /// Any value.
    pub(super) const ANY: Self = Self { all: Vec::new(), never: false, only: Types::ALL, not: Vec::new() };

    /// The values that fit a schema of a document.
    pub(super) fn of(schema: &'a Value, root: &'a Value, legacy: bool) -> Self {
        let mut writer = Self::ANY;
        writer.add(schema, root, legacy, DEPTH);
        writer
    }

    fn add(&mut self, schema: &'a Value, root: &'a Value, legacy: bool, depth: usize) {
        let Some(depth) = depth.checked_sub(1) else { return };
        let map = match schema {
            Value::Bool(allowed) => {
                self.never |= !allowed;
                return;
            }
            Value::Object(map) => map,
            _ => return,
        };
        if let Some(reference) = map.get("$ref") {
            if let Some(target) = resolve(root, reference) {
                self.add(target, root, legacy, depth);
            }
            if legacy {
                // What stands beside a reference counts since 2019-09 only.
                return;
            }
        }
        if self.all.iter().any(|known| ptr::eq(known.schema, map)) {
            return;
        }
        self.all.push(Conjunct { schema: map, chosen: [false; 2] });
        for part in map.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.add(part, root, legacy, depth);
        }
    }

    /// The same values, split by the first alternatives that are not yet looked into; `None` if there are none.
    pub(super) fn split(&self, of: Documents<'a>) -> Option<Vec<Self>> {
        let open = |(at, conjunct): (usize, &Conjunct<'a>)| {
            let kind =
                (0..2).find(|kind| !conjunct.chosen[*kind] && conjunct.schema.contains_key(ALTERNATIVES[*kind]))?;
            Some((at, kind, conjunct.schema.get(ALTERNATIVES[kind])?.as_array()?))
        };
        let (at, kind, branches) = self.all.iter().enumerate().find_map(open)?;
        let chosen = |(number, branch): (usize, &'a Value)| {
            let mut writer = self.clone();
            if let Some(conjunct) = writer.all.get_mut(at) {
                conjunct.chosen[kind] = true;
            }
            writer.add(branch, of.writer, of.legacy, DEPTH);
            if kind == 1 {
                let others = branches.iter().enumerate().filter(|(other, _)| *other != number);
                writer.not.extend(others.map(|(_, other)| other));
            }
            writer
        };
        Some(branches.iter().enumerate().map(chosen).collect())
    }

    /// Those of the values that have one of these types.
    pub(super) fn only(&self, types: Types) -> Self {
        Self { only: self.only.and(types), ..self.clone() }
    }

    /// Whether all values are looked at that fit the schemas.
    pub(super) fn is_whole(&self) -> bool {
        self.only == Types::ALL && self.not.is_empty()
    }

    /// Tells it from other conjunctions of the same documents.
    pub(super) fn key(&self) -> Vec<(*const Map<String, Value>, [bool; 2])> {
        self.all.iter().map(|conjunct| (ptr::from_ref(conjunct.schema), conjunct.chosen)).collect()
    }

    pub(super) fn get(&self, keyword: &'a str) -> impl Iterator<Item = &'a Value> + '_ {
        self.all.iter().filter_map(move |conjunct| conjunct.schema.get(keyword))
    }

    /// Whether nothing fits, as far as that can be seen at a glance.
    pub(super) fn is_empty(&self) -> bool {
        self.never || self.types().is_empty() || self.values().is_some_and(|values| values.is_empty())
    }

    pub(super) fn types(&self) -> Types {
        let named = self.get("type").filter_map(Types::of_keyword);
        let listed = self.get("enum").filter_map(Value::as_array).map(|values| Types::of_values(values));
        let given = self.get("const").map(Types::of_value);
        named.chain(listed).chain(given).fold(self.only, Types::and)
    }

    /// The values, if they are given one by one.
    pub(super) fn values(&self) -> Option<Vec<&'a Value>> {
        let types = self.types();
        let lists = self.get("enum").filter_map(Value::as_array).map(|values| values.iter().collect::<Vec<_>>());
        let mut lists = lists.chain(self.get("const").map(|value| vec![value]));
        let first = lists.next()?;
        let rest: Vec<_> = lists.collect();
        let fits = |value: &&Value| {
            let own = Types::of_value(value);
            own.is_within(types) && rest.iter().all(|list| list.iter().any(|other| equal(value, other)))
        };
        Some(first.into_iter().filter(fits).collect())
    }

    /// The tightest bound from below, or from above.
    pub(super) fn bound(&self, above: bool) -> Option<Bound> {
        let (within, beyond) = if above { ("maximum", "exclusiveMaximum") } else { ("minimum", "exclusiveMinimum") };
        let bounds = [(within, false), (beyond, true)].into_iter().flat_map(|(keyword, exclusive)| {
            self.get(keyword).filter_map(Num::of).map(move |at| Bound { at, exclusive })
        });
        let whole = !self.types().has(Types::FRACTION);
        let step = if above { -1 } else { 1 };
        let bounds = bounds.map(|bound| if whole { bound.of_integers(step) } else { bound });
        bounds.reduce(|a, b| {
            let order = if above { b.at.cmp(a.at) } else { a.at.cmp(b.at) };
            let later = order == Ordering::Less || (order == Ordering::Equal && b.exclusive);
            if later { b } else { a }
        })
    }

    /// The largest or smallest that a keyword says, as far as it is a count.
    pub(super) fn count(&self, keyword: &'static str, largest: bool) -> Option<u64> {
        let counts = self.get(keyword).filter_map(Value::as_u64);
        if largest { counts.max() } else { counts.min() }
    }

    pub(super) fn requires(&self, name: &str) -> bool {
        self.get("required").filter_map(Value::as_array).flatten().any(|required| required == name)
    }

    /// The names that it gives.
    pub(super) fn names(&self) -> Vec<&'a str> {
        let mut names: Vec<&str> = self
            .get("properties")
            .filter_map(Value::as_object)
            .flat_map(|map| map.keys().map(String::as_str))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What is known of the values under a name.
    pub(super) fn property(&self, of: Documents<'a>, root: &'a Value, name: &str) -> Property<'a> {
        let (mut writer, mut is_known, mut is_open) = (Self::ANY, false, false);
        for Conjunct { schema, .. } in &self.all {
            let named = schema.get("properties").and_then(|properties| properties.get(name));
            // A pattern may match the name; then there may be anything here, as far as we know.
            let patterned = has_patterns(schema);
            match named.or_else(|| schema.get("additionalProperties").filter(|_| !patterned)) {
                Some(Value::Bool(true)) if named.is_none() => is_open = true,
                Some(schema) => {
                    writer.add(schema, root, of.legacy, DEPTH);
                    is_known = true;
                }
                None => is_open |= patterned,
            }
        }
        let names_none = self.get("properties").next().is_none();
        match (writer.never, is_known) {
            (true, _) => Property::Absent,
            (_, true) => Property::Known(writer),
            _ if is_open || names_none || of.model == ContentModel::Open => Property::Open,
            _ => Property::Unnamed,
        }
    }

    /// What is known of values under names that it does not give.
    pub(super) fn others(&self, of: Documents<'a>) -> Property<'a> {
        let (mut writer, mut is_known) = (Self::ANY, false);
        for Conjunct { schema, .. } in self.all.iter().filter(|conjunct| !has_patterns(conjunct.schema)) {
            if let Some(others) = schema.get("additionalProperties").filter(|others| **others != Value::Bool(true)) {
                writer.add(others, of.writer, of.legacy, DEPTH);
                is_known = true;
            }
        }
        match (writer.never, is_known) {
            (true, _) => Property::Absent,
            (_, true) => Property::Known(writer),
            _ => Property::Open,
        }
    }

    /// What is known of the item at a place; behind the last place that has a schema of its own, of all further items.
    pub(super) fn item(&self, of: Documents<'a>, at: usize) -> Self {
        let mut writer = Self::ANY;
        for Conjunct { schema, .. } in &self.all {
            let (prefix, rest) = items(schema);
            if let Some(schema) = prefix.get(at).or(rest) {
                writer.add(schema, of.writer, of.legacy, DEPTH);
            }
        }
        writer
    }

    /// How many places have a schema of their own.
    pub(super) fn places(&self) -> usize {
        self.all.iter().map(|conjunct| items(conjunct.schema).0.len()).max().unwrap_or(0)
    }
}

fn has_patterns(schema: &Map<String, Value>) -> bool {
    schema.get("patternProperties").and_then(Value::as_object).is_some_and(|patterns| !patterns.is_empty())
}

/// The schemas of the first items, and that of the rest, in whichever draft's words.
pub(super) fn items(schema: &Map<String, Value>) -> (&[Value], Option<&Value>) {
    match (schema.get("items"), schema.get("prefixItems")) {
        (Some(Value::Array(prefix)), _) => (prefix, schema.get("additionalItems")),
        (rest, Some(Value::Array(prefix))) => (prefix, rest),
        (rest, _) => (&[], rest),
    }
}

/// Whether two values are one for JSON Schema, to which `1` and `1.0` are the same number.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (Num::of(a), Num::of(b)) {
        (Some(a), Some(b)) => a.cmp(b) == Ordering::Equal,
        _ => a == b,
    }
}
