//! Callers, and what dispatch does for them: the loop of the gateway, over core's balancer and budget.

use std::time::Duration;

use warren_core::{
    balance::{Opened, Reach, caller_key},
    id::Name,
    state::Revision,
};

use super::{
    event::Event,
    gateway::Ask,
    invariants,
    queue::Ms,
    session::{ANSWER_WITHIN, Attempt, Failed, Outcome, RETRIES_MAX, RETRY_WITHIN, Session, WAIT_FOR_MEMBER},
    truth::Of,
    tunnel::{Message, Result, Side, TunnelId},
    world::World,
};

impl World {
    /// A caller comes to a gateway that is there.
    pub(crate) fn call(&mut self) {
        let every = self.setup.call_every;
        let next = self.now + self.chance.between(every / 2, every * 3 / 2).max(1);
        self.queue.plan(next, Event::Call);
        let gateway = self.chance.pick(self.gateways.len());
        let resource = self.chance.pick(self.resources.len());
        let (caller, speaks) = (self.chance.below(20), self.chance.percent(50));
        let (now, at) = (self.now, self.at());
        let there = &mut self.gateways[gateway];
        // One that drains takes no callers.
        if !there.is_up(now) || there.drains > 0 {
            return;
        }
        there.budget.first_try();
        let session = Session {
            gateway,
            gateway_boot: there.boot,
            resource: self.resources[resource].clone(),
            caller: caller_key(&caller.to_be_bytes()),
            speaks,
            begun: self.now,
            tried: Vec::new(),
            missed: Vec::new(),
            on: None,
            outcome: None,
        };
        self.books.first_try(gateway, at);
        self.last_session += 1;
        self.sessions.insert(self.last_session, session);
        self.try_next(self.last_session);
    }

    /// Tries the best member; a first try waits for one to come.
    fn try_next(&mut self, number: u64) {
        let random = self.chance.bits();
        let clock = (self.now, self.at());
        let Some(session) = self.sessions.get(&number) else { return };
        let (begun, first, gateway) = (session.begun, session.tried.is_empty(), session.gateway);
        let ask = Ask { resource: &session.resource, tried: &session.tried, caller: session.caller };
        let plan = self.gateways[gateway].plan(&ask, &self.ids, random, clock);
        let chosen = plan.as_ref().and_then(|plan| plan.choices.first().copied());
        if let Some(plan) = &plan {
            let checked = invariants::pick::planned(self, number, plan)
                .and_then(|()| invariants::taken_out_stays_out::planned(self, number, plan));
            self.check(|_| checked);
        }
        let chosen = chosen.and_then(|id| {
            let agent = self.ids.iter().position(|known| *known == id)?;
            Some((id, agent, self.gateways[gateway].best_tunnel(agent, self.now)?))
        });
        let Some((id, agent, tunnel)) = chosen else {
            if first && self.now < begun + WAIT_FOR_MEMBER {
                self.queue.plan(self.now + 100, Event::TryAgain { session: number });
            } else {
                self.ends(number, Outcome::NoMember);
            }
            return;
        };
        self.gateways[gateway].members.entry(id).or_default().in_flight += 1;
        let session = self.sessions.get_mut(&number).unwrap();
        session.tried.push(id);
        let attempt = session.tried.len();
        session.on = Some(Attempt { tunnel, number: attempt, begun: self.now });
        let resource = session.resource.clone();
        let view = self.gateways[gateway].view.as_ref();
        let revision = view.and_then(|(_, state)| state.resource_revisions.get(&resource).copied());
        self.note(|| format!("g{gateway}: session {number} tries a{agent} for {resource}"));
        let open =
            Message::Open { session: number, attempt, resource, revision: revision.unwrap_or_default() };
        self.send(tunnel, Side::Agent, open);
        self.queue.plan(self.now + ANSWER_WITHIN, Event::NoAnswer { session: number, attempt });
        *self.books.tries.entry(agent).or_default() += 1;
    }

    pub(crate) fn try_again(&mut self, number: u64) {
        if self.is_current(number) {
            self.try_next(number);
        }
    }

    /// The gateway that has it is still the same process.
    fn is_current(&self, number: u64) -> bool {
        self.sessions.get(&number).is_some_and(|session| {
            let gateway = &self.gateways[session.gateway];
            session.outcome.is_none() && gateway.is_alive && gateway.boot == session.gateway_boot
        })
    }

    fn is_under_way(&self, number: u64, attempt: usize) -> bool {
        let on = self.sessions.get(&number).and_then(|session| session.on);
        self.is_current(number) && on.is_some_and(|on| on.number == attempt)
    }

    pub(crate) fn agent_opens(
        &mut self,
        tunnel: TunnelId,
        session: u64,
        attempt: usize,
        resource: Name,
        revision: Revision,
    ) {
        let agent = &self.agents[tunnel.agent];
        let refused = match () {
            () if agent.drains > 0 => Some(Result::Draining),
            () if agent.fails > 0 || agent.exhausted > 0 => Some(Result::Internal),
            () if agent.state.revision < revision => Some(Result::Internal),
            () => None,
        };
        let is_slow = agent.slow > 0;
        if let Some(result) = refused {
            return self.send(tunnel, Side::Gateway, Message::Answer { session, attempt, result });
        }
        // Fifty times what an open takes in all, the way there and back included.
        let takes = if is_slow { self.chance.between(600, 1_200) } else { self.chance.between(2, 6) };
        self.queue.plan(self.now + takes, Event::TargetAnswers { tunnel, session, attempt, resource });
    }

