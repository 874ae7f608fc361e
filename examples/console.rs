//! A made-up shop whose events go over a bus, and the console that shows them.
//!
//! `cargo run --release --package nervebus-examples --features console --example console` serves it at
//! <http://127.0.0.1:8080/> until Ctrl-C; `-- --help` lists the options. The program itself is the library module
//! `nervebus_examples::console`; the shop is in `src/console/shop.rs`.

use nervebus_examples::console;
use std::process::ExitCode;

fn main() -> ExitCode {
    console::main(std::env::args_os().skip(1))
}
