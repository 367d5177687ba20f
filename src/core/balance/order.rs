//! The filters and the policies.

use std::time::Instant;

use super::{
    Balancer, Candidate, CandidateRecord, Exclusion, LATENCY_SEED, Plan, Rule, Tunnels, Wanted,
    random::Random, sticky,
};
use crate::{
    config::Policy,
    id::AgentId,
    state::{Intent, Verdict},
};

/// Differences of latency below this are noise, beside how many sessions a member has: it is added to every estimate,
/// seconds.
const LATENCY_FLOOR: f64 = 0.01;
/// Of two scores, the lower wins only if it is lower by this part; else the draw decides, and so the weight.
const CLOSE: f64 = 0.2;

/// A candidate with what its score is made of.
struct Scored {
    agent: AgentId,
    /// Chance to be drawn, relative to the others.
    share: f64,
    /// Lower is better.
    score: f64,
    in_flight: u32,
}

impl Scored {
    /// Sessions for its weight.
    fn load(&self) -> f64 {
        f64::from(self.in_flight) / self.share
    }
}

pub(super) fn order(
    balancer: &mut Balancer,
    wanted: Wanted<'_>,
    candidates: &[Candidate],
    random: u64,
    now: Instant,
) -> Plan {
    let scores = scores(balancer, candidates, now);
    let mut records: Vec<_> = candidates
        .iter()
        .zip(&scores)
        .map(|(candidate, scored)| CandidateRecord {
            member: candidate.agent,
            score: scored.score,
            sessions: candidate.in_flight,
            excluded: exclusion(balancer, wanted, candidate, now),
        })
        .collect();
    stand_by(&mut records, candidates);
    let mut rule = Rule::Policy(wanted.policy);
    if records.iter().all(|record| record.excluded.is_some()) {
        rule = Rule::Panic;
    }
    let fits = |excluded: Option<Exclusion>| match excluded {
        Some(exclusion) => rule == Rule::Panic && exclusion.yields(),
        None => true,
    };
    let fitting = scores.into_iter().zip(&records).filter(|(_, record)| fits(record.excluded));
    let mut scored: Vec<Scored> = fitting.map(|(scored, _)| scored).collect();
    rule = match scored.len() {
        0 => Rule::Nobody,
        1 if rule != Rule::Panic => Rule::Only,
        _ => rule,
    };
    let mut random = Random(random);
    // Ties are broken by chance, whatever the policy.
    random.shuffle(&mut scored);
    match wanted.policy {
        Policy::P2c => two_choices(&mut scored, &mut random),
        Policy::LeastSessions => scored.sort_by(|a, b| a.load().total_cmp(&b.load())),
        Policy::RoundRobin => balancer.next_in_turn(wanted, &mut scored),
        Policy::Sticky => own_first(wanted.caller, &mut scored),
    }
    Plan { choices: scored.iter().map(|scored| scored.agent).collect(), rule, records }
}

/// The first reason against a candidate, the weightiest first.
fn exclusion(
    balancer: &Balancer,
    wanted: Wanted<'_>,
    candidate: &Candidate,
    now: Instant,
) -> Option<Exclusion> {
    let track = balancer.tracks.get(&candidate.agent);
    let reasons = [
        (candidate.tunnels == Tunnels::None, Exclusion::NoTunnel),
        (!candidate.member, Exclusion::NotMember),
        (candidate.intent == Intent::Disabled, Exclusion::Disabled),
        (candidate.intent == Intent::Draining, Exclusion::Draining),
        (candidate.tunnels == Tunnels::Draining, Exclusion::Draining),
        (wanted.tried.contains(&candidate.agent), Exclusion::Tried),
        (candidate.tunnels == Tunnels::Suspect, Exclusion::Suspect),
        (candidate.revision < wanted.revision, Exclusion::Behind),
        (candidate.verdict == Verdict::Down, Exclusion::Down),
        (track.is_some_and(|track| track.breaker().holds(now)), Exclusion::Ejected),
        (track.is_some_and(|track| track.is_held_back(now)), Exclusion::Unsteady),
        (
            balancer.paths.holds(wanted.resource, wanted.revision, candidate.agent, now),
            Exclusion::Unreachable,
        ),
        (candidate.exhausted, Exclusion::Exhausted),
    ];
    reasons.into_iter().find(|(applies, _)| *applies).map(|(_, exclusion)| exclusion)
}

