//! What this member tells readers: one value, made anew whenever something in it has changed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use warren_core::{
    id::AgentId,
    state::Verdict,
    view::{GroupView, Role},
};

use crate::{
    member::{Member, Standing},
    metrics::{
        GROUP_LOG_STOPPED, GROUP_MEMBERS, GROUP_QUORUM, GROUP_REVISION, GROUP_VOTERS, RAFT_APPLIED_INDEX,
        RAFT_COMMITTED_INDEX, RAFT_IS_LEADER, RAFT_LAST_LOG_INDEX, RAFT_LEADER_CHANGES_TOTAL, RAFT_TERM,
    },
    raft::{Metrics, Roster, StoredMembership, agent},
    store::Current,
};

/// Silence changes nothing in the log, but whether there is a quorum.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Raft tells of every message; readers hear at most this often.
const AT_MOST_EVERY: Duration = Duration::from_millis(5);

/// How a member came to its end: `Some` cause when nobody had asked for it.
pub(crate) type Ended = Option<Option<String>>;

/// Keeps the view until the member stops, then tells of its end.
pub(crate) async fn run(
    member: Arc<Member>,
    view: watch::Sender<Arc<GroupView>>,
    ended: watch::Sender<Ended>,
) {
    let mut log = member.raft.metrics();
    let mut current = member.current.clone();
    let mut leader = None;
    loop {
        let metrics = log.borrow_and_update().clone();
        let now = current.borrow_and_update().clone();
        let next = build(&member, &metrics, now);
        if next.leader.is_some() && next.leader != leader {
            leader = next.leader;
            metrics::counter!(RAFT_LEADER_CHANGES_TOTAL).increment(1);
            tracing::info!(leader = leader.map(tracing::field::display), term = next.term, "leader");
        }
        view.send_if_modified(|shown| {
            let changed = differs(shown, &next);
            if changed {
                gauges(&next);
                *shown = Arc::new(next);
            }
            changed
        });
        // After the last view, so that nobody takes a member that has stopped for one that leads.
        if let Err(fatal) = &metrics.running_state {
            let fenced = member.fenced();
            let cause = (!member.stop.is_cancelled())
                .then(|| fenced.map_or_else(|| fatal.to_string(), |fenced| fenced.to_string()));
            if let Some(cause) = &cause {
                tracing::error!(cause, "the group's log has stopped: this member takes no part any more");
            }
            ended.send_replace(Some(cause));
            return;
        }
        sleep(AT_MOST_EVERY).await;
        tokio::select! {
            // An error means that the core is gone; its last metrics say why.
            _ = log.changed() => {}
            _ = current.changed() => {}
            () = sleep(LOOK_EVERY) => {}
            () = member.stop.cancelled() => {
                ended.send_replace(Some(None));
                return;
            }
        }
    }
}

/// A view of a member that has just opened its log.
pub(crate) fn first(member: &Member) -> GroupView {
    let current = member.current.borrow().clone();
    GroupView {
        epoch: member.log.mark().epoch,
        roles: roles(&current.membership),
        applied: current.applied.map_or(0, |id| id.index),
        ..GroupView::new(member.me(), current.state)
    }
}

fn build(member: &Member, metrics: &Metrics, current: Current) -> GroupView {
    let standing = member.standing();
    let leader = match standing {
        Standing::Leads | Standing::Cut => Some(member.me()),
        Standing::Follows(leader) => Some(leader),
        Standing::Leaderless => {
            metrics.current_leader.and_then(agent).filter(|leader| *leader == member.me())
        }
        Standing::NotReady | Standing::Stopped(_) => None,
    };
    let trouble = match &standing {
        Standing::Stopped(cause) => cause.as_str().into(),
        _ => "".into(),
    };
    GroupView {
        me: member.me(),
        epoch: member.log.mark().epoch,
        leader,
        term: metrics.current_term,
        quorum: matches!(standing, Standing::Leads | Standing::Follows(_)),
        // As committed: a vote that only the leader knows of dies with it, and nobody should count on it.
        roles: roles(&current.membership),
        hears: member.watched.hears(Instant::now()).into_iter().collect(),
        last_log: metrics.last_log_index.unwrap_or(0),
        committed: member.log.committed(),
        applied: current.applied.map_or(0, |id| id.index),
        trouble,
        state: current.state,
    }
}

/// Who is about to get or lose its vote is shown as a learner: the group does not rest on it alone.
fn roles(membership: &Arc<StoredMembership>) -> BTreeMap<AgentId, Role> {
    let voters = Roster::settled_voters(membership);
    let role = |agent| if voters.contains(agent) { Role::Voter } else { Role::Learner };
    Roster::of(membership).seats.keys().map(|agent| (*agent, role(agent))).collect()
}

fn differs(one: &GroupView, two: &GroupView) -> bool {
    let place = |view: &GroupView| {
        let log = (view.term, view.last_log, view.committed, view.applied);
        (view.epoch, view.leader, view.quorum, log)
    };
    !Arc::ptr_eq(&one.state, &two.state)
        || place(one) != place(two)
        || one.roles != two.roles
        || one.trouble != two.trouble
        || one.hears != two.hears
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats; indexes stay far below 2^52")]
fn gauges(view: &GroupView) {
    metrics::gauge!(RAFT_TERM).set(view.term as f64);
    metrics::gauge!(RAFT_IS_LEADER).set(if view.leads() { 1.0 } else { 0.0 });
    metrics::gauge!(RAFT_LAST_LOG_INDEX).set(view.last_log as f64);
    metrics::gauge!(RAFT_COMMITTED_INDEX).set(view.committed as f64);
    metrics::gauge!(RAFT_APPLIED_INDEX).set(view.applied as f64);
    metrics::gauge!(GROUP_REVISION).set(view.state.revision as f64);
    metrics::gauge!(GROUP_LOG_STOPPED).set(if view.trouble.is_empty() { 0.0 } else { 1.0 });
    metrics::gauge!(GROUP_QUORUM).set(if view.quorum { 1.0 } else { 0.0 });
    let voters = view.roles.values().filter(|role| **role == Role::Voter).count();
    metrics::gauge!(GROUP_VOTERS).set(voters as f64);
    for verdict in [Verdict::Up, Verdict::Suspect, Verdict::Down] {
        let members = view.state.members.values().filter(|member| member.verdict.verdict == verdict).count();
        metrics::gauge!(GROUP_MEMBERS, "verdict" => verdict.as_str()).set(members as f64);
    }
}
