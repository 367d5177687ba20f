//! `warren agents`

use clap::{Args, Subcommand};
use serde::Serialize;
use warren_wire::v1;

use crate::{
    cli::Noun,
    client::{Api, answer},
    exit::Failure,
    output::{Format, List, confirmed, talk},
    views::{Agent, Changed},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List agents
    List {
        /// Only those of this group, id or name
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
    /// Show one agent
    Show(Which),
    /// Let an agent take new sessions again
    Enable(Which),
    /// Give an agent nothing new until it is enabled again
    Disable {
        #[command(flatten)]
        which: Which,
        /// Also when it is the last healthy member
        #[arg(long)]
        force: bool,
    },
    /// Let an agent finish what it has and give it nothing new
    Drain {
        #[command(flatten)]
        which: Which,
        /// Also when it is the last healthy member
        #[arg(long)]
        force: bool,
    },
    /// Set an agent's share of new sessions
    Weight {
        #[command(flatten)]
        which: Which,
        /// 1 to 1000; 100 unless changed
        #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000))]
        weight: u32,
    },
    /// Set which agents come first: sessions go to the first tier that has one for them
    Tier {
        #[command(flatten)]
        which: Which,
        /// 0 to 9, 0 comes first; 0 unless changed
        #[arg(value_parser = clap::value_parser!(u32).range(0..=9))]
        tier: u32,
    },
    /// Cut an agent off for good: its tunnels end, it never gets in again, and it leaves its group
    Revoke {
        #[command(flatten)]
        which: Which,
        /// Do not ask back
        #[arg(long)]
        force: bool,
    },
}

/// One agent.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// Id, or name if only one agent has it
    agent: String,
    /// Group to look in, id or name, when several groups have an agent of that name
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
}

/// What a revocation came to.
#[derive(Debug, Serialize)]
struct Revoked<'a> {
    id: &'a str,
    revoked: bool,
    /// Why the group's membership could not be changed yet.
    membership_pending: Option<&'a str>,
}

pub(crate) async fn run(noun: Noun<Verb>, format: Format) -> anyhow::Result<()> {
    let api = noun.api.connect().await?;
    match noun.verb {
        Verb::List { group } => {
            let request = v1::ListAgentsRequest { group: group.unwrap_or_default() };
            let found = answer(api.agents().list(request)).await?;
            format.show(&found.agents.into_iter().map(Agent::from).collect::<List<_>>())
        }
        Verb::Show(which) => {
            let agent = which.find(&api).await?;
            format.show(&Agent::from(answer(api.agents().show(v1::ShowAgentRequest { agent })).await?))
        }
        Verb::Enable(which) => intend(&api, which, v1::Intent::Enabled, false, format).await,
        Verb::Disable { which, force } => intend(&api, which, v1::Intent::Disabled, force, format).await,
        Verb::Drain { which, force } => intend(&api, which, v1::Intent::Draining, force, format).await,
        Verb::Weight { which, weight } => {
            let agent = which.find(&api).await?;
            let request = v1::SetAgentWeightRequest { agent: agent.clone(), weight };
            let changed = answer(api.agents().set_weight(request)).await?;
            let changed = Changed { id: &agent, revision: changed.revision };
            format.done(&changed, format_args!("agent {} has weight {weight}", which.agent))
        }
        Verb::Tier { which, tier } => {
            let agent = which.find(&api).await?;
            let request = v1::SetAgentTierRequest { agent: agent.clone(), tier };
            let changed = answer(api.agents().set_tier(request)).await?;
            let changed = Changed { id: &agent, revision: changed.revision };
            format.done(&changed, format_args!("agent {} is in tier {tier}", which.agent))
        }
        Verb::Revoke { which, force } => revoke(&api, &which, force, format).await,
    }
}

async fn intend(
    api: &Api,
    which: Which,
    intent: v1::Intent,
    force: bool,
    format: Format,
) -> anyhow::Result<()> {
    let agent = which.find(api).await?;
    let request = v1::SetAgentIntentRequest { agent: agent.clone(), intent: intent.into(), force };
    let changed = answer(api.agents().set_intent(request)).await?;
    let told = match intent {
        v1::Intent::Draining => "drains: it finishes what it has and gets nothing new",
        v1::Intent::Disabled => "is disabled: it gets nothing new",
        v1::Intent::Enabled | v1::Intent::Unspecified => "is enabled",
    };
    format.done(
        &Changed { id: &agent, revision: changed.revision },
        format_args!("agent {} {told}", which.agent),
    )
}

async fn revoke(api: &Api, which: &Which, force: bool, format: Format) -> anyhow::Result<()> {
    let agent = which.find(api).await?;
    if !force && !confirmed(format_args!("revoke agent {} for good? type yes", which.agent), true)? {
        return Err(Failure::usage("nothing was revoked; --force does it without asking").into());
    }
    let answered = answer(api.agents().revoke(v1::RevokeAgentRequest { agent: agent.clone() })).await?;
    let pending = Some(answered.membership_pending.as_str()).filter(|why| !why.is_empty());
    if let (Format::Table, Some(why)) = (format, pending) {
        talk(format_args!("its group could not take it out of its membership yet: {why}"));
        talk(format_args!("the gateway goes on asking and takes it out once that is over"));
    }
    let revoked = Revoked { id: &agent, revoked: true, membership_pending: pending };
    format.done(&revoked, format_args!("agent {} is revoked: it never gets in again", which.agent))
}

impl Which {
    /// The agent's id. Where no group was given to look in, the gateway finds it or says that the name is ambiguous.
    async fn find(&self, api: &Api) -> anyhow::Result<String> {
        let Some(group) = &self.group else {
            let agent = self.agent.clone();
            return Ok(answer(api.agents().show(v1::ShowAgentRequest { agent })).await?.id);
        };
        let found = answer(api.agents().list(v1::ListAgentsRequest { group: group.clone() })).await?;
        let ids = matching(&found.agents, &self.agent);
        match ids.as_slice() {
            [id] => Ok(id.clone()),
            [] => anyhow::bail!("group {group} has no agent `{}`", self.agent),
            _ => {
                let message = format!(
                    "group {group} has several agents `{}`, give an id: {}",
                    self.agent,
                    ids.join(", ")
                );
                Err(Failure::usage(message).into())
            }
        }
    }
}

/// Ids of the agents that `text` may mean; those that are revoked only when nobody else is meant.
fn matching(agents: &[v1::Agent], text: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for revoked in [false, true] {
        let fits = |agent: &&v1::Agent| {
            (agent.id == text || agent.name == text) && (agent.status == "Revoked") == revoked
        };
        ids.extend(agents.iter().filter(fits).map(|agent| agent.id.clone()));
        if !ids.is_empty() {
            break;
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(id: &str, name: &str, status: &str) -> v1::Agent {
        v1::Agent { id: id.into(), name: name.into(), status: status.into(), ..Default::default() }
    }

    #[test]
    fn a_revoked_agent_does_not_make_its_successor_ambiguous() {
        let agents =
            [agent("agt-1", "a", "Revoked"), agent("agt-2", "a", "Active"), agent("agt-3", "b", "Revoked")];
        assert_eq!(matching(&agents, "a"), ["agt-2"]);
        assert_eq!(matching(&agents, "agt-1"), ["agt-1"]);
        assert_eq!(matching(&agents, "b"), ["agt-3"]);
        assert!(matching(&agents, "c").is_empty());
    }
}
