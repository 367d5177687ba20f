//! One function for each group of rows: which loads it runs, and which figures it takes from them.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, getrlimit};
use serde_json::{Map, Value, json};
use warren_cluster_tests::hold;

use crate::{
    child::{Load, load},
    peers::Running,
    plan::FAR,
    usage,
};

/// More than any load waits for a single step, on top of the time that it measures.
const GRACE: Duration = Duration::from_secs(60);
/// For opening thousands of sessions and asking each again; every single step is bounded by the load itself.
const IDLE_MAX: Duration = Duration::from_secs(300);
const BUSY_STREAMS: usize = 4;
/// Messages a second, beside bulk.
const BUSY_RATE: f64 = 500.0;
const PACED_RATE: u64 = 100_000_000;
/// What a paced run must have carried, as a share: with less beside it, a latency says nothing.
const PACED_LEAST: f64 = 0.9;
const CALLERS: usize = 100;
/// Messages a second of all those callers.
const CALLERS_RATE: f64 = 2_000.0;
const AT_ONCE: usize = 32;
const SINGLE_OPENS: usize = 20;
/// File descriptors of a peer besides those of sessions.
const OTHER_FDS: u64 = 2_000;
/// Descriptors of one session at one end of a peer that has a connection for each.
const FDS_PER_SESSION: u64 = 2;

/// A running peer, and how long it is measured.
pub(crate) struct Bed<'a> {
    pub(crate) running: &'a Running,
    pub(crate) scale: &'a Scale,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    pub(crate) bulk_seconds: f64,
    pub(crate) request_seconds: f64,
    pub(crate) interactive_seconds: f64,
    pub(crate) open_seconds: f64,
    pub(crate) opens: usize,
    pub(crate) idle_sessions: usize,
    /// From the last round trip until memory is read.
    pub(crate) idle_settle: Duration,
}

/// One value for each row of the group, in their order, and all that the loads have said.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) values: Vec<f64>,
    pub(crate) detail: Value,
}

impl Scale {
    /// For results that are kept.
    pub(crate) fn full() -> Self {
        Self {
            bulk_seconds: 2.5,
            request_seconds: 2.5,
            interactive_seconds: 4.0,
            open_seconds: 5.0,
            opens: 5_000,
            idle_sessions: sessions_max(9_000),
            idle_settle: Duration::from_secs(2),
        }
    }

    /// For a first look.
    pub(crate) fn quick() -> Self {
        Self {
            bulk_seconds: 1.0,
            request_seconds: 1.0,
            interactive_seconds: 1.5,
            open_seconds: 2.0,
            opens: 1_500,
            idle_sessions: sessions_max(2_000),
            idle_settle: Duration::from_secs(1),
        }
    }

    pub(crate) fn to_json(self) -> Value {
        json!({
            "bulk_seconds": self.bulk_seconds,
            "request_seconds": self.request_seconds,
            "interactive_seconds": self.interactive_seconds,
            "opens": self.opens,
            "idle_sessions": self.idle_sessions,
        })
    }
}

/// So many sessions as every peer can hold under this process's limit of file descriptors.
fn sessions_max(wanted: usize) -> usize {
    let fds = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = fds.saturating_sub(OTHER_FDS) / FDS_PER_SESSION;
    wanted.min(usize::try_from(most).unwrap_or(wanted)).max(100)
}

pub(crate) fn bulk_one(bed: &Bed<'_>) -> Result<Sample> {
    let mut spent = 0.0;
    let mut moved = 0.0;
    let mut one = |way| -> Result<Value> {
        let before = bed.cpu_seconds();
        let bulk = bed.bulk(way, 1)?;
        spent += bed.cpu_seconds() - before;
        moved += number(&bulk, "/bytes")? / 1e9;
        Ok(bulk)
    };
    let (up, down) = (one("up")?, one("down")?);
    let values = vec![number(&up, "/mb_s")?, number(&down, "/mb_s")?, spent / moved];
    Ok(Sample { values, detail: json!({"up": up, "down": down, "cpu_s": spent}) })
}

pub(crate) fn bulk_many(bed: &Bed<'_>) -> Result<Sample> {
    let (up, down) = (bed.bulk("up", 16)?, bed.bulk("down", 16)?);
    let values = vec![number(&up, "/mb_s")?, number(&down, "/mb_s")?];
    Ok(Sample { values, detail: json!({"up": up, "down": down}) })
}

pub(crate) fn round_trips_one(bed: &Bed<'_>) -> Result<Sample> {
    let detail = bed.load("round-trips", &[&1, &bed.scale.request_seconds])?;
    Ok(Sample { values: vec![number(&detail, "/per_s")?], detail })
}

pub(crate) fn round_trips_many(bed: &Bed<'_>) -> Result<Sample> {
    let detail = bed.load("round-trips", &[&64, &bed.scale.request_seconds])?;
    Ok(Sample { values: vec![number(&detail, "/per_s")?, p99(&detail)?], detail })
}

pub(crate) fn opens(bed: &Bed<'_>) -> Result<Sample> {
    let detail = bed.load("opens", &[&AT_ONCE, &bed.scale.opens, &bed.scale.open_seconds])?;
    Ok(Sample { values: vec![number(&detail, "/per_s")?, p99(&detail)?], detail })
}

