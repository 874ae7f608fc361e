//! The quality of redaction on labelled texts and payloads, if they are there: `../shared/data` beside the workspace.
#![allow(clippy::disallowed_methods, reason = "the data is read from the disk, and unpacked by a command")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use nervebus::{Redactor, Value};

/// The documents in a packed file of `../shared/data`; or none, with a message.
fn data(name: &str) -> Vec<Value> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder");
    let path = workspace.join("../shared/data").join(name);
    let unpacked = Command::new("gzip").arg("-dc").arg(&path).output();
    let Some(unpacked) = unpacked.ok().filter(|unpacked| path.exists() && unpacked.status.success()) else {
        println!("there is no {name} beside the workspace: its quality is not measured");
        return Vec::new();
    };
    let lines = unpacked.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("one document a line")).collect()
}

fn strings<'v>(item: &'v Value, key: &str) -> impl Iterator<Item = &'v str> {
    item[key].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn redacted(line: &str) -> String {
    let mut out = Vec::new();
    Redactor::default().redact_line(line.as_bytes(), &mut out);
    String::from_utf8(out).expect("UTF-8 stays UTF-8")
}

/// Whether a value, or a run of it that is 40 % of it and at least six characters long, is still there.
fn leaks(out: &str, text: &str, sensitive: &[&str]) -> bool {
    let masked = sensitive.iter().fold(text.to_string(), |masked, value| masked.replace(value, "\0"));
    sensitive.iter().any(|value| {
        let characters: Vec<_> = value.chars().collect();
        let length = (characters.len() * 2).div_ceil(5).max(6);
        let parts = characters.windows(length).map(|part| part.iter().collect::<String>());
        out.contains(value) || parts.into_iter().any(|part| out.contains(&part) && !masked.contains(&part))
    })
}

/// Hits and total.
type Share = (usize, usize);

fn add(share: &mut Share, hit: bool) {
    share.0 += usize::from(hit);
    share.1 += 1;
}

fn percent(share: Share) -> f64 {
    if share.1 == 0 { 100.0 } else { 100.0 * share.0 as f64 / share.1 as f64 }
}

#[test]
fn labelled_texts_are_redacted_and_hard_negatives_are_left_alone() {
    let (mut classes, mut wrong, mut words) = (BTreeMap::<String, Share>::new(), (0, 0), (0, 0));
    let items = data("redaction_dev.jsonl.gz");
    for item in items.iter().filter(|item| item["tier"] == "core" && item["ambiguous"] == false) {
        let text = item["text"].as_str().expect("a text");
        let out = redacted(text);
        if item["kind"] == "negative" {
            add(&mut wrong, out != text);
            continue;
        }
        let sensitive: Vec<_> = strings(item, "sensitive").collect();
        let class = item["category"].as_str().unwrap_or_default().to_string();
        add(classes.entry(class).or_default(), !leaks(&out, text, &sensitive));
        let masked = sensitive.iter().fold(text.to_string(), |masked, value| masked.replace(value, " "));
        let parts = masked.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= 4);
        parts.for_each(|word| add(&mut words, !out.contains(word)));
    }
    if items.is_empty() {
        return;
    }
    let all = classes.values().fold((0, 0), |all, share| (all.0 + share.0, all.1 + share.1));
    println!(
        "recall {:.1} %, false positives {:.1} %, words lost {:.1} %",
        percent(all),
        percent(wrong),
        percent(words)
    );
    assert!(percent(all) >= 98.0, "recall {:.1} %: {classes:?}", percent(all));
    for (class, share) in &classes {
        assert!(percent(*share) >= 95.0, "recall of {class}: {share:?}");
    }
    assert!(percent(wrong) <= 2.0, "false positives: {wrong:?}");
    assert!(percent(words) <= 1.0, "words lost beside findings: {words:?}");
}

#[test]
fn labelled_payloads_lose_their_secrets_and_keep_the_rest() {
    let (mut vanished, mut survived) = ((0, 0), (0, 0));
    let items = data("redaction_payloads_dev.jsonl.gz");
    for item in items.iter().filter(|item| item["tier"] == "core" && item["ambiguous"] == false) {
        let out = redacted(&item["payload"].to_string());
        let after: Value = serde_json::from_str(&out).expect("JSON stays JSON");
        let view = format!("{out}\n{after}").replace("\\\"", "\"").replace("\\\\", "\\");
        if strings(item, "must_vanish").next().is_some() {
            add(&mut vanished, !strings(item, "must_vanish").any(|value| view.contains(value)));
        }
        strings(item, "must_survive").for_each(|value| add(&mut survived, view.contains(value)));
    }
    if items.is_empty() {
        return;
    }
    println!("vanished {:.1} %, survived {:.1} %", percent(vanished), percent(survived));
    assert!(percent(vanished) >= 97.0, "{vanished:?}");
    assert!(percent(survived) >= 99.5, "{survived:?}");
}
