//! The layer that opens a scope for each request.
#![cfg(feature = "tower")]
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

#[path = "support/gate.rs"]
#[allow(dead_code, reason = "not every test gives way")]
mod gate;

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::mpsc::{self, Receiver};
use std::task::{Context, Poll, Waker};

use gate::{Gate, give_way};
use http::{Request, Response};
use nervebus::{Bus, CorrelationLayer, CorrelationScope, Event, Scope};
use tower_layer::Layer;
use tower_service::Service;

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<String>, E>> + Send>>;

/// A service of a closure.
#[derive(Clone)]
struct Serve<F>(F);

impl<F, Fut, E> Service<Request<()>> for Serve<F>
where
    F: FnMut(Request<()>) -> Fut,
    Fut: Future<Output = Result<Response<String>, E>> + Send + 'static,
{
    type Response = Response<String>;
    type Error = E;
    type Future = Answer<E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Answer<E> {
        Box::pin((self.0)(request))
    }
}

fn here() -> String {
    CorrelationScope::current().map(|id| id.to_string()).unwrap_or_default()
}

fn with_id(id: &str) -> Request<()> {
    Request::builder().header("X-CORRELATION-ID", id).body(()).unwrap()
}

fn header(response: &Response<String>) -> &str {
    response.headers()["x-correlation-id"].to_str().unwrap()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls a future that needs nobody to its end.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
        assert_eq!(here(), "", "between polls there is no scope");
    }
}

/// Answers with the ids that it finds when it is called, and after an await.
fn echo() -> Serve<impl FnMut(Request<()>) -> Answer<Infallible> + Clone> {
    Serve(|_: Request<()>| -> Answer<Infallible> {
        let called = here();
        Box::pin(async move {
            give_way().await;
            Ok(Response::new(format!("{called} {}", here())))
        })
    })
}

#[test]
fn the_call_and_its_future_are_in_the_requests_scope_and_the_answer_says_which() {
    let mut service = CorrelationLayer::new().layer(echo());
    let response = finish(service.call(with_id("req-1"))).unwrap();
    assert_eq!((header(&response), response.body().as_str()), ("req-1", "req-1 req-1"));
    assert_eq!(here(), "");
}

#[test]
fn a_request_without_a_fit_id_gets_a_new_one() {
    let mut service = CorrelationLayer::new().layer(echo());
    let mut ids = Vec::new();
    for request in [Request::new(()), with_id("a b"), Request::new(())] {
        let response = finish(service.call(request)).unwrap();
        let id = header(&response).to_owned();
        assert_eq!(response.body(), &format!("{id} {id}"));
        assert_eq!(id.len(), 32);
        ids.push(id);
    }
    assert!(ids.is_sorted() && ids[0] != ids[1] && ids[1] != ids[2], "{ids:?}");
}

#[test]
fn an_untrusting_layer_takes_nothing_from_the_headers() {
    let serve = |_: Request<()>| async {
        let scope = Scope::current();
        assert!(scope.trace_context().is_none() && scope.baggage().is_none());
        Ok::<_, Infallible>(Response::new(here()))
    };
    let mut request = with_id("req-1");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.headers_mut().insert("traceparent", trace.parse().unwrap());
    request.headers_mut().insert("baggage", "user=alice".parse().unwrap());
    let response = finish(CorrelationLayer::new().untrusting().layer(Serve(serve)).call(request)).unwrap();
    assert_ne!(header(&response), "req-1");
    assert_eq!(header(&response), response.body());
}

#[test]
fn trace_and_baggage_are_in_the_scope_and_nothing_of_who_calls_the_service() {
    let serve = |_: Request<()>| async {
        let scope = Scope::current();
        let trace = scope.trace_context().map(ToString::to_string).unwrap_or_default();
        Ok::<_, Infallible>(Response::new(format!("{trace} {:?}", scope.baggage())))
    };
    let mut service = CorrelationLayer::new().layer(Serve(serve));
    let _around = Scope::new().with_baggage(nervebus::Baggage::parse("around=1").unwrap()).enter();
    let mut request = with_id("req-1");
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request.headers_mut().insert("traceparent", trace.parse().unwrap());
    let mut future = service.call(request);
    let Poll::Ready(Ok(response)) = poll(&mut future) else { panic!("it has nothing to wait for") };
    assert_eq!(response.body(), &format!("{trace} None"));
}

#[test]
fn an_error_is_passed_on_and_a_header_of_the_services_own_is_replaced() {
    let mut failing = CorrelationLayer::new().layer(Serve(|_| async { Err::<Response<String>, _>("no") }));
    assert_eq!(finish(failing.call(with_id("req-1"))).unwrap_err(), "no");
    let own = |_: Request<()>| async {
        Ok::<_, Infallible>(Response::builder().header("x-correlation-id", "own").body(String::new()).unwrap())
    };
    let response = finish(CorrelationLayer::new().layer(Serve(own)).call(with_id("req-1"))).unwrap();
    assert_eq!(response.headers().get_all("x-correlation-id").iter().collect::<Vec<_>>(), ["req-1"]);
}

#[test]
fn what_a_request_emits_has_its_id_also_when_it_is_given_up() {
    struct Last(Bus);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.emit("request.dropped", ()).unwrap();
        }
    }
    let bus = Bus::builder().build().unwrap();
    let (sender, seen): (_, Receiver<(String, String)>) = mpsc::channel();
    let see = move |event: &Event<'_>| {
        sender.send((event.topic().to_owned(), event.correlation_id().unwrap_or_default().to_owned())).unwrap();
    };
    bus.on("request.*").inline().handle(see).unwrap();
    let gate = Gate::default();
    let (emits, waits) = (bus.clone(), gate.clone());
    let serve = move |_: Request<()>| {
        let (emits, waits) = (emits.clone(), waits.clone());
        async move {
            let last = Last(emits);
            last.0.emit("request.begun", ()).unwrap();
            waits.pass().await;
            last.0.emit("request.ended", ()).unwrap();
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    };
    let mut service = CorrelationLayer::new().layer(Serve(serve));
    let mut first = service.call(with_id("req-1"));
    let mut second = service.call(with_id("req-2"));
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    drop(first);
    gate.open();
    assert!(poll(&mut second).is_ready());
    assert!(poll(&mut second).is_pending(), "after its end it has nothing more to say");
    bus.emit("request.other", ()).unwrap();
    let wanted = [
        ("begun", "req-1"),
        ("begun", "req-2"),
        ("dropped", "req-1"),
        ("ended", "req-2"),
        ("dropped", "req-2"),
        ("other", ""),
    ];
    let wanted = wanted.map(|(what, id)| (format!("request.{what}"), id.to_owned()));
    assert_eq!(seen.try_iter().collect::<Vec<_>>(), wanted);
}
