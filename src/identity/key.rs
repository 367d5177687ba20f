//! A private key that stays where it was made.

use std::{fmt, path::Path};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::keyfile::{self, KeyFileError};

/// Why a private key cannot be made, read or used.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("cannot make a private key")]
    Generate { source: rcgen::Error },
    #[error("not a P-256 private key in PKCS#8")]
    Unreadable { source: rcgen::Error },
    #[error("private key is not PEM text")]
    NotText,
    #[error("cannot sign a certificate request")]
    Request { source: rcgen::Error },
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// A P-256 private key: an agent's or a gateway's own. Wiped from memory when dropped; there is no way to print it.
///
/// An agent makes one, sends [`csr_pem`](Self::csr_pem) with its token, and keeps the key by [`save`](Self::save).
pub struct PrivateKey {
    pair: Zeroizing<KeyPair>,
}

impl PrivateKey {
    pub fn generate() -> Result<Self, KeyError> {
        let pair =
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| KeyError::Generate { source })?;
        Ok(Self { pair: Zeroizing::new(pair) })
    }

    /// Reads the key at `path`, which must be its owner's alone; `None` when there is no such file.
    pub fn load(path: &Path) -> Result<Option<Self>, KeyError> {
        let Some(bytes) = keyfile::read_private(path)? else { return Ok(None) };
        Self::from_pem(str::from_utf8(&bytes).map_err(|_| KeyError::NotText)?).map(Some)
    }

    /// Writes the key to `path` with mode 0600, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let pem = Zeroizing::new(self.pair.serialize_pem());
        Ok(keyfile::write_private(path, pem.as_bytes())?)
    }

    /// A request for a certificate of this key, signed by it, in PEM. It carries no names: the gateway chooses them.
    pub fn csr_pem(&self) -> Result<String, KeyError> {
        self.request()?.pem().map_err(|source| KeyError::Request { source })
    }

    /// The same request in DER.
    pub fn csr_der(&self) -> Result<Vec<u8>, KeyError> {
        Ok(self.request()?.der().to_vec())
    }

    /// The key as rustls takes it, for [`crate::SwappableKey`].
    pub fn to_rustls(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.pair.serialized_der().to_vec()).into()
    }

    pub(crate) fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der.into(), &PKCS_ECDSA_P256_SHA256)
            .map_err(|source| KeyError::Unreadable { source })?;
        Ok(Self { pair: Zeroizing::new(pair) })
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let pair = KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256)
            .map_err(|source| KeyError::Unreadable { source })?;
        Ok(Self { pair: Zeroizing::new(pair) })
    }

    fn request(&self) -> Result<rcgen::CertificateSigningRequest, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(&*self.pair).map_err(|source| KeyError::Request { source })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(P-256)")
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_key_comes_back_from_its_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        assert!(PrivateKey::load(&path).unwrap().is_none());
        let key = PrivateKey::generate().unwrap();
        key.save(&path).unwrap();
        let read = PrivateKey::load(&path).unwrap().unwrap();
        assert_eq!(read.pair.public_key_raw(), key.pair.public_key_raw());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(PrivateKey::load(&path), Err(KeyError::File(KeyFileError::Loose { .. }))));
    }

    #[test]
    fn a_file_that_is_no_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.key");
        keyfile::write_private(&path, b"hello").unwrap();
        assert!(matches!(PrivateKey::load(&path), Err(KeyError::Unreadable { .. })));
    }

    #[test]
    fn debug_shows_nothing_of_the_key() {
        assert_eq!(format!("{:?}", PrivateKey::generate().unwrap()), "PrivateKey(P-256)");
    }
}
