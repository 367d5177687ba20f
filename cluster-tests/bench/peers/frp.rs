//! frp over TLS: all sessions in one connection (tcpMux), and a connection for each.

use std::process::Command;

use anyhow::Result;

use super::{Peer, Place, Running, Tool, free_address, wait_for};
use crate::{
    child::Child,
    tools::{Tools, version},
};

pub(super) const MUX: Peer = Peer {
    name: "frp",
    how: "tls.force, tcpMux",
    encrypted: true,
    find,
    start: |tool, place| start(tool, place, true),
};

pub(super) const NO_MUX: Peer = Peer {
    name: "frp-nomux",
    how: "tls.force, a connection for each session",
    encrypted: true,
    find,
    start: |tool, place| start(tool, place, false),
};

fn find(tools: &Tools) -> Result<Tool> {
    let programs = vec![tools.find("frps")?, tools.find("frpc")?];
    tools.find("openssl")?;
    Ok(Tool { version: format!("frp {}", version(&programs[0], &["--version"])?), programs })
}

fn start(tool: &Tool, place: &Place, mux: bool) -> Result<Running> {
    let made = place.certificate()?;
    let (listen, entry) = (free_address()?, free_address()?);
    let server = place.write(
        "frps.toml",
        &format!(
            r#"
            bindAddr = "127.0.0.1"
            proxyBindAddr = "127.0.0.1"
            bindPort = {port}
            auth.token = "bench"
            log.level = "warn"
            transport.tcpMux = {mux}
            transport.tls.force = true
            transport.tls.certFile = "{certificate}"
            transport.tls.keyFile = "{key}"
            "#,
            port = listen.port(),
            certificate = made.certificate,
            key = made.key
        ),
    )?;
    let remote = place.towards(listen)?;
    let client = place.write(
        "frpc.toml",
        &format!(
            r#"
            serverAddr = "127.0.0.1"
            serverPort = {server_port}
            auth.token = "bench"
            log.level = "warn"
            transport.tcpMux = {mux}
            transport.tls.enable = true
            transport.tls.trustedCaFile = "{root}"
            transport.tls.serverName = "localhost"
            [[proxies]]
            name = "bench"
            type = "tcp"
            localIP = "127.0.0.1"
            localPort = {target_port}
            remotePort = {entry_port}
            "#,
            server_port = remote.port(),
            root = made.certificate,
            target_port = place.target().port(),
            entry_port = entry.port()
        ),
    )?;
    let end = |program: usize, name: &str, config: &str| {
        Child::start(name, Command::new(&tool.programs[program]).args(["-c", config]), place.path())
    };
    let mut frps = end(0, "frps", &server)?;
    wait_for(&mut frps, listen)?;
    Running::pair(entry, frps, end(1, "frpc", &client)?)
}
