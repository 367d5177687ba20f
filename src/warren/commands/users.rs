//! `warren users`

use clap::{Subcommand, ValueEnum};
use warren_wire::v1;

use crate::{
    cli::Noun,
    client::answer,
    output::{Format, List, print, talk},
    views::{Gone, NewUser, User},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a user; its token is shown this once
    Create {
        /// Stands in the audit; 1 to 63 of a-z 0-9 - _ . starting with a letter or digit
        name: String,
        /// What it may do
        #[arg(long, value_enum, default_value_t = Role::Viewer)]
        role: Role,
    },
    /// List users
    List,
    /// Delete a user; its token ends at once
    Delete {
        /// Id or name
        user: String,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Role {
    /// Everything: also customers, groups, tokens, users, revoking agents
    Admin,
    /// Reads; changes resources and config; enables, drains, disables and weighs agents
    Operator,
    /// Reads
    Viewer,
}

impl Role {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }
}

pub(crate) async fn run(noun: Noun<Verb>, format: Format) -> anyhow::Result<()> {
    let mut users = noun.api.connect().await?.users();
    match noun.verb {
        Verb::Create { name, role } => {
            let request = v1::CreateUserRequest { name, role: role.as_str().into() };
            let created = answer(users.create(request)).await?;
            let new = NewUser { token: created.token, user: User::from(created.user.unwrap_or_default()) };
            if format != Format::Table {
                return format.done(&new, "");
            }
            talk(format_args!("user {}, {}; its token is shown this once", new.user.name(), new.user.role()));
            print(&new.token)
        }
        Verb::List => {
            let found = answer(users.list(v1::ListUsersRequest {})).await?;
            format.show(&found.users.into_iter().map(User::from).collect::<List<_>>())
        }
        Verb::Delete { user } => {
            answer(users.delete(v1::DeleteUserRequest { user: user.clone() })).await?;
            format.done(&Gone { deleted: &user }, format_args!("user {user} is deleted"))
        }
    }
}
