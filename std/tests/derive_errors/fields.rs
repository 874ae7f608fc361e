use nervebus::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", key = number)]
struct NoSuchField {
    id: u64,
    email: String,
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed", pii)]
struct PiiOnType {
    email: String,
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed")]
struct PiiWithoutName(#[event(pii)] String);

#[derive(Event, Serialize)]
#[event(topic = "order.placed")]
enum PiiOnVariant {
    #[event(pii)]
    Placed,
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed")]
struct SecretField {
    #[event(secret)]
    email: String,
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed")]
struct Flattened {
    #[event(pii)]
    #[serde(flatten)]
    who: std::collections::BTreeMap<String, String>,
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed")]
struct Generic<T> {
    id: T,
}

fn main() {}
