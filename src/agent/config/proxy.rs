//! Through which proxy gateways are reached, and who said so.

use std::{fmt, fs, path::PathBuf, sync::Arc};

use serde_json::{Value, json};
use warren_core::{destination::Pattern, fields::Fields};
use warren_tunnel::dial::{Connector, Direct, Proxy, ProxyUrlError, ViaProxy};

use super::{GatewayUrl, Overrides};

/// What is written where a proxy could be, to have none whatever the environment says.
const NONE: &str = "none";

/// A proxy's URL that does not come from the file. Never shown: it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl {
    /// The flag or variable that it comes from.
    pub from: &'static str,
    pub url: String,
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProxyUrl({})", self.from)
    }
}

/// How gateways are reached. Nothing else goes this way: not targets, not the group's other members, not probes.
#[derive(Debug, Clone, Default)]
pub struct Way {
    /// Absent: directly.
    pub proxy: Option<Proxy>,
    /// Gateways that are reached directly all the same.
    pub no_proxy: Vec<Pattern>,
    /// The flag, variable or file that decided; absent when nobody said anything.
    pub from: Option<String>,
    /// Entries of `NO_PROXY` that mean nothing here. They are other programs' too, so they are no mistake.
    ignored: Vec<String>,
}

/// The same way, whoever decided on it.
impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        (&self.proxy, &self.no_proxy) == (&other.proxy, &other.no_proxy)
    }
}

impl Way {
    pub(crate) fn connector(&self) -> Arc<dyn Connector> {
        match &self.proxy {
            Some(proxy) => Arc::new(ViaProxy::new(proxy.clone(), self.no_proxy.clone())),
            None => Arc::new(Direct),
        }
    }

    /// The host and port that a connection to `gateway` goes to first.
    pub(crate) fn first_stop<'a>(&'a self, gateway: &'a GatewayUrl) -> (&'a str, u16) {
        match self.proxy_to(gateway) {
            Some(proxy) => (proxy.place().host(), proxy.place().port()),
            None => (gateway.host(), gateway.port()),
        }
    }

    /// The proxy on the way to `gateway`, if there is one.
    pub(crate) fn proxy_to(&self, gateway: &GatewayUrl) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.passes_by(gateway))
    }

    /// Entries of `NO_PROXY` that mean nothing here.
    pub(crate) fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// Says in the log how each gateway is reached.
    pub(crate) fn tell(&self, gateways: &[GatewayUrl]) {
        let from = self.from.as_deref().unwrap_or("nothing said otherwise");
        for entry in &self.ignored {
            tracing::warn!(entry, "this entry of NO_PROXY means nothing here and is left out");
        }
        for gateway in gateways {
            match &self.proxy {
                Some(proxy) if !self.passes_by(gateway) => {
                    tracing::info!(%gateway, %proxy, from, "this gateway is reached through a proxy");
                }
                Some(_) => tracing::info!(%gateway, from, "this gateway is reached without the proxy"),
                None => tracing::info!(%gateway, from, "this gateway is reached directly"),
            }
        }
    }

    /// What a file would say of it.
    pub(super) fn dump(&self) -> Option<Value> {
        let Some(proxy) = &self.proxy else { return self.from.is_some().then(|| json!(NONE)) };
        let mut dump = json!({"url": proxy.url_without_password()});
        if let Some(path) = proxy.password_file() {
            dump["password_file"] = json!(path);
        }
        if !self.no_proxy.is_empty() {
            dump["no_proxy"] = json!(self.no_proxy);
        }
        Some(dump)
    }

    fn passes_by(&self, gateway: &GatewayUrl) -> bool {
        self.no_proxy.iter().any(|pattern| pattern.matches(gateway.host(), None, gateway.port()))
    }
}

