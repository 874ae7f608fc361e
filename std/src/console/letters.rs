//! Dead letters: listed, shown, sent back and taken out.

use std::str::FromStr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use nervebus_core::Reason;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answer::{Refusal, json_of, typed};
use super::asked::Asked;
use super::{Shared, door};
use crate::delivery::dead_letters::DeadLetter;
use crate::delivery::dead_letters::plan::RetryError;
use crate::delivery::dead_letters::query::Query;
use crate::records::audit::line::{write_line, write_placeholder};
use crate::redact::screen::Screen;

/// How many letters are listed, unless the request says otherwise, and at most.
const LISTED: usize = 100;
const MOST: usize = 1_000;

/// How many bytes a request's body may have.
const BODY_BYTES: usize = 16 << 10;

type Answer = Result<Response, Refusal>;

pub(super) async fn list(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Answer {
    let asked = Asked::parse(query.as_deref(), &["topic", "reason", "handler", "limit"])?;
    let query = chosen(asked.get("topic"), asked.get("reason"), asked.get("handler"))?;
    let limit = asked.get("limit").map_or(Ok(LISTED), |limit| number("limit", limit))?;
    let query = query.newest_first().limit(limit.min(MOST));
    let list = shared.ask(move |bus, shared| {
        let letters = bus.dead_letters();
        let found = letters.find(&query).map_err(|error| Refusal::bad(error.to_string()))?;
        let found: Vec<Value> = found.iter().map(|letter| summary(letter, &shared.screen)).collect();
        Ok(json!({"letters": found, "kept": letters.len(), "total": letters.total()}))
    });
    Ok(json_of(StatusCode::OK, &list.await?))
}

pub(super) async fn show(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Answer {
    let id = number("id", &id)?;
    let shown = shared.ask(move |bus, shared| {
        let letter = bus.dead_letters().get(id).ok_or_else(|| no_letter(id))?;
        Ok(whole(&letter, &shared.screen))
    });
    Ok(typed(StatusCode::OK, "application/json", shown.await?))
}

pub(super) async fn retry(State(shared): State<Arc<Shared>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    door::admit(shared.token.as_ref(), &headers)?;
    let id = number("id", &id)?;
    let sent = shared.ask(move |bus, _| bus.dead_letters().retry(id).map_err(unsent));
    sent.await?;
    Ok(json_of(StatusCode::ACCEPTED, &json!({"sent": [id]})))
}

pub(super) async fn remove(State(shared): State<Arc<Shared>>, Path(id): Path<String>, headers: HeaderMap) -> Answer {
    door::admit(shared.token.as_ref(), &headers)?;
    let id = number("id", &id)?;
    let removed = shared.ask(move |bus, _| bus.dead_letters().remove(id).map(drop).ok_or_else(|| no_letter(id)));
    removed.await?;
    Ok(json_of(StatusCode::OK, &json!({"purged": 1})))
}

/// Which letters to send back: these, or the oldest.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    ids: Option<Vec<u64>>,
    limit: Option<usize>,
    max_retries: Option<u32>,
}

pub(super) async fn retry_many(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    door::admit(shared.token.as_ref(), &headers)?;
    let Retry { ids, limit, max_retries } = read(body).await?;
    if ids.is_some() && (limit.is_some() || max_retries.is_some()) {
        return Err(Refusal::bad("either \"ids\", or \"limit\" and \"max_retries\""));
    }
    let sent = shared.ask(move |bus, _| {
        let letters = bus.dead_letters();
        let (mut sent, mut skipped) = (Vec::new(), Vec::new());
        match ids {
            Some(ids) => ids.into_iter().for_each(|id| match letters.retry(id) {
                Ok(()) => sent.push(id),
                Err(error) => skipped.push(json!({"id": id, "why": error.to_string()})),
            }),
            None => {
                let plan = letters.retry_all(limit.unwrap_or(LISTED), max_retries.unwrap_or(3));
                sent = plan.letters;
                skipped.extend(plan.skipped.iter().map(|(id, why)| json!({"id": id, "why": why.to_string()})));
            }
        }
        Ok(json!({"sent": sent, "skipped": skipped}))
    });
    Ok(json_of(StatusCode::ACCEPTED, &sent.await?))
}

/// Which letters to take out: these, those that are alike in something, or all.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Purge {
    ids: Option<Vec<u64>>,
    topic: Option<String>,
    reason: Option<String>,
    handler: Option<String>,
    #[serde(default)]
    all: bool,
}

