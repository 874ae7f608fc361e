//! The quickstart: events from a file, through a bus, to an account of every one of them.
//!
//! | module | holds |
//! |---|---|
//! | `shop` | the bus and its handlers: read this one first |
//! | `input`, `lines` | reading and parsing, on a thread of its own |
//! | `options` | the command line and its help |
//! | `interrupt`, `pace` | Ctrl-C, and waiting that it ends |
//! | `process` | the run as a process: real streams, real signals |
//! | `account` | what became of every event, as plain data |
//! | `report`, `object` | the account as tables and as JSON |
//! | `audit_path` | where the audit log goes |
//! | `console`, `table`, `text` | output for people |

mod account;
mod audit_path;
mod console;
mod input;
mod interrupt;
mod lines;
mod object;
mod options;
mod pace;
mod process;
mod report;
mod shop;
mod table;
mod text;

pub use interrupt::Interrupt;
pub use process::main;

use account::{Account, Intake};
use console::Console;
use input::{Input, Line, Message};
use options::{Options, Request, Source};
use pace::Pace;
use shop::{Refusal, Shop};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read, Write};

/// The ledger balances and nothing was lost.
pub const EXIT_CLEAN: u8 = 0;
/// Something was lost; the account says what.
pub const EXIT_LOSS: u8 = 1;
/// The options do not make sense, or a file they name cannot be used.
pub const EXIT_USAGE: u8 = 2;
/// The run was interrupted: 128 + SIGINT, as shells have it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Where a run reads and writes.
pub struct Streams<'a> {
    /// Read when the events come from `-`, on a thread of its own.
    pub stdin: Box<dyn Read + Send>,
    /// Takes the account and nothing else.
    pub stdout: &'a mut dyn Write,
    /// Takes errors, malformed lines and progress.
    pub stderr: &'a mut dyn Write,
    /// Whether `stderr` may be rewritten with escape codes.
    pub stderr_is_terminal: bool,
}

impl fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("stderr_is_terminal", &self.stderr_is_terminal).finish_non_exhaustive()
    }
}

/// Runs the program with `args` (without its name) and returns its exit code.
///
/// Raising `interrupt` stops the reading at the next line, also while the input is silent or not yet open; the queued
/// events then have the deadline to be handled, and the account says what was left. Errors are one line on `stderr`.
///
/// # Cost
/// Two threads beside the bus's own: the caller emits, one reads. Memory does not grow with the length of the input, but
/// with its number of event types; the queues of the bus hold a number of events, each as large as its line made it.
pub fn run(args: impl IntoIterator<Item = OsString>, streams: Streams<'_>, interrupt: &Interrupt) -> u8 {
    let mut console = Console::new(streams.stderr, streams.stderr_is_terminal);
    let options = match options::parse(args) {
        Ok(Request::Run(options)) => options,
        Ok(Request::Help) => return print(streams.stdout, options::HELP, EXIT_CLEAN, &mut console),
        Err(error) => return usage(&mut console, &format!("{error} (--help lists the options)")),
    };
    let input = match Input::open(&options.source, streams.stdin, interrupt) {
        Ok(input) => input,
        Err(error) => return usage(&mut console, &error),
    };
    let account = match account(&options, &input, &mut console, interrupt) {
        Ok(account) => account,
        Err(error) => return usage(&mut console, &error),
    };
    let text = if options.json { object::render(&account) } else { report::render(&account) };
    print(streams.stdout, &text, exit_code(&account), &mut console)
}

/// Opens the shop, lets the events through and closes it.
fn account(
    options: &Options,
    input: &Input,
    console: &mut Console<'_>,
    interrupt: &Interrupt,
) -> Result<Account, String> {
    let audit = audit_path::choose(options)?;
    let shop = Shop::open(&audit.path).map_err(|error| {
        audit.give_up();
        text::clean(&format!("cannot start the bus: {error}"), 400)
    })?;
    let pace = Pace::new(options.pace);
    let intake = Run { input, shop: &shop, console, pace, intake: Intake::default() }.take(interrupt);
    console.stage("waiting for the handlers to finish ...");
    let outcome = shop.close(options.deadline);
    console.summary(intake.lines);
    console.clear();
    let input = name(&options.source);
    Ok(Account { input, intake, outcome, deadline: options.deadline, pace: options.pace })
}

