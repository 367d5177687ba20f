//! `warren sessions`

use clap::Subcommand;
use warren_wire::v1;

use crate::{
    cli::Noun,
    client::answer,
    output::{Format, List, talk},
    views::Session,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List sessions of all gateways, newest first, each with its decision record in JSON and YAML
    List {
        /// Only those of this group, id or name
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
        /// Only those of this resource
        #[arg(long, value_name = "NAME")]
        resource: Option<String>,
        /// Only those on this agent, id or name
        #[arg(long, value_name = "AGENT")]
        member: Option<String>,
        /// Also those that have ended, as far as their gateway remembers them
        #[arg(long)]
        all: bool,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Show one session and how its member was chosen
    Show {
        /// Its id as listed, or its trace
        id: String,
    },
}

pub(crate) async fn run(noun: Noun<Verb>, format: Format) -> anyhow::Result<()> {
    let mut sessions = noun.api.connect().await?.sessions();
    match noun.verb {
        Verb::List { group, resource, member, all, limit } => {
            let request = v1::ListSessionsRequest {
                group: group.unwrap_or_default(),
                resource: resource.unwrap_or_default(),
                member: member.unwrap_or_default(),
                all,
                limit,
            };
            let found = answer(sessions.list(request)).await?;
            if format == Format::Table {
                talk(format_args!("{} open, {} shown", found.total_open, found.sessions.len()));
            }
            for v1::Unheard { gateway, why } in &found.missing {
                talk(format_args!("sessions of {gateway} are missing: {why}"));
            }
            format.show(&found.sessions.into_iter().map(Session::from).collect::<List<_>>())
        }
        Verb::Show { id } => {
            format.show(&Session::from(answer(sessions.show(v1::ShowSessionRequest { id })).await?))
        }
    }
}
