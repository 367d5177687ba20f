//! rathole 0.5.0 with TLS, from the crate registry.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};

use super::{Peer, Place, Running, Tool, free_address, wait_for};
use crate::{
    child::Child,
    tools::{self, Tools, version},
};

const VERSION: &str = "0.5.0";

pub(super) const PEER: Peer = Peer {
    name: "rathole",
    how: "transport tls, AES-GCM by the library's order",
    encrypted: true,
    find,
    start,
};

fn find(tools: &Tools) -> Result<Tool> {
    let program = tools.find_or_build("rathole", |root: &Path| {
        let mut cargo = Command::new("cargo");
        cargo.args(["install", "rathole", "--version", VERSION, "--root"]).arg(root);
        cargo
    })?;
    tools.find("openssl")?;
    let version = version(&program, &["--version"])?;
    Ok(Tool { programs: vec![program], version })
}

fn start(tool: &Tool, place: &Place) -> Result<Running> {
    let made = place.certificate()?;
    let openssl = place.openssl.as_deref().context("no openssl")?;
    let export = "pkcs12 -export -passout pass:bench -inkey key.pem -in certificate.pem -out identity.pfx";
    tools::run(openssl, &export.split(' ').collect::<Vec<_>>(), place.path())?;
    let identity = place.path().join("identity.pfx");

    let (listen, entry) = (free_address()?, free_address()?);
    let server = place.write(
        "server.toml",
        &format!(
            r#"
            [server]
            bind_addr = "{listen}"
            default_token = "bench"
            [server.transport]
            type = "tls"
            [server.transport.tls]
            pkcs12 = "{identity}"
            pkcs12_password = "bench"
            [server.services.bench]
            bind_addr = "{entry}"
            "#,
            identity = identity.display()
        ),
    )?;
    let client = place.write(
        "client.toml",
        &format!(
            r#"
            [client]
            remote_addr = "{remote}"
            default_token = "bench"
            [client.transport]
            type = "tls"
            [client.transport.tls]
            trusted_root = "{root}"
            hostname = "localhost"
            [client.services.bench]
            local_addr = "{target}"
            "#,
            remote = place.towards(listen)?,
            root = made.certificate,
            target = place.target()
        ),
    )?;
    let end = |role: &str, config: &str| {
        let mut command = Command::new(&tool.programs[0]);
        command.env("RUST_LOG", "warn").arg(format!("--{role}")).arg(config);
        Child::start(&format!("rathole-{role}"), &mut command, place.path())
    };
    let mut server = end("server", &server)?;
    wait_for(&mut server, listen)?;
    Running::pair(entry, server, end("client", &client)?)
}
