//! One try to open a session on one member.

use std::{fmt, time::Duration};

use tokio::time::timeout;
use warren_tunnel::{Handle, OpenAnswer, OpenError, OpenRequest, OpenResult, ResetReason, SessionStream};

use super::early::{Caller, Early};
use crate::sessions::Failure;

/// Why a try came to nothing.
#[derive(Debug)]
pub(super) enum Failed {
    /// The member says why. It gave the caller's bytes to nobody.
    Answered {
        result: OpenResult,
        detail: String,
    },
    /// The tunnel broke; `said` when bytes of the caller were on their way, which may have reached the target.
    TunnelLost {
        said: bool,
        detail: String,
    },
    NoAnswer {
        said: bool,
        after: Duration,
    },
    CallerGone(std::io::Error),
}

/// Opens on `tunnel`, with the caller's first bytes right behind. On success all that `early` holds has been sent. `number` becomes
/// what the session is called in the tunnel once it is asked for.
pub(super) async fn attempt(
    tunnel: &Handle,
    request: OpenRequest,
    early: &mut Early,
    caller: Caller<'_>,
    (within, number): (Duration, &mut Option<u64>),
) -> Result<SessionStream, Failed> {
    let mut said = false;
    match timeout(within, open(tunnel, request, early, caller, (&mut said, number))).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Failed::NoAnswer { said, after: within }),
    }
}

async fn open(
    tunnel: &Handle,
    request: OpenRequest,
    early: &mut Early,
    caller: Caller<'_>,
    (said, number): (&mut bool, &mut Option<u64>),
) -> Result<SessionStream, Failed> {
    let (session, mut answer) = tunnel.open_early(request).await.map_err(|error| Failed::of(error, false))?;
    *number = Some(session.id());
    for bytes in early.kept() {
        *said = true;
        if session.send_bytes(bytes.clone()).await.is_err() {
            // The answer says why.
            break;
        }
    }
    loop {
        tokio::select! {
            biased;
            answered = &mut answer => return finish(session, answered, *said),
            more = early.more(caller) => match more {
                Ok(bytes) => {
                    *said = true;
                    if session.send_bytes(bytes).await.is_err() {
                        return finish_late(session, answer).await;
                    }
                }
                Err(error) => {
                    session.reset(ResetReason::CallerGone, "caller went away during the open");
                    return Err(Failed::CallerGone(error));
                }
            },
        }
    }
}

async fn finish_late(session: SessionStream, answer: OpenAnswer) -> Result<SessionStream, Failed> {
    let answered = answer.await;
    finish(session, answered, true)
}

fn finish(
    session: SessionStream,
    answered: Result<(), OpenError>,
    said: bool,
) -> Result<SessionStream, Failed> {
    answered.map(|()| session).map_err(|error| Failed::of(error, said))
}

impl Failed {
    pub(super) fn of(error: OpenError, said: bool) -> Self {
        match error {
            OpenError::Answered { result, detail } => Self::Answered { result, detail },
            OpenError::Cut(cut) => {
                Self::TunnelLost { said, detail: format!("{} {}", cut.reason, cut.detail) }
            }
            OpenError::TunnelLost(closed) => {
                Self::TunnelLost { said, detail: format!("{} {}", closed.reason, closed.detail) }
            }
        }
    }

    pub(super) fn as_str(&self) -> &'static str {
        self.failure().as_str()
    }

    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Answered { result, .. } => Failure::Answered(*result),
            Self::TunnelLost { .. } => Failure::TunnelLost,
            Self::NoAnswer { .. } => Failure::NoAnswer,
            Self::CallerGone(_) => Failure::CallerGone,
        }
    }

    /// Whether another member may be tried: only while no byte of the caller can have reached a target. What the
    /// site's rules deny is not asked of the next member.
    pub(super) fn may_retry(&self) -> bool {
        match self {
            Self::Answered { result, .. } => *result != OpenResult::Denied,
            Self::TunnelLost { said, .. } | Self::NoAnswer { said, .. } => !said,
            Self::CallerGone(_) => false,
        }
    }

    pub(super) fn is_members_fault(&self) -> bool {
        match self {
            Self::Answered { result, .. } => matches!(result, OpenResult::Busy | OpenResult::Internal),
            Self::TunnelLost { .. } | Self::NoAnswer { .. } => true,
            Self::CallerGone(_) => false,
        }
    }

    /// The target's, unless another member reaches it.
    pub(super) fn is_targets_fault(&self) -> bool {
        use OpenResult as R;
        matches!(self, Self::Answered { result: R::Refused | R::Timeout | R::Dns | R::Unreachable, .. })
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told_of("member"))
    }
}

impl Failed {
    /// For people, when it was `who` that was asked.
    pub(super) fn told_of(&self, who: &str) -> String {
        match self {
            Self::Answered { result, detail } if detail.is_empty() => format!("{who} answered {result}"),
            Self::Answered { result, detail } => format!("{who} answered {result}: {detail}"),
            Self::TunnelLost { said: true, detail } => {
                format!("tunnel lost while the caller's bytes were on their way: {detail}")
            }
            Self::TunnelLost { said: false, detail } => format!("tunnel lost: {detail}"),
            Self::NoAnswer { after, .. } => format!("{who} did not answer within {} s", after.as_secs()),
            Self::CallerGone(error) => format!("caller went away: {error}"),
        }
    }
}
