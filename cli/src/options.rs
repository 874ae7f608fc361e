//! The command line.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;

use lexopt::{Arg, Parser};

/// What the user asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    AuditStats(StatsOptions),
    /// `nervebus redact`, and whether counts are wanted.
    Redact {
        stats: bool,
    },
}

/// The options of `nervebus audit stats`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StatsOptions {
    /// A path, or `-` for standard input.
    pub(crate) file: OsString,
    pub(crate) json: bool,
}

/// A command line that asks for nothing we have.
#[derive(Debug)]
pub(crate) enum UsageError {
    NoCommand,
    UnknownCommand(String),
    NoFile,
    SecondFile(OsString),
    Option(lexopt::Error),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCommand => f.write_str("no command given; there are 'audit stats FILE' and 'redact'"),
            Self::UnknownCommand(name) => {
                write!(f, "unknown command '{name}'; there are 'audit stats FILE' and 'redact'")
            }
            Self::NoFile => f.write_str("'audit stats' needs a FILE ('-' for standard input)"),
            Self::SecondFile(file) => write!(f, "'audit stats' takes one FILE; '{}' is a second one", file.display()),
            Self::Option(error) => error.fmt(f),
        }
    }
}

impl Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self::Option(error)
    }
}

/// Reads the command line. `--help` and `--version` win over whatever follows them.
pub(crate) fn parse(mut parser: Parser) -> Result<Command, UsageError> {
    let mut words: Vec<OsString> = Vec::new();
    let (mut json, mut stats) = (false, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help),
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Long("json") => json = true,
            Arg::Long("stats") => stats = true,
            Arg::Value(word) => words.push(word),
            unknown => return Err(unknown.unexpected().into()),
        }
    }
    let mut words = words.into_iter();
    match (words.next(), words.next()) {
        (None, _) => return Err(UsageError::NoCommand),
        (Some(first), None) if first == "redact" && !json => return Ok(Command::Redact { stats }),
        (Some(first), Some(second)) if first == "audit" && second == "stats" => (),
        (Some(first), second) => {
            let words: Vec<_> = [Some(first), second].iter().flatten().map(|w| w.display().to_string()).collect();
            return Err(UsageError::UnknownCommand(words.join(" ")));
        }
    }
    let file = words.next().ok_or(UsageError::NoFile)?;
    match words.next() {
        Some(second) => Err(UsageError::SecondFile(second)),
        None => Ok(Command::AuditStats(StatsOptions { file, json })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Command, String> {
        parse(Parser::from_args(words)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_may_stand_anywhere() {
        let expected = Ok(Command::AuditStats(StatsOptions { file: "-".into(), json: true }));
        assert_eq!(parse_words(&["audit", "stats", "-", "--json"]), expected);
        assert_eq!(parse_words(&["--json", "audit", "stats", "-"]), expected);
        assert_eq!(parse_words(&["audit", "stats", "--help"]), Ok(Command::Help));
    }

    #[test]
    fn a_wrong_line_names_what_is_wrong() {
        let wrong = |words: &[&str], part: &str| {
            let error = parse_words(words).expect_err("a wrong command line");
            assert!(error.contains(part), "{words:?}: {error}");
        };
        wrong(&[], "no command");
        wrong(&["audit"], "'audit'");
        wrong(&["audit", "verify", "x"], "'audit verify'");
        wrong(&["audit", "stats"], "needs a FILE");
        wrong(&["audit", "stats", "a", "b"], "'b'");
        wrong(&["audit", "stats", "a", "--jsn"], "--jsn");
    }
}
