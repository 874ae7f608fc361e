//! The page for Prometheus: what it says, that it is well formed whatever the names, and that it stays bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nervebus::{Breaker, Bus, Lane, PrometheusText, Retry, Timing, json};

/// What a page says: the value of each series, by its name and labels as they stand there.
struct Page {
    series: BTreeMap<String, f64>,
}

impl Page {
    /// Reads a page as the format's rules want it: each family declared once, before its samples and with all of them in one
    /// block; no series twice; counters end in `_total`.
    fn read(text: &str) -> Self {
        let (mut series, mut families, mut kind) = (BTreeMap::new(), BTreeSet::new(), (String::new(), String::new()));
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(!help.is_empty() && families.insert(name.to_owned()), "{line}");
            } else if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, of) = typed.split_once(' ').unwrap();
                assert_eq!(of == "counter", name.ends_with("_total"), "{line}");
                kind = (name.to_owned(), of.to_owned());
            } else {
                let (labelled, value) = line.rsplit_once(' ').unwrap();
                let name = labelled.split('{').next().unwrap();
                let suffix = name.strip_prefix(kind.0.as_str()).unwrap_or_else(|| panic!("{line} is under {}", kind.0));
                let suffixes: &[&str] = if kind.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                assert!(suffixes.contains(&suffix), "{line}");
                assert!(series.insert(labelled.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
            }
        }
        Self { series }
    }

    fn of(bus: &Bus) -> Self {
        Self::read(&bus.stats().to_prometheus())
    }

    #[track_caller]
    fn get(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.series.keys()))
    }
}

#[test]
fn what_has_happened_is_counted_by_lane_handler_and_reason() {
    let bus = Bus::builder().lane(Lane::new("mail")).timing(Timing::Every).build().unwrap();
    bus.on("order.*").name("store").inline().handle(|_| ()).unwrap();
    bus.on("order.placed").name("send").lane("mail").handle(|_| Err("no such host")).unwrap();
    for _ in 0..3 {
        let _ = bus.emit_and_wait("order.placed", json!({})).unwrap();
    }
    bus.emit("nobody.listens", json!({})).unwrap();

    let page = Page::of(&bus);
    assert_eq!(page.get("nervebus_events_emitted_total"), 4.0);
    assert_eq!(page.get(r#"nervebus_emits_ended_total{outcome="routed"}"#), 3.0);
    assert_eq!(page.get(r#"nervebus_emits_ended_total{outcome="unrouted"}"#), 1.0);
    assert_eq!(page.get(r#"nervebus_lane_deliveries_ended_total{lane="mail",outcome="failed"}"#), 3.0);
    assert_eq!(page.get(r#"nervebus_lane_deliveries_ended_total{lane="inline",outcome="handled"}"#), 3.0);
    assert_eq!(page.get(r#"nervebus_dead_letters{reason="handler_error"}"#), 3.0);
    assert_eq!(page.get(r#"nervebus_dead_letters_by_topic{topic="order.placed"}"#), 3.0);
    assert_eq!(page.get("nervebus_ledger_balanced"), 1.0);
    let labels = r#"handler="store",pattern="order.*",lane="inline""#;
    assert_eq!(page.get(&format!("nervebus_handler_calls_total{{{labels},outcome=\"handled\"}}")), 3.0);
    assert_eq!(page.get(&format!("nervebus_handler_duration_seconds_bucket{{{labels},le=\"+Inf\"}}")), 3.0);
    assert_eq!(page.get(&format!("nervebus_handler_duration_seconds_count{{{labels}}}")), 3.0);
}

#[test]
fn everything_that_a_bus_can_have_is_well_formed_whatever_its_names_are() {
    let odd = "a\"b\\c\nd{}";
    let breakers = [Breaker::new(odd), Breaker::new(odd)];
    let bus = Bus::builder()
        .lane(Lane::new("lane").shed(nervebus::Shed::default()))
        .dedup(nervebus::DedupWindow::new(10, Duration::from_secs(1)))
        .build()
        .unwrap();
    for breaker in &breakers {
        let retry = Retry::exponential(Duration::from_secs(60));
        bus.on("order.placed").name(odd).lane("lane").breaker(breaker).retry(retry).handle(|_| ()).unwrap();
    }
    assert!(bus.emit_and_wait("order.placed", json!({})).unwrap().all_handled());
    let page = Page::of(&bus);
    let labels = r#"handler="a\"b\\c\nd{}",pattern="order.placed",lane="lane""#;
    assert_eq!(page.get(&format!("nervebus_handler_calls_total{{{labels},outcome=\"handled\"}}")), 2.0);
}

#[test]
fn handlers_and_topics_beyond_the_limit_are_one() {
    let bus = Bus::builder().timing(Timing::Every).build().unwrap();
    for number in 0..10 {
        let topic = format!("topic.t{number}");
        bus.on(&topic).inline().handle(|_| Err("no")).unwrap();
        for _ in 0..=number {
            bus.emit(&topic, json!({})).unwrap();
        }
    }
    let page = Page::read(&PrometheusText::new().max_series(3).render(&bus.stats()));
    let calls = |handler: &str| {
        let of = |name: &&String| name.starts_with(&format!("nervebus_handler_calls_total{{handler=\"{handler}\""));
        page.series.keys().filter(of).map(|name| page.series[name]).sum::<f64>()
    };
    assert_eq!(
        (calls("_other"), page.series.keys().filter(|name| name.contains("outcome=\"timed_out\",")).count()),
        (52.0, 0)
    );
    let letters = |topic: &str| page.get(&format!("nervebus_dead_letters_by_topic{{topic=\"{topic}\"}}"));
    assert_eq!((letters("topic.t9"), letters("topic.t8"), letters("_other")), (10.0, 9.0, 36.0));
    let handlers = page.series.keys().filter(|name| name.starts_with("nervebus_handler_duration_seconds_count"));
    assert_eq!(handlers.count(), 3);
}

#[test]
fn many_topics_and_subscriptions_make_a_bounded_page() {
    let bus = Bus::builder().build().unwrap();
    for number in 0..1_000 {
        bus.on(&format!("topic.t{number}")).name(format!("handler-{number}")).inline().handle(|_| ()).unwrap();
    }
    for number in 0..10_000 {
        bus.emit(&format!("topic.t{number}"), json!({})).unwrap();
    }
    let text = bus.stats().to_prometheus();
    Page::read(&text);
    assert!(text.len() < 1_000_000, "{} bytes", text.len());
}
