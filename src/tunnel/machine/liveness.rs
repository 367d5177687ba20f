//! Is the peer there, and how far away is it?
//!
//! ```text
//!           silent 4 s             silent 8 s
//!   Alive ─────────────▶ Suspect ─────────────▶ Dead
//!     ◀──── any frame ──────┘
//! ```
//! Any frame ends a silence; only an answered ping measures distance. Pings have a timer of their own, so that traffic
//! neither delays nor replaces them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Config, Liveness};

/// Unanswered pings remembered; an answer to an older one is of no use any more.
const PINGS_MAX: usize = 8;

/// For so long the least round trip is taken for the distance; paths change.
const RTT_MIN_AGE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Pulse {
    ping_every: Duration,
    suspect_after: Duration,
    dead_after: Duration,
    heard: Instant,
    next_ping: Option<Instant>,
    /// A ping waits to leave: a blocked connection gets one, not a heap of them.
    waiting: bool,
    next_nonce: u64,
    sent: VecDeque<(u64, Instant)>,
    liveness: Liveness,
    rtt: Option<Duration>,
    /// The least round trip of late, and when it was seen.
    rtt_min: Option<(Duration, Instant)>,
}

impl Pulse {
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            ping_every: config.ping_every,
            suspect_after: config.suspect_after,
            dead_after: config.dead_after,
            heard: now,
            next_ping: None,
            waiting: false,
            next_nonce: 1,
            sent: VecDeque::new(),
            liveness: Liveness::Alive,
            rtt: None,
            rtt_min: None,
        }
    }

    /// Begins to ping, at once.
    pub(super) fn start(&mut self, now: Instant) {
        self.heard = now;
        self.waiting = true;
        self.next_ping = Some(now + self.ping_every);
    }

    /// Something came; true when that ends a suspicion.
    pub(super) fn handle_heard(&mut self, now: Instant) -> bool {
        self.heard = now;
        std::mem::replace(&mut self.liveness, Liveness::Alive) == Liveness::Suspect
    }

    /// The answer to a ping; gives its round trip when the ping is remembered.
    pub(super) fn handle_pong(&mut self, nonce: u64, now: Instant) -> Option<Duration> {
        let index = self.sent.iter().position(|(sent, _)| *sent == nonce)?;
        let (_, at) = self.sent.remove(index)?;
        self.sent.drain(..index);
        let rtt = now.saturating_duration_since(at);
        self.rtt = Some(self.rtt.map_or(rtt, |old| (old * 7 + rtt) / 8));
        if self
            .rtt_min
            .is_none_or(|(least, at)| rtt <= least || now.saturating_duration_since(at) > RTT_MIN_AGE)
        {
            self.rtt_min = Some((rtt, now));
        }
        Some(rtt)
    }

    /// Moves on to `now`; gives the new state when it changed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Liveness> {
        let next = self.next_ping?;
        if now >= next {
            self.waiting = true;
            self.next_ping = Some(now + self.ping_every);
        }
        let silence = self.silence(now);
        let liveness = match silence {
            _ if silence >= self.dead_after => Liveness::Dead,
            _ if silence >= self.suspect_after => Liveness::Suspect,
            _ => Liveness::Alive,
        };
        (std::mem::replace(&mut self.liveness, liveness) != liveness).then_some(liveness)
    }

    pub(super) fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let silence = match self.liveness {
            Liveness::Alive => self.heard + self.suspect_after,
            Liveness::Suspect | Liveness::Dead => self.heard + self.dead_after,
        };
        self.next_ping.map(|ping| ping.min(silence))
    }

    pub(super) fn has_ping(&self) -> bool {
        self.waiting
    }

    /// The ping that leaves now, if one is due.
    pub(super) fn poll_ping(&mut self, now: Instant) -> Option<u64> {
        if !std::mem::take(&mut self.waiting) {
            return None;
        }
        let nonce = self.next_nonce;
        self.next_nonce += 1;
        if self.sent.len() == PINGS_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((nonce, now));
        Some(nonce)
    }

    pub(super) fn liveness(&self) -> Liveness {
        self.liveness
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// The distance without what waits in queues: windows that grew by the smoothed one would fill the queues that they
    /// measure.
    pub(super) fn rtt_min(&self) -> Option<Duration> {
        self.rtt_min.map(|(rtt, _)| rtt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_from_alive_to_dead_and_back() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let mut pulse = Pulse::new(&Config::default(), start);
        assert_eq!(pulse.poll_timeout(), None, "silent until started");
        pulse.start(start);
        assert_eq!(pulse.poll_ping(start), Some(1));
        assert_eq!(pulse.poll_timeout(), Some(at(2)));
        assert_eq!(pulse.handle_timeout(at(2)), None);
        assert!(pulse.has_ping());
        assert_eq!(pulse.handle_timeout(at(4)), Some(Liveness::Suspect));
        assert!(pulse.handle_heard(at(5)));
        assert_eq!(pulse.liveness(), Liveness::Alive);
        assert_eq!(pulse.handle_timeout(at(9)), Some(Liveness::Suspect));
        assert_eq!(pulse.handle_timeout(at(13)), Some(Liveness::Dead));
    }

    #[test]
    fn measures_only_what_it_sent() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pulse = Pulse::new(&Config::default(), start);
        pulse.start(start);
        assert_eq!(pulse.poll_ping(at(5)), Some(1), "the clock of a ping starts when it leaves");
        assert_eq!(pulse.handle_pong(77, at(10)), None);
        assert_eq!(pulse.handle_pong(1, at(15)), Some(Duration::from_millis(10)));
        assert_eq!(pulse.handle_pong(1, at(16)), None);
        assert_eq!(pulse.rtt(), Some(Duration::from_millis(10)));
    }
}
