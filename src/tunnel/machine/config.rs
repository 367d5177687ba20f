//! Limits and times of one tunnel.

use std::time::Duration;

/// Which end of the tunnel this is. Only the gateway opens sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Gateway,
    Agent,
}

/// How long the peer has been silent, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Liveness {
    Alive,
    /// Silent for [`Config::suspect_after`]: no new sessions, please.
    Suspect,
    /// Silent for [`Config::dead_after`], or closed.
    Dead,
}

/// Limits and times. The defaults are what both ends are tested with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Bytes that a new session may receive before credit. Default 256 KiB.
    pub window_initial: u32,
    /// Where a session's window stops growing. Default 32 MiB: 640 MB/s over a round trip of 50 ms.
    pub window_max: u32,
    /// Most bytes accepted in one data frame. Default and maximum 64 KiB.
    pub max_frame: u32,
    /// Bytes of memory for the sessions of this tunnel. Default 128 MiB.
    pub budget: usize,
    /// Sessions at once; an open above it is answered busy. Default 16,384.
    pub sessions_max: usize,
    /// Opens without an answer at once; an open above it is answered busy. Default 1,024.
    pub pending_opens_max: usize,
    /// Unsent bytes that a session takes from its writer. Default 256 KiB.
    pub send_queue_max: usize,
    /// Answers that wait because the peer does not read; more close the tunnel. Default 32,768.
    pub control_queue_max: usize,
    /// Resets of unanswered opens in [`Self::premature_resets_window`]; more close the tunnel. Default 10,000.
    pub premature_resets_max: u32,
    /// Default 10 s.
    pub premature_resets_window: Duration,
    /// The peer's hello must have come by then. Default 5 s.
    pub hello_within: Duration,
    /// Default 2 s.
    pub ping_every: Duration,
    /// Default 4 s.
    pub suspect_after: Duration,
    /// Default 8 s.
    pub dead_after: Duration,
    /// An open is given up this long after its own deadline. Default 2 s.
    pub open_grace: Duration,
    /// How long a small consumption may go unacknowledged. Default 100 ms.
    pub credit_delay: Duration,
    /// How long a session waits for another tunnel when its own has broken; zero: it is reset at once. Default 30 s.
    pub resume_within: Duration,
    /// How long the closing side waits for its last frame to leave. Default 1 s.
    pub close_within: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window_initial: 256 << 10,
            window_max: 32 << 20,
            max_frame: 64 << 10,
            budget: 128 << 20,
            sessions_max: 16_384,
            pending_opens_max: 1024,
            send_queue_max: 256 << 10,
            control_queue_max: 32_768,
            premature_resets_max: 10_000,
            premature_resets_window: Duration::from_secs(10),
            hello_within: Duration::from_secs(5),
            ping_every: Duration::from_secs(2),
            suspect_after: Duration::from_secs(4),
            dead_after: Duration::from_secs(8),
            open_grace: Duration::from_secs(2),
            credit_delay: Duration::from_millis(100),
            resume_within: Duration::from_secs(30),
            close_within: Duration::from_secs(1),
        }
    }
}
