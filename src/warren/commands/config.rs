//! `warren config`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use warren_wire::v1;

use crate::{
    cli::Noun,
    client::{Api, answer},
    output::{Format, List, talk},
    views::{Changed, ConfigDocument, HistoryEntry},
};

mod diff;
mod document;
mod edit;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print a group's config as a YAML document
    ///
    /// The document is what `config set -f` reads. With --output json or yaml it comes under `config`, beside its
    /// group and revision.
    Get {
        #[command(flatten)]
        of: Of,
        /// An earlier revision
        #[arg(long, value_name = "N")]
        revision: Option<u64>,
    },
    /// Open a group's config in $VISUAL or $EDITOR; refused if somebody else changes it meanwhile
    Edit {
        #[command(flatten)]
        of: Of,
    },
    /// Replace a group's whole config by a document, YAML or JSON
    Set {
        #[command(flatten)]
        of: Of,
        /// The document, - for stdin
        #[arg(long, short, value_name = "FILE")]
        file: PathBuf,
        /// Refuse when the group's config has another revision
        #[arg(long, value_name = "N")]
        expect_revision: Option<u64>,
    },
    /// Show what differs: between two revisions, or between the config and a file
    #[command(
        after_help = "Examples:\n  warren config diff --group site-1 3..7\n  warren config diff --group site-1 3..     (3 and the current one)\n  warren config diff --group site-1 0..1    (what the first change brought)\n  warren config diff --group site-1 -f new.yaml"
    )]
    Diff(DiffArgs),
    /// List the revisions that are kept, newest first
    History {
        #[command(flatten)]
        of: Of,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Make an earlier revision the newest
    Rollback {
        /// The revision to go back to
        revision: u64,
        #[command(flatten)]
        of: Of,
        /// Refuse when the group's config has another revision
        #[arg(long, value_name = "N")]
        expect_revision: Option<u64>,
    },
}

/// Whose config.
#[derive(Debug, Args)]
pub(crate) struct Of {
    /// Id or name
    #[arg(long, value_name = "GROUP")]
    group: String,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// FROM..TO; without TO the current one, without FROM the one before TO
    #[arg(value_name = "FROM..TO", required_unless_present = "file", conflicts_with = "file")]
    range: Option<diff::Range>,
    #[command(flatten)]
    of: Of,
    /// A document to compare the current config with, - for stdin
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(crate) async fn run(noun: Noun<Verb>, format: Format) -> anyhow::Result<()> {
    match noun.verb {
        Verb::Get { of, revision } => {
            let found = get(&noun.api.connect().await?, &of.group, revision).await?;
            if format == Format::Table {
                talk(format_args!("# group {}, revision {}", of.group, found.revision));
            }
            format.show(&ConfigDocument {
                config: document::tree(&found.document)?,
                group: of.group,
                revision: found.revision,
                document: found.document,
            })
        }
        Verb::Edit { of } => edit::run(&noun.api.connect().await?, of.group, format).await,
        Verb::Set { of, file, expect_revision } => {
            // Mistakes in the document are told before anybody is asked.
            let text = document::read(&file)?;
            document::check(&document::name_of(&file), &text)?;
            set(&noun.api.connect().await?, of.group, text, expect_revision, format).await
        }
        Verb::Diff(args) => diff::run(&noun.api, args, format).await,
        Verb::History { of, limit } => {
            let mut config = noun.api.connect().await?.config();
            let found = answer(config.history(v1::ConfigHistoryRequest { group: of.group, limit })).await?;
            format.show(&found.entries.into_iter().map(HistoryEntry::from).collect::<List<_>>())
        }
        Verb::Rollback { revision, of, expect_revision } => {
            let mut config = noun.api.connect().await?.config();
            let group = of.group.clone();
            let request = v1::RollbackConfigRequest { group, revision, expected_revision: expect_revision };
            let changed = answer(config.rollback(request)).await?;
            let told = format!(
                "config of group {} is that of revision {revision}, as revision {}",
                of.group, changed.revision
            );
            format.done(&Changed { id: &of.group, revision: changed.revision }, told)
        }
    }
}

async fn get(api: &Api, group: &str, revision: Option<u64>) -> anyhow::Result<v1::ConfigDocument> {
    Ok(answer(api.config().get(v1::GetConfigRequest { group: group.to_owned(), revision })).await?)
}

async fn set(
    api: &Api,
    group: String,
    document: String,
    expected_revision: Option<u64>,
    format: Format,
) -> anyhow::Result<()> {
    let request = v1::SetConfigRequest { group: group.clone(), document, expected_revision };
    let changed = answer(api.config().set(request)).await?;
    let told = format!("config of group {group} has revision {}", changed.revision);
    format.done(&Changed { id: &group, revision: changed.revision }, told)
}
