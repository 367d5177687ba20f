//! The gateway's side of making a tunnel: an HTTP request becomes a raw stream.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Version,
    header::{self, HeaderName, HeaderValue},
    upgrade::OnUpgrade,
};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use crate::websocket::accept_key;

/// Where agents ask for a tunnel.
pub const PATH: &str = "/tunnel";
/// How long the 101 may take to leave.
const UPGRADE_WITHIN: Duration = Duration::from_secs(5);

/// Why a request did not become a tunnel.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    #[error("not a websocket upgrade: {0}")]
    NotWebSocket(&'static str),
    #[error("the connection broke during the upgrade")]
    Broken(#[source] hyper::Error),
    #[error("the upgrade took longer than {UPGRADE_WITHIN:?}")]
    Timeout,
    #[error("the connection is not of the kind that was served")]
    OtherStream,
}

/// The raw stream of an upgraded request, with what was already read of it.
#[derive(Debug)]
pub struct Upgraded<S> {
    pub stream: S,
    pub read_buf: Bytes,
}

/// A stream that is there once the 101 has left.
#[derive(Debug)]
pub struct Upgrading(OnUpgrade);

impl Upgrading {
    /// Takes the stream that hyper was given back from it. The response must be on its way, so await this in a task of its
    /// own.
    pub async fn stream<S>(self) -> Result<Upgraded<S>, UpgradeError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let upgraded = timeout(UPGRADE_WITHIN, self.0).await.map_err(|_| UpgradeError::Timeout)?;
        let upgraded = upgraded.map_err(UpgradeError::Broken)?;
        // The automatic server wraps the stream once more, a plain HTTP/1 server does not.
        let (io, read_buf) = match auto::upgrade::downcast::<TokioIo<S>>(upgraded) {
            Ok(parts) => (parts.io, parts.read_buf),
            Err(upgraded) => {
                let parts = upgraded.downcast::<TokioIo<S>>().map_err(|_| UpgradeError::OtherStream)?;
                (parts.io, parts.read_buf)
            }
        };
        Ok(Upgraded { stream: io.into_inner(), read_buf })
    }
}

/// Answers a request to [`PATH`]: the 101 to send, and the stream that follows it. Who asks must have been decided before.
pub fn upgrade<In, Out: Default>(
    request: &mut Request<In>,
) -> Result<(Response<Out>, Upgrading), UpgradeError> {
    let no = |why| Err(UpgradeError::NotWebSocket(why));
    let headers = request.headers();
    if request.method() != Method::GET || request.version() != Version::HTTP_11 {
        return no("must be an HTTP/1.1 GET");
    }
    if !lists(headers, header::CONNECTION, "upgrade") || !lists(headers, header::UPGRADE, "websocket") {
        return no("must ask for an upgrade to websocket");
    }
    if !lists(headers, header::SEC_WEBSOCKET_VERSION, "13") {
        return no("must ask for version 13");
    }
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY) else { return no("must bring a key") };
    let accept = accept_key(key.as_bytes());
    let mut response = Response::new(Out::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok((response, Upgrading(hyper::upgrade::on(request))))
}

fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request<()> {
        Request::get(PATH)
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", "WebSocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .body(())
            .unwrap()
    }

    #[test]
    fn answers_with_101_and_the_proof() {
        let (response, _) = upgrade::<_, String>(&mut request()).unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn refuses_anything_else() {
        let cases: [fn(&mut Request<()>); 5] = [
            |request| *request.method_mut() = Method::POST,
            |request| *request.version_mut() = Version::HTTP_2,
            |request| drop(request.headers_mut().remove("upgrade")),
            |request| {
                drop(request.headers_mut().insert("sec-websocket-version", HeaderValue::from_static("8")))
            },
            |request| drop(request.headers_mut().remove("sec-websocket-key")),
        ];
        for damage in cases {
            let mut request = request();
            damage(&mut request);
            assert!(matches!(upgrade::<_, String>(&mut request), Err(UpgradeError::NotWebSocket(_))));
        }
    }
}
