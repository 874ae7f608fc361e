//! Handing the metrics of a bus to whoever collects them, again and again.

#[cfg(feature = "metrics")]
mod facade;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::delivery::failure::drop_quietly;
use crate::observe::metrics::Metrics;
use crate::platform::threads::Latch;

/// Takes the metrics of a bus, again and again; see [`Bus::export_metrics`](crate::Bus::export_metrics).
///
/// A panic is caught, and the next metrics come all the same.
pub trait MetricsExporter: Send + 'static {
    /// Takes the metrics of one moment.
    fn export(&mut self, metrics: &Metrics);
}

/// Gives the metrics to a closure.
pub struct CallbackMetrics<F>(F);

impl<F: FnMut(&Metrics) + Send + 'static> CallbackMetrics<F> {
    /// Calls `callback` with the metrics of each moment.
    pub fn new(callback: F) -> Self {
        Self(callback)
    }
}

impl<F: FnMut(&Metrics) + Send + 'static> MetricsExporter for CallbackMetrics<F> {
    fn export(&mut self, metrics: &Metrics) {
        (self.0)(metrics);
    }
}

impl<F> fmt::Debug for CallbackMetrics<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackMetrics")
    }
}

/// Keeps the latest metrics, for tests. Cheap to clone; all clones see the same.
///
/// # Examples
///
/// ```
/// use nervebus::{Bus, InMemoryMetrics, json};
/// use std::time::Duration;
///
/// let bus = Bus::builder().build()?;
/// let metrics = InMemoryMetrics::default();
/// let export = bus.export_metrics(Duration::from_secs(10), metrics.clone())?;
/// bus.emit("user.login", json!({}))?;
/// drop(export); // the last ones are those of this moment
/// assert_eq!(metrics.latest().get("nervebus_events_emitted_total", &[]), Some(1.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct InMemoryMetrics(Arc<Mutex<Metrics>>);

impl InMemoryMetrics {
    /// The metrics that came last; none before the first have come.
    #[must_use]
    pub fn latest(&self) -> Metrics {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl MetricsExporter for InMemoryMetrics {
    fn export(&mut self, metrics: &Metrics) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = metrics.clone();
    }
}

/// Gives the metrics to whatever recorder the [`metrics`](https://docs.rs/metrics) facade has in this process.
///
/// Counters are set to their value, not added to; of a histogram, whose single durations are gone, there are the counter `…_count` and the
/// gauge `…_sum`, in seconds.
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
#[derive(Debug, Clone, Copy, Default)]
pub struct FacadeMetrics;

/// An exporter at work. When this is dropped, the exporter gets the metrics of that moment, as the last ones; when the bus is
/// gone before, it has had its last.
#[derive(Debug)]
#[must_use = "the export ends when this is dropped"]
pub struct MetricsExport {
    end: Arc<Latch>,
    thread: Option<JoinHandle<()>>,
}

impl MetricsExport {
    pub(crate) fn new(end: Arc<Latch>, thread: JoinHandle<()>) -> Self {
        Self { end, thread: Some(thread) }
    }

    /// Goes on until the bus is gone.
    pub fn detach(mut self) {
        self.thread = None;
    }
}

impl Drop for MetricsExport {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.end.open();
        // A callback that drops its own export is on that thread. Panics of exporters are caught there.
        if thread.thread().id() != std::thread::current().id() {
            let _ = thread.join();
        }
    }
}

/// Hands over what an exporter may not survive.
pub(crate) fn export(exporter: &mut impl MetricsExporter, metrics: &Metrics) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| exporter.export(metrics))) {
        drop_quietly(panic);
    }
}
