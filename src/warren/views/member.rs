//! A member as `groups status` shows it.

use serde::Serialize;
use warren_wire::v1;

use super::Moment;

#[derive(Debug, Serialize)]
pub(crate) struct Member {
    pub(super) id: String,
    pub(super) name: String,
    status: String,
    reason: String,
    since: Moment,
    role: String,
    revision: u64,
    tunnels: u32,
    sessions: u32,
    weight: u32,
    tier: u32,
    certificate_expires: Moment,
    version: String,
    rtt_us: Option<u64>,
    verdict: Verdict,
    /// How many of the other members hear it, and how many can be asked.
    heard_by: u32,
    peers_asked: u32,
    vitals: Vec<Vital>,
    troubles: Vec<Trouble>,
}

/// What it has by its own account.
#[derive(Debug, Serialize)]
struct Vital {
    name: String,
    used: u64,
    limit: u64,
    verdict: &'static str,
    since: Moment,
}

#[derive(Debug, Serialize)]
struct Verdict {
    verdict: &'static str,
    since: Moment,
    detail: String,
}

/// A resource that a member cannot reach well.
#[derive(Debug, Serialize)]
struct Trouble {
    resource: String,
    #[serde(flatten)]
    verdict: Verdict,
}

impl From<v1::MemberStatus> for Member {
    fn from(member: v1::MemberStatus) -> Self {
        let trouble = |trouble: v1::ResourceVerdict| Trouble {
            resource: trouble.resource,
            verdict: Verdict::from(trouble.judged.unwrap_or_default()),
        };
        Self {
            id: member.id,
            name: member.name,
            status: member.status,
            reason: member.reason,
            since: Moment::from_millis(member.since_ms),
            role: member.role,
            revision: member.revision,
            tunnels: member.tunnels,
            sessions: member.sessions,
            weight: member.weight,
            tier: member.tier,
            certificate_expires: Moment::from_seconds(member.certificate_expires_s),
            version: member.version,
            rtt_us: Some(member.rtt_us).filter(|rtt| *rtt != 0),
            verdict: Verdict::from(member.verdict.unwrap_or_default()),
            heard_by: member.heard_by,
            peers_asked: member.peers_asked,
            vitals: member.vitals.into_iter().map(Vital::from).collect(),
            troubles: member.troubles.into_iter().map(trouble).collect(),
        }
    }
}

impl From<v1::Judged> for Verdict {
    fn from(judged: v1::Judged) -> Self {
        let verdict = word(judged.verdict());
        Self { verdict, since: Moment::from_millis(judged.since_ms), detail: judged.detail }
    }
}

impl From<v1::Vital> for Vital {
    fn from(vital: v1::Vital) -> Self {
        let reading = vital.reading.unwrap_or_default();
        Self {
            name: vital.name,
            used: reading.used,
            limit: reading.limit,
            verdict: word(reading.verdict()),
            since: Moment::from_millis(reading.since_ms),
        }
    }
}

impl Vital {
    fn told(&self) -> String {
        format!("{} % used", u128::from(self.used) * 100 / u128::from(self.limit.max(1)))
    }
}

const fn word(verdict: v1::Verdict) -> &'static str {
    match verdict {
        v1::Verdict::Unspecified => "unknown",
        v1::Verdict::Up => "up",
        v1::Verdict::Suspect => "suspect",
        v1::Verdict::Down => "down",
    }
}

fn is_trouble(verdict: &str) -> bool {
    matches!(verdict, "suspect" | "down")
}

impl Member {
    pub(super) const COLUMNS: &'static [&'static str] = &[
        "MEMBER",
        "NAME",
        "STATUS",
        "ROLE",
        "REVISION",
        "TUNNELS",
        "SESSIONS",
        "WEIGHT",
        "RTT",
        "HEARD BY",
        "CERTIFICATE ENDS",
    ];

    pub(super) fn cells(&self) -> Vec<String> {
        vec![
            self.id.clone(),
            self.name.clone(),
            self.status.clone(),
            self.role.clone(),
            self.revision.to_string(),
            self.tunnels.to_string(),
            self.sessions.to_string(),
            match self.tier {
                0 => self.weight.to_string(),
                tier => format!("{}, tier {tier}", self.weight),
            },
            self.rtt_us.map(|rtt| format!("{:.1} ms", rtt as f64 / 1e3)).unwrap_or_default(),
            match self.peers_asked {
                0 => String::new(),
                asked => format!("{} of {asked}", self.heard_by),
            },
            self.certificate_expires.ago(),
        ]
    }

    /// What is not as it should be, layer by layer: how it stands, what its peers say, what it says of itself, and which
    /// resources it cannot reach well.
    pub(super) fn told_troubles(&self) -> Vec<Vec<String>> {
        let line = |of: &str, verdict: &str, since: Moment, why: &str| {
            vec![self.name.clone(), of.to_owned(), verdict.to_owned(), since.ago(), why.to_owned()]
        };
        let judged =
            |of: &str, judged: &Verdict| line(of, judged.verdict, judged.since, judged.detail.as_str());
        let status =
            (!self.reason.is_empty()).then(|| line("member", &self.status, self.since, &self.reason));
        let peers = is_trouble(self.verdict.verdict).then(|| judged("peers", &self.verdict));
        let vitals = self.vitals.iter().filter(|vital| is_trouble(vital.verdict));
        let vitals = vitals.map(|vital| line(&vital.name, vital.verdict, vital.since, &vital.told()));
        let resources = self.troubles.iter().map(|trouble| judged(&trouble.resource, &trouble.verdict));
        status.into_iter().chain(peers).chain(vitals).chain(resources).collect()
    }
}
