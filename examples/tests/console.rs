//! The example as its users meet it: a page, and figures of a shop at work.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test says at once when something is wrong")]

use nervebus_examples::console::Running;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(30);

fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(GUARD)).unwrap();
    write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn get(address: SocketAddr, path: &str) -> Value {
    serde_json::from_str(&ask(address, "GET", path)).unwrap()
}

#[test]
fn a_shop_is_at_work_behind_the_page() {
    let running = Running::start(0, "a-token-for-the-test").unwrap();
    let address = running.address();
    assert!(ask(address, "GET", "/").contains("<title>nervebus console</title>"));
    let since = Instant::now();
    loop {
        let stats = get(address, "/stats");
        let served = |name| {
            let handlers = stats["subscriptions"].as_array().unwrap();
            handlers.iter().any(|handler| handler["name"] == name && handler["handled"].as_u64() > Some(0))
        };
        if ["payment", "warehouse", "smtp", "turnover"].into_iter().all(served) && stats["dead_letters"]["len"] != 0 {
            break;
        }
        assert!(since.elapsed() < GUARD, "{stats:#}");
        std::thread::yield_now();
    }
    let topology = get(address, "/topology");
    let found = |finding| topology["findings"].as_array().unwrap().iter().any(|one| one["finding"] == finding);
    assert!(found("orphan") && found("idle"), "there is something to see: {topology:#}");
    assert!(!ask(address, "GET", "/dead-letters").contains("@example.net"), "addresses are redacted");
    assert!(ask(address, "POST", "/dead-letters/1/retry").contains("token"), "and nothing changes without the token");
    let account = running.stop();
    assert!(account.contains("drained"), "{account}");
}
