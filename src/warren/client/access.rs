//! Which gateway to talk to and as whom: flags, then a named context, then the environment, then the current context.

use std::{env, fs, path::PathBuf};

use clap::Args;
use tonic::transport::Uri;

use super::Api;
use crate::{
    context::{self, Context, Contexts},
    exit::Failure,
};

/// How to reach the gateway. Without `--api` the current context of `~/.config/warren/config.yaml` is used.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct ApiArgs {
    /// The gateway's URL, such as https://gateway.example.com
    #[arg(long, env = "WARREN_API", value_name = "URL", global = true)]
    pub(crate) api: Option<String>,
    /// Bearer token, or @FILE that holds it
    #[arg(long, env = "WARREN_TOKEN", value_name = "TOKEN|@FILE", global = true, hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Root certificate to trust, PEM; the system's roots without it
    #[arg(long, env = "WARREN_CA", value_name = "FILE", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// Named gateway of the context file; goes before the environment
    #[arg(long, env = "WARREN_CONTEXT", value_name = "NAME", global = true)]
    pub(crate) context: Option<String>,
}

/// All that is needed to connect.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// As it was given, for messages.
    pub(crate) api: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) token: String,
    pub(crate) ca: Option<PathBuf>,
}

impl ApiArgs {
    pub(crate) async fn connect(&self) -> anyhow::Result<Api> {
        Ok(Api::connect(&self.access()?).await?)
    }

    fn access(&self) -> anyhow::Result<Access> {
        let Context { api, token, ca } =
            self.resolve(|name| env::var(name).ok(), || Contexts::load(&context::path()?))?;
        let missing =
            "which gateway? give --api URL, set WARREN_API, or make a context with `warren context set`";
        let api = Some(api).filter(|api| !api.is_empty()).ok_or_else(|| Failure::usage(missing))?;
        let token = token.ok_or_else(|| {
            Failure::usage(format!(
                "who asks at {api}? give --token TOKEN|@FILE, or set WARREN_TOKEN (the gateway writes its first one to admin.token in its data directory)"
            ))
        })?;
        Access::new(&api, &token, ca).map_err(Into::into)
    }

    /// Flags, then a context that was named, then the environment, then the current context.
    fn resolve(
        &self,
        environment: impl Fn(&str) -> Option<String>,
        load: impl FnOnce() -> anyhow::Result<Contexts>,
    ) -> anyhow::Result<Context> {
        let given = Context {
            api: self.api.clone().unwrap_or_default(),
            token: self.token.clone(),
            ca: self.ca.clone(),
        };
        // The file is read only where it is needed, so that a broken one hurts nobody else.
        if self.context.is_none() && self.api.is_some() && self.token.is_some() {
            return Ok(given);
        }
        let Some(stored) = load()?.pick(self.context.as_deref())?.cloned() else { return Ok(given) };
        if self.context.is_none() {
            // A token is shown to the gateway that it was kept for, and to no other.
            let other = self.api.as_ref().is_some_and(|api| *api != stored.api);
            return Ok(if other { given } else { given.or(stored) });
        }
        // The parser fills flags from the environment; a value that stands there was not typed.
        let typed = |name: &str, value: &Option<String>| {
            value.clone().filter(|value| environment(name).as_ref() != Some(value))
        };
        let ca = self.ca.as_ref().map(|path| path.display().to_string());
        let typed = Context {
            api: typed("WARREN_API", &self.api).unwrap_or_default(),
            token: typed("WARREN_TOKEN", &self.token),
            ca: typed("WARREN_CA", &ca).map(PathBuf::from),
        };
        Ok(typed.or(stored).or(given))
    }
}

impl Context {
    /// What is absent here is taken from `other`.
    fn or(self, other: Self) -> Self {
        let api = if self.api.is_empty() { other.api } else { self.api };
        Self { api, token: self.token.or(other.token), ca: self.ca.or(other.ca) }
    }
}

