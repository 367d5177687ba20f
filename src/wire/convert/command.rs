//! What a gateway asks of a group.

use std::time::Duration;

use warren_core::{
    id::AgentId,
    state::{Change, Command, RequestId, TIER_MAX, WEIGHT_MAX},
};

use super::{ConvertError, read_agent, read_document, read_intent, read_resource};
use crate::v1;

/// A proposal as it came, understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: RequestId,
    pub author: String,
    pub timeout: Duration,
    pub command: Asked,
}

/// Most requests are one entry of the log; taking a member out is a change of membership too.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    Command(Command),
    RemoveMember(AgentId),
}

pub fn read_request(request: &v1::ProposeRequest) -> Result<Request, ConvertError> {
    use v1::propose_request::Command as Wire;
    let command = match request.command.as_ref().ok_or(ConvertError::Missing("command"))? {
        Wire::Config(config) => {
            let change = read_change(config.change.as_ref().ok_or(ConvertError::Missing("change"))?)?;
            Asked::Command(Command::Config { expected: config.expected_revision, change })
        }
        Wire::Intent(set) => Asked::Command(Command::Intent {
            member: required_agent(&set.member)?,
            intent: read_intent(set.intent)?,
            force: set.force,
        }),
        Wire::Weight(set) => {
            let in_bounds = u16::try_from(set.weight).ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
            let weight = in_bounds.ok_or(ConvertError::Weight(set.weight))?;
            Asked::Command(Command::Weight { member: required_agent(&set.member)?, weight })
        }
        Wire::Tier(set) => {
            let in_bounds = u8::try_from(set.tier).ok().filter(|tier| *tier <= TIER_MAX);
            let tier = in_bounds.ok_or(ConvertError::Tier(set.tier))?;
            Asked::Command(Command::Tier { member: required_agent(&set.member)?, tier })
        }
        Wire::Remove(remove) => Asked::RemoveMember(required_agent(&remove.member)?),
    };
    Ok(Request {
        id: request.request_id.parse()?,
        author: request.author.clone(),
        timeout: Duration::from_millis(request.timeout_ms.into()),
        command,
    })
}

fn read_change(change: &v1::config_change::Change) -> Result<Change, ConvertError> {
    use v1::config_change::Change as Wire;
    Ok(match change {
        Wire::Create(resource) => {
            Change::CreateResource { name: resource.name.parse()?, resource: read_resource(resource)? }
        }
        Wire::Put(resource) => {
            Change::PutResource { name: resource.name.parse()?, resource: read_resource(resource)? }
        }
        Wire::Delete(name) => Change::DeleteResource { name: name.parse()? },
        Wire::Replace(document) => Change::Replace { config: read_document(document)? },
        Wire::Rollback(to) => Change::Rollback { to: *to },
    })
}

fn required_agent(text: &str) -> Result<AgentId, ConvertError> {
    read_agent(text)?.ok_or(ConvertError::Missing("member"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(command: Option<v1::propose_request::Command>) -> v1::ProposeRequest {
        v1::ProposeRequest {
            request_id: RequestId(5).to_string(),
            author: "ann".into(),
            timeout_ms: 3_000,
            command,
        }
    }

    #[test]
    fn a_change_is_understood() {
        let resource =
            v1::Resource { name: "db".into(), target: "db.corp:5432".into(), ..Default::default() };
        let change = v1::ConfigChange {
            expected_revision: Some(4),
            change: Some(v1::config_change::Change::Create(resource)),
        };
        let request = read_request(&ask(Some(v1::propose_request::Command::Config(change)))).unwrap();
        let Asked::Command(Command::Config { expected: Some(4), change }) = request.command else {
            panic!("{request:?}")
        };
        assert!(matches!(change, Change::CreateResource { name, .. } if name.as_str() == "db"));
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(read_request(&ask(None)).unwrap_err().to_string(), "`command` is missing");
        let weight = v1::SetWeight { member: "agt-0000000001".into(), weight: 5_000 };
        let error = read_request(&ask(Some(v1::propose_request::Command::Weight(weight)))).unwrap_err();
        assert_eq!(error.to_string(), "weight 5000 is out of bounds, expected 1 to 1000");
        let tier = v1::SetTier { member: "agt-0000000001".into(), tier: 10 };
        let error = read_request(&ask(Some(v1::propose_request::Command::Tier(tier)))).unwrap_err();
        assert_eq!(error.to_string(), "tier 10 is out of bounds, expected 0 to 9");
        let intent = v1::SetIntent { member: "agt-0000000001".into(), intent: 9, force: false };
        let error = read_request(&ask(Some(v1::propose_request::Command::Intent(intent)))).unwrap_err();
        assert_eq!(error.to_string(), "`intent` has the unknown value 9");
    }
}
