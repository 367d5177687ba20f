use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio_stream::StreamExt;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};
use warren_core::state::RequestId;
use warren_wire::v1::{control_client::ControlClient, propose_request, propose_response::Outcome};

use super::*;
use crate::testing::{Member, PATIENCE, Site};

async fn founder(site: &Site) -> Member {
    let member = site.member(1, 1).await;
    member.group.found().await.unwrap();
    crate::membership::joined(member.group.watch(), member.id).await;
    member
}

/// The control rpc over one session, as a gateway speaks it.
async fn client(member: &Member, proof: &Proof) -> ControlClient<Channel> {
    let (_, sessions) = watch::channel(7);
    let desk = Desk::new(
        member.group.clone(),
        member.identity.clone(),
        sessions,
        watch::channel(Default::default()).1,
    );
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(desk.serve(far, proof.clone()));
    let mut near: Option<DuplexStream> = Some(near);
    let connector = tower::service_fn(move |_| {
        std::future::ready(near.take().map(TokioIo::new).ok_or_else(|| std::io::Error::other("taken")))
    });
    let channel = Endpoint::from_static("http://agent").connect_with_connector(connector).await.unwrap();
    ControlClient::new(channel)
}

fn put(request: u128, expected: Option<u64>) -> v1::ProposeRequest {
    let resource = v1::Resource { name: "db".into(), target: "db.corp:5432".into(), ..Default::default() };
    let change = v1::ConfigChange {
        expected_revision: expected,
        change: Some(v1::config_change::Change::Put(resource)),
    };
    v1::ProposeRequest {
        request_id: RequestId(request).to_string(),
        author: "ann".into(),
        timeout_ms: 5_000,
        command: Some(propose_request::Command::Config(change)),
    }
}

#[tokio::test]
async fn a_watch_tells_the_group_at_once_and_each_change() {
    let site = Site::new();
    let member = founder(&site).await;
    let proof = Proof::absent();
    let mut client = client(&member, &proof).await;
    let mut snapshots = client.watch(v1::WatchRequest {}).await.unwrap().into_inner();
    let first = snapshots.next().await.unwrap().unwrap();
    timeout(PATIENCE, proof.given()).await.unwrap();
    assert_eq!(first.member, member.id.to_string());
    let own = first.self_.unwrap();
    assert!(own.sessions == 7 && own.resident_bytes > 0 && own.certificate_expires_s > 0, "{own:?}");

    let asked = Instant::now();
    let outcome = client.propose(put(1, None)).await.unwrap().into_inner().outcome;
    assert_eq!(outcome, Some(Outcome::Revision(1)));
    loop {
        let snapshot = snapshots.next().await.unwrap().unwrap();
        if snapshot.revision == 1 {
            assert_eq!(snapshot.resources[0].name, "db");
            break;
        }
    }
    assert!(asked.elapsed() < Duration::from_secs(2), "told long before the next repetition");
    member.shutdown().await;
}

#[tokio::test]
async fn answers_to_proposals_are_typed() {
    let site = Site::new();
    let member = founder(&site).await;
    let mut client = client(&member, &Proof::absent()).await;
    client.propose(put(1, None)).await.unwrap();
    let again = client.propose(put(1, None)).await.unwrap().into_inner().outcome;
    assert_eq!(again, Some(Outcome::Revision(1)), "the same request is applied once");
    let stale = client.propose(put(2, Some(9))).await.unwrap().into_inner().outcome;
    assert!(matches!(stale, Some(Outcome::Refused(refused)) if refused.reason == "stale"));
    let garbled = v1::ProposeRequest { request_id: "x".into(), ..put(3, None) };
    assert_eq!(client.propose(garbled).await.unwrap_err().code(), Code::InvalidArgument);

    let history = client.history(v1::HistoryRequest { limit: 1 }).await.unwrap().into_inner();
    assert_eq!(history.entries.len(), 1);
    assert_eq!((history.entries[0].revision, history.entries[0].author.as_str()), (1, "ann"));
    member.shutdown().await;
}

#[test]
fn long_authors_are_cut_between_letters() {
    assert_eq!(author(""), "gateway");
    assert_eq!(author("ann"), "ann");
    assert_eq!(author(&"ü".repeat(100)).len(), AUTHOR_BYTES_MAX);
    assert_eq!(author(&format!("a{}", "ü".repeat(100))).len(), AUTHOR_BYTES_MAX - 1);
}
