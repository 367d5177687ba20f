//! The rows themselves.

use super::{
    Row,
    Shown::{By, Here},
    Trial, clocks, disks, group, identities, members, partitions, targets, tunnels,
};
use crate::tools::Need;

const NOTHING: &[Need] = &[];
const NETWORK: &[Need] = &[Need::Root, Need::Namespaces, Need::Program("nft")];
const DISK: &[Need] = &[Need::Root, Need::Namespaces];
const TRACE: &[Need] = &[Need::Root, Need::Program("strace")];
const CLOCK: &[Need] = &[Need::FakeTime];

/// Short: a scenario of the suite.
const fn suite(needs: &'static [Need], run: fn(&mut super::Seen)) -> Trial {
    Trial { needs, in_suite: true, run }
}

/// Takes too long for the suite, or shows there what other scenarios show.
const fn proof(needs: &'static [Need], run: fn(&mut super::Seen)) -> Trial {
    Trial { needs, in_suite: false, run }
}

/// The whole catalogue, in order.
pub const ROWS: [Row; 43] = [
    Row {
        number: 1,
        fault: "the leader dies while config is being written",
        made: "`kill -9` at a random moment of edits without a pause",
        promised: "acknowledged, or told as unsure, and made once; writable again < 1 s; no session lost on others",
        shown: Here(
            suite(NOTHING, group::leader_killed),
            "`history`: all that editors were told fits one order",
        ),
    },
    Row {
        number: 2,
        fault: "the leader dies while the membership changes",
        made: "`kill -9` around the moment at which a fourth member gets its vote",
        promised: "one leader, one roster; writable again < 1 s",
        shown: Here(proof(NOTHING, group::leader_killed_in_a_change), ""),
    },
    Row {
        number: 3,
        fault: "the leader is heard by nobody, and hears",
        made: "nftables on hosts of their own, one way",
        promised: "one leader a term; another leads, and it steps down, < 1 s",
        shown: Here(suite(NETWORK, partitions::one_way), ""),
    },
    Row {
        number: 4,
        fault: "a follower is isolated, and returns",
        made: "nftables, 4 s without a packet",
        promised: "it never stands for election; caught up < 5 s",
        shown: Here(
            suite(NETWORK, partitions::isolated),
            "`group`: `a_member_that_was_cut_off_does_not_depose_the_leader`",
        ),
    },
    Row {
        number: 5,
        fault: "each of three is alone",
        made: "nftables between all members, 4 s and more; tunnels stay",
        promised: "no write acknowledged, every caller served; writable < 5 s after the end",
        shown: Here(suite(NETWORK, partitions::each_alone), ""),
    },
    Row {
        number: 6,
        fault: "two of three are lost for good",
        made: "`kill -9` under 100 opens/s; `warren recover`",
        promised: "edits refused with the reason, no open fails; writable < 5 s after a start; the survivor can be made the group",
        shown: Here(
            proof(NOTHING, group::quorum_lost),
            "`recover`; `main_job`; `group`: `a_survivor_becomes_the_group_and_those_that_return_are_shut_out`",
        ),
    },
    Row {
        number: 7,
        fault: "the leader is suspended and goes on",
        made: "SIGSTOP until another write was made, SIGCONT",
        promised: "writable < 2 s; no edit of a stale revision taken; it follows < 2 s after",
        shown: Here(suite(NOTHING, group::leader_frozen), ""),
    },
    Row {
        number: 8,
        fault: "a clock is set by an hour, on and back",
        made: "libfaketime, changed while the leader runs",
        promised: "no election, no tunnel ended, no session lost",
        shown: Here(suite(CLOCK, clocks::set_on_one), ""),
    },
    Row {
        number: 9,
        fault: "a disk is full",
        made: "the leader's data on a small tmpfs, filled",
        promised: "it stops aloud, the others go on < 1 s, no session lost; back by itself < 5 s after there is room",
        shown: Here(
            suite(DISK, disks::full),
            "`group`: `a_full_disk_makes_wait_and_goes_on_when_there_is_space`",
        ),
    },
    Row {
        number: 10,
        fault: "every sync takes 2 s; then every sync fails",
        made: "strace on a follower, `inject=fdatasync:delay_enter`, `:error=EIO`",
        promised: "the others write < 1 s; it answers < 500 ms, its sessions go on; back by a start",
        shown: Here(
            suite(TRACE, disks::slow),
            "`group`: `a_member_whose_disk_fails_stops_aloud_and_the_others_go_on`",
        ),
    },
    Row {
        number: 11,
        fault: "the log's end is torn, or a bit is flipped in it",
        made: "a bit flipped in each page of a follower's log",
        promised: "a torn end is as if not written; a flipped bit is refused at the start, with the remedy; the others write < 1 s",
        shown: Here(
            proof(NOTHING, disks::damaged),
            "`group`: `a_flipped_bit_is_refused_or_is_nowhere`, `a_file_cut_short_is_refused`, `a_transaction_is_whole_or_not_there`",
        ),
    },
    Row {
        number: 12,
        fault: "a crash between any two steps on the disk",
        made: "a disk in memory that forgets what was not synced, stopped at every sync",
        promised: "what was acknowledged is there",
        shown: By("`group`: `what_was_acknowledged_survives_a_power_cut_at_any_sync`"),
    },
    Row {
        number: 13,
        fault: "a voter's data is wiped",
        made: "its folder removed, the same command started again",
        promised: "it enrols under another id; nobody panics",
        shown: Here(
            proof(NOTHING, disks::wiped),
            "under the old id: `group`: `a_member_that_lost_its_log_is_refused_under_its_old_id`",
        ),
    },
    Row {
        number: 14,
        fault: "a member is started anew at its address",
        made: "`kill -9`, a write, a start",
        promised: "caught up < 2 s after the start",
        shown: Here(
            suite(NOTHING, group::restarted_where_it_was),
            "`group`: `connections_are_kept_until_they_fail_or_the_member_moves`",
        ),
    },
    Row {
        number: 15,
        fault: "a member needs a snapshot",
        made: "a member away for 1,050 edits; the leader killed while it catches up",
        promised: "caught up < 5 s, from whoever leads",
        shown: Here(
            proof(NOTHING, group::snapshot_while_the_leader_dies),
            "`group`: `a_newcomer_gets_a_snapshot_when_the_log_is_cut`, `a_hundred_thousand_changes_leave_a_small_file`",
        ),
    },
    Row {
        number: 16,
        fault: "members take each other's addresses; a group is founded twice; another group's call",
        made: "the ports of two stopped members swapped",
        promised: "nobody is taken for another; all in touch < 10 s",
        shown: Here(
            suite(NOTHING, group::swapped_addresses),
            "`group`: `calls_of_others_or_for_others_are_refused`, `a_group_cannot_be_founded_over_another`; `other_group`",
        ),
    },
    Row {
        number: 17,
        fault: "a member's tunnels are silent both ways",
        made: "a relay that holds everything back, under 80 opens/s",
        promised: "nothing new to it after 4 s, its tunnels given up after 8 s, back < 10 s after the end",
        shown: Here(
            proof(NOTHING, tunnels::silent_both_ways),
            "`black_hole`: one tunnel of two; `prove black_hole`: packets dropped",
        ),
    },
    Row {
        number: 18,
        fault: "a member's tunnels are silent one way",
        made: "a relay that holds one direction back, under 80 opens/s",
        promised: "the same; to one that is deaf and speaks, nothing new after 9 s",
        shown: Here(proof(NOTHING, tunnels::silent_one_way), "`black_hole`: one tunnel of two"),
    },
    Row {
        number: 19,
        fault: "something in between cuts what is idle for a minute",
        made: "300 idle sessions; the longest silence of their tunnels is watched",
        promised: "a byte each way within 6 s; no session lost",
        shown: Here(proof(NOTHING, tunnels::idle), ""),
    },
    Row {
        number: 20,
        fault: "a tunnel answers pings and carries nothing",
        made: "a tunnel spoken by hand",
        promised: "recycled within 25 s",
        shown: By("`echo_recycle`; `gateway`: `a_tunnel_that_pings_but_does_not_carry_data_is_recycled`"),
    },
    Row {
        number: 21,
        fault: "gateways are started anew in turn",
        made: "SIGTERM and a start, three gateways one after the other, under 100 opens/s",
        promised: "no new session fails, for callers of several addresses",
        shown: By("`several_gateways`; one alone: `gateway_restart`, `drain`"),
    },
    Row {
        number: 22,
        fault: "all agents lose the gateway at once",
        made: "in small: the gateway of five agents killed, and started after 3 s",
        promised: "paced return: all are back < 10 s",
        shown: Here(
            proof(NOTHING, tunnels::gateway_lost),
            "`prove storm`: a thousand agents; `core`: `thousands_come_back_as_fast_as_they_can_be_served`; [scale](../docs/scale.md)",
        ),
    },
    Row {
        number: 23,
        fault: "an agent dies",
        made: "`kill -9` of one of three with 300 sessions, under 200 opens/s",
        promised: "next open < 100 ms, no open fails but those under way on it; its sessions cut by its next start, or after 30 s; the others share alike",
        shown: Here(suite(NOTHING, members::killed), "`main_job`; `prove postgres`"),
    },
    Row {
        number: 24,
        fault: "an agent is told to stop while a session is slow",
        made: "SIGTERM",
        promised: "the session finishes within the grace, nothing new comes",
        shown: By("`intents`: `a_terminated_agent_finishes_its_sessions_first`; `drain_move`"),
    },
    Row {
        number: 25,
        fault: "a caller reads slowly",
        made: "10 KB/s beside fast sessions on one tunnel",
        promised: "they do not feel it, memory is bounded",
        shown: By("`slow_reader`; `prove slow_reader`"),
    },
    Row {
        number: 26,
        fault: "bulk beside keystrokes",
        made: "both on one tunnel",
        promised: "p99 of the keystrokes < 50 ms more",
        shown: By("`tunnel`: `a_keystroke_goes_before_the_bulk`; figures: [the bench](bench/README.md)"),
    },
    Row {
        number: 27,
        fault: "thousands of idle sessions",
        made: "5,000 sessions that say nothing",
        promised: "at most 20 KiB each",
        shown: By("`prove idle`"),
    },
    Row {
        number: 28,
        fault: "distance and loss",
        made: "5 of 100 packets lost at the gateway's and the agent's hosts; a relay that delays",
        promised: "every byte arrives once; at a distance at least 70 % of plain TCP",
        shown: Here(proof(NETWORK, tunnels::lossy), "at a distance: [the bench](bench/README.md)"),
    },
    Row {
        number: 29,
        fault: "a target refuses",
        made: "a port where nobody listens",
        promised: "the caller told < 100 ms, no member shunned for it",
        shown: Here(suite(NOTHING, targets::refuses), "`targets`"),
    },
    Row {
        number: 30,
        fault: "a target is silent",
        made: "a listener whose queue is full",
        promised: "the caller told within 10.5 s, two members tried; opens to others < 100 ms",
        shown: Here(proof(NOTHING, targets::silent), "`targets`"),
    },
    Row {
        number: 31,
        fault: "a target is gone for one member only",
        made: "nftables on that member's host, refusing",
        promised: "no open fails; shunned after 5 tries at most; a candidate again within 15 s",
        shown: Here(suite(NETWORK, members::cut_from_its_target), ""),
    },
    Row {
        number: 32,
        fault: "a member is slow",
        made: "a relay that adds 100 ms to each round trip",
        promised: "less than 5 % of the sessions",
        shown: Here(proof(NOTHING, members::slow), "fails fast: `core`: `failing_fast_attracts_nothing`"),
    },
    Row {
        number: 33,
        fault: "all members look dead and are not",
        made: "a target that refuses until all have said so",
        promised: "callers are served at once, by more than one",
        shown: Here(
            proof(NOTHING, targets::looks_dead),
            "`core`: `panic_mode_tries_all_that_people_did_not_take_out`",
        ),
    },
    Row {
        number: 34,
        fault: "thousands who say nothing, or little",
        made: "1,000 connections with half a hello",
        promised: "a good agent connects < 1 s",
        shown: By(
            "`strangers`; `gateway`: `clients_that_say_nothing_keep_nobody_out`, `strangers_who_ask_and_stay_keep_nobody_out`",
        ),
    },
    Row {
        number: 35,
        fault: "malformed frames, floods of resets",
        made: "tunnels spoken by hand; fuzzers",
        promised: "that tunnel ends with a protocol error, no other does",
        shown: By("`frames`; `tunnel`: `machine/tests/faults`, `tests/corpus`, the fuzzers"),
    },
    Row {
        number: 36,
        fault: "a certificate ends while its agent is connected, and cannot be renewed",
        made: "certificates of a minute, a relay that refuses new connections",
        promised: "sessions go on, it warns; afterwards it comes back by its token",
        shown: Here(
            proof(NOTHING, identities::expired),
            "`certificates`; `agent`: `an_expired_agent_with_a_token_gets_its_own_id_back`",
        ),
    },
    Row {
        number: 37,
        fault: "the token is rotated, an agent is revoked, the CA is rotated",
        made: "by the CLI, under 60 sessions",
        promised: "no session lost by a rotation; the revoked one cut < 10 s",
        shown: Here(
            suite(NOTHING, identities::revoked),
            "the CA: `identity`: `roots_rotate_without_cutting_anybody_off`; `enrolment`",
        ),
    },
    Row {
        number: 38,
        fault: "another's certificate, or one stuffed into the chain",
        made: "certificates made by hand",
        promised: "refused",
        shown: By(
            "`identity`: `filler_in_the_chain_changes_nothing`, `another_member_than_the_one_dialled_is_refused`; `other_group`",
        ),
    },
    Row {
        number: 39,
        fault: "one identity on two machines",
        made: "a running agent's folder copied, and started",
        promised: "the later start has the tunnels, and keeps them; the earlier says what is wrong < 2 s",
        shown: Here(
            proof(NOTHING, identities::there_twice),
            "`gateway`: `of_two_processes_with_one_identity_the_later_start_keeps_its_place`",
        ),
    },
    Row {
        number: 40,
        fault: "two versions at once",
        made: "an earlier version's gateway and agents replaced one after the other, and one agent taken back, under 100 opens/s",
        promised: "no open fails, config is written at each step; versions without a word in common say so",
        shown: By("`mixed_versions`; `tunnel`: `versions_must_overlap`"),
    },
    Row {
        number: 41,
        fault: "members are started anew faster than they settle",
        made: "`kill -9` and start, one after the other, by readiness alone",
        promised: "no open fails but with its member; config writable < 2 s after the last",
        shown: Here(suite(NOTHING, members::restarted_in_turn), ""),
    },
    Row {
        number: 42,
        fault: "three become five become three, the leader among those that leave",
        made: "two agents more, two revoked, those started again",
        promised: "writable < 1 s after it; those that left stay out",
        shown: Here(suite(NOTHING, members::scaled), "`group`: `members_leave_for_good`"),
    },
    Row {
        number: 43,
        fault: "all of it at random, for hours",
        made: "[the random mix](#the-random-mix), by seed",
        promised: "all invariants hold",
        shown: By("`chaos`; `prove chaos`"),
    },
];
