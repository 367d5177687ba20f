use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    Budget, Config, Hello, Role,
    echo::{check_echo, serve_echo},
    run,
    upgrade::upgrade,
};

/// An authority, and what it signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

type Identity = (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let root = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), root }
    }

    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        Arc::new(roots)
    }

    fn client(&self, (cert, key): Identity) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![cert], key.into())
            .unwrap();
        Arc::new(config)
    }

    fn server(&self, (cert, key): Identity) -> TlsAcceptor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots(), provider.clone()).build().unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![cert], key.into())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// A gateway of `authority` on loopback that upgrades, or answers 403 when it does not `welcome`. Gives its URL.
async fn gateway(tls: TlsAcceptor, welcome: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(stream) = tls.accept(socket).await else { continue };
            let service = hyper::service::service_fn(move |mut request| async move {
                if !welcome {
                    let refusal = Response::builder().status(403).body("agent is revoked".to_owned());
                    return Ok::<_, hyper::Error>(refusal.unwrap());
                }
                let (response, upgrading) = upgrade(&mut request).unwrap();
                tokio::spawn(async move {
                    let up = upgrading.stream::<tokio_rustls::server::TlsStream<TcpStream>>().await.unwrap();
                    assert_eq!(up.stream.get_ref().1.peer_certificates().unwrap().len(), 1);
                    let hello = Hello::new(1, 1, 0);
                    let (handle, driver) = run(
                        up.stream,
                        up.read_buf,
                        Role::Gateway,
                        Config::default(),
                        hello,
                        &Budget::default(),
                    );
                    let check = async {
                        check_echo(&handle, Duration::from_secs(5)).await.unwrap();
                        handle.close(crate::CloseReason::Shutdown, "checked");
                        std::future::pending::<()>().await;
                    };
                    tokio::select! { _ = driver => {}, () = check => {} }
                });
                Ok(response)
            });
            let server = auto::Builder::new(hyper_util::rt::TokioExecutor::new());
            tokio::spawn(async move {
                let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    format!("https://localhost:{port}")
}

fn as_they_are(_: &mut CertificateParams) {}

#[tokio::test]
async fn a_whole_tunnel_over_tls() {
    let authority = Authority::new();
    let url = gateway(authority.server(authority.issue("localhost", as_they_are)), true).await;
    let dialed = dial(&url, authority.client(authority.issue("agent", as_they_are)), &Direct).await.unwrap();
    let (handle, driver) = run(
        dialed.stream,
        dialed.read_buf,
        Role::Agent,
        Config::default(),
        Hello::new(2, 1, 0),
        &Budget::default(),
    );
    let agent = handle.clone();
    tokio::spawn(async move {
        while let Some(incoming) = agent.accept().await {
            tokio::spawn(serve_echo(incoming.accept()));
        }
    });
    let closed = timeout(Duration::from_secs(10), driver).await.unwrap();
    assert_eq!((closed.detail.as_str(), closed.by_peer), ("checked", true));
}

#[track_caller]
fn assert_tls(result: Result<Dialed, DialError>, expected: impl Fn(&TlsFailure) -> bool) {
    match result {
        Err(DialError::Tls { failure, .. }) if expected(&failure) => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_tls_failure_has_its_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = || authority.issue("agent", as_they_are);
    let past = |params: &mut CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let future = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2090, 1, 1);
        params.not_after = rcgen::date_time_ymd(2091, 1, 1);
    };
    let url = gateway(authority.server(authority.issue("localhost", as_they_are)), true).await;
    let stranger = other.client(other.issue("agent", as_they_are));
    assert_tls(dial(&url, stranger, &Direct).await, |failure| *failure == TlsFailure::UnknownIssuer);

    let url = gateway(authority.server(authority.issue("localhost", past)), true).await;
    assert_tls(dial(&url, authority.client(good()), &Direct).await, |failure| {
        *failure == TlsFailure::Expired
    });

    let url = gateway(authority.server(authority.issue("localhost", future)), true).await;
    assert_tls(dial(&url, authority.client(good()), &Direct).await, |failure| {
        *failure == TlsFailure::NotYetValid
    });

    let url = gateway(authority.server(authority.issue("elsewhere.example", as_they_are)), true).await;
    assert_tls(dial(&url, authority.client(good()), &Direct).await, |failure| {
        *failure == TlsFailure::WrongName
    });

    let url = gateway(authority.server(authority.issue("localhost", as_they_are)), true).await;
    for identity in [other.issue("agent", as_they_are), authority.issue("agent", past)] {
        let result = dial(&url, authority.client(identity), &Direct).await;
        assert_tls(result, |failure| matches!(failure, TlsFailure::OurCertificate(_)));
    }
}

#[tokio::test]
async fn a_refusal_brings_the_gateways_words() {
    let authority = Authority::new();
    let url = gateway(authority.server(authority.issue("localhost", as_they_are)), false).await;
    let error =
        dial(&url, authority.client(authority.issue("agent", as_they_are)), &Direct).await.unwrap_err();
    assert!(
        matches!(&error, DialError::Rejected { status: 403, body } if body == "agent is revoked"),
        "{error:?}"
    );
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let authority = Authority::new();
    let tls = || authority.client(authority.issue("agent", as_they_are));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let refused = dial(&format!("https://127.0.0.1:{port}"), tls(), &Direct).await.unwrap_err();
    assert!(matches!(refused, DialError::Refused { .. }), "{refused:?}");
    let unknown = dial("https://gateway.invalid", tls(), &Direct).await.unwrap_err();
    assert!(matches!(unknown, DialError::Dns { .. }), "{unknown:?}");
    for url in ["http://localhost", "localhost:443", "https://", "https://user@host"] {
        let bad = dial(url, tls(), &Direct).await.unwrap_err();
        assert!(matches!(bad, DialError::Url { .. }), "{url}: {bad:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_never_answers_is_given_up() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let result = dial(&url, authority.client(authority.issue("agent", as_they_are)), &Direct).await;
    assert!(matches!(result, Err(DialError::Timeout { .. })), "{result:?}");
}

#[test]
fn urls_say_where_the_tunnel_is() {
    let parse = |url| {
        Gateway::parse(url).map(|gateway| (gateway.host, gateway.port, gateway.authority, gateway.path))
    };
    let is = |host: &str, port, authority: &str, path: &str| {
        (host.to_owned(), port, authority.to_owned(), path.to_owned())
    };
    assert_eq!(parse("https://gw.example").unwrap(), is("gw.example", 443, "gw.example", "/tunnel"));
    assert_eq!(
        parse("https://gw.example:8443/eu/").unwrap(),
        is("gw.example", 8443, "gw.example:8443", "/eu/tunnel")
    );
    assert_eq!(parse("https://[::1]:9").unwrap(), is("::1", 9, "[::1]:9", "/tunnel"));
}

#[tokio::test]
async fn an_address_that_is_silent_does_not_keep_the_next_from_being_tried() {
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody = silent.local_addr().unwrap();
    // One connection fills a queue of this length; the kernel drops what comes after it.
    let _listening = silent.listen(0).unwrap();
    let _filler = TcpStream::connect(nobody).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let there = listener.local_addr().unwrap();
    let socket = timeout(CONNECT_WITHIN, connect_first(vec![nobody, there])).await.unwrap().unwrap();
    assert_eq!(socket.peer_addr().unwrap(), there);
}

#[test]
fn the_families_take_turns() {
    let turns = |places: &[&str]| {
        let places = places.iter().map(|place| place.parse().unwrap()).collect();
        race::by_turns(places).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (a, b, c) = ("[fd00::1]:1", "[fd00::2]:1", "[fd00::3]:1");
    assert_eq!(turns(&[a, b, c, "10.0.0.1:1", "10.0.0.2:1"]), [a, "10.0.0.1:1", b, "10.0.0.2:1", c]);
    assert_eq!(turns(&["10.0.0.1:1", "10.0.0.2:1", a]), ["10.0.0.1:1", a, "10.0.0.2:1"]);
    assert_eq!(turns(&[b, a]), [b, a]);
    assert!(turns(&[]).is_empty());
}

#[tokio::test]
async fn a_gateway_that_has_ipv6_only_is_reached() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let there = listener.local_addr().unwrap();
    let socket = Direct.connect("::1", there.port()).await.unwrap();
    assert_eq!(socket.peer_addr().unwrap(), there);
    // The addresses before it refuse, or lead nowhere.
    let dead = ["127.0.0.1:1".parse().unwrap(), "[::1]:1".parse().unwrap()];
    let socket = connect_first(race::by_turns(dead.into_iter().chain([there]).collect())).await.unwrap();
    assert_eq!(socket.peer_addr().unwrap(), there);
}

#[tokio::test]
async fn a_tunnel_is_dialled_through_a_proxy() {
    let authority = Authority::new();
    let url = gateway(authority.server(authority.issue("localhost", as_they_are)), true).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = proxy.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut near, _) = proxy.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(near.read_u8().await.unwrap());
        }
        let asked = String::from_utf8(asked).unwrap();
        let to = asked.split(' ').nth(1).unwrap();
        let mut far = TcpStream::connect(to.to_owned()).await.unwrap();
        near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        tokio::io::copy_bidirectional(&mut near, &mut far).await
    });
    let via = ViaProxy::new(format!("http://{place}").parse().unwrap(), Vec::new());
    let dialed = dial(&url, authority.client(authority.issue("agent", as_they_are)), &via).await.unwrap();
    assert_eq!(dialed.stream.socket().peer_addr().unwrap(), place);
}
