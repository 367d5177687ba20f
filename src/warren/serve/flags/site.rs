//! What an agent is told of its site, whether it is run, installed or looked at.

use std::path::PathBuf;

use clap::Args;

/// How the agent reaches its gateway, and is reached.
#[derive(Debug, Args)]
pub(crate) struct SiteArgs {
    /// The gateway's URL; repeat it for several
    #[arg(long = "gateway", env = "WARREN_URL", value_name = "URL", value_delimiter = ',')]
    pub(crate) gateways: Vec<String>,
    /// Root that vouches for the gateway, PEM [default: the system's roots]
    #[arg(long, env = "WARREN_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Registration token, or @FILE that holds it
    #[arg(long, env = "REGISTRATION_JWT", value_name = "TOKEN|@FILE", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// What people call the agent [default: the host's name]
    #[arg(long, env = "NAME", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Proxy to the gateway, http://HOST:PORT or socks5://HOST:PORT, with USER:PASSWORD@ before HOST if it asks; or none
    #[arg(long, env = "WARREN_PROXY", value_name = "URL", hide_env_values = true)]
    pub(crate) proxy: Option<String>,
    /// Where the identity and the group's log are kept [default: /var/lib/warren/agent]
    #[arg(long, env = "WARREN_DATA_DIR", value_name = "DIR")]
    #[cfg_attr(
        windows,
        arg(
            help = r"Where the identity and the group's log are kept [default: C:\ProgramData\Warren\agent]"
        )
    )]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the group's other members connect [default: 0.0.0.0:7400]
    #[arg(long, env = "WARREN_PEER_LISTEN", value_name = "ADDR")]
    pub(crate) peer_listen: Option<String>,
    /// HOST:PORT that the other members are told [default: where it listens; if that is every address, the one towards the gateway]
    #[arg(long, env = "WARREN_PEER_ADVERTISE", value_name = "HOST:PORT")]
    pub(crate) peer_advertise: Option<String>,
    /// Address that serves /metrics, /livez and /readyz [default: none]
    #[arg(long, env = "WARREN_METRICS", value_name = "ADDR")]
    pub(crate) metrics: Option<String>,
    /// Quick start: host of the one application to make reachable under the agent's name
    #[arg(long, env = "APP_HOST", value_name = "HOST")]
    pub(crate) app_host: Option<String>,
    /// Quick start: its port
    #[arg(long, env = "APP_PORT", value_name = "PORT")]
    pub(crate) app_port: Option<String>,
}
