//! Values of the configuration that are read from a text.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use thiserror::Error;

use super::postgres::PostgresUrl;

/// Why a text is not such a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ValueError {
    #[error("`{0}` is not a store, expected sqlite:PATH or postgres://USER@HOST:PORT/DATABASE")]
    Store(String),
    #[error("not a store in PostgreSQL, expected postgres://USER@HOST:PORT/DATABASE: {0}")]
    Postgres(&'static str),
    #[error("`{0}` is not a range of ports, expected such as 20000-20999")]
    Ports(String),
    #[error("`{0}` is not a public URL, expected https://HOST or https://HOST:PORT")]
    Url(String),
    #[error("`{0}` is not a log format, expected text or json")]
    LogFormat(String),
}

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    Sqlite(PathBuf),
    Postgres(PostgresUrl),
}

impl FromStr for StoreLocation {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.starts_with("postgres:") || text.starts_with("postgresql:") {
            return text.parse().map(Self::Postgres);
        }
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => {
                Ok(Self::Sqlite(PathBuf::from(path.strip_prefix("//").unwrap_or(path))))
            }
            // A mistyped URL of a database may have a password in it.
            _ => Err(ValueError::Store(match text.split_once("://") {
                Some((scheme, _)) => format!("{scheme}://…"),
                None => text.to_owned(),
            })),
        }
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// Ports from `low` to `high`, both included, none of them zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    pub low: u16,
    pub high: u16,
}

impl FromStr for PortRange {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        match (low.trim().parse(), high.trim().parse()) {
            (Ok(low), Ok(high)) if 0 < low && low <= high => Ok(Self { low, high }),
            _ => Err(ValueError::Ports(text.to_owned())),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

/// `https://HOST[:PORT]`, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// A name or an address, an IPv6 one without brackets.
    host: String,
    port: u16,
}

impl PublicUrl {
    /// The URL of a listening socket; of one that listens everywhere, the URL that works on this machine.
    pub fn of(address: SocketAddr) -> Self {
        let ip = address.ip();
        let host = if ip.is_unspecified() { "localhost".to_owned() } else { ip.to_string() };
        Self { host, port: address.port() }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for PublicUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let refused = || ValueError::Url(text.to_owned());
        let authority = text.strip_prefix("https://").ok_or_else(refused)?;
        let authority: hyper::http::uri::Authority =
            authority.strip_suffix('/').unwrap_or(authority).parse().map_err(|_| refused())?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None if authority.as_str().ends_with(':') => return Err(refused()),
            None => 443,
        };
        if host.is_empty() || port == 0 || authority.as_str().contains('@') {
            return Err(refused());
        }
        Ok(Self { host, port })
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "https://{open}{}{close}", self.host)?;
        if self.port == 443 { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogFormat {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(ValueError::LogFormat(text.to_owned())),
        }
    }
}
