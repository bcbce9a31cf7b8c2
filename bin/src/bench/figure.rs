//! A figure as it is printed: one JSON line in the format of `benches/peers/README.md`.

use serde::Serialize;

use super::run::Done;

/// See the file's header. Fields that all peers have come first.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) peer: &'static str,
    pub(crate) workload: &'static str,
    pub(crate) threads: usize,
    pub(crate) nodes: usize,
    pub(crate) ops_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) bytes_per_record: Option<f64>,
    pub(crate) ops_min: f64,
    pub(crate) ops_max: f64,
    pub(crate) reps: usize,
    pub(crate) loadavg: Option<f64>,
    pub(crate) storage: &'static str,
    /// Of tables on disc.
    pub(crate) ack: Option<&'static str>,
    pub(crate) placement: &'static str,
    pub(crate) records: u64,
    /// `threads`, `tasks` or `grpc`.
    pub(crate) clients: &'static str,
}

/// What is said of a set of windows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) workload: &'static str,
    pub(crate) threads: usize,
    pub(crate) nodes: usize,
    pub(crate) storage: &'static str,
    pub(crate) ack: Option<&'static str>,
    pub(crate) placement: &'static str,
    pub(crate) records: u64,
    pub(crate) clients: &'static str,
}

impl Figure {
    /// The figure of the median repetition, with the extremes.
    pub(crate) fn of(setting: Setting, mut windows: Vec<Done>) -> Figure {
        windows.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let rate = |at: usize| windows.get(at).map_or(0.0, |window| window.rate.round());
        let middle = windows.len().saturating_sub(1) / 2;
        let quantile = |share| windows.get(middle).map_or(0.0, |window| hundredth(window.quantile_us(share)));
        Figure {
            peer: "hypermnesia",
            workload: setting.workload,
            threads: setting.threads,
            nodes: setting.nodes,
            ops_per_s: rate(middle),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            bytes_per_record: None,
            ops_min: rate(0),
            ops_max: rate(windows.len().saturating_sub(1)),
            reps: windows.len(),
            loadavg: load(),
            storage: setting.storage,
            ack: setting.ack,
            placement: setting.placement,
            records: setting.records,
            clients: setting.clients,
        }
    }
}

/// Rounded to a hundredth.
pub(crate) fn hundredth(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The one-minute load average, where the system tells it.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
