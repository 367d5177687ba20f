//! How sessions leave a tunnel that has ended, wait, and go on on another one.

use std::time::{Duration, Instant};

use super::{Bundle, GIVEN_UP, TunnelKey, parked::Waiting};
use crate::{
    frame::{CloseReason, OpenResult, ResetReason, ResumePoint, ResumeResult},
    machine::{Event, Liveness, Role, Tunnel, Upcall},
};

/// A tunnel that spoke within this time is preferred for a move: the other may be about to become suspect.
const FRESH: Duration = Duration::from_millis(2_500);
/// How much longer the agent waits than the gateway, so that the gateway decides.
const AGENT_GRACE: Duration = Duration::from_secs(5);

impl Bundle {
    pub(super) fn answer_upcalls(&mut self, key: TunnelKey, now: Instant) {
        while let Some(tunnel) = self.tunnels.get_mut(&key).filter(|tunnel| tunnel.has_upcalls()) {
            for upcall in tunnel.take_upcalls() {
                match upcall {
                    Upcall::Ended { reason } => self.ended(key, reason, now),
                    Upcall::Resume { session, point } => self.resume_here(key, session, &point, now),
                    Upcall::Forsaken { epoch } => self.forsaken(key, epoch, now),
                    Upcall::Settled { epoch } => self.settled(epoch, now),
                    Upcall::Over { session } => self.over.insert(session),
                }
            }
        }
    }

    /// Takes the sessions of a tunnel that has ended, and carries them on if another tunnel is there.
    fn ended(&mut self, key: TunnelKey, reason: CloseReason, now: Instant) {
        let Some(tunnel) = self.tunnels.get_mut(&key) else { return };
        let epoch = tunnel.epoch();
        let kept = if reason.keeps_sessions() { tunnel.take_kept() } else { Vec::new() };
        self.news.ended(key, epoch);
        let other = self.best(now);
        let wait = match self.role {
            Role::Gateway => self.config.resume_within,
            Role::Agent => self.config.resume_within + AGENT_GRACE,
        };
        for (id, entry) in kept {
            self.homes.remove(&id);
            let until = entry.phase.open_deadline().map_or(now + wait, |deadline| deadline.min(now + wait));
            let waiting = Waiting { entry, epoch, until };
            // The member cannot have heard of it, or nothing was said with it: another can be asked, which is better than to wait
            // for this one.
            if other.is_none() && waiting.entry.unasked {
                if !waiting.entry.released {
                    let (result, detail) =
                        (OpenResult::Internal, "the tunnel broke before the open had left");
                    self.events.push_back(Event::Opened { session: id, result, detail: detail.to_owned() });
                }
                continue;
            }
            if other.is_none() && waiting.is_unsaid_open() {
                self.give_up(id, waiting, ResetReason::TunnelLost, "the tunnel broke during the open", now);
                continue;
            }
            self.parked.insert(id, waiting);
        }
        if let Some(other) = other {
            self.carry_on(other);
        }
    }

    /// The tunnel to move sessions to, if there is one that lives.
    fn best(&self, now: Instant) -> Option<TunnelKey> {
        let fit = |tunnel: &Tunnel| tunnel.is_ready() && tunnel.liveness() == Liveness::Alive;
        let fit = self.tunnels.iter().filter(|(_, tunnel)| fit(tunnel));
        fit.min_by_key(|(key, tunnel)| {
            let stale = tunnel.silence(now) > FRESH;
            (stale, tunnel.is_peer_draining(), tunnel.sessions(), **key)
        })
        .map(|(key, _)| *key)
    }

    /// Ends every suspect tunnel, if there is one that is not.
    pub(super) fn give_up_suspects(&mut self, now: Instant) {
        if self.config.resume_within.is_zero() || self.best(now).is_none() {
            return;
        }
        let suspect = |(key, tunnel): (&TunnelKey, &Tunnel)| {
            (tunnel.is_ready() && tunnel.liveness() == Liveness::Suspect).then_some(*key)
        };
        let suspects: Vec<_> = self.tunnels.iter().filter_map(suspect).collect();
        for key in suspects {
            let detail = "silent, and another tunnel carries its sessions on";
            self.act(key, now, |tunnel| tunnel.close(CloseReason::NotAlive, detail));
            self.touched.push(key);
        }
    }

