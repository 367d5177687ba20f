//! Calls about a group whose agents have no tunnel here, answered by a gateway that has one.
//!
//! ```text
//! caller ─▶ guard ─▶ has the group a tunnel here? ─ yes ─▶ services
//!                          │ no, and there are other gateways
//!                          ▼
//!             the others, one after the other ─ all: no_member ─▶ services, which say what is known here
//! ```
//! A call goes on as it came, with its bearer token, through the tunnel that gateways have to each other. The other one looks
//! whose it is, does it and writes it down as if it had been asked first. No call is passed on twice.

use std::{fmt, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, Uri,
        request::Parts,
        uri::{self, Authority, Scheme},
    },
    middleware::Next,
    response::Response,
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::time::timeout;
use tonic::Code;
use tracing::{debug, info};
use warren_core::id::{GatewayId, GroupId};
use warren_tunnel::{Handle, OpenRequest};
use warren_wire::v1::{GroupStatusRequest, ShowAgentRequest};

use super::{
    Api, Caller, Door, REQUEST_BYTES_MAX, auth,
    error::{Problem, REASON},
    everywhere,
};
use crate::neighbours::Neighbour;

/// On a call that another gateway has passed on.
const PASSED_ON: HeaderName = HeaderName::from_static("warren-passed-on");
const NO_MEMBER: &str = "no_member";
/// Length and flag in front of a message.
pub(super) const FRAME_HEAD: usize = 5;
pub(super) const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Another gateway must be reached within this time,
const REACH_WITHIN: Duration = Duration::from_secs(3);
/// and answer within this one: longer than any change of a group takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// What a call names, always as the first field of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Group,
    Agent,
}

/// Why another gateway has not answered.
pub(super) enum Unanswered {
    /// It was not asked.
    Unreached(String),
    /// It may do what it was asked for.
    Lost(String),
}

/// Lets a call through to the services here, or has another gateway answer it.
pub(super) async fn pass_on(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let neighbours = door.context.neighbours.clone();
    let is_passed_on = request.headers().contains_key(PASSED_ON);
    if everywhere::is_wide(auth::method_of(request.uri())) && !is_passed_on && !neighbours.is_alone() {
        let (mut head, body) = request.into_parts();
        let asked = everywhere::Asked(head.clone());
        head.extensions.insert(asked);
        request = Request::from_parts(head, body);
    }
    let Some(subject) = subject_of(auth::method_of(request.uri())) else { return next.run(request).await };
    if neighbours.is_alone() && !is_passed_on {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, REQUEST_BYTES_MAX + FRAME_HEAD).await else {
        return auth::failed(Problem::invalid("request is too long, or was cut off"));
    };
    let here = |head, body: Bytes| next.run(Request::from_parts(head, Body::from(body)));
    // What cannot be found is told by the service that is asked for it.
    let Some(group) = group_of(&door, subject, &body).await else { return here(head, body).await };
    if door.context.registry.has_tunnels(group) {
        return here(head, body).await;
    }
    if is_passed_on {
        return auth::failed(no_member());
    }
    for Neighbour { gateway, tunnel, .. } in neighbours.choices(group) {
        match ask(&tunnel, &head, body.clone()).await {
            Ok(answer) if reason_of(&answer) == Some(NO_MEMBER) => {}
            Ok(answer) => {
                neighbours.took(group, gateway);
                debug!(%group, %gateway, method = auth::method_of(&head.uri), "call answered by another gateway");
                return answer;
            }
            Err(Unanswered::Unreached(why)) => debug!(%group, %gateway, why, "another gateway was not asked"),
            Err(Unanswered::Lost(why)) => {
                info!(%group, %gateway, method = auth::method_of(&head.uri), why, "another gateway did not answer a call");
                if auth::is_change(auth::method_of(&head.uri)) {
                    return auth::failed(lost(gateway, &why));
                }
            }
        }
    }
    here(head, body).await
}

/// Of calls that want a member of one group.
fn subject_of(method: &str) -> Option<Subject> {
    match method.split_once('/')? {
        ("Groups", "Show" | "Status") | ("Resources" | "Config", _) => Some(Subject::Group),
        ("Agents", "List") => Some(Subject::Group),
        ("Agents", _) => Some(Subject::Agent),
        _ => None,
    }
}

