//! A made-up shop, and the console of its bus on loopback.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that says where its page is")]

pub mod shop;

use self::shop::Shop;
use lexopt::{Arg, ValueExt};
use nervebus::console::{Console, ConsoleServer};
use std::error::Error;
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const HELP: &str = "\
Serves the console of a made-up shop on loopback until Ctrl-C.

    --port PORT    where it listens; 0 takes a free port [8080]
    --token TEXT   what retrying and purging dead letters needs, 16 bytes at least [made up and printed]
    --help         prints this
";

/// How long the end may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// The shop at work, and its console.
#[derive(Debug)]
pub struct Running {
    shop: Shop,
    server: ConsoleServer,
    runtime: Runtime,
}

impl Running {
    /// Opens the shop and serves its console.
    ///
    /// # Errors
    ///
    /// Says what could not be had: the port, a token that can be used, a thread.
    pub fn start(port: u16, token: &str) -> Result<Self, Box<dyn Error>> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let shop = Shop::open()?;
        let console = Console::of(shop.bus()).token(token)?.max_lag(2_000);
        let server = runtime.block_on(console.serve((Ipv4Addr::LOCALHOST, port)))?;
        Ok(Self { shop, server, runtime })
    }

    /// Where the console is.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Closes the console and the shop, and says what became of the bus.
    pub fn stop(self) -> String {
        self.runtime.block_on(self.server.shutdown(DEADLINE));
        self.shop.close(DEADLINE)
    }
}

/// Runs the program with these arguments.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(args: impl Iterator<Item = OsString>) -> Result<(), Box<dyn Error>> {
    let (mut port, mut token) = (8080, None);
    let mut parser = lexopt::Parser::from_args(args);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("port") => port = parser.value()?.parse().map_err(|error| format!("--port: {error}"))?,
            Arg::Long("token") => token = Some(parser.value()?.string()?),
            Arg::Long("help") => {
                print!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let token = token.unwrap_or_else(made_up);
    let (sender, interrupted) = mpsc::channel();
    ctrlc::set_handler(move || {
        let _ = sender.send(());
    })?;
    let running = Running::start(port, &token)?;
    println!("the console is at http://{}/ and its token is {token}", running.address());
    println!("Ctrl-C ends it");
    let _ = interrupted.recv();
    println!("{}", running.stop());
    Ok(())
}

/// A token that nobody knows: the standard library's hash keys are the system's chance.
fn made_up() -> String {
    let half = || RandomState::new().hash_one("console");
    format!("{:016x}{:016x}", half(), half())
}
