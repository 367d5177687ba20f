//! `warren groups`

use clap::Subcommand;
use warren_wire::v1;

use crate::{
    cli::Noun,
    client::answer,
    output::{Format, List},
    views::{Gone, Group, GroupStatus},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a group, to which agents can then enrol
    Create {
        /// 1 to 63 of a-z 0-9 - _ . starting with a letter or digit
        name: String,
        /// Customer that it belongs to, id or name; without it the group is org-only
        #[arg(long, value_name = "CUSTOMER")]
        customer: Option<String>,
    },
    /// List groups
    List {
        /// Only those of this customer, id or name
        #[arg(long, value_name = "CUSTOMER")]
        customer: Option<String>,
    },
    /// Show one group
    Show {
        /// Id or name
        group: String,
    },
    /// Delete a group: revokes its agents and tokens, closes its listeners
    Delete {
        /// Id or name
        group: String,
        /// Also when it has agents
        #[arg(long)]
        force: bool,
    },
    /// Members, leader, verdicts, revision, sessions and certificates, as the gateway sees them
    ///
    /// States: Healthy; At risk (one loss from an outage or from losing quorum); Degraded; Down.
    Status {
        /// Id or name
        group: String,
    },
}

pub(crate) async fn run(noun: Noun<Verb>, format: Format) -> anyhow::Result<()> {
    let mut groups = noun.api.connect().await?.groups();
    match noun.verb {
        Verb::Create { name, customer } => {
            let request = v1::CreateGroupRequest { name, customer: customer.unwrap_or_default() };
            format.show(&Group::from(answer(groups.create(request)).await?))
        }
        Verb::List { customer } => {
            let request = v1::ListGroupsRequest { customer: customer.unwrap_or_default() };
            let found = answer(groups.list(request)).await?;
            format.show(&found.groups.into_iter().map(Group::from).collect::<List<_>>())
        }
        Verb::Show { group } => {
            format.show(&Group::from(answer(groups.show(v1::ShowGroupRequest { group })).await?))
        }
        Verb::Delete { group, force } => {
            answer(groups.delete(v1::DeleteGroupRequest { group: group.clone(), force })).await?;
            format.done(&Gone { deleted: &group }, format_args!("group {group} is deleted"))
        }
        Verb::Status { group } => {
            let status = answer(groups.status(v1::GroupStatusRequest { group })).await?;
            format.show(&GroupStatus::from(status))
        }
    }
}
