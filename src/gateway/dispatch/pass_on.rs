//! Passing a caller on to another gateway that has tunnels of its group.
//!
//! Nothing that the caller says leaves before the other gateway has reached the target, so that any failure before that is one
//! after which the next may be asked.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime},
};

use tokio::time::timeout;
use tracing::debug;
use warren_core::{id::GatewayId, trace::TraceId};
use warren_tunnel::{Liveness, OpenRequest, OpenResult, SessionStream};

use super::{Lost, Shared, attempt::Failed, early::Early};
use crate::{
    metrics,
    neighbours::{self, Neighbour, Share},
    sessions::{Entry, Wanted},
    spans::PassedOn,
};

/// The other gateway tries its members one after the other, as we would.
const OPEN_WITHIN: Duration = Duration::from_secs(8);

/// One caller's way to other gateways.
pub(super) struct PassOn<'a> {
    shared: &'a Shared,
    entry: &'a Entry,
    wanted: &'a Wanted,
    from: SocketAddr,
    /// When it is over with trying.
    until: Instant,
}

/// What came of asking them.
pub(super) enum Asked {
    Taken(Taken),
    /// None has a member for it; what the last one said, if any could be asked.
    Nobody(Option<Declined>),
}

/// A session that another gateway carries.
pub(super) struct Taken {
    pub(super) session: SessionStream,
    pub(super) gateway: GatewayId,
    pub(super) share: Share,
}

/// Another gateway's answer that leaves the next one to be asked.
pub(super) struct Declined {
    gateway: GatewayId,
    failed: Failed,
}

impl Shared {
    pub(super) fn pass_on<'a>(
        &'a self,
        entry: &'a Entry,
        wanted: &'a Wanted,
        from: SocketAddr,
        until: Instant,
    ) -> PassOn<'a> {
        PassOn { shared: self, entry, wanted, from, until }
    }
}

impl PassOn<'_> {
    /// Asks the gateways that can be reached, one after the other, until one takes the caller. An error when one has tried and
    /// that is final. May be dropped at any time.
    pub(super) async fn ask(&self, early: &Early) -> Result<Asked, Lost> {
        let mut last = None;
        let neighbours = &self.shared.neighbours;
        for neighbour in neighbours.choices(self.wanted.group) {
            let gateway = neighbour.gateway;
            let left = self.until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let (start, began) = (SystemTime::now(), Instant::now());
            let mut number = None;
            let opened = self.open(&neighbour, left.min(OPEN_WITHIN), &mut number).await;
            let result = opened.as_ref().map_or_else(Failed::as_str, |_| OpenResult::Ok.as_str());
            let took = began.elapsed();
            self.entry.asked(&PassedOn { to: gateway, number, result, start, took });
            let failed = match opened {
                Ok((session, share)) => {
                    neighbours.took(self.wanted.group, gateway);
                    if neighbours.turns_are_over(self.wanted.group, &self.wanted.resource) {
                        self.shared.registry.touch(self.wanted.group);
                    }
                    metrics::passed_on(OpenResult::Ok.as_str());
                    for bytes in early.kept() {
                        if session.send_bytes(bytes.clone()).await.is_err() {
                            // It was cut already, which shows when it is used.
                            break;
                        }
                    }
                    return Ok(Asked::Taken(Taken { session, gateway, share }));
                }
                Err(failed) => failed,
            };
            debug!(session = self.entry.id(), trace = %TraceId(self.entry.trace()), %gateway, result = failed.as_str(), detail = failed.told_of("it"), "not taken by another gateway");
            if is_final(&failed) {
                metrics::passed_on(failed.as_str());
                return Err(Lost { failure: failed.failure(), detail: told(gateway, &failed) });
            }
            last = Some(Declined { gateway, failed });
        }
        Ok(Asked::Nobody(last))
    }

    /// Takes the caller's turn to ask; or tells when the next one is.
    pub(super) fn turn(&self) -> Result<(), tokio::time::Instant> {
        self.shared.neighbours.turn(self.wanted.group, &self.wanted.resource)
    }

    /// All have said no; tells when the next turn is.
    pub(super) fn in_vain(&self) -> tokio::time::Instant {
        self.shared.neighbours.asked_in_vain(self.wanted.group, &self.wanted.resource)
    }

    async fn open(
        &self,
        to: &Neighbour,
        within: Duration,
        number: &mut Option<u64>,
    ) -> Result<(SessionStream, Share), Failed> {
        let Neighbour { tunnel, room, .. } = to;
        let group = self.wanted.group;
        let (Some(_open), Some(share)) = (room.opens.take(group), room.sessions.take(group)) else {
            let detail = "the group has its share of the tunnel there already".to_owned();
            return Err(Failed::Answered { result: OpenResult::Busy, detail });
        };
        let request = OpenRequest {
            deadline: within,
            trace: self.entry.trace(),
            caller: self.from.to_string(),
            ..OpenRequest::resource(neighbours::place(self.wanted.group, &self.wanted.resource))
        };
        let within = within + self.shared.limits.answer_grace;
        let mut status = tunnel.status();
        let silent = async { drop(status.wait_for(|status| status.liveness != Liveness::Alive).await) };
        let open = async {
            let (session, answer) = tunnel.open_early(request).await?;
            *number = Some(session.id());
            answer.await.map(|()| session)
        };
        tokio::select! {
            opened = timeout(within, open) => match opened {
                Ok(opened) => opened.map(|session| (session, share)).map_err(|error| Failed::of(error, false)),
                Err(_) => Err(Failed::NoAnswer { said: false, after: within }),
            },
            () = silent => {
                Err(Failed::TunnelLost { said: false, detail: "the other gateway is silent".to_owned() })
            }
        }
    }
}

impl Lost {
    /// The caller gets nothing, and this is what another gateway said to that.
    pub(super) fn and_elsewhere(mut self, declined: Option<Declined>) -> Self {
        if let Some(Declined { gateway, failed }) = declined {
            metrics::passed_on(failed.as_str());
            self.detail = format!("{}; {}", self.detail, told(gateway, &failed));
        }
        self
    }
}

fn told(gateway: GatewayId, failed: &Failed) -> String {
    format!("{gateway}: {}", failed.told_of("it"))
}

/// Whether no other gateway would do better: this one had members for it, and its target or the site's rules said no.
fn is_final(failed: &Failed) -> bool {
    use OpenResult as R;
    let Failed::Answered { result, .. } = failed else { return false };
    !matches!(result, R::Busy | R::Draining | R::Unknown | R::Internal)
}
