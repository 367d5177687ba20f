//! The rows of the catalogue of faults that are short, each run once; see `faults.rs`.

use warren_cluster_tests::{faults, load};

/// A scenario for each row of that number.
macro_rules! rows {
    ($($name:ident = $number:literal,)*) => {
        $(#[test]
        fn $name() {
            faults::run($number, load::seed($number), 1).judge();
        })*
    };
}

rows! {
    the_leader_dies_while_config_is_written = 1,
    the_leader_is_heard_by_nobody = 3,
    a_follower_is_isolated = 4,
    each_of_three_is_alone = 5,
    the_leader_is_suspended = 7,
    a_clock_is_set = 8,
    a_disk_is_full = 9,
    every_sync_takes_two_seconds = 10,
    a_member_is_started_anew_at_its_address = 14,
    members_take_each_others_addresses = 16,
    an_agent_dies = 23,
    a_target_refuses = 29,
    a_target_is_gone_for_one_member = 31,
    an_agent_is_revoked = 37,
    members_are_started_anew_in_turn = 41,
    three_become_five_become_three = 42,
}
