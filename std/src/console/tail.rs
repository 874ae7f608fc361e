//! Events as they come, as server-sent events.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_core::Stream;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::Shared;
use super::answer::{Refusal, typed};
use super::asked::Asked;
use super::server::over;
use crate::error::SubscribeError;
use crate::event::OwnedEvent;
use crate::records::audit::line::{write_line, write_placeholder};
use crate::redact::screen::Screen;
use crate::stream::EventStream;

/// The name of the subscriptions of those who only look on.
pub(super) const NAME: &str = "nervebus.console";

/// How many events wait for a reader.
const WAITING: usize = 256;

/// How many events are sent at once, and how long after that nothing is sent: no reader is sent more than 1,280 events a
/// second, and one event alone is sent at once.
const AT_ONCE: usize = 128;
const PAUSE: Duration = Duration::from_millis(100);

/// Events whose JSON is longer are shown without their payload.
const LINE_BYTES: usize = 64 << 10;

/// How often a comment is sent while nothing happens, so that nobody between takes the connection for dead.
const ALIVE: Duration = Duration::from_secs(15);

pub(super) async fn events(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let asked = Asked::parse(query.as_deref(), &["pattern"])?;
    let pattern = asked.get("pattern").unwrap_or("*").to_owned();
    let Ok(place) = Arc::clone(&shared.tails).try_acquire_owned() else {
        let message = "as many read live events as may; close one of them, or allow more with `max_tails`";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
    };
    let stop = shared.stop.clone();
    let begin = shared.ask(move |bus, shared| {
        let events = bus.on(&pattern).name(NAME).stream(WAITING).map_err(refused)?;
        Ok((events, shared.screen.clone()))
    });
    let (events, screen) = begin.await?;
    let tail = Tail {
        events,
        screen,
        stop: match stop {
            Some(stop) => Box::pin(over(stop)),
            None => Box::pin(pending()),
        },
        pause: None,
        alive: Box::pin(sleep(ALIVE)),
        phase: Phase::Greeting,
        _place: place,
    };
    Ok(typed(StatusCode::OK, "text/event-stream", Body::from_stream(tail)))
}

fn refused(error: SubscribeError) -> Refusal {
    match error {
        SubscribeError::InvalidPattern { rule } => Refusal::bad(rule),
        other => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, other.to_string()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Greeting,
    Events,
    Over,
}

/// What one reader is sent. Dropping it, which the server does when the reader goes, ends its subscription.
struct Tail {
    events: EventStream,
    screen: Screen,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Until when nothing is sent.
    pause: Option<Pin<Box<Sleep>>>,
    /// When to say that the connection is alive.
    alive: Pin<Box<Sleep>>,
    phase: Phase,
    _place: OwnedSemaphorePermit,
}

impl Tail {
    /// What is to be sent next.
    fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        match self.phase {
            Phase::Over => return Poll::Ready(None),
            Phase::Greeting => {
                self.phase = Phase::Events;
                return Poll::Ready(Some(b": live events\nretry: 2000\n\n".to_vec()));
            }
            Phase::Events => {}
        }
        if self.stop.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(self.end(Vec::new())));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let mut out = Vec::new();
        let mut has_ended = false;
        for _ in 0..AT_ONCE {
            match Pin::new(&mut self.events).poll_next(context) {
                Poll::Ready(Some(event)) => write_event(&mut out, &event, &self.screen),
                Poll::Ready(None) => has_ended = true,
                Poll::Pending => break,
            }
            if has_ended {
                break;
            }
        }
        let missed = self.events.take_missed();
        if missed > 0 {
            out.extend_from_slice(format!("event: dropped\ndata: {{\"events\":{missed}}}\n\n").as_bytes());
        }
        if has_ended {
            return Poll::Ready(Some(self.end(out)));
        }
        if !out.is_empty() {
            self.pause = Some(Box::pin(sleep(PAUSE)));
            self.alive = Box::pin(sleep(ALIVE));
            return Poll::Ready(Some(out));
        }
        ready!(self.alive.as_mut().poll(context));
        self.alive = Box::pin(sleep(ALIVE));
        Poll::Ready(Some(b": nothing happens\n\n".to_vec()))
    }

    fn end(&mut self, mut out: Vec<u8>) -> Vec<u8> {
        self.phase = Phase::Over;
        out.extend_from_slice(b"event: end\ndata: {}\n\n");
        out
    }
}

impl Stream for Tail {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_text(context).map(|text| text.map(|text| Ok(text.into())))
    }
}

/// Writes an event as the audit log would, behind `data: `. Its line has no line end inside.
fn write_event(out: &mut Vec<u8>, event: &OwnedEvent, screen: &Screen) {
    out.extend_from_slice(b"data: ");
    let start = out.len();
    let event = event.as_event();
    if let Err(error) = write_line(out, &event, screen) {
        write_placeholder(out, &event, &error, screen);
    }
    let bytes = out.len() - start;
    if bytes > LINE_BYTES {
        out.truncate(start);
        let short = json!({
            "event_type": event.topic(),
            "payload": {"left_out": format!("the event has {bytes} bytes of JSON")},
            "timestamp": event.timestamp(),
            "event_id": event.id().to_string(),
            "seq": event.seq(),
        });
        out.extend_from_slice(short.to_string().as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}
