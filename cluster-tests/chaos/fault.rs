//! What can be done to a site, and whom it hurts.

use std::{fmt, time::Duration};

use crate::relay::{End, Way};

/// On whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// One of the founders, by its position.
    Member(usize),
    /// Whoever leads when it happens.
    Leader,
}

/// One fault. What it begins is ended when its time is over: the killed are started again, the frozen thawed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Kill(Who),
    /// SIGTERM.
    Stop(Who),
    Freeze(Who),
    /// SIGHUP: it reads its file again.
    HangUp(Who),
    /// Its tunnels' connections, at whatever byte they are.
    Cut(Who, End),
    /// Its tunnels stay, and nothing passes these ways.
    Hole(Who, Ways),
    /// Its tunnels are cut, and no new one is let through.
    Refuse(Who),
    /// Every byte of its tunnels takes so much longer.
    Delay(Who, Duration),
    /// What its peers say to it, or what it answers, does not pass.
    PeerHole(Who, Ways),
    /// Its peers' connections to it.
    PeerCut(Who, End),
    PeerDelay(Who, Duration),
    Drain(Who),
    Disable(Who),
    KillGateway,
    StopGateway,
    FreezeGateway,
    /// Two of the three founders are killed.
    LoseQuorum,
    KillAll,
    /// Registration tokens are rotated.
    Rotate,
    /// Another agent enrols, serves for a while, and is revoked.
    Newcomer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ways {
    Both,
    /// For a peer: the answers of the one that is hurt.
    ToGateway,
    ToAgent,
}

/// Time that a member is left alone after a fault, so that one outage of its sessions is over before the next begins.
pub(super) const SETTLE: Duration = Duration::from_secs(3);

impl Ways {
    pub(super) const ALL: [Self; 3] = [Self::Both, Self::ToGateway, Self::ToAgent];

    pub(super) const fn ways(self) -> &'static [Way] {
        match self {
            Self::Both => &Way::BOTH,
            Self::ToGateway => &[Way::ToGateway],
            Self::ToAgent => &[Way::ToAgent],
        }
    }
}

impl Fault {
    /// The one member that it is about.
    pub(super) const fn who(self) -> Option<Who> {
        match self {
            Self::Kill(who)
            | Self::Stop(who)
            | Self::Freeze(who)
            | Self::HangUp(who)
            | Self::Cut(who, _)
            | Self::Hole(who, _)
            | Self::Refuse(who)
            | Self::Delay(who, _)
            | Self::PeerHole(who, _)
            | Self::PeerCut(who, _)
            | Self::PeerDelay(who, _)
            | Self::Drain(who)
            | Self::Disable(who) => Some(who),
            Self::KillGateway
            | Self::StopGateway
            | Self::FreezeGateway
            | Self::LoseQuorum
            | Self::KillAll
            | Self::Rotate
            | Self::Newcomer => None,
        }
    }

    /// New sessions have to go elsewhere.
    pub(super) const fn hurts_traffic(self) -> bool {
        matches!(
            self,
            Self::Kill(_)
                | Self::Stop(_)
                | Self::Freeze(_)
                | Self::Hole(..)
                | Self::Refuse(_)
                | Self::Drain(_)
                | Self::Disable(_)
                | Self::LoseQuorum
                | Self::KillAll
        )
    }

    /// The group has one vote less.
    pub(super) const fn hurts_vote(self) -> bool {
        matches!(
            self,
            Self::Kill(_)
                | Self::Stop(_)
                | Self::Freeze(_)
                | Self::PeerHole(..)
                | Self::LoseQuorum
                | Self::KillAll
        )
    }

    pub(super) const fn is_gateways(self) -> bool {
        matches!(self, Self::KillGateway | Self::StopGateway | Self::FreezeGateway)
    }

    /// It begins and ends in one moment.
    pub(super) const fn is_instant(self) -> bool {
        matches!(self, Self::HangUp(_) | Self::Cut(..) | Self::PeerCut(..) | Self::Rotate)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(who) => write!(f, "kill {who}"),
            Self::Stop(who) => write!(f, "stop {who}"),
            Self::Freeze(who) => write!(f, "freeze {who}"),
            Self::HangUp(who) => write!(f, "hang up {who}"),
            Self::Cut(who, end) => write!(f, "cut tunnels of {who} by {end:?}"),
            Self::Hole(who, ways) => write!(f, "black hole for tunnels of {who}, {ways:?}"),
            Self::Refuse(who) => write!(f, "cut and refuse tunnels of {who}"),
            Self::Delay(who, delay) => write!(f, "delay tunnels of {who} by {delay:?}"),
            Self::PeerHole(who, ways) => write!(f, "black hole between peers and {who}, {ways:?}"),
            Self::PeerCut(who, end) => write!(f, "cut peers' connections to {who} by {end:?}"),
            Self::PeerDelay(who, delay) => write!(f, "delay peers' words to {who} by {delay:?}"),
            Self::Drain(who) => write!(f, "drain {who}"),
            Self::Disable(who) => write!(f, "disable {who}"),
            Self::KillGateway => f.write_str("kill gateway"),
            Self::StopGateway => f.write_str("stop gateway"),
            Self::FreezeGateway => f.write_str("freeze gateway"),
            Self::LoseQuorum => f.write_str("kill two of three"),
            Self::KillAll => f.write_str("kill all members"),
            Self::Rotate => f.write_str("rotate registration tokens"),
            Self::Newcomer => f.write_str("newcomer enrols, is revoked later"),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(index) => write!(f, "agent-{}", index + 1),
            Self::Leader => f.write_str("the leader"),
        }
    }
}
