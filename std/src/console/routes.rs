//! Which path leads where, and what every answer has.

use std::sync::Arc;

use axum::Router;
use axum::extract::{OriginalUri, RawQuery, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::answer::{Refusal, json_of, typed};
use super::asked::Asked;
use super::{Shared, health, letters, tail};
use crate::bus::Bus;
use crate::observe::prometheus::PrometheusText;
use crate::observe::topology::Topology;

const HTML: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const PICTURE: &str = include_str!("picture.js");
const STYLE: &str = include_str!("page.css");

/// What the page's links are relative to, as the file has it.
const BASE: &str = r#"<base href="./">"#;

/// The page loads nothing from elsewhere, and nobody shows it inside another page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'self'; form-action 'none'; frame-ancestors 'none'";

/// What every answer says to browsers.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/page.js", get(async || typed(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT)))
        .route("/picture.js", get(async || typed(StatusCode::OK, "text/javascript; charset=utf-8", PICTURE)))
        .route("/page.css", get(async || typed(StatusCode::OK, "text/css; charset=utf-8", STYLE)))
        .route("/health", get(ready))
        .route("/health/live", get(async || json_of(StatusCode::OK, &json!({"status": "alive"}))))
        .route("/metrics", get(metrics))
        .route("/stats", get(stats))
        .route("/topology", get(topology))
        .route("/dead-letters", get(letters::list))
        .route("/dead-letters/retry", post(letters::retry_many))
        .route("/dead-letters/purge", post(letters::purge))
        .route("/dead-letters/{id}", get(letters::show).delete(letters::remove))
        .route("/dead-letters/{id}/retry", post(letters::retry))
        .route("/events", get(tail::events))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this is not done with this method")
        })
        .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is nothing here"))
        .layer(map_response(with_headers))
        .with_state(shared)
}

async fn with_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The page. Where it is mounted without a slash at the end, its links begin with the last part of its own path: so they are
/// right below any prefix, also one that a proxy has taken off.
async fn page(OriginalUri(uri): OriginalUri) -> Response {
    let last = uri.path().rsplit('/').next().unwrap_or_default();
    if last.is_empty() {
        return typed(StatusCode::OK, "text/html; charset=utf-8", HTML);
    }
    let last = last.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let page = HTML.replacen(BASE, &format!(r#"<base href="./{last}/">"#), 1);
    typed(StatusCode::OK, "text/html; charset=utf-8", page)
}

async fn ready(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let health = shared.ask(health::health).await?;
    let status = if health.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(json_of(status, &health))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let page = shared.ask(|bus, _| Ok(bus.stats().to_prometheus())).await?;
    Ok(typed(StatusCode::OK, PrometheusText::CONTENT_TYPE, page))
}

async fn stats(State(shared): State<Arc<Shared>>) -> Result<Response, Refusal> {
    let stats = shared.ask(|bus, _| Ok(bus.stats())).await?;
    Ok(json_of(StatusCode::OK, &stats))
}

async fn topology(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let asked = Asked::parse(query.as_deref(), &["format"])?;
    let topology = async |shared: Arc<Shared>| shared.ask(|bus, _| Ok(graph(bus))).await;
    match asked.get("format").unwrap_or("json") {
        "json" => Ok(json_of(StatusCode::OK, &described(&topology(shared).await?))),
        "dot" => Ok(typed(StatusCode::OK, "text/vnd.graphviz; charset=utf-8", topology(shared).await?.to_dot())),
        "mermaid" => Ok(typed(StatusCode::OK, "text/plain; charset=utf-8", topology(shared).await?.to_mermaid())),
        other => Err(Refusal::bad(format!("there is no format {other:?}; there is json, dot, mermaid"))),
    }
}

/// The graph of the bus without those who only look on.
fn graph(bus: &Bus) -> Topology {
    let mut topology = bus.topology();
    topology.handlers.retain(|handler| handler.name != tail::NAME);
    topology
}

/// A graph as JSON with what is odd about it, each with its sentence.
fn described(topology: &Topology) -> Value {
    let findings = topology.findings().into_iter().map(|finding| {
        let mut object = json!(finding);
        object["message"] = finding.to_string().into();
        object
    });
    let findings: Vec<Value> = findings.collect();
    let mut object = json!(topology);
    object["findings"] = findings.into();
    object["fingerprint"] = format!("{:016x}", topology.fingerprint()).into();
    object
}
