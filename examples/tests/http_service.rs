//! The web service as its clients meet it: over sockets, many at a time.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test starts its own threads, and says so at once when something is amiss"
)]

use nervebus::{Bus, Value, json};
use nervebus_examples::http_service::Service;
use std::collections::HashSet;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use ureq::Agent;

/// Long enough for the slowest machine; reached only when something hangs.
const GUARD: Duration = Duration::from_secs(20);
const CLIENTS: usize = 64;
const ROUNDS: usize = 8;

/// Runs a service on a free port while `clients` are at work.
fn served<R>(clients: impl FnOnce(&str) -> R) -> R {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (end, ended) = oneshot::channel::<()>();
    let service = Service::new(Bus::builder()).unwrap();
    // The runtime's workers drive it; errors with what is not `Send` stay there.
    let serving = runtime.spawn(async move {
        let end = async { drop(ended.await) };
        service.serve(listener, end).await.map_err(|error| error.to_string())
    });
    let done = clients(&address);
    end.send(()).unwrap();
    runtime.block_on(serving).unwrap().unwrap();
    done
}

/// A client with connections of its own.
fn agent() -> Agent {
    Agent::config_builder().timeout_global(Some(GUARD)).build().into()
}

/// Places an order; the id that the answer has.
fn place(agent: &Agent, address: &str, order: usize, id: Option<&str>) -> String {
    let request = agent.post(format!("{address}/orders")).header("Content-Type", "application/json");
    let request = if let Some(id) = id { request.header("X-Correlation-ID", id) } else { request };
    let response = request.send(json!({"order": order}).to_string()).unwrap();
    assert_eq!(response.status(), 202);
    response.headers()["x-correlation-id"].to_str().unwrap().to_owned()
}

/// What was emitted for a request, once all of it was.
fn emitted(agent: &Agent, address: &str, id: &str, own: &str) -> Vec<Value> {
    let since = Instant::now();
    loop {
        let asking = agent.get(format!("{address}/orders/{id}")).header("X-Correlation-ID", own);
        let mut response = asking.call().unwrap();
        assert_eq!(response.headers()["x-correlation-id"], own);
        let seen: Vec<Value> = serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap();
        if seen.len() >= 3 {
            return seen;
        }
        assert!(since.elapsed() < GUARD, "{id}: {seen:?}");
        thread::yield_now();
    }
}

#[test]
fn no_id_ever_crosses_requests_however_many_there_are_at_once() {
    let made = Mutex::new(HashSet::new());
    served(|address| {
        let start = Barrier::new(CLIENTS);
        thread::scope(|threads| {
            for client in 0..CLIENTS {
                let (start, made) = (&start, &made);
                threads.spawn(move || {
                    let agent = agent();
                    start.wait();
                    for round in 0..ROUNDS {
                        let order = client * ROUNDS + round;
                        let own = format!("client-{client}-{round}");
                        // Every fourth client leaves it to the service to find an id.
                        let given = (client % 4 != 0).then_some(&*own);
                        let id = place(&agent, address, order, given);
                        match given {
                            Some(given) => assert_eq!(id, given),
                            None => assert!(made.lock().unwrap().insert(id.clone()), "{id} was made twice"),
                        }
                        let seen = emitted(&agent, address, &id, &own);
                        let wanted = ["order.placed", "stock.reserved", "mail.sent"];
                        let wanted = wanted.map(|topic| json!({"type": topic, "order": order}));
                        assert_eq!(seen, wanted, "{id}");
                    }
                });
            }
        });
    });
    assert_eq!(made.into_inner().unwrap().len(), CLIENTS / 4 * ROUNDS);
}

#[test]
fn requests_on_one_connection_have_each_their_own_id() {
    served(|address| {
        let agent = agent();
        for order in 0..20 {
            let own = format!("req-{order}");
            let given = (order % 2 == 0).then_some(&*own);
            let id = place(&agent, address, order, given);
            assert_eq!(given.is_some(), id == own);
            assert!(emitted(&agent, address, &id, "asking").iter().all(|seen| seen["order"] == order));
        }
    });
}

#[test]
fn an_answer_that_the_service_did_not_write_has_the_id_as_well() {
    served(|address| {
        let config = Agent::config_builder().timeout_global(Some(GUARD)).http_status_as_error(false);
        let agent: Agent = config.build().into();
        let answer = agent.get(format!("{address}/orders")).header("x-correlation-id", "req-1").call().unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["x-correlation-id"]), (405, &"req-1".parse().unwrap()));
        let nowhere = agent.get(format!("{address}/nowhere")).header("X-CORRELATION-ID", "req-2").call().unwrap();
        assert_eq!(
            (nowhere.status().as_u16(), &nowhere.headers()["x-correlation-id"]),
            (404, &"req-2".parse().unwrap())
        );
    });
}
