use std::{io, time::Duration};

use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use warren_core::id::AgentId;
use warren_group::PeerDialer;
use warren_identity::{authority::agent_server_name, tls};
use warren_wire::v1::{self, peer_client::PeerClient};

use super::*;
use crate::{
    membership::{current_view, joined},
    testing::{PATIENCE, Site},
};

#[tokio::test]
async fn members_of_a_group_meet_over_mutual_tls() {
    let site = Site::new();
    let (first, second) = (site.member(1, 1).await, site.member(2, 1).await);
    first.group.found().await.unwrap();
    joined(first.group.watch(), first.id).await;
    second.group.join(&[(first.id, first.address.clone())], PATIENCE).await.unwrap();
    timeout(PATIENCE, joined(second.group.watch(), second.id)).await.unwrap();
    assert_eq!(second.put("db", "db.corp:5432").await, 1, "a follower forwards to the leader");
    let mut seen = first.group.watch();
    timeout(PATIENCE, seen.wait_for(|view| view.state.revision == 1)).await.unwrap().unwrap();
    assert_eq!(current_view(&first.group).state.members.len(), 2);
    second.shutdown().await;
    first.shutdown().await;
}

#[tokio::test]
async fn strangers_are_refused_in_the_handshake() {
    let site = Site::new();
    let member = site.member(1, 1).await;
    let other_group = site.identity(9, 2);
    let other_authority = Site::new().identity(2, 1);
    for stranger in [other_group, other_authority] {
        // A client that trusts everything of its own, so that it is the server's refusal that shows.
        let roots = site.identity(1, 1).peers.clone();
        let tls = tls::agent_client(roots, Some(stranger.shown.clone()), ALPN).unwrap();
        let socket = TcpStream::connect(&member.address).await.unwrap();
        let refused: io::Result<()> = async {
            let mut stream = TlsConnector::from(tls).connect(agent_server_name(member.id), socket).await?;
            // In TLS 1.3 a client learns of its refusal with the first read.
            stream.read_u8().await.map(|_| ())
        }
        .await;
        let error = refused.unwrap_err();
        assert_ne!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    }
    member.shutdown().await;
}

#[tokio::test]
async fn whoever_took_the_address_of_another_member_is_refused() {
    let site = Site::new();
    let (member, caller) = (site.member(1, 1).await, site.identity(2, 1));
    let dialer = Dialer::new(&caller).unwrap();
    let meant = AgentId::from_random(3);
    let error = PeerClient::new(dialer.channel(meant, &member.address))
        .ping(v1::PingRequest { envelope: None })
        .await
        .unwrap_err();
    let told = crate::cloud::causes(&error);
    assert!(told.contains("not valid for name"), "{told}");
    member.shutdown().await;
}

#[tokio::test]
async fn silent_connections_do_not_keep_members_out() {
    let site = Site::new();
    let (first, second) = (site.member(1, 1).await, site.member(2, 1).await);
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(&first.address).await.unwrap());
    }
    first.group.found().await.unwrap();
    let begun = Instant::now();
    second.group.join(&[(first.id, first.address.clone())], PATIENCE).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(4), "did not wait for the silent ones to time out");
    second.shutdown().await;
    first.shutdown().await;
}

#[tokio::test]
async fn a_picked_port_is_kept_and_given_up_when_taken() {
    let any = "127.0.0.1:0".parse().unwrap();
    let first = Listener::bind(any, None).await.unwrap();
    let port = first.local_addr().unwrap().port();
    let other = Listener::bind(any, Some(port)).await.unwrap();
    assert_ne!(other.local_addr().unwrap().port(), port);
    drop(first);
    let again: TcpListener = Listener::bind(any, Some(port)).await.unwrap();
    assert_eq!(again.local_addr().unwrap().port(), port);
}
