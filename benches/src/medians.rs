//! The table that ends every run: the median of each member, and how it compares with one of them in the same run.

#![allow(clippy::print_stdout, reason = "the table is the result")]

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{env, fmt, fs};

use serde_json::Value;

/// The member that the others of a group are compared with, by how the group's name begins.
const REFERENCES: [(&str, &str); 12] = [
    ("audit_emit", "nervebus/audit_off"),
    // The floor: what is above 1.00 is ours.
    ("dispatch", "arc_swap_cache/index"),
    ("flight", "one at a time"),
    ("lanes", "nervebus/publisher"),
    ("policies", "none"),
    ("redact/1 MB", "prose"),
    ("redact", "RegexSet"),
    ("ring", "core/ring"),
    ("rwlock_inline", "rwlock_hashmap/emit"),
    ("subscribe_to_topic", "nervebus/subscribe_unsubscribe"),
    ("typed_inline", "core/route_cache"),
    ("", "nervebus/emit"),
];

/// Nanoseconds an event: the median, the least and the most of a member's samples.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    least: f64,
    most: f64,
}

/// A member, as measured.
#[derive(Debug)]
struct Member {
    at: SystemTime,
    group: String,
    name: String,
    spread: Spread,
}

/// Prints a table for every group that was measured after `start`. Prints nothing when nothing was.
pub(crate) fn print(start: SystemTime) {
    let mut members = Vec::new();
    collect(&home(), start, &mut members);
    members.sort_by_key(|member| member.at);
    for group in members.chunk_by(|a, b| a.group == b.group) {
        let mut spreads: Vec<_> = group.iter().map(|member| (member.name.clone(), member.spread)).collect();
        print_group(&group[0].group, &mut spreads);
    }
}

/// Prints the table of a group, the fastest member first. Prints nothing for a group without members.
pub(crate) fn print_group(group: &str, members: &mut [(String, Spread)]) {
    if members.is_empty() {
        return;
    }
    members.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
    let reference = REFERENCES.iter().find(|(start, _)| group.starts_with(start)).map_or("", |(_, name)| name);
    let measured = members.iter().find(|(name, _)| name == reference);
    let (name, base) = measured.map_or(("(not measured)", f64::NAN), |(name, spread)| (name, spread.median));
    println!("\n| {group} | median ns an event (least to most) | × {name} |\n|---|---|---|");
    for (member, spread) in &*members {
        println!("| {member} | {spread:.1} | {:.2} |", spread.median / base);
    }
}

/// Where criterion keeps its samples.
fn home() -> PathBuf {
    let named = env::var_os("CRITERION_HOME").map(PathBuf::from);
    // A bench runs as `target/release/deps/<name>`.
    let target = || Some(env::current_exe().ok()?.ancestors().nth(3)?.join("criterion"));
    named.or_else(target).unwrap_or_else(|| PathBuf::from("target/criterion"))
}

/// Adds every member below `folder` whose samples are younger than `start`.
fn collect(folder: &Path, start: SystemTime, members: &mut Vec<Member>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.ends_with("new") {
            members.extend(read(&path).filter(|member| member.at >= start));
        } else if path.is_dir() {
            collect(&path, start, members);
        }
    }
}

fn read(folder: &Path) -> Option<Member> {
    let samples = folder.join("sample.json");
    let at = fs::metadata(&samples).ok()?.modified().ok()?;
    let benchmark = parse(&folder.join("benchmark.json"))?;
    let text = |field| Some(benchmark.get(field)?.as_str()?.to_owned());
    Some(Member { at, group: text("group_id")?, name: text("function_id")?, spread: spread(&parse(&samples)?)? })
}

fn parse(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn spread(samples: &Value) -> Option<Spread> {
    let numbers = |field| Some(samples.get(field)?.as_array()?.iter().filter_map(Value::as_f64));
    Spread::of(numbers("times")?.zip(numbers("iters")?).map(|(time, iters)| time / iters).collect())
}

impl Spread {
    /// The spread of samples; of none there is none.
    pub(crate) fn of(mut each: Vec<f64>) -> Option<Self> {
        each.sort_by(f64::total_cmp);
        let upper = *each.get(each.len() / 2)?;
        let lower = *each.get(each.len().checked_sub(1)? / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), least: *each.first()?, most: *each.last()? })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self { median, least, most }, digits) = (self, f.precision().unwrap_or(1));
        write!(f, "{median:.digits$} ({least:.digits$} to {most:.digits$})")
    }
}
