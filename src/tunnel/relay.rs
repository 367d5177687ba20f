//! Joins a session to another one, of another tunnel.

use std::io;

use crate::{
    connection::{SessionError, SessionStream},
    frame::ResetReason,
    splice::settle,
};

/// Bytes copied before other tasks get their turn.
const TURN_MAX: usize = 64 * 1024;

/// How a relay ended.
#[derive(Debug)]
pub enum RelayEnd {
    /// Both directions came to their end.
    Finished,
    /// The first session was cut, and so the second for the same reason.
    First(SessionError),
    /// The second session was cut, and so the first for the same reason.
    Second(SessionError),
}

/// Copies both ways, uncopied in memory, until both directions have ended, each by itself. A slow end holds up nobody but the
/// other: what waits here is what one session may have unsent.
pub async fn relay(first: SessionStream, second: SessionStream) -> RelayEnd {
    let both = async {
        tokio::try_join!(
            copy(&first, &second, RelayEnd::First, RelayEnd::Second),
            copy(&second, &first, RelayEnd::Second, RelayEnd::First)
        )
        .map_or_else(|end| end, |_| RelayEnd::Finished)
    };
    let end = tokio::select! {
        end = both => end,
        error = first.cut() => RelayEnd::First(error),
        error = second.cut() => RelayEnd::Second(error),
    };
    match &end {
        RelayEnd::Finished => {}
        RelayEnd::First(error) => pass_on(error, &second).await,
        RelayEnd::Second(error) => pass_on(error, &first).await,
    }
    end
}

async fn copy(
    from: &SessionStream,
    to: &SessionStream,
    of_from: fn(SessionError) -> RelayEnd,
    of_to: fn(SessionError) -> RelayEnd,
) -> Result<(), RelayEnd> {
    let mut turn = 0;
    while let Some(bytes) = from.recv_bytes().await.map_err(of_from)? {
        turn += bytes.len();
        to.send_bytes(bytes).await.map_err(|error| of_to(cause(&error)))?;
        if turn >= TURN_MAX {
            turn = 0;
            tokio::task::yield_now().await;
        }
    }
    to.finish();
    Ok(())
}

/// What came before the cut still arrives.
async fn pass_on(cut: &SessionError, other: &SessionStream) {
    settle(other).await;
    other.reset(cut.reason, &cut.detail);
}

fn cause(error: &io::Error) -> SessionError {
    let internal =
        || SessionError { reason: ResetReason::Internal, detail: error.to_string(), by_peer: false };
    SessionError::of(error).cloned().unwrap_or_else(internal)
}

#[cfg(test)]
mod tests;
