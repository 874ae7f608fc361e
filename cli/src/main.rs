//! The command `nervebus`: looks at what a bus has written.

mod help;
mod lines;
mod options;
mod redact;
mod report;
mod stats;
mod time;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

use nervebus::Redactor;
use options::{Command, StatsOptions};
use stats::Stats;

/// What the exit code says; `help.rs` explains it to the user.
#[derive(Clone, Copy)]
enum Outcome {
    Clean = 0,
    Malformed = 1,
    Usage = 2,
    Unreadable = 3,
}

fn main() -> ExitCode {
    let outcome = match options::parse(lexopt::Parser::from_env()) {
        Ok(Command::Help) => print(help::TEXT),
        Ok(Command::Version) => print(concat!("nervebus ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::AuditStats(options)) => audit_stats(&options),
        Ok(Command::Redact { stats }) => redact_lines(stats),
        Err(error) => {
            complain(&format!("{error}\nTry 'nervebus --help'."));
            Outcome::Usage
        }
    };
    ExitCode::from(outcome as u8)
}

fn audit_stats(options: &StatsOptions) -> Outcome {
    let stats = match open(&options.file).and_then(|mut input| Stats::of(&mut *input)) {
        Ok(stats) => stats,
        Err(error) => {
            complain(&format!("cannot read {}: {error}", options.file.display()));
            return Outcome::Unreadable;
        }
    };
    let name = if options.file == OsStr::new("-") { "standard input".into() } else { options.file.to_string_lossy() };
    let text = if options.json { report::json(&name, &stats) } else { report::table(&name, &stats) };
    match print(&text) {
        Outcome::Clean if stats.malformed() > 0 => Outcome::Malformed,
        outcome => outcome,
    }
}

fn redact_lines(stats: bool) -> Outcome {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    match redact::lines(&Redactor::default(), &mut input, &mut output) {
        Ok(totals) if stats => {
            // If standard error is gone, nobody is left to be told.
            let _ = io::stderr().write_all(redact::table(&totals).as_bytes());
            Outcome::Clean
        }
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("cannot redact: {error}"));
            Outcome::Unreadable
        }
        _ => Outcome::Clean,
    }
}

/// Opens the file that the user named; `-` is standard input.
fn open(file: &OsStr) -> io::Result<Box<dyn BufRead>> {
    if file == OsStr::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    #[expect(clippy::disallowed_methods, reason = "a command reads the file that its user named")]
    let opened = File::open(Path::new(file))?;
    Ok(Box::new(BufReader::with_capacity(64 << 10, opened)))
}

/// Writes to standard output. A reader that has seen enough and closes its end is not an error.
fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("cannot write to standard output: {error}"));
            Outcome::Unreadable
        }
        _ => Outcome::Clean,
    }
}

fn complain(message: &str) {
    // If standard error is gone too, nobody is left to be told; the exit code still says it.
    let _ = writeln!(io::stderr(), "nervebus: {message}");
}
