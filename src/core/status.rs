//! What a person is told about a member and a group, in one word and a reason.
//!
//! Pure judgement over gathered facts: what the gateway sees of its tunnels, what the group says of its members, and
//! who has enrolled. The gateway's own view wins over reports: a member without a tunnel does not respond, whatever its
//! peers say.

use crate::state::{Intent, Verdict};

/// How a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberStatus {
    /// Enrolled, but not in its group yet.
    AwaitingSetup,
    Active,
    /// Carries sessions, but something is wrong with it.
    Degraded,
    /// Has no tunnel that carries data.
    NoResponse,
    /// Finishes what it has, gets nothing new.
    Draining,
    /// Taken out by people.
    Disabled,
}

impl MemberStatus {
    pub const ALL: [Self; 6] =
        [Self::AwaitingSetup, Self::Active, Self::Degraded, Self::NoResponse, Self::Draining, Self::Disabled];

    /// As people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingSetup => "Awaiting setup",
            Self::Active => "Active",
            Self::Degraded => "Degraded",
            Self::NoResponse => "No response",
            Self::Draining => "Draining",
            Self::Disabled => "Disabled",
        }
    }

    /// As metric labels have it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::AwaitingSetup => "awaiting_setup",
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::NoResponse => "no_response",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }

    /// Whether new sessions may go to it.
    pub const fn serves(self) -> bool {
        matches!(self, Self::Active | Self::Degraded)
    }
}

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
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AwaitingSetup => "Awaiting setup",
            Self::Healthy => "Healthy",
            Self::AtRisk => "At risk",
            Self::Degraded => "Degraded",
            Self::Down => "Down",
        }
    }
}

/// A judgement and why it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged<T> {
    pub status: T,
    /// For people; empty when there is nothing to say.
    pub reason: String,
}

/// What is known of one member.
#[derive(Debug, Clone, Default)]
pub struct MemberFacts {
    /// What people want of it; `None` while the group does not count it as a member.
    pub intent: Option<Intent>,
    /// Verified tunnels that take new sessions.
    pub tunnels_serving: u32,
    /// Verified tunnels in all: silent ones and those that the agent drains too.
    pub tunnels: u32,
    /// The agent itself asked for nothing new.
    pub draining: bool,
    /// How its peers judge it.
    pub verdict: Verdict,
    /// Resources that it judges Down while another member reaches them.
    pub resources_down: u32,
    /// Config revisions that it is behind the group.
    pub behind: u64,
    /// It has a vote in the group's log.
    pub voter: bool,
    /// Why it takes no part in its group by its own account, such as a full disk; empty while it does.
    pub trouble: String,
}

/// Judges one member.
pub fn judge_member(facts: &MemberFacts) -> Judged<MemberStatus> {
    let told = |status, reason: &str| Judged { status, reason: reason.to_owned() };
    let Some(intent) = facts.intent else {
        let reason = if !facts.trouble.is_empty() {
            &facts.trouble
        } else if facts.tunnels > 0 {
            "has a tunnel, has not joined its group yet"
        } else {
            "has not joined its group yet"
        };
        return told(MemberStatus::AwaitingSetup, reason);
    };
    match intent {
        Intent::Disabled => return told(MemberStatus::Disabled, "disabled by people"),
        Intent::Draining => return told(MemberStatus::Draining, "drained by people"),
        Intent::Enabled if facts.tunnels == 0 => {
            return told(MemberStatus::NoResponse, "no verified tunnel to this gateway");
        }
        Intent::Enabled if facts.draining => {
            return told(MemberStatus::Draining, "its agent is stopping");
        }
        Intent::Enabled if facts.tunnels_serving == 0 => {
            return told(MemberStatus::NoResponse, "its tunnels are silent");
        }
        Intent::Enabled => {}
    }
    let mut reasons = Vec::new();
    if !facts.trouble.is_empty() {
        reasons.push(facts.trouble.clone());
    }
    if facts.verdict != Verdict::Up {
        reasons.push(format!("its peers judge it {}", facts.verdict.as_str()));
    }
    if facts.resources_down > 0 {
        reasons.push(format!(
            "{} down from there",
            counted(facts.resources_down, "resource is", "resources are")
        ));
    }
    if facts.behind > 0 {
        let revisions = u32::try_from(facts.behind).unwrap_or(u32::MAX);
        reasons.push(format!("{} behind", counted(revisions, "revision", "revisions")));
    }
    let status = if reasons.is_empty() { MemberStatus::Active } else { MemberStatus::Degraded };
    Judged { status, reason: reasons.join(", ") }
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
}

