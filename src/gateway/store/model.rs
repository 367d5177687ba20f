//! The records that the store keeps.

use std::{
    fmt,
    net::{AddrParseError, IpAddr, SocketAddr},
    str::FromStr,
};

use thiserror::Error;
use warren_core::id::{AgentId, CustomerId, GatewayId, GroupId, Name, TokenId, UserId};

/// Whom groups belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerRecord {
    pub id: CustomerId,
    pub name: Name,
    pub created_s: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRecord {
    pub id: GroupId,
    pub name: Name,
    /// `None` for an org-only group.
    pub customer: Option<CustomerRef>,
    pub created_s: u64,
    /// Tokens of another generation do not enrol.
    pub generation: u32,
}

/// A customer as a group names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerRef {
    pub id: CustomerId,
    pub name: Name,
}

impl GroupRecord {
    /// `NAME`, or `CUSTOMER/NAME`: unique among the groups that exist, fit for people and for metric labels.
    pub fn label(&self) -> String {
        match &self.customer {
            Some(customer) => format!("{}/{}", customer.name, self.name),
            None => self.name.to_string(),
        }
    }
}

/// An enrolled identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRecord {
    pub id: AgentId,
    pub group: GroupId,
    /// What people call it; several may share a name.
    pub name: Name,
    /// Of its newest certificate, lower-case hex.
    pub serial: String,
    pub not_after_s: u64,
    /// Where its peers reach it; empty until it has introduced itself.
    pub peer_address: String,
    pub version: String,
    pub enrolled_s: u64,
    pub revoked_s: Option<u64>,
}

/// An agent that is about to enrol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAgent {
    /// Used unless this key has enrolled with this token before.
    pub id: AgentId,
    pub group: GroupId,
    pub name: Name,
    pub version: String,
    /// SHA-256 of its public key.
    pub key_hash: [u8; 32],
}

/// The agent that an enrolment led to. It has no certificate yet: [`super::Store::renew_agent`] records that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    pub agent: AgentId,
    pub group: GroupRecord,
    /// The same key had enrolled with the same token before.
    pub again: bool,
}

/// Why a token that is signed and in time does not enrol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EnrolRefusal {
    #[error("registration token is not known to this gateway's store, make a new one")]
    UnknownToken,
    #[error("group of this registration token was deleted")]
    GroupGone,
    #[error("registration token was revoked, make a new one")]
    Revoked,
    #[error("tokens of this group were rotated since, make a new one")]
    Rotated,
    #[error("registration token has expired, make a new one")]
    Expired,
    #[error("registration token has been used up, make a new one or one with more uses")]
    UsedUp,
    #[error("agent of this key was revoked, it must make a new key")]
    AgentRevoked,
}

/// One agent that may not come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// Rises by time of revocation.
    pub number: u64,
    pub agent: AgentId,
}

/// A registration token; the token itself is kept nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    pub id: TokenId,
    pub group: GroupId,
    /// `None` for an org-only token.
    pub customer: Option<CustomerId>,
    pub created_s: u64,
    pub expires_s: u64,
    /// `None` for any number.
    pub max_uses: Option<u32>,
    pub uses: u32,
    pub generation: u32,
    pub revoked_s: Option<u64>,
}

/// Whether a token enrols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    Active,
    Expired,
    UsedUp,
    Rotated,
    Revoked,
}

impl TokenRecord {
    /// What the token is worth while its group is at `generation`.
    pub fn state(&self, generation: u32, now_s: u64) -> TokenState {
        if self.revoked_s.is_some() {
            TokenState::Revoked
        } else if self.generation != generation {
            TokenState::Rotated
        } else if now_s >= self.expires_s {
            TokenState::Expired
        } else if self.max_uses.is_some_and(|max| self.uses >= max) {
            TokenState::UsedUp
        } else {
            TokenState::Active
        }
    }
}

impl TokenState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::UsedUp => "used up",
            Self::Rotated => "rotated",
            Self::Revoked => "revoked",
        }
    }
}

/// The address where callers of a resource connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerRecord {
    pub group: GroupId,
    pub resource: Name,
    pub at: ListenAt,
}

/// Where every gateway listens for a resource: `IP:PORT`, or `:PORT` on the host that each gateway has for its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAt {
    pub host: Option<IpAddr>,
    pub port: u16,
}

