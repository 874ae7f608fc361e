use nervebus::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", partition = id)]
struct UnknownKey {
    id: u64,
}

#[derive(Event, Serialize)]
#[event(topic = "Order.Placed")]
struct BadTopic;

#[derive(Event, Serialize)]
#[event(topic = "order")]
struct NoAction;

#[derive(Event, Serialize)]
#[event(topic = "system.failed")]
struct NotOurs;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", category = "query")]
struct BadCategory;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", priority = "urgent")]
struct BadPriority;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", ttl = "30")]
struct NoUnit;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", version = 0)]
struct NoVersion;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", emits("order.*"))]
struct EmitsPattern;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", topic = "order.shipped")]
struct Twice;

#[derive(Event, Serialize)]
#[event(version = 2)]
struct NoTopic;

#[derive(Event, Serialize)]
struct NoAttribute;

fn main() {}
