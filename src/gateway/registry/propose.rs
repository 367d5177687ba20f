//! Asking the group for something, through whichever member answers.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, transport::Channel};
use tracing::debug;
use warren_core::id::{AgentId, GroupId};
use warren_wire::v1::{self, control_client::ControlClient, propose_response::Outcome};

use super::Registry;

/// How long one member may be silent before the next is asked as well. A leader that hangs is followed by another sooner.
const NEXT_AFTER: Duration = Duration::from_secs(1);
/// How long a group of which nobody can be asked yet is waited for.
const COMES_WITHIN: Duration = Duration::from_millis(1_500);
/// Behind what a member says that cannot decide, when another one may.
const NOT_ALONE: &str =
    " (another member was asked as well and may have got it: the change may still be made)";

/// Why a group gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProposeError {
    #[error("no member of the group has a tunnel to this gateway, or to another one that it reaches")]
    NoMember,
    #[error("group did not answer within {} ms; the change may still be made", after.as_millis())]
    TimedOut { after: Duration },
    #[error("no member answered ({members} tried), the last one said: {last}; the change may still be made")]
    Unreachable { members: usize, last: String },
}

impl ProposeError {
    /// A stable word for programs.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoMember => "no_member",
            Self::TimedOut { .. } => "timeout",
            Self::Unreachable { .. } => "unreachable",
        }
    }
}

impl Registry {
    /// Asks for a change, the leader first, the next member when one cannot be reached, cannot decide, or is silent. It is
    /// the same request with the same id, so it is applied once. Answers within `timeout`.
    pub async fn propose(
        &self,
        group: GroupId,
        request: v1::ProposeRequest,
        timeout: Duration,
    ) -> Result<v1::ProposeResponse, ProposeError> {
        let deadline = Instant::now() + timeout;
        let ask = |mut client: ControlClient<Channel>, share: Duration| {
            let timeout_ms = u32::try_from(share.as_millis()).unwrap_or(u32::MAX);
            let request = v1::ProposeRequest { timeout_ms, ..request.clone() };
            async move { client.propose(request).await }
        };
        let unsure = AtomicBool::new(false);
        let go_on = |response: &v1::ProposeResponse| {
            let Some(Outcome::Failed(failed)) = &response.outcome else { return response.outcome.is_none() };
            unsure.fetch_or(failed.unsure, Relaxed);
            true
        };
        let asked = self.ask(group, deadline, go_on, ask).await;
        let silent = asked.timed_out || asked.last.is_some();
        let mut response = asked.answer_within(timeout)?;
        if silent || unsure.into_inner() {
            doubt(&mut response);
        }
        Ok(response)
    }

    /// Config revisions, newest first; 0 for all that are kept.
    pub async fn history(&self, group: GroupId, limit: u32) -> Result<Vec<v1::HistoryEntry>, ProposeError> {
        const TIMEOUT: Duration = Duration::from_secs(5);
        let deadline = Instant::now() + TIMEOUT;
        let ask = |mut client: ControlClient<Channel>, _| async move {
            client.history(v1::HistoryRequest { limit }).await
        };
        let asked = self.ask(group, deadline, |_| false, ask).await;
        asked.answer_within(TIMEOUT).map(|response: v1::HistoryResponse| response.entries)
    }

    /// Those who can be asked, once somebody can: an agent says that it serves a moment before the gateway can ask it.
    async fn controls_soon(
        &self,
        group: GroupId,
        deadline: Instant,
    ) -> Vec<(AgentId, ControlClient<Channel>)> {
        let group = self.entry(group);
        let mut changes = group.changes();
        let until = deadline.min(Instant::now() + COMES_WITHIN);
        loop {
            let controls = group.controls();
            if !controls.is_empty() || timeout_at(until, changes.changed()).await.is_err() {
                return controls;
            }
        }
    }

    /// Asks the members for an answer with which `go_on` is content; else gives the last such answer.
    async fn ask<T, F: Future<Output = Result<tonic::Response<T>, Status>>>(
        &self,
        group: GroupId,
        deadline: Instant,
        go_on: impl Fn(&T) -> bool,
        ask: impl Fn(ControlClient<Channel>, Duration) -> F,
    ) -> Asked<T> {
        let controls = self.controls_soon(group, deadline).await;
        let ask = |member: AgentId, client, left| {
            let asked = ask(client, left);
            async move { asked.await.map(tonic::Response::into_inner).map_err(|s| refused(group, member, &s)) }
        };
        ask_each(controls, deadline, go_on, ask).await
    }
}

/// What came of asking members.
#[derive(Debug)]
struct Asked<T> {
    members: usize,
    /// The one that contents, or the last that did not.
    answer: Option<T>,
    /// Why the last one that could not be asked could not.
    last: Option<String>,
    timed_out: bool,
}

impl<T> Asked<T> {
    fn answer_within(self, timeout: Duration) -> Result<T, ProposeError> {
        let Self { members, answer, last, timed_out } = self;
        match (answer, last) {
            (Some(answer), _) => Ok(answer),
            (None, _) if timed_out => Err(ProposeError::TimedOut { after: timeout }),
            (None, Some(last)) => Err(ProposeError::Unreachable { members, last }),
            (None, None) => Err(ProposeError::NoMember),
        }
    }
}

