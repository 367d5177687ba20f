//! What a recovery of a group does.

use serde::Serialize;
use warren_agent::Remains;
use warren_core::id::AgentId;

use crate::output::{Page, View};

/// A contract: what `warren recover` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Recovered {
    pub(crate) recovered: bool,
    group: String,
    group_id: String,
    /// Who becomes the whole group.
    survivor: String,
    epoch: u64,
    pub(crate) next_epoch: u64,
    revision: u64,
    term: u64,
    last_log: u64,
    committed: u64,
    members: Vec<Member>,
}

#[derive(Debug, Serialize)]
struct Member {
    id: String,
    name: String,
    address: String,
    voter: bool,
    answers: bool,
    stays: bool,
}

impl Recovered {
    pub(crate) fn new(remains: &Remains, answering: &[AgentId]) -> Self {
        let recovery = remains.recovery();
        let members = recovery.members.iter().map(|member| Member {
            id: member.agent.to_string(),
            name: member.name.clone(),
            address: member.address.clone(),
            voter: member.voter,
            answers: answering.contains(&member.agent),
            stays: member.agent == recovery.me,
        });
        Self {
            recovered: false,
            group: remains.group_name().to_owned(),
            group_id: recovery.group.to_string(),
            survivor: recovery.me.to_string(),
            epoch: recovery.epoch,
            next_epoch: recovery.next_epoch,
            revision: recovery.revision,
            term: recovery.term,
            last_log: recovery.last_log,
            committed: recovery.committed,
            members: members.collect(),
        }
    }

    /// For whoever is about to do it.
    pub(crate) fn warning(&self) -> Vec<String> {
        let unsure = self.last_log.saturating_sub(self.committed);
        let mut lines = vec![
            format!(
                "{} becomes the whole group {}, in epoch {}:",
                self.survivor, self.group, self.next_epoch
            ),
            format!(
                "  it keeps its log up to entry {} of term {}, config revision {}",
                self.last_log, self.term, self.revision
            ),
            "  changes that only the lost members had are lost, without a trace here".to_owned(),
        ];
        if unsure > 0 {
            lines.push(format!("  {unsure} entries that it did not know to be decided are kept as decided"));
        }
        for member in self.members.iter().filter(|member| !member.stays) {
            let (id, name, address) = (&member.id, &member.name, &member.address);
            let answers = if member.answers { ", which ANSWERS at this moment" } else { "" };
            lines.push(format!(
                "  out for good: {id} {name} at {address}{answers}; it can only come back as a new agent"
            ));
        }
        lines
    }
}

impl View for Recovered {
    fn page(&self, page: &mut Page) {
        page.field("group", format_args!("{} ({})", self.group, self.group_id));
        page.field("survivor", &self.survivor);
        page.field("epoch", format_args!("{}, {} after the recovery", self.epoch, self.next_epoch));
        page.field("config revision", self.revision);
        page.field(
            "log",
            format_args!(
                "up to entry {} of term {}, {} known to be decided",
                self.last_log, self.term, self.committed
            ),
        );
        let word = |holds: bool| if holds { "yes" } else { "no" }.to_owned();
        page.table(
            &["ID", "NAME", "ADDRESS", "VOTER", "ANSWERS", "STAYS"],
            self.members.iter().map(|member| {
                let Member { id, name, address, voter, answers, stays } = member;
                vec![id.clone(), name.clone(), address.clone(), word(*voter), word(*answers), word(*stays)]
            }),
        );
    }
}
