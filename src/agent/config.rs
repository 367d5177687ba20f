//! What the site's admin decides: one file, and flags or environment that win over it.
//!
//! Everything is read before anything is done, and all mistakes are told together. What may change while the agent
//! runs is gathered in [`Live`]; [`AgentConfig::reload`] reads the file again for it.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use thiserror::Error;
use warren_core::{
    config::{Policy, Resource},
    destination::{Rules, Target},
    fields::ConfigError,
    id::Name,
    threads::Threads,
    trace::{Otlp, OtlpOverrides},
};
use warren_group::Profile;

mod dump;
mod kubernetes;
mod proxy;
mod read;
#[cfg(test)]
mod tests;

pub use kubernetes::{Kubernetes, Pod, PodError};
pub use proxy::{ProxyUrl, Way};

/// Where agents keep their identity and their group's log unless told otherwise.
#[cfg(unix)]
pub const DATA_DIR_DEFAULT: &str = "/var/lib/warren/agent";
#[cfg(windows)]
pub const DATA_DIR_DEFAULT: &str = r"C:\ProgramData\Warren\agent";
/// Where an agent listens for its group unless told otherwise.
pub const PEER_LISTEN_DEFAULT: &str = "0.0.0.0:7400";
/// The most parallel tunnels.
pub const TUNNELS_MAX: u64 = 8;

/// An agent's configuration, checked.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Holds the private key, the certificate and the group's log. Default [`DATA_DIR_DEFAULT`].
    pub data_dir: PathBuf,
    /// At least one; tunnels are spread over them.
    pub gateways: Vec<GatewayUrl>,
    /// PEM file of the roots that vouch for the gateways. Default: the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of further roots, of proxies that open the TLS between agent and gateway. Default: none.
    pub extra_ca: Vec<PathBuf>,
    /// How gateways are reached, and only they. Default: as the environment says, else directly.
    pub way: Way,
    /// Needed by the first start only.
    pub token: Option<Token>,
    /// What people call the agent. Default: the host's name.
    pub name: String,
    /// Where the group's other members connect. Default [`PEER_LISTEN_DEFAULT`]; port 0 picks one and keeps it.
    pub peer_listen: SocketAddr,
    /// The `host:port` that others are told. Default: the listen address, or when that is unspecified the address of
    /// the interface towards the gateway.
    pub peer_advertise: Option<Target>,
    /// Where the binary serves metrics. Default: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Parallel tunnels, 1 to [`TUNNELS_MAX`]. Default 2.
    pub tunnels: usize,
    /// Worker threads of the process. Default: as suits the machine.
    pub threads: Option<Threads>,
    /// How long sessions wait for another tunnel when theirs broke; zero resets them at once. Default 30 s.
    pub resume_within: Duration,
    /// Timing of the group's log. Default `lan`.
    pub profile: Profile,
    /// Sessions at once, further ones are answered busy. Default 16,384.
    pub sessions_max: usize,
    /// Dials at once, further ones are answered busy. Default 1,024.
    pub pending_dials_max: usize,
    /// The resource of the quick start, put into the group's config once this agent is a member.
    pub app: Option<App>,
    /// Where spans of sessions are exported to, and of how many. Default: nowhere.
    pub otlp: Otlp,
    /// Asked when the agent stops, whether it leaves its group. Default: nobody is asked, it stays.
    pub kubernetes: Option<Kubernetes>,
    pub live: Live,
    source: Source,
}

/// The part that may change while the agent runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Destinations that this site never (or only) allows, whatever the group's config says. A list that is given
    /// takes the place of the default one, which denies link-local addresses (where clouds keep credentials).
    pub veto: Rules,
    /// How long a drain waits for sessions. Default 30 s.
    pub drain: Duration,
    /// How long one dial may take. Default 5 s.
    pub dial_timeout: Duration,
    /// Between two probes of a resource. Default 10 s.
    pub probe_interval: Duration,
    /// How long one probe may take. Default 3 s.
    pub probe_timeout: Duration,
    /// Log filter such as `info` or `warren_agent=debug`; the binary applies it.
    pub log: Option<String>,
}

/// One resource declared by the agent itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    pub name: Name,
    pub target: Target,
}

impl App {
    pub(crate) fn resource(&self) -> Resource {
        Resource { target: self.target.clone(), policy: Policy::default(), description: String::new() }
    }
}

