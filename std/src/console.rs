//! A bus over HTTP: its figures, its graph, its dead letters and its events as they come, and a page that shows them.
//!
//! [`router`] makes an `axum` router that a service mounts where it likes, [`Console::serve`] listens on an address of its
//! own. Either needs a tokio runtime. Nothing in it keeps the bus alive; once the bus is gone, all but `/health/live` is 503.
//!
//! | route | gives |
//! |---|---|
//! | `GET /` | the page; it asks for nothing but what is below, and nothing from elsewhere |
//! | `GET /health` | 200 or 503, and why as JSON |
//! | `GET /health/live` | 200 for as long as anything answers |
//! | `GET /metrics` | [`Stats::to_prometheus`](crate::Stats::to_prometheus) |
//! | `GET /stats` | [`Stats`](crate::Stats) as JSON |
//! | `GET /topology` | [`Topology`](crate::Topology) as JSON with its findings; `?format=dot` and `?format=mermaid` as text |
//! | `GET /dead-letters` | the newest letters, without payloads; `?topic=order.*&reason=handler_error&handler=store&limit=50` |
//! | `GET /dead-letters/7` | one of them with its event |
//! | `POST /dead-letters/7/retry` | sends it [back](crate::DeadLetters::retry) |
//! | `DELETE /dead-letters/7` | takes it out |
//! | `POST /dead-letters/retry` | sends several back: `{"ids": [7, 8]}` or `{"limit": 100, "max_retries": 3}` |
//! | `POST /dead-letters/purge` | takes several out: `{"ids": [7, 8]}`, `{"topic": "order.*", "reason": "expired"}` or `{"all": true}` |
//! | `GET /events?pattern=order.*` | events as they come, as server-sent events |
//!
//! What goes wrong is JSON as well: `{"error": "…"}`.
//!
//! **Who may do what.** Whoever reaches the console may look. What changes something needs the [token](Console::token) in
//! the header `Authorization: Bearer …`; without a token it is refused. There are no cookies, so a page from elsewhere has
//! nothing to borrow, and no answer lets one read it. [`serve`](Console::serve) listens on loopback only unless it is
//! [told otherwise](Console::allow_remote), and refuses names that are not its own, so that no name of somebody else's leads
//! a browser there. It speaks plain HTTP and does not limit connections: beyond loopback, put a proxy before it.
//!
//! **What is shown.** Events, dead letters and texts of errors pass the [redactor](crate::Builder::redact) of the bus, or
//! where it has none, [`Redactor::default`]. Names of topics, handlers and lanes are shown as they are.
//!
//! **Live events.** Each reader has a stream of 256 events; what comes faster than it is sent makes way and is told of, as
//! `event: dropped`. A reader is a subscription by the name `nervebus.console` and costs every event of its pattern what a
//! [stream](crate::Bus::stream) costs; at most [`max_tails`](Console::max_tails) are there at once, and a reader that goes
//! ends its subscription. It is among [`Stats`](crate::Stats), and left out of `/topology`. A bus that shuts down ends the
//! stream with `event: end`.

mod answer;
mod asked;
mod door;
mod health;
mod letters;
mod routes;
mod server;
mod tail;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::sync::{Semaphore, watch};

use self::answer::Refusal;
use self::door::Token;
pub use self::server::ConsoleServer;
use crate::bus::Bus;
use crate::redact::Redactor;
use crate::redact::screen::Screen;
use crate::weak_bus::WeakBus;

/// How many bytes a token has at least.
const TOKEN_BYTES: usize = 16;

/// How many read live events at once, unless the console's maker says otherwise.
const TAILS: usize = 16;

/// A console that changes nothing, with all settings as they are by default, to be mounted with `nest`:
///
/// ```no_run
/// use nervebus::{Bus, console};
///
/// let bus = Bus::builder().build()?;
/// let service: axum::Router = axum::Router::new().nest("/bus", console::router(&bus));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It answers for what it does not know as well, so `merge` would take the fallback of the service it is merged into.
pub fn router(bus: &Bus) -> Router {
    Console::of(bus).router()
}

/// A console to be; see the [module](self).
///
/// # Examples
///
/// ```no_run
/// use nervebus::Bus;
/// use nervebus::console::Console;
/// use std::time::Duration;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let bus = Bus::builder().build()?;
/// let token = std::env::var("CONSOLE_TOKEN")?;
/// let server = Console::of(&bus).token(token)?.max_lag(1_000).serve(([127, 0, 0, 1], 8080)).await?;
/// println!("http://{}/", server.address());
/// server.shutdown(Duration::from_secs(1)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a console is there once it is a router or is served"]
pub struct Console {
    bus: WeakBus,
    screen: Screen,
    token: Option<Token>,
    max_lag: Option<u64>,
    max_tails: usize,
    remote: bool,
    hosts: Vec<String>,
}