impl Access {
    /// `token` may be `@FILE`. A URL without a port means 443.
    pub(crate) fn new(api: &str, token: &str, ca: Option<PathBuf>) -> Result<Self, Failure> {
        let wrong = || {
            Failure::usage(format!("`{api}` is not a gateway's URL, expected such as https://gateway:443"))
        };
        let uri: Uri = api.parse().map_err(|error| wrong().because(error))?;
        let host = uri.host().map(|host| host.trim_matches(['[', ']']).to_owned());
        let host = host.filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        if uri.scheme_str() != Some("https") || !matches!(uri.path(), "" | "/") {
            return Err(wrong());
        }
        Ok(Self { api: api.to_owned(), host, port: uri.port_u16().unwrap_or(443), token: secret(token)?, ca })
    }

    /// `host:port`, IPv6 in brackets.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// The text itself, or what stands in the file after `@`.
pub(crate) fn secret(text: &str) -> Result<String, Failure> {
    let Some(path) = text.strip_prefix('@') else { return Ok(text.trim().to_owned()) };
    let content = fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read the token in `{path}`")).because(error))?;
    match content.trim() {
        "" => Err(Failure::usage(format!("there is no token in `{path}`, it is empty"))),
        token => Ok(token.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let access = |api| Access::new(api, "t", None);
        assert_eq!(access("https://gw").unwrap().authority(), "gw:443");
        assert_eq!(access("https://[::1]:8443/").unwrap().authority(), "[::1]:8443");
        for wrong in ["gw:443", "http://gw", "https://", "https://gw/path", ""] {
            let told = access(wrong).unwrap_err().to_string();
            assert!(told.contains("is not a gateway's URL"), "{wrong}: {told}");
        }
    }

    /// What is used of `given`, while the environment has `WARREN_API=https://env` and `WARREN_TOKEN=env`.
    fn resolved(given: ApiArgs) -> (String, Option<String>) {
        let context =
            |api: &str, token: &str| Context { api: api.into(), token: Some(token.into()), ca: None };
        let contexts =
            [("a".to_owned(), context("https://a", "ta")), ("b".to_owned(), context("https://b", "tb"))];
        let contexts = Contexts { current: Some("a".into()), contexts: contexts.into() };
        let environment = |name: &str| match name {
            "WARREN_API" => Some("https://env".to_owned()),
            "WARREN_TOKEN" => Some("env".to_owned()),
            _ => None,
        };
        let context = given.resolve(environment, || Ok(contexts)).unwrap();
        (context.api, context.token)
    }

    fn args(api: Option<&str>, token: Option<&str>, context: Option<&str>) -> ApiArgs {
        let text = |text: Option<&str>| text.map(str::to_owned);
        ApiArgs { api: text(api), token: text(token), ca: None, context: text(context) }
    }

    #[test]
    fn a_named_context_goes_before_the_environment_and_after_flags() {
        let environment = |context| resolved(args(Some("https://env"), Some("env"), context));
        assert_eq!(environment(None), ("https://env".into(), Some("env".into())));
        assert_eq!(environment(Some("b")), ("https://b".into(), Some("tb".into())));
        let typed = resolved(args(Some("https://env"), Some("mine"), Some("b")));
        assert_eq!(typed, ("https://b".into(), Some("mine".into())));
    }

    #[test]
    fn a_kept_token_goes_to_its_own_gateway_only() {
        assert_eq!(resolved(args(None, None, None)), ("https://a".into(), Some("ta".into())));
        assert_eq!(resolved(args(Some("https://a"), None, None)), ("https://a".into(), Some("ta".into())));
        assert_eq!(resolved(args(Some("https://other"), None, None)), ("https://other".into(), None));
    }

    #[test]
    fn a_token_may_stand_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        fs::write(&path, "wrn_abc\n").unwrap();
        assert_eq!(secret(&format!("@{}", path.display())).unwrap(), "wrn_abc");
        assert_eq!(secret("wrn_x").unwrap(), "wrn_x");
        fs::write(&path, "\n").unwrap();
        assert!(secret(&format!("@{}", path.display())).unwrap_err().to_string().contains("it is empty"));
    }
}
