//! Whether a fault has room beside those that last: some member always serves and a majority votes, but when it was drawn
//! otherwise, and then nothing else hurts the members.

use crate::chaos::{
    fault::{Fault, Who},
    plan::FOUNDERS,
};

/// Positions of the founders that it is about.
pub(super) fn victims(fault: Fault, leader: usize) -> Vec<usize> {
    match (fault, fault.who()) {
        (_, Some(Who::Member(index))) => vec![index],
        (_, Some(Who::Leader)) => vec![leader],
        (Fault::KillAll, None) => (0..FOUNDERS).collect(),
        (Fault::LoseQuorum, None) => vec![leader, (leader + 1) % FOUNDERS],
        (_, None) => Vec::new(),
    }
}

pub(super) fn is_there(fault: Fault, victims: &[usize], active: &[(Fault, &[usize])]) -> bool {
    let is_alone = |fault| matches!(fault, Fault::LoseQuorum | Fault::KillAll);
    let any = |fits: &dyn Fn(Fault) -> bool| active.iter().any(|(other, _)| fits(*other));
    if is_alone(fault) {
        return active.is_empty();
    }
    if fault.is_gateways() {
        return !any(&Fault::is_gateways);
    }
    if matches!(fault, Fault::Rotate | Fault::Newcomer) {
        // A token that was just made must not end before its agent has come.
        return !any(&|other| matches!(other, Fault::Rotate | Fault::Newcomer) || is_alone(other));
    }
    let busy = |index| active.iter().any(|(_, others)| others.contains(index));
    let away = active.iter().filter(|(other, _)| other.hurts_traffic());
    let serving = FOUNDERS - away.map(|(_, others)| others.len()).sum::<usize>();
    let no_vote_left = fault.hurts_vote() && any(&Fault::hurts_vote);
    let nobody_left = fault.hurts_traffic() && serving <= 1;
    !(victims.iter().any(busy) || any(&is_alone) || no_vote_left || nobody_left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::fault::Ways;

    #[test]
    fn a_majority_votes_and_somebody_serves() {
        let (first, second, third) = (Who::Member(0), Who::Member(1), Who::Member(2));
        let room = |fault: Fault, active: &[(Fault, &[usize])]| is_there(fault, &victims(fault, 2), active);
        let killed: (Fault, &[usize]) = (Fault::Kill(first), &[0]);
        assert!(!room(Fault::Freeze(second), &[killed]), "two votes of three would be gone");
        assert!(room(Fault::Hole(second, Ways::Both), &[killed]));
        let holed: (Fault, &[usize]) = (Fault::Hole(second, Ways::Both), &[1]);
        assert!(!room(Fault::Drain(third), &[killed, holed]), "nobody would serve");
        assert!(!room(Fault::Drain(Who::Leader), &[killed, holed]));
        assert!(!room(Fault::HangUp(first), &[killed]), "one fault at a time");
        assert!(room(Fault::KillGateway, &[killed, holed]));
        assert!(!room(Fault::FreezeGateway, &[(Fault::KillGateway, &[])]));
    }

    #[test]
    fn a_lost_quorum_is_alone() {
        assert_eq!(victims(Fault::LoseQuorum, 2), [2, 0]);
        assert!(is_there(Fault::LoseQuorum, &[2, 0], &[]));
        assert!(!is_there(Fault::LoseQuorum, &[2, 0], &[(Fault::Newcomer, &[])]));
        let lost: (Fault, &[usize]) = (Fault::LoseQuorum, &[2, 0]);
        assert!(!is_there(Fault::Cut(Who::Member(1), crate::relay::End::Fin), &[1], &[lost]));
        assert!(is_there(Fault::KillGateway, &[], &[lost]));
    }
}
