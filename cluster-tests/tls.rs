//! TLS as anybody could speak it who got hold of an agent's key: blocking, by plain rustls, with nothing of the product's.

use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use crate::caller;

/// A connection whose handshake is done, as far as a client of TLS 1.3 can tell: that it was refused shows with the first read.
pub type TlsStream = StreamOwned<ClientConnection, std::net::TcpStream>;

/// Key, certificate and roots out of an agent's data folder.
#[derive(Debug)]
pub struct Credentials {
    key: PrivateKeyDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    roots: RootCertStore,
}

impl Credentials {
    pub fn of_agent(data: &Path) -> Self {
        let chain = CertificateDer::pem_file_iter(data.join("agent.crt")).expect("an enrolled agent");
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(data.join("roots.pem")).expect("an enrolled agent") {
            roots.add(root.expect("roots are PEM")).expect("roots are certificates");
        }
        Self {
            key: PrivateKeyDer::from_pem_file(data.join("agent.key")).expect("an enrolled agent"),
            chain: chain.collect::<Result<_, _>>().expect("the certificate is PEM"),
            roots,
        }
    }

    /// Connects to `address` and expects a certificate for `name` there.
    pub fn connect(&self, address: SocketAddr, name: &str, protocol: &str) -> io::Result<TlsStream> {
        let config = self.config(protocol)?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut socket = caller::connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }

    /// A client that shows this certificate and trusts the agent's roots.
    pub(crate) fn config(&self, protocol: &str) -> io::Result<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Ok(config)
    }
}
