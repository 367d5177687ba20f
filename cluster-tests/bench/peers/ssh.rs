//! OpenSSH with a remote forwarding.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::{Peer, Place, Running, Tool, free_address, wait_for};
use crate::{
    child::Child,
    tools::{self, Tools, version},
};

pub(super) const PEER: Peer = Peer {
    name: "ssh",
    how: "OpenSSH -R, aes128-gcm@openssh.com, one connection",
    encrypted: true,
    find,
    start,
};

fn find(tools: &Tools) -> Result<Tool> {
    let programs = ["ssh", "sshd", "ssh-keygen"].map(|program| tools.find(program));
    let programs: Vec<_> = programs.into_iter().collect::<Result<_>>()?;
    Ok(Tool { version: version(&programs[0], &["-V"])?, programs })
}

fn start(tool: &Tool, place: &Place) -> Result<Running> {
    let [ssh, sshd, keygen] = &tool.programs[..] else { unreachable!("find has given all three") };
    let (listen, entry) = (free_address()?, free_address()?);
    for key in ["host", "user"] {
        tools::run(keygen, &["-q", "-t", "ed25519", "-N", "", "-f", key], place.path())?;
    }
    let file = |name: &str| place.path().join(name).display().to_string();
    fs::copy(file("user.pub"), file("authorized"))?;
    let known = place.towards(listen)?;
    let host_key = fs::read_to_string(file("host.pub"))?;
    place.write("known_hosts", &format!("[127.0.0.1]:{} {host_key}", known.port()))?;
    let config = place.write(
        "sshd_config",
        &format!(
            "ListenAddress {listen}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nStrictModes no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nAllowTcpForwarding yes\n",
            file("host"),
            file("authorized")
        ),
    )?;
    // sshd started by root refuses to run without it; for others it does not matter.
    let _ = fs::create_dir_all("/run/sshd");
    let mut command = Command::new(sshd);
    command.args(["-D", "-e", "-f", &config]);
    let mut server = Child::start("sshd", &mut command, place.path())?;
    wait_for(&mut server, listen)?;

    let mut command = Command::new(ssh);
    command.args(["-F", "none", "-N", "-T", "-p", &known.port().to_string(), "-i", &file("user")]);
    command.args(["-c", "aes128-gcm@openssh.com", "-R", &format!("{entry}:{}", place.target())]);
    for option in ["BatchMode=yes", "ExitOnForwardFailure=yes", "IdentitiesOnly=yes", "IdentityAgent=none"] {
        command.args(["-o", option]);
    }
    command.args(["-o", &format!("UserKnownHostsFile={}", file("known_hosts"))]);
    command.arg(format!("{}@127.0.0.1", user()?));
    Running::pair(entry, server, Child::start("ssh", &mut command, place.path())?)
}

/// Whoever runs the bench: an sshd without privileges lets in nobody else.
fn user() -> Result<String> {
    let output =
        Command::new(Path::new("id")).arg("-un").output().context("asking id for the user's name")?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
