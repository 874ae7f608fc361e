//! Holds the house rules over the sources: which module may import which, how long a file and a function may be,
//! no `unsafe` outside the core, no `mod.rs`. Every breach is printed with its file and line.
#![allow(clippy::disallowed_methods, reason = "the sources are read from the disk")]

use std::fs;
use std::path::Path;

/// The bands of `std/src`, from the top down: a module may import those above it, and itself.
const BANDS: &[&str] =
    &["platform", "redact", "context", "schema", "admission", "delivery", "records", "observe", "bridge"];
/// Bands whose features (the files and folders in them) do not import each other; they meet in the builder.
const CLOSED: &[&str] = &["admission", "delivery", "records", "observe"];
/// What the features of a closed band stand on, in the order in which it is stacked: every feature of the band may
/// import these, and they import only those before them. `delivery` is one engine, in parts small enough to read, with
/// its features (workers, emit, shutdown) on top; the audit's writer is the other end of its handle, and its lines are what other
/// logs are made of, and its reader is how they are read. The rule for names is one of those that a validation holds events against.
const SPINES: &[&[&str]] = &[
    &[
        "delivery/count",
        "delivery/failure",
        "delivery/waking",
        "delivery/class",
        "delivery/shed",
        "delivery/retry",
        "delivery/timing",
        "delivery/histogram",
        "delivery/reply",
        "delivery/report",
        "delivery/envelope",
        "delivery/room",
        "delivery/spill",
        "delivery/key",
        "delivery/handler",
        "delivery/parking",
        "delivery/breaker",
        "delivery/subscription",
        "delivery/guards",
        "delivery/directory",
        "delivery/dead_letters",
        "delivery/timer",
        "delivery/again",
        "delivery/watch",
        "delivery/lane",
        "delivery/lanes",
        "delivery/log_tap",
        "delivery/idle",
        "delivery/deliver",
        "delivery/engine",
        "delivery/failing",
        "delivery/ledger",
    ],
    &["records/line", "records/audit", "records/reader"],
    &["observe/stats", "observe/metrics"],
    &["admission/name"],
];
/// Plain values beside the bands. Every band may import them; they import only each other.
const VALUES: &[&str] = &["error", "event", "event_id", "headers", "payload", "range", "receipt", "typed_event"];
/// What breaks a rule on purpose: the importing module, the imported one, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("event", "delivery/envelope", "an `Event` is a borrowed view of the envelope, and holds nothing of its own"),
    ("event", "delivery/class", "an `Event` says its class, which is a plain value"),
    ("event_id", "platform/random", "an identity has some bits that are its process's own"),
    ("typed_event", "delivery/class", "a type says the class of its events, which is a plain value"),
];
const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// One source file: its path from the repository's root, and its text.
struct Source {
    path: String,
    text: String,
}

