use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use warren_core::id::GatewayId;
use warren_identity::SwappableKey;

use super::*;
use crate::testing::Site;

const fn wanted(replicas: u32) -> Wanted {
    Wanted { replicas, start: 0, ends: false }
}

#[test]
fn only_a_pod_beyond_what_the_set_wants_leaves() {
    // Five become three.
    assert_eq!([0, 1, 2, 3, 4].map(|ordinal| leaves(ordinal, wanted(3))), [false, false, false, true, true]);
    // A restart, an upgrade, a drained node: the set wants as many as before.
    assert!((0..5).all(|ordinal| !leaves(ordinal, wanted(5))));
    // It has grown again meanwhile.
    assert!(!leaves(4, wanted(7)));
}

#[test]
fn ordinals_may_begin_elsewhere() {
    let from_ten = Wanted { start: 10, ..wanted(3) };
    assert_eq!([9, 10, 12, 13].map(|ordinal| leaves(ordinal, from_ten)), [true, false, false, true]);
    let to_the_end = Wanted { start: u32::MAX, ..wanted(3) };
    assert!(!leaves(u32::MAX, to_the_end));
}

#[test]
fn a_set_that_is_stopped_or_deleted_dissolves_no_group() {
    assert!((0..3).all(|ordinal| !leaves(ordinal, wanted(0))));
    let deleted = Wanted { ends: true, ..wanted(1) };
    assert!((0..3).all(|ordinal| !leaves(ordinal, deleted)));
}

#[test]
fn what_a_set_leaves_out_is_what_kubernetes_takes() {
    let read = |text: &str| understand(text.as_bytes()).unwrap();
    assert_eq!(read(r#"{"metadata": {"name": "a"}, "spec": {"replicas": 3}}"#), wanted(3));
    assert_eq!(read(r#"{"metadata": {}, "spec": {}}"#), wanted(1));
    let text = r#"{"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"replicas": 3, "ordinals": {"start": 2}}}"#;
    assert_eq!(read(text), Wanted { replicas: 3, start: 2, ends: true });
    assert!(matches!(understand(b"{}"), Err(AskError::Answer(_))));
}

/// An API that answers every question like this, or not at all.
async fn api(site: &Site, answer: Option<&'static str>) -> Kubernetes {
    let names = ["127.0.0.1".to_owned()];
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3_600));
    let (issued, key) = site.authority.issue_gateway(GatewayId::from_random(1), &names, now, hour).unwrap();
    let shown = SwappableKey::new(&issued.pem, key.to_rustls()).unwrap();
    let trust = Trust::from_pem(&site.authority.bundle_pem()).unwrap();
    let acceptor = TlsAcceptor::from(tls::gateway_server(shown, trust, &["http/1.1"]).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            let Some(answer) = answer else {
                open.push(socket);
                continue;
            };
            let Ok(mut stream) = acceptor.accept(socket).await else { continue };
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && stream.read_buf(&mut asked).await.unwrap() > 0 {}
            let asked = String::from_utf8(asked).unwrap();
            let good = asked.starts_with("GET /apis/apps/v1/namespaces/site/statefulsets/agent HTTP/1.1\r\n")
                && asked.contains("authorization: Bearer secret\r\n");
            let answer = if good { answer } else { "HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n" };
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    let account = site.folder("account");
    std::fs::create_dir_all(&account).unwrap();
    std::fs::write(account.join("token"), "secret\n").unwrap();
    std::fs::write(account.join("ca.crt"), site.authority.bundle_pem()).unwrap();
    Kubernetes { pod: "site/agent-3".parse().unwrap(), api: address.to_string().parse().unwrap(), account }
}

#[tokio::test]
async fn the_set_is_asked_for_with_the_pods_own_token() {
    let site = Arc::new(Site::new());
    let three = r#"{"metadata": {}, "spec": {"replicas": 3}}"#;
    let answer: &'static str =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{three}", three.len()).leak();
    let kubernetes = api(&site, Some(answer)).await;
    assert!(scaled_away(&kubernetes).await.unwrap());
    let first = Kubernetes { pod: "site/agent-0".parse().unwrap(), ..kubernetes };
    assert!(!scaled_away(&first).await.unwrap());
}

#[tokio::test]
async fn a_refusal_says_what_is_missing() {
    let site = Arc::new(Site::new());
    let answer = "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n";
    let kubernetes = api(&site, Some(answer)).await;
    let error = scaled_away(&kubernetes).await.unwrap_err();
    assert!(error.to_string().contains("must be allowed to get its StatefulSet"), "{error}");
    std::fs::remove_file(kubernetes.account.join("token")).unwrap();
    assert!(matches!(scaled_away(&kubernetes).await, Err(AskError::Account { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_api_that_is_silent_holds_nobody_up() {
    let site = Arc::new(Site::new());
    let kubernetes = api(&site, None).await;
    assert!(matches!(scaled_away(&kubernetes).await, Err(AskError::Late)));
}