async fn group_of(door: &Door, subject: Subject, body: &[u8]) -> Option<GroupId> {
    let api = Api { context: door.context.clone() };
    let message = body.get(FRAME_HEAD..)?;
    match subject {
        Subject::Group => {
            let name = GroupStatusRequest::decode(message).ok()?.group;
            // Without one it is about all of them.
            if name.is_empty() { None } else { api.find_group(&name).await.ok().map(|group| group.id) }
        }
        Subject::Agent => {
            let name = ShowAgentRequest::decode(message).ok()?.agent;
            api.find_agent(&name).await.ok().map(|agent| agent.group)
        }
    }
}

pub(super) async fn ask(tunnel: &Handle, head: &Parts, body: Bytes) -> Result<Response, Unanswered> {
    let unreached = |error: &dyn std::error::Error| Unanswered::Unreached(error.to_string());
    let from = head.extensions.get::<Caller>().map(|caller| caller.address.to_string()).unwrap_or_default();
    let reach = async {
        let request = OpenRequest { caller: from, ..OpenRequest::control() };
        let session = tunnel.open(request).await.map_err(|error| unreached(&error))?;
        let spoken = http2::handshake(TokioExecutor::new(), TokioIo::new(session)).await;
        spoken.map_err(|error| unreached(&error))
    };
    let slow = |_| Unanswered::Unreached(format!("not reached within {} s", REACH_WITHIN.as_secs()));
    let (mut sender, connection) = timeout(REACH_WITHIN, reach).await.map_err(slow)??;
    let connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let answer = async {
        let answer = sender.send_request(again(head, body)).await.map_err(|error| error.to_string())?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
        Ok::<Response, String>(Response::from_parts(head, Body::new(body)))
    };
    let answer = timeout(ANSWER_WITHIN, answer).await;
    drop(connection);
    match answer {
        Ok(answer) => answer.map_err(Unanswered::Lost),
        Err(_) => Err(Unanswered::Lost(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))),
    }
}

/// The call as it came, marked.
fn again(head: &Parts, body: Bytes) -> hyper::Request<Full<Bytes>> {
    let mut request = hyper::Request::new(Full::new(body));
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    request.headers_mut().insert(PASSED_ON, HeaderValue::from_static("1"));
    let mut uri = uri::Parts::default();
    (uri.scheme, uri.authority) =
        (Some(Scheme::HTTP), Some(Authority::from_static("gateway.warren.internal")));
    uri.path_and_query = head.uri.path_and_query().cloned();
    // Without a path it would be no call of ours.
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    request
}

pub(super) fn reason_of(answer: &Response) -> Option<&str> {
    answer.headers().get(REASON)?.to_str().ok()
}

fn no_member() -> Problem {
    Problem::new(Code::Unavailable, NO_MEMBER, "no member of the group has a tunnel to this gateway")
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreached(why) | Self::Lost(why) => f.write_str(why),
        }
    }
}

fn lost(gateway: GatewayId, why: &str) -> Problem {
    let message = format!(
        "{gateway}, which the group has a tunnel to, did not answer ({why}); the change may still be made"
    );
    Problem { unsure: true, ..Problem::new(Code::Unavailable, "unreachable", message) }
}

#[cfg(test)]
mod tests {
    use warren_wire::v1::{RevokeAgentRequest, SetConfigRequest, UpdateResourceRequest};

    use super::*;

    #[test]
    fn a_call_that_wants_a_member_is_told_from_one_that_does_not() {
        let table = [
            ("Groups/Status", Some(Subject::Group)),
            ("Groups/Delete", None),
            ("Groups/List", None),
            ("Resources/Create", Some(Subject::Group)),
            ("Config/History", Some(Subject::Group)),
            ("Agents/List", Some(Subject::Group)),
            ("Agents/SetIntent", Some(Subject::Agent)),
            ("Agents/Revoke", Some(Subject::Agent)),
            ("Tokens/Create", None),
            ("Sessions/List", None),
            ("", None),
        ];
        for (method, subject) in table {
            assert_eq!(subject_of(method), subject, "{method}");
        }
    }

    #[test]
    fn what_a_call_is_about_comes_first_in_its_message() {
        let set =
            SetConfigRequest { group: "site".into(), document: "resources: {}".into(), ..Default::default() };
        assert_eq!(GroupStatusRequest::decode(&*set.encode_to_vec()).unwrap().group, "site");
        let update = UpdateResourceRequest { group: "site".into(), name: "db".into(), ..Default::default() };
        assert_eq!(GroupStatusRequest::decode(&*update.encode_to_vec()).unwrap().group, "site");
        let revoke = RevokeAgentRequest { agent: "a1".into() };
        assert_eq!(ShowAgentRequest::decode(&*revoke.encode_to_vec()).unwrap().agent, "a1");
    }
}
