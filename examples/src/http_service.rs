//! A web service whose requests can be followed through the bus.
//!
//! `POST /orders` emits `order.placed`; a handler on a lane of its own emits `stock.reserved` for it, and an async one on yet
//! another `mail.sent` for that. `GET /orders/ID` says what was emitted for the request with this correlation id. Nobody
//! hands an id from one to the next: the layer opens a scope for the request, and everything else inherits.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use nervebus::{Builder, Bus, CorrelationLayer, Event, Lane, OwnedEvent, Value, json};
use std::collections::VecDeque;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;

/// How many events are remembered.
const REMEMBERED: usize = 100_000;

/// How long the bus may take to end what it has begun.
const LAST: Duration = Duration::from_secs(5);

/// The last events, and the correlation ids that they had.
#[derive(Debug, Clone, Default)]
struct Seen(Arc<Mutex<VecDeque<(String, Value)>>>);

impl Seen {
    fn note(&self, event: &Event<'_>) {
        let Some(id) = event.correlation_id() else { return };
        let seen = json!({"type": event.topic(), "order": event["order"]});
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if events.len() == REMEMBERED {
            events.pop_front();
        }
        events.push_back((id.to_owned(), seen));
    }

    fn of(&self, id: &str) -> Vec<Value> {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|(of, _)| of == id).map(|(_, seen)| seen.clone()).collect()
    }
}

/// What requests are answered with.
#[derive(Debug, Clone)]
struct Shop {
    bus: Bus,
    seen: Seen,
}

/// A service, and the bus that it emits to.
#[derive(Debug)]
pub struct Service {
    router: Router,
    bus: Bus,
}

impl Service {
    /// Sets the bus up, on lanes of its own.
    ///
    /// # Errors
    ///
    /// What the bus says of its settings, of which none depend on anything here.
    pub fn new(builder: Builder) -> Result<Self, Box<dyn Error>> {
        let bus = builder.lane(Lane::new("stock").workers(2)).lane(Lane::new("mail").concurrency(64)).build()?;
        let seen = Seen::default();
        let notes = seen.clone();
        bus.on("*").inline().handle(move |event| notes.note(event))?;

        let weak = bus.downgrade();
        bus.on("order.placed").lane("stock").handle(move |event: &Event<'_>| {
            let Some(bus) = weak.upgrade() else { return Ok(()) };
            bus.emit("stock.reserved", json!({"order": event["order"]})).map(drop).map_err(|error| error.to_string())
        })?;
        let weak = bus.downgrade();
        bus.on("stock.reserved").lane("mail").handle_async(move |event: OwnedEvent| {
            let weak = weak.clone();
            async move {
                // As if it waited for a server.
                tokio::task::yield_now().await;
                let Some(bus) = weak.upgrade() else { return Ok(()) };
                let sent = bus.emit("mail.sent", json!({"order": event["order"]}));
                sent.map(drop).map_err(|error| error.to_string())
            }
        })?;
        let shop = Shop { bus: bus.clone(), seen };
        let routes = Router::new().route("/orders", post(place)).route("/orders/{id}", get(find)).with_state(shop);
        Ok(Self { router: routes.layer(CorrelationLayer::new()), bus })
    }

    /// Serves requests until `end` is ready, and then ends what was begun.
    ///
    /// # Errors
    ///
    /// What the system says of the socket, or the bus of its end.
    pub async fn serve(
        self,
        listener: TcpListener,
        end: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Box<dyn Error>> {
        axum::serve(listener, self.router).with_graceful_shutdown(end).await?;
        let report = self.bus.shutdown_async(LAST).await;
        if report.drained { Ok(()) } else { Err(report.to_string().into()) }
    }
}

/// `POST /orders`.
async fn place(State(shop): State<Shop>, Json(order): Json<Value>) -> Response {
    // The task may go on on another thread; its scope goes with it.
    tokio::task::yield_now().await;
    match shop.bus.emit_async("order.placed", json!({"order": order["order"]})).await {
        Ok(receipt) => (StatusCode::ACCEPTED, Json(json!({"seq": receipt.seq()}))).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}

/// `GET /orders/ID`.
async fn find(State(shop): State<Shop>, Path(id): Path<String>) -> Json<Vec<Value>> {
    Json(shop.seen.of(&id))
}

/// Serves on an address, until Ctrl-C.
///
/// # Errors
///
/// What the system or the bus says.
pub fn main(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        let end = async { drop(tokio::signal::ctrl_c().await) };
        Service::new(Bus::builder())?.serve(listener, end).await
    })
}
