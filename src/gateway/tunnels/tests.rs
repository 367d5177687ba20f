use warren_tunnel::{OpenResult, SessionKind, echo::serve_echo};

use super::*;
use crate::testing::{agent, group, identity, store, tunnel, until};

async fn tunnels(folder: &tempfile::TempDir) -> Tunnels {
    let limits = TunnelLimits {
        gateway: GatewayId::from_random(7),
        machine: Config::default(),
        echo_every: Duration::from_millis(50),
        tunnels_max: 10,
        budget: Budget::new(1 << 30),
    };
    Tunnels::new(Registry::default(), store(folder).await, limits, CancellationToken::new())
}

/// An agent's end that echoes so many times, and from then on only answers pings.
fn echoes(far: Handle, mut times: u32) {
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(incoming) = far.accept().await {
            if incoming.request().kind != SessionKind::Echo {
                incoming.refuse(OpenResult::Unknown, "nothing here");
            } else if times > 0 {
                times -= 1;
                tokio::spawn(serve_echo(incoming.accept()));
            } else {
                held.push(incoming);
            }
        }
    });
}

#[tokio::test]
async fn a_tunnel_that_pings_but_does_not_carry_data_is_recycled() {
    let folder = tempfile::tempdir().unwrap();
    let tunnels = tunnels(&folder).await;
    let (near, far) = tunnel(Hello::new(1, 1, 0));
    echoes(far.clone(), 3);
    let served = tunnels.clone();
    tokio::spawn(async move { served.attend(near, identity(agent(1))).await });
    let registry = &tunnels.shared.registry;
    until("it is verified", || registry.group(group()).is_some()).await;
    // Two echoes of two seconds each are missed.
    let closed = timeout(Duration::from_secs(8), far.closed()).await.unwrap();
    assert_eq!((closed.reason, closed.detail.as_str()), (CloseReason::NotAlive, "does not carry data"));
    until("it is forgotten", || registry.tunnels().is_empty()).await;
}

#[tokio::test]
async fn a_tunnel_without_an_echo_never_counts() {
    let folder = tempfile::tempdir().unwrap();
    let tunnels = tunnels(&folder).await;
    let (near, far) = tunnel(Hello::new(1, 1, 0));
    let refusing = far.clone();
    tokio::spawn(async move {
        while let Some(incoming) = refusing.accept().await {
            incoming.refuse(OpenResult::Internal, "broken");
        }
    });
    tunnels.attend(near, identity(agent(1))).await;
    assert_eq!(timeout(Duration::from_secs(2), far.closed()).await.unwrap().reason, CloseReason::NotAlive);
    assert!(tunnels.shared.registry.group(group()).is_none());
}

#[tokio::test]
async fn an_agent_that_nobody_knows_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let tunnels = tunnels(&folder).await;
    let answer = async |identity: Result<&PeerIdentity, IdentityError>| {
        let response = tunnels.answer(&mut Request::new(()), identity).await;
        let reason = response.headers()["warren-reason"].to_str().unwrap().to_owned();
        (response.status().as_u16(), reason)
    };
    let expired = PeerIdentity {
        validity: warren_identity::Validity {
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH + Duration::from_secs(1),
        },
        ..identity(agent(1))
    };
    assert_eq!(answer(Err(IdentityError::NoCertificate)).await, (401, "no_certificate".into()));
    assert_eq!(answer(Ok(&expired)).await, (403, "cert_expired".into()));
    assert_eq!(answer(Ok(&identity(agent(1)))).await, (403, "unknown_agent".into()));
    tunnels.shared.registry.cut_agent(agent(1), CloseReason::Revoked);
    assert_eq!(answer(Ok(&identity(agent(1)))).await, (403, "revoked".into()));
    tunnels.shared.draining.cancel();
    assert_eq!(answer(Ok(&identity(agent(2)))).await, (503, "stopping".into()));
}
