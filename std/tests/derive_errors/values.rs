use nervebus::Event;
use serde::Serialize;

#[derive(Event, Serialize)]
#[event(topic)]
struct TopicWithoutValue;

#[derive(Event, Serialize)]
#[event(topic = order.placed)]
struct TopicWithoutQuotes;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", version = "2")]
struct QuotedVersion;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", version = 4294967296)]
struct VersionTooLarge;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", category = command)]
struct CategoryWithoutQuotes;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", priority = 200)]
struct NumberAsPriority;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", ttl = 30)]
struct NumberAsTtl;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", ttl = "0s")]
struct NoTime;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", key = "id")]
struct QuotedKey {
    id: u64,
}

#[derive(Event, Serialize)]
#[event(topic = "order.placed", emits = "order.shipped")]
struct EmitsWithoutParentheses;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", emits(order.shipped))]
struct EmitsWithoutQuotes;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", debug = true)]
struct FlagWithValue;

#[derive(Event, Serialize)]
#[event]
struct NothingSaid;

fn main() {}
