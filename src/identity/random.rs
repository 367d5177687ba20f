//! Bytes that nobody can guess.

use aws_lc_rs::rand;

/// Draws from the provider's generator. Keys, nonces, serials and secrets come from here alone.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("aws-lc ends the process itself when the system has no entropy");
    bytes
}
