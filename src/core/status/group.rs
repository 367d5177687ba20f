//! A group as a whole.

use std::fmt;

use super::{MemberFacts, MemberStatus, counted};

/// How a group stands, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupHealth {
    /// No member yet.
    AwaitingSetup,
    Healthy,
    /// Everything works, but one loss would end that.
    AtRisk,
    /// Something does not work: edits, or a resource.
    Degraded,
    /// No session can be opened.
    Down,
}

impl GroupHealth {
    pub const ALL: [Self; 5] = [Self::AwaitingSetup, Self::Healthy, Self::AtRisk, Self::Degraded, Self::Down];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingSetup => "Awaiting setup",
            Self::Healthy => "Healthy",
            Self::AtRisk => "At risk",
            Self::Degraded => "Degraded",
            Self::Down => "Down",
        }
    }

    /// As metric labels have it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AwaitingSetup => "awaiting_setup",
            Self::Healthy => "healthy",
            Self::AtRisk => "at_risk",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

macro_rules! whys {
    ($($(#[$doc:meta])* $name:ident $({ $($count:ident),+ })?: $health:ident $word:literal,)+) => {
        /// Why a group stands as it does, from bad to good; only the worst is told.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Why {
            $($(#[$doc])* $name $({ $($count: u32),+ })?,)+
        }

        impl Why {
            /// Every word that [`Self::as_str`] may give.
            pub const WORDS: [&'static str; [$($word),+].len()] = [$($word),+];

            /// Stable word for programs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name { .. } => $word,)+
                }
            }

            const fn health(self) -> GroupHealth {
                match self {
                    $(Self::$name { .. } => GroupHealth::$health,)+
                }
            }
        }
    };
}

whys! {
    /// No agent has joined yet.
    NobodyJoined: AwaitingSetup "nobody_joined",
    /// Agents are enrolled, and none has a tunnel.
    NoTunnel: Down "no_tunnel",
    NoMembers: Down "no_members",
    NobodyServes { members }: Down "nobody_serves",
    NoQuorum: Degraded "no_quorum",
    /// No member that serves reaches them.
    ResourcesLost { resources }: Degraded "resources_lost",
    OneMember: AtRisk "one_member",
    OneServes { members }: AtRisk "one_serves",
    /// One voter more, and edits are refused.
    QuorumThin { in_touch, voters }: AtRisk "quorum_thin",
    /// Only one member that serves reaches them.
    ResourcesThin { resources }: AtRisk "resources_thin",
    SomeServe { serving, members }: Healthy "some_serve",
    AllServe: Healthy "all_serve",
}

/// For people; empty when there is nothing to say.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let are = |count| counted(count, "resource is", "resources are");
        match self {
            Self::NobodyJoined => write!(f, "no agent has joined yet"),
            Self::NoTunnel => write!(f, "no agent has a tunnel to this gateway"),
            Self::NoMembers => write!(f, "group has no members"),
            Self::NobodyServes { members } => write!(f, "none of {members} members can take a session"),
            Self::NoQuorum => write!(f, "no quorum: sessions go on, edits are refused"),
            Self::ResourcesLost { resources } => write!(f, "{} down from every member", are(*resources)),
            Self::OneMember => write!(f, "only one member"),
            Self::OneServes { members } => write!(f, "1 of {members} members takes sessions"),
            Self::QuorumThin { in_touch, voters } => {
                write!(f, "one loss from losing quorum ({in_touch} of {voters} voters)")
            }
            Self::ResourcesThin { resources } => {
                write!(f, "{} reached by one member only", are(*resources))
            }
            Self::SomeServe { serving, members } => {
                write!(f, "{serving} of {members} members take sessions")
            }
            Self::AllServe => Ok(()),
        }
    }
}

/// How a group stands, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupJudged {
    pub status: GroupHealth,
    pub why: Why,
}

/// What is known of a group.
#[derive(Debug, Clone, Default)]
pub struct GroupFacts {
    /// Every member and every agent that has enrolled.
    pub members: Vec<(MemberFacts, MemberStatus)>,
    /// Whether the group has said anything to this gateway yet.
    pub known: bool,
    /// Whether a majority of its voters is in touch, by its own account.
    pub quorum: bool,
    /// Resources that no serving member reaches.
    pub resources_lost: u32,
    /// Resources that one serving member reaches, and no other.
    pub resources_thin: u32,
}

