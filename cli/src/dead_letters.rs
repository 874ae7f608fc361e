//! Commands that look at the file of a log of dead letters, and what they share.

pub(crate) mod list;
pub(crate) mod purge;
pub(crate) mod retry;
pub(crate) mod show;

use std::ffi::OsString;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use nervebus::{DeadLetterFile, Pattern, Reason, StoredLetter, Topic};

use crate::Outcome;
use crate::audit::moment;
use crate::options::{Arguments, UsageError, Values};
use crate::output::complain;

/// What `--help` says of the options that choose letters.
macro_rules! choice_help {
    () => {
        "  --type PATTERN     Only letters of events of this type, or of those that the pattern matches.
  --reason REASON    Only letters with this reason: handler_error, handler_timeout, expired, ...
  --handler NAME     Only letters of this handler.
  --since TIME       Only letters that came at this moment or later: 2026-01-31, 2026-01-31T23:59:59Z, seconds since
                     1970, or how long ago: 90s, 15m, 2h, 1d, 1w.
  --until TIME       Only letters that came before this moment.
"
    };
}
pub(crate) use choice_help;

/// Which letters somebody means.
#[derive(Debug, Default)]
pub(crate) struct Choice {
    pattern: Option<String>,
    reason: Option<String>,
    handler: Option<String>,
    since: Option<f64>,
    until: Option<f64>,
    ids: Vec<u64>,
    all: bool,
}

impl Choice {
    /// Takes an option if it is one of these.
    pub(crate) fn take(&mut self, name: &str, values: &mut Values<'_>) -> Result<bool, UsageError> {
        match name {
            "--type" => {
                let pattern = values.text()?;
                Pattern::new(&pattern).map_err(|error| values.wrong(error.to_string()))?;
                self.pattern = Some(pattern);
            }
            "--reason" => {
                let reason = values.text()?;
                if !Reason::ALL.iter().any(|known| known.as_str() == reason) {
                    let known: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
                    return Err(values.wrong(format!("'{reason}' is no reason; there are {}", known.join(", "))));
                }
                self.reason = Some(reason);
            }
            "--handler" => self.handler = Some(values.text()?),
            "--since" => self.since = Some(seconds(moment(values)?)),
            "--until" => self.until = Some(seconds(moment(values)?)),
            "--all" => self.all = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Takes the rest of the words as numbers of letters.
    fn take_ids(&mut self, arguments: &mut Arguments) -> Result<(), UsageError> {
        while let Some(word) = arguments.word() {
            self.ids.push(id(&word)?);
        }
        self.check()
    }

    /// Refuses what contradicts itself.
    pub(crate) fn check(&self) -> Result<(), UsageError> {
        if self.all && !self.ids.is_empty() {
            return Err(UsageError::Other("--all and the IDs of letters exclude each other".into()));
        }
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since >= until
        {
            return Err(UsageError::Other("--since is not earlier than --until: nothing can lie between them".into()));
        }
        Ok(())
    }

    /// Reads the command line of a command that changes the file, with one option of its own: which letters, whether the
    /// option is there, and the file.
    pub(crate) fn to_change(arguments: &mut Arguments, option: &str) -> Result<(Self, bool, OsString), UsageError> {
        let (mut choice, mut is_there) = (Self::default(), false);
        arguments.each(|name, values| {
            if name == option {
                is_there = true;
                return Ok(true);
            }
            choice.take(name, values)
        })?;
        let path = arguments.file()?;
        choice.take_ids(arguments)?;
        if choice.is_open() {
            let name = arguments.name();
            return Err(UsageError::Other(format!("'{name}' needs the IDs of letters, a filter, or --all")));
        }
        Ok((choice, is_there, path))
    }

    /// Whether nothing was said: whoever changes something has to say what.
    fn is_open(&self) -> bool {
        let filters = [&self.pattern, &self.reason, &self.handler];
        let narrowed = filters.into_iter().any(Option::is_some) || self.since.is_some() || self.until.is_some();
        !narrowed && self.ids.is_empty() && !self.all
    }

    fn takes(&self, letter: &StoredLetter) -> bool {
        let letter = &letter.letter;
        let is_topic = |pattern: &String| match (Pattern::new(pattern), Topic::new(letter.event.topic())) {
            (Ok(pattern), Ok(topic)) => pattern.matches(topic),
            _ => false,
        };
        self.pattern.as_ref().is_none_or(is_topic)
            && self.reason.as_deref().is_none_or(|reason| letter.reason.as_str() == reason)
            && self.handler.as_deref().is_none_or(|handler| &*letter.handler == handler)
            && self.since.is_none_or(|since| letter.failed_at >= since)
            && self.until.is_none_or(|until| letter.failed_at < until)
    }

    /// The letters that are meant, one after the other, and `false` if some that were named are not there.
    pub(crate) fn each(
        &self,
        file: &DeadLetterFile,
        newest: bool,
        mut give: impl FnMut(StoredLetter) -> io::Result<bool>,
    ) -> Result<bool, Trouble> {
        let mut ids: Vec<u64> = if self.ids.is_empty() { file.ids().collect() } else { self.ids.clone() };
        if newest {
            ids.reverse();
        }
        let mut complete = true;
        for id in ids {
            match file.get(id).map_err(Trouble::Read)? {
                None => {
                    complain(&format!("there is no letter {id}"));
                    complete = false;
                }
                Some(letter) if self.takes(&letter) => {
                    if !give(letter).map_err(Trouble::Write)? {
                        break;
                    }
                }
                Some(_) => {}
            }
        }
        Ok(complete)
    }
}

/// What went wrong on which side.
#[derive(Debug)]
pub(crate) enum Trouble {
    Read(io::Error),
    Write(io::Error),
}

/// The number of a letter.
pub(crate) fn id(word: &OsString) -> Result<u64, UsageError> {
    let text = word.to_string_lossy();
    text.parse().map_err(|_| UsageError::Other(format!("'{text}' is not the number of a letter")))
}

/// Opens the file, and says so if it cannot be read.
pub(crate) fn open(path: &OsString) -> Result<DeadLetterFile, Outcome> {
    DeadLetterFile::open(path).map_err(|error| {
        complain(&format!("cannot read {}: {error}", path.display()));
        Outcome::Failed
    })
}

/// The outcome of going through letters, and what is said of it.
pub(crate) fn settle(file: &DeadLetterFile, result: Result<bool, Trouble>) -> Outcome {
    match result {
        Ok(complete) => {
            if file.skipped() > 0 {
                complain(&format!("{} lines of the file are no dead letters and were skipped", file.skipped()));
            }
            if complete && file.skipped() == 0 { Outcome::Clean } else { Outcome::Damaged }
        }
        Err(Trouble::Read(error)) => {
            complain(&format!("cannot read the file: {error}"));
            Outcome::Failed
        }
        Err(Trouble::Write(error)) => crate::output::outcome(Err(error)),
    }
}

fn seconds(moment: SystemTime) -> f64 {
    match moment.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}
