//! A pair of stunnels: TLS around each TCP connection, nothing else.

use std::process::Command;

use anyhow::Result;

use super::{Peer, Place, Running, Tool, free_address, wait_for};
use crate::{
    child::Child,
    tools::{Tools, version},
};

pub(super) const PEER: Peer = Peer {
    name: "stunnel",
    how: "a pair; the caller's end dials, so it needs an inbound port at the target's; TLS_AES_128_GCM",
    encrypted: true,
    find,
    start,
};

fn find(tools: &Tools) -> Result<Tool> {
    let program = tools.find("stunnel")?;
    tools.find("openssl")?;
    let version = version(&program, &["-version"])?;
    Ok(Tool { programs: vec![program], version })
}

fn start(tool: &Tool, place: &Place) -> Result<Running> {
    let made = place.certificate()?;
    let (listen, entry) = (free_address()?, free_address()?);
    let common = "foreground = yes\npid =\ndebug = err\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n\
                  ciphersuites = TLS_AES_128_GCM_SHA256\n[bench]\n";
    let far = place.write(
        "far.conf",
        &format!(
            "{common}accept = {listen}\nconnect = {}\ncert = {}\nkey = {}\n",
            place.target(),
            made.certificate,
            made.key
        ),
    )?;
    let near = place.write(
        "near.conf",
        &format!(
            "{common}client = yes\naccept = {entry}\nconnect = {}\nCAfile = {}\nverifyChain = yes\n",
            place.towards(listen)?,
            made.certificate
        ),
    )?;
    let end = |name: &str, config: &str| {
        Child::start(name, Command::new(&tool.programs[0]).arg(config), place.path())
    };
    let mut far = end("stunnel-far", &far)?;
    wait_for(&mut far, listen)?;
    Running::pair(entry, end("stunnel-near", &near)?, far)
}
