//! A client on the site, which needs no gateway: it asks the members themselves, as they ask each other, with the
//! credentials of one of them.
//!
//! It chooses the request's id, so it can do what shows most: ask again with the same id, at once and of others, and get
//! the same answer, because the request was applied once.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{Document, Outcome, Revision, client::MARK};
use crate::{
    GROUP, Site,
    load::Random,
    rpc::{
        Failure, Rpc,
        admin::{GroupState, GroupStatus},
        peer::{Answer, Answered, Envelope, Proposal},
    },
    tls::Credentials,
};

/// Long enough for a new leader.
const ASKS_FOR: Duration = Duration::from_secs(8);
const CALL_MAX: Duration = Duration::from_secs(3);
/// Of so many answers one is asked for again.
const REPEATS_EVERY: u64 = 3;

/// One member, as another of its group reaches it.
#[derive(Debug)]
struct Peer {
    rpc: Rpc,
    envelope: Envelope,
}

#[derive(Debug)]
pub(super) struct OnSite {
    peers: Vec<Peer>,
    target: String,
    random: Random,
    /// How many requests have been answered, and what was said last instead.
    answered: usize,
    said: String,
}

/// What one member said.
enum Said {
    Answer(Value),
    /// It did not and will not decide.
    Nothing(String),
    /// Perhaps it will.
    Perhaps(String),
}

impl OnSite {
    /// `target` is that of the resource that is written on.
    pub(super) fn new(site: &mut Site, target: &str, seed: u64) -> Self {
        let count = site.agents.len();
        let ask = GroupStatus { group: GROUP.to_owned() };
        let status: GroupState =
            site.admin().call("Groups/Status", ask, CALL_MAX).expect("the status of a group that is well");
        let peers = (0..count).map(|index| {
            // Nobody asks itself.
            let from = &site.agents[(index + 1) % count];
            let (from, credentials) = (from.id.clone(), Credentials::of_agent(&from.data()));
            let agent = &mut site.agents[index];
            let ready = agent.process.ready();
            let peer = ready["peer"].as_str().expect("a ready agent tells where it listens");
            let address: SocketAddr = peer.parse().expect("a member listens at an address");
            let envelope = Envelope { group: status.group_id.clone(), from, to: agent.id.clone() };
            Peer { rpc: Rpc::to_peer(address, &agent.id, &credentials), envelope }
        });
        Self {
            peers: peers.collect(),
            target: target.to_owned(),
            random: Random::new(seed),
            answered: 0,
            said: String::new(),
        }
    }

    /// Writes by the one who leads, and asks again now and then; what is wrong with the second answer is the error.
    pub(super) fn write(
        &mut self,
        expected: Option<Revision>,
        document: Document,
    ) -> Result<Outcome, String> {
        let request = format!("{:016x}{:016x}", self.random.bits(), self.random.bits());
        let resource =
            json!({"target": self.target, "policy": "p2c", "description": format!("edit-{document}")});
        let change = json!({"put_resource": {"name": MARK, "resource": resource}});
        let command = json!({"config": {"expected": expected, "change": change}});
        let ask =
            json!({"propose": {"request": request, "author": "on site", "at_ms": 0, "command": command}});
        let ask = ask.to_string().into_bytes();
        let (outcome, answer) = self.ask(&ask);
        if let Some(answer) = answer
            && self.random.below(REPEATS_EVERY) == 0
            && let (_, Some(again)) = self.ask(&ask)
            && again != answer
        {
            return Err(format!("request {request} was answered {answer}, and then {again}"));
        }
        Ok(outcome)
    }

    /// A client that nobody ever answers has shown nothing.
    pub(super) fn complain(&self) -> Option<String> {
        let mute = || format!("nobody on the site has answered a request, the last one said: {}", self.said);
        (self.answered == 0).then(mute)
    }

    /// Goes round until somebody answers.
    fn ask(&mut self, ask: &[u8]) -> (Outcome, Option<Value>) {
        let (start, mut undecided) = (Instant::now(), Outcome::Refused);
        let mut index = self.random.below(self.peers.len() as u64) as usize;
        while start.elapsed() < ASKS_FOR {
            index = (index + 1) % self.peers.len();
            match self.peers[index].propose(ask) {
                Said::Answer(answer) => {
                    self.answered += 1;
                    return (read(&answer).unwrap_or(Outcome::Unknown), Some(answer));
                }
                Said::Perhaps(why) => {
                    undecided = Outcome::Unknown;
                    self.said = why;
                }
                Said::Nothing(why) => self.said = why,
            }
            // Who lost its leader has another in a moment.
            crate::wait::until(Instant::now() + Duration::from_millis(20));
        }
        (undecided, None)
    }
}

impl Peer {
    fn propose(&self, ask: &[u8]) -> Said {
        let timeout_ms = u32::try_from(CALL_MAX.as_millis()).unwrap_or(u32::MAX);
        let proposal = Proposal { envelope: Some(self.envelope.clone()), proposal: ask.to_vec(), timeout_ms };
        match self.rpc.call::<_, Answer>("Peer/Propose", proposal, CALL_MAX) {
            Ok(Answer { outcome: Some(Answered::Answer(answer)) }) => serde_json::from_slice(&answer)
                .map_or_else(|error| Said::Perhaps(format!("no JSON: {error}")), Said::Answer),
            // Said before the log was asked, or behind it.
            Ok(Answer { outcome: Some(Answered::Failed(why)) }) => Said::Perhaps(why),
            Ok(Answer { outcome: None }) => Said::Perhaps("nothing".to_owned()),
            Err(failure @ Failure::NotSent(_)) => Said::Nothing(failure.to_string()),
            Err(failure) => Said::Perhaps(failure.to_string()),
        }
    }
}

/// `{"answer":{"Ok":{"revision":5}}}` or `{"answer":{"Err":{"stale":{"expected":5,"actual":6}}}}`.
fn read(answer: &Value) -> Option<Outcome> {
    let answer = &answer["answer"];
    let written = answer["Ok"]["revision"].as_u64().map(|revision| Outcome::Written { revision });
    let stale = || answer["Err"]["stale"]["actual"].as_u64().map(|actual| Outcome::Stale { actual });
    written.or_else(stale)
}
