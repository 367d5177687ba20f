//! Members that have applied the same entries have the same state; a request that is made twice is done once; a revision
//! never falls.

use warren_core::state::{Answer, GroupState};

pub(crate) fn same(replica: &GroupState, expected: &GroupState) -> Result<(), String> {
    match replica == expected {
        true => Ok(()),
        false => Err(format!("a replica differs: {replica:?} is not {expected:?}")),
    }
}

pub(crate) fn applied_once(
    first: &Answer,
    again: &Answer,
    once: &GroupState,
    twice: &GroupState,
) -> Result<(), String> {
    match first == again && once == twice {
        true => Ok(()),
        false => Err(format!("a request made twice came to {first:?}, then to {again:?}")),
    }
}

pub(crate) fn goes_on(before: &GroupState, after: &GroupState) -> Result<(), String> {
    let counted = after.history.back().is_none_or(|entry| entry.revision == after.revision);
    match after.revision >= before.revision && counted {
        true => Ok(()),
        false => Err(format!("revision {} after {}", after.revision, before.revision)),
    }
}

#[cfg(test)]
mod tests {
    use warren_core::state::HISTORY_MAX;

    use crate::{setup::Setup, world::World};

    #[test]
    fn many_edits_leave_every_member_with_the_same() {
        let setup = Setup { edits: 1_200, trouble: (2_000, 18_000), ..Setup::quiet() };
        let mut world = World::new(4, |_| setup);
        world.live().unwrap();
        let newest = world.site.newest();
        assert!(newest.revision > HISTORY_MAX as u64, "more than are kept");
        assert!(world.agents.iter().all(|agent| *agent.state == *newest));
    }
}
