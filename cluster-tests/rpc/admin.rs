//! Messages of `proto/admin.proto`, as far as they are needed here.

use prost::Message;

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Nothing {}

/// `Config/Get`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetConfig {
    #[prost(string, tag = "1")]
    pub group: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ConfigDocument {
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    #[prost(string, tag = "2")]
    pub document: String,
}

/// `Config/Set`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SetConfig {
    #[prost(string, tag = "1")]
    pub group: String,
    #[prost(string, tag = "2")]
    pub document: String,
    #[prost(uint64, optional, tag = "3")]
    pub expected_revision: Option<u64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Changed {
    #[prost(uint64, tag = "1")]
    pub revision: u64,
}

/// `Config/History`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ConfigHistory {
    #[prost(string, tag = "1")]
    pub group: String,
    #[prost(uint32, tag = "2")]
    pub limit: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ConfigRevisions {
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<ConfigRevision>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct ConfigRevision {
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    #[prost(string, tag = "5")]
    pub document: String,
}

/// `Groups/Status`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GroupStatus {
    #[prost(string, tag = "1")]
    pub group: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct GroupState {
    #[prost(string, tag = "2")]
    pub group_id: String,
    #[prost(string, tag = "3")]
    pub state: String,
    #[prost(string, tag = "5")]
    pub leader: String,
    #[prost(uint64, tag = "6")]
    pub revision: u64,
    #[prost(bool, tag = "7")]
    pub quorum: bool,
    #[prost(message, repeated, tag = "9")]
    pub members: Vec<MemberState>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct MemberState {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "3")]
    pub status: String,
    #[prost(string, tag = "4")]
    pub role: String,
    #[prost(uint64, tag = "5")]
    pub revision: u64,
    #[prost(uint32, tag = "6")]
    pub tunnels: u32,
    #[prost(uint32, tag = "7")]
    pub sessions: u32,
}

/// `Agents/SetIntent`; the answer is [`Changed`].
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SetIntent {
    #[prost(string, tag = "1")]
    pub agent: String,
    /// 1 enabled, 2 draining, 3 disabled.
    #[prost(int32, tag = "2")]
    pub intent: i32,
}

/// `Agents/Revoke`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RevokeAgent {
    #[prost(string, tag = "1")]
    pub agent: String,
}

/// `Tokens/Create`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateToken {
    #[prost(string, tag = "1")]
    pub group: String,
    #[prost(bool, tag = "3")]
    pub org_only: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreatedToken {
    #[prost(string, tag = "2")]
    pub token: String,
}

/// `Tokens/Rotate`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct RotateTokens {
    #[prost(string, tag = "1")]
    pub group: String,
}

/// `Sessions/List`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListSessions {
    #[prost(string, tag = "1")]
    pub group: String,
    /// Also those that have ended.
    #[prost(bool, tag = "4")]
    pub all: bool,
    #[prost(uint32, tag = "5")]
    pub limit: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Sessions {
    #[prost(message, repeated, tag = "1")]
    pub sessions: Vec<Session>,
    #[prost(uint64, tag = "2")]
    pub total_open: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Session {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "3")]
    pub resource: String,
    #[prost(string, tag = "4")]
    pub caller: String,
    /// Agent id of the member that it was tried on last.
    #[prost(string, tag = "5")]
    pub member: String,
    #[prost(uint64, tag = "7")]
    pub opened_ms: u64,
    /// 0 while it is open.
    #[prost(uint64, tag = "8")]
    pub closed_ms: u64,
    #[prost(string, tag = "11")]
    pub outcome: String,
    #[prost(string, tag = "12")]
    pub detail: String,
    #[prost(message, repeated, tag = "13")]
    pub attempts: Vec<Attempt>,
}

/// One try of a session that has its answer.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Attempt {
    #[prost(string, tag = "2")]
    pub chosen: String,
    #[prost(uint64, tag = "5")]
    pub took_us: u64,
    /// From the caller's coming until it began.
    #[prost(uint64, tag = "6")]
    pub after_us: u64,
}
