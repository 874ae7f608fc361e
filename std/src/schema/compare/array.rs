//! Lists.

use serde_json::{Map, Value};

use super::types::Types;
use super::writer::{Writer, items};
use super::{Comparison, below};
use crate::schema::change::Rule;

impl<'a> Comparison<'a> {
    pub(super) fn compare_arrays(&mut self, writer: &Writer<'a>, map: &'a Map<String, Value>, path: &str) {
        if !writer.types().has(Types::ARRAY) {
            return;
        }
        self.compare_count(writer, map, ["minItems", "maxItems"], path);
        let longest = writer.count("maxItems", false);
        let may_have = |at: usize| longest.is_none_or(|longest| (at as u64) < longest);
        let (prefix, rest) = items(map);
        for (at, schema) in prefix.iter().enumerate().filter(|(at, _)| may_have(*at)) {
            self.compare(&writer.item(self.of, at), schema, &below(path, &at.to_string()));
        }
        if let Some(rest) = rest {
            let places = writer.places().max(prefix.len());
            for at in (prefix.len()..places).filter(|at| may_have(*at)) {
                self.compare(&writer.item(self.of, at), rest, &below(path, &at.to_string()));
            }
            if may_have(places) {
                self.compare(&writer.item(self.of, places), rest, &below(path, "*"));
            }
        }
        if map.get("uniqueItems") == Some(&Value::Bool(true))
            && longest.is_none_or(|longest| longest > 1)
            && !self.carries(writer, map, &["uniqueItems"])
        {
            self.find(path, Rule::Bound, "uniqueItems", None, Some(Value::Bool(true)));
        }
        if let Some(says) = map.get("contains")
            && !self.carries(writer, map, &["contains", "minContains", "maxContains"])
        {
            self.unknown(path, "contains", Some(says));
        }
        if let Some(says) = map.get("unevaluatedItems").filter(|says| **says != Value::Bool(true)) {
            self.unknown(path, "unevaluatedItems", Some(says));
        }
    }
}
