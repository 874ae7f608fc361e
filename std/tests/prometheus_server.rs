//! A real Prometheus server scrapes a bus, and is asked what it has seen.
//!
//! Where the server is not installed (Debian: `apt-get install prometheus`) the test says so and ends; with
//! `NERVEBUS_SERVERS=required` in the environment, as in CI, that is a failure.
#![allow(
    clippy::disallowed_methods,
    reason = "a server of its own needs a folder, a port and the time that it takes to start"
)]

#[path = "support/folder.rs"]
mod folder;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::{env, fs, io};

use nervebus::{Bus, PrometheusText, Timing, json};
use serde_json::Value;

use self::folder::Folder;

/// A server that ends with the test.
struct Server {
    child: Child,
    port: u16,
    folder: Folder,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts one that scrapes `target` each second; `None` where there is no Prometheus.
    fn start(target: SocketAddr) -> Option<Self> {
        let folder = Folder::of("prometheus");
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: bus, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let port = free_port();
        let mut command = Command::new("prometheus");
        command
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap());
        match command.spawn() {
            Ok(child) => Some(Self { child, folder, port }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("prometheus does not start: {error}"),
        }
    }

    /// What a query's one series has; `None` while there is none.
    fn query(&self, query: &str) -> Option<f64> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let answer = get(self.port, &format!("/api/v1/query?query={encoded}"))?;
        let answer: Value = serde_json::from_str(&answer).ok()?;
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The body of an answer.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// Answers one scrape with the page of this bus.
fn serve(listener: &TcpListener, bus: &Bus) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
        line.clear();
    }
    let page = bus.stats().to_prometheus();
    let kind = PrometheusText::CONTENT_TYPE;
    let length = page.len();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    // The server may have hung up; it comes again.
    let _ = reader.get_mut().write_all((head + &page).as_bytes());
}

#[test]
fn a_server_scrapes_what_the_bus_has_counted() {
    let bus = Bus::builder().timing(Timing::Every).build().unwrap();
    bus.on("order.placed").name("a \"quoted\"\nname").inline().handle(|_| Err("no")).unwrap();
    for _ in 0..5 {
        bus.emit("order.placed", json!({})).unwrap();
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let Some(server) = Server::start(listener.local_addr().unwrap()) else {
        assert_ne!(env::var("NERVEBUS_SERVERS").as_deref(), Ok("required"), "prometheus is not installed");
        eprintln!("not checked: prometheus is not installed");
        return;
    };
    // What it has scraped can be asked for some time after it has come a second time.
    serve(&listener, &bus);
    serve(&listener, &bus);
    thread::scope(|scope| {
        let scraping = scope.spawn(|| serve(&listener, &bus));
        let seen = loop {
            if let Some(seen) = server.query("nervebus_events_emitted_total") {
                break seen;
            }
            if scraping.is_finished() {
                break server.query("nervebus_events_emitted_total").unwrap_or_else(|| panic!("{}", log(&server)));
            }
            thread::yield_now();
        };
        assert_eq!(seen, 5.0);
        scraping.join().unwrap();
    });
    let up = server.query("up").unwrap();
    let failed = server.query(r#"nervebus_handler_calls_total{outcome="failed",pattern="order.placed"}"#);
    let timed = server.query("histogram_quantile(1, nervebus_handler_duration_seconds_bucket)");
    assert_eq!((up, failed), (1.0, Some(5.0)));
    assert!(timed.is_some_and(|seconds| seconds > 0.0), "{timed:?}");
}

fn log(server: &Server) -> String {
    fs::read_to_string(server.folder.path().join("log")).unwrap_or_default()
}
