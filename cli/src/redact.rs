//! `nervebus redact`: lines from standard input to standard output with everything sensitive replaced.

use std::io::{self, ErrorKind, Read, Write};

use nervebus::{Counts, DataClass, Redactor, Value};

use crate::Outcome;
use crate::command::Command;
use crate::options::{Arguments, UsageError};
use crate::output::complain;

pub(crate) const COMMAND: Command = Command {
    name: "redact",
    arguments: "",
    summary: "Standard input to standard output, with everything sensitive replaced.",
    help: "\
nervebus redact: copies standard input to standard output with everything sensitive replaced by markers

Usage:
  nervebus redact [--stats] [--json]

A line that is a JSON object or array is redacted as JSON, by its keys and its values; any other as text. As many lines
come out, in the same order, each marker names what was there: [REDACTED_EMAIL], [REDACTED_CREDIT_CARD], ...

Options:
  --stats   Print to standard error how many values of which class were replaced; with --json as one JSON object.

A line over 64 MiB is not searched; [REDACTED_LINE_TOO_LONG] stands for it. Names and streets are known by their key only.

Examples:
  nervebus redact < service.log > service.clean.log
  journalctl -u shop -o cat | nervebus redact --stats | gzip > shop.gz

Exit codes: 0 every line was written; 2 wrong command line; 3 cannot read or write.
",
    run,
};

fn run(mut arguments: Arguments) -> Result<Outcome, UsageError> {
    let mut stats = false;
    arguments.each(|option, _| {
        stats |= option == "--stats";
        Ok(option == "--stats")
    })?;
    arguments.end()?;
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    Ok(match lines(&Redactor::default(), &mut input, &mut output) {
        Ok(totals) => {
            let text = if arguments.json { json(&totals) } else { table(&totals) };
            if stats {
                // If standard error is gone, nobody is left to be told.
                let _ = io::stderr().write_all(text.as_bytes());
            }
            Outcome::Clean
        }
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Outcome::Clean,
        Err(error) => {
            complain(&format!("cannot redact: {error}"));
            Outcome::Failed
        }
    })
}

/// How much is read, and how much is gathered before it is written.
const BUFFER: usize = 256 << 10;
/// The longest line that is searched. Memory and time for one line are bounded by this.
const MAX_LINE: usize = 64 << 20;
/// What stands for a line that is longer: it is not searched, so it is not shown.
const TOO_LONG: &[u8] = b"[REDACTED_LINE_TOO_LONG]";

/// What was done.
#[derive(Debug, Default)]
struct Totals {
    lines: u64,
    too_long: u64,
    counts: Counts,
}

/// Redacts every line of `input`: as JSON if it is a JSON object or array, else as text. The output has as many lines, in
/// the same order, and ends in a line feed if the input does.
///
/// # Errors
///
/// Whatever reader and writer report, except interruptions, which are tried again.
fn lines(redactor: &Redactor, input: &mut dyn Read, output: &mut dyn Write) -> io::Result<Totals> {
    let mut work = Work { redactor, output, out: Vec::with_capacity(2 * BUFFER), totals: Totals::default() };
    // What was read of a line whose end was not, and whether that was cut off.
    let (mut rest, mut cut) = (Vec::with_capacity(BUFFER), false);
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match input.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let mut chunk = &buffer[..read];
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let (line, behind) = chunk.split_at(end);
            if cut || rest.len() + line.len() > MAX_LINE {
                work.too_long();
            } else if rest.is_empty() {
                work.line(line)?;
            } else {
                rest.extend_from_slice(line);
                work.line(&rest)?;
            }
            rest.clear();
            cut = false;
            work.out.push(b'\n');
            chunk = &behind[1..];
        }
        if read == 0 {
            break;
        }
        cut |= rest.len() + chunk.len() > MAX_LINE;
        if cut {
            rest.clear();
        } else {
            rest.extend_from_slice(chunk);
        }
        // Whoever follows the output sees what has been read, however little that is.
        work.flush()?;
    }
    if cut {
        work.too_long();
    } else if !rest.is_empty() {
        work.line(&rest)?;
    }
    work.flush()?;
    work.output.flush()?;
    Ok(work.totals)
}

struct Work<'a> {
    redactor: &'a Redactor,
    output: &'a mut dyn Write,
    out: Vec<u8>,
    totals: Totals,
}

impl Work<'_> {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.totals.lines += 1;
        // A carriage return belongs to the line's end.
        let (line, end) = line.strip_suffix(b"\r").map_or((line, &b""[..]), |line| (line, b"\r"));
        self.totals.counts += self.redactor.redact_line(line, &mut self.out);
        self.out.extend_from_slice(end);
        if self.out.len() > BUFFER { self.flush() } else { Ok(()) }
    }

    fn too_long(&mut self) {
        self.totals.lines += 1;
        self.totals.too_long += 1;
        self.out.extend_from_slice(TOO_LONG);
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.output.write_all(&self.out);
        self.out.clear();
        written
    }
}

/// The counts as one line of JSON.
fn json(Totals { lines, too_long, counts }: &Totals) -> String {
    let classes = counts.iter().map(|(class, count)| (class.to_string(), Value::from(count))).collect();
    let object = nervebus::json!({
        "lines": lines,
        "replaced": counts.total(),
        "lines_too_long": too_long,
        "classes": Value::Object(classes),
    });
    format!("{object}\n")
}

/// The counts as a table.
fn table(totals: &Totals) -> String {
    let Totals { lines, too_long, counts } = totals;
    let mut text = format!("lines              {lines}\nvalues replaced    {}\n", counts.total());
    if *too_long > 0 {
        text += &format!("lines over 64 MiB  {too_long}, replaced as a whole\n");
    }
    for (class, count) in counts.iter() {
        let name = if class == DataClass::Key { "(by key)" } else { class.name() };
        text += &format!("{count:>8}  {name}\n");
    }
    text
}
