use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::{Budget, Config, Handle, Hello, OpenRequest, Role, run};

/// caller's end ─ tunnel ─ relay ─ tunnel ─ target's end
struct Path {
    near: SessionStream,
    far: SessionStream,
    relay: JoinHandle<RelayEnd>,
}

async fn path() -> Path {
    let (near, first) = session().await;
    let (second, far) = session().await;
    Path { near, far, relay: tokio::spawn(relay(first, second)) }
}

/// Both ends of a session: that of who asked for it, and that of who took it.
async fn session() -> (SessionStream, SessionStream) {
    let (left, right) = duplex(256 * 1024);
    let budget = Budget::default();
    let start = |stream, role| -> Handle {
        let hello = Hello::new(1, 1, 0);
        let (handle, driver) = run(stream, Bytes::new(), role, Config::default(), hello, &budget);
        tokio::spawn(driver);
        handle
    };
    let (asks, takes) = (start(left, Role::Gateway), start(right, Role::Agent));
    let accept = async { takes.accept().await.unwrap().accept() };
    let (asked, taken) = tokio::join!(asks.open(OpenRequest::resource("db")), accept);
    (asked.unwrap(), taken)
}

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(131) ^ (i >> 9)) as u8).collect()
}

async fn end(relay: JoinHandle<RelayEnd>) -> RelayEnd {
    timeout(Duration::from_secs(10), relay).await.unwrap().unwrap()
}

#[tokio::test]
async fn carries_both_ways_and_each_end_by_itself() {
    let Path { mut near, mut far, relay } = path().await;
    let (up, down) = (noise(3_000_001), noise(2_000_003));
    let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
    let ask = async {
        near.write_all(&up).await.unwrap();
        near.shutdown().await.unwrap();
        near.read_to_end(&mut got_down).await.unwrap();
    };
    let answer = async {
        far.read_to_end(&mut got_up).await.unwrap();
        far.write_all(&down).await.unwrap();
        far.shutdown().await.unwrap();
    };
    tokio::join!(ask, answer);
    assert!(got_up == up && got_down == down);
    assert!(matches!(end(relay).await, RelayEnd::Finished));
}

#[tokio::test]
async fn a_cut_at_one_end_is_one_at_the_other_behind_what_came_before() {
    let Path { mut near, mut far, relay } = path().await;
    near.write_all(b"last words").await.unwrap();
    let mut heard = [0; 10];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"last words");
    near.reset(ResetReason::CallerGone, "by a test");
    let cut = timeout(Duration::from_secs(10), far.cut()).await.unwrap();
    assert_eq!((cut.reason, cut.detail.as_str()), (ResetReason::CallerGone, "by a test"));
    assert!(matches!(end(relay).await, RelayEnd::First(_)));

    let Path { near, far, relay } = path().await;
    far.reset(ResetReason::TargetReset, "by a test");
    let cut = timeout(Duration::from_secs(10), near.cut()).await.unwrap();
    assert_eq!(cut.reason, ResetReason::TargetReset);
    assert!(matches!(end(relay).await, RelayEnd::Second(_)));
}

#[tokio::test]
async fn a_reader_that_stands_still_holds_up_the_writer_in_the_end() {
    let Path { mut near, mut far, relay } = path().await;
    let all = noise(64 << 20);
    let length = all.len();
    let mut write = tokio::spawn(async move {
        near.write_all(&all).await.unwrap();
        near.shutdown().await.unwrap();
        near
    });
    // Nothing is read: windows and queues on the way take a part of it, never all.
    assert!(timeout(Duration::from_millis(500), &mut write).await.is_err(), "64 MiB are somewhere");
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard.len(), length);
    drop((write.await.unwrap(), far));
    drop(end(relay).await);
}
