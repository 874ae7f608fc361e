//! What the checker calls compatible is: values that fit the old schema fit the new one.

use std::cell::Cell;

use nervebus::{Change, Compatibility, ContentModel, SchemaRegistry, Value, json};
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest::test_runner::{Config, TestRunner};

/// Few of each, so that two schemas often have something to do with each other.
fn scalar() -> BoxedStrategy<Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-2..4_i64).prop_map(Value::from),
        prop_oneof![Just(0.5), Just(1.0), Just(-1.5)].prop_map(Value::from),
        prop_oneof![Just(""), Just("a"), Just("bb"), Just("ccc")].prop_map(Value::from),
    ]
    .boxed()
}

fn value() -> BoxedStrategy<Value> {
    scalar()
        .prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[xyz]", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
        .boxed()
}

fn types() -> BoxedStrategy<Value> {
    const NAMES: &[&str] = &["null", "boolean", "integer", "number", "string", "array", "object"];
    let one = prop::sample::select(NAMES).prop_map(Value::from);
    prop_oneof![3 => one, 1 => prop::sample::subsequence(NAMES, 1..4).prop_map(|names| json!(names))].boxed()
}

/// One keyword with what it says.
fn keyword(inner: BoxedStrategy<Value>) -> BoxedStrategy<(&'static str, Value)> {
    let names = || prop::sample::subsequence(&["x", "y", "z"][..], 0..3).prop_map(|names| json!(names));
    let count = |name: &'static str| (0..3_u64).prop_map(move |limit| (name, json!(limit)));
    let limit = |name: &'static str| (-2..4_i64).prop_map(move |limit| (name, json!(limit)));
    let list =
        |name: &'static str| prop::collection::vec(inner.clone(), 1..4).prop_map(move |all| (name, Value::from(all)));
    let properties = prop::collection::btree_map("[xyz]", inner.clone(), 1..3);
    prop_oneof![
        6 => types().prop_map(|types| ("type", types)),
        2 => prop::collection::vec(scalar(), 1..4).prop_map(|all| ("enum", Value::from(all))),
        1 => scalar().prop_map(|value| ("const", value)),
        1 => limit("minimum"),
        1 => limit("maximum"),
        1 => limit("exclusiveMinimum"),
        1 => limit("exclusiveMaximum"),
        1 => (1..5_u64).prop_map(|step| ("multipleOf", json!(step))),
        1 => count("minLength"),
        1 => count("maxLength"),
        1 => count("minItems"),
        1 => count("maxItems"),
        1 => count("minProperties"),
        1 => count("maxProperties"),
        1 => any::<bool>().prop_map(|unique| ("uniqueItems", json!(unique))),
        2 => inner.clone().prop_map(|schema| ("items", schema)),
        1 => list("prefixItems"),
        4 => properties.prop_map(|all| ("properties", Value::Object(all.into_iter().collect()))),
        3 => names().prop_map(|names| ("required", names)),
        2 => inner.clone().prop_map(|schema| ("additionalProperties", schema)),
        1 => inner.clone().prop_map(|schema| ("patternProperties", json!({"^[xy]": schema}))),
        1 => inner.clone().prop_map(|schema| ("not", schema)),
        1 => inner.clone().prop_map(|schema| ("contains", schema)),
        1 => inner.clone().prop_map(|schema| ("propertyNames", schema)),
        1 => Just(("$ref", json!("#/$defs/d"))),
        1 => list("allOf"),
        2 => list("anyOf"),
        3 => list("oneOf"),
    ]
    .boxed()
}

fn schema() -> BoxedStrategy<Value> {
    let leaf =
        prop_oneof![1 => any::<bool>().prop_map(Value::from), 4 => types().prop_map(|types| json!({"type": types}))];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop::collection::vec(keyword(inner.boxed()), 0..4)
            .prop_map(|all| Value::Object(all.into_iter().map(|(name, says)| (name.to_owned(), says)).collect()))
    })
    .boxed()
}

/// A schema with something that its references lead to.
fn document() -> impl Strategy<Value = Value> {
    let target = prop_oneof![
        types().prop_map(|types| json!({"type": types})),
        scalar().prop_map(|value| json!({"const": value}))
    ];
    (schema(), target).prop_map(|(schema, target)| {
        let mut fields = schema.as_object().cloned().unwrap_or_default();
        fields.insert("$defs".into(), json!({"d": target}));
        Value::Object(fields)
    })
}

/// A schema and one like it: a part of it is another, or a keyword is gone.
fn pair() -> impl Strategy<Value = (Value, Value)> {
    (document(), document(), any::<prop::sample::Index>(), 0..4_u8).prop_map(|(old, other, at, how)| {
        let mut new = old.clone();
        let Some(fields) = new.as_object_mut() else { return (old, other) };
        let names: Vec<String> = fields.keys().filter(|name| *name != "$defs").cloned().collect();
        match (how, names.is_empty()) {
            (0, _) | (_, true) => return (old, other),
            (1, _) => drop(fields.remove(at.get(&names))),
            (2, _) => {
                let others = other.as_object().into_iter().flatten();
                fields.extend(others.map(|(name, says)| (name.clone(), says.clone())));
            }
            _ => {
                let widened = json!({"anyOf": [old, {"type": "string"}], "$defs": old["$defs"]});
                return (old, widened);
            }
        }
        (old, new)
    })
}

#[test]
fn what_is_compatible_reads_what_was_written() {
    // Values are tried against both schemas, so each case is some dozen.
    let mut runner = TestRunner::new(Config { cases: 1_000, failure_persistence: None, ..Config::default() });
    let (compatible, told) = (Cell::new(0_u32), Cell::new(0_u32));
    runner
        .run(&(pair(), prop::collection::vec(value(), 40)), |((old, new), values)| {
            let mut schemas = SchemaRegistry::new().compatibility(Compatibility::None);
            let registered = schemas
                .register_schema("a.b", 1, old.clone())
                .and_then(|schemas| schemas.register_schema("a.b", 2, new.clone()));
            if registered.is_err() {
                return Err(TestCaseError::reject("not both are schemas"));
            }
            let breaking = Compatibility::Backward.breaking(&old, &new, ContentModel::Open);
            if breaking.iter().any(|breaking| breaking.change != Change::Unknown) {
                told.set(told.get() + 1);
            }
            if !breaking.is_empty() {
                return Ok(());
            }
            compatible.set(compatible.get() + 1);
            for value in &values {
                if schemas.validate("a.b", 1, value).is_ok() {
                    let fits = schemas.validate("a.b", 2, value);
                    prop_assert!(fits.is_ok(), "{value} fits\n{old}\nand not\n{new}: {fits:?}");
                }
            }
            Ok(())
        })
        .unwrap();
    let (compatible, told) = (compatible.get(), told.get());
    assert!(compatible > 100 && told > 100, "{compatible} compatible, {told} told to break: too few to say anything");
}

#[test]
fn a_schema_is_compatible_with_itself() {
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    runner
        .run(&document(), |schema| {
            let found = Compatibility::Full.breaking(&schema, &schema, ContentModel::Open);
            prop_assert!(found.is_empty(), "{schema}: {found:?}");
            Ok(())
        })
        .unwrap();
}
