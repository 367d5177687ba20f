//! Against proxies that say exactly what a test has them say. Real ones: `cluster-tests`.

use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;

/// A proxy that serves one connection by `script`. Gives its `host:port`.
async fn scripted<F>(script: impl FnOnce(TcpStream) -> F + Send + 'static) -> (String, JoinHandle<()>)
where
    F: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        script(socket).await;
    });
    (place, task)
}

/// A proxy that gives these pieces as its answer to a CONNECT, then closes. Gives what it was asked.
async fn answering(pieces: &'static [&'static [u8]]) -> (String, JoinHandle<String>) {
    let (asked_tx, asked) = tokio::sync::oneshot::channel();
    let (place, _) = scripted(async move |mut socket: TcpStream| {
        asked_tx.send(request(&mut socket).await).unwrap();
        for piece in pieces {
            socket.write_all(piece).await.unwrap();
            // Each piece a segment of its own.
            tokio::task::yield_now().await;
        }
    })
    .await;
    (place, tokio::spawn(async { asked.await.unwrap() }))
}

async fn request(socket: &mut TcpStream) -> String {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        asked.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(asked).unwrap()
}

async fn connect(url: &str, host: &str) -> Result<TcpStream, ProxyError> {
    let via = ViaProxy::new(url.parse().unwrap(), Vec::new());
    match via.connect(host, 443).await {
        Ok(socket) => Ok(socket),
        Err(DialError::Proxy(error)) => Err(error),
        Err(other) => panic!("{other:?}"),
    }
}

async fn failure(url: &str) -> ProxyFailure {
    connect(url, "gw.example").await.unwrap_err().failure
}

#[tokio::test]
async fn a_way_is_asked_for_with_name_and_password() {
    let (place, asked) = answering(&[b"HTTP/1.1 200 Connection established\r\n\r\n"]).await;
    connect(&format!("http://us%40er:p%3Aw@{place}"), "gw.example").await.unwrap();
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("CONNECT gw.example:443 HTTP/1.1\r\nHost: gw.example:443\r\n"), "{asked}");
    // us@er:p:w
    assert!(asked.contains("Proxy-Authorization: Basic dXNAZXI6cDp3\r\n"), "{asked}");

    let (place, asked) = answering(&[b"HTTP/1.0 200 OK\r\n\r\n"]).await;
    connect(&place, "fd00::1").await.unwrap();
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("CONNECT [fd00::1]:443 HTTP/1.1\r\n") && !asked.contains("Auth"), "{asked}");
}

#[tokio::test]
async fn not_a_byte_behind_the_answer_is_lost() {
    let wholes: [&'static [&'static [u8]]; 3] = [
        &[b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nearly bytes"],
        &[b"HT", b"TP/1.1 200 OK\r", b"\nContent-Length: 5\r\n\r", b"\nearly", b" bytes"],
        &[b"HTTP/1.1 200 OK\r\n\r\n", b"early bytes"],
    ];
    for pieces in wholes {
        let (place, _) = answering(pieces).await;
        let mut socket = connect(&place, "gw.example").await.unwrap();
        let mut rest = String::new();
        socket.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "early bytes");
    }
}

