//! `warren audit`

use clap::Subcommand;
use warren_wire::v1;

use crate::{
    cli::Noun,
    client::answer,
    output::{Format, List},
    views::AuditEntry,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List changes and refusals, newest first
    List {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
}

pub(crate) async fn run(noun: Noun<Verb>, format: Format) -> anyhow::Result<()> {
    let Verb::List { limit } = noun.verb;
    let found = answer(noun.api.connect().await?.audit().list(v1::ListAuditRequest { limit })).await?;
    format.show(&found.entries.into_iter().map(AuditEntry::from).collect::<List<_>>())
}
