//! Whether a schema accepts one value, as far as that takes no regular expressions.

use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::number::Num;
use super::resolve;
use super::types::Types;
use super::writer::{equal, items};

const DEPTH: usize = 32;

/// Whether the value fits; `None` where that is not looked into.
pub(super) fn accepts(root: &Value, legacy: bool, schema: &Value, value: &Value) -> Option<bool> {
    Acceptance { root, legacy }.accepts(schema, value, DEPTH)
}

#[derive(Clone, Copy)]
struct Acceptance<'a> {
    root: &'a Value,
    legacy: bool,
}

/// Both hold. A known `false` decides, whatever the other is.
fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

impl Acceptance<'_> {
    fn accepts(self, schema: &Value, value: &Value, depth: usize) -> Option<bool> {
        let depth = depth.checked_sub(1)?;
        let map = match schema {
            Value::Bool(allowed) => return Some(*allowed),
            Value::Object(map) => map,
            _ => return None,
        };
        if self.legacy
            && let Some(reference) = map.get("$ref")
        {
            return self.accepts(resolve(self.root, reference)?, value, depth);
        }
        map.iter().map(|(keyword, says)| self.keyword(map, keyword, says, value, depth)).fold(Some(true), both)
    }

    fn keyword(
        self,
        map: &Map<String, Value>,
        keyword: &str,
        says: &Value,
        value: &Value,
        depth: usize,
    ) -> Option<bool> {
        let list = || says.as_array().map(Vec::as_slice).unwrap_or_default();
        let of = |schemas: &[Value]| -> Vec<Option<bool>> {
            schemas.iter().map(|schema| self.accepts(schema, value, depth)).collect()
        };
        match keyword {
            "$ref" => self.accepts(resolve(self.root, says)?, value, depth),
            "type" => Types::of_keyword(says).map(|types| Types::of_value(value).is_within(types)),
            "enum" => Some(list().iter().any(|one| equal(one, value))),
            "const" => Some(equal(says, value)),
            "allOf" => of(list()).into_iter().fold(Some(true), both),
            "anyOf" => any(&of(list())),
            "oneOf" => exactly_one(&of(list())),
            "not" => self.accepts(says, value, depth).map(|fits| !fits),
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                numeric(keyword, says, value)
            }
            "minLength" | "maxLength" => {
                counted(keyword, "minLength", says, value.as_str().map(|text| text.chars().count()))
            }
            "minItems" | "maxItems" => counted(keyword, "minItems", says, value.as_array().map(Vec::len)),
            "minProperties" | "maxProperties" => {
                counted(keyword, "minProperties", says, value.as_object().map(Map::len))
            }
            "required" => Some(
                value
                    .as_object()
                    .is_none_or(|fields| list().iter().filter_map(Value::as_str).all(|name| fields.contains_key(name))),
            ),
            "properties" => self.properties(says, value, depth),
            "items" => match (items(map), value.as_array()) {
                (_, None) => Some(true),
                (([], Some(rest)), Some(all)) => {
                    all.iter().map(|item| self.accepts(rest, item, depth)).fold(Some(true), both)
                }
                _ => None,
            },
            _ => elsewhere(keyword, says, value),
        }
    }

    fn properties(self, says: &Value, value: &Value, depth: usize) -> Option<bool> {
        let (Some(schemas), Some(fields)) = (says.as_object(), value.as_object()) else { return Some(true) };
        let known = schemas.iter().filter_map(|(name, schema)| Some((schema, fields.get(name)?)));
        known.map(|(schema, field)| self.accepts(schema, field, depth)).fold(Some(true), both)
    }
}

/// What is not looked into here: it holds for values of other types, and is open for the rest. Other keywords say nothing.
fn elsewhere(keyword: &str, says: &Value, value: &Value) -> Option<bool> {
    let concerns = match keyword {
        "format" if value.is_number() => says.as_str().is_some_and(super::scalar::is_numeric_format),
        "pattern" | "format" | "contentEncoding" | "contentMediaType" => value.is_string(),
        "patternProperties"
        | "additionalProperties"
        | "propertyNames"
        | "dependentRequired"
        | "dependentSchemas"
        | "unevaluatedProperties"
        | "dependencies" => value.is_object(),
        "prefixItems" | "additionalItems" | "uniqueItems" | "contains" | "unevaluatedItems" | "minContains"
        | "maxContains" => value.is_array(),
        "if" | "$dynamicRef" | "$recursiveRef" => true,
        _ => false,
    };
    if concerns { None } else { Some(true) }
}

fn any(results: &[Option<bool>]) -> Option<bool> {
    if results.contains(&Some(true)) {
        return Some(true);
    }
    if results.contains(&None) { None } else { Some(false) }
}

fn exactly_one(results: &[Option<bool>]) -> Option<bool> {
    let fitting = results.iter().filter(|result| **result == Some(true)).count();
    if fitting > 1 {
        return Some(false);
    }
    if results.contains(&None) { None } else { Some(fitting == 1) }
}

fn numeric(keyword: &str, says: &Value, value: &Value) -> Option<bool> {
    let Some(number) = Num::of(value) else { return Some(true) };
    let limit = Num::of(says)?;
    let order = number.cmp(limit);
    match keyword {
        "minimum" => Some(order != Ordering::Less),
        "maximum" => Some(order != Ordering::Greater),
        "exclusiveMinimum" => Some(order == Ordering::Greater),
        "exclusiveMaximum" => Some(order == Ordering::Less),
        _ => number.is_multiple_of(limit),
    }
}

fn counted(keyword: &str, least: &str, says: &Value, count: Option<usize>) -> Option<bool> {
    let Some(count) = count else { return Some(true) };
    let limit = Num::of(says)?;
    let order = Num::Integer(count as i128).cmp(limit);
    Some(if keyword == least { order != Ordering::Less } else { order != Ordering::Greater })
}
