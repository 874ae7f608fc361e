//! The graph of a bus: what is in it, what is odd about it, how it is drawn, and what an audit log shows of it.
#![cfg(feature = "macros")]

#[path = "support/folder.rs"]
mod folder;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nervebus::{AuditLog, Bus, Event, Lane, Overflow, Topology, TopologyFinding, json};
use serde::Serialize;

use self::folder::Folder;

#[derive(Event, Serialize)]
#[event(topic = "order.placed", version = 2, emits("order.shipped", "mail.queued"))]
struct OrderPlaced;

#[derive(Event, Serialize)]
#[event(topic = "order.shipped", emits("order.placed"))]
struct OrderShipped;

/// Orders that are shipped, which brings further orders; nobody sends the mail.
fn orders() -> Bus {
    let bus = Bus::builder().build().unwrap();
    bus.topic::<OrderPlaced>().unwrap().on().name("ship").inline().handle(|_, _| ()).unwrap();
    bus.topic::<OrderShipped>().unwrap().on().name("thank").inline().handle(|_, _| ()).unwrap();
    bus.on("order.*").name("watch").inline().handle(|_| ()).unwrap();
    bus.on("user.*").name("greet").inline().handle(|_| ()).unwrap();
    bus
}

fn sentences(topology: &Topology) -> Vec<String> {
    topology.findings().iter().map(ToString::to_string).collect()
}

#[test]
fn the_graph_has_topics_handlers_and_what_types_say_that_they_emit() {
    let bus = orders();
    bus.emit("order.placed", json!({})).unwrap();
    let topology = bus.topology();
    assert_eq!(topology.topics.keys().collect::<Vec<_>>(), ["mail.queued", "order.placed", "order.shipped"]);
    assert!(topology.topics["order.placed"].carries.as_ref().unwrap().ends_with("OrderPlaced (version 2)"));
    let handlers: Vec<_> =
        topology.handlers.iter().map(|node| (node.name.as_str(), node.calls, node.topics.len())).collect();
    assert_eq!(handlers, [("greet", 0, 0), ("ship", 1, 1), ("thank", 0, 1), ("watch", 1, 2)]);
    let causes: Vec<_> = topology.causes.iter().map(|edge| (edge.from.as_str(), edge.to.as_str())).collect();
    assert_eq!(
        causes,
        [("order.placed", "mail.queued"), ("order.placed", "order.shipped"), ("order.shipped", "order.placed")],
    );
}

#[test]
fn orphans_idle_handlers_and_loops_are_found() {
    let bus = orders();
    bus.emit("order.placed", json!({})).unwrap();
    assert_eq!(
        sentences(&bus.topology()),
        [
            r#"nobody listens to topic "mail.queued""#,
            r#"handler "greet" listens to "user.*", which no topic matches"#,
            r#"handler "thank" listens to "order.shipped", and was never called"#,
            "topics follow from each other: order.placed, order.shipped",
        ],
    );
}

#[test]
fn a_handler_with_most_calls_is_hot() {
    let bus = orders();
    bus.on("tick").name("count").inline().handle(|_| ()).unwrap();
    (0..200).for_each(|_| assert!(bus.emit("tick", json!({})).is_ok()));
    let hot = bus.topology().findings().into_iter().find(|finding| matches!(finding, TopologyFinding::Hot { .. }));
    assert_eq!(hot.unwrap().to_string(), r#"handler "count" of "tick" has 100 % of all calls"#);
}

#[test]
fn the_only_handler_behind_a_full_lane_is_a_single_point() {
    let lane = Lane::new("slow").capacity(2).overflow(Overflow::DropNewest);
    let bus = Bus::builder().lane(lane).build().unwrap();
    let open = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&open);
    bus.on("scan")
        .name("look")
        .lane("slow")
        .handle(move |_| {
            while !gate.load(Ordering::Acquire) {
                thread::yield_now();
            }
        })
        .unwrap();
    while bus.stats().lanes.iter().any(|lane| lane.name == "slow" && lane.free_slots > 0) {
        bus.emit("scan", json!({})).unwrap();
    }
    let found = sentences(&bus.topology());
    open.store(true, Ordering::Release);
    let wanted = r#"everything on topic "scan" waits for handler "look", whose lane "slow" is full"#;
    assert!(found.iter().any(|sentence| sentence == wanted), "{found:?}");
}

