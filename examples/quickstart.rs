//! Runs a bundled story, or any JSONL file of events, through a bus and prints the account.
//!
//! `cargo run --release --example quickstart -- --help` lists the options. The program itself is the library module
//! `nervebus_examples::quickstart`, so that the tests run what users run; start reading in `src/quickstart/shop.rs`.

use nervebus_examples::quickstart;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(quickstart::main(std::env::args_os().skip(1)))
}
