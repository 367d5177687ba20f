//! What an operator may set: a YAML file, overridden by flags and environment.
//!
//! | key | default | |
//! |---|---|---|
//! | `data_dir` | `/var/lib/warren/gateway` | made with mode 0700 |
//! | `listen` | `0.0.0.0:443` | the one port for tunnels, enrolment and the admin API; port 0 picks one |
//! | `public_url` | `https://` and `listen`, or `localhost` when that is every address | where agents and people reach it; its host stands in the certificate |
//! | `internal_url` | `public_url` | where other gateways on the same store reach this one |
//! | `metrics` | off | address of `/metrics`, `/livez`, `/readyz` |
//! | `ready_file` | none | written whole once it serves |
//! | `store` | `sqlite:DATA_DIR/gateway.db` | or `postgres://USER@HOST:PORT/DATABASE`, which several gateways may share |
//! | `store_password_file` | none | holds the password of a store in PostgreSQL; `WARREN_STORE_PASSWORD` holds the password itself |
//! | `operator_key_file` | `DATA_DIR/operator.key` | made when missing; `WARREN_OPERATOR_KEY` holds the key itself |
//! | `ingress.host` | `127.0.0.1` | address on which callers connect |
//! | `ingress.ports` | `20000-29999` | for new listeners; below the ports that systems give to outgoing connections, which could take a listener's port while the gateway is down |
//! | `certificate_lifetime` | `7d` | of agents; 1 minute to 90 days; they renew at half of it |
//! | `token_lifetime` | `1h` | of registration tokens unless asked otherwise |
//! | `drain` | `30s` | how long sessions may finish after SIGTERM |
//! | `threads` | half of the CPUs | worker threads, 1 to 1024 |
//! | `tunnel_wait` | `5s` | how long a caller waits when no member has a tunnel |
//! | `tunnel.ping`, `.suspect`, `.dead` | `2s`, `4s`, `8s` | liveness of tunnels, in this order of size |
//! | `tunnel.echo` | `10s` | how often each tunnel must carry an echo |
//! | `tunnel.resume_within` | `30s` | how long sessions wait for another tunnel when theirs broke; `0s` resets them at once |
//! | `limits.handshakes` | 4096 | TLS handshakes at once |
//! | `limits.connections` | 20000 | connections at once on `listen` |
//! | `limits.tunnels` | 10000 | |
//! | `limits.sessions` | 100000 | callers' connections at once |
//! | `limits.enrolments` | 20 | enrolment calls a second of each address, with bursts of twice that |
//! | `log.filter` | `info` | as tracing's `EnvFilter` reads it |
//! | `log.format` | `text` | or `json` |
//! | `otlp.url` | none | collector that spans of sessions are exported to |
//! | `otlp.sample` | 1 | share of the traces, 0 to 1 |
//! | `otlp.ca` | the system's roots | file of the roots that vouch for a collector on https |
//! | `otlp.headers` | none | `NAME=@FILE` or `NAME=VALUE`, go with every message to it |

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;
use warren_core::{
    fields::{ConfigError, Problems},
    threads::Threads,
    trace::{Otlp, OtlpOverrides},
};

mod postgres;
mod read;
mod show;
mod values;

pub use postgres::PostgresUrl;
pub(crate) use postgres::Secret;
pub use values::{LogFormat, PortRange, PublicUrl, StoreLocation};

