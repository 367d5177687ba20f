//! The agent that runs here, asked at its own address for metrics and probes: it alone knows its group's members and
//! targets.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use warren_core::id::AgentId;
use warren_group::metrics as group;

use super::{Check, Sheet, check::Hop, verdict};
use crate::{config::AgentConfig, metrics};

/// How long it may take to answer once.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// More than a thousand resources have to say, bytes.
const ANSWER_MAX: usize = 4 << 20;

/// What is said when there is nobody to ask.
const ONLY_IT_KNOWS: &str = "only the agent that runs knows its group's members and targets";

/// What it answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// Status of /readyz.
    pub(super) status: u16,
    /// Why it is not ready, else `ready`.
    pub(super) ready: String,
    /// The text of /metrics.
    pub(super) metrics: String,
}

/// `own` is the agent of the data folder.
pub(super) async fn look<T: FnMut(&Check)>(config: &AgentConfig, own: Option<AgentId>, sheet: &mut Sheet<T>) {
    let (Some(own), Some(address)) = (own, config.metrics.filter(|address| address.port() > 0)) else {
        let why = match (own, config.metrics) {
            (None, _) => "it is not enrolled yet",
            (_, None) => "it has no address for metrics: give it --metrics 127.0.0.1:9101",
            (_, Some(_)) => "its address for metrics has port 0, so that nobody knows it",
        };
        return sheet.note(Check::skipped(Hop::Agent, format!("{ONLY_IT_KNOWS}, and {why}")));
    };
    let asking = async {
        let (status, ready) = get(address, "/readyz").await?;
        let (_, metrics) = get(address, "/metrics").await?;
        io::Result::Ok(Told { status, ready, metrics })
    };
    match sheet.step(ANSWER_WITHIN, asking).await {
        Ok(timed) => {
            let checks = match &timed.came {
                Ok(told) => judge(told, own),
                Err(error) => vec![silent(address, &error.to_string())],
            };
            let took = timed.took;
            for (number, check) in checks.into_iter().enumerate() {
                sheet.note(if number == 0 { check.took(took) } else { check });
            }
        }
        Err(super::Late::Silent { after }) => {
            sheet.note(silent(address, &format!("no answer within {after:?}")));
        }
        Err(late) => sheet.note(verdict::late(Hop::Agent, late)),
    }
}

/// It may well be stopped on purpose.
fn silent(address: SocketAddr, why: &str) -> Check {
    Check::warn(Hop::Agent, format!("no agent answers at {address} ({why}); {ONLY_IT_KNOWS}"))
        .advise("start it, and see its log: `systemctl status warren-agent`, `journalctl -u warren-agent`")
}

/// The agent first, then its group, then its targets.
pub(super) fn judge(told: &Told, own: AgentId) -> Vec<Check> {
    let samples = Samples(&told.metrics);
    let Some(id) = samples.label(metrics::INFO, "id") else {
        let advice = "another program listens there: give the agent a --metrics of its own";
        return vec![
            Check::warn(Hop::Agent, "what answers at its address for metrics is no agent").advise(advice),
        ];
    };
    if id != own.to_string() {
        let seen = format!("another agent answers at its address for metrics: {id}, and this one is {own}");
        return vec![Check::warn(Hop::Agent, seen).advise("give each agent a --metrics of its own")];
    }
    let mut checks = vec![agent(told, samples), peers(samples)];
    checks.extend(samples.all(metrics::PROBE_UP, "resource").filter_map(|(name, up)| target(name, up)));
    checks
}

fn agent(told: &Told, samples: Samples<'_>) -> Check {
    let tunnels = samples.value(metrics::TUNNELS).unwrap_or_default();
    if told.status != 200 {
        let ready: String = told.ready.trim().chars().filter(|letter| !letter.is_control()).collect();
        return Check::failed(Hop::Agent, ready, "what failed above may be why; else its log says it");
    }
    if tunnels < 1.0 {
        let advice =
            "no caller reaches anything through it: what failed above may be why; else its log says it";
        return Check::failed(Hop::Agent, "it runs, and has no verified tunnel", advice);
    }
    Check::ok(Hop::Agent, format!("it runs and is ready, with {tunnels} verified tunnels"))
}

fn peers(samples: Samples<'_>) -> Check {
    let of = |verdict| {
        let found = samples.all(group::GROUP_MEMBERS, "verdict").find(|(name, _)| *name == verdict);
        found.map_or(0.0, |(_, count)| count)
    };
    let (up, suspect, down) = (of("up"), of("suspect"), of("down"));
    let seen = format!("members as the running agent sees them: {up} up, {suspect} suspect, {down} down");
    let way = "see that the members run, and reach each other's peer ports (7400 by default) and addresses \
               (--peer-advertise)";
    if samples.value(group::GROUP_LOG_STOPPED) == Some(1.0) {
        let seen = format!("it takes no part in its group; {seen}");
        return Check::failed(
            Hop::Peers,
            seen,
            "its disk is full or failed, or its group was recovered without it: its log says which",
        );
    }
    if samples.value(group::GROUP_QUORUM) == Some(0.0) {
        let seen = format!("no majority of the voters is in touch; {seen}");
        return Check::failed(Hop::Peers, seen, format!("edits wait for it, sessions do not: {way}"));
    }
    if suspect + down > 0.0 {
        return Check::warn(Hop::Peers, seen).advise(format!("`warren groups status` names them: {way}"));
    }
    Check::ok(Hop::Peers, seen)
}

/// `None` for a resource that is gone, of which no number is left.
fn target(name: &str, up: f64) -> Option<Check> {
    let told = |verdict| format!("{verdict} by the running agent's probes");
    let advice = "see that it runs and that this machine reaches it; the agent's log has `resource is not well` with the cause";
    let check = match up {
        up if up >= 1.0 => Check::ok(Hop::Target, told("up")),
        up if up > 0.0 => Check::warn(Hop::Target, told("suspect")).advise(advice),
        up if up <= 0.0 => Check::failed(Hop::Target, told("down"), advice),
        _ => return None,
    };
    Some(check.of(name))
}

/// The text format of Prometheus, as far as agents write it. Labels that are looked for hold no quotes.
#[derive(Debug, Clone, Copy)]
struct Samples<'a>(&'a str);

impl<'a> Samples<'a> {
    /// Labels and value of each sample of `name`.
    fn of(self, name: &str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.trim().parse().ok()?))
        })
    }

    /// One label and the value of each sample of `name`.
    fn all(self, name: &str, label: &str) -> impl Iterator<Item = (&'a str, f64)> {
        self.of(name).filter_map(move |(labels, value)| Some((label_of(labels, label)?, value)))
    }

    fn label(self, name: &str, label: &str) -> Option<&'a str> {
        self.all(name, label).map(|(value, _)| value).next()
    }

    fn value(self, name: &str) -> Option<f64> {
        self.of(name).map(|(_, value)| value).next()
    }
}

fn label_of<'a>(labels: &'a str, label: &str) -> Option<&'a str> {
    let begin = format!("{label}=\"");
    let at = match labels.starts_with(&begin) {
        true => begin.len(),
        false => labels.find(&format!(",{begin}"))? + 1 + begin.len(),
    };
    labels[at..].split('"').next()
}

/// Status and body. An address that stands for all of them leads to this machine.
async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let own = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let socket = TcpStream::connect((own, address.port())).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(io::Error::other)?;
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    let asking = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status().as_u16();
        let body =
            Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(io::Error::other)?;
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    let mut asking = std::pin::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        // It has handed what it read, or its error, to the request.
        _ = connection => asking.await,
    }
}

#[cfg(test)]
mod tests;
