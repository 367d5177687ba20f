//! What the members of a group must know before the group does it.
//!
//! A group whose members run different programs works at the level of the lowest: what a member cannot read or would
//! decide otherwise stays out of its log. The level is part of the state, so that all members raise it at the same entry,
//! and it never falls. Whatever is added to what the log or a snapshot carries, or changes how an entry is applied, gets
//! the next level, an arm in [`Command::level`], and a line here:
//!
//! | level | brings |
//! |---|---|
//! | 0 | what there was before there were levels |
//! | 1 | tiers, the policy `sticky`, the guard of the last member that reaches a resource |
//!
//! What comes with a level is not written below it (fields are left out while they are the default): a program that does
//! not know it refuses to read it, whole.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Change, Command};
use crate::config::Policy;

/// A level of what a program knows, or of what a group does. One that this program does not know cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct Level(u32);

impl Level {
    /// Before there were levels.
    pub const OLDEST: Self = Self(0);
    pub(super) const TIERS: Self = Self(1);
    /// Of this program.
    pub const NEWEST: Self = Self(1);

    /// What a member knows of what this program knows, by its word.
    pub fn known_to(told: u32) -> Self {
        Self(told).min(Self::NEWEST)
    }

    pub const fn number(self) -> u32 {
        self.0
    }

    pub(super) fn is_oldest(&self) -> bool {
        *self == Self::OLDEST
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("level {told} is of a newer program, this one knows {}", Level::NEWEST)]
pub struct LevelError {
    told: u32,
}

impl TryFrom<u32> for Level {
    type Error = LevelError;

    fn try_from(told: u32) -> Result<Self, LevelError> {
        if told <= Self::NEWEST.0 { Ok(Self(told)) } else { Err(LevelError { told }) }
    }
}

impl Command {
    /// What every member must know before this may enter the log.
    pub fn level(&self) -> Level {
        match self {
            Self::Tier { .. } => Level::TIERS,
            Self::Level { level } => *level,
            Self::Config { change, .. } => change.level(),
            Self::Intent { .. }
            | Self::Weight { .. }
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::Verdicts { .. } => Level::OLDEST,
        }
    }
}

impl Change {
    fn level(&self) -> Level {
        let of = |policy| if policy == Policy::Sticky { Level::TIERS } else { Level::OLDEST };
        match self {
            Self::CreateResource { resource, .. } | Self::PutResource { resource, .. } => of(resource.policy),
            Self::Replace { config } => {
                config.resources.values().map(|resource| of(resource.policy)).max().unwrap_or_default()
            }
            // What history holds was let in before.
            Self::DeleteResource { .. } | Self::Rollback { .. } => Level::OLDEST,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::state::{GroupState, Proposal};

    fn command(json: Value) -> Result<Command, serde_json::Error> {
        serde_json::from_value(json)
    }

    #[test]
    fn each_command_has_the_level_that_brought_it() {
        let agent = "agt-0000000001";
        let of = |json: Value| command(json).unwrap().level().number();
        assert_eq!(of(json!({ "weight": { "member": agent, "weight": 5 } })), 0);
        assert_eq!(of(json!({ "intent": { "member": agent, "intent": "draining", "force": false } })), 0);
        assert_eq!(of(json!({ "tier": { "member": agent, "tier": 1 } })), 1);
        assert_eq!(of(json!({ "level": { "level": 1 } })), 1);
        let put = |policy| {
            let resource = json!({ "target": "db:1", "policy": policy });
            let put = json!({ "put_resource": { "name": "db", "resource": resource } });
            let replace = json!({ "replace": { "config": { "resources": { "db": resource } } } });
            [put, replace].map(|change| of(json!({ "config": { "expected": null, "change": change } })))
        };
        assert_eq!(put("p2c"), [0, 0]);
        assert_eq!(put("sticky"), [1, 1]);
    }

    #[test]
    fn what_a_newer_program_wrote_is_not_read() {
        let newer = command(json!({ "level": { "level": 2 } })).unwrap_err().to_string();
        assert!(newer.contains("level 2 is of a newer program, this one knows 1"), "{newer}");
        let unknown = command(json!({ "colour": { "member": "agt-0000000001" } })).unwrap_err();
        assert!(unknown.is_data());
        let weight = |more: &str| json!({ "weight": { "member": "agt-0000000001", "weight": 5, more: 1 } });
        assert!(
            command(weight("until")).unwrap_err().is_data(),
            "a field that is skipped would be lost here alone"
        );

        let mut state = serde_json::to_value(GroupState::default()).unwrap();
        state["zones"] = json!([]);
        assert!(serde_json::from_value::<GroupState>(state).unwrap_err().is_data());
    }

    /// Programs of level 0 read this, and nothing more.
    #[test]
    fn below_a_level_nothing_of_it_is_written() {
        let mut state = GroupState::default();
        let join = json!({ "join": { "member": "agt-0000000001", "name": "a", "peer_address": "a:1", "version": "1" } });
        let put = json!({ "put_resource": { "name": "db", "resource": { "target": "db:1" } } });
        let asked = [join, json!({ "config": { "expected": null, "change": put } })];
        for (number, asked) in (0..).zip(asked) {
            let request = format!("{number:032x}").parse().unwrap();
            let command = command(asked).unwrap();
            state.apply(&Proposal { request, author: "ann".into(), at_ms: 1, command }).unwrap();
        }
        let written = serde_json::to_value(&state).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let known = [
            "config",
            "history",
            "members",
            "requests",
            "resource_revisions",
            "resource_verdicts",
            "revision",
        ];
        assert_eq!(keys(&written), known);
        let member = ["intent", "name", "peer_address", "verdict", "version", "weight"];
        assert_eq!(keys(&written["members"]["agt-0000000001"]), member);
        assert_eq!(keys(&written["config"]["resources"]["db"]), ["policy", "target"]);
    }
}