fn name(source: &Source) -> String {
    match source {
        Source::Bundled => "the bundled story".to_owned(),
        Source::Stdin => "standard input".to_owned(),
        Source::File(path) => path.to_string_lossy().into_owned(),
    }
}

/// The reading half of a run.
struct Run<'run, 'out> {
    input: &'run Input,
    shop: &'run Shop,
    console: &'run mut Console<'out>,
    pace: Pace,
    intake: Intake,
}

impl Run<'_, '_> {
    /// Emits line after line until the input ends, fails or is interrupted.
    fn take(mut self, interrupt: &Interrupt) -> Intake {
        self.intake.length = self.input.length;
        while !interrupt.is_raised() {
            match self.input.next() {
                Message::Lines(lines) => self.batch(lines, interrupt),
                Message::Failed(error) => {
                    self.console.say(format_args!("the input failed: {}", text::clean(&error, 200)));
                    self.intake.error = Some(error);
                    return self.intake;
                }
                Message::End => return self.intake,
                Message::Opened(_) | Message::Wake => {}
            }
        }
        self.intake.interrupted = true;
        self.intake
    }

    fn batch(&mut self, lines: Vec<Line>, interrupt: &Interrupt) {
        for line in lines {
            if line.parsed.is_ok() {
                self.pace.wait(interrupt);
            }
            // Lines that were read but not emitted are not part of the account.
            if interrupt.is_raised() {
                return;
            }
            self.intake.bytes = line.end;
            self.line(line);
            let (intake, shop) = (&self.intake, self.shop);
            self.console.progress(|| progress(intake, shop.live()));
        }
    }

    fn line(&mut self, line: Line) {
        self.intake.lines += 1;
        let emitted = match line.parsed {
            Ok(record) => self.shop.emit(record),
            Err(reason) => Err(Refusal::Malformed(reason)),
        };
        match emitted {
            Ok(()) => self.intake.emitted += 1,
            Err(Refusal::Malformed(reason)) => {
                self.intake.malformed += 1;
                self.console.malformed(line.number, &reason);
            }
            Err(Refusal::Lost(reason)) => self.lost(line.number, &reason),
        }
    }

    /// One line says what happens; a bus that refuses everything must not flood the screen.
    fn lost(&mut self, number: u64, reason: &str) {
        self.intake.refused += 1;
        if self.intake.refused <= console::SHOWN {
            self.console.say(format_args!("line {number}: refused: {}", text::clean(reason, 200)));
        }
    }
}

fn progress(intake: &Intake, live: u64) -> String {
    let mut line = format!(
        "{}, {} emitted, {} malformed",
        text::counted(intake.lines, "line"),
        text::count(live),
        text::count(intake.malformed)
    );
    if let Some(length) = intake.length.filter(|length| *length > 0) {
        line.push_str(&format!(", {} %", (intake.bytes.min(length) as f64 / length as f64 * 100.0) as u64));
    }
    line
}

fn exit_code(account: &Account) -> u8 {
    if account.intake.interrupted {
        EXIT_INTERRUPTED
    } else if account.losses().is_empty() {
        EXIT_CLEAN
    } else {
        EXIT_LOSS
    }
}

fn usage(console: &mut Console<'_>, error: &str) -> u8 {
    console.say(text::clean(error, 400));
    EXIT_USAGE
}

/// Writes the account; a reader that has gone away (`| head`) is no error, a full disk is.
fn print(stdout: &mut dyn Write, text: &str, code: u8, console: &mut Console<'_>) -> u8 {
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            console.say(format_args!("cannot write the account: {error}"));
            code.max(EXIT_LOSS)
        }
        _ => code,
    }
}
