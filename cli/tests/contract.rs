//! `nervebus contract`, run as a user runs it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may say at once that something went wrong")]
#![allow(clippy::disallowed_methods, reason = "tests write files")]

use std::io::Write;
use std::process::Stdio;

#[path = "support/run.rs"]
mod run;

use nervebus::{Value, json};
use run::Folder;

fn contract(topics: Value) -> String {
    json!({"nervebus_contract": 1, "topics": topics}).to_string()
}

fn order(versions: Value) -> Value {
    json!({"category": "event", "key": "id", "emits": ["order.shipped"], "versions": versions})
}

fn fields(required: &[&str]) -> Value {
    json!({"type": "object", "properties": {"id": {"type": "integer"}, "note": {"type": "string"}}, "required": required})
}

/// An old contract, and one that is wider.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("old.json", contract(json!({"order.placed": order(json!({"1": fields(&["id"])}))})));
    let new = json!({"order.placed": order(json!({"1": fields(&["id"]), "2": fields(&["id", "note"])}))});
    folder.write("new.json", contract(new));
    folder
}

#[test]
fn a_breaking_change_is_named_and_exits_with_1() {
    let folder = folder();
    let (code, table, stderr) = folder.run(&["contract", "check", "old.json", "new.json"]);
    assert_eq!((code, stderr.as_str()), (1, ""));
    let expected = "1 breaking change\n  order.placed v1 -> v2  backward  required_added  /note  required\n";
    assert_eq!(table, expected);
    let (code, json, _) = folder.run(&["contract", "check", "old.json", "new.json", "--json"]);
    let report = run::object(&json);
    let change = &report["breaking"][0];
    assert_eq!((code, &report["compatible"], &change["change"]), (1, &json!(false), &json!("required_added")));
    assert_eq!(
        (&change["topic"], &change["new_version"], &change["path"]),
        (&json!("order.placed"), &json!(2), &json!("/note"))
    );
}

#[test]
fn what_breaks_depends_on_the_mode() {
    let folder = folder();
    let check = |old: &str, new: &str, mode: &str| folder.run(&["contract", "check", old, new, "--mode", mode]).0;
    assert_eq!(check("old.json", "new.json", "forward"), 0);
    assert_eq!(check("old.json", "new.json", "full"), 1);
    assert_eq!(check("old.json", "new.json", "none"), 0);
    assert_eq!(
        folder.clean(&["contract", "check", "old.json", "old.json", "--mode", "FULL-transitive"]),
        "nothing breaks\n"
    );
    // Without a mode, what the old contract says: that is what was relied on.
    let relaxed = std::fs::read_to_string(folder.path("old.json"))
        .unwrap()
        .replace("{\"category\"", "{\"compatibility\":\"none\",\"category\"");
    folder.write("relaxed.json", &relaxed);
    folder.clean(&["contract", "check", "relaxed.json", "new.json"]);
    assert_eq!(folder.run(&["contract", "check", "old.json", "relaxed.json"]).0, 0);
    // An upcaster from version 1 makes up for what version 2 cannot read.
    let upcast = std::fs::read_to_string(folder.path("new.json"))
        .unwrap()
        .replace("{\"category\"", "{\"upcasts\":[1],\"category\"");
    folder.write("upcast.json", upcast);
    folder.clean(&["contract", "check", "old.json", "upcast.json"]);
}

#[test]
fn topics_versions_categories_and_keys_that_change_are_named() {
    let folder = folder();
    let changes = |topics: Value| {
        folder.write("other.json", contract(topics));
        let (code, json, _) = folder.run(&["contract", "check", "new.json", "other.json", "--json"]);
        let all = run::object(&json)["breaking"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["change"].to_string())
            .collect::<Vec<_>>();
        assert_eq!(code, i32::from(!all.is_empty()));
        all.join(" ")
    };
    let both = json!({"1": fields(&["id"]), "2": fields(&["id", "note"])});
    assert_eq!(changes(json!({})), "\"topic_removed\"");
    assert_eq!(changes(json!({"order.placed": order(json!({"2": fields(&["id", "note"])}))})), "\"version_removed\"");
    let mut other = order(both.clone());
    other["category"] = json!("command");
    other["key"] = json!(null);
    assert_eq!(changes(json!({"order.placed": other})), "\"category_changed\" \"key_changed\"");
    // What comes, and what a topic emits, breaks nobody.
    let mut more = order(both);
    more["emits"] = json!([]);
    assert_eq!(changes(json!({"order.placed": more, "order.lost": order(json!({"1": {}}))})), "");
}