/// Blanks comments, strings and character literals, so that what is left is code. Lines keep their numbers.
fn code_of(text: &str) -> String {
    let (chars, mut code, mut at) = (text.chars().collect::<Vec<_>>(), String::new(), 0);
    let starts = |at: usize, with: &str| with.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    while at < chars.len() {
        let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
        let raw = chars[at] == 'r' && chars.get(at + 1 + hashes) == Some(&'"');
        let begin = at;
        if starts(at, "//") {
            at += chars[at..].iter().take_while(|c| **c != '\n').count();
        } else if starts(at, "/*") {
            let mut depth = 0;
            while at < chars.len() {
                depth += i32::from(starts(at, "/*")) - i32::from(starts(at, "*/"));
                at += if starts(at, "/*") || starts(at, "*/") { 2 } else { 1 };
                if depth == 0 {
                    break;
                }
            }
        } else if raw && !begins_inside_word(&code) {
            let end = format!("\"{}", "#".repeat(hashes));
            at += hashes + 2;
            while at < chars.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if chars[at] == '"' || starts(at, "'\\") || (chars[at] == '\'' && chars.get(at + 2) == Some(&'\'')) {
            at += 1;
            while at < chars.len() && chars[at] != chars[begin] {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else {
            code.push(chars[at]);
            at += 1;
            continue;
        }
        code.extend(chars[begin..at.min(chars.len())].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether the next character continues a name, as the `r` of `bar"` does; `br"` and `cr"` are raw strings still.
fn begins_inside_word(code: &str) -> bool {
    let before = code.trim_end_matches(['b', 'c']);
    before.ends_with(is_word)
}

/// Where `word` stands as a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
}

/// The offset behind the brace that closes the first one in `code[from..]`.
fn close_of(code: &str, from: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[from..].char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == '}' && depth == 0 {
            return from + at + 1;
        }
    }
    code.len()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// Blanks test modules: a test may import what it needs to build its case.
fn without_tests(mut code: String) -> String {
    while let Some(at) = code.find("#[cfg(test)]") {
        let body = code[at..].find(['{', ';']).map_or(code.len(), |offset| at + offset);
        let end = if code[body..].starts_with('{') { close_of(&code, body) } else { body };
        let blank: String = code[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(at..end, &blank);
    }
    code
}

/// Reads the path, or the tree of paths such as `a::{b::C, d as e}`, at the start of `rest`: each with the name it gets.
fn paths(rest: &mut &str, prefix: &[String], found: &mut Vec<(Vec<String>, String)>) {
    let mut path = prefix.to_vec();
    loop {
        *rest = rest.trim_start();
        if let Some(mut inner) = rest.strip_prefix('{') {
            while !inner.trim_start().starts_with('}') && !inner.is_empty() {
                paths(&mut inner, &path, found);
                inner = inner.trim_start().strip_prefix(',').unwrap_or(inner.trim_start());
                if inner.starts_with(|c| !is_word(c) && !" \n*{}".contains(c)) {
                    break;
                }
            }
            *rest = inner.trim_start().strip_prefix('}').unwrap_or(inner);
            return;
        }
        path.push(take_name(rest));
        match rest.strip_prefix("::") {
            Some(more) => *rest = more,
            None => break,
        }
    }
    let mut name = path.last().cloned().unwrap_or_default();
    if let Some(mut renamed) = rest.trim_start().strip_prefix("as ") {
        name = take_name(&mut renamed);
        *rest = renamed;
    }
    found.push((path, name));
}

fn take_name(rest: &mut &str) -> String {
    let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let (name, behind) = rest.split_at(if rest.starts_with('*') { 1 } else { length });
    *rest = behind;
    name.to_string()
}

/// The paths behind every `start` (such as `crate::`) in the code, each with its offset.
fn paths_from(code: &str, start: &str) -> Vec<(usize, Vec<String>, String)> {
    let mut all = Vec::new();
    for (at, _) in code.match_indices(start).filter(|(at, _)| !code[..*at].ends_with(is_word)) {
        let mut found = Vec::new();
        paths(&mut &code[at + start.len()..], &[], &mut found);
        all.extend(found.into_iter().map(|(path, name)| (at, path, name)));
    }
    all
}

/// The sources of `std/src` and what is needed to say which module a path leads to.
struct Tree {
    /// `("delivery/lane", code without comments, literals and tests)`; `lib` is the empty path.
    modules: Vec<(String, String)>,
    /// Modules that their parent declares for tests only.
    tests: Vec<String>,
}

impl Tree {
    fn of(sources: &[Source]) -> Self {
        let mut tree = Self { modules: Vec::new(), tests: Vec::new() };
        for source in sources {
            let Some(module) = source.path.strip_prefix("std/src/").and_then(|path| path.strip_suffix(".rs")) else {
                continue;
            };
            let (parent, code) = (if module == "lib" { "" } else { module }, code_of(&source.text));
            for (at, test) in code.match_indices("#[cfg(test)]") {
                let declared = code[at + test.len()..].split(';').next().unwrap_or_default().trim();
                let name = declared.strip_prefix("mod ").filter(|name| name.chars().all(is_word));
                tree.tests.extend(name.map(|name| format!("{parent}/{name}").trim_start_matches('/').to_string()));
            }
            tree.modules.push((parent.to_string(), without_tests(code)));
        }
        tree
    }

    /// Whether a module, or one it is in, is there for tests only.
    fn is_test(&self, module: &[String]) -> bool {
        (1..=module.len()).any(|depth| self.tests.contains(&module[..depth].join("/")))
    }

    fn has(&self, module: &str) -> bool {
        self.modules.iter().any(|(name, _)| name == module || name.starts_with(&format!("{module}/")))
    }

    /// The feature that a path from the crate's root leads to: `crate::delivery::lane::Lane` to `delivery/lane`. A
    /// name that a parent re-exports leads to where it comes from. `None`: to something outside, or not known.
    fn resolve(&self, path: &[String]) -> Option<String> {
        let mut module = String::new();
        for (depth, name) in path.iter().take(2).enumerate() {
            let child = if depth == 0 { name.clone() } else { format!("{module}/{name}") };
            if self.has(&child) {
                module = child;
                continue;
            }
            let code = &self.modules.iter().find(|(parent, _)| *parent == module)?.1;
            let origin = paths_from(code, "use ").into_iter().find(|(_, _, reexported)| reexported == name);
            let Some((_, mut origin, _)) = origin else { break };
            if ["crate", "self"].contains(&origin[0].as_str()) {
                origin.remove(0);
            } else if depth == 1 {
                origin.insert(0, module.clone());
            }
            return if origin.len() < 2 || !self.has(&origin[0]) { None } else { self.resolve(&origin) };
        }
        (!module.is_empty()).then_some(module)
    }
}

/// What a feature belongs to, as a number: it may import what has a lower one.
fn rank(feature: &str) -> usize {
    let top = feature.split('/').next().unwrap_or_default();
    match BANDS.iter().position(|band| *band == top) {
        Some(band) => band + 1,
        None if VALUES.contains(&top) => 0,
        None => BANDS.len() + 1,
    }
}

/// Whether `from` may import its sibling `to` in a closed band.
fn is_stacked(from: &str, to: &str) -> bool {
    SPINES.iter().any(|spine| {
        let place = |feature| spine.iter().position(|part| *part == feature);
        place(to).is_some_and(|to| place(from).is_none_or(|from| to < from))
    })
}

/// The rule that an import breaks.
fn refusal(from: &str, to: &str) -> Option<String> {
    let band = from.split('/').next().unwrap_or_default();
    let siblings = from.contains('/') && to.contains('/') && from != to && to.starts_with(&format!("{band}/"));
    if rank(to) > rank(from) {
        Some(format!("`{from}` may not import `{to}`, which is below it"))
    } else if siblings && CLOSED.contains(&band) && !is_stacked(from, to) {
        Some(format!("`{from}` may not import `{to}`: features of `{band}` do not import each other"))
    } else {
        None
    }
}

/// Every import of a module of `std/src` in a file: its line, the importing feature and the imported one.
fn imports(source: &Source, tree: &Tree) -> Vec<(usize, String, String)> {
    let Some(module) = source.path.strip_prefix("std/src/").and_then(|path| path.strip_suffix(".rs")) else {
        return Vec::new();
    };
    let own: Vec<String> = module.split('/').map(String::from).collect();
    let feature = own[..own.len().min(2)].join("/");
    if module == "lib" || tree.is_test(&own) {
        return Vec::new();
    }
    let code = without_tests(code_of(&source.text));
    let mut targets = paths_from(&code, "crate::");
    for (at, path, name) in paths_from(&code, "super::") {
        let ups = 1 + path.iter().take_while(|part| *part == "super").count();
        let mut full = own[..own.len().saturating_sub(ups)].to_vec();
        full.extend(path.into_iter().skip(ups - 1));
        targets.push((at, full, name));
    }
    let found = targets.into_iter().filter_map(|(at, path, _)| Some((line_of(&code, at), tree.resolve(&path)?)));
    found.map(|(line, to)| (line, feature.clone(), to)).collect()
}

fn lengths(source: &Source, code: &str) -> Vec<(usize, String)> {
    let mut breaches = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES {
        breaches.push((lines, format!("{lines} lines in a file; at most {FILE_LINES}, for more are two ideas")));
    }
    for at in words(code, "fn").filter(|at| code[at + 2..].trim_start().starts_with(is_word)) {
        let mut depth = 0;
        let head = code[at..].find(|c| {
            depth += i32::from("([".contains(c)) - i32::from(")]".contains(c));
            depth == 0 && (c == '{' || c == ';')
        });
        let Some(body) = head.map(|head| at + head).filter(|body| code[*body..].starts_with('{')) else { continue };
        let lines = line_of(code, close_of(code, body)) - line_of(code, at) + 1;
        if lines > FUNCTION_LINES {
            breaches.push((line_of(code, at), format!("{lines} lines in a function; at most {FUNCTION_LINES}")));
        }
    }
    breaches
}

/// Every breach in the sources, as `path:line: rule`.
fn breaches(sources: &[Source]) -> Vec<String> {
    let tree = Tree::of(sources);
    let mut all = Vec::new();
    for source in sources {
        let code = code_of(&source.text);
        let mut found = lengths(source, &code);
        let refused = imports(source, &tree).into_iter().filter_map(|(line, from, to)| {
            let excepted = EXCEPTIONS.iter().any(|(importer, imported, _)| (*importer, *imported) == (&*from, &*to));
            Some((line, refusal(&from, &to).filter(|_| !excepted)?))
        });
        found.extend(refused);
        if source.path.starts_with("std/") {
            let unsafes =
                words(&code, "unsafe").map(|at| (line_of(&code, at), "`unsafe` lives in the core only".into()));
            found.extend(unsafes);
        }
        if source.path.ends_with("/mod.rs") {
            found.push((1, "a module `foo` is `foo.rs` beside `foo/`, never `mod.rs`".into()));
        }
        all.extend(found.into_iter().map(|(line, rule)| format!("{}:{line}: {rule}", source.path)));
    }
    all.dedup();
    all
}

fn read(folder: &Path, root: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a folder that can be listed").path();
        if path.is_dir() {
            read(&path, root, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source that can be read");
            let path = path.strip_prefix(root).expect("a path below the root").to_string_lossy().replace('\\', "/");
            sources.push(Source { path, text });
        }
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder");
    let mut sources = Vec::new();
    for package in ["core", "std", "std/macros", "cli"] {
        read(&root.join(package).join("src"), root, &mut sources);
    }
    assert!(sources.iter().any(|source| source.path == "std/src/lib.rs"), "no sources below {}", root.display());
    sources
}

#[test]
fn the_sources_keep_the_rules() {
    let found = breaches(&sources());
    assert!(found.is_empty(), "{} breaches of the house rules:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_exception_is_needed_and_has_a_reason() {
    let sources = sources();
    let tree = Tree::of(&sources);
    let imported: Vec<_> = sources.iter().flat_map(|source| imports(source, &tree)).collect();
    for (from, to, reason) in EXCEPTIONS {
        assert!(!reason.is_empty(), "`{from}` imports `{to}` without a reason");
        assert!(refusal(from, to).is_some(), "`{from}` may import `{to}`: the exception is not needed");
        let used = imported.iter().any(|(_, importer, import)| importer == from && import == to);
        assert!(used, "`{from}` does not import `{to}` any more: the exception can go");
    }
}

/// Checks one file beside a fixed tree of small ones.
fn judge(path: &str, text: &str) -> Vec<String> {
    let file = |path: &str, text: &str| Source { path: format!("std/src/{path}"), text: text.into() };
    breaches(&[
        file(
            "lib.rs",
            "pub mod delivery; mod bus; pub use bus::Bus; pub use delivery::lane::{Lane, Overflow as Full};",
        ),
        file(
            "delivery.rs",
            "#[cfg(test)]\nmod faults; mod worker; pub(crate) use worker::Worker; pub(crate) struct Shared;",
        ),
        file("delivery/worker.rs", ""),
        file("platform/clock.rs", ""),
        file("event.rs", ""),
        file("bus.rs", ""),
        file(path, text),
    ])
}

#[test]
fn an_import_against_the_direction_is_found() {
    let below = |path, text| judge(path, text).iter().any(|breach| breach.contains("which is below it"));
    assert!(below("platform/rng.rs", "\nuse crate::delivery::worker::Worker;"));
    assert!(below("platform/rng.rs", "fn f() { let x = crate::delivery::worker::run(); }"));
    assert!(below("admission/rate.rs", "use crate::{event::Event, bus::Bus};"));
    assert!(below("admission/rate.rs", "use crate::Bus;"), "a name that lib.rs re-exports leads to its module");
    assert!(below("platform/rng.rs", "use super::super::Full;"), "and so does one that lib.rs renames");
    assert!(below("payload.rs", "use crate::platform::clock::Clock;"), "a value imports values only");
    assert_eq!(
        judge("platform/rng.rs", "// why\nuse crate::bus::Bus;"),
        ["std/src/platform/rng.rs:2: `platform/rng` may not import `bus`, which is below it"]
    );
}

#[test]
fn an_import_of_a_sibling_is_found() {
    let sibling = |path, text| judge(path, text).iter().any(|breach| breach.contains("do not import each other"));
    assert!(sibling("delivery/lane.rs", "use super::worker::Worker;"));
    assert!(sibling("delivery/lane.rs", "use crate::delivery::Worker;"), "the band's re-export hides nothing");
    assert!(sibling("delivery/lane/slot.rs", "use super::super::worker::Worker;"));
    assert!(refusal("delivery/count", "delivery/lane").is_some(), "the spine is stacked in one direction");
    assert!(refusal("delivery/lane", "delivery/count").is_none());
    assert!(refusal("delivery/worker", "delivery/lane").is_none(), "and everything may stand on it");
}

#[test]
fn what_keeps_the_rules_passes() {
    let text = r##"
        use crate::{event::Event, platform::clock::{self, Clock}};
        use super::Shared;
        use self::slot::Slot; // crate::bus::Bus
        const TEXT: &str = "crate::bus::Bus unsafe { \" "; /* unsafe /* crate::bus */ unsafe */
        const RAW: &str = r#"unsafe " crate::bus::Bus"#;
        fn lifetimes<'a>(x: &'a str) -> char { let _ = ('{', '\''); unsafe_not; 'x' }
        #[cfg(test)]
        mod tests { use crate::bus::Bus; fn f() { if true {} } }
    "##;
    assert_eq!(judge("delivery/lane.rs", text), [""; 0]);
    assert_eq!(judge("delivery/faults.rs", "use crate::Bus;"), [""; 0], "declared for tests only");
    assert_eq!(judge("builder.rs", "use crate::{bus::Bus, delivery::{worker::Worker, Shared}};"), [""; 0]);
}

#[test]
fn size_unsafe_and_mod_rs_are_found() {
    let long = format!("fn short() {{}}\n\nfn long(x: [u8; 3]) {{\n{}}}\n", "    step();\n".repeat(70));
    assert_eq!(judge("bridge/nats.rs", &long), ["std/src/bridge/nats.rs:3: 72 lines in a function; at most 70"]);
    assert!(judge("bridge/nats.rs", &"\n".repeat(501))[0].starts_with("std/src/bridge/nats.rs:501: 501 lines"));
    assert!(
        judge("bridge/nats.rs", "\nfn f() { unsafe { g() } }")[0].starts_with("std/src/bridge/nats.rs:2: `unsafe`")
    );
    assert!(judge("bridge/mod.rs", "")[0].contains("never `mod.rs`"));
}
