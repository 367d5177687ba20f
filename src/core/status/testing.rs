//! For tests: what is known of members in common situations.

use super::{MemberFacts, Witness};
use crate::state::Intent;

pub(super) fn serving() -> MemberFacts {
    MemberFacts {
        intent: Some(Intent::Enabled),
        tunnels_serving: 2,
        tunnels: 2,
        voter: true,
        ..Default::default()
    }
}

pub(super) fn dead() -> MemberFacts {
    MemberFacts { tunnels_serving: 0, tunnels: 0, ..serving() }
}

pub(super) fn heard(heard_by: u32, asked: u32) -> Witness {
    Witness { heard_by, asked }
}
