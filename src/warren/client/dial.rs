//! TCP and TLS to the gateway, with errors that say what was tried and what to check.

use std::{
    fs, io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::Uri;
use tower::util::BoxCloneSyncService;
use warren_identity::tls::{self, Trust};

use super::Access;
use crate::exit::Failure;

/// How long TCP and TLS together may take.
const DIAL: Duration = Duration::from_secs(5);

type Stream = TokioIo<TlsStream<TcpStream>>;

/// What tonic dials with.
pub(super) type Connector = BoxCloneSyncService<Uri, Stream, Failure>;

#[derive(Clone)]
pub(super) struct Dialer {
    api: String,
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Dialer {
    pub(super) fn new(access: &Access) -> Result<Self, Failure> {
        let name = ServerName::try_from(access.host.clone()).map_err(|error| {
            Failure::usage(format!("`{}` is not a host name", access.host)).because(error)
        })?;
        let roots = match &access.ca {
            Some(path) => {
                let unreadable = || Failure::usage(format!("cannot trust the root in `{}`", path.display()));
                let pem = fs::read_to_string(path).map_err(|error| unreadable().because(error))?;
                tls::roots_from_pem(&pem).map_err(|error| unreadable().because(error))?
            }
            None => tls::native_roots().map_err(|error| {
                Failure::usage("no root to trust, give --ca FILE or set WARREN_CA").because(error)
            })?,
        };
        let unusable = |error| Failure::usage("TLS cannot be set up").because(error);
        let config =
            tls::agent_client(Trust::new(roots).map_err(unusable)?, None, &["h2"]).map_err(unusable)?;
        let tls = TlsConnector::from(config);
        Ok(Self { api: access.api.clone(), host: access.host.clone(), port: access.port, name, tls })
    }

    /// Dials once, then makes a connector that hands out that connection first and dials anew when asked again.
    pub(super) async fn connector(self) -> Result<Connector, Failure> {
        let first = Arc::new(Mutex::new(Some(self.dial().await?)));
        let service = tower::service_fn(move |_: Uri| {
            let dialled = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let dialer = self.clone();
            async move {
                match dialled {
                    Some(stream) => Ok(stream),
                    None => dialer.dial().await,
                }
            }
        });
        Ok(BoxCloneSyncService::new(service))
    }

    async fn dial(&self) -> Result<Stream, Failure> {
        timeout(DIAL, self.dial_unhurried()).await.unwrap_or_else(|_| {
            let check = "check the address, and that no firewall swallows the connection";
            Err(self.failed(&format!("no answer within {} s, {check}", DIAL.as_secs())))
        })
    }

    async fn dial_unhurried(&self) -> Result<Stream, Failure> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| {
            self.failed("check that it runs there, and --api or WARREN_API").because(error)
        })?;
        // Small calls wait for nothing; if the option cannot be set, they are only slower.
        let _ = tcp.set_nodelay(true);
        let stream = self
            .tls
            .connect(self.name.clone(), tcp)
            .await
            .map_err(|error| self.failed(advice(&error)).because(error))?;
        Ok(TokioIo::new(stream))
    }

    fn failed(&self, check: &str) -> Failure {
        Failure::unreachable(format!("cannot reach the gateway at {} ({check})", self.api))
    }
}

fn advice(error: &io::Error) -> &'static str {
    match tls::failure_reason(error) {
        "unknown_issuer" => {
            "its certificate is not signed by a root that is trusted here, check --ca or WARREN_CA"
        }
        "wrong_name" => "its certificate is for another name, check the host in --api or WARREN_API",
        "cert_expired" | "cert_not_yet_valid" => {
            "its certificate is not valid at this time, check both clocks"
        }
        _ => "something answers there, but not with TLS 1.3 as a gateway does",
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::exit::{self, Exit};

    async fn told(port: u16, folder: &std::path::Path) -> (Exit, String) {
        let ca = folder.join("ca.pem");
        let authority = warren_identity::Authority::generate(std::time::SystemTime::now()).unwrap();
        fs::write(&ca, authority.bundle_pem()).unwrap();
        let access = Access::new(&format!("https://127.0.0.1:{port}"), "t", Some(ca)).unwrap();
        let error = anyhow::Error::new(super::super::Api::connect(&access).await.unwrap_err());
        (exit::of(&error), format!("{error:#}"))
    }

    #[tokio::test]
    async fn nobody_there_is_told_with_what_to_check() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let (exit, told) = told(port, folder.path()).await;
        assert_eq!(exit, Exit::Unreachable);
        assert!(
            told.contains(&format!(
                "cannot reach the gateway at https://127.0.0.1:{port} (check that it runs"
            )),
            "{told}"
        );
    }

    #[tokio::test]
    async fn something_else_there_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let (exit, told) = told(port, folder.path()).await;
        assert_eq!(exit, Exit::Unreachable);
        assert!(told.contains("not with TLS 1.3"), "{told}");
    }
}
