//! The first start: a token and a certificate request become an identity.

use std::{path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use thiserror::Error;
use tokio::time::sleep;
use warren_core::{
    backoff::Backoff,
    id::{AgentId, GroupId},
};
use warren_wire::v1;

use crate::{
    cloud::{Cloud, CloudError},
    config::Token,
    identity::{Facts, Folder, Issued, StoredIdentityError},
};

/// Why an agent did not get an identity.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnrolError {
    #[error("this agent is not enrolled and has no token: give --token or REGISTRATION_JWT")]
    NoToken,
    #[error("cannot read the token from `{}`", path.display())]
    TokenFile { path: PathBuf, source: std::io::Error },
    /// The gateway will not have this token.
    #[error(transparent)]
    Refused(CloudError),
    #[error("the gateway's answer cannot be used: {0}")]
    Answer(String),
    #[error(transparent)]
    Keep(#[from] StoredIdentityError),
}

/// Between two tries while a proxy does not let us through, so that no account gets locked.
const BARRED: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300), Duration::MAX);
/// The shortest such wait.
const BARRED_MIN: Duration = Duration::from_secs(5);

/// Enrols with the first gateway that agrees. Gateways that are not reached are asked again, for ever and with full
/// jitter; a refusal ends it. Safe to drop at any await: the key stays for the next try.
pub(crate) async fn enrol(
    cloud: &Cloud,
    folder: &Folder,
    token: Option<&Token>,
    name: &str,
) -> Result<(), EnrolError> {
    let token = token.ok_or(EnrolError::NoToken)?;
    let csr = folder.key()?.csr_der().map_err(StoredIdentityError::from)?;
    let request = request(token, csr, name)?;
    let (mut backoff, mut barred) = (Backoff::default(), BARRED);
    let answer = loop {
        match ask(cloud, &request).await {
            Ok(answer) => break answer,
            Err(refused @ CloudError::Refused { .. }) => return Err(EnrolError::Refused(refused)),
            Err(error @ CloudError::Unreachable { .. }) => {
                let wait = backoff.next_wait(rand::random()).max(Duration::from_millis(50));
                tracing::warn!(%error, ?wait, "cannot enrol yet, will ask again");
                sleep(wait).await;
            }
            Err(error @ CloudError::Barred { .. }) => {
                let wait = barred.next_wait(rand::random()).max(BARRED_MIN);
                tracing::error!(%error, ?wait, "cannot enrol before this is mended, will ask again");
                sleep(wait).await;
            }
        }
    };
    let (facts, issued) = read_answer(answer)?;
    folder.keep(&facts, &issued)?;
    tracing::info!(agent = %facts.agent, group = %facts.group, group_name = facts.group_name, "enrolled");
    Ok(())
}

/// The group that a token is for, by its own word: nobody has checked the signature.
pub(crate) fn claimed_group(token: &str) -> Option<GroupId> {
    claims(token)?.get("sub")?.as_str()?.parse().ok()
}

/// When a token ends, likewise; seconds since the Unix epoch.
pub(crate) fn claimed_end(token: &str) -> Option<u64> {
    claims(token)?.get("exp")?.as_u64()
}

fn claims(token: &str) -> Option<serde_json::Value> {
    let body = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
}

/// What to ask of a gateway for `csr`, DER.
pub(crate) fn request(token: &Token, csr: Vec<u8>, name: &str) -> Result<v1::EnrolRequest, EnrolError> {
    let (token, name, version) = (read_token(token)?, name.to_owned(), crate::VERSION.to_owned());
    Ok(v1::EnrolRequest { token, csr: csr.into(), name, version })
}

/// Asks once.
pub(crate) async fn ask(cloud: &Cloud, request: &v1::EnrolRequest) -> Result<v1::EnrolResponse, CloudError> {
    let call = |mut client: v1::enrolment_client::EnrolmentClient<_>| {
        let request = request.clone();
        async move { client.enrol(request).await }
    };
    cloud.ask(call).await
}

/// The text of a token.
pub(crate) fn read_token(token: &Token) -> Result<String, EnrolError> {
    let read = token.read().map_err(|source| {
        let path = token.file().unwrap_or(std::path::Path::new("")).to_owned();
        EnrolError::TokenFile { path, source }
    })?;
    if read.is_empty() { Err(EnrolError::NoToken) } else { Ok(read) }
}

pub(crate) fn read_answer(answer: v1::EnrolResponse) -> Result<(Facts, Issued), EnrolError> {
    let unusable = |error: warren_core::id::IdError| EnrolError::Answer(error.to_string());
    let agent: AgentId = answer.agent_id.parse().map_err(unusable)?;
    let group: GroupId = answer.group_id.parse().map_err(unusable)?;
    let facts = Facts { agent, group, group_name: answer.group_name };
    Ok((facts, Issued { certificate: answer.certificate, bundle: answer.bundle }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_group() {
        let group = GroupId::from_random(5);
        let body = URL_SAFE_NO_PAD.encode(format!("{{\"sub\":\"{group}\"}}"));
        assert_eq!(claimed_group(&format!("head.{body}.signature")), Some(group));
        for text in ["", "a.b.c", "a", "a..c"] {
            assert_eq!(claimed_group(text), None, "{text}");
        }
    }

    #[test]
    fn a_missing_token_is_told_before_anything_is_asked() {
        let empty = Token::from(" \n".to_owned());
        assert!(matches!(read_token(&empty), Err(EnrolError::NoToken)));
        let gone = Token::from("@/nowhere/token".to_owned());
        let error = read_token(&gone).unwrap_err().to_string();
        assert_eq!(error, "cannot read the token from `/nowhere/token`");
    }
}