/// Judges a group.
pub fn judge_group(facts: &GroupFacts) -> Judged<GroupHealth> {
    let told = |status, reason: String| Judged { status, reason };
    let joined = || facts.members.iter().filter(|(member, _)| member.intent.is_some());
    let members = count(joined());
    if members == 0 {
        let (status, reason) = if facts.known {
            (GroupHealth::Down, "group has no members")
        } else if facts.members.iter().any(|(member, _)| member.tunnels > 0) || facts.members.is_empty() {
            (GroupHealth::AwaitingSetup, "no agent has joined yet")
        } else {
            (GroupHealth::Down, "no agent has a tunnel to this gateway")
        };
        return told(status, reason.to_owned());
    }
    let serving = count(joined().filter(|(_, status)| status.serves()));
    if serving == 0 {
        return told(GroupHealth::Down, format!("none of {members} members can take a session"));
    }
    let voters = count(joined().filter(|(member, _)| member.voter));
    let in_touch = count(joined().filter(|(member, _)| member.voter && member.tunnels > 0));
    if !facts.quorum {
        return told(GroupHealth::Degraded, "no quorum: sessions go on, edits are refused".to_owned());
    }
    if facts.resources_lost > 0 {
        let lost = counted(facts.resources_lost, "resource is", "resources are");
        return told(GroupHealth::Degraded, format!("{lost} down from every member"));
    }
    if serving == 1 {
        let reason = if members == 1 {
            "only one member".to_owned()
        } else {
            format!("1 of {members} members takes sessions")
        };
        return told(GroupHealth::AtRisk, reason);
    }
    let majority = voters / 2 + 1;
    if in_touch <= majority && voters > 0 {
        return told(
            GroupHealth::AtRisk,
            format!("one loss from losing quorum ({in_touch} of {voters} voters)"),
        );
    }
    let reason = if serving == members {
        String::new()
    } else {
        format!("{serving} of {members} members take sessions")
    };
    told(GroupHealth::Healthy, reason)
}

fn count<T>(things: impl Iterator<Item = T>) -> u32 {
    u32::try_from(things.count()).unwrap_or(u32::MAX)
}

fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serving() -> MemberFacts {
        MemberFacts {
            intent: Some(Intent::Enabled),
            tunnels_serving: 2,
            tunnels: 2,
            voter: true,
            ..Default::default()
        }
    }

    fn dead() -> MemberFacts {
        MemberFacts { tunnels_serving: 0, tunnels: 0, ..serving() }
    }

    fn group(members: &[MemberFacts]) -> GroupFacts {
        let judged = members.iter().map(|facts| (facts.clone(), judge_member(facts).status));
        GroupFacts { members: judged.collect(), known: true, quorum: true, resources_lost: 0 }
    }

    fn health(facts: &GroupFacts) -> GroupHealth {
        judge_group(facts).status
    }

    #[test]
    fn a_member_has_one_status_for_each_situation() {
        let table = [
            (serving(), MemberStatus::Active),
            (dead(), MemberStatus::NoResponse),
            (MemberFacts { tunnels_serving: 0, ..serving() }, MemberStatus::NoResponse),
            (MemberFacts { tunnels_serving: 0, draining: true, ..serving() }, MemberStatus::Draining),
            (MemberFacts { intent: Some(Intent::Draining), ..dead() }, MemberStatus::Draining),
            (MemberFacts { intent: Some(Intent::Disabled), ..serving() }, MemberStatus::Disabled),
            (MemberFacts { intent: None, ..serving() }, MemberStatus::AwaitingSetup),
            (MemberFacts { verdict: Verdict::Suspect, ..serving() }, MemberStatus::Degraded),
            (MemberFacts { behind: 1, ..serving() }, MemberStatus::Degraded),
            (MemberFacts { trouble: "its disk is full".into(), ..serving() }, MemberStatus::Degraded),
        ];
        for (facts, expected) in table {
            assert_eq!(judge_member(&facts).status, expected, "{facts:?}");
        }
        let judged = judge_member(&MemberFacts { resources_down: 2, behind: 1, ..serving() });
        assert_eq!(judged.reason, "2 resources are down from there, 1 revision behind");
    }

    #[test]
    fn a_group_is_at_risk_when_one_loss_would_hurt() {
        assert_eq!(health(&group(&[serving(), serving(), serving()])), GroupHealth::Healthy);
        assert_eq!(health(&group(&[serving()])), GroupHealth::AtRisk);
        assert_eq!(health(&group(&[serving(), serving()])), GroupHealth::AtRisk);
        let one_dead = judge_group(&group(&[serving(), serving(), dead()]));
        assert_eq!(one_dead.status, GroupHealth::AtRisk);
        assert_eq!(one_dead.reason, "one loss from losing quorum (2 of 3 voters)");
        let five = [serving(), serving(), serving(), serving(), dead()];
        assert_eq!(
            judge_group(&group(&five)),
            Judged { status: GroupHealth::Healthy, reason: "4 of 5 members take sessions".into() }
        );
    }

    #[test]
    fn what_does_not_work_is_worse_than_a_risk() {
        let two_dead = GroupFacts { quorum: false, ..group(&[serving(), dead(), dead()]) };
        assert_eq!(health(&two_dead), GroupHealth::Degraded);
        assert_eq!(
            health(&GroupFacts { resources_lost: 1, ..group(&[serving(), serving(), serving()]) }),
            GroupHealth::Degraded
        );
        assert_eq!(health(&group(&[dead(), dead(), dead()])), GroupHealth::Down);
        assert_eq!(health(&GroupFacts::default()), GroupHealth::AwaitingSetup);
        let unseen = GroupFacts {
            members: vec![(MemberFacts::default(), MemberStatus::AwaitingSetup)],
            ..Default::default()
        };
        assert_eq!(health(&unseen), GroupHealth::Down);
    }
}
