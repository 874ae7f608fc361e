//! Objects: which properties there must be, may be, and what is in them.

use serde_json::{Map, Value};

use super::types::Types;
use super::writer::{Property, Writer};
use super::{Comparison, below};
use crate::schema::change::Rule;

impl<'a> Comparison<'a> {
    pub(super) fn compare_objects(&mut self, writer: &Writer<'a>, map: &'a Map<String, Value>, path: &str) {
        if !writer.types().has(Types::OBJECT) {
            return;
        }
        let properties = map.get("properties").and_then(Value::as_object);
        self.compare_required(writer, map, path);
        for (name, schema) in properties.into_iter().flatten() {
            self.compare_property(writer, name, schema, path);
        }
        self.compare_content(writer, map, path);
        self.compare_sizes(writer, map, path);
        for keyword in ["propertyNames", "dependentRequired", "dependentSchemas", "dependencies"] {
            if let Some(says) = map.get(keyword)
                && !self.carries(writer, map, &[keyword])
            {
                self.unknown(path, keyword, Some(says));
            }
        }
        if let Some(says) = map.get("unevaluatedProperties").filter(|says| **says != Value::Bool(true)) {
            self.unknown(path, "unevaluatedProperties", Some(says));
        }
    }

    fn compare_required(&mut self, writer: &Writer<'a>, map: &'a Map<String, Value>, path: &str) {
        let names = map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        for name in names.filter(|name| !writer.requires(name)) {
            self.find(&below(path, name), Rule::Required, "required", None, None);
        }
    }

    fn compare_property(&mut self, writer: &Writer<'a>, name: &'a str, schema: &'a Value, path: &str) {
        let path = below(path, name);
        match writer.property(self.of, self.of.writer, name) {
            Property::Absent | Property::Unnamed => {}
            Property::Known(writer) => self.compare(&writer, schema, &path),
            Property::Open => {
                let narrows = !self.probe(|this| this.compare(&Writer::ANY, schema, &path)).is_empty();
                if narrows {
                    self.find(&path, Rule::OpenProperty, "properties", None, Some(schema.clone()));
                }
            }
        }
    }

    /// What the reader lets be under names that it does not give.
    fn compare_content(&mut self, writer: &Writer<'a>, map: &'a Map<String, Value>, path: &str) {
        let has_patterns = map.get("patternProperties").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
        if has_patterns {
            if !self.carries(writer, map, &["patternProperties", "properties", "additionalProperties"]) {
                self.unknown(path, "patternProperties", map.get("patternProperties"));
            }
            return;
        }
        let Some(says) = map.get("additionalProperties").filter(|says| **says != Value::Bool(true)) else { return };
        let is_closed = *says == Value::Bool(false);
        let names = |name: &str| map.get("properties").is_some_and(|properties| properties.get(name).is_some());
        for name in writer.names().into_iter().filter(|name| !names(name)) {
            match writer.property(self.of, self.of.writer, name) {
                Property::Known(known) if is_closed && !known.is_empty() => {
                    let ours = writer.get("properties").find_map(|properties| properties.get(name));
                    self.find(&below(path, name), Rule::Property, "properties", ours.cloned(), None);
                }
                Property::Known(known) => self.compare(&known, says, &below(path, name)),
                _ => {}
            }
        }
        let path_of_others = below(path, "*");
        let findings = match writer.others(self.of) {
            Property::Absent => return,
            Property::Known(others) => self.probe(|this| this.compare(&others, says, &path_of_others)),
            _ => self.probe(|this| this.compare(&Writer::ANY, says, &path_of_others)),
        };
        if !findings.is_empty() {
            let ours = writer.get("additionalProperties").next().cloned();
            self.find(path, Rule::Content, "additionalProperties", ours, Some(says.clone()));
        }
    }

    fn compare_sizes(&mut self, writer: &Writer<'a>, map: &'a Map<String, Value>, path: &str) {
        let required = writer.names().into_iter().filter(|name| writer.requires(name)).count() as u64;
        let least = writer.count("minProperties", true).unwrap_or(0).max(required);
        let named = matches!(writer.others(self.of), Property::Absent).then(|| writer.names().len() as u64);
        let most = writer.count("maxProperties", false).into_iter().chain(named).min();
        self.compare_counted(Some(least), writer, map, "minProperties", path);
        self.compare_counted(most, writer, map, "maxProperties", path);
    }
}