/// The flag wins over its variable, both over the file, and any of them over the rest of the environment, which is then
/// not looked at.
pub(super) fn read(root: &mut Fields<'_>, overrides: &Overrides) -> Way {
    let mut file = File::read(root);
    if let Some(ProxyUrl { from, url }) = &overrides.proxy {
        return file.way("proxy", from, url, false);
    }
    if let Some(url) = file.url.take() {
        return file.way(file.key, "the file", &url, true);
    }
    match &overrides.environment_proxy {
        Some(ProxyUrl { from, url }) => {
            let mut way = file.way(from, from, url, false);
            if let (None, Some(text)) = (&file.no_proxy, &overrides.environment_no_proxy) {
                (way.no_proxy, way.ignored) = read_environment_list(text);
            }
            way
        }
        None => {
            if file.password_file.is_some() {
                file.note("proxy.password_file", "there is no proxy that it could be for, give proxy.url");
            }
            Way::default()
        }
    }
}

/// What the file says of proxies.
struct File<'p> {
    /// The path under which mistakes in the URL are told.
    key: &'static str,
    url: Option<String>,
    password_file: Option<PathBuf>,
    no_proxy: Option<Vec<Pattern>>,
    problems: &'p warren_core::fields::Problems,
}

impl<'p> File<'p> {
    fn read(root: &mut Fields<'p>) -> Self {
        const KEY: &str = "proxy";
        let problems = root.problems();
        let section = match root.take(KEY) {
            Some(Value::String(url)) => {
                let (password_file, no_proxy) = (None, None);
                return Self { key: KEY, url: Some(url), password_file, no_proxy, problems };
            }
            section => section.unwrap_or_default(),
        };
        let mut section = Fields::at(KEY.to_owned(), section, problems);
        let url = section.text("url");
        let password_file = section.text("password_file").map(PathBuf::from);
        let no_proxy = section.list::<String>("no_proxy").map(|texts| {
            let read = texts.iter().enumerate().filter_map(|(index, text)| {
                let note = |error| problems.note(format!("proxy.no_proxy[{index}]"), error);
                exception(text).map_err(note).ok()
            });
            read.collect()
        });
        section.finish();
        Self { key: "proxy.url", url, password_file, no_proxy, problems }
    }

    /// `key` is where a mistake is told. A password file belongs to the file's URL; any other one has its use when it
    /// names a user without a password.
    fn way(&self, key: &str, from: &str, url: &str, is_ours: bool) -> Way {
        let no_proxy = self.no_proxy.clone().unwrap_or_default();
        let mut way = Way { no_proxy, from: Some(from.to_owned()), ..Way::default() };
        if url.trim() == NONE {
            return way;
        }
        let parsed = match (Proxy::parse(url, None), self.password_file.clone()) {
            (_, file @ Some(_)) if is_ours => Proxy::parse(url, file),
            (Ok(proxy), file @ Some(_)) if proxy.lacks_password() => Proxy::parse(url, file),
            // SOCKS5 has no users without a password.
            (Err(ProxyUrlError::Socks), file @ Some(_)) => Proxy::parse(url, file),
            (parsed, _) => parsed,
        };
        way.proxy = parsed.map_err(|error| self.note(key, error)).ok();
        if let Some(path) = way.proxy.as_ref().and_then(Proxy::password_file)
            && let Err(error) = fs::read_to_string(path)
        {
            self.note("proxy.password_file", format!("cannot read `{}`: {error}", path.display()));
        }
        way
    }

    fn note(&self, key: &str, problem: impl fmt::Display) {
        self.problems.note(key, problem);
    }
}

/// Separated by commas or spaces.
fn read_environment_list(text: &str) -> (Vec<Pattern>, Vec<String>) {
    let (mut patterns, mut ignored) = (Vec::new(), Vec::new());
    for entry in text.split([',', ' ']).filter(|entry| !entry.is_empty()) {
        match exception(entry) {
            Ok(pattern) => patterns.push(pattern),
            Err(_) => ignored.push(entry.to_owned()),
        }
    }
    (patterns, ignored)
}

/// As other patterns, and `.suffix` is another way to write `*.suffix`.
fn exception(text: &str) -> Result<Pattern, warren_core::destination::DestinationError> {
    match text.starts_with('.') {
        true => format!("*{text}").parse(),
        false => text.parse(),
    }
}

#[cfg(test)]
mod tests;
