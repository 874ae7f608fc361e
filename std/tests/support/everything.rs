//! An event whose emitter has said everything of it that can be said.

use std::time::Duration;

use nervebus::{Bus, Class, Emission, Value, json};

/// Everything but what a scope hands down: trace context and baggage.
pub(crate) fn everything<'a>(bus: &'a Bus, topic: &'a str) -> Emission<'a, Value> {
    bus.event(topic, json!({"id": 7}))
        .event_id("e-1")
        .source("shop")
        .timestamp(1_700_000_000.25)
        .correlation_id("c-1")
        .causation_id("e-0")
        .idempotency_key("order-7/placed")
        .schema_version(3)
        .class(Class::High)
        .ttl(Duration::from_millis(3_600_500))
        .content_type("application/json")
        .destination("billing")
        .operation_name("checkout")
        .routing_key("orders.eu")
        .partition_key("customer-7")
        .retry_count(2)
        .max_retries(5)
        .attribute("tenant", "north")
        .attribute("a.b-c_d", "line\nend \"quoted\" é🦀\u{7f}\u{2028}")
}
