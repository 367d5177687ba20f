//! A certificate that can be replaced under running configs.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    SignatureScheme,
    client::ResolvesClientCert,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{TlsError, provider};
use crate::leaf::{IdentityError, Validity};

/// What one process shows of itself in TLS, as server and as client. Configs hold it by `Arc`; [`swap`](Self::swap)
/// changes it for every handshake from then on and leaves connections that are up alone.
#[derive(Debug)]
pub struct SwappableKey {
    current: ArcSwap<CertifiedKey>,
}

impl SwappableKey {
    /// Takes a certificate (leaf first, then any intermediates) in PEM and its key
    /// ([`crate::PrivateKey::to_rustls`], or [`key_from_pem`](Self::key_from_pem)).
    pub fn new(chain_pem: &str, key: PrivateKeyDer<'static>) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(certified(chain_pem, key)?) }))
    }

    /// Shows another certificate from the next handshake on. On error the old one stays.
    pub fn swap(&self, chain_pem: &str, key: PrivateKeyDer<'static>) -> Result<(), TlsError> {
        self.current.store(Arc::new(certified(chain_pem, key)?));
        Ok(())
    }

    /// The leaf that is shown.
    pub fn leaf(&self) -> CertificateDer<'static> {
        // A certified key is never built without a leaf; an empty one would show as unreadable.
        self.current.load().cert.first().cloned().unwrap_or_else(|| CertificateDer::from(Vec::new()))
    }

    /// When the leaf that is shown holds: its expiry for metrics, its half life for renewal.
    pub fn validity(&self) -> Result<Validity, IdentityError> {
        Validity::of(&self.leaf())
    }

    /// Reads a key that an operator brings along with a public certificate: PKCS#8, PKCS#1 or SEC1 in PEM.
    pub fn key_from_pem(pem: &str) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|source| TlsError::KeyUnreadable { source })
    }
}

impl ResolvesServerCert for SwappableKey {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl ResolvesClientCert for SwappableKey {
    fn resolve(&self, _root_hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn certified(chain_pem: &str, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::CertificateUnreadable { source })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::KeyMismatch { source })
}
