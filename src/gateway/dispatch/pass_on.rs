//! Passing a caller on to another gateway that has tunnels of its group.
//!
//! Nothing that the caller says leaves before the other gateway has reached the target, so that any failure before that is one
//! after which the next may be asked.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::time::timeout;
use tracing::debug;
use warren_core::id::GatewayId;
use warren_tunnel::{Handle, Liveness, OpenRequest, OpenResult, SessionStream};

use super::{Lost, RETRY_WITHIN, Shared, attempt::Failed, early::Early};
use crate::{
    metrics,
    neighbours::{self, Neighbour},
    sessions::{Entry, Wanted},
};

/// The other gateway tries its members one after the other, as we would.
const OPEN_WITHIN: Duration = Duration::from_secs(8);

/// One caller's way to other gateways.
pub(super) struct PassOn<'a> {
    shared: &'a Shared,
    entry: &'a Entry,
    wanted: &'a Wanted,
    from: SocketAddr,
}

impl Shared {
    pub(super) fn pass_on<'a>(
        &'a self,
        entry: &'a Entry,
        wanted: &'a Wanted,
        from: SocketAddr,
    ) -> PassOn<'a> {
        PassOn { shared: self, entry, wanted, from }
    }
}

impl PassOn<'_> {
    /// Asks the gateways that can be reached, one after the other, until one takes the caller. `None` when none has a
    /// member for it; an error when one has tried and that is final.
    pub(super) async fn ask(&self, early: &Early) -> Result<Option<(SessionStream, GatewayId)>, Lost> {
        let until = Instant::now() + RETRY_WITHIN;
        for Neighbour { gateway, tunnel } in self.shared.neighbours.choices(self.wanted.group) {
            if Instant::now() >= until {
                break;
            }
            let failed = match self.open(&tunnel).await {
                Ok(session) => {
                    self.shared.neighbours.took(self.wanted.group, gateway);
                    metrics::passed_on(OpenResult::Ok.as_str());
                    for bytes in early.kept() {
                        if session.send_bytes(bytes.clone()).await.is_err() {
                            // It was cut already, which shows when it is used.
                            break;
                        }
                    }
                    return Ok(Some((session, gateway)));
                }
                Err(failed) => failed,
            };
            debug!(session = self.entry.id(), %gateway, result = failed.as_str(), detail = %failed, "not taken by another gateway");
            if is_final(&failed) {
                metrics::passed_on(failed.as_str());
                return Err(Lost { failure: failed.failure(), detail: format!("{gateway}: {failed}") });
            }
        }
        Ok(None)
    }

    async fn open(&self, tunnel: &Handle) -> Result<SessionStream, Failed> {
        let request = OpenRequest {
            deadline: OPEN_WITHIN,
            trace: self.entry.trace(),
            caller: self.from.to_string(),
            ..OpenRequest::resource(neighbours::place(self.wanted.group, &self.wanted.resource))
        };
        let within = OPEN_WITHIN + self.shared.limits.answer_grace;
        let mut status = tunnel.status();
        let silent = async { drop(status.wait_for(|status| status.liveness != Liveness::Alive).await) };
        tokio::select! {
            opened = timeout(within, tunnel.open(request)) => match opened {
                Ok(opened) => opened.map_err(|error| Failed::of(error, false)),
                Err(_) => Err(Failed::NoAnswer { said: false, after: within }),
            },
            () = silent => {
                Err(Failed::TunnelLost { said: false, detail: "the other gateway is silent".to_owned() })
            }
        }
    }
}

/// Whether no other gateway would do better: this one had members for it, and its target or the site's rules said no.
fn is_final(failed: &Failed) -> bool {
    use OpenResult as R;
    let Failed::Answered { result, .. } = failed else { return false };
    !matches!(result, R::Busy | R::Draining | R::Unknown | R::Internal)
}
