use tonic::Code;
use warren_core::id::GatewayId;
use warren_tunnel::{CloseReason, Hello};
use warren_wire::v1::{ListSessionsRequest, ShowSessionRequest};

use super::{reason, world::World};
use crate::{
    metrics::SessionMeters,
    sessions::{Outcome, Wanted},
    store::GatewayRecord,
    testing,
};

#[tokio::test]
async fn sessions_of_all_gateways_are_told_by_each() {
    let there = World::new().await;
    let here = there.beside().await;
    let site = there.site("site").await;
    let wanted = Wanted { group: site.group, resource: "db".parse().unwrap() };
    let meters = SessionMeters::of("site".into());
    let begin = |world: &World, trace: u8| {
        world.context.sessions.begin(&wanted, &meters, "127.0.0.1:9".parse().unwrap(), [trace; 16])
    };
    let (theirs, ours) = (begin(&there, 1), begin(&here, 2));
    begin(&there, 3).end(Outcome::Closed, String::new());
    let sessions = here.admin().sessions();
    let list = |all, limit| ListSessionsRequest { group: "site".into(), all, limit, ..Default::default() };
    let listed = sessions.clone().list(list(true, 0)).await.unwrap().into_inner();
    let (near, far) = (here.context.gateway.to_string(), there.context.gateway.to_string());
    let gateways: Vec<_> = listed.sessions.iter().map(|session| &*session.gateway).collect();
    assert_eq!(gateways, [&near, &far, &far], "the newest first, the ended one last");
    assert_eq!((listed.total_open, listed.missing.len()), (2, 0));
    assert_eq!(sessions.clone().list(list(false, 1)).await.unwrap().into_inner().sessions.len(), 1);

    // One that there is a tunnel to, and that is gone.
    let (gone, _far_end) = testing::tunnel(Hello::new(1, 1, 0));
    gone.ready().await.unwrap();
    gone.close(CloseReason::Shutdown, "gateway stops");
    gone.closed().await;
    let silent = GatewayRecord {
        id: GatewayId::from_random(9),
        url: "https://gone".into(),
        address: String::new(),
        version: String::new(),
        silent_s: 0,
    };
    here.context.neighbours.up(silent.id, gone);
    here.context.store.beat(&silent).await.unwrap();
    let listed = sessions.clone().list(list(true, 0)).await.unwrap().into_inner();
    let missing: Vec<_> = listed.missing.iter().map(|one| (&*one.gateway, &*one.why)).collect();
    assert_eq!(
        (listed.sessions.len(), missing),
        (3, vec![(&*silent.id.to_string(), "there is no tunnel to it")])
    );

    let show = |id: String| {
        let mut sessions = sessions.clone();
        async move { sessions.show(ShowSessionRequest { id }).await.map(tonic::Response::into_inner) }
    };
    let id = format!("{}@{far}", theirs.id());
    assert_eq!(show(id).await.unwrap().trace, "01".repeat(16), "by the id as listed");
    assert_eq!(show("01".repeat(16)).await.unwrap().gateway, far, "by its trace");
    assert_eq!(show(ours.id().to_string()).await.unwrap().gateway, near, "of the one that is asked");
    let unknown = show(format!("99@{far}")).await.unwrap_err();
    assert_eq!(reason(&unknown), (Code::NotFound, "unknown_session"));
    for id in [format!("1@{}", silent.id), "09".repeat(16)] {
        let unheard = show(id).await.unwrap_err();
        assert_eq!(reason(&unheard), (Code::Unavailable, "unreachable"), "it may have that one");
    }
    let nonsense = show(format!("1@{far}@")).await.unwrap_err();
    assert_eq!(reason(&nonsense), (Code::InvalidArgument, "invalid"));

    let alone = there.admin().sessions().show(ShowSessionRequest { id: theirs.id().to_string() }).await;
    assert_eq!(alone.unwrap().into_inner().id, theirs.id().to_string(), "who is alone names no gateway");
}
