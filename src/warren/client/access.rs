//! Which gateway to talk to and as whom: flags, then environment, then the context file.

use std::{fs, path::PathBuf};

use clap::Args;
use tonic::transport::Uri;

use super::Api;
use crate::{
    context::{self, Contexts},
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
    /// Named gateway of the context file, instead of the current one
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
        // A context is looked for only where something is missing, so that a broken file hurts nobody else.
        let complete = self.api.is_some() && self.token.is_some() && self.context.is_none();
        let stored = if complete {
            None
        } else {
            Contexts::load(&context::path()?)?.pick(self.context.as_deref())?.cloned()
        };
        let stored = stored.unwrap_or_default();
        let api = self.api.clone().or(Some(stored.api)).filter(|api| !api.is_empty()).ok_or_else(|| {
            Failure::usage(
                "which gateway? give --api URL, set WARREN_API, or make a context with `warren context set`",
            )
        })?;
        let token = self.token.clone().or(stored.token).ok_or_else(|| {
            Failure::usage("who asks? give --token TOKEN|@FILE, or set WARREN_TOKEN (the gateway writes its first one to admin.token)")
        })?;
        Access::new(&api, &token, self.ca.clone().or(stored.ca)).map_err(Into::into)
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