impl Console {
    /// A console of this bus that changes nothing.
    pub fn of(bus: &Bus) -> Self {
        Self {
            bus: bus.downgrade(),
            screen: bus.engine().screen.or_default(),
            token: None,
            max_lag: None,
            max_tails: TAILS,
            remote: false,
            hosts: Vec::new(),
        }
    }

    /// Lets those who know this token send dead letters back and take them out. It is compared in a time that does not
    /// tell where it differs.
    ///
    /// # Errors
    ///
    /// [`ConsoleError::TokenTooShort`] below 16 bytes, [`ConsoleError::TokenNotPrintable`] for what no header can carry:
    /// anything but printable ASCII without spaces. Neither shows the token.
    pub fn token(mut self, token: impl Into<String>) -> Result<Self, ConsoleError> {
        self.token = Some(Token::new(token.into())?);
        Ok(self)
    }

    /// From how many waiting events on a lane, or on its way to a log, `/health` says that the bus is not ready: when there
    /// are more than this. Default: a lane is not ready when it has no room.
    pub fn max_lag(mut self, events: u64) -> Self {
        self.max_lag = Some(events);
        self
    }

    /// How many may read live events at once; further ones get 503. Default: 16.
    pub fn max_tails(mut self, readers: usize) -> Self {
        self.max_tails = readers.min(Semaphore::MAX_PERMITS);
        self
    }

    /// Shows events and errors through this redactor in place of the bus's.
    pub fn redact(mut self, redactor: Redactor) -> Self {
        self.screen = Screen::new(redactor);
        self
    }

    /// Lets [`serve`](Self::serve) listen on addresses that other machines reach.
    pub fn allow_remote(mut self) -> Self {
        self.remote = true;
        self
    }

    /// Another name by which [`serve`](Self::serve) may be reached, without a port; `localhost` and the machine's addresses
    /// need not be said.
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// The console as a router to be mounted, with `nest` or on its own. It does not look at the `Host` header and does not
    /// say who may reach it: that is for the service that mounts it.
    pub fn router(self) -> Router {
        routes::router(self.shared(None))
    }

    /// Listens on an address; port 0 takes a free one. Live events end when the server shuts down.
    ///
    /// # Errors
    ///
    /// [`ConsoleError::NotLoopback`] unless [`allow_remote`](Self::allow_remote) was called, [`ConsoleError::Bind`] when
    /// the address cannot be had.
    ///
    /// # Panics
    ///
    /// When it is polled outside a tokio runtime with its IO and time enabled.
    pub async fn serve(self, address: impl Into<SocketAddr>) -> Result<ConsoleServer, ConsoleError> {
        server::serve(self, address.into()).await
    }

    fn shared(self, stop: Option<watch::Receiver<bool>>) -> Arc<Shared> {
        Arc::new(Shared {
            bus: self.bus,
            screen: self.screen,
            token: self.token,
            max_lag: self.max_lag,
            tails: Arc::new(Semaphore::new(self.max_tails)),
            stop,
        })
    }
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    bus: WeakBus,
    screen: Screen,
    token: Option<Token>,
    max_lag: Option<u64>,
    /// As many permits as there may be further readers of live events.
    tails: Arc<Semaphore>,
    /// Says when the server shuts down, if there is one of the console's own.
    stop: Option<watch::Receiver<bool>>,
}

impl Shared {
    /// Asks the bus on a thread that may wait. An inline handler may be called there, and if the bus was let go meanwhile, it
    /// is drained there.
    async fn ask<R: Send + 'static>(
        self: Arc<Self>,
        question: impl FnOnce(&Bus, &Self) -> Result<R, Refusal> + Send + 'static,
    ) -> Result<R, Refusal> {
        let asking = tokio::task::spawn_blocking(move || {
            let bus = self.bus.upgrade().ok_or_else(Refusal::gone)?;
            question(&bus, &self)
        });
        asking.await.unwrap_or_else(|_| Err(Refusal::broken()))
    }
}

/// Why there is no console.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConsoleError {
    /// The token is too easily guessed.
    TokenTooShort {
        /// How many bytes it has.
        length: usize,
        /// How many it must have.
        min: usize,
    },
    /// The token has something else than printable ASCII, or a space.
    TokenNotPrintable,
    /// Other machines reach the address, and nobody has said that they may.
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be had.
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for ConsoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenTooShort { length, min } => {
                write!(f, "the console's token has {length} bytes; it needs {min} at least")
            }
            Self::TokenNotPrintable => f.write_str("the console's token may have printable ASCII only, and no spaces"),
            Self::NotLoopback { address } => {
                write!(f, "other machines reach {address}: the console needs `allow_remote` for that")
            }
            Self::Bind { address, error } => write!(f, "the console cannot listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for ConsoleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        if let Self::Bind { error, .. } = self { Some(error) } else { None }
    }
}
