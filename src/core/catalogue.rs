//! The form in which each crate lists its metrics, so that one test can compare code, README and dashboards.

/// What a metric's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// One metric as Prometheus shows it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Full name with its unit, such as `warren_tunnel_bytes_total`.
    pub name: &'static str,
    pub kind: Kind,
    /// Label names, each with a bounded set of values.
    pub labels: &'static [&'static str],
    /// One sentence for the person who sees the graph.
    pub help: &'static str,
}
