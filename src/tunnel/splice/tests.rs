use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpListener,
    task::JoinHandle,
};

use super::*;
use crate::{Budget, Config, Handle, Hello, OpenRequest, Role, run};

/// caller ─ splice ─ session ─ splice ─ target
struct Path {
    caller: TcpStream,
    target: TcpStream,
    near: JoinHandle<SpliceReport>,
    far: JoinHandle<SpliceReport>,
    agent: Handle,
    session: u64,
}

async fn path() -> Path {
    let (left, right) = duplex(256 * 1024);
    let budget = Budget::default();
    let start =
        |stream, role| run(stream, Bytes::new(), role, Config::default(), Hello::new(1, 1, 0), &budget);
    let (gateway, driver) = start(left, Role::Gateway);
    tokio::spawn(driver);
    let (agent, driver) = start(right, Role::Agent);
    tokio::spawn(driver);
    let accept = async { agent.accept().await.unwrap().accept() };
    let (near, far) = tokio::join!(gateway.open(OpenRequest::resource("db")), accept);
    let (near, session) = (near.unwrap(), far.id());
    let (caller, ingress) = connected().await;
    let (egress, target) = connected().await;
    let near = tokio::spawn(splice(near, ingress, ResetReason::CallerGone));
    let far = tokio::spawn(splice(far, egress, ResetReason::TargetReset));
    Path { caller, target, near, far, agent, session }
}

async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(131) ^ (i >> 9)) as u8).collect()
}

async fn report(task: JoinHandle<SpliceReport>) -> SpliceReport {
    timeout(Duration::from_secs(10), task).await.unwrap().unwrap()
}

#[tokio::test]
async fn carries_both_ways_and_ends_cleanly() {
    let Path { mut caller, mut target, near, far, .. } = path().await;
    let up = noise(3_000_001);
    let down = noise(2_000_003);
    let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
    let ask = async {
        caller.write_all(&up).await.unwrap();
        caller.shutdown().await.unwrap();
        caller.read_to_end(&mut got_down).await.unwrap();
    };
    let answer = async {
        target.read_to_end(&mut got_up).await.unwrap();
        target.write_all(&down).await.unwrap();
        target.shutdown().await.unwrap();
    };
    tokio::join!(ask, answer);
    assert!(got_up == up && got_down == down);
    let (near, far) = (report(near).await, report(far).await);
    assert!(matches!((&near.end, &far.end), (SpliceEnd::Finished, SpliceEnd::Finished)));
    assert_eq!((near.from_socket, near.to_socket), (3_000_001, 2_000_003));
    assert_eq!((far.from_socket, far.to_socket), (2_000_003, 3_000_001));
}

#[tokio::test]
async fn what_was_said_arrives_though_it_is_read_late() {
    let Path { mut caller, mut target, near, .. } = path().await;
    // Neither the caller's system nor the gateway's has room for all of it at once, both together have.
    let answer = noise(300_000);
    SockRef::from(&caller).set_recv_buffer_size(8 * 1024).unwrap();
    caller.shutdown().await.unwrap();
    target.write_all(&answer).await.unwrap();
    target.shutdown().await.unwrap();
    assert!(matches!(report(near).await.end, SpliceEnd::Finished), "the gateway has closed its socket");
    let mut got = Vec::new();
    caller.read_to_end(&mut got).await.unwrap();
    assert!(got == answer, "{} bytes", got.len());
}

#[tokio::test]
async fn a_targets_reset_resets_the_caller() {
    let Path { mut caller, target, near, far, .. } = path().await;
    target.set_zero_linger().unwrap();
    drop(target);
    let error = caller.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "not an end");
    assert!(matches!(report(far).await.end, SpliceEnd::Socket(_)));
    let SpliceEnd::Session(cut) = report(near).await.end else { panic!("the session was cut") };
    assert_eq!((cut.reason, cut.by_peer), (ResetReason::TargetReset, true));
}

#[tokio::test]
async fn a_callers_reset_after_its_end_reaches_the_target() {
    let Path { mut caller, mut target, near, far, .. } = path().await;
    caller.write_all(b"ask").await.unwrap();
    caller.shutdown().await.unwrap();
    let mut asked = Vec::new();
    target.read_to_end(&mut asked).await.unwrap();
    assert_eq!(asked, b"ask");
    caller.set_zero_linger().unwrap();
    drop(caller);
    let SpliceEnd::Socket(_) = report(near).await.end else { panic!("the socket broke") };
    let SpliceEnd::Session(cut) = report(far).await.end else { panic!("the session was cut") };
    assert_eq!(cut.reason, ResetReason::CallerGone);
    // Its reading direction had ended before, so that only a write tells.
    assert!(target.write_all(b"answer").await.is_err());
}

#[tokio::test]
async fn an_answer_survives_a_target_that_stops_listening() {
    let Path { mut caller, mut target, near, .. } = path().await;
    caller.write_all(&noise(10)).await.unwrap();
    target.read_exact(&mut [0; 10]).await.unwrap();
    target.write_all(&noise(100_000)).await.unwrap();
    drop(target);
    // The target is gone; what is sent on meets a reset.
    let mut got = vec![0; 100_000];
    caller.write_all(&noise(50_000)).await.unwrap();
    caller.read_exact(&mut got).await.unwrap();
    assert_eq!(got, noise(100_000));
    let _ = caller.write_all(&noise(50_000)).await;
    drop(caller);
    report(near).await;
}

#[tokio::test]
async fn a_session_that_is_cut_resets_both_sockets() {
    let Path { mut caller, mut target, near, far, agent, session } = path().await;
    agent.reset(session, ResetReason::Disabled, "disabled");
    for socket in [&mut caller, &mut target] {
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
    for task in [near, far] {
        let SpliceEnd::Session(cut) = report(task).await.end else { panic!("the session was cut") };
        assert_eq!(cut.reason, ResetReason::Disabled);
    }
}