impl ListenAt {
    /// What a gateway whose callers come to `host` makes of `address`: its own host means that of each gateway.
    pub fn of(address: SocketAddr, host: IpAddr) -> Self {
        Self { host: Some(address.ip()).filter(|ip| *ip != host), port: address.port() }
    }

    /// The address on a gateway whose callers come to `host`.
    pub fn on(self, host: IpAddr) -> SocketAddr {
        SocketAddr::new(self.host.unwrap_or(host), self.port)
    }
}

impl FromStr for ListenAt {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        match text.strip_prefix(':').and_then(|port| port.parse().ok()) {
            Some(port) => Ok(Self { host: None, port }),
            None => text.parse().map(|at: SocketAddr| Self { host: Some(at.ip()), port: at.port() }),
        }
    }
}

impl fmt::Display for ListenAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Some(host) => SocketAddr::new(host, self.port).fmt(f),
            None => write!(f, ":{}", self.port),
        }
    }
}

/// A gateway that serves on this store, as it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayRecord {
    pub id: GatewayId,
    /// Where agents and people reach it.
    pub url: String,
    /// Where it listens, as far as it knows.
    pub address: String,
    pub version: String,
    /// Seconds since it last said so, by the store's clock.
    pub silent_s: u64,
}

impl GatewayRecord {
    /// Longer than a gateway that is well is ever silent.
    pub const SILENT_S_MAX: u64 = 10;

    pub fn is_alive(&self) -> bool {
        self.silent_s <= Self::SILENT_S_MAX
    }
}

/// One who may call the admin API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    pub id: UserId,
    pub name: Name,
    pub role: UserRole,
    pub created_s: u64,
    /// SHA-256 of the bearer token.
    pub token_hash: [u8; 32],
}

/// What a user may do; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserRole {
    Viewer,
    Operator,
    Admin,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a role, expected admin, operator or viewer")]
pub struct UserRoleError(String);

impl UserRole {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for UserRole {
    type Err = UserRoleError;

    fn from_str(text: &str) -> Result<Self, UserRoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| UserRoleError(text.to_owned()))
    }
}

impl fmt::Display for UserRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that somebody did or tried to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    pub at_ms: u64,
    pub who: String,
    /// `noun.verb`.
    pub action: String,
    pub subject: String,
    /// `ok`, or why it failed.
    pub outcome: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_worth_what_its_worst_property_allows() {
        let token = TokenRecord {
            id: TokenId::from_random(1),
            group: GroupId::from_random(1),
            customer: None,
            created_s: 0,
            expires_s: 100,
            max_uses: Some(2),
            uses: 1,
            generation: 3,
            revoked_s: None,
        };
        assert_eq!(token.state(3, 99), TokenState::Active);
        assert_eq!(token.state(3, 100), TokenState::Expired);
        assert_eq!(token.state(4, 100), TokenState::Rotated);
        let revoked = TokenRecord { revoked_s: Some(1), ..token };
        assert_eq!(revoked.state(4, 100), TokenState::Revoked);
        assert_eq!(TokenRecord { uses: 2, ..token }.state(3, 99), TokenState::UsedUp);
    }

    #[test]
    fn a_gateways_own_host_stands_for_that_of_each() {
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let own = ListenAt::of(SocketAddr::new(here, 5000), here);
        assert_eq!((own.to_string().as_str(), own.on(there)), (":5000", SocketAddr::new(there, 5000)));
        let one = ListenAt::of(SocketAddr::new(there, 5000), here);
        assert_eq!(
            (one.to_string().as_str(), one.on(here)),
            ("127.0.0.2:5000", SocketAddr::new(there, 5000))
        );
        for at in [own, one] {
            assert_eq!(at.to_string().parse(), Ok(at));
        }
        assert_eq!(
            "[::1]:9".parse(),
            Ok(ListenAt { host: Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])), port: 9 })
        );
        assert!(":".parse::<ListenAt>().is_err() && ":70000".parse::<ListenAt>().is_err());
    }

    #[test]
    fn roles_are_ordered() {
        assert!(UserRole::Viewer < UserRole::Operator && UserRole::Operator < UserRole::Admin);
        assert_eq!(
            "root".parse::<UserRole>().unwrap_err().to_string(),
            "`root` is not a role, expected admin, operator or viewer"
        );
    }
}
