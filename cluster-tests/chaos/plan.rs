//! What will happen when: a pure function of the options.

use std::time::Duration;

use super::{
    Options,
    fault::{Fault, Ways, Who},
};
use crate::{load::Random, relay::End};

pub(super) const FOUNDERS: usize = 3;
/// The gateway is the callers' one entrance: what hits it hits everybody.
const GATEWAY_AWAY_MAX: f64 = 3.0;

/// One fault that was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) at: Duration,
    pub(super) fault: Fault,
    pub(super) hold: Duration,
}

/// All of them, by time. Some will find no room beside others, and are passed over then.
pub(super) fn draw(options: &Options) -> Vec<Planned> {
    // Scrambled, or the next seed would draw the same numbers one later.
    let mut random = Random::new(Random::new(options.seed).bits());
    let mean = 60.0 / options.per_minute;
    let mut plan = Vec::new();
    let mut at = 0.0;
    loop {
        // Evenly spread waits: now two faults close together, now a longer rest.
        at += mean * 2.0 * share(&mut random);
        if at >= options.duration.as_secs_f64() {
            return plan;
        }
        let (fault, hold) = fault(&mut random);
        let hold = Duration::from_secs_f64(hold).min(options.hold_max);
        plan.push(Planned { at: Duration::from_secs_f64(at), fault, hold });
    }
}

/// A fault and its seconds.
fn fault(random: &mut Random) -> (Fault, f64) {
    let who = match random.below(4) {
        3 => Who::Leader,
        member => Who::Member(member as usize),
    };
    let ways = Ways::ALL[random.below(3) as usize];
    let end = [End::Reset, End::Fin][random.below(2) as usize];
    let far = Duration::from_millis(5 + random.below(56));
    let mut between = |least: f64, most: f64| least + (most - least) * share(random);
    let weights: [(u64, Fault, f64); 20] = [
        (10, Fault::Kill(who), between(0.2, 8.0)),
        (6, Fault::Kill(Who::Leader), between(0.2, 8.0)),
        (4, Fault::Stop(who), between(0.2, 5.0)),
        (8, Fault::Freeze(who), between(0.5, 12.0)),
        (2, Fault::HangUp(who), 0.0),
        (10, Fault::Cut(who, end), 0.0),
        (10, Fault::Hole(who, ways), between(1.0, 12.0)),
        (5, Fault::Refuse(who), between(0.5, 6.0)),
        (5, Fault::Delay(who, far), between(2.0, 10.0)),
        (7, Fault::PeerHole(who, ways), between(1.0, 10.0)),
        (4, Fault::PeerCut(who, end), 0.0),
        (4, Fault::PeerDelay(who, far), between(2.0, 10.0)),
        (5, Fault::Drain(who), between(2.0, 8.0)),
        (3, Fault::Disable(who), between(2.0, 8.0)),
        (4, Fault::KillGateway, between(0.0, GATEWAY_AWAY_MAX)),
        (2, Fault::StopGateway, between(0.0, GATEWAY_AWAY_MAX)),
        (4, Fault::FreezeGateway, between(0.3, GATEWAY_AWAY_MAX)),
        (4, Fault::LoseQuorum, between(2.0, 10.0)),
        (1, Fault::KillAll, between(0.2, 3.0)),
        (3, Fault::Newcomer, between(4.0, 15.0)),
    ];
    // Rotation takes no time, and what is left of the draw.
    let rotate = 2;
    let mut drawn = random.below(weights.iter().map(|(weight, ..)| weight).sum::<u64>() + rotate);
    for (weight, fault, hold) in weights {
        if drawn < weight {
            return (fault, hold);
        }
        drawn -= weight;
    }
    (Fault::Rotate, 0.0)
}

/// From 0 to below 1.
fn share(random: &mut Random) -> f64 {
    random.below(1 << 32) as f64 / (1_u64 << 32) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn options(seed: u64) -> Options {
        Options::new(seed, Duration::from_secs(3_600))
    }

    #[test]
    fn the_same_seed_draws_the_same_faults_and_another_others() {
        assert_eq!(draw(&options(1)), draw(&options(1)));
        assert_ne!(draw(&options(1)), draw(&options(2)));
    }

    #[test]
    fn an_hour_has_every_fault_at_the_rate_that_was_asked_for() {
        let plan = draw(&options(1));
        let asked = options(1).per_minute * 60.0;
        assert!((plan.len() as f64 - asked).abs() < asked / 10.0, "{} faults", plan.len());
        let kinds: BTreeSet<String> = plan
            .iter()
            .map(|planned| format!("{:?}", planned.fault).split('(').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(kinds.len(), 20, "{kinds:?}");
        assert!(plan.iter().all(|planned| planned.hold <= options(1).hold_max));
        assert!(plan.is_sorted_by_key(|planned| planned.at));
    }
}
