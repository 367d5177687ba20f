//! The book of who changed what.

use tonic::{Request, Response, Status};
use tracing::error;
use warren_wire::v1::{AuditEntry, ListAuditRequest, ListAuditResponse, audit_server::Audit};

use super::{
    Api,
    auth::Actor,
    clock::now_ms,
    error::{Problem, causes, cut_short},
};
use crate::store::{AuditRecord, Store};

const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 10_000;
/// What is longer is cut: subjects and outcomes hold what callers typed, and the book holds many.
const FIELD_BYTES_MAX: usize = 1_024;

/// Adds an entry. A book that cannot be written is told on the log; what it was to tell has happened all the same.
pub(crate) async fn write(store: &dyn Store, who: &str, action: &str, subject: &str, outcome: &str) {
    let [who, action, subject, outcome] =
        [who, action, subject, outcome].map(|text| cut_short(text, FIELD_BYTES_MAX).into_owned());
    let entry = AuditRecord { at_ms: now_ms(), who, action, subject, outcome };
    if let Err(error) = store.add_audit(&entry).await {
        error!(error = causes(&error), ?entry, "cannot write audit");
    }
}

impl Api {
    /// Does a change and writes down how it went. It goes on when its caller hangs up: a change is never left half done.
    pub(super) async fn change<T, M, F>(
        &self,
        request: Request<M>,
        action: &'static str,
        work: impl FnOnce(Self, Actor, M) -> F,
        subject: impl FnOnce(&M) -> String,
    ) -> Result<Response<T>, Status>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Problem>> + Send + 'static,
    {
        let actor = actor(&request)?;
        let asked = request.into_inner();
        let (store, who, subject) = (self.context.store.clone(), actor.0.name.clone(), subject(&asked));
        let work = work(self.clone(), actor, asked);
        let task = tokio::spawn(async move {
            let done = work.await;
            let outcome = done.as_ref().err().map_or("ok", |problem| problem.message.as_str());
            write(&*store, who.as_str(), action, &subject, outcome).await;
            done
        });
        match task.await {
            Ok(done) => Ok(Response::new(done?)),
            Err(error) => {
                error!(%error, action, "change ended in a panic");
                Err(Status::internal("gateway failed at this change, its log says why"))
            }
        }
    }
}

fn actor<T>(request: &Request<T>) -> Result<Actor, Status> {
    request.extensions().get().cloned().ok_or_else(|| Status::unauthenticated("nobody has checked who calls"))
}

#[tonic::async_trait]
impl Audit for Api {
    async fn list(&self, request: Request<ListAuditRequest>) -> Result<Response<ListAuditResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => LIMIT_DEFAULT,
            limit => limit.min(LIMIT_MAX),
        };
        let entries = self.context.store.audit(limit).await.map_err(Problem::from)?;
        let entries = entries.into_iter().map(|entry| AuditEntry {
            at_ms: entry.at_ms,
            who: entry.who,
            action: entry.action,
            subject: entry.subject,
            outcome: entry.outcome,
        });
        Ok(Response::new(ListAuditResponse { entries: entries.collect() }))
    }
}
