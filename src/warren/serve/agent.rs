//! `warren agent`

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

#[cfg(windows)]
use anyhow::Context;
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use warren_agent::{Agent, AgentConfig, Live, Overrides, ProxyUrl, Ready, Token};
use warren_core::trace::OtlpOverrides;

use super::{AgentArgs, SiteArgs, clear_ready, follow, not_ready_yet, observer, variable};
use crate::{
    limits,
    observe::Readiness,
    otlp::{self, Resource},
    output, ready, runtime,
    signals::Signals,
    telemetry::Telemetry,
};

const FILTER_DEFAULT: &str = "info";
/// Where other programs look for the proxy to an https:// URL, in their order.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const NO_PROXY_VARIABLES: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// What the ready file holds; a contract.
#[derive(Debug, Serialize)]
struct Facts {
    id: String,
    /// The group's name.
    group: String,
    group_id: String,
    /// Where the other members reach it, `host:port`.
    peer: String,
    metrics: Option<SocketAddr>,
}

/// Runs an agent until it has drained or was stopped.
pub(crate) fn run(args: &AgentArgs) -> anyhow::Result<()> {
    #[cfg(windows)]
    {
        if let Some(path) = &args.log_file {
            crate::telemetry::output::write_to(path)
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        if let Some(name) = &args.service {
            return crate::service::run(name);
        }
    }
    run_here(args)
}

/// In this process as it is, whoever started it.
pub(crate) fn run_here(args: &AgentArgs) -> anyhow::Result<()> {
    let config = AgentConfig::load(args.config.as_deref(), overrides(args))?;
    if args.dump_config {
        return output::print(&config.dump());
    }
    runtime::serve(config.threads, serve(args, config))
}

async fn serve(args: &AgentArgs, config: AgentConfig) -> anyhow::Result<()> {
    let filter = config.live.log.as_deref().unwrap_or(FILTER_DEFAULT);
    let format = args.log.format.unwrap_or_default();
    let telemetry = Telemetry::start(filter, format, config.metrics.is_some(), &config.data_dir)?;
    let signals = Signals::listen()?;
    limits::raise_open_files();
    if args.stop_with_stdin {
        signals.stop_with_stdin();
    }
    clear_ready(args.ready_file.as_deref())?;
    let (readiness, watched) = watch::channel(not_ready_yet("the agent is starting"));
    let (metrics, _serving) = observer(config.metrics, &telemetry, watched).await?;

    let (tracer, exporter) = otlp::set_up(&config.otlp)?;
    let (member, stop) = (config.name.clone(), signals.stop.clone());
    let agent = tokio::select! {
        built = Agent::build(config, tracer) => built?,
        // Waiting for a gateway to enrol with; there is nothing to drain yet.
        () = signals.drain.cancelled() => return Ok(()),
    };
    let exporting = exporter.map(|exporter| exporter.start(resource(agent.facts(), &member)));
    let _following = follow(agent.readiness(), readiness, |state| Readiness {
        against: state.reasons().into_iter().map(String::from).collect(),
    });
    let _filtering = follow_filter(agent.live(), telemetry);
    let ready = agent.ready();
    let running = agent.run(signals.drain, signals.stop, signals.reload);
    tokio::pin!(running);
    let facts = tokio::select! {
        () = &mut running => None,
        facts = ready => Some(Facts::of(facts, metrics)),
    };
    if let Some(facts) = facts {
        tracing::info!(agent = %facts.id, group = %facts.group, peer = %facts.peer, "agent serves");
        if let Some(path) = &args.ready_file {
            ready::write(path, &facts)?;
        }
        running.await;
    }
    if let Some(exporting) = exporting {
        exporting.finish(&stop).await;
    }
    Ok(())
}

/// Whose spans they are.
fn resource(facts: &Ready, member: &str) -> Resource {
    Resource::new("warren-agent", &facts.id.to_string())
        .with("warren.group", &facts.group_name)
        .with("warren.group.id", &facts.group.to_string())
        .with("warren.member", member)
}

impl Facts {
    fn of(ready: Ready, metrics: Option<SocketAddr>) -> Self {
        let Ready { id, group, group_name, peer } = ready;
        Self { id: id.to_string(), group: group_name, group_id: group.to_string(), peer, metrics }
    }
}

/// Takes the log filter over when the file that was read again has another one.
fn follow_filter(mut live: watch::Receiver<Arc<Live>>, telemetry: Telemetry) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        while live.changed().await.is_ok() {
            let filter = live.borrow_and_update().log.clone();
            let filter = filter.as_deref().unwrap_or(FILTER_DEFAULT);
            match telemetry.set_filter(filter) {
                Ok(()) => tracing::info!(filter, "log filter taken over"),
                Err(error) => tracing::error!(%error, "log filter not taken over, the old one stays"),
            }
        }
    }))
}

fn overrides(args: &AgentArgs) -> Overrides {
    Overrides {
        tunnels: args.tunnels.clone(),
        profile: args.profile.clone(),
        drain: args.drain.clone(),
        threads: args.threads.clone(),
        log: args.log.filter.clone(),
        otlp: args.otlp.overrides(),
        pod: args.pod.clone(),
        ..site_overrides(&args.site)
    }
}

/// What an agent would be told by flags of its site and by its environment, for who runs none.
pub(crate) fn overrides_beside(site: &SiteArgs) -> Overrides {
    Overrides {
        tunnels: variable("WARREN_TUNNELS"),
        profile: variable("WARREN_PROFILE"),
        drain: variable("WARREN_DRAIN"),
        threads: variable("WARREN_THREADS"),
        log: variable("WARREN_LOG"),
        otlp: OtlpOverrides {
            url: variable("WARREN_OTLP"),
            sample: variable("WARREN_OTLP_SAMPLE"),
            ca: variable("WARREN_OTLP_CA").map(PathBuf::from),
            headers: Vec::new(),
            environment_headers: variable("WARREN_OTLP_HEADERS"),
        },
        pod: variable("WARREN_POD"),
        ..site_overrides(site)
    }
}

fn site_overrides(site: &SiteArgs) -> Overrides {
    Overrides {
        data_dir: site.data_dir.clone(),
        gateways: site.gateways.clone(),
        ca: site.ca.clone(),
        token: site.token.clone().map(Token::from),
        name: site.name.clone(),
        peer_listen: site.peer_listen.clone(),
        peer_advertise: site.peer_advertise.clone(),
        metrics: site.metrics.clone(),
        proxy: site.proxy.clone().filter(|url| !url.is_empty()).map(given_proxy),
        environment_proxy: PROXY_VARIABLES
            .into_iter()
            .find_map(|from| Some(ProxyUrl { from, url: variable(from)? })),
        environment_no_proxy: NO_PROXY_VARIABLES.into_iter().find_map(variable),
        app_host: site.app_host.clone(),
        app_port: site.app_port.clone(),
        kubernetes_host: variable("KUBERNETES_SERVICE_HOST"),
        kubernetes_port: variable("KUBERNETES_SERVICE_PORT"),
        ..Overrides::default()
    }
}

/// The command line's parser does not tell its variable from the flag.
fn given_proxy(url: String) -> ProxyUrl {
    const VARIABLE: &str = "WARREN_PROXY";
    let from = if variable(VARIABLE).as_ref() == Some(&url) { VARIABLE } else { "--proxy" };
    ProxyUrl { from, url }
}
