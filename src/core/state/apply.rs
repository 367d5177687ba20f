//! One committed proposal, applied.

use std::sync::Arc;

use super::{
    Accepted, Answer, Change, Command, DEPARTED_MAX, GroupState, HISTORY_MAX, HistoryEntry, Intent, Judged,
    Level, Member, Proposal, REQUESTS_MAX, Refusal, Revision, TIER_MAX, Verdict, VerdictChange, WEIGHT_MAX,
};
use crate::{
    config::{GroupConfig, RESOURCES_MAX},
    id::{AgentId, Name},
};

impl GroupState {
    /// Applies one proposal. A request id that was answered lately gets the same answer and changes nothing.
    pub fn apply(&mut self, proposal: &Proposal) -> Answer {
        if let Some((_, answer)) = self.requests.iter().find(|(id, _)| *id == proposal.request) {
            return answer.clone();
        }
        let answer = self.execute(proposal).map(|()| Accepted { revision: self.revision });
        if self.requests.len() == REQUESTS_MAX {
            self.requests.pop_front();
        }
        self.requests.push_back((proposal.request, answer.clone()));
        answer
    }

    fn execute(&mut self, proposal: &Proposal) -> Result<(), Refusal> {
        match &proposal.command {
            Command::Config { expected, change } => {
                if let Some(expected) = expected.filter(|expected| *expected != self.revision) {
                    return Err(Refusal::Stale { expected, actual: self.revision });
                }
                let config = self.changed_config(change)?;
                self.adopt(config, &proposal.author, proposal.at_ms);
            }
            Command::Intent { member, intent, force } => self.set_intent(*member, *intent, *force)?,
            Command::Weight { member, weight } => {
                if !(1..=WEIGHT_MAX).contains(weight) {
                    return Err(Refusal::Weight(*weight));
                }
                self.members.get_mut(member).ok_or(Refusal::UnknownMember(*member))?.weight = *weight;
            }
            Command::Tier { member, tier } => {
                if *tier > TIER_MAX {
                    return Err(Refusal::Tier(*tier));
                }
                self.members.get_mut(member).ok_or(Refusal::UnknownMember(*member))?.tier = *tier;
            }
            Command::Join { member, .. } if self.departed.contains(member) => {
                return Err(Refusal::Departed(*member));
            }
            Command::Join { member, name, peer_address, version } => {
                let fresh = Command::fresh_member(name, peer_address, version, proposal.at_ms);
                let known = self.members.entry(*member).or_insert_with(|| fresh.clone());
                (known.name, known.peer_address, known.version) =
                    (fresh.name, fresh.peer_address, fresh.version);
            }
            Command::Leave { member } => self.bar(*member),
            Command::Verdicts { changes } => {
                changes.iter().for_each(|change| self.set_verdict(change, proposal.at_ms));
            }
            Command::Level { level } => self.level = self.level.max(*level),
        }
        Ok(())
    }

    fn changed_config(&self, change: &Change) -> Result<GroupConfig, Refusal> {
        let mut config = self.config.clone();
        match change {
            Change::CreateResource { name, .. } if config.resources.contains_key(name) => {
                return Err(Refusal::ResourceExists(name.clone()));
            }
            Change::CreateResource { name, resource } | Change::PutResource { name, resource } => {
                config.resources.insert(name.clone(), resource.clone());
            }
            Change::DeleteResource { name } => {
                config.resources.remove(name).ok_or_else(|| Refusal::UnknownResource(name.clone()))?;
            }
            Change::Replace { config: newer } => config = newer.clone(),
            Change::Rollback { to } => {
                config = self.config_at(*to).ok_or(Refusal::UnknownRevision(*to))?.clone();
            }
        }
        if config.resources.len() > RESOURCES_MAX {
            return Err(Refusal::TooManyResources(RESOURCES_MAX));
        }
        Ok(config)
    }

    /// Makes `config` the newest revision. One that changes nothing makes no revision.
    fn adopt(&mut self, config: GroupConfig, author: &str, at_ms: u64) {
        let diff = self.config.diff(&config);
        if config == self.config {
            return;
        }
        self.revision += 1;
        let revision: Revision = self.revision;
        for (name, resource) in &config.resources {
            if self.config.resources.get(name) != Some(resource) {
                self.resource_revisions.insert(name.clone(), revision);
                // What was said of the old target does not hold for the new one.
                self.resource_verdicts.values_mut().for_each(|verdicts| _ = verdicts.remove(name));
            }
        }
        self.resource_revisions.retain(|name, _| config.resources.contains_key(name));
        for verdicts in self.resource_verdicts.values_mut() {
            verdicts.retain(|name, _| config.resources.contains_key(name));
        }
        self.config = config.clone();
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        let author = author.to_owned();
        self.history.push_back(Arc::new(HistoryEntry { revision, author, at_ms, diff, config }));
    }

