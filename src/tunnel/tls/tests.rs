use std::sync::Arc;

use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::{RootCertStore, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth();
    let server = server.with_single_cert(vec![leaf.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

async fn pair(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> (io::Result<TlsStream>, io::Result<TlsStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async { TlsStream::accept(server, listener.accept().await.unwrap().0).await };
    let connect = async {
        let socket = TcpStream::connect(address).await.unwrap();
        TlsStream::connect(client, "localhost".try_into().unwrap(), socket).await
    };
    tokio::join!(accept, connect)
}

/// What came from `end`, which is told something that is no TLS.
async fn answer_to_no_tls(end: impl AsyncFnOnce(TcpStream) -> io::Error) -> (io::Error, Vec<u8>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stranger = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    stranger.write_all(b"SSH-2.0-OpenSSH\r\n").await.unwrap();
    let error = end(listener.accept().await.unwrap().0).await;
    let mut answer = Vec::new();
    stranger.read_to_end(&mut answer).await.unwrap();
    (error, answer)
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_once_and_is_an_error() {
    const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];
    let (server, client) = configs();
    let accept = async |socket| TlsStream::accept(server, socket).await.unwrap_err();
    let (error, answer) = answer_to_no_tls(accept).await;
    assert_eq!((error.kind(), &*answer), (io::ErrorKind::InvalidData, &ALERT[..]));
    let connect =
        async |socket| TlsStream::connect(client, "localhost".try_into().unwrap(), socket).await.unwrap_err();
    let (error, answer) = answer_to_no_tls(connect).await;
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(answer.ends_with(&ALERT), "its hello, and one alert: {answer:?}");
    assert!(!answer[..answer.len() - ALERT.len()].ends_with(&ALERT), "one alert: {answer:?}");
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

#[tokio::test]
async fn carries_bytes_of_any_size_both_ways_and_ends() {
    let (server, client) = configs();
    let (server, client) = pair(server, client).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    assert!(client.session().peer_certificates().is_some());
    let echo = tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(&mut server);
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let sent = pattern(3_000_000);
    let (mut read, mut write) = tokio::io::split(&mut client);
    let send = async {
        let mut rest = &sent[..];
        for size in [1, 2, 4095, 4096, 16_384, 16_385, 300_000].into_iter().cycle() {
            let (head, tail) = rest.split_at(size.min(rest.len()));
            write.write_all(head).await.unwrap();
            write.flush().await.unwrap();
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        write.shutdown().await.unwrap();
    };
    let mut back = Vec::new();
    let (_, count) = tokio::join!(send, read.read_to_end(&mut back));
    assert_eq!(count.unwrap(), sent.len());
    assert_eq!(back, sent);
    echo.await.unwrap();
}

#[tokio::test]
async fn many_slices_leave_in_one_write() {
    let (server, client) = configs();
    let (server, client) = pair(server, client).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    let parts = [pattern(24), pattern(65_536), pattern(24), pattern(65_536), pattern(3)];
    let slices: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let count =
        std::future::poll_fn(|cx| Pin::new(&mut client).poll_write_vectored(cx, &slices)).await.unwrap();
    assert_eq!(count, parts.iter().map(Vec::len).sum::<usize>());
    client.flush().await.unwrap();
    let mut back = vec![0; count];
    server.read_exact(&mut back).await.unwrap();
    assert_eq!(back, parts.concat());
}

#[tokio::test]
async fn a_reader_with_little_room_loses_nothing() {
    let (server, client) = configs();
    let (server, client) = pair(server, client).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    let sent = pattern(200_000);
    let writer = sent.clone();
    // Held to the end: a socket that is dropped with something unread resets the connection.
    let client = tokio::spawn(async move {
        client.write_all(&writer).await.unwrap();
        client.shutdown().await.unwrap();
        client
    });
    let mut back = Vec::new();
    let mut small = [0; 7];
    loop {
        match server.read(&mut small).await.unwrap() {
            0 => break,
            count => back.extend_from_slice(&small[..count]),
        }
    }
    assert_eq!(back, sent);
    client.await.unwrap();
}

#[tokio::test]
async fn a_stranger_is_told_by_an_alert() {
    let (server, _) = configs();
    let (_, other) = configs();
    let (server, client) = pair(server, other).await;
    let of = |error: io::Error| error.get_ref().unwrap().downcast_ref::<rustls::Error>().unwrap().clone();
    assert!(matches!(of(client.unwrap_err()), rustls::Error::InvalidCertificate(_)));
    assert!(matches!(of(server.unwrap_err()), rustls::Error::AlertReceived(_)));
}

#[tokio::test]
async fn an_end_without_goodbye_is_an_error() {
    let (server, client) = configs();
    let (server, client) = pair(server, client).await;
    drop(server.unwrap());
    let error = client.unwrap().read(&mut [0; 10]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_end_that_nobody_has_read_yet_can_be_seen() {
    let (server, client) = configs();
    let (server, client) = pair(server, client).await;
    let (server, mut client) = (server.unwrap(), client.unwrap());
    assert!(!server.has_ended());
    client.write_all(b"last words").await.unwrap();
    assert!(!server.has_ended(), "bytes are no end");
    drop(client);
    assert!(server.has_ended());
}
