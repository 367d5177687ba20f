//! A member as `groups status` shows it.

use serde::Serialize;
use warren_wire::v1;

use super::Moment;

#[derive(Debug, Serialize)]
pub(crate) struct Member {
    pub(super) id: String,
    pub(super) name: String,
    status: String,
    role: String,
    revision: u64,
    tunnels: u32,
    sessions: u32,
    weight: u32,
    certificate_expires: Moment,
    version: String,
    rtt_us: Option<u64>,
    verdict: Verdict,
    troubles: Vec<Trouble>,
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
            role: member.role,
            revision: member.revision,
            tunnels: member.tunnels,
            sessions: member.sessions,
            weight: member.weight,
            certificate_expires: Moment::from_seconds(member.certificate_expires_s),
            version: member.version,
            rtt_us: Some(member.rtt_us).filter(|rtt| *rtt != 0),
            verdict: Verdict::from(member.verdict.unwrap_or_default()),
            troubles: member.troubles.into_iter().map(trouble).collect(),
        }
    }
}

impl From<v1::Judged> for Verdict {
    fn from(judged: v1::Judged) -> Self {
        let verdict = match judged.verdict() {
            v1::Verdict::Unspecified => "unknown",
            v1::Verdict::Up => "up",
            v1::Verdict::Suspect => "suspect",
            v1::Verdict::Down => "down",
        };
        Self { verdict, since: Moment::from_millis(judged.since_ms), detail: judged.detail }
    }
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
            self.weight.to_string(),
            self.rtt_us.map(|rtt| format!("{:.1} ms", rtt as f64 / 1e3)).unwrap_or_default(),
            self.certificate_expires.ago(),
        ]
    }

    /// Why it is not simply Up, for the table of troubles.
    pub(super) fn told_troubles(&self) -> Vec<Vec<String>> {
        let line = |of: &str, verdict: &Verdict| {
            let Verdict { verdict, since, detail } = verdict;
            vec![self.name.clone(), of.to_owned(), (*verdict).to_owned(), since.ago(), detail.clone()]
        };
        let own = matches!(self.verdict.verdict, "suspect" | "down").then(|| line("member", &self.verdict));
        own.into_iter()
            .chain(self.troubles.iter().map(|trouble| line(&trouble.resource, &trouble.verdict)))
            .collect()
    }
}
