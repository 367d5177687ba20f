//! Messages of `proto/peer.proto`, as far as they are needed here.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Envelope {
    #[prost(string, tag = "1")]
    pub group: String,
    #[prost(string, tag = "2")]
    pub from: String,
    #[prost(string, tag = "3")]
    pub to: String,
}

/// `Peer/Propose`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Proposal {
    #[prost(message, optional, tag = "1")]
    pub envelope: Option<Envelope>,
    /// JSON.
    #[prost(bytes = "vec", tag = "2")]
    pub proposal: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub timeout_ms: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub struct Answer {
    #[prost(oneof = "Answered", tags = "1, 2")]
    pub outcome: Option<Answered>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
pub enum Answered {
    /// JSON.
    #[prost(bytes, tag = "1")]
    Answer(Vec<u8>),
    /// Why the leader could not decide.
    #[prost(string, tag = "2")]
    Failed(String),
}
