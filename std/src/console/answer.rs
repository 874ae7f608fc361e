//! What is answered: JSON, also when something is refused.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

/// A request that is refused; answered as `{"error": …}`.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The bus is no more.
    pub(super) fn gone() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the bus is gone")
    }

    /// Something panicked.
    pub(super) fn broken() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "this could not be answered")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json_of(self.status, &json!({"error": self.message}));
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A value as JSON.
pub(super) fn json_of(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => typed(status, "application/json", body),
        Err(_) => typed(StatusCode::INTERNAL_SERVER_ERROR, "application/json", r#"{"error":"this has no JSON"}"#),
    }
}

/// A body of this type.
pub(super) fn typed(status: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body.into()).into_response()
}
