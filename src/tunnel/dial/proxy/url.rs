//! A proxy's URL. Errors never quote it: it may hold a password.

use std::{path::PathBuf, str::FromStr};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use warren_core::destination::Target;

use super::{Kind, Password, Proxy, socks};

const HTTP_PORT: u16 = 80;
const SOCKS_PORT: u16 = 1080;

/// Why a text is not a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    #[error(
        "not a proxy, expected http://[USER:PASSWORD@]HOST:PORT, socks5://[USER:PASSWORD@]HOST:PORT or none"
    )]
    Form,
    #[error(
        "a proxy that is itself reached by TLS (https://) is not supported, expected http:// or socks5://"
    )]
    Https,
    #[error("user or password are not UTF-8 once their percent-encoding is undone")]
    Encoding,
    #[error("a user name must not be empty or hold a colon")]
    User,
    #[error("SOCKS5 takes a user name and a password of 1 to 255 bytes each, or neither")]
    Socks,
    #[error("the password is given twice, in the url and as a file")]
    TwoPasswords,
    #[error("there is a password but no user, put USER@ into the url")]
    NoUser,
}

impl Proxy {
    /// Reads a URL; its password comes from a file if there is one.
    pub fn parse(url: &str, password_file: Option<PathBuf>) -> Result<Self, ProxyUrlError> {
        let (scheme, rest) = url.trim().split_once("://").unwrap_or(("http", url.trim()));
        let (kind, port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Kind::Http, HTTP_PORT),
            // The second is what others call a proxy that looks names up, which ours always does.
            "socks5" | "socks5h" => (Kind::Socks5, SOCKS_PORT),
            "https" => return Err(ProxyUrlError::Https),
            _ => return Err(ProxyUrlError::Form),
        };
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let place = read_place(place.strip_suffix('/').unwrap_or(place), port).ok_or(ProxyUrlError::Form)?;
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => (Some(decode(user)?), Some(decode(password)?)),
            None => (None, None),
        };
        let password = password.filter(|password| !password.is_empty()).map(Password::Given);
        if user.as_ref().is_some_and(|user| user.is_empty() || user.contains(':')) {
            return Err(ProxyUrlError::User);
        }
        let password = match (password, password_file) {
            (Some(_), Some(_)) => return Err(ProxyUrlError::TwoPasswords),
            (None, Some(_)) if user.is_none() => return Err(ProxyUrlError::NoUser),
            (given, file) => given.or(file.map(Password::File)),
        };
        let proxy = Self { kind, place, user, password };
        if kind == Kind::Socks5 && !proxy.fits_socks() {
            return Err(ProxyUrlError::Socks);
        }
        Ok(proxy)
    }

    fn fits_socks(&self) -> bool {
        match (&self.user, &self.password) {
            (Some(user), Some(Password::Given(password))) => socks::fits(user) && socks::fits(password),
            (Some(user), Some(Password::File(_))) => socks::fits(user),
            (Some(_), None) => false,
            (None, _) => true,
        }
    }

    /// A user for whom no password was given yet.
    pub fn lacks_password(&self) -> bool {
        self.user.is_some() && self.password.is_none()
    }
}

impl FromStr for Proxy {
    type Err = ProxyUrlError;

    fn from_str(url: &str) -> Result<Self, ProxyUrlError> {
        Self::parse(url, None)
    }
}

pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn read_place(place: &str, port: u16) -> Option<Target> {
    let bare = place.trim_start_matches('[').trim_end_matches(']');
    place.parse().or_else(|_| Target::new(bare, port)).ok()
}

fn decode(text: &str) -> Result<String, ProxyUrlError> {
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| ProxyUrlError::Encoding)?;
    Ok(decoded.into_owned())
}
