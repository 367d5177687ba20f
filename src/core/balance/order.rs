//! The filters and the policies.

use std::time::Instant;

use super::{Balancer, Candidate, CandidateRecord, Exclusion, LATENCY_SEED, Plan, Rule, Tunnels, Wanted};
use crate::{
    config::Policy,
    id::AgentId,
    state::{Intent, Verdict},
};

/// Differences of latency below this are noise: it is added to every estimate, seconds.
const LATENCY_FLOOR: f64 = 0.005;
/// Of two scores, the lower wins only if it is lower by this part; else the draw decides, and so the weight.
const CLOSE: f64 = 0.2;

/// A candidate with what its score is made of.
struct Scored {
    agent: AgentId,
    /// Chance to be drawn, relative to the others.
    share: f64,
    /// Lower is better.
    score: f64,
    /// Sessions for its weight.
    load: f64,
}

pub(super) fn order(
    balancer: &mut Balancer,
    wanted: Wanted<'_>,
    candidates: &[Candidate],
    random: u64,
    now: Instant,
) -> Plan {
    let scores = scores(balancer, candidates, now);
    let records: Vec<_> = candidates
        .iter()
        .zip(&scores)
        .map(|(candidate, scored)| CandidateRecord {
            member: candidate.agent,
            score: scored.score,
            sessions: candidate.in_flight,
            excluded: exclusion(balancer, wanted, candidate, now),
        })
        .collect();
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
        Policy::LeastSessions => scored.sort_by(|a, b| a.load.total_cmp(&b.load)),
        Policy::RoundRobin => balancer.next_in_turn(wanted, &mut scored),
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
        (balancer.ejected_until(candidate.agent, now).is_some(), Exclusion::Ejected),
    ];
    reasons.into_iter().find(|(applies, _)| *applies).map(|(_, exclusion)| exclusion)
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
        Scored { agent: candidate.agent, share, score, load: sessions / share }
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
    let first = random.draw(scored);
    scored.swap(0, first);
    let second = 1 + random.draw(&scored[1..]);
    scored.swap(1, second);
    if scored[1].score < scored[0].score * (1.0 - CLOSE) {
        scored.swap(0, 1);
    }
    scored[1..].sort_by(|a, b| a.score.total_cmp(&b.score));
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

/// Random numbers from one drawn by the caller (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 up to, not including, 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn shuffle<T>(&mut self, things: &mut [T]) {
        for end in (1..things.len()).rev() {
            things.swap(end, (self.next() % (end as u64 + 1)) as usize);
        }
    }

    /// An index, each by its share.
    fn draw(&mut self, scored: &[Scored]) -> usize {
        let total: f64 = scored.iter().map(|scored| scored.share).sum();
        let mut point = self.unit() * total;
        for (index, scored) in scored.iter().enumerate() {
            point -= scored.share;
            if point < 0.0 {
                return index;
            }
        }
        scored.len().saturating_sub(1)
    }
}
