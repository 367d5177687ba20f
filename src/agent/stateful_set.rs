//! Whether the StatefulSet that this agent is a pod of has become too small for it.
//!
//! Kubernetes does not tell a pod why it ends. One whose ordinal its set does not want any more was scaled away, and does
//! not come back soon; any other does, on whatever node. So the set is read once, when the agent is told to stop.

use std::{future::Future, io, path::PathBuf, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, StatusCode,
    body::Bytes,
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, HOST},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde::Deserialize;
use thiserror::Error;
use tokio::{fs, net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use warren_identity::{TlsError, Trust, tls};

use crate::config::Kubernetes;

/// A pod that ends has little time, and the drain does not wait for this.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A StatefulSet with all that Kubernetes notes beside it is some 20 KiB.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why it is not known what the set wants.
#[derive(Debug, Error)]
pub(crate) enum AskError {
    #[error("cannot read `{}`", path.display())]
    Account { path: PathBuf, source: io::Error },
    #[error("cannot use the roots of the Kubernetes API")]
    Roots(#[from] TlsError),
    #[error("cannot reach the Kubernetes API")]
    Reach(#[from] io::Error),
    #[error("the Kubernetes API broke off")]
    Http(#[from] hyper::Error),
    #[error("the Kubernetes API's answer cannot be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(
        "the Kubernetes API answered {0}: the pod's service account must be allowed to get its StatefulSet"
    )]
    Status(StatusCode),
    #[error("the Kubernetes API's answer is no StatefulSet")]
    Answer(#[from] serde_json::Error),
    #[error("no answer of the Kubernetes API within {ANSWER_WITHIN:?}")]
    Late,
}

/// Which pods a set wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    replicas: u32,
    /// The first ordinal.
    start: u32,
    /// It is being deleted, with all of its pods.
    ends: bool,
}

/// Whether the pod was scaled away. A set of no pods at all is stopped, and so is one that is deleted: their members may be
/// started again, and a group that was dissolved could not.
const fn leaves(ordinal: u32, wanted: Wanted) -> bool {
    let Wanted { replicas, start, ends } = wanted;
    let is_wanted = ordinal >= start && ordinal - start < replicas;
    !ends && replicas > 0 && !is_wanted
}

/// Asks Kubernetes whether this agent's pod was scaled away.
pub(crate) async fn scaled_away(kubernetes: &Kubernetes) -> Result<bool, AskError> {
    let wanted = timeout(ANSWER_WITHIN, read(kubernetes)).await.map_err(|_| AskError::Late)??;
    tracing::info!(pod = %kubernetes.pod, ?wanted, "asked the StatefulSet which pods it wants");
    Ok(leaves(kubernetes.pod.ordinal, wanted))
}

async fn read(kubernetes: &Kubernetes) -> Result<Wanted, AskError> {
    // Read each time: Kubernetes renews the token.
    let (token, roots) = (file(kubernetes, "token").await?, file(kubernetes, "ca.crt").await?);
    let (api, pod) = (&kubernetes.api, &kubernetes.pod);
    let tls = tls::agent_client(Trust::from_pem(&roots)?, None, &["http/1.1"])?;
    let name = ServerName::try_from(api.host().to_owned()).map_err(io::Error::other)?;
    let socket = TcpStream::connect((api.host(), api.port())).await?;
    let stream = TlsConnector::from(tls).connect(name, socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request =
        Request::get(format!("/apis/apps/v1/namespaces/{}/statefulsets/{}", pod.namespace, pod.set))
            .header(HOST, api.to_string())
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, format!("Bearer {}", token.trim()))
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(AskError::Status(answer.status()));
        }
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        understand(&body.map_err(AskError::Body)?.to_bytes())
    };
    beside(connection, answer).await
}

/// The connection has to be driven while it is used; what it ends with is told by who uses it.
async fn beside<T>(connection: impl Future, used: impl Future<Output = T>) -> T {
    tokio::pin!(connection, used);
    tokio::select! {
        biased;
        used = &mut used => used,
        _ = &mut connection => used.await,
    }
}

async fn file(kubernetes: &Kubernetes, name: &str) -> Result<String, AskError> {
    let path = kubernetes.account.join(name);
    fs::read_to_string(&path).await.map_err(|source| AskError::Account { path, source })
}

fn understand(answer: &[u8]) -> Result<Wanted, AskError> {
    #[derive(Deserialize)]
    struct StatefulSet {
        metadata: Metadata,
        spec: Spec,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        deletion_timestamp: Option<String>,
    }
    #[derive(Deserialize)]
    struct Spec {
        replicas: Option<u32>,
        #[serde(default)]
        ordinals: Ordinals,
    }
    #[derive(Default, Deserialize)]
    struct Ordinals {
        #[serde(default)]
        start: u32,
    }
    let set: StatefulSet = serde_json::from_slice(answer)?;
    Ok(Wanted {
        // Kubernetes' own default.
        replicas: set.spec.replicas.unwrap_or(1),
        start: set.spec.ordinals.start,
        ends: set.metadata.deletion_timestamp.is_some(),
    })
}

#[cfg(test)]
mod tests;
