//! Metrics, and who gets them.

#[path = "support/until.rs"]
mod until;

use std::sync::mpsc;
use std::time::Duration;

use nervebus::{Bus, CallbackMetrics, InMemoryMetrics, ManualClock, MetricKind, MetricValue, Metrics, Timing, json};

use self::until::until;

const SECOND: Duration = Duration::from_secs(1);

fn emitted(metrics: &Metrics) -> f64 {
    metrics.get("nervebus_events_emitted_total", &[]).unwrap()
}

#[test]
fn a_sum_over_labels_is_that_of_the_samples_that_have_them() {
    let bus = Bus::builder().timing(Timing::Every).build().unwrap();
    for name in ["one", "two"] {
        bus.on("user.*").name(name).inline().handle(|_| ()).unwrap();
    }
    (0..3).for_each(|_| assert!(bus.emit("user.login", json!({})).is_ok()));
    let metrics = bus.stats().metrics();
    let calls = |labels: &[(&str, &str)]| metrics.get("nervebus_handler_calls_total", labels);
    assert_eq!((calls(&[]), calls(&[("handler", "one")])), (Some(6.0), Some(3.0)));
    assert_eq!(calls(&[("handler", "one"), ("outcome", "failed")]), Some(0.0));
    assert_eq!((calls(&[("lane", "mail")]), metrics.get("nervebus_nothing", &[])), (None, None));
    assert_eq!(metrics.get("nervebus_handler_duration_seconds", &[("handler", "two")]), Some(3.0));
}

#[test]
fn a_name_says_what_the_metric_is() {
    let bus = Bus::builder().build().unwrap();
    bus.on("user.*").inline().handle(|_| ()).unwrap();
    for metric in bus.stats().metrics().iter() {
        assert_eq!(metric.kind == MetricKind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
        assert!(metric.name.starts_with("nervebus_") && metric.help.ends_with('.'), "{}", metric.name);
        let whole = |value: &MetricValue| matches!(value, MetricValue::Number(number) if number.fract() == 0.0);
        let counts = metric.kind != MetricKind::Counter || metric.samples.iter().all(|sample| whole(&sample.value));
        assert!(counts, "{}", metric.name);
    }
}

#[test]
fn an_exporter_gets_the_metrics_of_each_period_and_of_the_end() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (sender, exported) = mpsc::channel();
    let callback = CallbackMetrics::new(move |metrics: &Metrics| sender.send(emitted(metrics)).unwrap());
    let export = bus.export_metrics(10 * SECOND, callback).unwrap();
    assert_eq!(exported.recv().unwrap(), 0.0);
    for count in 1..=3 {
        bus.emit("user.login", json!({})).unwrap();
        until(|| clock.waiting() == 1);
        clock.advance(9 * SECOND);
        assert!(exported.try_recv().is_err());
        clock.advance(SECOND);
        assert_eq!(exported.recv().unwrap(), f64::from(count));
    }
    bus.emit("user.login", json!({})).unwrap();
    drop(export);
    assert_eq!(exported.iter().collect::<Vec<_>>(), [4.0]);
}

#[test]
fn an_exporter_that_panics_gets_the_next_metrics() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let (sender, exported) = mpsc::channel();
    let export = bus.export_metrics(
        SECOND,
        CallbackMetrics::new(move |_: &Metrics| {
            sender.send(()).unwrap();
            panic!("no collector");
        }),
    );
    exported.recv().unwrap();
    until(|| clock.waiting() == 1);
    clock.advance(SECOND);
    exported.recv().unwrap();
    drop(export);
}

#[test]
fn an_export_keeps_no_bus_alive() {
    let clock = ManualClock::new();
    let bus = Bus::builder().clock(&clock).build().unwrap();
    let metrics = InMemoryMetrics::default();
    let (sender, gone) = mpsc::channel::<()>();
    let callback = CallbackMetrics::new(move |_: &Metrics| {
        let _ = sender.send(());
    });
    bus.export_metrics(SECOND, callback).unwrap().detach();
    bus.export_metrics(SECOND, metrics.clone()).unwrap().detach();
    gone.recv().unwrap();
    let weak = bus.downgrade();
    drop(bus);
    while weak.upgrade().is_some() || gone.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
        clock.advance(SECOND);
        std::thread::yield_now();
    }
}

#[cfg(feature = "metrics")]
mod facade {
    use std::sync::Mutex;

    use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
    use nervebus::{Bus, FacadeMetrics, MetricsExporter, Timing, json};

    /// Notes who was asked for.
    #[derive(Default)]
    struct Names(Mutex<Vec<String>>);

    impl Recorder for Names {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            self.0.lock().unwrap().push(format!("{} {}", key.name(), labels.join(",")));
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            self.0.lock().unwrap().push(format!("gauge {}", key.name()));
            Gauge::noop()
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn a_recorder_of_the_facade_gets_counters_and_gauges_with_labels() {
        let bus = Bus::builder().timing(Timing::Every).build().unwrap();
        bus.on("user.*").name("greet").inline().handle(|_| ()).unwrap();
        bus.emit("user.login", json!({})).unwrap();
        let names = Names::default();
        metrics::with_local_recorder(&names, || FacadeMetrics.export(&bus.stats().metrics()));
        let names = names.0.into_inner().unwrap();
        for wanted in [
            "nervebus_events_emitted_total ",
            "nervebus_handler_calls_total handler=greet,pattern=user.*,lane=inline,outcome=handled",
            "nervebus_handler_duration_seconds_count handler=greet,pattern=user.*,lane=inline",
            "gauge nervebus_handler_duration_seconds_sum",
            "gauge nervebus_uptime_seconds",
        ] {
            assert!(names.iter().any(|name| name == wanted), "no {wanted} in {names:#?}");
        }
    }
}
