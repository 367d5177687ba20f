//! Who is to take a session: a member that is here, or another gateway.

use std::{
    ops::ControlFlow::{self, Break, Continue},
    time::Instant,
};

use tokio::{sync::watch, time::timeout_at};
use warren_core::balance::Rule;

use super::{
    Lost, Manner, Shared,
    early::Early,
    pass_on::{Asked as Elsewhere, Declined, PassOn, Taken},
};
use crate::{
    registry::{Asked, Chosen, Group, Planned},
    sessions::Failure,
};

/// Where a session is to go.
pub(super) enum Choice {
    Member(Chosen),
    /// Another gateway has taken it.
    Elsewhere(Taken),
}

impl Shared {
    /// Whom to try first. Who has nobody waits a while for a member to come, and meanwhile asks other gateways. Who has only
    /// members that the rules exclude asks the others once before it tries those.
    pub(super) async fn choose(
        &self,
        group: &Group,
        asked: Asked<'_>,
        manner: Manner,
        pass_on: &PassOn<'_>,
    ) -> Result<Choice, Lost> {
        let until = tokio::time::Instant::now() + manner.patience;
        let (mut changes, mut came) = (group.changes(), self.neighbours.came());
        let may_pass_on = manner.may_pass_on && !self.neighbours.is_alone();
        let mut may_ask = may_pass_on;
        let mut declined = None;
        loop {
            changes.mark_unchanged();
            came.mark_unchanged();
            let nobody = match Self::choose_next(group, asked) {
                Ok(chosen) if chosen.plan.rule == Rule::Panic && may_ask => {
                    // Its hold on the member ends before others are waited for.
                    drop(chosen);
                    may_ask = false;
                    match self.ask_beside(group, &mut changes, asked, pass_on).await? {
                        Break(choice) => return Ok(choice),
                        Continue(_) => continue,
                    }
                }
                Ok(chosen) => return Ok(Choice::Member(chosen)),
                Err(nobody) => nobody,
            };
            // Members that are here know of every resource; what is remembered of some that were here may be old.
            let knows = nobody.failure == Failure::UnknownResource && group.has_tunnels();
            let drains = self.stages.drain.is_cancelled();
            let mut wake = until;
            if may_pass_on && !knows {
                let is_last_chance = drains || declined.is_none() && tokio::time::Instant::now() >= until;
                match pass_on.turn() {
                    Err(next) if !is_last_chance => wake = next.min(until),
                    // It has not said anything yet.
                    _ => match self.ask_beside(group, &mut changes, asked, pass_on).await? {
                        Break(choice) => return Ok(choice),
                        Continue(answer) => {
                            declined = answer;
                            wake = pass_on.in_vain().min(until);
                        }
                    },
                }
            }
            if drains {
                // Nobody comes any more.
                return Err(Lost::stopping().and_elsewhere(declined));
            }
            if tokio::time::Instant::now() >= until {
                return Err(nobody.and_elsewhere(declined));
            }
            // Either way it is looked at again.
            tokio::select! {
                () = self.stages.drain.cancelled() => {}
                // We hold the sender.
                _ = came.changed() => {}
                _ = timeout_at(wake, changes.changed()) => {}
            }
        }
    }

    /// Asks other gateways, until one of ours can take the caller: one that is asked may be slow to say no. Goes on with what
    /// the last one said when nobody takes it.
    async fn ask_beside(
        &self,
        group: &Group,
        changes: &mut watch::Receiver<u64>,
        asked: Asked<'_>,
        pass_on: &PassOn<'_>,
    ) -> Result<ControlFlow<Choice, Option<Declined>>, Lost> {
        let comes = async {
            while changes.changed().await.is_ok() {
                match Self::choose_next(group, asked) {
                    Ok(chosen) if chosen.plan.rule != Rule::Panic => return chosen,
                    _ => {}
                }
            }
            // Without the group nobody comes.
            std::future::pending().await
        };
        let silent = Early::default();
        tokio::select! {
            biased;
            answer = pass_on.ask(&silent) => Ok(match answer? {
                Elsewhere::Taken(taken) => Break(Choice::Elsewhere(taken)),
                Elsewhere::Nobody(declined) => Continue(declined),
            }),
            chosen = comes => Ok(Break(Choice::Member(chosen))),
        }
    }

    /// The best member that was not tried, of those who are here.
    pub(super) fn choose_next(group: &Group, asked: Asked<'_>) -> Result<Chosen, Lost> {
        let (failure, detail) = match group.plan(asked, rand::random(), Instant::now()) {
            Planned::Chosen(chosen) => return Ok(chosen),
            Planned::UnknownGroup => (Failure::NoMember, "no agent of the group has a tunnel".to_owned()),
            Planned::UnknownResource => {
                (Failure::UnknownResource, format!("group has no resource `{}`", asked.resource))
            }
            Planned::Nobody(plan) => {
                let why = |record: &warren_core::balance::CandidateRecord| {
                    let excluded = record.excluded.map_or("", |excluded| excluded.as_str());
                    format!("{} {excluded}", record.member)
                };
                let all: Vec<_> = plan.records.iter().map(why).collect();
                (Failure::NoMember, format!("no member takes sessions: {}", all.join(", ")))
            }
        };
        Err(Lost { failure, detail })
    }
}