#[tokio::test]
async fn each_refusal_is_told_in_its_own_words() {
    let cases: [(&'static [&'static [u8]], &str, &str); 12] = [
        (
            &[b"HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\n\r\n"],
            "proxy_credentials",
            "refused our user name or password (401)",
        ),
        (
            &[b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n<html>"],
            "proxy_credentials",
            "refused our user name or password (407)",
        ),
        (
            &[b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM x\r\n\r\n"],
            "proxy_credentials",
            "asks for authentication by Negotiate, NTLM, only Basic is known here (407)",
        ),
        (
            &[b"HTTP/1.1 403 Forbidden\r\n\r\n"],
            "proxy_forbidden",
            "does not let us connect to gw.example:443 (403 Forbidden)",
        ),
        (
            &[b"HTTP/1.1 502 Bad Gateway\r\n\r\n"],
            "proxy_target",
            "cannot reach gw.example:443 (502 Bad Gateway)",
        ),
        (
            &[b"HTTP/1.1 504 \x1b[31mred\r\n\r\n"],
            "proxy_answer",
            "does not speak HTTP, check its url",
        ),
        (&[b"HTTP/1.1 405\r\n\r\n"], "proxy_answer", "does not do what it was asked (405)"),
        (&[b"SSH-2.0-OpenSSH_9.2\r\n"], "proxy_answer", "does not speak HTTP, check its url"),
        (&[b"HTTP/1.1 two\r\n\r\n"], "proxy_answer", "does not speak HTTP, check its url"),
        (&[b"HTTP/1.1 200 OK\r\n"], "proxy_closed", "closed the connection"),
        (&[], "proxy_closed", "closed the connection"),
        (&[&[5, 0]], "proxy_answer", "does not speak HTTP, check its url"),
    ];
    for (answer, label, words) in cases {
        let (place, _) = answering(answer).await;
        let error = connect(&format!("http://user:secret@{place}"), "gw.example").await.unwrap_err();
        assert_eq!(error.to_string(), format!("proxy http://{place} {words}"));
        assert_eq!(DialError::from(error).as_str(), label);
    }
    let (place, _) = answering(&[b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n"]).await;
    assert_eq!(failure(&place).await, ProxyFailure::NoCredentials { how: "407" });
}

#[tokio::test]
async fn an_answer_without_end_is_cut() {
    let (place, _) = scripted(async |mut socket: TcpStream| {
        request(&mut socket).await;
        let mut said = socket.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while said.is_ok() {
            said = socket.write_all(b"X-Filler: filler\r\n").await;
        }
    })
    .await;
    assert_eq!(failure(&place).await, ProxyFailure::TooLong { max: connect::HEAD_MAX });
}

#[tokio::test(start_paused = true)]
async fn silence_is_given_up() {
    for scheme in ["http", "socks5"] {
        let (place, _) = scripted(async |socket: TcpStream| {
            std::future::pending::<()>().await;
            drop(socket);
        })
        .await;
        let failure = failure(&format!("{scheme}://{place}")).await;
        assert_eq!(failure, ProxyFailure::Silent { after: ANSWER_WITHIN });
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_with_the_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = listener.local_addr().unwrap();
    drop(listener);
    let error = connect(&format!("socks5://user:secret@{place}"), "gw.example").await.unwrap_err();
    assert_eq!(error.to_string(), format!("proxy socks5://{place} cannot be reached"));
    let cause = std::error::Error::source(&error).unwrap();
    assert_eq!(cause.to_string(), format!("{place} refuses connections"));
    assert!(!format!("{error:?}").contains("secret"));
}

/// A SOCKS5 proxy that expects and says these bytes in turn, beginning with what it expects.
async fn exchange(turns: &'static [&'static [u8]]) -> String {
    let (place, _) = scripted(async move |mut socket: TcpStream| {
        for (number, turn) in turns.iter().enumerate() {
            if number % 2 == 0 {
                let mut asked = vec![0; turn.len()];
                socket.read_exact(&mut asked).await.unwrap();
                assert_eq!(asked, *turn, "turn {number}");
            } else {
                // Byte by byte: nothing comes whole.
                for byte in *turn {
                    socket.write_u8(*byte).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
        }
        // What was not asked for would show as a reset.
        socket.shutdown().await.unwrap();
        let _ = socket.read(&mut [0]).await;
    })
    .await;
    place
}

const ASK_NAME: &[u8] = b"\x05\x01\x00\x03\x0agw.example\x01\xbb";
const HELLO: &[u8] = &[5, 1, 0];
const HELLO_WITH_LOGIN: &[u8] = &[5, 2, 0, 2];
const LOGIN: &[u8] = b"\x01\x04user\x06secret";

#[tokio::test]
async fn socks_takes_a_login_and_any_address_and_loses_nothing() {
    let login = exchange(&[
        HELLO_WITH_LOGIN,
        &[5, 2],
        LOGIN,
        &[1, 0],
        ASK_NAME,
        b"\x05\0\0\x01\x7f\0\0\x01\x12\x34early",
    ])
    .await;
    let plain = exchange(&[HELLO, &[5, 0], ASK_NAME, b"\x05\0\0\x03\x03a.b\x12\x34early"]).await;
    let waived =
        exchange(&[HELLO_WITH_LOGIN, &[5, 0], ASK_NAME, b"\x05\0\0\x04................\x12\x34early"]).await;
    for url in [format!("user:secret@{login}"), plain, format!("user:secret@{waived}")] {
        let mut socket = connect(&format!("socks5://{url}"), "gw.example").await.unwrap();
        let mut rest = String::new();
        socket.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "early");
    }
    for (host, asked) in [
        ("10.1.2.3", &b"\x05\x01\x00\x01\x0a\x01\x02\x03\x01\xbb"[..]),
        ("::1", b"\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\xbb"),
    ] {
        let turns: &'static [&'static [u8]] =
            Box::leak(Box::new([HELLO, &[5, 0], asked, b"\x05\0\0\x01\0\0\0\0\0\0"]));
        let place = exchange(turns).await;
        connect(&format!("socks5://{place}"), host).await.unwrap();
    }
}

#[tokio::test]
async fn socks_refusals_are_told_in_words() {
    let cases: [(&'static [&'static [u8]], &str); 10] = [
        (&[HELLO_WITH_LOGIN, &[5, 2], LOGIN, &[1, 1]], "refused our user name or password (SOCKS5)"),
        (
            &[HELLO_WITH_LOGIN, &[5, 2], LOGIN],
            "refused our user name or password (SOCKS5, by closing the connection)",
        ),
        (&[HELLO_WITH_LOGIN, &[5, 0xFF]], "refused our user name or password (SOCKS5)"),
        (
            &[HELLO_WITH_LOGIN, &[5, 0], ASK_NAME, &[5, 2, 0, 1]],
            "does not let us connect to gw.example:443 (not allowed by its rules)",
        ),
        (
            &[HELLO_WITH_LOGIN, &[5, 0], ASK_NAME, &[5, 4, 0, 1]],
            "cannot reach gw.example:443 (host unreachable)",
        ),
        (
            &[HELLO_WITH_LOGIN, &[5, 0], ASK_NAME, &[5, 5, 0, 1]],
            "cannot reach gw.example:443 (connection refused)",
        ),
        (
            &[HELLO_WITH_LOGIN, &[5, 0], ASK_NAME, &[5, 99, 0, 1]],
            "does not do what it was asked (SOCKS5 reply 99)",
        ),
        (&[HELLO_WITH_LOGIN, &[5, 0], ASK_NAME, &[5, 0, 0, 9]], "does not speak SOCKS5, check its url"),
        (&[HELLO_WITH_LOGIN, b"HTTP/1.1 400 Bad"], "does not speak SOCKS5, check its url"),
        (&[HELLO_WITH_LOGIN, &[5]], "closed the connection"),
    ];
    for (turns, words) in cases {
        let place = exchange(turns).await;
        let error = connect(&format!("socks5://user:secret@{place}"), "gw.example").await.unwrap_err();
        assert_eq!(error.to_string(), format!("proxy socks5://{place} {words}"));
    }
    let place = exchange(&[HELLO, &[5, 0xFF]]).await;
    assert_eq!(failure(&format!("socks5://{place}")).await, ProxyFailure::NoCredentials { how: "SOCKS5" });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("socks5://{}", listener.local_addr().unwrap());
    let error = connect(&url, &"x".repeat(256)).await.unwrap_err();
    assert!(matches!(error.failure, ProxyFailure::Unspeakable { .. }), "{error}");
}

#[tokio::test]
async fn what_is_excepted_is_reached_directly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = listener.local_addr().unwrap();
    let proxy: Proxy = "http://127.0.0.1:1".parse().unwrap();
    let via = |pattern: &str| ViaProxy::new(proxy.clone(), vec![pattern.parse().unwrap()]);
    for pattern in ["127.0.0.0/8", "127.0.0.1", "*", &there.to_string()] {
        let socket = via(pattern).connect("127.0.0.1", there.port()).await.unwrap();
        assert_eq!(socket.peer_addr().unwrap(), there, "{pattern}");
    }
    for pattern in ["127.0.0.1:1", "10.0.0.0/8", "gw.example"] {
        let error = via(pattern).connect("127.0.0.1", there.port()).await.unwrap_err();
        assert!(matches!(error, DialError::Proxy(_)), "{pattern}: {error:?}");
    }
}

#[tokio::test]
async fn a_password_file_is_read_at_each_connection() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    for (text, token) in [("first\n", "dTpmaXJzdA=="), ("p w \r\n", "dTpwIHcg")] {
        std::fs::write(&file, text).unwrap();
        let (place, asked) = answering(&[b"HTTP/1.1 200 OK\r\n\r\n"]).await;
        let proxy = Proxy::parse(&format!("http://u@{place}"), Some(file.clone())).unwrap();
        proxy.connect("gw.example", 443).await.unwrap();
        let asked = asked.await.unwrap();
        assert!(asked.contains(&format!("Basic {token}\r\n")), "{asked}");
    }
    std::fs::remove_file(&file).unwrap();
    let proxy = Proxy::parse("http://u@127.0.0.1:1", Some(file.clone())).unwrap();
    let error = proxy.connect("gw.example", 443).await.unwrap_err().of(&proxy);
    assert!(error.failure.needs_people() && error.to_string().contains("/password"), "{error}");
    std::fs::write(&file, "x".repeat(2000)).unwrap();
    let error = proxy.connect("gw.example", 443).await.unwrap_err();
    assert!(matches!(error.failure, ProxyFailure::PasswordFile { .. }));
}

