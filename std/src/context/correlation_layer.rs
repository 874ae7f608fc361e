//! A scope for each request of a tower service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderValue, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::http::CORRELATION;
use super::scope::Scope;
use super::{Inheriting, Lineage};

/// Opens a [`Scope`] for each request of an axum, hyper or other [tower](https://docs.rs/tower) service: all that the
/// request's future emits has the correlation id of the request, its trace and its baggage, and so has all that comes of it.
///
/// They are those of the [headers](Scope::extract). A request without a correlation id gets a new one. The response has it
/// in its header `X-Correlation-ID`, in place of what the service said there.
///
/// A task that the request spawns, and the stream of a response's body, are futures of their own: they are in the scope if
/// they [take it along](Scope::current).
///
/// # Cost
///
/// Two allocations for each request, one more for an id of its own, and what the headers hold; each poll enters the scope
/// and leaves it.
///
/// # Examples
///
/// With axum this is `Router::new().route(...).layer(CorrelationLayer::new())`; `examples/http_service.rs` is a whole
/// program. In general:
///
/// ```
/// use http::{Request, Response};
/// use nervebus::{CorrelationLayer, CorrelationScope};
/// use std::future::ready;
/// # use std::task::{Context, Poll};
/// use tower_layer::Layer;
/// use tower_service::Service;
/// # struct Echo;
/// # impl Service<Request<()>> for Echo {
/// #     type Response = Response<Option<String>>;
/// #     type Error = std::convert::Infallible;
/// #     type Future = std::future::Ready<Result<Self::Response, Self::Error>>;
/// #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> { Poll::Ready(Ok(())) }
/// #     fn call(&mut self, _: Request<()>) -> Self::Future {
/// #         ready(Ok(Response::new(CorrelationScope::current().map(|id| id.to_string()))))
/// #     }
/// # }
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let mut service = CorrelationLayer::new().layer(Echo); // it answers with the id that its emits would have
/// let response = service.call(Request::builder().header("X-Correlation-ID", "req-1").body(())?).await?;
/// assert_eq!((&response.headers()["x-correlation-id"], response.body().as_deref()), (&"req-1".parse()?, Some("req-1")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CorrelationLayer {
    trusts: bool,
}

impl CorrelationLayer {
    /// A layer that takes what the headers of a request say.
    #[must_use]
    pub const fn new() -> Self {
        Self { trusts: true }
    }

    /// Takes nothing from the headers: each request gets an id of its own, and has no trace and no baggage. For services that
    /// anybody can reach. Default: what they say is taken.
    #[must_use]
    pub const fn untrusting(self) -> Self {
        Self { trusts: false }
    }
}

impl Default for CorrelationLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for CorrelationLayer {
    type Service = CorrelationService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CorrelationService { inner, trusts: self.trusts }
    }
}

/// A service whose requests have a scope each; see [`CorrelationLayer`].
#[derive(Debug, Clone)]
pub struct CorrelationService<S> {
    inner: S,
    trusts: bool,
}

impl<S, Q, R> Service<Request<Q>> for CorrelationService<S>
where
    S: Service<Request<Q>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = CorrelationFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let said = if self.trusts { Scope::extract(request.headers()) } else { Scope::detached() };
        let scope = if said.correlation_id().is_some() { said } else { said.with_new_correlation_id() };
        let id = scope.correlation_id().and_then(|id| HeaderValue::from_str(id).ok());
        let lineage = scope.settled();
        let _inheriting = Inheriting::enter(lineage.clone());
        let future = Some(Box::pin(self.inner.call(request)));
        CorrelationFuture { future, lineage, id }
    }
}

/// The response of a [`CorrelationService`].
pub struct CorrelationFuture<F> {
    /// Gone when it has ended.
    future: Option<Pin<Box<F>>>,
    lineage: Option<Arc<Lineage>>,
    id: Option<HeaderValue>,
}

impl<F, R, E> Future for CorrelationFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    /// Polled again after it was ready, it stays pending.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let _inheriting = Inheriting::enter(self.lineage.clone());
        let Some(future) = &mut self.future else { return Poll::Pending };
        let mut answered = ready!(future.as_mut().poll(context));
        self.future = None;
        if let (Ok(response), Some(id)) = (&mut answered, self.id.take()) {
            response.headers_mut().insert(CORRELATION, id);
        }
        Poll::Ready(answered)
    }
}

impl<F> Drop for CorrelationFuture<F> {
    /// What a request emits that is given up is emitted in its scope.
    fn drop(&mut self) {
        if self.future.is_some() {
            let _inheriting = Inheriting::enter(self.lineage.take());
            self.future = None;
        }
    }
}

impl<F> fmt::Debug for CorrelationFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CorrelationFuture").field("is_over", &self.future.is_none()).finish_non_exhaustive()
    }
}
