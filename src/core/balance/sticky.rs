//! The same caller to the same member, for as long as that is reasonable.
//!
//! Each member gets a number drawn from the caller and the member (a rendezvous hash, weighted as by its share), and the
//! highest takes the session: when a member goes, only its own callers move, and every gateway draws the same. A member
//! with a quarter more than its share of the sessions is passed over, so that one busy caller burdens nobody beyond that.

use crate::id::AgentId;

/// A member may have this many times its share of all sessions.
pub const OVERLOAD: f64 = 1.25;
/// And so many whatever its share: with few sessions, shares are noise.
pub const FREE_SESSIONS: f64 = 16.0;

/// What a caller is known by; the same for the same bytes on every gateway (FNV-1a).
pub fn caller_key(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Higher is better.
pub(super) fn rank(caller: u64, agent: AgentId, share: f64) -> f64 {
    let drawn = super::random::mix(caller ^ super::random::mix(agent.number()));
    // Above 0 and below 1, so that the logarithm is a number and not 0.
    let drawn = ((drawn >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -share / drawn.ln()
}

/// Whether one session more is too many for a member with `share` of `shares` and `in_flight` of `total` sessions.
pub(super) fn is_overloaded(in_flight: u32, total: u32, share: f64, shares: f64) -> bool {
    let fair = f64::from(total.saturating_add(1)) * share / shares;
    f64::from(in_flight) + 1.0 > (OVERLOAD * fair).ceil().max(FREE_SESSIONS)
}
