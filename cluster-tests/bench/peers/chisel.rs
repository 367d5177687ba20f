//! chisel, by the Go module proxy.

use std::{path::Path, process::Command};

use anyhow::Result;

use super::{Peer, Place, Running, Tool, free_address, wait_for};
use crate::{
    child::Child,
    tools::{Tools, version},
};

const MODULE: &str = "github.com/jpillora/chisel@v1.11.3";

pub(super) const PEER: Peer = Peer {
    name: "chisel",
    how: "reverse; encrypted by its own SSH layer, and not by TLS around that",
    encrypted: true,
    find,
    start,
};

fn find(tools: &Tools) -> Result<Tool> {
    let program = tools.find_or_build("chisel", |root: &Path| {
        let mut go = Command::new("go");
        go.args(["install", MODULE]).env("GOBIN", root.join("bin"));
        go
    })?;
    Ok(Tool { version: format!("chisel {}", module_version(&program)?), programs: vec![program] })
}

/// What Go has built it from; the program itself knows its version only when it comes from a release.
fn module_version(program: &Path) -> Result<String> {
    let about = Command::new("go").args(["version", "-m"]).arg(program).output().ok();
    let about = about.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let module = about.lines().find_map(|line| line.trim().strip_prefix("mod\t"));
    match module.and_then(|module| module.split('\t').nth(1)).filter(|version| version.starts_with('v')) {
        Some(version) => Ok(version.to_owned()),
        None => version(program, &["--version"]),
    }
}

fn start(tool: &Tool, place: &Place) -> Result<Running> {
    let (listen, entry) = (free_address()?, free_address()?);
    let end = |role: &str, args: &[&str]| {
        let mut command = Command::new(&tool.programs[0]);
        command.arg(role).args(args);
        Child::start(&format!("chisel-{role}"), &mut command, place.path())
    };
    let port = listen.port().to_string();
    let mut server =
        end("server", &["--reverse", "--auth", "bench:bench", "--host", "127.0.0.1", "--port", &port])?;
    wait_for(&mut server, listen)?;
    let url = format!("http://{}", place.towards(listen)?);
    let remote = format!("R:{entry}:{}", place.target());
    Running::pair(entry, server, end("client", &["--auth", "bench:bench", &url, &remote])?)
}
