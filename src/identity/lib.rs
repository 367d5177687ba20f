//! Who is who: the gateway's certificate authority, registration tokens, secrets at rest, and the TLS settings that
//! everything else connects with.
//!
//! Nothing here opens a socket or asks for the time: `now` is an argument. The only files touched are private ones,
//! by [`keyfile`], with what differs by system in [`owner`]. There is one TLS provider, aws-lc, named explicitly and never taken from the process default.
//!
//! | question | answered by |
//! |---|---|
//! | may this stranger enrol? | [`token`] |
//! | which certificate does it get? | [`authority`] |
//! | who is at the other end of this connection? | [`leaf`] |
//! | which connections are accepted at all? | [`tls`] |
//! | how do secrets rest on disk? | [`seal`], [`keyfile`], [`secret`] |
//!
//! Architecture invariant: a private key is made here and leaves only into a private file of its own process or sealed
//! under the operator's key. Revocation, uses and generations are the gateway's store's business, not this crate's.

pub mod authority;
pub mod key;
pub mod keyfile;
pub mod leaf;
pub mod owner;
mod random;
pub mod seal;
pub mod secret;
pub mod tls;
pub mod token;

pub use authority::{AgentRequest, Authority, AuthorityError, IssuedCertificate, SealedAuthority};
pub use key::{KeyError, PrivateKey};
pub use leaf::{GatewayIdentity, IdentityError, PeerIdentity, Validity};
pub use seal::{OperatorKey, SealError};
pub use tls::{SwappableKey, TlsError, Trust};
pub use token::{TokenClaims, TokenError, TokenKey, TokenVerifier};
