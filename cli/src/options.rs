//! The command line.

use std::collections::VecDeque;
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use lexopt::{Arg, Parser, ValueExt};

use crate::command::{ALL, Command};
use crate::text;

/// What the user asked for.
#[derive(Debug)]
pub(crate) enum Line {
    Help(Option<&'static Command>),
    Version,
    Run(&'static Command, Arguments),
}

/// What stands behind a command's words.
#[derive(Debug)]
pub(crate) struct Arguments {
    parser: Parser,
    name: &'static str,
    pub(crate) json: bool,
    words: VecDeque<OsString>,
}

/// A command line that asks for nothing we have.
#[derive(Debug)]
pub(crate) enum UsageError {
    NoCommand,
    /// The first words of some commands.
    Unfinished(String),
    UnknownCommand(String),
    NoFile(&'static str),
    TooMany(&'static str, OsString),
    /// An option's name and what is wrong with its value.
    Value(String, String),
    /// Anything else, in words.
    Other(String),
    Option(lexopt::Error),
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = || ALL.iter().map(|command| format!("'{}'", command.name)).collect::<Vec<_>>().join(", ");
        match self {
            Self::NoCommand => write!(f, "no command given; there are {}", names()),
            Self::Unfinished(words) => {
                let begun = |command: &&&Command| command.name.starts_with(&format!("{words} "));
                let names: Vec<_> = ALL.iter().filter(begun).map(|command| format!("'{}'", command.name)).collect();
                write!(f, "'{}' is the beginning of {}", text::safe(words), names.join(", "))
            }
            Self::UnknownCommand(name) => write!(f, "unknown command '{}'; there are {}", text::safe(name), names()),
            Self::NoFile(command) => write!(f, "'{command}' needs a FILE"),
            Self::TooMany(command, word) => {
                write!(f, "'{command}' does not know what to do with '{}'", text::safe(&word.to_string_lossy()))
            }
            Self::Value(option, reason) => write!(f, "{option}: {}", text::safe(reason)),
            Self::Other(reason) => f.write_str(&text::safe(reason)),
            Self::Option(error) => f.write_str(&text::safe(&error.to_string())),
        }
    }
}

impl Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self::Option(error)
    }
}

/// Reads the command's words; its options are left to it. `--help` and `--version` win over whatever follows them.
pub(crate) fn parse(mut parser: Parser) -> Result<Line, UsageError> {
    let (mut words, mut json) = (Vec::<String>::new(), false);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Line::Help(None)),
            Arg::Short('V') | Arg::Long("version") => return Ok(Line::Version),
            Arg::Long("json") => json = true,
            Arg::Value(word) => words.push(word.to_string_lossy().into_owned()),
            unknown => return Err(unknown.unexpected().into()),
        }
        let name = words.join(" ");
        if let Some(command) = ALL.iter().find(|command| command.name == name) {
            return split(command, parser, json);
        }
        if !name.is_empty() && !ALL.iter().any(|command| command.name.starts_with(&format!("{name} "))) {
            return Err(UsageError::UnknownCommand(name));
        }
    }
    match words.is_empty() {
        true => Err(UsageError::NoCommand),
        // The beginning of a command's words.
        false => Err(UsageError::Unfinished(words.join(" "))),
    }
}

fn split(command: &'static Command, mut parser: Parser, json: bool) -> Result<Line, UsageError> {
    // `--help` wins, wherever it stands.
    let rest = parser.raw_args()?.collect::<Vec<_>>();
    let before_end = rest.iter().take_while(|word| *word != "--");
    if before_end.clone().any(|word| word == "-h" || word == "--help") {
        return Ok(Line::Help(Some(command)));
    }
    let parser = Parser::from_args(rest);
    Ok(Line::Run(command, Arguments { parser, name: command.name, json, words: VecDeque::new() }))
}

impl Arguments {
    /// Goes through the options: `take` is given each by its name, and says whether it knows it.
    pub(crate) fn each(
        &mut self,
        mut take: impl FnMut(&str, &mut Values<'_>) -> Result<bool, UsageError>,
    ) -> Result<(), UsageError> {
        while let Some(arg) = self.parser.next()? {
            let name = match arg {
                Arg::Long("json") => {
                    self.json = true;
                    continue;
                }
                Arg::Value(word) => {
                    self.words.push_back(word);
                    continue;
                }
                Arg::Long(name) => format!("--{name}"),
                Arg::Short(letter) => format!("-{letter}"),
            };
            if !take(&name, &mut Values { parser: &mut self.parser, name: &name })? {
                return Err(UsageError::Other(format!("'{}' has no option '{name}'", self.name)));
            }
        }
        Ok(())
    }

    /// The words of the command.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// The file, which comes first.
    pub(crate) fn file(&mut self) -> Result<OsString, UsageError> {
        self.words.pop_front().ok_or(UsageError::NoFile(self.name))
    }

    /// The next word, if there is one more.
    pub(crate) fn word(&mut self) -> Option<OsString> {
        self.words.pop_front()
    }

    /// Nothing more is expected.
    pub(crate) fn end(&mut self) -> Result<(), UsageError> {
        self.words.pop_front().map_or(Ok(()), |word| Err(UsageError::TooMany(self.name, word)))
    }
}

/// The value of an option.
pub(crate) struct Values<'a> {
    parser: &'a mut Parser,
    name: &'a str,
}

impl Values<'_> {
    pub(crate) fn text(&mut self) -> Result<String, UsageError> {
        Ok(self.parser.value()?.string()?)
    }

    pub(crate) fn number<N: FromStr>(&mut self) -> Result<N, UsageError> {
        let text = self.text()?;
        text.parse().map_err(|_| self.wrong(format!("'{text}' is not a number that fits here")))
    }

    pub(crate) fn wrong(&self, reason: String) -> UsageError {
        UsageError::Value(self.name.to_owned(), reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<String, String> {
        match parse(Parser::from_args(words)) {
            Ok(Line::Run(command, arguments)) => Ok(format!("{} {}", command.name, arguments.json)),
            Ok(Line::Help(command)) => Ok(format!("help {}", command.map_or("", |command| command.name))),
            Ok(Line::Version) => Ok("version".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn help_wins_wherever_it_stands() {
        assert_eq!(parse_words(&["--json", "audit", "stats", "-"]), Ok("audit stats true".into()));
        assert_eq!(parse_words(&["audit", "query", "--type", "x", "--help"]), Ok("help audit query".into()));
        assert_eq!(parse_words(&["--help", "audit", "nonsense"]), Ok("help ".into()));
        assert_eq!(parse_words(&["audit", "stats", "--", "--help"]), Ok("audit stats false".into()));
    }

    #[test]
    fn a_wrong_line_names_what_is_wrong() {
        let wrong = |words: &[&str], part: &str| {
            let error = parse_words(words).expect_err("a wrong command line");
            assert!(error.contains(part), "{words:?}: {error}");
        };
        wrong(&[], "no command");
        wrong(&["audit"], "'audit'");
        wrong(&["audit", "veri\u{1b}fy", "x"], "'audit veri\\u{1b}fy'");
        wrong(&["--jsn"], "--jsn");
    }
}
