use nervebus::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
#[event(topic = "order.placed")]
enum PiiInVariant {
    Placed {
        #[event(pii)]
        email: String,
    },
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed", key = id)]
enum KeyOfEnum {
    Placed { id: u64 },
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed", debug)]
enum DebugOfEnum {
    Placed,
}

#[derive(Event)]
#[event(topic = "order.placed")]
union Union {
    id: u64,
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed", key = 1)]
struct NoSuchNumber(u64);

#[derive(Event, Serialize)]
#[event(topic = "order.placed", key = id)]
struct KeyOfNothing;

#[derive(Event, Serialize)]
#[event(topic = "order.placed")]
struct Borrowed<'a> {
    id: &'a str,
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed")]
struct Sized<const N: usize> {
    id: u64,
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed")]
struct PiiTwice {
    #[event(pii, pii)]
    email: String,
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed")]
#[serde(transparent)]
struct Transparent {
    #[event(pii)]
    email: String,
}

fn main() {}
