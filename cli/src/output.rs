//! Standard output and standard error.

use std::io::{self, BufWriter, ErrorKind, IsTerminal, StdoutLock, Write};

use crate::Outcome;
use crate::text::safe;

/// Standard output, for many lines.
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    /// The width of the terminal, if it is one.
    width: Option<usize>,
    colours: bool,
}

/// How a text is set off on a terminal.
#[derive(Clone, Copy)]
pub(crate) enum Style {
    Head,
    Bad,
    Good,
}

impl Output {
    pub(crate) fn new() -> Self {
        let out = io::stdout().lock();
        let terminal = out.is_terminal();
        let width = terminal.then(|| terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0)));
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { out: BufWriter::with_capacity(64 << 10, out), width, colours }
    }

    /// Writes a line, cut to the width of the terminal.
    pub(crate) fn row(&mut self, line: &str) -> io::Result<()> {
        match self.width {
            Some(width) if line.chars().count() > width => {
                let cut: String = line.chars().take(width.saturating_sub(1)).collect();
                writeln!(self.out, "{cut}…")
            }
            _ => writeln!(self.out, "{line}"),
        }
    }

    /// Writes a line as it is.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// Writes a line in a style, cut to the width of the terminal.
    pub(crate) fn styled(&mut self, style: Style, line: &str) -> io::Result<()> {
        if !self.colours {
            return self.row(line);
        }
        let code = match style {
            Style::Head => "1",
            Style::Bad => "31",
            Style::Good => "32",
        };
        write!(self.out, "\x1b[{code}m")?;
        let width = self.width.unwrap_or(usize::MAX);
        let cut: String = line.chars().take(width).collect();
        writeln!(self.out, "{cut}\x1b[0m")
    }

    /// Brings out what is written so far.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What came of writing. A reader that has seen enough and closes its end is not an error.
pub(crate) fn outcome(written: io::Result<Outcome>) -> Outcome {
    match written {
        Ok(outcome) => outcome,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Outcome::Clean,
        Err(error) => {
            complain(&format!("cannot write to standard output: {error}"));
            Outcome::Failed
        }
    }
}

/// Writes a text to standard output.
pub(crate) fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    outcome(out.write_all(text.as_bytes()).and_then(|()| out.flush()).map(|()| Outcome::Clean))
}

/// Writes a message to standard error.
pub(crate) fn complain(message: &str) {
    let message: Vec<String> = message.lines().map(safe).collect();
    // If standard error is gone too, nobody is left to be told; the exit code still says it.
    let _ = writeln!(io::stderr(), "nervebus: {}", message.join("\n"));
}

/// The input cannot be read.
pub(crate) fn cannot_read(error: &dyn std::fmt::Display) -> Outcome {
    complain(&error.to_string());
    Outcome::Failed
}
