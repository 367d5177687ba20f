//! Registration tokens: a signed note that its bearer may enrol an agent in one group.
//!
//! A token is a JWT signed with Ed25519. What it says is checked here; what only the gateway's store knows (whether it
//! was revoked, how often it was used, which generation the group is at) is checked there, after this.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::AsDer,
    signature::{Ed25519KeyPair, KeyPair},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use warren_core::id::{CustomerId, GroupId, TokenId};
use zeroize::Zeroizing;

use crate::seal::{OperatorKey, SealError};

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;

const ISSUER: &str = "warren-gateway";
const AUDIENCE: &str = "warren-enrol";
const PURPOSE: &str = "registration token key";

/// Why a token does not let its bearer in, or cannot be made.
#[derive(Debug, Error)]
pub enum TokenError {
    #[error("registration token cannot be read, copy it whole as `warren tokens create` printed it")]
    Malformed,
    #[error(
        "registration token was not signed by this gateway, make one on the gateway that the agent dials"
    )]
    BadSignature,
    #[error("registration token expired at {}, make a new one", seconds(*at))]
    Expired { at: SystemTime },
    #[error("registration token is not valid before {}, check the clocks", seconds(*at))]
    NotYetValid { at: SystemTime },
    #[error("token is not meant for enrolment")]
    WrongAudience,
    #[error("registration token cannot belong to a customer and be org-only at once")]
    TwoOwners,
    #[error("cannot make or read the token key")]
    Key,
    #[error("cannot sign registration token")]
    Sign { source: jsonwebtoken::errors::Error },
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl TokenError {
    /// A label for metrics; one of a few words.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Malformed | Self::TwoOwners => "token_malformed",
            Self::BadSignature => "token_bad_signature",
            Self::Expired { .. } => "token_expired",
            Self::NotYetValid { .. } => "token_not_yet_valid",
            Self::WrongAudience => "token_wrong_audience",
            Self::Key | Self::Sign { .. } | Self::Seal(_) => "token_key",
        }
    }
}

/// What a token says. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenClaims {
    #[serde(rename = "jti")]
    pub id: TokenId,
    #[serde(rename = "sub")]
    pub group: GroupId,
    #[serde(rename = "cus", default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<CustomerId>,
    #[serde(default)]
    pub org_only: bool,
    #[serde(rename = "iat")]
    pub issued_at: u64,
    #[serde(rename = "nbf", default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<u64>,
    /// The first second at which the token is refused.
    #[serde(rename = "exp")]
    pub expires_at: u64,
    /// How many agents may enrol with it; `None` is any number. Counted by the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<u32>,
    /// The group's generation when it was made. The store refuses it once the group is at a higher one.
    #[serde(rename = "gen")]
    pub generation: u32,
}

#[derive(Serialize)]
struct Envelope<'a> {
    iss: &'static str,
    aud: &'static str,
    #[serde(flatten)]
    claims: &'a TokenClaims,
}

/// The gateway's key for signing tokens. Keep it [`sealed`](Self::export); every gateway of one store uses the same.
pub struct TokenKey {
    pkcs8: Zeroizing<Vec<u8>>,
    signing: EncodingKey,
    verifier: TokenVerifier,
}

impl TokenKey {
    pub fn generate() -> Result<Self, TokenError> {
        let pair = Ed25519KeyPair::generate().map_err(|_| TokenError::Key)?;
        let pkcs8 =
            AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| TokenError::Key)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// The key as it is stored, sealed under the operator's.
    pub fn export(&self, operator: &OperatorKey) -> Result<String, TokenError> {
        Ok(operator.seal(PURPOSE, &self.pkcs8)?)
    }

    /// Takes back what [`Self::export`] gave.
    pub fn import(sealed: &str, operator: &OperatorKey) -> Result<Self, TokenError> {
        Self::from_pkcs8(&operator.open(PURPOSE, sealed)?)
    }

    /// The public half, which can verify but not issue.
    pub fn verifier(&self) -> TokenVerifier {
        self.verifier.clone()
    }

    /// Signs a token that says `claims`.
    pub fn issue(&self, claims: &TokenClaims) -> Result<String, TokenError> {
        if claims.customer.is_some() && claims.org_only {
            return Err(TokenError::TwoOwners);
        }
        let envelope = Envelope { iss: ISSUER, aud: AUDIENCE, claims };
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &envelope, &self.signing)
            .map_err(|source| TokenError::Sign { source })
    }

    /// See [`TokenVerifier::verify`].
    pub fn verify(&self, text: &str, now: SystemTime) -> Result<TokenClaims, TokenError> {
        self.verifier.verify(text, now)
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, TokenError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| TokenError::Key)?;
        let public = pair.public_key().as_ref();
        Ok(Self {
            pkcs8: Zeroizing::new(pkcs8.to_vec()),
            signing: EncodingKey::from_ed_der(pkcs8),
            verifier: TokenVerifier { public: public.try_into().map_err(|_| TokenError::Key)? },
        })
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

/// The public half of a [`TokenKey`].
#[derive(Clone, PartialEq, Eq)]
pub struct TokenVerifier {
    public: [u8; 32],
}

impl TokenVerifier {
    /// The raw Ed25519 public key.
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public
    }

    pub fn from_public_key(public: [u8; 32]) -> Self {
        Self { public }
    }

    /// Checks signature, purpose and times, in this order, without any leeway: only what is signed by us tells more
    /// about itself. White space around the token does not count.
    pub fn verify(&self, text: &str, now: SystemTime) -> Result<TokenClaims, TokenError> {
        let text = text.trim();
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed);
        }
        let said = self.signed(text)?;
        if said["iss"] != ISSUER || said["aud"] != AUDIENCE {
            return Err(TokenError::WrongAudience);
        }
        let claims: TokenClaims = serde_json::from_value(said).map_err(|_| TokenError::Malformed)?;
        if claims.customer.is_some() && claims.org_only {
            return Err(TokenError::TwoOwners);
        }
        let at = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or(TokenError::Malformed);
        let expires = at(claims.expires_at)?;
        if now >= expires {
            return Err(TokenError::Expired { at: expires });
        }
        if let Some(not_before) = claims.not_before
            && now < at(not_before)?
        {
            return Err(TokenError::NotYetValid { at: at(not_before)? });
        }
        Ok(claims)
    }

    fn signed(&self, text: &str) -> Result<serde_json::Value, TokenError> {
        // The crate would ask the system's clock and knows nothing of ours: it checks the signature and no more.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        jsonwebtoken::decode(text, &DecodingKey::from_ed_der(&self.public), &validation)
            .map(|token| token.claims)
            .map_err(|error| match error.kind() {
                ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenError::BadSignature,
                _ => TokenError::Malformed,
            })
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenVerifier(Ed25519)")
    }
}

/// Seconds since 1970, for a message; who shows it to people may format it.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
