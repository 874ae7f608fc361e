//! Metrics as a page that Prometheus scrapes.

use std::fmt::{Display, Write};

use crate::observe::metrics::{MAX_SERIES, MetricKind, MetricValue, Metrics};
use crate::observe::stats::Stats;

/// Writes [`Stats`] as [`Metrics`] in Prometheus' [text exposition
/// format](https://prometheus.io/docs/instrumenting/exposition_formats/), version 0.0.4.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, PrometheusText, json};
///
/// let bus = Bus::builder().build()?;
/// bus.on("user.login").name("greet").inline().handle(|_| ())?;
/// bus.emit("user.login", json!({}))?;
/// let page = PrometheusText::new().max_series(200).render(&bus.stats());
/// assert!(page.contains("nervebus_events_emitted_total 1\n"));
/// assert!(page.contains(r#"nervebus_handler_calls_total{handler="greet",pattern="user.login",lane="inline",outcome="handled"} 1"#));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PrometheusText {
    max_series: usize,
}

impl Default for PrometheusText {
    fn default() -> Self {
        Self { max_series: MAX_SERIES }
    }
}

impl PrometheusText {
    /// What the page's `Content-Type` is.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// With at most 1,000 handlers and 1,000 topics.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many handlers, and how many topics of dead letters, have samples of their own; at least one. Default: 1,000.
    ///
    /// Handlers are taken in the order in which they were subscribed, so that none moves to `_other` later; topics by how many letters
    /// they have.
    #[must_use]
    pub fn max_series(mut self, most: usize) -> Self {
        self.max_series = most.max(1);
        self
    }

    /// The page.
    ///
    /// # Cost
    ///
    /// Linear in lanes, subscriptions and topics with dead letters; allocates the text: about 2 kB for each handler.
    #[must_use]
    pub fn render(&self, stats: &Stats) -> String {
        let mut page = Page::default();
        page.add(&stats.metrics_of(self.max_series));
        page.text
    }
}

impl Stats {
    /// The figures as a page for Prometheus; see [`PrometheusText`].
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        PrometheusText::new().render(self)
    }
}

/// The page, as far as it is written. Writing to text cannot fail.
#[derive(Debug, Default)]
struct Page {
    text: String,
}

impl Page {
    fn add(&mut self, metrics: &Metrics) {
        for metric in metrics.iter() {
            let (name, help) = (metric.name, metric.help);
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
            };
            let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for sample in &metric.samples {
                match &sample.value {
                    MetricValue::Number(number) => self.series(name, "", &sample.labels, None, number),
                    MetricValue::Durations(durations) => {
                        for (edge, calls) in durations.buckets() {
                            let edge = edge.as_secs_f64().to_string();
                            self.series(name, "_bucket", &sample.labels, Some(&edge), calls);
                        }
                        self.series(name, "_bucket", &sample.labels, Some("+Inf"), durations.count());
                        self.series(name, "_sum", &sample.labels, None, durations.sum().as_secs_f64());
                        self.series(name, "_count", &sample.labels, None, durations.count());
                    }
                }
            }
        }
    }

    fn series(&mut self, name: &str, suffix: &str, labels: &[(&str, String)], edge: Option<&str>, value: impl Display) {
        self.text.push_str(name);
        self.text.push_str(suffix);
        let labels = labels.iter().map(|(label, value)| (*label, value.as_str()));
        let mut before = '{';
        for (label, value) in labels.chain(edge.map(|edge| ("le", edge))) {
            self.text.push(before);
            self.text.push_str(label);
            self.text.push_str("=\"");
            value.chars().for_each(|c| self.escaped(c));
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// A character of a label's value.
    fn escaped(&mut self, c: char) {
        match c {
            '\\' => self.text.push_str("\\\\"),
            '"' => self.text.push_str("\\\""),
            '\n' => self.text.push_str("\\n"),
            c => self.text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_forge_a_sample() {
        let mut page = Page::default();
        let labels = [("handler", "a\"} 1\nm{x=\"b\\".to_owned()), ("lane", "inline".to_owned())];
        page.series("m", "", &labels, None, 7);
        assert_eq!(page.text, "m{handler=\"a\\\"} 1\\nm{x=\\\"b\\\\\",lane=\"inline\"} 7\n");
    }
}
