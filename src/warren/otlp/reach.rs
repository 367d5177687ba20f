//! The connection to the collector: made when there is something to send, and made anew after it broke.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use warren_core::{destination::Target, trace::Collector};
use warren_identity::tls::{self, Trust};

use crate::exit::Failure;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Of one message, so that a collector that hangs is as good as one that is away.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A connection that says nothing for so long while a message is under way is asked, and given up.
const ASK_AFTER: Duration = Duration::from_secs(5);
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// A channel that dials by itself when it is used; see [`Https::new`] about `ca`.
pub(super) fn channel(collector: &Collector, ca: Option<&Path>) -> Result<Channel, Failure> {
    // The connector speaks TLS; an https URI would make tonic ask for its own.
    let endpoint = Endpoint::from_shared(format!("http://{}", collector.target()))
        .map_err(|error| unusable(collector, "not an address").because(error))?
        .connect_timeout(CONNECT_WITHIN)
        .timeout(ANSWER_WITHIN)
        .http2_keep_alive_interval(ASK_AFTER)
        .keep_alive_timeout(ASK_WITHIN)
        .user_agent(concat!("warren/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| unusable(collector, "no name for this program").because(error))?;
    if !collector.is_tls() {
        return Ok(endpoint.connect_lazy());
    }
    let way = Arc::new(Https::new(collector, ca)?);
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let way = way.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(way.connect().await?)) }
    })))
}

/// The way to a collector on https.
pub(super) struct Https {
    target: Target,
    name: ServerName<'static>,
    tls: TlsConnector,
}

impl Https {
    /// Trusts the roots in `ca`, or without one the system's.
    pub(super) fn new(collector: &Collector, ca: Option<&Path>) -> Result<Self, Failure> {
        let roots = match ca {
            Some(path) => tls::roots_from_pem(&fs::read_to_string(path).map_err(|error| {
                unusable(collector, &format!("cannot read `{}`", path.display())).because(error)
            })?),
            None => tls::native_roots(),
        };
        let roots = roots.map_err(|error| unusable(collector, "no root to trust").because(error))?;
        let config = Trust::new(roots).and_then(|trust| tls::agent_client(trust, None, &["h2"]));
        let target = collector.target().clone();
        Ok(Self {
            name: ServerName::try_from(target.host().to_owned())
                .map_err(|error| unusable(collector, "not a host name").because(error))?,
            tls: TlsConnector::from(config.map_err(|error| unusable(collector, "no TLS").because(error))?),
            target,
        })
    }

    pub(super) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect((self.target.host(), self.target.port())).await?;
        self.tls.connect(self.name.clone(), socket).await
    }
}

fn unusable(collector: &Collector, what: &str) -> Failure {
    Failure::usage(format!("spans cannot be exported to {collector}: {what}"))
}