#[test]
fn the_fingerprint_is_that_of_the_shape_and_not_of_the_figures() {
    let (one, other) = (orders(), orders());
    other.emit("order.placed", json!({})).unwrap();
    assert_eq!(one.topology().fingerprint(), other.topology().fingerprint());
    assert!(one.topology().diff(&other.topology()).is_empty());
    other.on("order.placed").name("audit").inline().handle(|_| ()).unwrap();
    assert_ne!(one.topology().fingerprint(), other.topology().fingerprint());
    let changes: Vec<_> = other.topology().diff(&one.topology()).iter().map(ToString::to_string).collect();
    assert_eq!(
        changes,
        ["- handler audit (order.placed, inline)", "- listens audit (order.placed, inline) to order.placed"],
    );
}

#[test]
fn the_fingerprint_is_the_same_on_every_machine() {
    let bus = Bus::builder().build().unwrap();
    bus.on("order.placed").name("store").inline().handle(|_| ()).unwrap();
    assert_eq!(format!("{:016x}", bus.topology().fingerprint()), "4874f6e39a7d39fa");
}

#[test]
fn json_comes_back_as_the_graph_it_was() {
    let topology = orders().topology();
    let back: Topology = serde_json::from_str(&topology.to_json()).unwrap();
    assert_eq!(back, topology);
    let least: Topology = serde_json::from_str(r#"{"topics": {"a": {}}}"#).unwrap();
    assert_eq!(least.topics.len(), 1);
}

#[test]
fn no_name_escapes_from_its_label_in_a_drawing() {
    let bus = Bus::builder().build().unwrap();
    bus.on("order.placed").name("a\"]; b -> c [x=\"\n<b>&#\\").inline().handle(|_| ()).unwrap();
    let (dot, mermaid) = (bus.topology().to_dot(), bus.topology().to_mermaid());
    assert!(dot.contains(r#"label="a\"]; b -> c [x=\"\n<b>&#\\\ninline, 0 calls""#), "{dot}");
    assert!(mermaid.contains("h0([\"a#34;]#59; b -#62; c [x=#34; #60;b#62;#38;#35;\\\"])"), "{mermaid}");
}

#[test]
#[cfg(feature = "svg")]
fn a_picture_has_every_name() {
    let svg = orders().topology().to_svg();
    assert!(svg.starts_with("<?xml") && svg.contains("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    for name in ["order.placed", "mail.queued", "watch", "greet"] {
        assert!(svg.contains(name), "{name}");
    }
    assert_eq!(Bus::builder().build().unwrap().topology().to_svg(), "");
}

#[test]
fn an_audit_log_shows_what_followed_from_what_over_restarts() {
    let folder = Folder::of("topology");
    let path = folder.path().join("events.jsonl");
    for _ in 0..2 {
        let bus = Bus::builder().audit(AuditLog::at(&path)).build().unwrap();
        let again = bus.downgrade();
        bus.on("order.placed")
            .inline()
            .handle(move |_| {
                again.upgrade().unwrap().event("order.shipped", json!({})).source("shop").emit().unwrap();
            })
            .unwrap();
        (0..3).for_each(|_| assert!(bus.emit("order.placed", json!({})).is_ok()));
        bus.shutdown(std::time::Duration::from_secs(10));
    }
    let topology = Topology::from_audit(&path).unwrap();
    let causes: Vec<_> = topology.causes.iter().map(|edge| (edge.from.as_str(), edge.to.as_str(), edge.seen)).collect();
    assert_eq!(causes, [("order.placed", "order.shipped", 6)]);
    assert_eq!(topology.topics["order.shipped"].sources["shop"], 6);
    assert_eq!((topology.topics["order.placed"].events, sentences(&topology).len()), (Some(6), 0));
}
