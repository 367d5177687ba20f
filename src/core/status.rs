//! What a person is told about a member and a group, in one word, a reason, and since when.
//!
//! Pure judgement over gathered facts: what the gateway sees of its tunnels, what the group says of its members, what
//! each member says of itself and of the others, and who has enrolled. The gateway's own view wins over reports: a member
//! without a tunnel does not respond, whatever its peers say; what they say tells why.

mod group;
mod member;
mod since;
#[cfg(test)]
mod testing;

pub use group::{GroupFacts, GroupHealth, GroupJudged, Why, judge_group};
pub use member::{MemberFacts, MemberStatus, Witness, judge_member};
pub use since::Since;

/// A judgement and why it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged<T> {
    pub status: T,
    /// For people; empty when there is nothing to say.
    pub reason: String,
}

fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
