//! Whether a bus is ready for more, and if not, why.

use serde::Serialize;

use super::Shared;
use super::answer::Refusal;
use crate::bus::Bus;
use crate::observe::stats::{LaneStats, Stats};

/// Why a bus is not ready.
#[derive(Debug, Serialize)]
pub(super) struct Trouble {
    /// What kind it is.
    reason: &'static str,
    /// Which lane or log has it, if one of them does.
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<String>,
    message: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: &'static str,
    reasons: Vec<Trouble>,
}

impl Health {
    pub(super) fn is_ready(&self) -> bool {
        self.reasons.is_empty()
    }
}

pub(super) fn health(bus: &Bus, shared: &Shared) -> Result<Health, Refusal> {
    let stats = bus.stats();
    let mut reasons = Vec::new();
    if bus.engine().gate.is_closed() {
        reasons.push(trouble("closed", None, "the bus is shutting down or has shut down".into()));
    }
    for lane in &stats.lanes {
        lane_troubles(&mut reasons, lane, shared.max_lag);
    }
    log_troubles(&mut reasons, &stats, shared.max_lag);
    if let Some(imbalance) = stats.ledger.imbalance() {
        reasons.push(trouble("ledger_imbalance", None, imbalance.to_string()));
    }
    Ok(Health { status: if reasons.is_empty() { "ready" } else { "not_ready" }, reasons })
}

fn trouble(reason: &'static str, lane: Option<&str>, message: String) -> Trouble {
    Trouble { reason, lane: lane.map(str::to_owned), message }
}

fn lane_troubles(reasons: &mut Vec<Trouble>, lane: &LaneStats, max_lag: Option<u64>) {
    let name = &*lane.name;
    if !lane.healthy {
        reasons.push(trouble("lane_unserved", Some(name), format!("nobody serves lane {name:?}")));
    }
    let (len, capacity) = (lane.len as u64, lane.capacity);
    match max_lag {
        Some(most) if len > most => {
            let message = format!("{len} events wait on lane {name:?}, more than {most}");
            reasons.push(trouble("lane_lag", Some(name), message));
        }
        None if lane.free_slots == 0 => {
            reasons.push(trouble("lane_lag", Some(name), format!("lane {name:?} is full with {capacity} events")));
        }
        _ => {}
    }
}

fn log_troubles(reasons: &mut Vec<Trouble>, stats: &Stats, max_lag: Option<u64>) {
    let lag = |reasons: &mut Vec<Trouble>, log: &str, lag: u64| {
        if let Some(most) = max_lag.filter(|most| lag > *most) {
            let message = format!("{lag} events wait for the {log} log, more than {most}");
            reasons.push(trouble("log_lag", Some(log), message));
        }
    };
    if let Some(audit) = &stats.audit {
        if audit.failing {
            reasons.push(trouble("audit_failing", Some("audit"), "the audit log cannot be written".into()));
        }
        lag(reasons, "audit", audit.lag);
    }
    #[cfg(feature = "durable")]
    if let Some(durable) = &stats.durable {
        lag(reasons, "durable", durable.lag);
    }
}