/// Leaves out all that stand behind the first tier with somebody left.
fn stand_by(records: &mut [CandidateRecord], candidates: &[Candidate]) {
    let fit = records.iter().zip(candidates).filter(|(record, _)| record.excluded.is_none());
    let Some(first) = fit.map(|(_, candidate)| candidate.tier).min() else { return };
    for (record, candidate) in records.iter_mut().zip(candidates) {
        if record.excluded.is_none() && candidate.tier > first {
            record.excluded = Some(Exclusion::Standby);
        }
    }
}

/// Share and score of every candidate. A session more counts the less, the more weight its member has; what an idle
/// member costs does not depend on its weight, so that weights mean shares however little is going on.
fn scores(balancer: &Balancer, candidates: &[Candidate], now: Instant) -> Vec<Scored> {
    let seen = |candidate: &Candidate| {
        let track = balancer.tracks.get(&candidate.agent);
        let share = f64::from(candidate.weight.max(1)) * track.map_or(1.0, |track| track.share(now));
        (share, track.and_then(|track| track.latency(now)))
    };
    let seen: Vec<_> = candidates.iter().map(seen).collect();
    let mean_share = mean(seen.iter().map(|(share, _)| *share)).unwrap_or(1.0);
    // Whoever was not tried yet is taken to be like the others, or it would not be tried for long.
    let unseen = mean(seen.iter().filter_map(|(_, latency)| *latency)).unwrap_or(LATENCY_SEED.as_secs_f64());
    let score = |(candidate, (share, latency)): (&Candidate, (f64, Option<f64>))| {
        let sessions = f64::from(candidate.in_flight);
        let weighted = sessions * mean_share / share + 1.0;
        // Milliseconds read better in a record than seconds.
        let score = weighted * (latency.unwrap_or(unseen) + LATENCY_FLOOR) * 1_000.0;
        Scored { agent: candidate.agent, share, score, in_flight: candidate.in_flight }
    };
    candidates.iter().zip(seen).map(score).collect()
}

fn mean(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = numbers.fold((0.0, 0_u32), |(sum, count), number| (sum + number, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Draws two by their share and puts the better one first; the rest follows by score, for retries.
fn two_choices(scored: &mut [Scored], random: &mut Random) {
    if scored.len() < 2 {
        return;
    }
    let share = |scored: &Scored| scored.share;
    let first = random.draw(scored, share);
    scored.swap(0, first);
    let second = 1 + random.draw(&scored[1..], share);
    scored.swap(1, second);
    if scored[1].score < scored[0].score * (1.0 - CLOSE) {
        scored.swap(0, 1);
    }
    scored[1..].sort_by(|a, b| a.score.total_cmp(&b.score));
}

/// The caller's own member first, then the one that would be its own without that, and so on; those with more than they
/// should have last.
fn own_first(caller: u64, scored: &mut [Scored]) {
    let total = scored.iter().map(|scored| scored.in_flight).fold(0, u32::saturating_add);
    let shares = scored.iter().map(|scored| scored.share).sum();
    let rank = |scored: &Scored| sticky::rank(caller, scored.agent, scored.share);
    let overloaded = |scored: &Scored| sticky::is_overloaded(scored.in_flight, total, scored.share, shares);
    scored.sort_by(|a, b| overloaded(a).cmp(&overloaded(b)).then(rank(b).total_cmp(&rank(a))));
}

impl Balancer {
    /// Weighted round robin: the member that is furthest back goes first, and moves ahead by the inverse of its share.
    fn next_in_turn(&mut self, wanted: Wanted<'_>, scored: &mut [Scored]) {
        let turns = self.turns.entry(wanted.resource.clone()).or_default();
        let reached = turns.reached;
        for scored in scored.iter() {
            // Whoever is new, or was out for a while, stands where the others are and has nothing to make up for.
            let pass = turns.passes.entry(scored.agent).or_insert(reached);
            *pass = pass.max(reached);
        }
        scored.sort_by(|a, b| turns.passes[&a.agent].total_cmp(&turns.passes[&b.agent]));
        if let Some(first) = scored.first()
            && let Some(pass) = turns.passes.get_mut(&first.agent)
        {
            turns.reached = *pass;
            *pass += 1.0 / first.share;
        }
    }
}