pub(crate) fn beside_bulk(bed: &Bed<'_>) -> Result<Sample> {
    let beside = |way: &str| {
        bed.load(
            "interactive",
            &[&1, &BUSY_RATE, &bed.scale.interactive_seconds, &"--bulk", &BUSY_STREAMS, &"--way", &way],
        )
    };
    let (up, down) = (beside("up")?, beside("down")?);
    Ok(Sample { values: vec![p99(&up)?, p99(&down)?], detail: json!({"up": up, "down": down}) })
}

pub(crate) fn beside_paced_bulk(bed: &Bed<'_>) -> Result<Sample> {
    let seconds = bed.scale.interactive_seconds;
    let paced: [&dyn ToString; 7] =
        [&1, &BUSY_RATE, &seconds, &"--bulk", &BUSY_STREAMS, &"--bulk-rate", &PACED_RATE];
    let detail = bed.load("interactive", &paced)?;
    let carried = number(&detail, "/bulk/mb_s")?;
    let wanted = PACED_RATE as f64 / 1e6;
    ensure!(carried >= PACED_LEAST * wanted, "it carries {carried:.0} MB/s of the {wanted} beside");
    Ok(Sample { values: vec![p99(&detail)?], detail })
}

pub(crate) fn beside_slow_reader(bed: &Bed<'_>) -> Result<Sample> {
    let seconds = bed.scale.interactive_seconds;
    let without = bed.load("interactive", &[&CALLERS, &CALLERS_RATE, &seconds])?;
    let with = bed.load("interactive", &[&CALLERS, &CALLERS_RATE, &seconds, &"--slow-reader"])?;
    let (alone, beside) = (p99(&without)?, p99(&with)?);
    let values = vec![alone, beside, beside / alone];
    Ok(Sample { values, detail: json!({"without": without, "with": with}) })
}

pub(crate) fn idle(bed: &Bed<'_>) -> Result<Sample> {
    let sessions = bed.scale.idle_sessions;
    let resident = || [&bed.running.server, &bed.running.client].map(|pids| usage::of(pids).resident_kib);
    let before = resident();
    let args = bed.args("idle", &[&sessions]);
    let mut load = Load::start(&args, IDLE_MAX)?;
    load.held()?;
    hold("sessions idle", bed.scale.idle_settle, || true);
    let held = resident();
    load.release()?;
    let detail = load.result()?;
    ensure!(number(&detail, "/answered")? == sessions as f64, "sessions were lost while idle: {detail}");

    let each = |end: usize| (held[end] - before[end]) / sessions as f64;
    let detail = json!({"load": detail, "before_kib": before, "held_kib": held});
    Ok(Sample { values: vec![each(0) + each(1), each(0), each(1)], detail })
}

pub(crate) fn far(bed: &Bed<'_>) -> Result<Sample> {
    let (up, down) = (bed.bulk("up", 1)?, bed.bulk("down", 1)?);
    let many = bed.load("opens", &[&AT_ONCE, &bed.scale.opens, &bed.scale.open_seconds])?;
    let single = bed.load("opens", &[&1, &SINGLE_OPENS, &bed.scale.open_seconds])?;
    let round_trips = number(&single, "/times/p50_ms")? / (2.0 * FAR.as_secs_f64() * 1e3);
    let values = vec![
        number(&up, "/mb_s")?,
        number(&down, "/mb_s")?,
        number(&many, "/per_s")?,
        p99(&many)?,
        round_trips,
    ];
    let detail = json!({"up": up, "down": down, "opens": many, "single_opens": single});
    Ok(Sample { values, detail })
}

impl Bed<'_> {
    fn bulk(&self, way: &str, streams: usize) -> Result<Value> {
        self.load("bulk", &[&way, &streams, &self.scale.bulk_seconds])
    }

    fn load(&self, name: &str, more: &[&dyn ToString]) -> Result<Value> {
        load(&self.args(name, more), GRACE).with_context(|| format!("load {name}"))
    }

    fn args(&self, name: &str, more: &[&dyn ToString]) -> Vec<String> {
        let entry: SocketAddr = self.running.entry;
        let more = more.iter().map(|arg| arg.to_string());
        [name.to_owned(), entry.to_string()].into_iter().chain(more).collect()
    }

    /// Of both ends.
    fn cpu_seconds(&self) -> f64 {
        usage::of(&[self.running.server.as_slice(), &self.running.client].concat()).cpu_seconds
    }
}

fn p99(load: &Value) -> Result<f64> {
    number(load, "/times/p99_ms")
}

fn number(load: &Value, pointer: &str) -> Result<f64> {
    let found = load.pointer(pointer).and_then(Value::as_f64);
    found.with_context(|| format!("no number {pointer} in {load}"))
}

/// Rows and their values, for the raw rounds.
pub(crate) fn named(rows: &[crate::plan::Row], values: &[f64]) -> Map<String, Value> {
    rows.iter().zip(values).map(|(row, value)| (row.name.trim().to_owned(), json!(value))).collect()
}
