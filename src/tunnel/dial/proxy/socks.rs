//! SOCKS5 (RFC 1928) with user name and password (RFC 1929), by hand: three fixed exchanges, and each way in which they
//! can go wrong has its own words.

use std::{net::IpAddr, ops::RangeInclusive};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Login, ProxyFailure, authority, error::Trouble};

pub(super) const UNFIT: &str = "SOCKS5 takes a password of 1 to 255 bytes";

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const BY_PASSWORD: u8 = 2;
const NOTHING_FITS: u8 = 0xFF;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
const LENGTHS: RangeInclusive<usize> = 1..=255;
const NOT_SOCKS: ProxyFailure = ProxyFailure::NotAProxy { expected: "SOCKS5" };
const HOW: &str = "SOCKS5";

/// Whether a user name or password fits into a message.
pub(super) fn fits(text: &str) -> bool {
    LENGTHS.contains(&text.len())
}

/// Asks for a way to `host`, whose name the proxy looks up. What comes behind the answer stays in the socket.
pub(super) async fn ask(
    socket: &mut TcpStream,
    host: &str,
    port: u16,
    login: Option<&Login>,
) -> Result<(), Trouble> {
    let to = authority(host, port);
    let request = request(host, port).ok_or_else(|| ProxyFailure::Unspeakable { to: to.clone() })?;
    let methods: &[u8] = if login.is_some() { &[NO_LOGIN, BY_PASSWORD] } else { &[NO_LOGIN] };
    let mut hello = vec![VERSION, methods.len() as u8];
    hello.extend(methods);
    socket.write_all(&hello).await?;
    match (read::<2>(socket).await?, login) {
        ([VERSION, NO_LOGIN], _) => {}
        ([VERSION, BY_PASSWORD], Some(login)) => log_in(socket, login).await?,
        ([VERSION, NOTHING_FITS], Some(_)) => return Err(ProxyFailure::Credentials { how: HOW }.into()),
        ([VERSION, NOTHING_FITS], None) => return Err(ProxyFailure::NoCredentials { how: HOW }.into()),
        _ => return Err(NOT_SOCKS.into()),
    }
    socket.write_all(&request).await?;
    let [version, reply, _, kind] = read(socket).await?;
    if version != VERSION {
        return Err(NOT_SOCKS.into());
    }
    if reply != 0 {
        return Err(refusal(reply, to).into());
    }
    // The address that the proxy speaks from, of no interest.
    let rest = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => read::<1>(socket).await?[0].into(),
        _ => return Err(NOT_SOCKS.into()),
    };
    let mut place = [0; 255 + 2];
    socket.read_exact(&mut place[..rest + 2]).await?;
    Ok(())
}

async fn log_in(socket: &mut TcpStream, Login { user, password }: &Login) -> Result<(), Trouble> {
    let mut message = vec![LOGIN_VERSION];
    for text in [user, password] {
        // Checked where the proxy's settings are read.
        message.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        message.extend(text.as_bytes().iter().take(*LENGTHS.end()));
    }
    socket.write_all(&message).await?;
    match read(socket).await {
        Ok([LOGIN_VERSION, 0]) => Ok(()),
        // Some answer with the version of SOCKS, or by closing the connection without a word.
        Ok([LOGIN_VERSION | VERSION, _]) => Err(ProxyFailure::Credentials { how: HOW }.into()),
        Ok(_) => Err(NOT_SOCKS.into()),
        Err(trouble) if trouble.failure == ProxyFailure::Closed => {
            Err(ProxyFailure::Credentials { how: "SOCKS5, by closing the connection" }.into())
        }
        Err(trouble) => Err(trouble),
    }
}

fn request(host: &str, port: u16) -> Option<Vec<u8>> {
    let mut request = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(ip)) => {
            request.push(IPV4);
            request.extend(ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            request.push(IPV6);
            request.extend(ip.octets());
        }
        Err(_) => {
            request.extend([NAME, u8::try_from(host.len()).ok().filter(|length| *length > 0)?]);
            request.extend(host.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    Some(request)
}

fn refusal(reply: u8, to: String) -> ProxyFailure {
    let target = |how: &str| ProxyFailure::Target { to: to.clone(), how: how.to_owned() };
    match reply {
        1 => target("general failure"),
        2 => ProxyFailure::Forbidden { to, how: "not allowed by its rules".to_owned() },
        3 => target("network unreachable"),
        4 => target("host unreachable"),
        5 => target("connection refused"),
        6 => target("time to live expired"),
        7 => ProxyFailure::Answer { how: "SOCKS5 command not supported".to_owned() },
        8 => ProxyFailure::Answer { how: "SOCKS5 address type not supported".to_owned() },
        other => ProxyFailure::Answer { how: format!("SOCKS5 reply {other}") },
    }
}

async fn read<const N: usize>(socket: &mut TcpStream) -> Result<[u8; N], Trouble> {
    let mut bytes = [0; N];
    socket.read_exact(&mut bytes).await?;
    Ok(bytes)
}
