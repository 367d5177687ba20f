use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::{
    echo::{check_echo, serve_echo},
    frame::{CloseReason, Frame, OpenRequest, OpenResult, ResetReason, encode},
    machine::Liveness,
    websocket::{self, Opcode, Side},
};

const SECOND: Duration = Duration::from_secs(1);

struct Ends {
    gateway: Handle,
    agent: Handle,
    drivers: [JoinHandle<Closed>; 2],
    budget: Budget,
}

/// A gateway and an agent over a pipe that takes `buffer` bytes.
fn ends(buffer: usize) -> Ends {
    let (left, right) = duplex(buffer);
    ends_over(left, right)
}

fn ends_over<A, B>(left: A, right: B) -> Ends
where
    A: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let budget = Budget::default();
    let (gateway, driver) = start(left, Role::Gateway, &budget);
    let (agent, other) = start(right, Role::Agent, &budget);
    Ends { gateway, agent, drivers: [tokio::spawn(driver), tokio::spawn(other)], budget }
}

fn start<S: AsyncRead + AsyncWrite + Unpin>(stream: S, role: Role, budget: &Budget) -> (Handle, Driver<S>) {
    run(stream, Bytes::new(), role, Config::default(), Hello::new(1, 1, 0), budget)
}

impl Ends {
    async fn open(&self) -> (SessionStream, SessionStream) {
        let accept = async { self.agent.accept().await.unwrap().accept() };
        let (near, far) = tokio::join!(self.gateway.open(OpenRequest::resource("db")), accept);
        (near.unwrap(), far)
    }
}

fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) ^ (i >> 7)) as u8).collect()
}

