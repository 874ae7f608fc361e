//! Runs the core on a board: a timer interrupt emits, subscribes and unsubscribes while the main loop polls, subscribes
//! and unsubscribes. At the end every total must be exact. The exit status is 0, or 1 with the name of what was wrong.

#![no_std]
#![no_main]

mod board;
mod contexts;
mod handlers;
mod program;

/// What every board's entry point calls.
fn main() -> ! {
    match program::run() {
        Ok(()) => board::exit(true),
        Err(wrong) => {
            board::say(format_args!("WRONG: {wrong}"));
            board::exit(false)
        }
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    board::say(format_args!("{info}"));
    board::exit(false)
}
