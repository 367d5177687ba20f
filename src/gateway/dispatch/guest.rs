//! Carrying a caller of another gateway.
//!
//! It is dispatched like one of our own, but never passed on again, and nobody is waited for: the other gateway waits, and
//! asks again.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::debug;
use warren_core::trace::{SpanId, TraceId};
use warren_tunnel::{
    Incoming, OpenResult,
    relay::{RelayEnd, relay},
};

use super::{Caller, Carried, Dispatcher, Lost, Manner, Shared};
use crate::sessions::{Entry, Failure, Outcome, Wanted};

impl Dispatcher {
    /// Takes a guest over that wants what `wanted` says. Returns at once; the session is a task of its own.
    /// `from` is the number of the gateway that asks.
    pub(crate) fn take_guest(&self, incoming: Incoming, wanted: Wanted, from: u64) {
        let shared = self.shared.clone();
        let opening = shared.opening.token();
        let Ok(permit) = shared.room.clone().try_acquire_owned() else {
            return incoming.refuse(OpenResult::Busy, "gateway holds as many sessions as it may");
        };
        self.shared.tasks.spawn(async move {
            shared.carry_guest(incoming, wanted, from, opening).await;
            drop(permit);
        });
    }
}

impl Shared {
    async fn carry_guest(
        self: Arc<Self>,
        incoming: Incoming,
        wanted: Wanted,
        gateway: u64,
        opening: TaskTrackerToken,
    ) {
        let request = incoming.request();
        // It goes along for logs and sticky policies; one that cannot be read is nobody's.
        let from = request.caller.parse().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)));
        let trace = TraceId(request.trace);
        let asked = SpanId::asked(trace, gateway, incoming.session());
        let label = self.registry.label(wanted.group);
        let entry = self.sessions.begin_guest(&wanted, label.clone(), from, (trace.0, asked));
        let manner = Manner {
            patience: Duration::ZERO,
            may_pass_on: false,
            open_within: self.limits.open_within.min(request.deadline),
        };
        let open = timeout(
            request.deadline,
            Box::pin(self.open(Caller::Guest(&incoming), &entry, &wanted, from, manner)),
        );
        let opened = tokio::select! {
            opened = open => opened.unwrap_or_else(|_| Err(Lost::late())),
            () = self.stages.stop.cancelled() => Err(Lost::stopping()),
        };
        drop(opening);
        match opened {
            Ok(Carried { session, held }) => {
                let (outcome, detail) = match relay(incoming.accept(), session).await {
                    RelayEnd::Finished => (Outcome::Closed, String::new()),
                    RelayEnd::First(cut) | RelayEnd::Second(cut) => (Outcome::Cut(cut.reason), cut.detail),
                };
                debug!(
                    session = entry.id(),
                    group = &*label,
                    resource = %wanted.resource,
                    %trace,
                    outcome = outcome.as_str(),
                    detail,
                    "guest's session ended"
                );
                entry.end(outcome, detail);
                drop(held);
            }
            Err(lost) => Self::refuse(incoming, entry, lost),
        }
    }

    fn refuse(incoming: Incoming, entry: Entry, Lost { failure, detail }: Lost) {
        let result = match failure {
            Failure::Answered(result) => result,
            Failure::UnknownResource => OpenResult::Unknown,
            Failure::Stopping => OpenResult::Draining,
            Failure::NoMember | Failure::GatewayFull => OpenResult::Busy,
            Failure::TunnelLost | Failure::NoAnswer | Failure::CallerGone => OpenResult::Internal,
        };
        let trace = TraceId(entry.trace());
        debug!(session = entry.id(), %trace, reason = failure.as_str(), detail, "guest not carried");
        incoming.refuse(result, &detail);
        entry.end(Outcome::NotOpened(failure), detail);
    }
}

impl Lost {
    fn late() -> Self {
        Self { failure: Failure::NoAnswer, detail: "no member answered in time".to_owned() }
    }
}