/// Judges a group.
pub fn judge_group(facts: &GroupFacts) -> GroupJudged {
    let why = why(facts);
    GroupJudged { status: why.health(), why }
}

fn why(facts: &GroupFacts) -> Why {
    let joined = || facts.members.iter().filter(|(member, _)| member.intent.is_some());
    let members = count(joined());
    if members == 0 {
        let may_come = facts.members.is_empty() || facts.members.iter().any(|(member, _)| member.tunnels > 0);
        return match (facts.known, may_come) {
            (true, _) => Why::NoMembers,
            (false, true) => Why::NobodyJoined,
            (false, false) => Why::NoTunnel,
        };
    }
    let serving = count(joined().filter(|(_, status)| status.serves()));
    let voters = count(joined().filter(|(member, _)| member.voter));
    let in_touch = count(joined().filter(|(member, _)| member.voter && member.is_in_touch()));
    match serving {
        0 => Why::NobodyServes { members },
        _ if !facts.quorum => Why::NoQuorum,
        _ if facts.resources_lost > 0 => Why::ResourcesLost { resources: facts.resources_lost },
        1 if members == 1 => Why::OneMember,
        1 => Why::OneServes { members },
        _ if voters > 0 && in_touch <= voters / 2 + 1 => Why::QuorumThin { in_touch, voters },
        _ if facts.resources_thin > 0 => Why::ResourcesThin { resources: facts.resources_thin },
        _ if serving == members => Why::AllServe,
        _ => Why::SomeServe { serving, members },
    }
}

fn count<T>(things: impl Iterator<Item = T>) -> u32 {
    u32::try_from(things.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{
        judge_member,
        testing::{dead, heard, serving},
    };

    fn enrolled() -> MemberFacts {
        MemberFacts::default()
    }

    fn group(members: &[MemberFacts]) -> GroupFacts {
        let judged = members.iter().map(|facts| (facts.clone(), judge_member(facts).status));
        GroupFacts { members: judged.collect(), known: true, quorum: true, ..Default::default() }
    }

    fn unknown(members: &[MemberFacts]) -> GroupFacts {
        GroupFacts { known: false, quorum: false, ..group(members) }
    }

    #[test]
    fn each_situation_has_its_state_and_its_reason() {
        use GroupHealth::{AtRisk, AwaitingSetup, Degraded, Down, Healthy};
        let three = || group(&[serving(), serving(), serving()]);
        let lost = |resources_lost, resources_thin| GroupFacts { resources_lost, resources_thin, ..three() };
        let table = [
            (GroupFacts::default(), AwaitingSetup, "no agent has joined yet"),
            (unknown(&[MemberFacts { tunnels: 1, ..enrolled() }]), AwaitingSetup, "no agent has joined yet"),
            (unknown(&[enrolled()]), Down, "no agent has a tunnel to this gateway"),
            (group(&[enrolled()]), Down, "group has no members"),
            (group(&[dead(), dead(), dead()]), Down, "none of 3 members can take a session"),
            (
                GroupFacts { quorum: false, ..group(&[serving(), dead(), dead()]) },
                Degraded,
                "no quorum: sessions go on, edits are refused",
            ),
            (lost(1, 1), Degraded, "1 resource is down from every member"),
            (group(&[serving()]), AtRisk, "only one member"),
            (group(&[serving(), dead()]), AtRisk, "1 of 2 members takes sessions"),
            (group(&[serving(), serving()]), AtRisk, "one loss from losing quorum (2 of 2 voters)"),
            (group(&[serving(), serving(), dead()]), AtRisk, "one loss from losing quorum (2 of 3 voters)"),
            (lost(0, 2), AtRisk, "2 resources are reached by one member only"),
            (
                group(&[serving(), serving(), serving(), serving(), dead()]),
                Healthy,
                "4 of 5 members take sessions",
            ),
            (three(), Healthy, ""),
            // At another gateway: those who are here hear it.
            (
                group(&[serving(), serving(), MemberFacts { witness: heard(2, 2), ..dead() }]),
                Healthy,
                "2 of 3 members take sessions",
            ),
            (
                group(&[serving(), serving(), MemberFacts { witness: heard(0, 2), ..serving() }]),
                AtRisk,
                "one loss from losing quorum (2 of 3 voters)",
            ),
        ];
        for (facts, status, reason) in table {
            let judged = judge_group(&facts);
            assert_eq!((judged.status, judged.why.to_string().as_str()), (status, reason));
            assert!(Why::WORDS.contains(&judged.why.as_str()));
        }
    }
}
