//! The text of `nervebus --help`.

use std::fmt::Write;

use crate::command::ALL;

const HEAD: &str = "\
nervebus: looks at what a nervebus event bus has written

Usage:
  nervebus COMMAND [ARGUMENTS] [OPTIONS]
  nervebus COMMAND --help
  nervebus --help | --version

Commands:
";

const FOOT: &str = "
Options of all commands:
  --json             Print JSON: an object a line.
  -h, --help         Print this text, or that of the command.
  -V, --version      Print the version.

FILE is the file that a log is written to. The rotated files beside it (events.1.jsonl, events.2.jsonl.zst) belong to it.

Exit codes:
  0  All is well.
  1  Something is wrong with what was read: lines that are no events, a chain that does not fit, a letter that is not
     there, a contract that breaks another. What could be read was read.
  2  The command line is wrong.
  3  The input could not be read, or the output not written.
A reader that closes the output early, such as 'head', is not an error.

Tables are cut to the width of the terminal and coloured there, unless NO_COLOR is set. Control characters of a log are
always shown as escapes.
";

/// Usage, commands and exit codes.
pub(crate) fn text() -> String {
    let mut text = HEAD.to_owned();
    for command in ALL {
        let usage = format!("{} {}", command.name, command.arguments);
        // Writing to memory cannot fail.
        let _ = writeln!(text, "  {usage:<34}{}", command.summary);
    }
    text + FOOT
}
