//! Whether an agent should be given traffic, and why not.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use warren_core::view::GroupView;

use crate::{membership::is_member, uplink::UplinkStatus};

/// The facts that readiness is judged by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// Tunnels through which a gateway has carried data.
    pub tunnels: usize,
    /// The agent is a member of its group and has applied its config.
    pub member: bool,
    pub draining: bool,
    /// A gateway said that this agent's identity was revoked.
    pub revoked: bool,
    /// There is no tunnel, and a proxy does not let this agent through to a gateway.
    pub barred: bool,
}

impl Readiness {
    /// A verified tunnel or an applied config will do: a rollout must not wait for a gateway that is away, nor traffic for
    /// a group without a quorum. A proxy that refuses this agent is its own trouble, and holds a rollout up.
    pub const fn is_ready(&self) -> bool {
        !self.draining && !self.revoked && !self.barred && (self.tunnels > 0 || self.member)
    }

    /// Why it is not ready; empty when it is.
    pub fn reasons(&self) -> Vec<&'static str> {
        let reasons = [
            (self.draining, "draining"),
            (self.revoked, "the agent's identity was revoked"),
            (self.barred, "the proxy does not let this agent through to a gateway"),
            (self.tunnels == 0 && !self.member, "no verified tunnel, and not a member of the group yet"),
        ];
        reasons.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect()
    }
}

/// Where the facts are gathered. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Board(Arc<watch::Sender<Readiness>>);

impl Board {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Readiness::default())))
    }

    pub(super) fn watch(&self) -> watch::Receiver<Readiness> {
        self.0.subscribe()
    }

    pub(super) fn drain(&self) {
        self.0.send_modify(|readiness| readiness.draining = true);
    }

    /// Follows tunnels and membership until `stop`.
    pub(super) async fn run(
        self,
        mut views: watch::Receiver<Arc<GroupView>>,
        mut uplink: watch::Receiver<UplinkStatus>,
        stop: CancellationToken,
    ) {
        loop {
            let UplinkStatus { verified, revoked, barred } = *uplink.borrow_and_update();
            let member = {
                let view = views.borrow_and_update();
                is_member(&view, view.me)
            };
            self.0.send_if_modified(|readiness| {
                let barred = barred && verified == 0;
                let fresh = Readiness { tunnels: verified, member, revoked, barred, ..*readiness };
                std::mem::replace(readiness, fresh) != fresh
            });
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = views.changed() => {}
                // Without dialling the uplink is gone, and what it said last stands.
                Ok(()) = uplink.changed() => {}
                else => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_a_tunnel_or_a_config_will_do() {
        let nothing = Readiness::default();
        assert!(!nothing.is_ready());
        assert_eq!(nothing.reasons(), ["no verified tunnel, and not a member of the group yet"]);
        let tunnel = Readiness { tunnels: 1, ..nothing };
        let member = Readiness { member: true, ..nothing };
        assert!(tunnel.is_ready() && member.is_ready() && member.reasons().is_empty());
        assert!(!Readiness { draining: true, ..tunnel }.is_ready());
        assert!(!Readiness { barred: true, ..member }.is_ready());
        assert_eq!(Readiness { revoked: true, ..member }.reasons().len(), 1);
    }
}
