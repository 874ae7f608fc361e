//! The run as a process of its own: its real streams, and the signals that a terminal sends.

use super::{EXIT_INTERRUPTED, Interrupt, Streams, run};
use std::ffi::OsString;
use std::io::{IsTerminal as _, Write as _};

/// Runs the program on the streams of this process and returns its exit code.
///
/// The first Ctrl-C asks the run to stop and account for itself; the second one does not wait for that and ends the
/// process. Call it once: a process has one handler for Ctrl-C.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let interrupt = Interrupt::default();
    let on_signal = interrupt.clone();
    let handled = ctrlc::set_handler(move || {
        if !on_signal.raise() {
            std::process::exit(i32::from(EXIT_INTERRUPTED));
        }
    });
    // Not locked for the whole run: a thread that panics meanwhile must be able to say so.
    let mut stderr = std::io::stderr();
    if let Err(error) = handled {
        let _ = writeln!(stderr, "quickstart: Ctrl-C will end this run without an account: {error}");
    }
    let streams = Streams {
        stdin: Box::new(std::io::stdin()),
        stdout: &mut std::io::stdout(),
        stderr_is_terminal: stderr.is_terminal(),
        stderr: &mut stderr,
    };
    run(args, streams, &interrupt)
}
