//! Scopes in headers of HTTP.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::baggage::Baggage;
use super::scope::Scope;
use super::trace::TraceContext;

pub(super) const CORRELATION: HeaderName = HeaderName::from_static("x-correlation-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// How long a correlation id of a header may be, in bytes.
const LONGEST: usize = 256;

#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
impl Scope {
    /// What the headers of a request say, in whatever case their names are: `X-Correlation-ID`, `traceparent` with
    /// `tracestate`, and `baggage`. [Detached](Self::detached).
    ///
    /// What is malformed is as good as absent, as the W3C says, and nothing else is lost for it. A correlation id is 1 to 256
    /// characters of visible ASCII; of several the first counts that is one. More than one `traceparent` is none. Several
    /// headers of `tracestate` are one, and so are those of `baggage`.
    ///
    /// # Cost
    ///
    /// Linear in the length of these headers; nothing is allocated for those that are absent.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::HeaderMap;
    /// use nervebus::{Bus, Scope, json};
    ///
    /// let bus = Bus::builder().build()?;
    /// bus.on("user.login").inline().handle(|event| {
    ///     assert_eq!((event.correlation_id(), event.trace_context()), (Some("req-1"), None));
    ///     // A request that this event leads to carries the same on.
    ///     let mut onward = HeaderMap::new();
    ///     Scope::of(event).inject(&mut onward);
    ///     assert_eq!(onward["x-correlation-id"], "req-1");
    /// })?;
    /// let mut headers = HeaderMap::new();
    /// headers.insert("X-Correlation-ID", "req-1".parse()?);
    /// headers.insert("traceparent", "00-no-such-trace-00".parse()?);
    ///
    /// let _scope = Scope::extract(&headers).enter();
    /// assert!(bus.emit_and_wait("user.login", json!({"username": "alice"}))?.all_handled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn extract(headers: &HeaderMap) -> Self {
        let mut scope = Self::detached();
        if let Some(id) = texts(headers, &CORRELATION).flatten().find(|id| is_correlation_id(id)) {
            scope = scope.with_correlation_id(id);
        }
        if let Some(trace) = trace(headers) {
            scope = scope.with_trace_context(trace);
        }
        if let Some(baggage) = Baggage::parse(&joined(texts(headers, &BAGGAGE).flatten())) {
            scope = scope.with_baggage(baggage);
        }
        scope
    }

    /// Puts what the scope says into the headers of a request, in the place of what they said; what it does not say stays as
    /// it is there. For what an event says, see [`Scope::of`]; for what this thread is at, [`Scope::current`].
    ///
    /// A correlation id that [`extract`](Self::extract) would not read is left out. The trace is passed on as it came; who
    /// records a span for the request puts it in before, with [`TraceContext::child`].
    ///
    /// # Cost
    ///
    /// Allocates what the headers need.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(id) = self.correlation_id().filter(|id| is_correlation_id(id)) {
            put(headers, CORRELATION, id);
        }
        if let Some(trace) = self.trace_context() {
            // The state of another trace says nothing of this one.
            headers.remove(TRACESTATE);
            put(headers, TRACEPARENT, &trace.to_string());
            if let Some(state) = trace.state() {
                put(headers, TRACESTATE, state);
            }
        }
        if let Some(baggage) = self.baggage().filter(|baggage| !baggage.is_empty()) {
            put(headers, BAGGAGE, &baggage.to_string());
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn trace(headers: &HeaderMap) -> Option<TraceContext> {
    let mut parents = texts(headers, &TRACEPARENT);
    let trace = TraceContext::parse(parents.next()??)?;
    if parents.next().is_some() {
        return None;
    }
    match texts(headers, &TRACESTATE).collect::<Option<Vec<_>>>() {
        Some(states) if !states.is_empty() => Some(trace.with_state(&states.join(","))),
        _ => Some(trace),
    }
}

/// The values of a header without white space around them; `None` for those that are no text.
fn texts<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
    headers.get_all(name).into_iter().map(|value| value.to_str().ok().map(|text| text.trim_matches([' ', '\t'])))
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.fold(String::new(), |mut joined, text| {
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(text);
        joined
    })
}

/// Whether it can stand in a header, and in a log line, as it is.
fn is_correlation_id(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