    /// Also of an agent that has never come: it may hold a certificate with which it still could.
    fn bar(&mut self, id: AgentId) {
        self.members.remove(&id);
        self.resource_verdicts.remove(&id);
        if self.departed.contains(&id) {
            return;
        }
        if self.departed.len() == DEPARTED_MAX {
            self.departed.pop_front();
        }
        self.departed.push_back(id);
    }

    fn set_intent(&mut self, id: AgentId, intent: Intent, force: bool) -> Result<(), Refusal> {
        if !self.members.contains_key(&id) {
            return Err(Refusal::UnknownMember(id));
        }
        if intent != Intent::Enabled && !force {
            self.may_do_without(id)?;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.intent = intent;
        }
        Ok(())
    }

    /// Whether others take the sessions of a member, of each resource that it reaches.
    fn may_do_without(&self, id: AgentId) -> Result<(), Refusal> {
        let serves =
            |member: &Member| member.intent == Intent::Enabled && member.verdict.verdict != Verdict::Down;
        let others: Vec<_> =
            self.members.iter().filter(|(other, member)| **other != id && serves(member)).collect();
        if others.is_empty() {
            return Err(Refusal::LastHealthyMember(id));
        }
        if self.level < Level::TIERS {
            return Ok(());
        }
        if !self.members.get(&id).is_some_and(serves) {
            // It takes no sessions, so it is the last one for nothing.
            return Ok(());
        }
        let reaches = |member, resource: &Name| self.resource_verdict(member, resource) != Verdict::Down;
        let only_here = |resource: &&Name| {
            reaches(id, resource) && !others.iter().any(|(other, _)| reaches(**other, resource))
        };
        match self.config.resources.keys().find(only_here) {
            Some(resource) => Err(Refusal::LastToReach { member: id, resource: resource.clone() }),
            None => Ok(()),
        }
    }

