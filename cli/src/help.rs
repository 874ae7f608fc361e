//! The text of `nervebus --help`.

/// Usage, options and exit codes.
pub(crate) const TEXT: &str = "\
nervebus: looks at what a nervebus event bus has written

Usage:
  nervebus audit stats FILE [--json]
  nervebus redact [--stats]
  nervebus --help | --version

Commands:
  audit stats FILE   Reads an audit log (one JSON object a line) from start to end in bounded memory, and prints how
                     many events of which type it holds, its time span, and which lines are malformed.
                     FILE may be '-' for standard input. Empty lines are skipped and counted.
  redact             Copies standard input to standard output, line by line, with everything sensitive replaced by
                     markers such as [REDACTED_EMAIL]. A line that is a JSON object or array is redacted as JSON, by
                     its keys and its values; any other as text. As many lines come out, in the same order.

Options:
  --json             Print one JSON object instead of a table.
  --stats            With 'redact': print to standard error how many values of which class were replaced.
  -h, --help         Print this text.
  -V, --version      Print the version.

Limits of 'audit stats':
  A line over 16 MiB counts as malformed. The 20 most frequent types are shown; of the types beyond the first 10000
  different ones, only their events are counted. The first 10 malformed lines are shown with their reason.

Limits of 'redact':
  A line over 64 MiB is not searched; [REDACTED_LINE_TOO_LONG] stands for it.

Exit codes:
  0  Every line is an event; or, of 'redact', every line was written.
  1  Some lines are malformed; the rest was counted.
  2  The command line is wrong.
  3  The input could not be read, or the output not written.
A reader that closes the output early, such as 'head', is not an error.
";
