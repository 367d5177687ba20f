//! All that was seen, brought together for the invariants.

use std::{fs, io, time::Duration};

use super::{
    callers::Seen,
    ledger::Ledger,
    records::{Look, Record, Records},
    world::World,
};
use crate::history::Told;

#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) ledger: Ledger,
    /// Each caller's session, and the gateway's record of it if there is one.
    pub(super) sessions: Vec<(Seen, Option<Record>)>,
    /// All records of the gateway.
    pub(super) records: Vec<Record>,
    pub(super) looks: Vec<Look>,
    /// What the config's editors were told.
    pub(super) told: Told,
    /// How often somebody reached what is denied.
    pub(super) tripped: usize,
    /// Files and what is found in them.
    pub(super) leaks: Vec<String>,
}

impl Evidence {
    pub(super) fn gather(
        world: &World,
        ledger: Ledger,
        sessions: Vec<Seen>,
        records: &Records,
        told: Told,
    ) -> Self {
        let with_record = |seen: Seen| {
            let record = seen.local.and_then(|local| records.of(local, seen.begun));
            (seen, record)
        };
        Self {
            ledger,
            sessions: sessions.into_iter().map(with_record).collect(),
            records: records.all(),
            looks: records.looks(),
            told,
            tripped: world.tripped(),
            leaks: super::invariants::leaks(world),
        }
    }

    /// Writes all of it beside the processes' logs, for whoever looks into a run.
    pub(super) fn keep(&self, world: &World) -> io::Result<()> {
        let calls = self.told.entries.iter().map(|entry| format!("{entry:?}\n"));
        fs::write(world.home().join("calls"), calls.collect::<String>())?;
        let sessions = self.sessions.iter().map(|session| format!("{session:?}\n"));
        fs::write(world.home().join("sessions"), sessions.collect::<String>())?;
        fs::write(world.home().join("faults"), format!("{:#?}", self.ledger))
    }

    /// Sessions of which the gateway says which member had them; that of a bulk session is not looked up.
    pub(super) fn member_of(record: Option<&Record>) -> Option<&str> {
        record.map(|record| &*record.member).filter(|member| !member.is_empty())
    }

    /// Whether the gateway was started anew shortly before: it may not have heard yet what its group has decided.
    pub(super) fn is_gateway_new(&self, at: Duration) -> bool {
        const HEARS_WITHIN: Duration = Duration::from_secs(3);
        let gateways = self.ledger.hurts().filter(|hurt| hurt.fault.is_gateways());
        gateways.into_iter().any(|hurt| at >= hurt.from && at <= hurt.over() + HEARS_WITHIN)
    }
}