    /// Verdicts about members or resources that have gone meanwhile are dropped: they lost a race, nothing is wrong.
    fn set_verdict(&mut self, change: &VerdictChange, at_ms: u64) {
        let VerdictChange { member: id, resource, verdict, detail } = change;
        let judged = Judged { verdict: *verdict, since_ms: at_ms, detail: detail.clone() };
        let Some(member) = self.members.get_mut(id) else { return };
        match resource {
            None if member.verdict.verdict != *verdict => member.verdict = judged,
            None => member.verdict.detail.clone_from(detail),
            Some(name) if self.config.resources.contains_key(name) => {
                self.resource_verdicts.entry(*id).or_default().insert(name.clone(), judged);
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::Resource,
        state::{RequestId, WEIGHT_DEFAULT},
    };

    fn agent(number: u64) -> AgentId {
        AgentId::from_random(number)
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn resource(target: &str) -> Resource {
        Resource { target: target.parse().unwrap(), policy: Default::default(), description: String::new() }
    }

    fn create(text: &str, target: &str) -> Change {
        Change::CreateResource { name: name(text), resource: resource(target) }
    }

    struct Group {
        state: GroupState,
        requests: u128,
    }

    impl Group {
        fn of(members: u64) -> Self {
            let mut group = Self { state: GroupState::default(), requests: 0 };
            for number in 1..=members {
                let (member, peer_address) = (agent(number), format!("10.0.0.{number}:7400"));
                group
                    .ask(Command::Join {
                        member,
                        name: format!("a{number}"),
                        peer_address,
                        version: "1".into(),
                    })
                    .unwrap();
            }
            group
        }

        fn ask(&mut self, command: Command) -> Answer {
            self.requests += 1;
            let (request, at_ms) = (RequestId(self.requests), self.requests as u64 * 1_000);
            self.state.apply(&Proposal { request, author: "ann".into(), at_ms, command })
        }

        fn change(&mut self, change: Change) -> Answer {
            self.ask(Command::Config { expected: None, change })
        }
    }

    #[test]
    fn a_change_makes_a_revision_with_history() {
        let mut group = Group::of(1);
        assert_eq!(group.change(create("db", "db:5432")), Ok(Accepted { revision: 1 }));
        assert_eq!(group.change(create("db", "db:5432")), Err(Refusal::ResourceExists(name("db"))));
        assert_eq!(group.change(Change::DeleteResource { name: name("db") }), Ok(Accepted { revision: 2 }));
        assert_eq!(group.change(Change::Rollback { to: 1 }), Ok(Accepted { revision: 3 }));
        assert_eq!(group.state.config.resources.len(), 1);
        assert_eq!(group.state.history[2].diff, ["+ resource db target=db:5432 policy=p2c"]);
        assert_eq!(group.state.resource_revisions[&name("db")], 3);
        assert_eq!(group.change(Change::Rollback { to: 9 }), Err(Refusal::UnknownRevision(9)));
    }

    #[test]
    fn a_stale_expectation_changes_nothing() {
        let mut group = Group::of(1);
        group.change(create("db", "db:5432")).unwrap();
        let before = group.state.config.clone();
        let stale = Command::Config { expected: Some(0), change: create("web", "web:80") };
        assert_eq!(group.ask(stale), Err(Refusal::Stale { expected: 0, actual: 1 }));
        assert_eq!(group.state.config, before);
    }

    #[test]
    fn a_repeated_request_is_applied_once() {
        let mut group = Group::of(1);
        let command = Command::Config { expected: None, change: create("db", "db:5432") };
        let proposal = Proposal { request: RequestId(77), author: "ann".into(), at_ms: 5, command };
        assert_eq!(group.state.apply(&proposal), Ok(Accepted { revision: 1 }));
        assert_eq!(group.state.apply(&proposal), Ok(Accepted { revision: 1 }));
        assert_eq!(group.state.revision, 1);
    }

    #[test]
    fn the_last_healthy_member_is_guarded() {
        let mut group = Group::of(2);
        let intent = |number, intent, force| Command::Intent { member: agent(number), intent, force };
        group.ask(intent(1, Intent::Draining, false)).unwrap();
        let refused = group.ask(intent(2, Intent::Disabled, false));
        assert_eq!(refused, Err(Refusal::LastHealthyMember(agent(2))));
        group.ask(intent(2, Intent::Disabled, true)).unwrap();
        group.ask(intent(1, Intent::Enabled, false)).unwrap();
    }

    #[test]
    fn a_member_judged_down_does_not_count_as_healthy() {
        let mut group = Group::of(2);
        let down = VerdictChange {
            member: agent(2),
            resource: None,
            verdict: Verdict::Down,
            detail: "silent".into(),
        };
        group.ask(Command::Verdicts { changes: vec![down] }).unwrap();
        let refused = group.ask(Command::Intent { member: agent(1), intent: Intent::Draining, force: false });
        assert_eq!(refused, Err(Refusal::LastHealthyMember(agent(1))));
    }

    #[test]
    fn a_member_that_comes_back_keeps_its_intent_and_weight() {
        let mut group = Group::of(2);
        group.ask(Command::Weight { member: agent(1), weight: 10 }).unwrap();
        group.ask(Command::Intent { member: agent(1), intent: Intent::Disabled, force: false }).unwrap();
        let peer_address = "10.0.0.9:1".to_owned();
        group
            .ask(Command::Join { member: agent(1), name: "a1".into(), peer_address, version: "2".into() })
            .unwrap();
        let member = &group.state.members[&agent(1)];
        assert_eq!((member.weight, member.intent, member.version.as_str()), (10, Intent::Disabled, "2"));
        assert_eq!(group.state.members[&agent(2)].weight, WEIGHT_DEFAULT);
        assert_eq!(group.ask(Command::Weight { member: agent(1), weight: 0 }), Err(Refusal::Weight(0)));
        let tier = |member, tier| Command::Tier { member, tier };
        group.ask(tier(agent(1), TIER_MAX)).unwrap();
        assert_eq!(group.state.members[&agent(1)].tier, TIER_MAX);
        assert_eq!(group.ask(tier(agent(1), TIER_MAX + 1)), Err(Refusal::Tier(TIER_MAX + 1)));
        assert_eq!(group.ask(tier(agent(3), 1)), Err(Refusal::UnknownMember(agent(3))));
    }

    #[test]
    fn the_last_that_reaches_a_resource_is_guarded() {
        let mut group = Group::of(3);
        group.ask(Command::Level { level: Level::NEWEST }).unwrap();
        group.change(create("db", "db:5432")).unwrap();
        let says = |number, verdict| VerdictChange {
            member: agent(number),
            resource: Some(name("db")),
            verdict,
            detail: String::new(),
        };
        let drain =
            |number, force| Command::Intent { member: agent(number), intent: Intent::Draining, force };
        let down = vec![says(2, Verdict::Down), says(3, Verdict::Down)];
        group.ask(Command::Verdicts { changes: down }).unwrap();
        let mut before = Group { state: GroupState { level: Level::OLDEST, ..group.state.clone() }, ..group };
        before.ask(drain(1, false)).unwrap();
        let last = Refusal::LastToReach { member: agent(1), resource: name("db") };
        assert_eq!(group.ask(drain(1, false)), Err(last));
        group.ask(drain(2, false)).unwrap();
        group.ask(drain(1, true)).unwrap();
        group.ask(Command::Intent { member: agent(1), intent: Intent::Disabled, force: false }).unwrap();
        // What nobody reaches anyway guards nobody.
        let mut group = Group::of(2);
        group.change(create("db", "db:5432")).unwrap();
        let down = vec![says(1, Verdict::Down), says(2, Verdict::Down)];
        group.ask(Command::Verdicts { changes: down }).unwrap();
        group.ask(drain(1, false)).unwrap();
        assert_eq!(group.ask(drain(2, false)), Err(Refusal::LastHealthyMember(agent(2))));
    }

    #[test]
    fn a_member_that_left_never_comes_back_under_its_id() {
        let mut group = Group::of(2);
        group.ask(Command::Leave { member: agent(2) }).unwrap();
        let (name, peer_address, version) = ("a2".to_owned(), "10.0.0.2:1".to_owned(), "1".to_owned());
        let again = Command::Join { member: agent(2), name, peer_address, version };
        assert_eq!(group.ask(again), Err(Refusal::Departed(agent(2))));
        group.ask(Command::Leave { member: agent(2) }).unwrap();
        assert_eq!(group.state.departed, [agent(2)], "leaving again changes nothing");
    }

    #[test]
    fn an_agent_that_never_came_can_be_barred() {
        let mut group = Group::of(1);
        group.ask(Command::Leave { member: agent(9) }).unwrap();
        let (name, peer_address, version) = ("a9".to_owned(), "10.0.0.9:1".to_owned(), "1".to_owned());
        let join = Command::Join { member: agent(9), name, peer_address, version };
        assert_eq!(group.ask(join), Err(Refusal::Departed(agent(9))));
        assert_eq!(group.state.members.len(), 1);
    }

    #[test]
    fn those_that_left_are_remembered_up_to_a_bound() {
        let mut group = Group::of(1);
        for number in 0..DEPARTED_MAX as u64 + 2 {
            group.ask(Command::Leave { member: agent(100 + number) }).unwrap();
        }
        assert_eq!(group.state.departed.len(), DEPARTED_MAX);
        assert_eq!(group.state.departed.front(), Some(&agent(102)), "the oldest are forgotten");
    }

    #[test]
    fn a_state_of_before_there_were_departed_members_is_read() {
        let group = Group::of(1);
        let json = serde_json::to_value(&group.state).unwrap();
        assert!(json.get("departed").is_none(), "{json}");
        assert_eq!(serde_json::from_value::<GroupState>(json).unwrap(), group.state);
    }

    #[test]
    fn a_new_target_clears_what_was_said_of_the_old_one() {
        let mut group = Group::of(1);
        group.change(create("db", "db:5432")).unwrap();
        let change = |verdict| VerdictChange {
            member: agent(1),
            resource: Some(name("db")),
            verdict,
            detail: "x".into(),
        };
        group.ask(Command::Verdicts { changes: vec![change(Verdict::Down)] }).unwrap();
        assert_eq!(group.state.resource_verdict(agent(1), &name("db")), Verdict::Down);
        group.change(Change::PutResource { name: name("db"), resource: resource("db2:5432") }).unwrap();
        assert_eq!(group.state.resource_verdict(agent(1), &name("db")), Verdict::Up);
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let names = prop_oneof!["a", "b", "c"].prop_map(|text| name(&text));
        let members = (1..4_u64).prop_map(agent);
        let intents = prop_oneof![Just(Intent::Enabled), Just(Intent::Draining), Just(Intent::Disabled)];
        prop_oneof![
            (names.clone(), 1..9_u16, proptest::option::of(0..9_u64)).prop_map(|(name, port, expected)| {
                let change = Change::PutResource { name, resource: resource(&format!("h:{port}")) };
                Command::Config { expected, change }
            }),
            names
                .prop_map(|name| Command::Config { expected: None, change: Change::DeleteResource { name } }),
            (0..9_u64).prop_map(|to| Command::Config { expected: None, change: Change::Rollback { to } }),
            (members.clone(), intents, any::<bool>()).prop_map(|(member, intent, force)| Command::Intent {
                member,
                intent,
                force
            }),
            members.prop_map(|member| Command::Leave { member }),
        ]
    }

    proptest! {
        #[test]
        fn applying_is_deterministic_and_the_revision_never_falls(
            commands in proptest::collection::vec((any_command(), 0..20_u128), 0..60)
        ) {
            let (mut one, mut two) = (Group::of(3), Group::of(3));
            for (command, request) in commands {
                let before = one.state.revision;
                let proposal = Proposal { request: RequestId(1_000 + request), author: "p".into(), at_ms: 1, command };
                prop_assert_eq!(one.state.apply(&proposal), two.state.apply(&proposal));
                prop_assert!(one.state.revision >= before && one.state.revision <= before + 1);
                // A member that joins from a snapshot must go on exactly as the others do.
                let json = serde_json::to_string(&two.state).unwrap();
                two.state = serde_json::from_str(&json).unwrap();
                prop_assert_eq!(&one.state, &two.state);
            }
        }
    }
}