#[test]
fn two_schemas_are_compared_as_such() {
    let folder = Folder::new();
    folder.write("a.v1.json", r#"{"type": "object", "properties": {"n": {"type": "number"}}}"#);
    folder
        .write("a.v2.json", r#"{"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "string"}}}"#);
    let (code, table, _) = folder.run(&["contract", "check", "a.v1.json", "a.v2.json"]);
    assert_eq!(code, 1);
    assert!(table.contains("type_narrowed  /n  type: \"number\" -> \"integer\"") && !table.contains("/m"), "{table}");
    let (_, table, _) = folder.run(&["contract", "check", "a.v1.json", "a.v2.json", "--open-content"]);
    assert!(table.starts_with("2 breaking changes") && table.contains("open_property_added"), "{table}");
    folder.write("odd.json", r#"{"type": "objekt"}"#);
    let (_, table, _) = folder.run(&["contract", "check", "a.v1.json", "odd.json"]);
    assert!(table.contains("unknown  /  type: \"objekt\""), "the old schema says something there as well: {table}");
    folder.write("contract.json", contract(json!({})));
    let (code, _, stderr) = folder.run(&["contract", "check", "a.v1.json", "contract.json"]);
    assert!(code == 3 && stderr.contains("OLD is a JSON Schema, and NEW a contract"), "{stderr}");
}

#[test]
fn a_contract_is_shown_and_exported() {
    let folder = folder();
    let table = folder.clean(&["contract", "show", "new.json"]);
    let row = "order.placed  event     backward             1 2           key=id  -> order.shipped";
    assert!(table.starts_with("topic ") && table.contains(row), "{table}");
    let again = folder.clean(&["contract", "show", "new.json", "--json"]);
    folder.write("again.json", &again);
    assert_eq!(folder.clean(&["contract", "show", "again.json", "--json"]), again);

    let document = folder.clean(&["contract", "export", "--asyncapi", "new.json", "--title", "shop"]);
    assert_eq!(document, folder.clean(&["contract", "export", "again.json", "--asyncapi", "--title", "shop"]));
    assert!(document.contains("\n  \"asyncapi\": \"3.0.0\",\n"), "{document}");
    let one_line =
        run::object(&folder.clean(&["contract", "export", "new.json", "--asyncapi", "--title", "shop", "--json"]));
    assert_eq!((document.parse::<Value>().unwrap(), &one_line["info"]["title"]), (one_line.clone(), &json!("shop")));
}

#[test]
fn standard_input_is_read_as_well() {
    let folder = folder();
    let mut child = folder.command(&["contract", "check", "-", "new.json"]).stdin(Stdio::piped()).spawn().unwrap();
    let old = std::fs::read(folder.path("old.json")).unwrap();
    child.stdin.take().unwrap().write_all(&old).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
}

#[test]
fn wrong_lines_exit_with_2_and_wrong_files_with_3() {
    let folder = folder();
    folder.write("broken.json", "{\"nervebus_contract\": ");
    folder.write("odd.json", contract(json!({"order.placed": {"versions": {"one": {}}}})));
    folder.write("misspelt.json", contract(json!({"order.placed": {"versions": {}, "catgory\u{1b}": "event"}})));
    folder.write("letters.json", "{\"letters\": []}");
    folder.write("list.json", "[]");
    folder.write("schema.json", "{\"type\": \"object\"}");
    let cases: [(&[&str], i32, &str); 14] = [
        (&["contract", "check", "old.json"], 2, "needs OLD and NEW"),
        (
            &["contract", "check", "old.json", "new.json", "--mode", "sideways"],
            2,
            "--mode: \"sideways\" is no compatibility",
        ),
        (&["contract", "check", "old.json", "new.json", "--strict"], 2, "no option '--strict'"),
        (&["contract", "export", "old.json"], 2, "--asyncapi"),
        (&["contract", "show"], 2, "needs a FILE"),
        (&["contract", "check", "old.json", "missing.json"], 3, "cannot read 'missing.json'"),
        (&["contract", "check", "letters.json", "letters.json"], 3, "'letters.json' is no contract, which"),
        (&["contract", "check", "schema.json", "list.json"], 3, "'list.json' is no contract, which"),
        (&["contract", "check", "old.json", "schema.json"], 3, "OLD is a contract, and NEW a JSON Schema"),
        (&["contract", "check", "schema.json", "old.json"], 3, "OLD is a JSON Schema, and NEW a contract"),
        (&["contract", "show", "schema.json"], 3, "'schema.json' is no contract but a JSON Schema"),
        (&["contract", "show", "broken.json"], 3, "'broken.json' is no JSON: EOF"),
        (&["contract", "show", "odd.json"], 3, "/topics/order.placed/versions/one: a version is a whole number"),
        (&["contract", "show", "misspelt.json"], 3, "/topics/order.placed/catgory\\u{1b}: there are category, key"),
    ];
    for (arguments, expected, part) in cases {
        let (code, stdout, stderr) = folder.run(arguments);
        assert_eq!((code, stdout.as_str()), (expected, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(part) && !stderr.contains('\u{1b}'), "{arguments:?}: {stderr}");
    }
}

#[test]
fn each_command_has_help_with_examples_and_exit_codes() {
    let folder = Folder::new();
    let all = folder.clean(&["--help"]);
    for command in ["check", "show", "export"] {
        assert!(all.contains(&format!("  contract {command} ")), "{all}");
        let help = folder.clean(&["contract", command, "--help"]);
        for part in ["Usage:\n", "Examples:\n", "Exit codes: 0 ", &format!("  nervebus contract {command} ")] {
            assert!(help.contains(part), "no {part:?} in\n{help}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
}
