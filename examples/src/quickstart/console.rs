//! Standard error: malformed lines as they come, and progress when a person watches.

use super::text;
use std::fmt;
use std::io::Write;
use std::time::{Duration, Instant};

/// Malformed lines that are reported one by one; later ones are counted.
pub(super) const SHOWN: u64 = 20;

/// A faster rewrite would only flicker.
const REWRITE: Duration = Duration::from_millis(100);

/// The longest reason shown for a malformed line, in characters.
const REASON: usize = 200;

/// Writes to standard error; what cannot be written there is let go, for there is nowhere to complain.
pub(super) struct Console<'a> {
    out: &'a mut dyn Write,
    terminal: bool,
    rewritten: Instant,
    /// A progress line stands unfinished on the screen.
    dirty: bool,
    malformed: u64,
}

impl<'a> Console<'a> {
    /// A console; escape codes and progress only when it is a `terminal`.
    pub(super) fn new(out: &'a mut dyn Write, terminal: bool) -> Self {
        Console { out, terminal, rewritten: Instant::now(), dirty: false, malformed: 0 }
    }

    /// Writes one line, above the progress line if there is one.
    pub(super) fn say(&mut self, line: impl fmt::Display) {
        self.clear();
        let _ = writeln!(self.out, "quickstart: {line}");
    }

    /// Reports a malformed line, up to `SHOWN` of them.
    pub(super) fn malformed(&mut self, number: u64, reason: &str) {
        self.malformed += 1;
        if self.malformed <= SHOWN {
            self.say(format_args!("line {number}: {}", text::clean(reason, REASON)));
        } else if self.malformed == SHOWN + 1 {
            self.say("further malformed lines are counted, not shown");
        }
    }

    /// Closes the reports of malformed lines with their number.
    pub(super) fn summary(&mut self, lines: u64) {
        if self.malformed > 0 {
            let (malformed, lines) = (text::count(self.malformed), text::counted(lines, "line"));
            self.say(format_args!("{malformed} of {lines} malformed"));
        }
    }

    /// Rewrites the progress line, at most ten times a second and only on a terminal.
    pub(super) fn progress(&mut self, line: impl FnOnce() -> String) {
        if self.terminal && self.rewritten.elapsed() >= REWRITE {
            self.rewrite(&line());
        }
    }

    /// Shows `line` as the progress line at once, if progress has been shown at all: a short run stays quiet.
    pub(super) fn stage(&mut self, line: &str) {
        if self.dirty {
            self.rewrite(line);
        }
    }

    /// Takes the progress line off the screen.
    pub(super) fn clear(&mut self) {
        if self.dirty {
            let _ = write!(self.out, "\r\x1b[2K");
            let _ = self.out.flush();
            self.dirty = false;
        }
    }

    fn rewrite(&mut self, line: &str) {
        // A line that wraps could not be rewritten: it stays below the usual 80 columns.
        let _ = write!(self.out, "\r\x1b[2K{}", text::clean(line, 78));
        let _ = self.out.flush();
        self.rewritten = Instant::now();
        self.dirty = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_malformed_lines_are_shown_and_the_rest_counted() {
        let mut out = Vec::new();
        let mut console = Console::new(&mut out, false);
        for number in 1..=50 {
            console.malformed(number, "bad\x1b[2J");
        }
        console.summary(60);
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains("line 20: bad\\u{1b}[2J\n") && !text.contains("line 21:"), "{text}");
        assert!(text.ends_with("50 of 60 lines malformed\n"), "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn progress_is_for_terminals_and_is_wiped_before_a_report() {
        for terminal in [true, false] {
            let mut out = Vec::new();
            let mut console = Console::new(&mut out, terminal);
            console.rewritten = Instant::now().checked_sub(REWRITE).unwrap_or_else(Instant::now);
            console.progress(|| "42 lines".to_owned());
            console.progress(|| "too soon to be seen".to_owned());
            console.say("done");
            let expected = if terminal { "\r\x1b[2K42 lines\r\x1b[2Kquickstart: done\n" } else { "quickstart: done\n" };
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }
}
