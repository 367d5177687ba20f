//! HTTP CONNECT (RFC 9110, 9.3.6) with Basic authentication (RFC 7617), by hand: an HTTP client would read ahead, into
//! bytes that are the gateway's.

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Login, ProxyFailure, authority, error::Trouble};

/// Most of an answer that is read, bytes.
pub(super) const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 128;
const BEGIN: &[u8] = b"HTTP/1.";
const END: &[u8] = b"\r\n\r\n";
const NOT_HTTP: ProxyFailure = ProxyFailure::NotAProxy { expected: "HTTP" };

/// Asks for a way to `host`. What comes behind the answer stays in the socket.
pub(super) async fn ask(
    socket: &mut TcpStream,
    host: &str,
    port: u16,
    login: Option<&Login>,
) -> Result<(), Trouble> {
    let to = authority(host, port);
    if !to.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ProxyFailure::Unspeakable { to }.into());
    }
    let authorization = login.map(|Login { user, password }| {
        let token = BASE64_STANDARD.encode(format!("{user}:{password}"));
        format!("Proxy-Authorization: Basic {token}\r\n")
    });
    let authorization = authorization.unwrap_or_default();
    let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: warren\r\n{authorization}\r\n");
    socket.write_all(request.as_bytes()).await?;
    let head = read_head(socket).await?;
    judge(&head, to, login.is_some()).map_err(Trouble::from)
}

/// Reads up to and with the empty line, and not a byte more.
async fn read_head(socket: &mut TcpStream) -> Result<Vec<u8>, Trouble> {
    let mut head = Vec::new();
    let mut ahead = [0; 2048];
    loop {
        let room = ahead.len().min(HEAD_MAX - head.len());
        if room == 0 {
            return Err(ProxyFailure::TooLong { max: HEAD_MAX }.into());
        }
        let seen = socket.peek(&mut ahead[..room]).await?;
        if seen == 0 {
            return Err(ProxyFailure::Closed.into());
        }
        let before = head.len();
        head.extend_from_slice(&ahead[..seen]);
        // The end may lie across the border.
        let from = before.saturating_sub(END.len() - 1);
        let end = head[from..].windows(END.len()).position(|bytes| bytes == END);
        head.truncate(end.map_or(head.len(), |at| from + at + END.len()));
        socket.read_exact(&mut ahead[..head.len() - before]).await?;
        if !head.iter().zip(BEGIN).all(|(found, expected)| found == expected) {
            return Err(NOT_HTTP.into());
        }
        if end.is_some() {
            return Ok(head);
        }
    }
}

fn judge(head: &[u8], to: String, has_login: bool) -> Result<(), ProxyFailure> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(head);
    let (Ok(httparse::Status::Complete(_)), Some(status)) = (parsed, response.code) else {
        return Err(NOT_HTTP);
    };
    let how = describe(status, response.reason.unwrap_or_default());
    match status {
        200..=299 => Ok(()),
        407 => Err(judge_refusal(response.headers, has_login, "407")),
        // Tinyproxy's word for a wrong password.
        401 => Err(judge_refusal(response.headers, has_login, "401")),
        403 => Err(ProxyFailure::Forbidden { to, how }),
        500 | 502..=504 => Err(ProxyFailure::Target { to, how }),
        _ => Err(ProxyFailure::Answer { how }),
    }
}

fn judge_refusal(headers: &[httparse::Header<'_>], has_login: bool, how: &'static str) -> ProxyFailure {
    let asked = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("proxy-authenticate"));
    let schemes: Vec<&str> = asked.filter_map(|header| scheme(header.value)).collect();
    if !schemes.is_empty() && !schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
        return ProxyFailure::Scheme { offered: schemes.join(", "), how };
    }
    match has_login {
        true => ProxyFailure::Credentials { how },
        false => ProxyFailure::NoCredentials { how },
    }
}

/// The word that a challenge begins with.
fn scheme(value: &[u8]) -> Option<&str> {
    let word = std::str::from_utf8(value).ok()?.split([' ', ',']).next()?;
    let fits = (1..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(word)
}

/// The status with the proxy's own words, as far as they are fit to be shown.
fn describe(status: u16, reason: &str) -> String {
    const LENGTH_MAX: usize = 60;
    let reason: String =
        reason.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()).take(LENGTH_MAX).collect();
    format!("{status} {reason}").trim_end().to_owned()
}
