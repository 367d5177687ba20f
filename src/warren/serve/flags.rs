//! Flags of the two servers. They are texts: what they mean is checked together with the file, so that all mistakes are
//! told at once.

use std::path::PathBuf;

use clap::Args;
use warren_core::trace::OtlpOverrides;

use super::variable;
use crate::telemetry::LogFormat;

mod site;

pub(crate) use site::SiteArgs;

/// Run the gateway.
///
/// Flags win over environment variables, both win over the file. Everything has a default. On its first start it
/// makes its keys, its certificate authority and an admin token in its data directory.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  warren gateway --data-dir /var/lib/warren/gateway --listen 0.0.0.0:443 --public-url https://gateway.example.com
  warren gateway --config /etc/warren/gateway.yaml --dump-config
  warren gateway --data-dir /var/lib/warren/gateway --export store.jsonl

SIGTERM or SIGINT drains; a second one stops at once. WARREN_OPERATOR_KEY may hold the key that seals secrets at rest.")]
pub(crate) struct GatewayArgs {
    /// YAML file; its keys stand in docs/settings.md
    #[arg(long, env = "WARREN_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print the effective configuration and stop
    #[arg(long)]
    pub(super) dump_config: bool,
    /// Give the user admin a new token, in DATA_DIR/admin.token, and stop; also beside a gateway that runs
    #[arg(long)]
    pub(super) new_admin_token: bool,
    /// Where keys and the store are kept [default: /var/lib/warren/gateway]
    #[arg(long, env = "WARREN_DATA_DIR", value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// The one address for tunnels, enrolment and the admin API [default: 0.0.0.0:443]
    #[arg(long, env = "WARREN_LISTEN", value_name = "ADDR")]
    pub(super) listen: Option<String>,
    /// Where agents and people reach it [default: https:// and the listening address]
    #[arg(long, env = "WARREN_PUBLIC_URL", value_name = "URL")]
    pub(super) public_url: Option<String>,
    /// Where other gateways on the same store reach this one [default: the public URL]
    #[arg(long, env = "WARREN_INTERNAL_URL", value_name = "URL")]
    pub(super) internal_url: Option<String>,
    /// Address that serves /metrics, /livez and /readyz [default: none]
    #[arg(long, env = "WARREN_METRICS", value_name = "ADDR")]
    pub(super) metrics: Option<String>,
    /// Write all that the store holds to FILE, or to stdout if it is -, and stop; also beside a gateway that runs
    #[arg(long, value_name = "FILE", conflicts_with = "import")]
    pub(super) export: Option<PathBuf>,
    /// Fill an empty store with what --export wrote to FILE, or with stdin if it is -, and stop
    #[arg(long, value_name = "FILE")]
    pub(super) import: Option<PathBuf>,
    /// Where groups, identities, tokens and audit are kept, sqlite:PATH or postgres://USER@HOST:PORT/DATABASE [default: sqlite:DATA_DIR/gateway.db]
    #[arg(long, env = "WARREN_STORE", value_name = "STORE", hide_env_values = true)]
    pub(super) store: Option<String>,
    /// File with the password of a store in PostgreSQL; WARREN_STORE_PASSWORD may hold the password itself
    #[arg(long, env = "WARREN_STORE_PASSWORD_FILE", value_name = "FILE")]
    pub(super) store_password_file: Option<PathBuf>,
    /// Address on which callers connect to resources [default: 127.0.0.1]
    #[arg(long, env = "WARREN_INGRESS_HOST", value_name = "IP")]
    pub(super) ingress_host: Option<String>,
    /// Ports for resources that name none [default: 20000-29999]
    #[arg(long, env = "WARREN_INGRESS_PORTS", value_name = "RANGE")]
    pub(super) ingress_ports: Option<String>,
    /// File with the key that seals secrets at rest, made when missing [default: DATA_DIR/operator.key]
    #[arg(long, env = "WARREN_OPERATOR_KEY_FILE", value_name = "FILE")]
    pub(super) operator_key_file: Option<PathBuf>,
    /// How long sessions may finish when draining [default: 30s]
    #[arg(long, env = "WARREN_DRAIN", value_name = "TIME")]
    pub(super) drain: Option<String>,
    /// Worker threads, 1 to 1024 [default: half of the CPUs]
    #[arg(long, env = "WARREN_THREADS", value_name = "N")]
    pub(super) threads: Option<String>,
    #[command(flatten)]
    pub(super) otlp: OtlpArgs,
    /// Written whole once it serves: {"id","listen","metrics","url","ca","token"}
    #[arg(long, env = "WARREN_READY_FILE", value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,
    /// Stop at once when stdin ends: for a parent that must leave nothing behind, however it dies
    #[arg(long, hide = true)]
    pub(super) stop_with_stdin: bool,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// Run an agent.
///
/// Flags win over environment variables, both win over the file. The token is needed by the first start only; what it
/// brought is kept in the data directory. Without a proxy of its own it takes the one that HTTPS_PROXY or ALL_PROXY names.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  warren agent --data-dir /var/lib/warren/agent --gateway https://gateway.example.com --token @site-1.jwt
  warren agent install --gateway https://gateway.example.com --token @site-1.jwt
  WARREN_URL=https://gateway.example.com REGISTRATION_JWT=eyJ... NAME='Acme SQL' APP_HOST=sql.acme APP_PORT=1433 warren agent

SIGTERM or SIGINT drains, a second one stops at once; SIGHUP reads the file again.")]
pub(crate) struct AgentArgs {
    /// YAML file; its keys stand in docs/settings.md
    #[arg(long, env = "WARREN_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print the effective configuration and stop
    #[arg(long)]
    pub(super) dump_config: bool,
    #[command(flatten)]
    pub(super) site: SiteArgs,
    /// Parallel tunnels, 1 to 8 [default: 2]
    #[arg(long, env = "WARREN_TUNNELS", value_name = "N")]
    pub(super) tunnels: Option<String>,
    /// Timing of the group's log: lan, wan or slow-disk [default: lan]
    #[arg(long, env = "WARREN_PROFILE", value_name = "PROFILE")]
    pub(super) profile: Option<String>,
    /// How long sessions may finish when draining [default: 30s]
    #[arg(long, env = "WARREN_DRAIN", value_name = "TIME")]
    pub(super) drain: Option<String>,
    /// Worker threads, 1 to 1024 [default: half of the CPUs]
    #[arg(long, env = "WARREN_THREADS", value_name = "N")]
    pub(super) threads: Option<String>,
    #[command(flatten)]
    pub(super) otlp: OtlpArgs,
    /// NAMESPACE/NAME of this pod of a StatefulSet: when the set has shrunk below it, the agent leaves its group as it stops
    #[arg(long, env = "WARREN_POD", value_name = "NAMESPACE/NAME")]
    pub(super) pod: Option<String>,
    /// Written whole once a tunnel is verified and the group joined: {"id","group","peer","metrics"}
    #[arg(long, env = "WARREN_READY_FILE", value_name = "FILE")]
    pub(super) ready_file: Option<PathBuf>,
    /// Stop at once when stdin ends: for a parent that must leave nothing behind, however it dies
    #[arg(long, hide = true)]
    pub(super) stop_with_stdin: bool,
    /// Where log lines go instead of stderr, which a service does not have
    #[cfg(windows)]
    #[arg(long, hide = true, value_name = "FILE")]
    pub(super) log_file: Option<PathBuf>,
    /// As this service of Windows' service manager, which alone may start it so
    #[cfg(windows)]
    #[arg(long, hide = true, value_name = "NAME")]
    pub(crate) service: Option<String>,
    #[command(flatten)]
    pub(super) log: LogArgs,
}

/// Where spans go.
#[derive(Debug, Args)]
pub(crate) struct OtlpArgs {
    /// Collector that spans of sessions are exported to by OTLP over gRPC, http://HOST:PORT or https://HOST:PORT [default: none]
    #[arg(long, env = "WARREN_OTLP", value_name = "URL")]
    otlp: Option<String>,
    /// Share of the traces that is exported, 0 to 1; the same at gateways and agents [default: 1]
    #[arg(long, env = "WARREN_OTLP_SAMPLE", value_name = "RATIO")]
    otlp_sample: Option<String>,
    /// Root that vouches for a collector on https, PEM [default: the system's roots]
    #[arg(long, env = "WARREN_OTLP_CA", value_name = "FILE")]
    otlp_ca: Option<PathBuf>,
    /// Header for the collector, such as authorization=@FILE, with the file that holds its value; repeat it for several. WARREN_OTLP_HEADERS may hold some with their values, NAME=VALUE,NAME=@FILE
    #[arg(long, value_name = "NAME=@FILE")]
    otlp_header: Vec<String>,
}

impl OtlpArgs {
    pub(super) fn overrides(&self) -> OtlpOverrides {
        OtlpOverrides {
            url: self.otlp.clone(),
            sample: self.otlp_sample.clone(),
            ca: self.otlp_ca.clone(),
            headers: self.otlp_header.clone(),
            // No flag for it, since others can read command lines; and none that clap would show with its value.
            environment_headers: variable("WARREN_OTLP_HEADERS"),
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Log filter, such as warn or info,warren_agent=debug [default: info]
    #[arg(long = "log", env = "WARREN_LOG", value_name = "FILTER")]
    pub(super) filter: Option<String>,
    /// How log lines are written on stderr [default: text]
    #[arg(long = "log-format", env = "WARREN_LOG_FORMAT", value_enum, value_name = "FORMAT")]
    pub(super) format: Option<LogFormat>,
}
