//! `warren tokens`

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use warren_core::fields::parse_duration;
use warren_wire::v1;

use crate::{
    cli::Noun,
    client::{Api, answer},
    output::{Format, List, print, talk},
    views::{NewToken, Token},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a token with which agents enrol to a group; it is shown this once
    #[command(
        after_help = "Example:\n  warren tokens create --group site-1 --expires 1h --max-uses 3 > site-1.jwt"
    )]
    Create(CreateArgs),
    /// List tokens (never the tokens themselves)
    List {
        /// Only those of this group, id or name
        #[arg(long, value_name = "GROUP")]
        group: Option<String>,
    },
    /// End every token of a group; agents that have enrolled stay
    Rotate {
        /// Id or name
        #[arg(long, value_name = "GROUP")]
        group: String,
    },
    /// End one token; agents that have enrolled with it stay
    Revoke {
        /// Such as tok-0123456789
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Id or name
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// Customer that the group must belong to, id or name
    #[arg(long, value_name = "CUSTOMER", conflicts_with = "org_only")]
    customer: Option<String>,
    /// The group must belong to no customer
    #[arg(long)]
    org_only: bool,
    /// How long it can be used, such as 30m, 1h or 7d; the gateway's default is 1h
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<Duration>,
    /// How many agents may enrol with it; any number without this
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_uses: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Revoked<'a> {
    id: &'a str,
    revoked: bool,
}

#[derive(Debug, Serialize)]
struct Rotated<'a> {
    group: &'a str,
    generation: u32,
}

pub(crate) async fn run(noun: Noun<Verb>, format: Format) -> anyhow::Result<()> {
    let api = noun.api.connect().await?;
    match noun.verb {
        Verb::Create(args) => create(&api, args, format).await,
        Verb::List { group } => {
            let request = v1::ListTokensRequest { group: group.unwrap_or_default() };
            let found = answer(api.tokens().list(request)).await?;
            format.show(&found.tokens.into_iter().map(Token::from).collect::<List<_>>())
        }
        Verb::Rotate { group } => {
            let rotated =
                answer(api.tokens().rotate(v1::RotateTokensRequest { group: group.clone() })).await?;
            let told = format!("no token that group {group} had can be used any more; its agents stay");
            format.done(&Rotated { group: &group, generation: rotated.generation }, told)
        }
        Verb::Revoke { id } => {
            answer(api.tokens().revoke(v1::RevokeTokenRequest { id: id.clone() })).await?;
            let told = format_args!("token {id} is revoked; agents that enrolled with it stay");
            format.done(&Revoked { id: &id, revoked: true }, told)
        }
    }
}

/// For people the bare token goes to stdout, so that it can be sent to a file, and all else to stderr.
async fn create(api: &Api, args: CreateArgs, format: Format) -> anyhow::Result<()> {
    let request = v1::CreateTokenRequest {
        group: args.group.clone(),
        customer: args.customer.unwrap_or_default(),
        org_only: args.org_only,
        expires_in_s: args.expires.map(|expires| expires.as_secs()).unwrap_or_default(),
        max_uses: args.max_uses.unwrap_or_default(),
    };
    let created = answer(api.tokens().create(request)).await?;
    let new = NewToken { token: created.token, info: Token::from(created.info.unwrap_or_default()) };
    if format != Format::Table {
        return format.done(&new, "");
    }
    talk(format_args!(
        "token {} for group {}: for {}, ends {}; it is shown this once",
        new.info.id(),
        args.group,
        new.info.limit(),
        new.info.expires.full(),
    ));
    print(&new.token)
}

fn lifetime(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .filter(|time| time.as_secs() > 0)
        .ok_or_else(|| "expected a time of at least 1s, such as 30m, 1h or 7d".into())
}
