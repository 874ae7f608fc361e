//! Which changes of a JSON Schema break whom, row by row.

use nervebus::{Breaking, Change, Compatibility, ContentModel, Value, json};

/// What breaks when the one becomes the other, each as `direction change path`.
fn breaking(old: &Value, new: &Value, model: ContentModel) -> Vec<String> {
    let all = Compatibility::Full.breaking(old, new, model);
    all.iter().map(|Breaking { direction, change, path, .. }| format!("{direction} {change} {path}")).collect()
}

#[track_caller]
fn row(old: Value, new: Value, expected: &[&str]) {
    assert_eq!(breaking(&old, &new, ContentModel::Named), expected, "{old} -> {new}");
}

fn fields(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

fn closed(properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn property(schema: Value) -> Value {
    fields(json!({"a": schema}), &["a"])
}

#[test]
fn what_says_the_same_breaks_nobody() {
    let person = json!({
        "$defs": {"name": {"type": "string", "minLength": 1}},
        "type": "object", "title": "Person", "properties": {"name": {"$ref": "#/$defs/name"}}, "required": ["name"],
    });
    let same = json!({
        "$defs": {"text": {"type": "string", "minLength": 1, "description": "a name"}},
        "type": "object", "properties": {"name": {"$ref": "#/$defs/text"}}, "required": ["name"],
    });
    row(person.clone(), same, &[]);
    row(person.clone(), fields(json!({"name": {"type": "string", "minLength": 1}}), &["name"]), &[]);
    let odd = json!({"if": {"type": "string"}, "then": {"pattern": "^a"}, "not": {"const": 3}, "unevaluatedProperties": false});
    row(odd.clone(), odd, &[]);
    row(json!(true), json!({}), &[]);
    let tree = |name: &str| {
        json!({"$defs": {name: {"type": "object", "properties": {"next": {"$ref": format!("#/$defs/{name}")}}}},
               "$ref": format!("#/$defs/{name}")})
    };
    row(tree("node"), tree("tree"), &[]);
}

#[test]
fn properties_that_come_and_go() {
    let (one, two) = (json!({"a": {"type": "string"}}), json!({"a": {"type": "string"}, "b": {"type": "integer"}}));
    row(fields(one.clone(), &["a"]), fields(two.clone(), &["a"]), &[]);
    row(fields(two.clone(), &["a"]), fields(one.clone(), &["a"]), &[]);
    row(fields(one.clone(), &["a"]), fields(two.clone(), &["a", "b"]), &["backward required_added /b"]);
    row(fields(two.clone(), &["a", "b"]), fields(one.clone(), &["a"]), &["forward required_removed /b"]);
    row(fields(two.clone(), &["a"]), fields(two.clone(), &["a", "b"]), &["backward required_added /b"]);
    row(fields(two.clone(), &["a", "b"]), fields(two.clone(), &["a"]), &["forward required_removed /b"]);
    row(closed(one.clone()), closed(two.clone()), &["forward property_added /b"]);
    row(closed(two.clone()), closed(one.clone()), &["backward property_removed /b"]);
    row(fields(one.clone(), &[]), closed(one.clone()), &["backward content_closed "]);
    row(closed(one.clone()), fields(one.clone(), &[]), &["forward content_opened "]);
    // By the word of JSON Schema, old values may have anything under the new name.
    let open =
        |old: &Value, new: &Value| breaking(&fields(old.clone(), &[]), &fields(new.clone(), &[]), ContentModel::Open);
    assert_eq!(open(&one, &two), ["backward open_property_added /b"]);
    assert_eq!(open(&two, &one), ["forward open_property_removed /b"]);
    let mut said = fields(one, &[]);
    said["additionalProperties"] = json!(true);
    row(said, fields(two, &[]), &["backward open_property_added /b"]);
}

#[test]
fn values_of_a_property() {
    let cases: &[(Value, Value, &[&str])] = &[
        (json!({"type": "integer"}), json!({"type": "number"}), &["forward type_widened /a"]),
        (json!({"type": "number"}), json!({"type": "integer"}), &["backward type_narrowed /a"]),
        (json!({"type": "string"}), json!({"type": ["string", "null"]}), &["forward type_widened /a"]),
        (
            json!({"type": "string"}),
            json!({"type": "integer"}),
            &["backward type_narrowed /a", "forward type_widened /a"],
        ),
        (json!({"enum": ["x", "y"]}), json!({"enum": ["x", "y", "z"]}), &["forward values_added /a"]),
        (json!({"enum": ["x", "y"]}), json!({"const": "x"}), &["backward values_removed /a"]),
        (json!({"type": "string"}), json!({"enum": ["x"]}), &["backward values_removed /a"]),
        (json!({"enum": ["x", "y"]}), json!({"type": "string", "maxLength": 1}), &["forward values_added /a"]),
        (json!({"type": "boolean"}), json!({"enum": [true, false]}), &[]),
        (json!({"minimum": 1}), json!({"minimum": 2}), &["backward bound_tightened /a"]),
        (json!({"maximum": 1}), json!({"maximum": 2}), &["forward bound_loosened /a"]),
        (json!({"minimum": 1}), json!({"exclusiveMinimum": 1}), &["backward bound_tightened /a"]),
        (json!({"type": "integer", "exclusiveMinimum": 0}), json!({"type": "integer", "minimum": 1}), &[]),
        (
            json!({"minimum": 9_007_199_254_740_993_u64}),
            json!({"minimum": 9_007_199_254_740_992_u64}),
            &["forward bound_loosened /a"],
        ),
        (json!({"multipleOf": 6}), json!({"multipleOf": 3}), &["forward bound_loosened /a"]),
        (
            json!({"type": "string", "maxLength": 5}),
            json!({"type": "string", "maxLength": 4}),
            &["backward bound_tightened /a"],
        ),
        (json!({"type": "string", "minLength": 5}), json!({"type": "string"}), &["forward bound_loosened /a"]),
        (
            json!({"type": "string", "pattern": "^a"}),
            json!({"type": "string", "pattern": "^[ab]"}),
            &["backward pattern_changed /a", "forward pattern_changed /a"],
        ),
        (json!({"type": "string"}), json!({"type": "string", "format": "uuid"}), &["backward format_changed /a"]),
        (
            json!({"type": "integer", "format": "int32"}),
            json!({"type": "integer", "format": "int64"}),
            &["forward format_changed /a"],
        ),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            json!({"type": "array"}),
            &["forward type_widened /a/*"],
        ),
        (
            json!({"type": "array", "maxItems": 3}),
            json!({"type": "array", "maxItems": 2}),
            &["backward bound_tightened /a"],
        ),
        (json!({"type": "array"}), json!({"type": "array", "uniqueItems": true}), &["backward bound_tightened /a"]),
        (
            json!({"prefixItems": [{"type": "string"}], "type": "array"}),
            json!({"prefixItems": [{"type": "integer"}], "type": "array"}),
            &["backward type_narrowed /a/0", "forward type_widened /a/0"],
        ),
        (json!({"type": "object", "minProperties": 1}), json!({"type": "object"}), &["forward bound_loosened /a"]),
        (
            json!({"type": "object", "additionalProperties": {"type": "integer"}}),
            json!({"type": "object", "additionalProperties": {"type": "number"}}),
            &["forward content_opened /a"],
        ),
        (json!({"type": "string"}), json!(false), &["backward property_removed /a"]),
    ];
    for (old, new, expected) in cases {
        row(property(old.clone()), property(new.clone()), expected);
    }
}

#[test]
fn a_name_that_a_pattern_may_match_may_have_what_the_pattern_lets_it() {
    let pattern = json!({"type": "object", "properties": {"b": {}}, "patternProperties": {"^a": {"type": "integer"}}});
    let named = json!({"type": "object", "properties": {"b": {}, "a": {"type": "string"}}});
    row(pattern, named, &["backward open_property_added /a", "forward unknown "]);
    let twice = json!({"type": "number", "minimum": 1, "exclusiveMinimum": 1});
    row(twice, json!({"type": "number", "exclusiveMinimum": 1}), &[]);
}

#[test]
fn nested_objects_and_references() {
    let order = |street: Value| {
        json!({
            "type": "object",
            "properties": {"lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}, "to": {"$ref": "#/definitions/to"}},
            "$defs": {"line": {"type": "object", "properties": {"to": {"$ref": "#/definitions/to"}}}},
            "definitions": {"to": {"type": "object", "properties": {"st/reet": street}}},
        })
    };
    let (text, number) = (order(json!({"type": "string"})), order(json!({"type": ["string", "integer"]})));
    row(text, number, &["forward type_widened /lines/*/to/st~1reet", "forward type_widened /to/st~1reet"]);
    // What leads out of the document is not known.
    let far = property(json!({"$ref": "https://example.org/schema.json"}));
    row(property(json!({})), far, &["backward unknown /a"]);
}

#[test]
fn alternatives() {
    let circle = json!({"type": "object", "properties": {"kind": {"const": "circle"}, "r": {"type": "number"}}, "required": ["kind"]});
    let square = json!({"type": "object", "properties": {"kind": {"const": "square"}}, "required": ["kind"]});
    let one_of = |all: &[&Value]| json!({"oneOf": all});
    row(one_of(&[&circle]), one_of(&[&circle, &square]), &["forward alternative_added "]);
    row(one_of(&[&circle, &square]), one_of(&[&square, &circle]), &[]);
    let mut flat = circle.clone();
    flat["properties"]["r"] = json!({"type": "integer"});
    row(one_of(&[&circle, &square]), one_of(&[&flat, &square]), &["backward type_narrowed /r"]);
    // An `Option`, as schemars writes it.
    let option = json!({"anyOf": [circle, {"type": "null"}]});
    row(circle.clone(), option.clone(), &["forward type_widened "]);
    row(option, json!({"anyOf": [flat, {"type": "null"}]}), &["backward type_narrowed /r"]);
    row(json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), json!({"type": ["null", "string"]}), &[]);
    row(json!({"type": ["string", "null"]}), json!({"oneOf": [{"type": "string"}, {"type": "null"}]}), &[]);
    // The alternatives may overlap, and then a value that fits both fits neither.
    let overlap = json!({"oneOf": [{"type": "string"}, {"maxLength": 3}]});
    let unknown = breaking(&json!({"type": "string"}), &overlap, ContentModel::Named);
    assert!(unknown.contains(&"backward unknown ".to_owned()), "{unknown:?}");
    row(json!({"allOf": [{"minimum": 1}, {"maximum": 5}]}), json!({"minimum": 1, "maximum": 5}), &[]);
    row(json!({"type": "string", "enum": ["x", "y"]}), json!({"oneOf": [{"const": "x"}, {"const": "y"}]}), &[]);
}

#[test]
fn what_is_not_looked_into_is_unknown_and_never_compatible() {
    for (keyword, says) in [
        ("not", json!({"type": "string"})),
        ("unevaluatedProperties", json!(false)),
        ("propertyNames", json!({"maxLength": 3})),
        ("dependentRequired", json!({"a": ["b"]})),
        ("patternProperties", json!({"^x": {"type": "string"}})),
        ("contains", json!({"type": "string"})),
        ("$dynamicRef", json!("#node")),
        ("type", json!("text")),
    ] {
        let (old, new) = (json!({}), json!({keyword: says}));
        let found = Compatibility::Backward.breaking(&old, &new, ContentModel::Named);
        assert!(found.iter().any(|breaking| breaking.change == Change::Unknown), "{keyword}: {found:?}");
    }
    let draft = |draft: &str| json!({"$schema": format!("http://json-schema.org/{draft}/schema#"), "type": "string"});
    row(draft("draft-07"), json!({"type": "string"}), &["backward unknown ", "forward unknown "]);
    row(draft("draft-07"), draft("draft-06"), &[]);
    let within = json!({"properties": {"a": {"$id": "https://example.org/a", "type": "string"}}});
    row(within.clone(), within, &["backward unknown ", "forward unknown "]);
}

#[test]
fn many_alternatives_end() {
    let many: Vec<Value> =
        (0..400).map(|n| json!({"properties": {"k": {"minimum": n}}, "anyOf": [{"x": 1}, {"minLength": n}]})).collect();
    let (old, new) = (json!({"anyOf": many}), json!({"anyOf": many.iter().rev().skip(1).collect::<Vec<_>>()}));
    assert!(!Compatibility::Full.breaking(&old, &new, ContentModel::Open).is_empty());
    // Deeper than what is looked into, in one document or by references that lead into each other.
    let deep = (0..120).fold(json!({"type": "string"}), |inner, _| json!({"items": inner}));
    assert!(!Compatibility::Full.breaking(&deep, &deep, ContentModel::Named).is_empty());
    let round =
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}});
    let _ = Compatibility::Full.breaking(&round, &json!({"type": "string"}), ContentModel::Named);
}

#[test]
fn modes_are_read_by_name() {
    for mode in Compatibility::ALL {
        assert_eq!(mode.as_str().parse(), Ok(mode));
        assert_eq!(mode.as_str().to_uppercase().replace('_', "-").parse(), Ok(mode));
    }
    let error = "sideways".parse::<Compatibility>().unwrap_err().to_string();
    assert!(error.contains("\"sideways\"") && error.contains("backward_transitive"), "{error}");
}
