//! `warren resources`

use clap::{Args, Subcommand};
use warren_core::{config::Policy, destination::Target};
use warren_wire::v1;

use crate::{
    cli::Noun,
    client::answer,
    output::{Format, List},
    views::{Changed, Resource},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a target reachable
    ///
    /// Prints where callers connect. Usable through every member as soon as each has the new revision.
    #[command(
        after_help = "Example:\n  warren resources create db --group site-1 --target db.internal:5432 --listen 127.0.0.1:0"
    )]
    Create(CreateArgs),
    /// List resources
    List {
        /// Only those of this group, id or name
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
    /// Show one resource
    Show {
        /// As listed
        name: String,
        /// Id or name
        #[arg(long, value_name = "GROUP")]
        group: String,
    },
    /// Change a resource; what is not given stays
    Update(UpdateArgs),
    /// Delete a resource and close its port
    Delete {
        /// As listed
        name: String,
        /// Id or name
        #[arg(long, value_name = "GROUP")]
        group: String,
        /// Refuse when the group's config has another revision
        #[arg(long, value_name = "N")]
        expect_revision: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// 1 to 63 of a-z 0-9 - _ . starting with a letter or digit
    name: String,
    /// Id or name
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// HOST:PORT as the agents reach it
    #[arg(long, value_name = "HOST:PORT")]
    target: Target,
    /// How sessions are spread: p2c, round-robin, least-sessions or sticky
    #[arg(long, default_value_t)]
    policy: Policy,
    /// A few words for people
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    description: String,
    /// Where callers connect at the gateway; port 0 picks one and keeps it [default: a port of the gateway's choice]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Refuse when the group's config has another revision
    #[arg(long, value_name = "N")]
    expect_revision: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// As listed
    name: String,
    /// Id or name
    #[arg(long, value_name = "GROUP")]
    group: String,
    #[command(flatten)]
    what: What,
    /// Refuse when the group's config has another revision
    #[arg(long, value_name = "N")]
    expect_revision: Option<u64>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct What {
    /// HOST:PORT as the agents reach it
    #[arg(long, value_name = "HOST:PORT")]
    target: Option<Target>,
    /// How sessions are spread: p2c, round-robin, least-sessions or sticky
    #[arg(long)]
    policy: Option<Policy>,
    /// A few words for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

pub(crate) async fn run(noun: Noun<Verb>, format: Format) -> anyhow::Result<()> {
    let mut resources = noun.api.connect().await?.resources();
    match noun.verb {
        Verb::Create(args) => {
            let request = v1::CreateResourceRequest {
                group: args.group,
                name: args.name,
                target: args.target.to_string(),
                policy: args.policy.to_string(),
                description: args.description,
                listen: args.listen.unwrap_or_default(),
                expected_revision: args.expect_revision,
            };
            format.show(&Resource::from(answer(resources.create(request)).await?))
        }
        Verb::List { group } => {
            let request = v1::ListResourcesRequest { group: group.unwrap_or_default() };
            let found = answer(resources.list(request)).await?;
            format.show(&found.resources.into_iter().map(Resource::from).collect::<List<_>>())
        }
        Verb::Show { name, group } => {
            let found = answer(resources.show(v1::ShowResourceRequest { group, name })).await?;
            format.show(&Resource::from(found))
        }
        Verb::Update(args) => {
            let request = v1::UpdateResourceRequest {
                group: args.group,
                name: args.name,
                target: args.what.target.map(|target| target.to_string()),
                policy: args.what.policy.map(|policy| policy.to_string()),
                description: args.what.description,
                expected_revision: args.expect_revision,
            };
            format.show(&Resource::from(answer(resources.update(request)).await?))
        }
        Verb::Delete { name, group, expect_revision } => {
            let request =
                v1::DeleteResourceRequest { group, name: name.clone(), expected_revision: expect_revision };
            let changed = answer(resources.delete(request)).await?;
            let told = format!("resource {name} is deleted, revision {}", changed.revision);
            format.done(&Changed { id: &name, revision: changed.revision }, told)
        }
    }
}
