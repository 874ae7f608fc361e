//! A console that listens on an address of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::door::Hosts;
use super::{Console, ConsoleError, routes};

/// A console that is served; see [`Console::serve`]. Dropping it stops it as well, without waiting.
#[derive(Debug)]
pub struct ConsoleServer {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl ConsoleServer {
    /// Where it listens, with the port that it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more connections, ends live events, and waits for answers under way, but no longer than this on the
    /// runtime's clock. Returns whether all have ended; those that have not are left to end by themselves.
    pub async fn shutdown(self, deadline: Duration) -> bool {
        self.stop.send_replace(true);
        timeout(deadline, self.task).await.is_ok()
    }
}

pub(super) async fn serve(console: Console, address: SocketAddr) -> Result<ConsoleServer, ConsoleError> {
    if !console.remote && !address.ip().is_loopback() {
        return Err(ConsoleError::NotLoopback { address });
    }
    let hosts = Arc::new(Hosts { remote: console.remote, names: console.hosts.clone() });
    let failed = |error| ConsoleError::Bind { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (stop, stopped) = watch::channel(false);
    let router = routes::router(console.shared(Some(stopped.clone()))).layer(from_fn_with_state(hosts, by_own_name));
    let serving = axum::serve(listener, router).with_graceful_shutdown(over(stopped));
    let task = tokio::spawn(async {
        // It ends without an error, after the shutdown.
        let _ = serving.await;
    });
    Ok(ConsoleServer { address, stop, task })
}

/// Ends when the server shuts down or was dropped.
pub(super) async fn over(mut stopped: watch::Receiver<bool>) {
    // The error is that of a server that was dropped.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn by_own_name(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    match hosts.admit(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}
