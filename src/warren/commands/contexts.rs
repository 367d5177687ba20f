//! `warren context`

use std::path::{self, Path};

use clap::Subcommand;
use serde::Serialize;

use crate::{
    cli::Noun,
    client::ApiArgs,
    context::{self, Context, Contexts},
    exit::Failure,
    output::{Format, List, Row},
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List the named gateways
    List,
    /// Make one the current, which commands use when nothing else is said
    Use {
        /// As listed
        name: String,
    },
    /// Keep --api, --token and --ca (or their environment variables) under a name
    ///
    /// A token that is given as @FILE stays in its file. What is not given stays as it was.
    #[command(
        after_help = "Example:\n  warren context set prod --api https://gateway.example.com --token @admin.token --ca ca.pem"
    )]
    Set {
        /// What to call it
        name: String,
    },
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    current: bool,
    api: String,
    ca: Option<String>,
}

pub(crate) fn run(noun: &Noun<Verb>, format: Format) -> anyhow::Result<()> {
    let file = context::path()?;
    let mut contexts = Contexts::load(&file)?;
    match &noun.verb {
        Verb::List => format.show(&listed(&contexts)),
        Verb::Use { name } => {
            contexts.pick(Some(name))?;
            contexts.current = Some(name.clone());
            contexts.save(&file)?;
            format.done(&listed(&contexts), format_args!("commands talk to {name}"))
        }
        Verb::Set { name } => {
            keep(&mut contexts, name, &noun.api)?;
            contexts.save(&file)?;
            format.done(&listed(&contexts), format_args!("{name} is kept in {}", file.display()))
        }
    }
}

/// Keeps what was given; what was not given stays as it was. The first context becomes the current one.
fn keep(contexts: &mut Contexts, name: &str, given: &ApiArgs) -> Result<(), Failure> {
    let old = contexts.contexts.get(name).cloned().unwrap_or_default();
    let api = given.api.clone().unwrap_or(old.api);
    if api.is_empty() {
        return Err(Failure::usage(format!("where is {name}? give --api URL")));
    }
    // Commands run in other folders than this one.
    let whole = |path: &Path| path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let token = given.token.as_ref().map(|token| match token.strip_prefix('@') {
        Some(file) => format!("@{}", whole(Path::new(file)).display()),
        None => token.clone(),
    });
    let token = token.or(old.token);
    let ca = given.ca.as_deref().map(whole).or(old.ca);
    contexts.contexts.insert(name.to_owned(), Context { api, token, ca });
    contexts.current.get_or_insert_with(|| name.to_owned());
    Ok(())
}

fn listed(contexts: &Contexts) -> List<Named> {
    let named = |(name, context): (&String, &Context)| Named {
        name: name.clone(),
        current: contexts.current.as_ref() == Some(name),
        api: context.api.clone(),
        ca: context.ca.as_ref().map(|path| path.display().to_string()),
    };
    contexts.contexts.iter().map(named).collect()
}

impl Row for Named {
    const COLUMNS: &'static [&'static str] = &["CURRENT", "NAME", "API", "CA"];

    fn cells(&self) -> Vec<String> {
        let current = if self.current { "*" } else { "" };
        vec![current.into(), self.name.clone(), self.api.clone(), self.ca.clone().unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_stays() {
        let mut contexts = Contexts::default();
        let given = ApiArgs { api: Some("https://a".into()), token: Some("t".into()), ..ApiArgs::default() };
        keep(&mut contexts, "prod", &given).unwrap();
        let later = ApiArgs { ca: Some("/ca.pem".into()), ..ApiArgs::default() };
        keep(&mut contexts, "prod", &later).unwrap();
        let kept = &contexts.contexts["prod"];
        assert_eq!((kept.api.as_str(), kept.token.as_deref()), ("https://a", Some("t")));
        assert_eq!(contexts.current.as_deref(), Some("prod"));
        assert!(keep(&mut contexts, "new", &ApiArgs::default()).is_err());
    }

    #[test]
    fn files_are_kept_so_that_they_are_found_from_every_folder() {
        let mut contexts = Contexts::default();
        let given = ApiArgs {
            api: Some("https://a".into()),
            token: Some("@admin.token".into()),
            ca: Some("ca.pem".into()),
            ..ApiArgs::default()
        };
        keep(&mut contexts, "prod", &given).unwrap();
        let here = std::env::current_dir().unwrap();
        let kept = &contexts.contexts["prod"];
        assert_eq!(kept.ca.as_deref(), Some(here.join("ca.pem").as_path()));
        assert_eq!(kept.token, Some(format!("@{}", here.join("admin.token").display())));
    }
}