/// Settings that win over the file: flags, then environment. Texts are read together with the file's, so that all
/// mistakes are told at once.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    pub data_dir: Option<PathBuf>,
    /// `--gateway` (several) or `WARREN_URL`.
    pub gateways: Vec<String>,
    pub ca: Option<PathBuf>,
    /// `--token` or `REGISTRATION_JWT`.
    pub token: Option<Token>,
    /// `--name` or `NAME`; also names the quick start's resource.
    pub name: Option<String>,
    pub peer_listen: Option<String>,
    pub peer_advertise: Option<String>,
    pub metrics: Option<String>,
    pub tunnels: Option<String>,
    pub threads: Option<String>,
    pub profile: Option<String>,
    pub drain: Option<String>,
    pub log: Option<String>,
    /// `--proxy` or `WARREN_PROXY`.
    pub proxy: Option<ProxyUrl>,
    /// `HTTPS_PROXY` or one of its kind; counts when nothing else names a proxy.
    pub environment_proxy: Option<ProxyUrl>,
    /// `NO_PROXY`, which goes with that.
    pub environment_no_proxy: Option<String>,
    /// `APP_HOST`.
    pub app_host: Option<String>,
    /// `APP_PORT`.
    pub app_port: Option<String>,
    pub otlp: OtlpOverrides,
    /// `--pod` or `WARREN_POD`.
    pub pod: Option<String>,
    /// `KUBERNETES_SERVICE_HOST`, which every pod has.
    pub kubernetes_host: Option<String>,
    /// `KUBERNETES_SERVICE_PORT`.
    pub kubernetes_port: Option<String>,
}

/// What a reload came to.
#[derive(Debug)]
pub struct Reload {
    pub live: Live,
    /// Keys that differ from the running config and count from the next start only.
    pub needs_restart: Vec<&'static str>,
}

impl AgentConfig {
    /// Reads `file`, if there is one, under `overrides`.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        read::load(Source { file: file.map(Path::to_owned), overrides })
    }

    /// Reads the same file under the same overrides once more.
    pub fn reload(&self) -> Result<Reload, ConfigError> {
        let newer = read::load(self.source.clone())?;
        let needs_restart = self.fixed_differences(&newer);
        Ok(Reload { live: newer.live, needs_restart })
    }

    /// The effective configuration as YAML that [`Self::load`] would read; a token, a proxy's password
    /// and values of headers are left out, their files are not.
    pub fn dump(&self) -> String {
        dump::dump(self)
    }

    fn fixed_differences(&self, newer: &Self) -> Vec<&'static str> {
        let differs = [
            ("data_dir", self.data_dir != newer.data_dir),
            ("gateways", self.gateways != newer.gateways),
            ("ca", self.ca != newer.ca),
            ("extra_ca", self.extra_ca != newer.extra_ca),
            ("proxy", self.way != newer.way),
            ("name", self.name != newer.name),
            ("peer_listen", self.peer_listen != newer.peer_listen),
            ("peer_advertise", self.peer_advertise != newer.peer_advertise),
            ("metrics", self.metrics != newer.metrics),
            ("tunnels", self.tunnels != newer.tunnels),
            ("threads", self.threads != newer.threads),
            ("resume_within", self.resume_within != newer.resume_within),
            ("profile", self.profile != newer.profile),
            ("limits.sessions", self.sessions_max != newer.sessions_max),
            ("limits.pending_dials", self.pending_dials_max != newer.pending_dials_max),
            ("app", self.app != newer.app),
            ("otlp", self.otlp != newer.otlp),
            ("kubernetes", self.kubernetes != newer.kubernetes),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}

/// Where a config came from, to read it again.
#[derive(Debug, Clone)]
struct Source {
    file: Option<PathBuf>,
    overrides: Overrides,
}

/// Where a gateway is reached: `https://host` or `https://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayUrl {
    target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a gateway, expected https://HOST or https://HOST:PORT")]
pub struct GatewayUrlError(String);

impl GatewayUrl {
    pub fn host(&self) -> &str {
        self.target.host()
    }

    pub fn port(&self) -> u16 {
        self.target.port()
    }
}

impl FromStr for GatewayUrl {
    type Err = GatewayUrlError;

    fn from_str(text: &str) -> Result<Self, GatewayUrlError> {
        const HTTPS: u16 = 443;
        let refused = || GatewayUrlError(text.to_owned());
        let place = text.strip_prefix("https://").ok_or_else(refused)?;
        let place = place.strip_suffix('/').unwrap_or(place);
        let bare = place.trim_start_matches('[').trim_end_matches(']');
        let target = place.parse().or_else(|_| Target::new(bare, HTTPS)).map_err(|_| refused())?;
        Ok(Self { target })
    }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.target)
    }
}

/// A registration token, or `@FILE` that holds one. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The file that holds the token, if it was given as one.
    pub fn file(&self) -> Option<&Path> {
        self.0.strip_prefix('@').map(Path::new)
    }

    /// The token itself. Reads the file, which may be gone once the agent is enrolled, only here.
    pub fn read(&self) -> std::io::Result<String> {
        match self.file() {
            Some(path) => Ok(std::fs::read_to_string(path)?.trim().to_owned()),
            None => Ok(self.0.trim().to_owned()),
        }
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl FromStr for Token {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file() {
            Some(path) => write!(f, "Token(@{})", path.display()),
            None => f.write_str("Token(…)"),
        }
    }
}
