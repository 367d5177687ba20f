//! No tunnel: what the machine and the loads can do.

use anyhow::Result;

use super::{Peer, Place, Running, Tool};

pub(super) const PEER: Peer = Peer {
    name: "direct",
    how: "TCP without a tunnel, no encryption",
    encrypted: false,
    find: |_| Ok(Tool { version: "kernel".into(), ..Tool::default() }),
    start,
};

fn start(_: &Tool, place: &Place) -> Result<Running> {
    let entry = place.towards(place.target())?;
    let mut running =
        Running { entry, server: Vec::new(), client: Vec::new(), children: Vec::new(), _site: None };
    running.wait()?;
    Ok(running)
}