/// Ready to use: nothing is checked again later. Each field is told at the top of this page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayConfig {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// `None` until `listen` is bound.
    pub public_url: Option<PublicUrl>,
    /// `None`: the public one.
    pub internal_url: Option<PublicUrl>,
    pub metrics: Option<SocketAddr>,
    pub ready_file: Option<PathBuf>,
    pub store: StoreLocation,
    pub operator_key: OperatorKeySource,
    pub ingress: IngressConfig,
    pub certificate_lifetime: Duration,
    pub token_lifetime: Duration,
    pub drain: Duration,
    /// `None`: as suits the machine.
    pub threads: Option<Threads>,
    pub tunnel_wait: Duration,
    pub tunnel: TunnelTimes,
    pub limits: Limits,
    pub log: LogConfig,
    pub otlp: Otlp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressConfig {
    pub host: IpAddr,
    pub ports: PortRange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelTimes {
    pub ping: Duration,
    pub suspect: Duration,
    pub dead: Duration,
    pub echo: Duration,
    pub resume_within: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub handshakes: usize,
    pub connections: usize,
    pub tunnels: usize,
    pub sessions: usize,
    /// A second, of each address.
    pub enrolments: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    pub filter: String,
    pub format: LogFormat,
}

/// Where the key comes from that seals the store's secrets.
#[derive(Clone, PartialEq, Eq)]
pub enum OperatorKeySource {
    /// The key itself, from the environment.
    Text(String),
    File(PathBuf),
}

impl fmt::Debug for OperatorKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// What flags and environment say, as text where it is checked together with the file.
#[derive(Clone, Default)]
pub struct Overrides {
    pub data_dir: Option<PathBuf>,
    pub listen: Option<String>,
    pub public_url: Option<String>,
    pub internal_url: Option<String>,
    pub metrics: Option<String>,
    pub ready_file: Option<PathBuf>,
    pub store: Option<String>,
    pub store_password_file: Option<PathBuf>,
    /// Only ever from the environment.
    pub store_password: Option<String>,
    pub ingress_host: Option<String>,
    pub ingress_ports: Option<String>,
    pub operator_key_file: Option<PathBuf>,
    /// Only ever from the environment.
    pub operator_key: Option<String>,
    pub drain: Option<String>,
    pub threads: Option<String>,
    pub log_filter: Option<String>,
    pub log_format: Option<String>,
    pub otlp: OtlpOverrides,
}

impl fmt::Debug for Overrides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overrides").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Why there is no configuration to start with.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("cannot read `{}`", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Wrong(#[from] ConfigError),
}

impl GatewayConfig {
    /// Reads `file` if there is one, lets `overrides` win, and tells every mistake of both at once.
    pub fn load(file: Option<&Path>, overrides: &Overrides) -> Result<Self, LoadError> {
        let text = match file {
            Some(path) => fs::read_to_string(path)
                .map_err(|source| LoadError::Read { path: path.to_owned(), source })?,
            None => String::new(),
        };
        let origin = file.map_or_else(|| "gateway flags".to_owned(), |path| path.display().to_string());
        Ok(Self::parse(&origin, &text, overrides)?)
    }

    /// As [`Self::load`], of a text that came from `origin`.
    pub fn parse(origin: &str, text: &str, overrides: &Overrides) -> Result<Self, ConfigError> {
        let problems = Problems::default();
        let config = read::read(origin, text, overrides, &problems)?;
        problems.into_result(origin, config)
    }

    /// The effective configuration in the form of the file; an operator key, a password or a header's
    /// value given as text is left out.
    pub fn dump(&self) -> String {
        show::yaml(self)
    }
}

/// What holds when nobody says otherwise.
impl Default for GatewayConfig {
    fn default() -> Self {
        let data_dir = PathBuf::from("/var/lib/warren/gateway");
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 443)),
            public_url: None,
            internal_url: None,
            metrics: None,
            ready_file: None,
            store: StoreLocation::Sqlite(data_dir.join("gateway.db")),
            operator_key: OperatorKeySource::File(data_dir.join("operator.key")),
            data_dir,
            ingress: IngressConfig {
                host: Ipv4Addr::LOCALHOST.into(),
                ports: PortRange { low: 20_000, high: 29_999 },
            },
            certificate_lifetime: Duration::from_secs(7 * 86_400),
            token_lifetime: Duration::from_secs(3_600),
            drain: Duration::from_secs(30),
            threads: None,
            tunnel_wait: Duration::from_secs(5),
            tunnel: TunnelTimes {
                ping: Duration::from_secs(2),
                suspect: Duration::from_secs(4),
                dead: Duration::from_secs(8),
                echo: Duration::from_secs(10),
                resume_within: Duration::from_secs(30),
            },
            limits: Limits {
                handshakes: 4_096,
                connections: 20_000,
                tunnels: 10_000,
                sessions: 100_000,
                enrolments: 20,
            },
            log: LogConfig { filter: "info".to_owned(), format: LogFormat::Text },
            otlp: Otlp::default(),
        }
    }
}

#[cfg(test)]
mod tests;