    pub(crate) fn target_answers(&mut self, tunnel: TunnelId, session: u64, attempt: usize, resource: &Name) {
        let agent = &self.agents[tunnel.agent];
        if !agent.is_alive || agent.boot != tunnel.boot || !agent.tunnels.contains_key(&tunnel.epoch) {
            return;
        }
        let number = self.resources.iter().position(|name| name == resource).unwrap();
        let gone = self.truth.is_on(Of::Target(number)) || self.truth.is_on(Of::Path(tunnel.agent, number));
        let result = if gone { Result::Refused } else { Result::Ok };
        self.send(tunnel, Side::Gateway, Message::Answer { session, attempt, result });
    }

    pub(crate) fn answered(&mut self, number: u64, attempt: usize, result: Result) {
        if !self.is_under_way(number, attempt) {
            return;
        }
        if result != Result::Ok {
            return self.failed(number, Failed::Answered(result));
        }
        let at = self.at();
        let session = &self.sessions[&number];
        let (gateway, member) = (session.gateway, session.tried[attempt - 1]);
        let took = Duration::from_millis(self.now - session.on.unwrap().begun);
        let gateway = &mut self.gateways[gateway];
        let state = gateway.view.as_ref().map(|(_, state)| state.clone()).unwrap_or_default();
        let revision = state.resource_revisions.get(&session.resource).copied().unwrap_or_default();
        let balancer = &mut gateway.balancer;
        balancer.observe(member, Opened::Ok(took), at);
        balancer.observe_path(member, &session.resource, revision, Reach::Reached, at);
        for other in &session.missed {
            balancer.observe_path(*other, &session.resource, revision, Reach::Missed, at);
        }
        let lasts = self.chance.between(1, self.setup.session);
        self.queue.plan(self.now + lasts, Event::Over { session: number });
        let agent = self.ids.iter().position(|id| *id == member).unwrap();
        *self.books.carried.entry(agent).or_default() += 1;
        self.ends(number, Outcome::Open);
    }

    /// An open came to nothing: the next member, or the end.
    pub(crate) fn failed(&mut self, number: u64, failed: Failed) {
        let at = self.at();
        let session = self.sessions.get_mut(&number).unwrap();
        let Some(attempt) = session.on.take() else { return };
        let (gateway, member) = (session.gateway, session.tried[attempt.number - 1]);
        let may_retry = failed.may_retry(session.speaks)
            && session.tried.len() <= RETRIES_MAX
            && self.now < session.begun + RETRY_WITHIN;
        if failed.is_targets_fault() {
            session.missed.push(member);
        }
        let exhausted = failed.may_retry(session.speaks);
        self.leave(gateway, member);
        if failed.is_members_fault() {
            let there = &mut self.gateways[gateway];
            let before = there.balancer.ejected_until(member, at);
            there.balancer.observe(member, Opened::Failed, at);
            let after = there.balancer.ejected_until(member, at);
            if before != after {
                self.note(|| format!("g{gateway}: {member} is ejected"));
                self.check(|world| invariants::ejection::at_most_half(world, gateway));
            }
        }
        self.note(|| format!("g{gateway}: session {number} failed: {failed:?}"));
        self.check(|world| invariants::outcomes::justified(world, number, attempt, failed));
        if may_retry && self.gateways[gateway].budget.take(at) {
            self.books.retry(gateway, at);
            self.check(|world| invariants::bounds::retries(world, gateway));
            self.try_next(number);
        } else {
            self.ends(number, Outcome::Failed { failed, exhausted });
        }
    }

    pub(crate) fn no_answer(&mut self, number: u64, attempt: usize) {
        if self.is_under_way(number, attempt) {
            self.failed(number, Failed::NoAnswer);
        }
    }

    fn ends(&mut self, number: u64, outcome: Outcome) {
        let session = self.sessions.get_mut(&number).unwrap();
        session.outcome = Some(outcome);
        if outcome != Outcome::Open {
            self.note(|| format!("session {number}: {outcome:?}"));
        }
        self.check(|world| invariants::outcomes::allowed(world, number));
        self.check(|world| invariants::quorum_is_for_edits::served(world, number));
        self.check(|world| invariants::heal_and_serve::served(world, number));
    }

    /// A session that was open is over.
    pub(crate) fn over(&mut self, number: u64) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let (gateway, boot) = (session.gateway, session.gateway_boot);
        let Some(attempt) = session.on.take() else { return };
        let member = session.tried[attempt.number - 1];
        if self.gateways[gateway].is_alive && self.gateways[gateway].boot == boot {
            self.leave(gateway, member);
        }
    }

    fn leave(&mut self, gateway: usize, member: warren_core::id::AgentId) {
        let counted = self.gateways[gateway].members.get_mut(&member);
        match counted.map(|member| member.in_flight.checked_sub(1).map(|left| member.in_flight = left)) {
            Some(Some(())) => {}
            _ => self.breaks(format!("g{gateway} counts fewer sessions on {member} than there are")),
        }
    }

    /// A gateway died with all that it had.
    pub(crate) fn sessions_die(&mut self, gateway: usize) {
        for session in self.sessions.values_mut().filter(|session| session.gateway == gateway) {
            session.on = None;
            session.outcome.get_or_insert(Outcome::Gone);
        }
    }

    /// Sessions that began in this time, with how they went.
    pub(crate) fn began(&self, from: Ms, until: Ms) -> impl Iterator<Item = &Session> {
        self.sessions.values().filter(move |session| (from..until).contains(&session.begun))
    }
}
