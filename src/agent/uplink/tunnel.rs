//! One connection to one gateway, from dial to end.

use tokio::sync::mpsc;
use warren_core::uplink::Ending;
use warren_tunnel::{
    CloseReason, Closed, Handle, Hello,
    dial::{DialError, TlsFailure, dial},
};

use super::{Tunnels, Wiring};
use crate::{
    cloud::{causes, needs_people},
    config::GatewayUrl,
    inspection,
    proof::Proof,
};

/// The gateway saw no certificate.
const UNAUTHORIZED: u16 = 401;
const FORBIDDEN: u16 = 403;

/// What happened to a connection.
#[derive(Debug)]
pub(super) struct News {
    pub(super) slot: usize,
    pub(super) epoch: u64,
    pub(super) event: Event,
}

#[derive(Debug)]
pub(super) enum Event {
    Connected,
    Verified,
    /// The gateway wants no new sessions on it.
    Draining,
    Ended {
        ending: Ending,
        detail: String,
    },
}

#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) slot: usize,
    pub(super) epoch: u64,
    pub(super) gateway: GatewayUrl,
    pub(super) wiring: Wiring,
    pub(super) tunnels: Tunnels,
    pub(super) news: mpsc::Sender<News>,
}

impl Tunnel {
    /// Dials, serves until the end, and says how it ended.
    pub(super) async fn run(self) {
        let (ending, detail) = match self.dial_and_serve().await {
            Ok(closed) => (of_close(closed.reason), closed.to_string()),
            Err(error) => (of_dial(&error), self.explain(&error)),
        };
        self.say(Event::Ended { ending, detail }).await;
    }

    async fn dial_and_serve(&self) -> Result<Closed, DialError> {
        let Wiring { connector, tls, bundles, boot, .. } = &self.wiring;
        let (tls, opened) = tls.begin();
        let dialed = dial(&self.gateway.to_string(), tls, connector.as_ref()).await;
        opened.warn(&self.gateway);
        let dialed = dialed?;
        let hello = Hello::new(*boot, self.epoch, u16::try_from(self.slot).unwrap_or(u16::MAX));
        let greeted = match bundles.greet(dialed.stream, dialed.read_buf, hello).await {
            Ok(greeted) => greeted,
            Err(closed) => return Ok(closed),
        };
        let gateway = greeted.peer.place;
        let (handle, driver) = bundles.join(gateway, greeted);
        let driving = tokio::spawn(driver);
        if handle.ready().await.is_ok() {
            self.tunnels.lock().insert(self.epoch, handle.clone());
            self.say(Event::Connected).await;
            self.serve(&handle, gateway).await;
            self.tunnels.lock().remove(&self.epoch);
        }
        let closed = handle.closed().await;
        // The driver may still have its last frame to bring out.
        let _ = driving.await;
        Ok(closed)
    }

    fn explain(&self, error: &DialError) -> String {
        let told = format!("{}: {}", self.gateway, causes(error));
        match error {
            DialError::Rejected { status: UNAUTHORIZED, .. } => {
                format!("{told}; {}", inspection::advice(&self.gateway))
            }
            _ => told,
        }
    }

    /// `gateway` is the number of the gateway at the other end.
    async fn serve(&self, handle: &Handle, gateway: u64) {
        let (proof, mut status) = (Proof::absent(), handle.status());
        let (mut verified, mut draining) = (false, false);
        loop {
            tokio::select! {
                incoming = handle.accept() => match incoming {
                    Some(incoming) => self.wiring.sessions.serve(incoming, gateway, &self.wiring.desk, &proof),
                    None => return,
                },
                () = proof.given(), if !verified => {
                    verified = true;
                    tracing::info!(slot = self.slot, gateway = %self.gateway, epoch = self.epoch, "tunnel verified");
                    self.say(Event::Verified).await;
                }
                drains = async { status.wait_for(|status| status.peer_drain.is_some()).await.is_ok() }, if !draining => {
                    draining = true;
                    if drains {
                        tracing::info!(slot = self.slot, gateway = %self.gateway, "gateway drains, dialling another tunnel");
                        self.say(Event::Draining).await;
                    }
                }
            }
        }
    }

    async fn say(&self, event: Event) {
        // The uplink has stopped listening: it does not matter any more.
        let _ = self.news.send(News { slot: self.slot, epoch: self.epoch, event }).await;
    }
}

fn of_close(reason: CloseReason) -> Ending {
    match reason {
        CloseReason::Shutdown | CloseReason::Recycled => Ending::Closed,
        CloseReason::ProtocolError | CloseReason::VersionMismatch => Ending::Protocol,
        CloseReason::Fenced => Ending::Fenced,
        CloseReason::Revoked => Ending::Revoked,
        CloseReason::NotAlive => Ending::Lost,
        CloseReason::Duplicate => Ending::Duplicate,
    }
}

fn of_dial(error: &DialError) -> Ending {
    match error {
        error if needs_people(error) => Ending::ProxyRefused,
        DialError::Rejected { status: FORBIDDEN, body } if body.contains("revoked") => Ending::Revoked,
        DialError::Rejected { status: UNAUTHORIZED | FORBIDDEN, .. } => Ending::Unauthorized,
        DialError::Tls { failure: TlsFailure::OurCertificate(_), .. } => Ending::Unauthorized,
        _ => Ending::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateways_no_is_told_from_no_gateway() {
        let rejected = |status, body: &str| of_dial(&DialError::Rejected { status, body: body.into() });
        assert_eq!(rejected(403, "agent agt-1 is revoked"), Ending::Revoked);
        assert_eq!(rejected(403, "no"), Ending::Unauthorized);
        assert_eq!(rejected(503, "draining"), Ending::Unreachable);
        assert_eq!(of_close(CloseReason::Revoked), Ending::Revoked);
        assert!(of_close(CloseReason::Fenced).needs_people());
        assert!(Ending::ProxyRefused.needs_people());
    }
}
