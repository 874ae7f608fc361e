//! Metrics through the `metrics` facade.

use metrics::{Label, counter, gauge};

use super::{FacadeMetrics, MetricsExporter};
use crate::observe::metrics::{MetricKind, MetricValue, Metrics};

impl MetricsExporter for FacadeMetrics {
    fn export(&mut self, metrics: &Metrics) {
        for metric in metrics.iter() {
            for sample in &metric.samples {
                let labels: Vec<Label> =
                    sample.labels.iter().map(|(label, value)| Label::new(*label, value.clone())).collect();
                match (&sample.value, metric.kind) {
                    (MetricValue::Number(number), MetricKind::Counter) => {
                        counter!(metric.name, labels).absolute(*number as u64);
                    }
                    (MetricValue::Number(number), _) => gauge!(metric.name, labels).set(*number),
                    (MetricValue::Durations(durations), _) => {
                        counter!(format!("{}_count", metric.name), labels.clone()).absolute(durations.count());
                        gauge!(format!("{}_sum", metric.name), labels).set(durations.sum().as_secs_f64());
                    }
                }
            }
        }
    }
}
