//! Bearer secrets: shown once, kept only as a hash.

use aws_lc_rs::{constant_time, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::random::random;

/// What every secret starts with, so that scanners and people recognise a leaked one.
pub const PREFIX: &str = "wrn_";

/// A new secret: [`PREFIX`] and 256 random bits in url-safe base64, 47 characters.
pub fn new_secret() -> String {
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<32>()))
}

/// The hash to store. One plain SHA-256 is enough because the secret is 256 random bits; never use it for passwords.
pub fn hash_secret(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref());
    hash
}

/// Whether `secret` is the one that `hash` was made of, in time that tells nothing about either.
pub fn matches(secret: &str, hash: &[u8; 32]) -> bool {
    constant_time::verify_slices_are_equal(&hash_secret(secret), hash).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_its_own_hash_only() {
        let (one, other) = (new_secret(), new_secret());
        assert_ne!(one, other);
        assert_eq!(one.len(), 47);
        assert!(one.starts_with(PREFIX));
        assert!(matches(&one, &hash_secret(&one)));
        assert!(!matches(&other, &hash_secret(&one)));
        assert!(!matches("", &hash_secret(&one)));
    }
}