#[test]
fn urls_are_read_and_shown_without_secrets() {
    let shown = |url: &str| {
        let proxy: Proxy = url.parse().unwrap();
        assert!(!format!("{proxy:?}{proxy}{}", proxy.url_without_password()).contains("secret"), "{proxy:?}");
        (proxy.to_string(), proxy.url_without_password())
    };
    let is = |plain: &str, user: &str| (plain.to_owned(), user.to_owned());
    assert_eq!(shown("http://10.0.0.5:3128"), is("http://10.0.0.5:3128", "http://10.0.0.5:3128"));
    assert_eq!(shown("proxy.corp:3128/"), is("http://proxy.corp:3128", "http://proxy.corp:3128"));
    assert_eq!(shown("HTTP://Proxy.Corp"), is("http://proxy.corp:80", "http://proxy.corp:80"));
    assert_eq!(
        shown("http://us%40er:secret@[fd00::1]:3128"),
        is("http://[fd00::1]:3128", "http://us%40er@[fd00::1]:3128")
    );
    assert_eq!(shown("socks5h://u:se@cret/secret@h"), is("socks5://h:1080", "socks5://u@h:1080"));
    for (url, error) in [
        ("https://proxy:3128", ProxyUrlError::Https),
        ("ftp://proxy", ProxyUrlError::Form),
        ("", ProxyUrlError::Form),
        ("http://", ProxyUrlError::Form),
        ("http://proxy:0", ProxyUrlError::Form),
        ("http://proxy:3128/path", ProxyUrlError::Form),
        ("http://:secret@proxy", ProxyUrlError::User),
        ("http://a%3Ab:secret@proxy", ProxyUrlError::User),
        ("http://%ff:secret@proxy", ProxyUrlError::Encoding),
        ("socks5://user@proxy", ProxyUrlError::Socks),
    ] {
        assert_eq!(url.parse::<Proxy>(), Err(error), "{url}");
    }
    let file = || Some(PathBuf::from("/x"));
    assert_eq!(Proxy::parse("http://u:p@h", file()), Err(ProxyUrlError::TwoPasswords));
    assert_eq!(Proxy::parse("http://h", file()), Err(ProxyUrlError::NoUser));
    assert!(Proxy::parse("socks5://u@h", file()).is_ok());
}
