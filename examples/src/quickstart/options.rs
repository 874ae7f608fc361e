//! The command line.

use lexopt::{Arg, Parser};
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// What `--help` prints.
pub(super) const HELP: &str = "\
Run events through a nervebus and print the account of what became of each.

Usage: cargo run --release --example quickstart -- [OPTIONS]

Options:
  --events FILE       JSONL file of events, `-` is standard input
                      [default: a bundled story of a web shop]
  --json              print one JSON object instead of the tables
  --audit PATH        where the audit log goes
                      [default: a fresh temporary folder, named in the output]
  --deadline SECONDS  how long to wait for queued events at the end, 0 to 86400 [default: 5]
  --pace N            emit at most N events per second, 0.001 to 1000000, to watch the run or to
                      try Ctrl-C; events per second then say little about the bus
                      [default: as fast as the bus takes them]
  -h, --help          print this

One event a line, at most 16 MiB: {\"event_type\": \"...\", \"payload\": {...}, ...} as in the audit
log, or a CloudEvents 1.0 JSON document. A malformed line is reported on standard error with its
number, counted, and the run goes on.

Ctrl-C stops reading, gives the handlers until the deadline, and prints the account; a second
Ctrl-C exits at once.

Exit code: 0 the ledger balances and nothing was lost, 1 otherwise, 2 the options or files do not
work, 130 Ctrl-C.
";

const LONGEST_DEADLINE: f64 = 86_400.0;

const PACES: RangeInclusive<f64> = 0.001..=1_000_000.0;

/// Where the events come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// The story that is compiled in.
    Bundled,
    /// Standard input.
    Stdin,
    /// A JSONL file, or anything else that can be opened and read.
    File(PathBuf),
}

/// The options of one run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    pub(super) source: Source,
    pub(super) json: bool,
    pub(super) audit: Option<PathBuf>,
    pub(super) deadline: Duration,
    /// Events per second at most.
    pub(super) pace: Option<f64>,
}

impl Default for Options {
    fn default() -> Self {
        Options { source: Source::Bundled, json: false, audit: None, deadline: Duration::from_secs(5), pace: None }
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Run(Options),
    Help,
}

/// Reads the arguments, without the program's name; an option given twice counts the last time.
///
/// # Errors
/// One line that names the option and what is wrong with it.
pub(super) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, String> {
    let mut options = Options::default();
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|error| error.to_string())? {
        match arg {
            Arg::Long("events") => options.source = source(value(&mut parser, "--events FILE")?),
            Arg::Long("json") => options.json = true,
            Arg::Long("audit") => options.audit = Some(audit(value(&mut parser, "--audit PATH")?)?),
            Arg::Long("deadline") => options.deadline = deadline(&value(&mut parser, "--deadline SECONDS")?)?,
            Arg::Long("pace") => options.pace = Some(pace(&value(&mut parser, "--pace N")?)?),
            Arg::Long("help") | Arg::Short('h') => return Ok(Request::Help),
            other => return Err(other.unexpected().to_string()),
        }
    }
    Ok(Request::Run(options))
}

/// The option's value; another option in its place is a forgotten value and not a file name.
fn value(parser: &mut Parser, usage: &str) -> Result<OsString, String> {
    let attached = parser.optional_value();
    let explicit = attached.is_some();
    let value = match attached {
        Some(value) => value,
        None => parser.value().map_err(|_| format!("{usage}: the value is missing"))?,
    };
    if value.is_empty() {
        return Err(format!("{usage}: the value is empty"));
    }
    if !explicit && value.as_encoded_bytes().starts_with(b"--") {
        return Err(format!("{usage}: the value is missing (found {value:?})"));
    }
    Ok(value)
}

fn source(value: OsString) -> Source {
    if value == "-" { Source::Stdin } else { Source::File(value.into()) }
}

fn audit(value: OsString) -> Result<PathBuf, String> {
    if value == "-" {
        return Err("--audit PATH: the audit log needs a file, `-` is not one".to_owned());
    }
    Ok(value.into())
}

fn deadline(value: &OsString) -> Result<Duration, String> {
    let refuse = || format!("--deadline SECONDS: {value:?} is not a number from 0 to 86400");
    let seconds: f64 = value.to_str().and_then(|text| text.parse().ok()).ok_or_else(refuse)?;
    if !(0.0..=LONGEST_DEADLINE).contains(&seconds) {
        return Err(refuse());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| refuse())
}

fn pace(value: &OsString) -> Result<f64, String> {
    let pace: Option<f64> = value.to_str().and_then(|text| text.parse().ok());
    pace.filter(|pace| PACES.contains(pace))
        .ok_or_else(|| format!("--pace N: {value:?} is not a number from 0.001 to 1000000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_all(args: &[&str]) -> Result<Request, String> {
        parse(args.iter().map(OsString::from))
    }

    #[test]
    fn every_option_arrives() {
        let expected = Options {
            source: Source::File("in.jsonl".into()),
            json: true,
            audit: Some("out.jsonl".into()),
            deadline: Duration::from_millis(250),
            pace: Some(2.5),
        };
        let args = ["--events", "in.jsonl", "--json", "--audit=out.jsonl", "--deadline", "0.25", "--pace", "2.5"];
        assert_eq!(parse_all(&args), Ok(Request::Run(expected)));
    }

    #[test]
    fn the_defaults_are_those_of_the_help() {
        assert_eq!(parse_all(&[]), Ok(Request::Run(Options::default())));
        assert!(HELP.contains("[default: 5]") && Options::default().deadline == Duration::from_secs(5));
        assert_eq!(parse_all(&["--json", "-h"]), Ok(Request::Help));
    }

    #[test]
    fn what_does_not_work_is_named() {
        let cases: [(&[&str], &str); 12] = [
            (&["--evnts"], "--evnts"),
            (&["--events"], "--events FILE: the value is missing"),
            (&["--events", "--json"], "--events FILE: the value is missing"),
            (&["--audit", ""], "--audit PATH: the value is empty"),
            (&["--audit", "-"], "--audit PATH"),
            (&["--deadline", "soon"], "\"soon\" is not a number from 0 to 86400"),
            (&["--deadline", "-1"], "\"-1\" is not a number"),
            (&["--deadline", "NaN"], "\"NaN\" is not a number"),
            (&["--pace", "0"], "\"0\" is not a number from 0.001 to 1000000"),
            (&["--pace", "inf"], "\"inf\" is not a number"),
            (&["--pace"], "--pace N: the value is missing"),
            (&["extra"], "extra"),
        ];
        for (args, part) in cases {
            let error = parse_all(args).err().unwrap_or_default();
            assert!(error.contains(part) && !error.contains('\n'), "{args:?}: {error:?}");
        }
    }
}
