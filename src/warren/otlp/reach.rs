//! The connection to the collector: made when there is something to send, and made anew after it broke.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use warren_core::trace::Collector;
use warren_identity::tls::{self, Trust};

use crate::exit::Failure;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Of one message, so that a collector that hangs is as good as one that is away.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A connection that says nothing for so long while a message is under way is asked, and given up.
const ASK_AFTER: Duration = Duration::from_secs(5);
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// A channel that dials by itself when it is used. TLS trusts the system's roots.
pub(super) fn channel(collector: &Collector) -> Result<Channel, Failure> {
    let wrong = |what: &str| Failure::usage(format!("spans cannot be exported to {collector}: {what}"));
    // The connector speaks TLS; an https URI would make tonic ask for its own.
    let endpoint = Endpoint::from_shared(format!("http://{}", collector.target()))
        .map_err(|error| wrong("not an address").because(error))?
        .connect_timeout(CONNECT_WITHIN)
        .timeout(ANSWER_WITHIN)
        .http2_keep_alive_interval(ASK_AFTER)
        .keep_alive_timeout(ASK_WITHIN)
        .user_agent(concat!("warren/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| wrong("no name for this program").because(error))?;
    if !collector.is_tls() {
        return Ok(endpoint.connect_lazy());
    }
    let roots = tls::native_roots().map_err(|error| wrong("no root to trust").because(error))?;
    let config = Trust::new(roots).and_then(|trust| tls::agent_client(trust, None, &["h2"]));
    let tls = TlsConnector::from(config.map_err(|error| wrong("no TLS").because(error))?);
    let target = collector.target();
    let name = ServerName::try_from(target.host().to_owned())
        .map_err(|error| wrong("not a host name").because(error))?;
    let place = Arc::new((target.host().to_owned(), target.port()));
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
        let (tls, name, place) = (tls.clone(), name.clone(), place.clone());
        async move {
            let socket = TcpStream::connect((place.0.as_str(), place.1)).await?;
            let stream = tls.connect(name, socket).await?;
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    })))
}
