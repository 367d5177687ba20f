//! Reaching a gateway through a site's proxy: HTTP CONNECT or SOCKS5.
//!
//! The proxy is given the gateway's name and looks it up itself: behind a firewall nobody else may be able to. What it
//! says is read to the last byte of its answer and no further, since the bytes behind it are the gateway's.

use std::{fmt, path::PathBuf, time::Duration};

use tokio::{
    fs::File,
    io::{self, AsyncReadExt},
    net::TcpStream,
    time::timeout,
};
use warren_core::destination::{Pattern, Target};

use super::{Connecting, Connector, DialError, Direct, STEP_WITHIN};

mod connect;
mod error;
mod socks;
#[cfg(test)]
mod tests;
mod url;

pub use error::{ProxyError, ProxyFailure};
pub use url::ProxyUrlError;

use error::Trouble;

/// How long a proxy may take to reach the gateway and say so; it looks the name up, and tries its addresses.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The longest password file, bytes.
const PASSWORD_FILE_MAX: u64 = 1024;

/// A proxy and what it takes to be let in. Read from `http://[USER[:PASSWORD]@]HOST[:PORT]`, `socks5://…`, or `HOST:PORT`
/// for HTTP; user and password may be percent-encoded. Shown without them.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: Kind,
    place: Target,
    user: Option<String>,
    password: Option<Password>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Socks5,
}

#[derive(Clone, PartialEq, Eq)]
enum Password {
    Given(String),
    /// Read at each connection, so that a new password counts at once.
    File(PathBuf),
}

/// What is shown to a proxy that asks. No `Debug`: it holds the password.
struct Login {
    user: String,
    password: String,
}

/// Connects through a proxy, but without it to what is excepted.
#[derive(Debug, Clone)]
pub struct ViaProxy {
    proxy: Proxy,
    except: Vec<Pattern>,
}

impl ViaProxy {
    /// `except` are the gateways that are reached directly. Names are compared as they are dialled, nothing is looked up
    /// for that: a network matches gateways that are given as an address.
    pub fn new(proxy: Proxy, except: Vec<Pattern>) -> Self {
        Self { proxy, except }
    }

    /// Whether this place is reached without the proxy.
    pub fn passes_by(&self, host: &str, port: u16) -> bool {
        self.except.iter().any(|pattern| pattern.matches(host, None, port))
    }
}

impl Connector for ViaProxy {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> Connecting<'a> {
        if self.passes_by(host, port) {
            return Direct.connect(host, port);
        }
        Box::pin(async move {
            self.proxy.connect(host, port).await.map_err(|trouble| trouble.of(&self.proxy).into())
        })
    }
}

impl Proxy {
    /// Where the proxy itself is reached.
    pub fn place(&self) -> &Target {
        &self.place
    }

    /// As it would stand in a file, but for the password.
    pub fn url_without_password(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{}@", url::encode(user))).unwrap_or_default();
        format!("{}://{user}{}", self.kind.scheme(), self.place)
    }

    /// The file that the password is read from, if there is one.
    pub fn password_file(&self) -> Option<&PathBuf> {
        match &self.password {
            Some(Password::File(path)) => Some(path),
            _ => None,
        }
    }

    /// Takes at most 5 s to reach the proxy and 10 s for its answer.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Trouble> {
        let login = self.login().await?;
        let reached = Direct.connect(self.place.host(), self.place.port()).await;
        let mut socket = reached.map_err(Trouble::unreachable)?;
        let asking = async {
            match self.kind {
                Kind::Http => connect::ask(&mut socket, host, port, login.as_ref()).await,
                Kind::Socks5 => socks::ask(&mut socket, host, port, login.as_ref()).await,
            }
        };
        let asked = timeout(ANSWER_WITHIN, asking).await;
        asked.map_err(|_| ProxyFailure::Silent { after: ANSWER_WITHIN })??;
        Ok(socket)
    }

    async fn login(&self) -> Result<Option<Login>, Trouble> {
        let Some(user) = self.user.clone() else { return Ok(None) };
        let password = match &self.password {
            Some(Password::Given(password)) => password.clone(),
            Some(Password::File(path)) => {
                let unusable = |source| Trouble::password_file(path, source);
                let read = timeout(STEP_WITHIN, read_password(path)).await;
                let password =
                    read.map_err(|_| unusable(io::ErrorKind::TimedOut.into()))?.map_err(unusable)?;
                if self.kind == Kind::Socks5 && !socks::fits(&password) {
                    return Err(unusable(io::Error::other(socks::UNFIT)));
                }
                password
            }
            None => String::new(),
        };
        Ok(Some(Login { user, password }))
    }
}

impl Kind {
    const fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Socks5 => "socks5",
        }
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.kind.scheme(), self.place)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

async fn read_password(path: &PathBuf) -> io::Result<String> {
    let mut text = String::new();
    File::open(path).await?.take(PASSWORD_FILE_MAX + 1).read_to_string(&mut text).await?;
    if text.len() as u64 > PASSWORD_FILE_MAX {
        return Err(io::Error::other(format!("it is longer than {PASSWORD_FILE_MAX} bytes")));
    }
    // Editors end files with a line's end; other spaces may be the password's.
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// `host:port`, an IPv6 address in brackets.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
