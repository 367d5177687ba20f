//! Secrets at rest, under a key that the operator holds.
//!
//! Sealed text is `warren-sealed-1.KEY.BODY`: KEY names the operator key (so that a wrong one is told from damage),
//! BODY is url-safe base64 of a 12-byte random nonce, the AES-256-GCM ciphertext and its tag. The AES key is derived
//! by HKDF-SHA256 for one purpose alone; version, KEY and purpose are authenticated with it.

use std::{fmt, path::Path};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    hkdf,
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    keyfile::{self, KeyFileError},
    random::random,
};

/// The shortest operator key, in bytes of text.
pub const OPERATOR_KEY_BYTES_MIN: usize = 32;

const FORMAT: &str = "warren-sealed-1";
const SALT: &[u8] = b"warren operator key 1";
const FINGERPRINT_BYTES: usize = 6;

/// Why something cannot be sealed or opened.
#[derive(Debug, Error)]
pub enum SealError {
    #[error(
        "operator key has {length} characters, give at least {OPERATOR_KEY_BYTES_MIN} random ones \
         (such as `openssl rand -base64 32` prints)"
    )]
    ShortKey { length: usize },
    #[error("operator key file is not text")]
    NotText,
    #[error("{purpose} was sealed under operator key {sealed_under}, but the one given is {given}")]
    WrongKey { purpose: String, sealed_under: String, given: String },
    #[error("{purpose} is not sealed text of this version")]
    NotSealed { purpose: String },
    #[error("sealed {purpose} was changed since it was sealed, or sealed for another purpose")]
    Damaged { purpose: String },
    #[error("cannot seal {purpose}")]
    Refused { purpose: String },
    #[error(transparent)]
    File(#[from] KeyFileError),
}

/// The operator's secret, from which every key for data at rest is derived.
pub struct OperatorKey {
    text: Zeroizing<String>,
}

impl OperatorKey {
    /// Takes the secret as text, as it comes from the environment or a file. White space around it does not count.
    /// It should be random: it is derived from, not stretched like a password.
    pub fn from_text(text: &str) -> Result<Self, SealError> {
        let text = text.trim();
        if text.len() < OPERATOR_KEY_BYTES_MIN {
            return Err(SealError::ShortKey { length: text.len() });
        }
        Ok(Self { text: Zeroizing::new(text.to_owned()) })
    }

    /// Reads the key at `path`, or makes 32 random bytes there with mode 0600. Refuses a file that group or others
    /// can reach. Processes that start at once on the same path end up with the same key.
    pub fn load_or_create(path: &Path) -> Result<Self, SealError> {
        if let Some(bytes) = keyfile::read_private(path)? {
            return Self::from_bytes(&bytes);
        }
        let secret = Zeroizing::new(random::<32>());
        let text = Zeroizing::new(STANDARD_NO_PAD.encode(&secret[..]) + "\n");
        if keyfile::create_private(path, text.as_bytes())? {
            return Self::from_text(&text);
        }
        Self::from_bytes(&keyfile::read_private(path)?.unwrap_or_default())
    }

