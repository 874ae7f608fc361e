//! The commands there are. A new one has a file of its own with a `COMMAND`, and a line here.

use crate::options::{Arguments, UsageError};
use crate::{Outcome, audit, contract, dead_letters, redact, replay, topology};

/// A command.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its words: `audit query`.
    pub(crate) name: &'static str,
    /// What stands behind the words, and what it does, for the list of all commands.
    pub(crate) arguments: &'static str,
    pub(crate) summary: &'static str,
    /// The text of its `--help`.
    pub(crate) help: &'static str,
    pub(crate) run: fn(Arguments) -> Result<Outcome, UsageError>,
}

/// All of them, in the order in which they are listed.
pub(crate) const ALL: &[&Command] = &[
    &audit::tail::COMMAND,
    &audit::query::COMMAND,
    &audit::verify::COMMAND,
    &audit::stats::COMMAND,
    &dead_letters::list::COMMAND,
    &dead_letters::show::COMMAND,
    &dead_letters::retry::COMMAND,
    &dead_letters::purge::COMMAND,
    &replay::COMMAND,
    &redact::COMMAND,
    &topology::show::COMMAND,
    &topology::diff::COMMAND,
    &contract::check::COMMAND,
    &contract::show::COMMAND,
    &contract::export::COMMAND,
];
