//! Exporting the metrics of a bus.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::Bus;
use crate::observe::export::{MetricsExport, MetricsExporter, export};
use crate::platform::threads::{self, Latch};

impl Bus {
    /// Hands the metrics to an exporter at once, and then again after each `every`, on a thread of its own, until the returned
    /// value is dropped or the bus is gone. It does not keep the bus alive.
    ///
    /// For a page that somebody else asks for, [`Stats::to_prometheus`](crate::Stats::to_prometheus) needs no exporter.
    ///
    /// # Errors
    ///
    /// What the system says when it does not start a thread.
    ///
    /// # Cost
    ///
    /// That of [`stats`](Self::stats) each time; emitters and workers do nothing for it. An `every` of less than a
    /// millisecond is one.
    pub fn export_metrics(&self, every: Duration, exporter: impl MetricsExporter) -> io::Result<MetricsExport> {
        let every = every.max(Duration::from_millis(1));
        let (bus, clock) = (self.downgrade(), self.engine().clock.clone());
        let end = Arc::new(Latch::default());
        let (ended, mut exporter) = (Arc::clone(&end), exporter);
        let body = move || {
            // The handle is let go before the wait, and before the exporter ends a bus that it was the last to hold.
            while let Some(metrics) = bus.upgrade().map(|bus| bus.stats().metrics()) {
                export(&mut exporter, &metrics);
                if ended.is_open() {
                    return;
                }
                ended.wait_until(&clock, clock.after(every));
            }
        };
        Ok(MetricsExport::new(end, threads::spawn("nervebus-metrics".into(), body)?))
    }
}