    /// A short name of the key that gives nothing of it away; also stands in what it sealed.
    pub fn fingerprint(&self) -> String {
        let mut bytes = [0; FINGERPRINT_BYTES];
        self.derive(&[b"fingerprint"], FingerprintLength, |okm| okm.fill(&mut bytes))
            .expect("six bytes are far below what HKDF can give");
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Seals `plain` so that only this key opens it, and only for the same `purpose`.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Result<String, SealError> {
        let fingerprint = self.fingerprint();
        let refused = |_| SealError::Refused { purpose: purpose.to_owned() };
        let nonce = random::<NONCE_LEN>();
        // Encrypted in place: the plain text is in no other buffer than this one, and only until it is overwritten.
        let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + AES_256_GCM.tag_len()));
        sealed.extend_from_slice(plain);
        self.key(purpose)
            .and_then(|key| {
                let aad = Aad::from(context(&fingerprint, purpose));
                key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut *sealed)
            })
            .map_err(refused)?;
        let body = URL_SAFE_NO_PAD.encode([&nonce[..], &sealed[..]].concat());
        Ok(format!("{FORMAT}.{fingerprint}.{body}"))
    }

    /// Opens what [`Self::seal`] gave for the same `purpose`.
    pub fn open(&self, purpose: &str, sealed: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let not_sealed = || SealError::NotSealed { purpose: purpose.to_owned() };
        let damaged = || SealError::Damaged { purpose: purpose.to_owned() };
        let mut parts = sealed.trim().splitn(3, '.');
        let (Some(FORMAT), Some(sealed_under), Some(body)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(not_sealed());
        };
        let given = self.fingerprint();
        if sealed_under != given {
            let sealed_under = sealed_under.chars().take(16).collect();
            return Err(SealError::WrongKey { purpose: purpose.to_owned(), sealed_under, given });
        }
        let mut body = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| damaged())?);
        let (nonce, rest) = body.split_first_chunk_mut::<NONCE_LEN>().ok_or_else(damaged)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(context(&given, purpose));
        let key = self.key(purpose).map_err(|_| damaged())?;
        let plain = key.open_in_place(nonce, aad, rest).map_err(|_| damaged())?;
        Ok(Zeroizing::new(plain.to_vec()))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        Self::from_text(str::from_utf8(bytes).map_err(|_| SealError::NotText)?)
    }

    fn key(&self, purpose: &str) -> Result<LessSafeKey, Unspecified> {
        let mut key = None;
        self.derive(&[b"seal ", purpose.as_bytes()], &AES_256_GCM, |okm| {
            key = Some(LessSafeKey::new(UnboundKey::from(okm)));
            Ok(())
        })?;
        key.ok_or(Unspecified)
    }

    fn derive<L: hkdf::KeyType>(
        &self,
        info: &[&[u8]],
        length: L,
        take: impl FnOnce(hkdf::Okm<'_, L>) -> Result<(), Unspecified>,
    ) -> Result<(), Unspecified> {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(self.text.as_bytes());
        take(prk.expand(info, length)?)
    }
}

impl fmt::Debug for OperatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorKey({})", self.fingerprint())
    }
}

struct FingerprintLength;

impl hkdf::KeyType for FingerprintLength {
    fn len(&self) -> usize {
        FINGERPRINT_BYTES
    }
}

fn context(fingerprint: &str, purpose: &str) -> Vec<u8> {
    format!("{FORMAT}.{fingerprint}.{purpose}").into_bytes()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn key(letter: char) -> OperatorKey {
        OperatorKey::from_text(&letter.to_string().repeat(32)).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_again() {
        let sealed = key('a').seal("ca key", b"plain").unwrap();
        assert_eq!(key('a').open("ca key", &sealed).unwrap().as_slice(), b"plain");
        assert_ne!(sealed, key('a').seal("ca key", b"plain").unwrap(), "the nonce is new each time");
        assert!(key('a').open("ca key", &key('a').seal("ca key", b"").unwrap()).unwrap().is_empty());
    }

    #[test]
    fn another_key_is_named_as_such() {
        let sealed = key('a').seal("ca key", b"plain").unwrap();
        let error = key('b').open("ca key", &sealed).unwrap_err();
        assert!(matches!(error, SealError::WrongKey { .. }));
        assert!(error.to_string().contains(&key('b').fingerprint()), "{error}");
        assert!(error.to_string().contains(&key('a').fingerprint()), "{error}");
    }

    #[test]
    fn any_changed_byte_and_any_other_purpose_is_refused() {
        let operator = key('a');
        let sealed = operator.seal("ca key", b"plain").unwrap();
        assert!(matches!(operator.open("token key", &sealed), Err(SealError::Damaged { .. })));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(operator.open("ca key", &changed).is_err(), "byte {at}");
        }
        for cut in 0..sealed.len() {
            assert!(operator.open("ca key", &sealed[..cut]).is_err(), "cut at {cut}");
        }
        assert!(matches!(operator.open("ca key", "hello"), Err(SealError::NotSealed { .. })));
    }

    #[test]
    fn a_short_key_is_refused() {
        let error = OperatorKey::from_text(&format!("  {}\n", "a".repeat(31))).unwrap_err();
        assert!(matches!(error, SealError::ShortKey { length: 31 }));
    }

    #[test]
    fn the_embedded_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.key");
        let made = OperatorKey::load_or_create(&path).unwrap();
        let read = OperatorKey::load_or_create(&path).unwrap();
        assert_eq!(made.fingerprint(), read.fingerprint());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = OperatorKey::load_or_create(&path).unwrap_err();
        assert!(matches!(error, SealError::File(KeyFileError::Loose { mode: 0o644, .. })), "{error}");
    }

    #[test]
    fn debug_shows_the_name_of_the_key_only() {
        assert_eq!(format!("{:?}", key('a')), format!("OperatorKey({})", key('a').fingerprint()));
    }
}
