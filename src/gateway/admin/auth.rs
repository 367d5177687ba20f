//! Who calls, and whether they may: checked before a request's body is read.

use std::{net::IpAddr, time::Duration};

use axum::{
    extract::{Request, State},
    http::Uri,
    middleware::Next,
    response::Response,
};
use hyper::header::AUTHORIZATION;
use tokio::time::timeout;
use tonic::{Code, Status, body::Body};
use tracing::debug;
use warren_identity::secret;

use super::{Caller, Door, audit, error::Problem};
use crate::{
    metrics::refused_call,
    store::{UserRecord, UserRole},
};

/// A call is given up after this, its body included. Longer than any change of a group may take.
const CALL_MAX: Duration = Duration::from_secs(30);
/// What strangers get: enough for a slow network.
const STRANGER_MAX: Duration = Duration::from_secs(10);
/// The longest bearer token that is looked at, in bytes.
const BEARER_BYTES_MAX: usize = 256;
const PACKAGE: &str = "/warren.v1.";

/// The user who calls; handlers find it in the extensions of their request.
#[derive(Debug, Clone)]
pub(super) struct Actor(pub(super) UserRecord);

/// Lets a request through to the services, or answers it.
pub(super) async fn guard(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let method = method_of(request.uri()).to_owned();
    let Some(caller) = request.extensions().get::<Caller>().cloned() else {
        return refuse(Problem::new(
            Code::Internal,
            "no_caller",
            "request came without its caller's address",
        ));
    };
    let from = caller.address.ip();
    if method.starts_with("Enrolment/") {
        // Before anything of the request's body is read.
        return match door.enrols(from) {
            Ok(()) => within(STRANGER_MAX, next.run(request)).await,
            Err(problem) => refuse(problem),
        };
    }
    let bearer = bearer(&request).map(str::to_owned);
    let admitted = within_problem(STRANGER_MAX, admit(&door, from, &method, bearer.as_deref())).await;
    match admitted {
        Ok(user) => {
            caller.standing.prove();
            request.extensions_mut().insert(Actor(user));
            within(CALL_MAX, next.run(request)).await
        }
        Err(problem) => refuse(problem),
    }
}

/// `Service/Method`; empty when it is none of ours.
pub(super) fn method_of(uri: &Uri) -> &str {
    uri.path().strip_prefix(PACKAGE).unwrap_or_default()
}

/// Whether more than looking is asked for.
pub(super) fn is_change(method: &str) -> bool {
    role_for(method) != UserRole::Viewer
}

async fn admit(door: &Door, from: IpAddr, method: &str, bearer: Option<&str>) -> Result<UserRecord, Problem> {
    let Some(bearer) = bearer else {
        let message = "this call needs `authorization: Bearer TOKEN`";
        return Err(Problem::new(Code::Unauthenticated, "no_token", message));
    };
    let unknown = || Problem::new(Code::Unauthenticated, "bad_token", "token is not known to this gateway");
    if bearer.len() > BEARER_BYTES_MAX || !bearer.starts_with(secret::PREFIX) {
        return Err(unknown());
    }
    let hash = secret::hash_secret(bearer);
    door.hears(from, &hash)?;
    let store = &*door.context.store;
    let user = store.user_by_token(&hash).await?;
    // The index was searched by hash, which tells a guesser nothing of the token; the last word is constant in time.
    let Some(user) = user.filter(|user| secret::matches(bearer, &user.token_hash)) else {
        door.failed(from);
        return Err(unknown());
    };
    door.knows(hash);
    let needed = role_for(method);
    if user.role >= needed {
        return Ok(user);
    }
    let message = format!("{method} needs the role {needed}, `{}` is {}", user.name, user.role);
    debug!(user = %user.name, method, "permission denied");
    // Whoever asks again and again would push all else out of the book.
    if door.failed(from) {
        audit::write(store, user.name.as_str(), method, "", "permission denied").await;
    }
    Err(Problem::new(Code::PermissionDenied, "permission_denied", message))
}

/// The least role that may call `Service/Method`. What is not listed is for admins, so that a method that is added
/// and forgotten here is closed, not open.
fn role_for(method: &str) -> UserRole {
    match method.split_once('/') {
        Some((_, "List" | "Show")) | Some(("Groups", "Status")) | Some(("Config", "Get" | "History")) => {
            UserRole::Viewer
        }
        Some(("Resources", "Create" | "Update" | "Delete"))
        | Some(("Config", "Set" | "Rollback"))
        | Some(("Agents", "SetIntent" | "SetWeight" | "SetTier")) => UserRole::Operator,
        _ => UserRole::Admin,
    }
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn within(limit: Duration, work: impl Future<Output = Response>) -> Response {
    timeout(limit, work).await.unwrap_or_else(|_| refuse(too_slow()))
}

async fn within_problem<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    timeout(limit, work).await.unwrap_or_else(|_| Err(too_slow()))
}

fn too_slow() -> Problem {
    Problem::new(Code::DeadlineExceeded, "timeout", "call took too long and was given up")
}

fn refuse(problem: Problem) -> Response {
    refused_call(&problem.reason);
    failed(problem)
}

/// The answer to a call that failed.
pub(super) fn failed(problem: Problem) -> Response {
    Status::from(problem).into_http::<Body>().map(axum::body::Body::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_the_role_it_should() {
        let table = [
            ("Groups/List", UserRole::Viewer),
            ("Groups/Status", UserRole::Viewer),
            ("Config/Get", UserRole::Viewer),
            ("Audit/List", UserRole::Viewer),
            ("Resources/Create", UserRole::Operator),
            ("Config/Rollback", UserRole::Operator),
            ("Agents/SetIntent", UserRole::Operator),
            ("Agents/SetTier", UserRole::Operator),
            ("Agents/Revoke", UserRole::Admin),
            ("Tokens/Create", UserRole::Admin),
            ("Groups/Delete", UserRole::Admin),
            ("Users/Create", UserRole::Admin),
            ("Brand/New", UserRole::Admin),
            ("", UserRole::Admin),
        ];
        for (method, role) in table {
            assert_eq!(role_for(method), role, "{method}");
        }
    }
}
