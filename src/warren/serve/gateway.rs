//! `warren gateway`

use std::{net::SocketAddr, path::PathBuf};

use serde::Serialize;
use tokio::sync::watch;
use warren_gateway::{
    Gateway, GatewayConfig, Ready,
    config::{LogFormat as FileLogFormat, Overrides, StoreLocation},
};

use super::{GatewayArgs, absolute, clear_ready, follow, not_ready_yet, observer};
use crate::{
    exit::Failure,
    limits,
    observe::Readiness,
    otlp::{self, Resource},
    output::{self, Format},
    ready, runtime,
    signals::Signals,
    telemetry::{LogFormat, Telemetry},
};

mod carry;

/// What the ready file holds; a contract.
#[derive(Debug, Serialize)]
struct Facts {
    id: String,
    listen: SocketAddr,
    metrics: Option<SocketAddr>,
    url: String,
    ca: PathBuf,
    token: PathBuf,
}

/// Runs a gateway until it has drained or was stopped.
pub(crate) fn run(args: &GatewayArgs, format: Format) -> anyhow::Result<()> {
    no_password_in_flags(args)?;
    let config = GatewayConfig::load(args.config.as_deref(), &overrides(args))?;
    if args.dump_config {
        return output::print(&config.dump());
    }
    runtime::serve(config.threads, serve(args, config, format))
}

async fn serve(args: &GatewayArgs, config: GatewayConfig, format: Format) -> anyhow::Result<()> {
    if args.new_admin_token {
        let path = warren_gateway::setup::new_admin_token(&config).await?;
        return output::print(&format!("{}\n", absolute(path).display()));
    }
    if let Some(file) = &args.export {
        return carry::export(&config.store, file, format).await;
    }
    if let Some(file) = &args.import {
        return carry::import(&config.store, file, format).await;
    }
    let log_format = match config.log.format {
        FileLogFormat::Text => LogFormat::Text,
        FileLogFormat::Json => LogFormat::Json,
    };
    let telemetry =
        Telemetry::start(&config.log.filter, log_format, config.metrics.is_some(), &config.data_dir)?;
    let signals = Signals::listen()?;
    limits::raise_open_files();
    if args.stop_with_stdin {
        signals.stop_with_stdin();
    }
    let ready_file = config.ready_file.clone();
    clear_ready(ready_file.as_deref())?;
    let (readiness, watched) = watch::channel(not_ready_yet("the gateway is starting"));
    let (metrics, _serving) = observer(config.metrics, &telemetry, watched).await?;

    let (tracer, exporter) = otlp::set_up(&config.otlp)?;
    let stop = signals.stop.clone();
    let gateway = tokio::select! {
        built = Gateway::build(config, tracer) => built?,
        () = signals.drain.cancelled() => return Ok(()),
    };
    let facts = Facts::of(&gateway, metrics);
    let exporting = exporter.map(|exporter| exporter.start(Resource::new("warren-gateway", &facts.id)));
    let (mut serves, state) = (gateway.readiness(), gateway.readiness());
    let _following = follow(state, readiness, |serves| match serves {
        true => Readiness::default(),
        false => not_ready_yet("the gateway takes no agents and callers"),
    });
    let running = gateway.run(signals.drain, signals.stop);
    tokio::pin!(running);
    let serves = tokio::select! {
        _ = &mut running => false,
        _ = serves.wait_for(|serves| *serves) => true,
    };
    if serves {
        if let Some(path) = &ready_file {
            ready::write(path, &facts)?;
        }
        running.await;
    }
    if let Some(exporting) = exporting {
        exporting.finish(&stop).await;
    }
    Ok(())
}

impl Facts {
    fn of(gateway: &Gateway, metrics: Option<SocketAddr>) -> Self {
        let Ready { id, listen, url, ca, token } = gateway.ready().clone();
        let (id, url) = (id.to_string(), url.to_string());
        Self { id, listen, metrics, url, ca: absolute(ca), token: absolute(token) }
    }
}

/// What may only come from the environment.
fn secret(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|text| !text.is_empty())
}

/// Flags and the environment are one to clap; only the environment may hold a password.
fn no_password_in_flags(args: &GatewayArgs) -> Result<(), Failure> {
    let Some(text) = args.store.as_deref().filter(|text| secret("WARREN_STORE").as_deref() != Some(text))
    else {
        return Ok(());
    };
    match text.parse() {
        Ok(StoreLocation::Postgres(url)) if url.has_password() => Err(Failure::usage(
            "everybody on this machine can see the password in --store: give it in --store-password-file, \
             WARREN_STORE_PASSWORD, or a WARREN_STORE with all of it",
        )),
        _ => Ok(()),
    }
}

fn overrides(args: &GatewayArgs) -> Overrides {
    let format = args.log.format.map(|format| match format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    });
    Overrides {
        data_dir: args.data_dir.clone(),
        listen: args.listen.clone(),
        public_url: args.public_url.clone(),
        internal_url: args.internal_url.clone(),
        metrics: args.metrics.clone(),
        ready_file: args.ready_file.clone(),
        store: args.store.clone(),
        store_password_file: args.store_password_file.clone(),
        store_password: secret("WARREN_STORE_PASSWORD"),
        ingress_host: args.ingress_host.clone(),
        ingress_ports: args.ingress_ports.clone(),
        operator_key_file: args.operator_key_file.clone(),
        // No flag for it: command lines can be seen by everybody on the machine.
        operator_key: secret("WARREN_OPERATOR_KEY"),
        drain: args.drain.clone(),
        threads: args.threads.clone(),
        log_filter: args.log.filter.clone(),
        log_format: format.map(String::from),
        otlp: args.otlp.overrides(),
    }
}