#[tokio::test]
async fn opens_carries_and_half_closes() {
    let ends = ends(64 * 1024);
    let (mut near, mut far) = ends.open().await;
    assert_eq!(near.id(), far.id());
    near.write_all(b"question").await.unwrap();
    near.shutdown().await.unwrap();
    let mut text = String::new();
    far.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "question");
    far.write_all(b"answer").await.unwrap();
    far.shutdown().await.unwrap();
    text.clear();
    near.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "answer");
    assert_eq!((near.meter().sent(), near.meter().received()), (8, 6));
    let error = near.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn megabytes_both_ways_through_an_awkward_pipe() {
    let ends = ends(7001);
    let (near, far) = ends.open().await;
    let bytes = noise(5 << 20);
    let pump = |stream: SessionStream, bytes: Vec<u8>| async move {
        let (mut read, mut write) = tokio::io::split(stream);
        let mut got = Vec::new();
        let send = async {
            write.write_all(&bytes).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let (_, count) = tokio::join!(send, read.read_to_end(&mut got));
        count.unwrap();
        got
    };
    let (a, b) = tokio::join!(pump(near, bytes.clone()), pump(far, bytes.clone()));
    assert!(a == bytes && b == bytes);
    let given_back = async {
        while ends.budget.held() + ends.budget.grown() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(5 * SECOND, given_back).await.unwrap();
    assert!(ends.gateway.stats().bytes_in > 5 << 20);
}

#[tokio::test]
async fn first_bytes_arrive_with_the_open() {
    let ends = ends(64 * 1024);
    let (mut near, answer) = ends.gateway.open_early(OpenRequest::resource("db")).await.unwrap();
    near.write_all(b"early").await.unwrap();
    let incoming = ends.agent.accept().await.unwrap();
    assert_eq!(incoming.request().name, "db");
    sleep(Duration::from_millis(10)).await;
    let mut far = incoming.accept();
    let mut text = [0; 5];
    far.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"early");
    answer.await.unwrap();
}

#[tokio::test]
async fn refusals_are_typed() {
    let ends = ends(64 * 1024);
    let refuse = async {
        ends.agent.accept().await.unwrap().refuse(OpenResult::Dns, "no such name");
        drop(ends.agent.accept().await.unwrap());
    };
    let open = async {
        let refused = ends.gateway.open(OpenRequest::resource("db")).await.unwrap_err();
        let detail = "no such name".to_owned();
        assert_eq!(refused, OpenError::Answered { result: OpenResult::Dns, detail });
        let dropped = ends.gateway.open(OpenRequest::resource("db")).await.unwrap_err();
        assert_eq!(dropped.result(), Some(OpenResult::Internal));
    };
    tokio::join!(refuse, open);
    assert_eq!(ends.gateway.stats().sessions, 0);
}

#[tokio::test]
async fn an_open_that_is_given_up_cancels_the_dial() {
    let ends = ends(64 * 1024);
    let gateway = ends.gateway.clone();
    let open = tokio::spawn(async move { gateway.open(OpenRequest::resource("db")).await });
    let incoming = ends.agent.accept().await.unwrap();
    open.abort();
    timeout(SECOND, incoming.cancelled()).await.unwrap();
    let mut far = incoming.accept();
    let error = far.read_u8().await.unwrap_err();
    assert_eq!(SessionError::of(&error).unwrap().reason, ResetReason::CallerGone);
}

#[tokio::test]
async fn a_reset_is_an_error_with_its_reason() {
    let ends = ends(64 * 1024);
    let (mut near, far) = ends.open().await;
    far.reset(ResetReason::TargetReset, "connection reset by target");
    let error = near.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let cut = SessionError::of(&error).unwrap();
    assert_eq!(
        (cut.reason, cut.detail.as_str(), cut.by_peer),
        (ResetReason::TargetReset, "connection reset by target", true)
    );
    assert_eq!(near.write(b"x").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(near.cut().await, *cut);
}

#[tokio::test]
async fn a_dropped_stream_is_a_reset_and_not_an_end() {
    let ends = ends(64 * 1024);
    let (near, mut far) = ends.open().await;
    drop(near);
    let error = far.read_u8().await.unwrap_err();
    assert_eq!(SessionError::of(&error).unwrap().reason, ResetReason::CallerGone);
}

#[tokio::test]
async fn a_session_can_be_cut_from_outside() {
    let ends = ends(64 * 1024);
    let (mut near, mut far) = ends.open().await;
    let reading = tokio::spawn(async move { near.read_u8().await });
    tokio::task::yield_now().await;
    ends.gateway.reset(far.id(), ResetReason::Disabled, "disabled by the operator");
    for error in [reading.await.unwrap().unwrap_err(), far.read_u8().await.unwrap_err()] {
        assert_eq!(SessionError::of(&error).unwrap().reason, ResetReason::Disabled);
    }
}

#[tokio::test]
async fn drain_waits_and_the_peer_knows() {
    let ends = ends(64 * 1024);
    let (mut near, mut far) = ends.open().await;
    let agent = ends.agent.clone();
    let drain = tokio::spawn(async move { agent.drain(10 * SECOND, "upgrade").await });
    let mut status = ends.gateway.status();
    status.wait_for(|status| status.peer_drain.is_some()).await.unwrap();
    let refused = ends.gateway.open(OpenRequest::resource("db")).await.unwrap_err();
    assert_eq!(refused.result(), Some(OpenResult::Draining));
    assert!(!drain.is_finished());
    for stream in [&mut near, &mut far] {
        stream.shutdown().await.unwrap();
    }
    for stream in [&mut near, &mut far] {
        assert_eq!(stream.read(&mut [0; 10]).await.unwrap(), 0);
    }
    drop((near, far));
    assert_eq!(drain.await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn drain_says_what_it_cut() {
    let ends = ends(64 * 1024);
    let (mut near, _far) = ends.open().await;
    assert_eq!(ends.agent.drain(SECOND, "").await, 1);
    let error = near.read_u8().await.unwrap_err();
    assert_eq!(SessionError::of(&error).unwrap().reason, ResetReason::Draining);
}

#[tokio::test]
async fn close_is_heard_and_both_drivers_end() {
    let ends = ends(64 * 1024);
    let (mut near, _far) = ends.open().await;
    ends.agent.close(CloseReason::Shutdown, "bye");
    let expected = Closed { reason: CloseReason::Shutdown, detail: "bye".into(), by_peer: true };
    assert_eq!(timeout(SECOND, ends.gateway.closed()).await.unwrap(), expected);
    let error = near.read_u8().await.unwrap_err();
    assert_eq!(SessionError::of(&error).unwrap().reason, ResetReason::TunnelLost);
    assert!(ends.agent.accept().await.is_none() && ends.agent.accept().await.is_none());
    let lost = ends.gateway.open(OpenRequest::resource("db")).await.unwrap_err();
    assert_eq!(lost, OpenError::TunnelLost(expected));
    for driver in ends.drivers {
        timeout(SECOND, driver).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_broken_connection_ends_the_tunnel_at_once() {
    let ends = ends(64 * 1024);
    let (mut near, _far) = ends.open().await;
    ends.drivers[1].abort();
    let closed = timeout(SECOND, ends.gateway.closed()).await.unwrap();
    assert_eq!((closed.reason, closed.by_peer), (CloseReason::NotAlive, false));
    assert!(near.read_u8().await.is_err());
    assert_eq!(timeout(SECOND, ends.agent.closed()).await.unwrap().reason, CloseReason::NotAlive);
}

#[tokio::test]
async fn the_echo_proves_that_data_flows() {
    let ends = ends(64 * 1024);
    let agent = ends.agent.clone();
    tokio::spawn(async move {
        while let Some(incoming) = agent.accept().await {
            tokio::spawn(serve_echo(incoming.accept()));
        }
    });
    check_echo(&ends.gateway, SECOND).await.unwrap();
    let unlimited = noise(100_000);
    let mut stream = ends.gateway.open(OpenRequest::echo()).await.unwrap();
    let _ = stream.write_all(&unlimited).await;
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    assert_eq!(SessionError::of(&error).unwrap().reason, ResetReason::Overflow);
}

#[tokio::test(start_paused = true)]
async fn an_idle_tunnel_lives_and_a_silent_one_dies() {
    let cut = Arc::new(AtomicBool::new(false));
    let (left, right) = duplex(64 * 1024);
    let ends = ends_over(Valve { inner: left, shut: cut.clone() }, right);
    ends.gateway.ready().await.unwrap();
    sleep(60 * SECOND).await;
    assert_eq!(ends.gateway.stats().liveness, Liveness::Alive);
    cut.store(true, Relaxed);
    let start = Instant::now();
    let mut status = ends.agent.status();
    status.wait_for(|status| status.liveness == Liveness::Suspect).await.unwrap();
    let silence = start.elapsed();
    assert!(silence >= 2 * SECOND && silence <= 4 * SECOND, "{silence:?} after the last frame but one");
    let closed = ends.agent.closed().await;
    assert_eq!(closed.reason, CloseReason::NotAlive);
    assert!(start.elapsed() <= 8 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_blocked_write_does_not_stop_reading() {
    let shut = Arc::new(AtomicBool::new(false));
    let (left, right) = duplex(64 * 1024);
    let ends = ends_over(Valve { inner: left, shut: shut.clone() }, right);
    let (near, mut far) = ends.open().await;
    shut.store(true, Relaxed);
    near.send_bytes(Bytes::from(noise(100_000))).await.unwrap();
    far.write_all(&noise(200_000)).await.unwrap();
    let mut got = Vec::new();
    let mut reader = near.take(200_000);
    timeout(SECOND, reader.read_to_end(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, noise(200_000));
}

/// A pipe whose outgoing direction can be shut: what is written waits for ever.
struct Valve {
    inner: DuplexStream,
    shut: Arc<AtomicBool>,
}

impl AsyncRead for Valve {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Valve {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.shut.load(Relaxed) { Poll::Pending } else { Pin::new(&mut self.inner).poll_write(cx, buf) }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// One end of a pipe whose other end is a gateway that takes bytes as they are written.
fn stranger() -> (DuplexStream, Handle, JoinHandle<Closed>) {
    let (left, right) = duplex(64 * 1024);
    let (gateway, driver) = start(left, Role::Gateway, &Budget::default());
    (right, gateway, tokio::spawn(driver))
}

fn message(opcode: Opcode, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    websocket::encode_header(Side::Client, opcode, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out
}

#[tokio::test]
async fn garbage_closes_the_tunnel_with_a_reason() {
    let mut hello = BytesMut::new();
    encode(&Frame::Hello(Hello::new(1, 1, 0)), &mut hello);
    let mut unknown = hello.clone();
    unknown.extend_from_slice(&[77; 16]);
    let cases = [
        (BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..]), "websocket"),
        (message(Opcode::Binary, &[9; 16]), "pong: flags"),
        (message(Opcode::Binary, &unknown), "unknown frame type 77"),
    ];
    for (bytes, expected) in cases {
        let (mut stranger, gateway, driver) = stranger();
        stranger.write_all(&bytes).await.unwrap();
        let closed = timeout(SECOND, gateway.closed()).await.unwrap();
        assert_eq!((closed.reason, closed.by_peer), (CloseReason::ProtocolError, false));
        assert!(closed.detail.contains(expected), "{}", closed.detail);
        let mut said = Vec::new();
        stranger.read_to_end(&mut said).await.unwrap();
        assert!(String::from_utf8_lossy(&said).contains(expected), "the peer is told");
        drop(stranger);
        timeout(SECOND, driver).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_says_nothing_is_closed_after_five_seconds() {
    let (_stranger, gateway, driver) = stranger();
    let start = Instant::now();
    assert!(gateway.ready().await.is_err());
    assert_eq!(start.elapsed().as_secs(), 5);
    driver.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 6, "and gone a second later, though it never answers");
}

#[tokio::test]
async fn websocket_pings_are_answered() {
    let (mut stranger, _gateway, _driver) = stranger();
    stranger.write_all(&message(Opcode::Ping, b"are you there")).await.unwrap();
    let mut said = vec![0; 2048];
    let answered = async {
        let mut len = 0;
        while !said[..len].windows(15).any(|window| window == b"\x8a\x0dare you there") {
            len += stranger.read(&mut said[len..]).await.unwrap();
        }
    };
    timeout(SECOND, answered).await.unwrap();
}

#[tokio::test]
async fn bytes_read_before_the_tunnel_began_count() {
    let (mut left, right) = duplex(64 * 1024);
    let mut hello = BytesMut::new();
    encode(&Frame::Hello(Hello::new(5, 6, 1)), &mut hello);
    let early = message(Opcode::Binary, &hello);
    let (head, tail) = early.split_at(9);
    left.write_all(tail).await.unwrap();
    let read_buf = Bytes::copy_from_slice(head);
    let (gateway, driver) =
        run(right, read_buf, Role::Gateway, Config::default(), Hello::new(1, 1, 0), &Budget::default());
    tokio::spawn(driver);
    assert_eq!(timeout(SECOND, gateway.ready()).await.unwrap().unwrap().boot, 5);
}

/// A stream of which the runtime has not heard that its end is there.
struct Unread {
    ended: Arc<AtomicBool>,
    stream: DuplexStream,
}

impl AsyncRead for Unread {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended.load(Relaxed) {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Unread {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn nobody_is_sent_along_a_tunnel_whose_end_waits_to_be_read() {
    let (left, right) = duplex(64 * 1024);
    let (ended, budget) = (Arc::new(AtomicBool::new(false)), Budget::default());
    let (agent, driver) = start(right, Role::Agent, &budget);
    tokio::spawn(driver);
    let bundles = Bundles::new(Role::Gateway, Config::default(), budget);
    let stream = Unread { ended: ended.clone(), stream: left };
    let greeted = bundles.greet(stream, Bytes::new(), Hello::new(2, 1, 0)).await.unwrap();
    let (gateway, driver) = bundles.join(1, greeted.look_for_end_by(|stream| stream.ended.load(Relaxed)));
    let driving = tokio::spawn(driver);
    gateway.ready().await.unwrap();
    ended.store(true, Relaxed);

    let (stream, answer) = gateway.open_early(OpenRequest::resource("db")).await.unwrap();
    stream.send_bytes(Bytes::from_static(b"hello")).await.unwrap();
    let error = timeout(SECOND, answer).await.unwrap().unwrap_err();
    assert_eq!(error.result(), Some(OpenResult::Internal), "as good as a no: {error}");
    assert_eq!(driving.await.unwrap().reason, CloseReason::NotAlive);
    assert!(agent.accept().await.is_none(), "the agent has heard nothing of it");
}
