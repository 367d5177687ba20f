//! What an agent asks to have certified.

use aws_lc_rs::digest;
use rcgen::{CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PublicKey, PublicKeyData};
use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject};

use super::AuthorityError;

/// The largest certificate request that is looked at, in bytes.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// A certificate request whose signature has been verified. Names in it were dropped: only the public key is kept.
#[derive(Debug, Clone)]
pub struct AgentRequest {
    pub(super) public_key: PublicKey,
}

impl AgentRequest {
    /// Reads a request in PEM or DER. It comes from a stranger, so it is bounded and checked before anything is spent.
    pub fn parse(csr: &[u8]) -> Result<Self, AuthorityError> {
        if csr.len() > REQUEST_BYTES_MAX {
            return Err(AuthorityError::RequestTooLarge);
        }
        let unreadable =
            |_| AuthorityError::Request { source: rcgen::Error::CouldNotParseCertificationRequest };
        let der = if csr.trim_ascii_start().starts_with(b"-----BEGIN") {
            CertificateSigningRequestDer::from_pem_slice(csr).map_err(unreadable)?
        } else {
            csr.into()
        };
        let request = CertificateSigningRequestParams::from_der(&der)
            .map_err(|source| AuthorityError::Request { source })?;
        // rcgen tells the kind of key by the signature alone; an uncompressed P-256 point has 65 bytes.
        let key = request.public_key;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 || key.der_bytes().len() != 65 {
            return Err(AuthorityError::RequestKey);
        }
        Ok(Self { public_key: key })
    }

    /// SHA-256 of the public key, by which a request that is sent again is recognised.
    pub fn key_hash(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.public_key.der_bytes()).as_ref());
        hash
    }
}
