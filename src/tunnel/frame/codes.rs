//! The numbers behind the words. A code, once released, keeps its meaning.

/// Declares an enum with stable `u8` codes and the names that metrics and the CLI show.
macro_rules! codes {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        $vis enum $name { $($(#[$vmeta])* $variant = $code,)* }

        impl $name {
            /// Every value, in the order of the codes.
            $vis const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The byte that stands for it in a frame.
            $vis const fn code(self) -> u8 {
                self as u8
            }

            /// The value of a byte, if it has one.
            $vis const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Name for metrics, logs and the CLI.
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

codes! {
    /// Kind of a frame.
    pub enum FrameType {
        Hello = 1 "hello",
        Open = 2 "open",
        OpenAck = 3 "open_ack",
        Data = 4 "data",
        Credit = 5 "credit",
        Fin = 6 "fin",
        Reset = 7 "reset",
        Ping = 8 "ping",
        Pong = 9 "pong",
        Drain = 10 "drain",
        Close = 11 "close",
        Resume = 12 "resume",
        ResumeAck = 13 "resume_ack",
        Forsaken = 14 "forsaken",
        Settled = 15 "settled",
    }
}

codes! {
    /// What a session is for.
    pub enum SessionKind {
        /// Carries a caller to a target.
        Resource = 0 "resource",
        /// Carries the control rpc.
        Control = 1 "control",
        /// Answered by the agent itself, to prove that the tunnel carries data.
        Echo = 2 "echo",
    }
}

codes! {
    /// How an open ended.
    pub enum OpenResult {
        Ok = 0 "ok",
        /// The target refused the connection.
        Refused = 1 "refused",
        /// The target did not answer in time.
        Timeout = 2 "timeout",
        /// The target's name did not resolve.
        Dns = 3 "dns",
        /// The site's config or veto forbids it.
        Denied = 4 "denied",
        /// A limit of the member is reached; another may have room.
        Busy = 5 "busy",
        /// The member takes no new sessions.
        Draining = 6 "draining",
        /// The member knows no such resource, or not yet at that revision.
        Unknown = 7 "unknown",
        /// No way to the target's network or host.
        Unreachable = 8 "unreachable",
        Internal = 9 "internal",
    }
}

codes! {
    /// Why a session was cut.
    pub enum ResetReason {
        /// The caller closed or reset its connection.
        CallerGone = 0 "caller_gone",
        /// The target closed or reset its connection.
        TargetReset = 1 "target_reset",
        /// The tunnel that carried it broke.
        TunnelLost = 2 "tunnel_lost",
        /// It was still open at the end of a drain.
        Draining = 3 "draining",
        /// More was queued than a bound allows.
        Overflow = 4 "overflow",
        /// The other end does not know the session.
        Unknown = 5 "unknown",
        Internal = 6 "internal",
        /// The agent's credential was revoked.
        Revoked = 7 "revoked",
        /// The member or the resource was disabled.
        Disabled = 8 "disabled",
        /// The process at the other end was started anew and knows nothing of it.
        PeerRestarted = 9 "peer_restarted",
    }
}

codes! {
    /// Why a tunnel ended.
    pub enum CloseReason {
        /// One end stops.
        Shutdown = 0 "shutdown",
        /// One end broke the protocol.
        ProtocolError = 1 "protocol_error",
        /// A newer connection of the same boot took its place.
        Fenced = 2 "fenced",
        /// The agent's credential was revoked.
        Revoked = 3 "revoked",
        /// The ends share no protocol version.
        VersionMismatch = 4 "version_mismatch",
        /// Nothing was heard for too long, or the connection broke.
        NotAlive = 5 "not_alive",
        /// The agent already has a tunnel to this gateway.
        Duplicate = 6 "duplicate",
        /// One end wants a fresh connection; the sessions go on there.
        Recycled = 7 "recycled",
    }
}

impl CloseReason {
    /// Whether only the connection is gone: the process at the other end lives on, as far as anyone knows, and so may the
    /// sessions.
    pub const fn keeps_sessions(self) -> bool {
        matches!(self, Self::NotAlive | Self::Fenced | Self::Recycled)
    }

    /// Why the sessions of a tunnel that ended so are cut, when they are.
    pub const fn of_sessions(self) -> ResetReason {
        match self {
            Self::Revoked => ResetReason::Revoked,
            _ => ResetReason::TunnelLost,
        }
    }
}

codes! {
    /// Answer to a request to carry on a session.
    pub enum ResumeResult {
        Ok = 0 "ok",
        /// The session is not held here (any more).
        Unknown = 1 "unknown",
        /// It is held, and its open is still to be answered.
        Unanswered = 2 "unanswered",
        /// It came to its proper end: all was received and read.
        Over = 3 "over",
        /// Its open was lost with the tunnel, or refused before anybody saw it: nothing of it can have reached a target.
        Unheard = 4 "unheard",
    }
}
