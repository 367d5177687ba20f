//! wstunnel: a reverse tunnel over wss.

use std::process::Command;

use anyhow::Result;

use super::{Peer, Place, Running, Tool, free_address, wait_for};
use crate::{
    child::Child,
    tools::{Tools, version},
};

pub(super) const PEER: Peer = Peer { name: "wstunnel", how: "-R tcp://, wss", encrypted: true, find, start };

fn find(tools: &Tools) -> Result<Tool> {
    let program = tools.find("wstunnel")?;
    tools.find("openssl")?;
    let version = version(&program, &["--version"])?;
    Ok(Tool { programs: vec![program], version })
}

fn start(tool: &Tool, place: &Place) -> Result<Running> {
    let made = place.certificate()?;
    let (listen, entry) = (free_address()?, free_address()?);
    let end = |role: &str, args: &[&str]| {
        let mut command = Command::new(&tool.programs[0]);
        command.args(["--log-lvl", "WARN", role]).args(args);
        Child::start(&format!("wstunnel-{role}"), &mut command, place.path())
    };
    let url = format!("wss://{listen}");
    let tls = ["--tls-certificate", &made.certificate, "--tls-private-key", &made.key, &url];
    let mut server = end("server", &tls)?;
    wait_for(&mut server, listen)?;
    let remote = format!("tcp://{entry}:{}", place.target());
    let url = format!("wss://{}", place.towards(listen)?);
    Running::pair(entry, server, end("client", &["-R", &remote, &url])?)
}
