//! `nervebus audit verify`: whether somebody changed the log.

use std::io;

use nervebus::{AuditVerifier, Beginning, Verification, json};

use crate::Outcome;
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::{Output, Style, outcome};
use crate::progress::Progress;
use crate::text::safe;

pub(crate) const COMMAND: Command = Command {
    name: "audit verify",
    arguments: "FILE",
    summary: "Whether a line was edited, removed, inserted or moved.",
    help: "\
nervebus audit verify: whether a line of a log with a chain of hashes was edited, removed, inserted or moved

Usage:
  nervebus audit verify FILE [--anchor HASH] [--expect-last HASH] [--json]

FILE is the file that the log is written to; its rotated and compressed files are checked with it, oldest first. The
hash of the last line is printed: keep it somewhere else, and give it next time. A rotated file can be named by itself:
then only what stands in it is checked, and its first line is not. A log without hashes cannot be checked: that is said.

Options:
  --anchor HASH      Some line must have this hash, which was kept from an earlier run, or the log must begin right
                     behind it.
  --expect-last HASH The last line must have this hash.
  --json             Print one JSON object.

What it cannot know:
  Whether lines were cut off the end, unless --expect-last or --anchor says what was there.
  Whether everything from some line on was rewritten with hashes that fit: they have no key. Only an anchor behind that
  line shows it.
  What stood before the oldest file, if older ones were rotated away; its first line is not checked then, unless
  --anchor gives the hash before it.
  Whether a line was edited or lines right before it were removed, where the numbers leave room for both.

Examples:
  nervebus audit verify events.jsonl
  nervebus audit verify events.jsonl --anchor \"$(cat last-hash)\" --json

Exit codes: 0 everything that can be checked fits; 1 something does not, or no line has a hash; 2 wrong command line;
3 cannot read or write.
",
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let (mut anchor, mut last) = (None, None);
    arguments.each(|name, values| {
        match name {
            "--anchor" => anchor = Some(values.text()?),
            "--expect-last" => last = Some(values.text()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let file = arguments.file()?;
    arguments.end()?;
    let wrong = |name: &str, reason: String| UsageError::Value(name.to_owned(), reason);
    let mut verifier = AuditVerifier::at(&file);
    if let Some(hash) = &anchor {
        verifier = verifier.anchor(hash).map_err(|error| wrong("--anchor", error.to_string()))?;
    }
    if let Some(hash) = &last {
        verifier = verifier.expect_last(hash).map_err(|error| wrong("--expect-last", error.to_string()))?;
    }
    let mut progress = Progress::new();
    let found = verifier.run_with(|bytes| progress.at(bytes));
    drop(progress);
    let found = match found {
        Ok(found) => found,
        Err(error) => return Ok(crate::audit::refused(&error)),
    };
    let anchored = anchor.is_some() || last.is_some();
    let written = if arguments.json { write_json(&found) } else { write_table(&found, anchored) };
    let clean = if found.is_intact() { Outcome::Clean } else { Outcome::Damaged };
    Ok(outcome(written.map(|()| clean)))
}

fn beginning(found: &Verification) -> &'static str {
    match found.beginning {
        Beginning::Whole => "whole",
        Beginning::Anchored => "anchored",
        _ => "unknown",
    }
}

fn write_json(found: &Verification) -> io::Result<()> {
    let findings = found.findings.iter().map(|finding| {
        json!({
            "file": finding.path.display().to_string(),
            "line": finding.line,
            "offset": finding.offset,
            "fault": finding.fault.to_string(),
        })
    });
    let report = json!({
        "intact": found.is_intact(),
        "files": found.files,
        "lines": found.lines,
        "bytes": found.bytes,
        "verified": found.verified,
        "before_chain": found.before_chain,
        "seals": found.seals,
        "unsealed": found.unsealed,
        "recovered": found.recovered,
        "unfinished_bytes": found.unfinished,
        "chained": !found.is_unchained(),
        "rotated_from": found.rotated_from.as_ref().map(|log| log.display().to_string()),
        "beginning": beginning(found),
        "last_hash": found.last_hash,
        "found": found.found,
        "findings": findings.collect::<Vec<_>>(),
    });
    let mut out = Output::new();
    out.line(&report.to_string())?;
    out.flush()
}

fn write_table(found: &Verification, anchored: bool) -> io::Result<()> {
    let mut out = Output::new();
    if found.is_unchained() {
        return write_unchained(out, found);
    }
    if found.is_intact() {
        out.styled(Style::Good, "everything that can be checked fits")?;
    } else {
        let places = if found.found == 1 { "1 place does" } else { &format!("{} places do", found.found) };
        out.styled(Style::Bad, &format!("{places} not fit"))?;
    }
    for finding in &found.findings {
        // Whole, whatever the width: what is wrong stands at the end.
        out.line(&format!("  {}", safe(&finding.to_string())))?;
    }
    out.line("")?;
    for (name, count) in [
        ("files", found.files),
        ("lines", found.lines),
        ("verified", found.verified),
        ("seals", found.seals),
        ("recovered", found.recovered),
    ] {
        out.row(&format!("{name:<11}{count}"))?;
    }
    out.line(&format!("last hash  {}", found.last_hash.as_deref().unwrap_or("-")))?;
    write_limits(&mut out, found, anchored)?;
    out.flush()
}

/// A log of which nothing can be said, good or bad.
fn write_unchained(mut out: Output, found: &Verification) -> io::Result<()> {
    out.styled(Style::Head, "nothing to check: no line has a hash")?;
    out.line("")?;
    out.row(&format!("{:<11}{}", "files", found.files))?;
    out.row(&format!("{:<11}{}", "lines", found.lines))?;
    out.line("")?;
    out.line(
        "A log has hashes if it was built with AuditLog::chain. If this one was, they were taken out of every line.",
    )?;
    out.flush()
}

/// What the result does not say.
fn write_limits(out: &mut Output, found: &Verification, anchored: bool) -> io::Result<()> {
    out.line("")?;
    if let Some(log) = &found.rotated_from {
        let log = safe(&log.display().to_string());
        out.line(&format!("this is one rotated file; all of the log is checked by 'nervebus audit verify {log}'"))?;
    }
    if found.beginning == Beginning::Unknown && found.lines > 0 {
        out.line("not known: what stood before the first line, which is not checked itself (--anchor)")?;
    }
    if found.before_chain > 0 {
        out.line(&format!("not known: who wrote the {} lines before the chain begins", found.before_chain))?;
    }
    if found.unsealed > 0 {
        let files = if found.unsealed == 1 {
            "1 rotated file has no seal at its end"
        } else {
            &format!("{} rotated files have no seal at their end", found.unsealed)
        };
        out.line(&format!("not known: why {files}"))?;
    }
    if found.unfinished > 0 {
        out.line(&format!("not known: what the unfinished line of {} bytes at the end was to be", found.unfinished))?;
    }
    if !anchored {
        out.line("not known: whether lines were cut off the end, or all was rewritten from some line on (--anchor)")?;
    }
    Ok(())
}
