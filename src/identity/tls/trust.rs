//! Roots that can be replaced under running configs, and what is asked of a peer beyond being signed by one.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use warren_core::id::GroupId;

use super::{TlsError, provider, roots_from_pem};
use crate::leaf::PeerIdentity;

/// The roots that may vouch for a peer. Configs hold it by `Arc`; [`swap`](Self::swap) counts from the next handshake.
#[derive(Debug)]
pub struct Trust {
    current: ArcSwap<Verifiers>,
}

#[derive(Debug)]
struct Verifiers {
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
}

impl Trust {
    pub fn new(roots: RootCertStore) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(Verifiers::new(roots)?) }))
    }

    /// Trusts every certificate in `pem`, such as an authority's bundle.
    pub fn from_pem(pem: &str) -> Result<Arc<Self>, TlsError> {
        Self::new(roots_from_pem(pem)?)
    }

    /// Judges servers by these roots and the name that was dialled, for a client that judges further.
    pub fn server_verifier(self: &Arc<Self>) -> Arc<dyn ServerCertVerifier> {
        ServerVerifier::anybody(self.clone())
    }

    /// Trusts other roots from the next handshake on. On error the old ones stay.
    pub fn swap(&self, roots: RootCertStore) -> Result<(), TlsError> {
        self.current.store(Arc::new(Verifiers::new(roots)?));
        Ok(())
    }
}

impl Verifiers {
    fn new(roots: RootCertStore) -> Result<Self, TlsError> {
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        let roots = Arc::new(roots);
        let failed = |source| TlsError::Verifier { source };
        Ok(Self {
            clients: WebPkiClientVerifier::builder_with_provider(roots.clone(), provider())
                .build()
                .map_err(failed)?,
            servers: WebPkiServerVerifier::builder_with_provider(roots, provider())
                .build()
                .map_err(failed)?,
        })
    }
}

/// Judges clients.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    trust: Arc<Trust>,
    group: Option<GroupId>,
    required: bool,
}

impl ClientVerifier {
    /// A certificate is welcome, not required.
    pub(super) fn optional(trust: Arc<Trust>) -> Arc<Self> {
        Arc::new(Self { trust, group: None, required: false })
    }

    /// Agents of one group only.
    pub(super) fn members(trust: Arc<Trust>, group: GroupId) -> Arc<Self> {
        Arc::new(Self { trust, group: Some(group), required: true })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Agents have one certificate and need no hint; hints would go stale with a swap.
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.trust.current.load().clients.verify_client_cert(leaf, intermediates, now)?;
        expect_group(leaf, self.group, now)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.current.load().clients.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.current.load().clients.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.current.load().clients.supported_verify_schemes()
    }
}

/// Judges servers.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    trust: Arc<Trust>,
    group: Option<GroupId>,
}

impl ServerVerifier {
    /// Whoever has the name that was dialled.
    pub(super) fn anybody(trust: Arc<Trust>) -> Arc<Self> {
        Arc::new(Self { trust, group: None })
    }

    /// Whoever has the name that was dialled and is an agent of one group.
    pub(super) fn members(trust: Arc<Trust>, group: GroupId) -> Arc<Self> {
        Arc::new(Self { trust, group: Some(group) })
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let servers = &self.trust.current.load().servers;
        let verified = servers.verify_server_cert(leaf, intermediates, name, ocsp, now)?;
        expect_group(leaf, self.group, now)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.current.load().servers.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.current.load().servers.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.current.load().servers.supported_verify_schemes()
    }
}

fn expect_group(leaf: &[u8], group: Option<GroupId>, now: UnixTime) -> Result<(), Error> {
    let Some(group) = group else { return Ok(()) };
    let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
    PeerIdentity::from_leaf(leaf, now)
        .and_then(|peer| peer.expect_group(group))
        .map_err(|refused| Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused)))))
}
