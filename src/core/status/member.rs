//! One member.

use super::{Judged, counted};
use crate::{
    state::{Intent, Verdict},
    vitals::Vitals,
};

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
    /// Whether its peers hear it at this moment.
    pub witness: Witness,
    /// By its own account.
    pub vitals: Vitals,
    /// Resources that it judges Down while another member reaches them.
    pub resources_down: u32,
    /// Config revisions that it is behind the group.
    pub behind: u64,
    /// It has a vote in the group's log.
    pub voter: bool,
    /// Why it takes no part in its group by its own account, such as a full disk; empty while it does.
    pub trouble: String,
}

/// What the other members, those whose word is fresh, say of one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Witness {
    /// So many hear it,
    pub heard_by: u32,
    /// of so many that were asked.
    pub asked: u32,
}

impl Witness {
    /// Somebody was asked, and nobody hears it.
    const fn is_unheard(self) -> bool {
        self.asked > 0 && self.heard_by == 0
    }

    /// What is wrong with a member that has no tunnel. Somebody who hears it proves that it lives.
    fn explain(self) -> String {
        let Self { heard_by, asked } = self;
        match (heard_by, asked) {
            (_, 0) => {
                "no tunnel to this gateway, and no other member that could say whether it lives".to_owned()
            }
            (0, _) => format!(
                "no tunnel to this gateway, and none of {asked} members hears it: it is down or cut off"
            ),
            _ => {
                format!("it lives, {heard_by} of {asked} members hear it: its way to this gateway is broken")
            }
        }
    }
}

impl MemberFacts {
    /// Whether the group's majority can count on it. The other members should know; its tunnels tell where nobody says, and
    /// may all go to another gateway.
    pub(super) const fn is_in_touch(&self) -> bool {
        if self.witness.asked > 0 { self.witness.heard_by > 0 } else { self.tunnels > 0 }
    }
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
            return told(MemberStatus::NoResponse, &facts.witness.explain());
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
    if facts.witness.is_unheard() {
        reasons.push("no other member hears it: its way to them is broken".to_owned());
    } else if facts.verdict != Verdict::Up {
        reasons.push(format!("its peers judge it {}", facts.verdict.as_str()));
    }
    if facts.resources_down > 0 {
        reasons.push(format!(
            "{} down from there",
            counted(facts.resources_down, "resource is", "resources are")
        ));
    }
    // A busy processor, or a disk that fills, is for people to see beside the status: the member does its work.
    let out_of_it = facts.vitals.troubles().filter(|(_, reading, _)| reading.verdict == Verdict::Down);
    reasons.extend(out_of_it.map(|(_, _, told)| told));
    if facts.behind > 0 {
        let revisions = u32::try_from(facts.behind).unwrap_or(u32::MAX);
        reasons.push(format!("{} behind", counted(revisions, "revision", "revisions")));
    }
    let status = if reasons.is_empty() { MemberStatus::Active } else { MemberStatus::Degraded };
    Judged { status, reason: reasons.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        status::testing::{dead, heard, serving},
        vitals::Vital,
    };

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
            (MemberFacts { witness: heard(0, 2), ..serving() }, MemberStatus::Degraded),
            (MemberFacts { witness: heard(1, 2), ..serving() }, MemberStatus::Active),
        ];
        for (facts, expected) in table {
            assert_eq!(judge_member(&facts).status, expected, "{facts:?}");
        }
        let judged = judge_member(&MemberFacts { resources_down: 2, behind: 1, ..serving() });
        assert_eq!(judged.reason, "2 resources are down from there, 1 revision behind");
    }

    #[test]
    fn its_internet_is_down_is_told_from_it_is_down() {
        let table = [
            (heard(0, 0), "no other member that could say whether it lives"),
            (heard(0, 2), "none of 2 members hears it: it is down or cut off"),
            (heard(1, 2), "it lives, 1 of 2 members hear it: its way to this gateway is broken"),
        ];
        for (witness, expected) in table {
            let judged = judge_member(&MemberFacts { witness, ..dead() });
            assert_eq!(judged.status, MemberStatus::NoResponse);
            assert!(judged.reason.contains(expected), "{}", judged.reason);
        }
        let cut_off =
            judge_member(&MemberFacts { witness: heard(0, 2), verdict: Verdict::Down, ..serving() });
        assert_eq!(cut_off.reason, "no other member hears it: its way to them is broken");
    }

    #[test]
    fn what_it_says_of_itself_is_a_reason() {
        let mut facts = serving();
        facts.vitals.read(Vital::Files, 97, 100, 1);
        let judged = judge_member(&facts);
        assert_eq!((judged.status, judged.reason.as_str()), (MemberStatus::Degraded, "files 97 % used"));
        let mut busy = serving();
        busy.vitals.read(Vital::Cpu, 100, 100, 1);
        busy.vitals.read(Vital::Disk, 95, 100, 1);
        assert_eq!(judge_member(&busy).status, MemberStatus::Active, "it does its work");
    }
}
