//! A web service whose requests can be followed through the bus by their `X-Correlation-ID`.
//!
//! In the folder of the examples:
//!
//! ```console
//! cargo run --features http-service --example http_service
//! curl -i localhost:8080/orders -H 'X-Correlation-ID: req-1' -H 'Content-Type: application/json' -d '{"order": 7}'
//! curl localhost:8080/orders/req-1
//! ```
//!
//! The program itself is the library module `nervebus_examples::http_service`, so that the tests run what users run.

use nervebus_examples::http_service;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

fn main() -> Result<(), Box<dyn Error>> {
    http_service::main(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))
}
