//! A console that is served on a free port of loopback, and as much of an HTTP client as its tests need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use nervebus::console::{Console, ConsoleServer};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// Long enough for the slowest machine; reached only when something hangs.
pub(crate) const GUARD: Duration = Duration::from_secs(20);

pub(crate) const TOKEN: &str = "0123456789abcdef-token";

/// A server with one thread for all connections.
pub(crate) struct Served {
    server: Option<ConsoleServer>,
    pub(crate) address: SocketAddr,
    pub(crate) runtime: Runtime,
}

impl Served {
    pub(crate) fn of(console: Console) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(console.serve((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Self { address: server.address(), server: Some(server), runtime }
    }

    /// Whether all connections have ended in time.
    pub(crate) fn stop(&mut self) -> bool {
        self.server.take().is_some_and(|server| self.runtime.block_on(server.shutdown(GUARD)))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        ask(self.address, "GET", path, "Host: localhost\r\n", "")
    }

    /// A request that shows the token.
    pub(crate) fn change(&self, method: &str, path: &str, body: &str) -> Answer {
        let headers = format!("Host: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
        ask(self.address, method, path, &headers, body)
    }

    pub(crate) fn tail(&self, query: &str) -> Tail {
        Tail::open(self.address, &format!("/events{query}")).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An answer with its headers as they came, in small letters.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json\r\n"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// What a refusal says.
    pub(crate) fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    fn read(mut stream: impl Read) -> Self {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: format!("{}\r\n", head.to_lowercase()), body: body.to_owned() }
    }
}

fn send(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(GUARD)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// Asks once; `headers` end in line ends. HTTP/1.0, for answers without chunks.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!("{method} {path} HTTP/1.0\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
    Answer::read(send(address, &request))
}

/// A reader of live events.
pub(crate) struct Tail(BufReader<TcpStream>);

impl Tail {
    /// Opens one; the answer, if it is refused.
    pub(crate) fn open(address: SocketAddr, path: &str) -> Result<Self, Answer> {
        let mut reader = BufReader::new(send(address, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0, "broke off: {head:?}");
        }
        if !head.starts_with("HTTP/1.0 200") {
            return Err(Answer::read(head.as_bytes().chain(reader)));
        }
        assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
        let mut tail = Self(reader);
        // The greeting: once it is there, so is the subscription.
        while tail.line().is_some_and(|line| !line.is_empty()) {}
        Ok(tail)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let bytes = self.0.read_line(&mut line).unwrap();
        (bytes > 0).then(|| line.trim_end().to_owned())
    }

    /// What comes next, by its name, which for an event of the bus is `message`; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<(String, Value)> {
        let (mut name, mut data) = ("message".to_owned(), None);
        loop {
            let line = self.line()?;
            if let Some(given) = line.strip_prefix("event: ") {
                name = given.to_owned();
            } else if let Some(given) = line.strip_prefix("data: ") {
                data = Some(serde_json::from_str(given).unwrap());
            } else if line.is_empty()
                && let Some(data) = data.take()
            {
                return Some((name, data));
            }
        }
    }

    /// The next event of the bus.
    pub(crate) fn event(&mut self) -> Value {
        let (name, event) = self.next().unwrap();
        assert_eq!(name, "message", "{event}");
        event
    }
}
