//! As much of Kubernetes' API as a pod asks for: one StatefulSet that wants so many pods.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;

/// What its pods have to show.
const TOKEN: &str = "a pod's token";

/// The API, on loopback, with an account that may ask.
#[derive(Debug)]
pub struct Kubernetes {
    address: SocketAddr,
    replicas: Arc<AtomicU32>,
}

impl Kubernetes {
    /// For the StatefulSet `set` in the namespace `site`. `account` becomes the folder that pods get from Kubernetes.
    pub fn start(set: &str, replicas: u32, account: &Path) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([String::from("127.0.0.1")]).expect("a certificate can be made");
        fs::create_dir_all(account).expect("the folder can be made");
        fs::write(account.join("token"), TOKEN).expect("the folder can be written");
        fs::write(account.join("ca.crt"), cert.pem()).expect("the folder can be written");
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("the key is one");
        let tls = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("certificate and key are a pair");
        let tls = Arc::new(tls);
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let wanted = Arc::new(AtomicU32::new(replicas));
        let (replicas, path) = (wanted.clone(), format!("/apis/apps/v1/namespaces/site/statefulsets/{set}"));
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                // Whoever breaks off has had its answer, or is told by its own log.
                let _ = answer(socket, &tls, &path, wanted.load(Relaxed));
            }
        });
        Self { address, replicas }
    }

    /// `kubectl scale`; pods are for the test to start and stop.
    pub fn scale(&self, replicas: u32) {
        self.replicas.store(replicas, Relaxed);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn answer(socket: TcpStream, tls: &Arc<ServerConfig>, path: &str, replicas: u32) -> std::io::Result<()> {
    let connection = ServerConnection::new(tls.clone()).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, socket));
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head)? > 0 {}
    let may = head.starts_with(&format!("GET {path} ")) && head.contains(&format!("Bearer {TOKEN}\r\n"));
    let (status, body) = match may {
        true => ("200 OK", format!(r#"{{"metadata": {{}}, "spec": {{"replicas": {replicas}}}}}"#)),
        false => ("403 Forbidden", String::new()),
    };
    write!(stream.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    stream.get_mut().flush()
}