    /// Says there which tunnels are given up. The gateway asks the agent to go on with all that waits, and then says that
    /// this was all: whatever else the agent still holds of those tunnels is over.
    pub(super) fn carry_on(&mut self, key: TunnelKey) {
        let Some(tunnel) = self.tunnels.get_mut(&key) else { return };
        let epochs = self.news.tell(key);
        // First, so that no word on them that is still on its way undoes what follows.
        for epoch in &epochs {
            tunnel.say_forsaken(*epoch);
        }
        if self.role == Role::Gateway {
            for (id, Waiting { entry, .. }) in self.parked.take() {
                // Of a session that was let go, nobody asks any more.
                if !entry.released {
                    self.homes.insert(id, key);
                }
                tunnel.resume(id, entry);
            }
            epochs.into_iter().for_each(|epoch| tunnel.say_settled(epoch));
        }
        self.touched.push(key);
    }

    /// Agent: the gateway goes on with a session on this tunnel.
    fn resume_here(&mut self, key: TunnelKey, id: u64, point: &ResumePoint, now: Instant) {
        let parked = self.parked.remove(id).map(|waiting| waiting.entry);
        // The gateway may know of the other tunnel's end before we do.
        let entry = parked.or_else(|| self.tunnels.values_mut().find_map(|tunnel| tunnel.detach(id)));
        let otherwise = if self.over.contains(id) {
            ResumeResult::Over
        } else if self.opened.never_had(id) {
            ResumeResult::Unheard
        } else {
            ResumeResult::Unknown
        };
        let Some(tunnel) = self.tunnels.get_mut(&key) else { return };
        match entry {
            Some(entry) => {
                if !entry.released {
                    self.homes.insert(id, key);
                }
                tunnel.take_over(id, entry, point, now);
            }
            None => tunnel.decline(id, otherwise),
        }
    }

    fn forsaken(&mut self, by: TunnelKey, epoch: u64, now: Instant) {
        let given_up = |(key, tunnel): (&TunnelKey, &Tunnel)| {
            (tunnel.epoch() == epoch && *key != by && !tunnel.is_ended()).then_some(*key)
        };
        self.news.heard(epoch);
        let Some(key) = self.tunnels.iter().find_map(given_up) else { return };
        self.act(key, now, |tunnel| tunnel.close(CloseReason::NotAlive, GIVEN_UP));
        self.touched.push(key);
    }

    /// Agent: what the gateway did not name is over.
    fn settled(&mut self, epoch: u64, now: Instant) {
        for id in self.parked.ids_of(epoch) {
            if let Some(waiting) = self.parked.remove(id) {
                self.give_up(id, waiting, ResetReason::Unknown, "the gateway holds it no longer", now);
            }
        }
    }

    pub(super) fn give_up(
        &mut self,
        session: u64,
        waiting: Waiting,
        reason: ResetReason,
        detail: &str,
        now: Instant,
    ) {
        self.homes.remove(&session);
        let Waiting { entry, .. } = waiting;
        let detail = detail.to_owned();
        let (released, done) = (entry.released, entry.is_done());
        let timed_out = entry.phase.open_deadline().is_some_and(|deadline| deadline <= now);
        if !released && (done || entry.is_whole()) {
            self.parked.put_aside(session, entry);
        }
        // Whoever has let go of it, or has seen both ends, misses nothing.
        if released || done {
            return;
        }
        self.events.push_back(if timed_out {
            Event::Opened { session, result: OpenResult::Timeout, detail }
        } else {
            Event::Reset { session, reason, detail, by_peer: false }
        });
    }
}