/// Goes through the members until one gives an answer with which `go_on` is not to be: to the next when one fails, and
/// beside it when one is silent for long.
async fn ask_each<C, T, F: Future<Output = Result<T, String>>>(
    members: Vec<(AgentId, C)>,
    deadline: Instant,
    go_on: impl Fn(&T) -> bool,
    ask: impl Fn(AgentId, C, Duration) -> F,
) -> Asked<T> {
    let mut waiting = members.into_iter();
    let mut asking = FuturesUnordered::new();
    let mut asked = Asked { members: 0, answer: None, last: None, timed_out: false };
    loop {
        if let Some((member, client)) = waiting.next() {
            asked.members += 1;
            asking.push(ask(member, client, deadline.saturating_duration_since(Instant::now())));
        } else if asking.is_empty() {
            return asked;
        }
        let more = waiting.len() > 0;
        let until = if more { deadline.min(Instant::now() + NEXT_AFTER) } else { deadline };
        match timeout_at(until, asking.next()).await {
            Ok(Some(Ok(answer))) => {
                let go_on = go_on(&answer);
                asked.answer = Some(answer);
                if !go_on {
                    return asked;
                }
            }
            Ok(Some(Err(why))) => asked.last = Some(why),
            Ok(None) => {}
            Err(_) if Instant::now() < deadline => {}
            Err(_) => {
                asked.timed_out = true;
                return asked;
            }
        }
    }
}

/// Whoever could not decide speaks for itself alone, and another may have got it.
fn doubt(response: &mut v1::ProposeResponse) {
    if let Some(Outcome::Failed(failed)) = &mut response.outcome
        && !failed.unsure
    {
        failed.unsure = true;
        failed.message.push_str(NOT_ALONE);
    }
}

fn refused(group: GroupId, member: AgentId, status: &Status) -> String {
    debug!(%group, %member, code = ?status.code(), message = status.message(), "control call failed");
    match status.code() {
        Code::Unknown | Code::Unavailable => format!("its tunnel broke ({})", status.message()),
        _ => status.message().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// What a member says, and after how many milliseconds.
    type Word = (u64, Result<u32, String>);

    async fn asked(words: &[Word]) -> (Asked<u32>, Duration) {
        let started = Instant::now();
        let members =
            words.iter().zip(1..).map(|(word, number)| (AgentId::from_random(number), word.clone()));
        let ask = |_, (after, word): Word, _| async move {
            sleep(Duration::from_millis(after)).await;
            word
        };
        // Small numbers are no decision.
        let go_on = |answer: &u32| *answer < 10;
        let asked = ask_each(members.collect(), started + Duration::from_secs(8), go_on, ask).await;
        (asked, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_hangs_does_not_hold_the_others_up() {
        let (told, took) = asked(&[(60_000, Ok(10)), (5, Ok(20)), (5, Ok(30))]).await;
        assert_eq!((told.answer, told.members), (Some(20), 2));
        assert!(took < NEXT_AFTER + Duration::from_millis(50), "{took:?}");
        // One that is only slow may be the first to answer all the same.
        let (told, took) = asked(&[(1_500, Ok(10)), (60_000, Ok(20)), (60_000, Ok(30))]).await;
        assert_eq!(told.answer, Some(10));
        assert!(took < NEXT_AFTER * 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_is_asked_at_once_when_one_cannot_decide() {
        let (told, took) = asked(&[(5, Err("broken".into())), (5, Ok(1)), (5, Ok(10))]).await;
        assert_eq!((told.answer, told.members, told.last.as_deref()), (Some(10), 3, Some("broken")));
        assert!(took < Duration::from_millis(50), "{took:?}");
        let (told, _) = asked(&[(5, Ok(1)), (5, Ok(2))]).await;
        assert_eq!((told.answer, told.timed_out), (Some(2), false), "the last word, for want of a better");
    }

    #[test]
    fn what_another_may_have_got_is_not_told_as_not_made() {
        let told = |outcome: Outcome| {
            let mut response = v1::ProposeResponse { outcome: Some(outcome) };
            doubt(&mut response);
            response.outcome.unwrap()
        };
        let message = "no quorum: 1 of 3 voters in touch".to_owned();
        let failed = v1::Failed { reason: "no_quorum".into(), message: message.clone(), unsure: false };
        let Outcome::Failed(doubted) = told(Outcome::Failed(failed)) else { panic!("it is no decision") };
        assert_eq!((doubted.reason.as_str(), doubted.unsure), ("no_quorum", true));
        assert!(doubted.message.starts_with(&message) && doubted.message.contains("may still be made"));
        assert_eq!(told(Outcome::Failed(doubted.clone())), Outcome::Failed(doubted), "said once");
        assert_eq!(told(Outcome::Revision(7)), Outcome::Revision(7), "a decision is one");
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_holds_whoever_hangs() {
        let (told, took) = asked(&[(60_000, Ok(10)), (60_000, Ok(20))]).await;
        assert!(told.timed_out && told.answer.is_none());
        assert_eq!(took, Duration::from_secs(8));
    }
}
