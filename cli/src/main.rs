//! The command `nervebus`: looks at what a bus has written.

mod audit;
mod command;
mod contract;
mod dead_letters;
mod help;
mod lines;
mod options;
mod output;
mod progress;
mod redact;
mod replay;
mod text;
mod time;
mod topology;

use std::process::ExitCode;

use options::{Line, UsageError};

/// What the exit code says; `help.rs` explains it to the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All is well.
    Clean = 0,
    /// Something is wrong with what was read: damaged lines, a broken chain, a letter that is not there, a contract
    /// that breaks another.
    Damaged = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The input could not be read, or the output not written.
    Failed = 3,
}

fn main() -> ExitCode {
    let outcome = match options::parse(lexopt::Parser::from_env()) {
        Ok(Line::Help(None)) => output::print(&help::text()),
        Ok(Line::Help(Some(command))) => output::print(command.help),
        Ok(Line::Version) => output::print(concat!("nervebus ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Line::Run(command, arguments)) => {
            (command.run)(arguments).unwrap_or_else(|error| refuse(&error, command.name))
        }
        Err(error) => refuse(&error, ""),
    };
    ExitCode::from(outcome as u8)
}

fn refuse(error: &UsageError, command: &str) -> Outcome {
    let space = if command.is_empty() { "" } else { " " };
    output::complain(&format!("{error}\nTry 'nervebus {command}{space}--help'."));
    Outcome::Usage
}