pub(super) async fn purge(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Answer {
    door::admit(shared.token.as_ref(), &headers)?;
    let Purge { ids, topic, reason, handler, all } = read(body).await?;
    let alike = topic.is_some() || reason.is_some() || handler.is_some();
    if usize::from(ids.is_some()) + usize::from(alike) + usize::from(all) != 1 {
        return Err(Refusal::bad(
            "the body must say which: \"ids\", or some of \"topic\", \"reason\" and \"handler\", or \"all\": true",
        ));
    }
    let query = chosen(topic.as_deref(), reason.as_deref(), handler.as_deref())?;
    let purged = shared.ask(move |bus, _| {
        let letters = bus.dead_letters();
        match ids {
            Some(ids) => Ok(ids.into_iter().filter(|id| letters.remove(*id).is_some()).count()),
            None => letters.clear_where(&query).map_err(|error| Refusal::bad(error.to_string())),
        }
    });
    Ok(json_of(StatusCode::OK, &json!({"purged": purged.await?})))
}

fn chosen(topic: Option<&str>, reason: Option<&str>, handler: Option<&str>) -> Result<Query, Refusal> {
    let mut query = Query::new();
    if let Some(topic) = topic {
        query = query.topic(topic);
    }
    if let Some(name) = reason {
        let reason = Reason::ALL.into_iter().find(|reason| reason.as_str() == name);
        query = query.reason(reason.ok_or_else(|| {
            let known = Reason::ALL.map(Reason::as_str).join(", ");
            Refusal::bad(format!("there is no reason {name:?}; there is {known}"))
        })?);
    }
    if let Some(handler) = handler {
        query = query.handler(handler);
    }
    Ok(query)
}

fn number<N: FromStr>(what: &str, text: &str) -> Result<N, Refusal> {
    text.parse().map_err(|_| Refusal::bad(format!("{what} {text:?} is not a number")))
}

/// A body as JSON; an empty one is an empty object.
async fn read<T: DeserializeOwned + Default>(body: Body) -> Result<T, Refusal> {
    let bytes = to_bytes(body, BODY_BYTES).await.map_err(|_| {
        let message = format!("the body has more than {BODY_BYTES} bytes, or broke off");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    })?;
    if bytes.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| Refusal::bad(format!("the body is not what is wanted: {error}")))
}

fn no_letter(id: u64) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no dead letter {id}"))
}

fn unsent(error: RetryError) -> Refusal {
    let status = match error {
        RetryError::NotFound { .. } => StatusCode::NOT_FOUND,
        RetryError::Full { .. } | RetryError::Closed { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::CONFLICT,
    };
    Refusal::new(status, error.to_string())
}

/// A letter without its payload.
fn summary(letter: &DeadLetter, screen: &Screen) -> Value {
    let event = letter.event.as_event();
    json!({
        "id": letter.id,
        "topic": event.topic(),
        "seq": event.seq(),
        "event_id": event.id().to_string(),
        "timestamp": event.timestamp(),
        "reason": letter.reason.as_str(),
        "handler": &*letter.handler,
        "pattern": letter.pattern.as_deref(),
        "error": screen.text(&letter.error),
        "attempts": letter.attempts,
        "retries": letter.retries,
        "failed_at": letter.failed_at,
    })
}

/// A letter with its event, which is the line that an audit log would have, and the calls that failed.
fn whole(letter: &DeadLetter, screen: &Screen) -> Vec<u8> {
    let mut object = summary(letter, screen);
    object["history"] = letter
        .history
        .iter()
        .map(|call| json!({"number": call.number, "error": screen.text(&call.error), "failed_at": call.at}))
        .collect();
    let mut out = object.to_string().into_bytes();
    // The event's JSON as it is: read and written once more, its numbers might come out as others.
    out.pop();
    out.extend_from_slice(br#","event":"#);
    let event = letter.event.as_event();
    if let Err(error) = write_line(&mut out, &event, screen) {
        write_placeholder(&mut out, &event, &error, screen);
    }
    out.pop();
    out.push(b'}');
    out
}
