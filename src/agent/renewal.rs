//! A fresh certificate at half of its life, under running tunnels and sessions.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use warren_core::backoff::Backoff;
use warren_identity::{Validity, authority::SKEW};
use warren_wire::v1;

use crate::{
    cloud::{Cloud, CloudError, causes},
    config::Token,
    enrol,
    identity::{Identity, Issued},
    metrics,
};

/// The wall clock may be set while we sleep: it is looked at again at least this often.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// Renewals come no closer than this, however short a certificate lives.
const APART: Duration = Duration::from_secs(1);

/// Renews one agent's certificate for as long as it runs.
#[derive(Debug)]
pub(crate) struct Renewal {
    identity: Arc<Identity>,
    cloud: Cloud,
    /// Told after each renewal.
    renewed: mpsc::Sender<()>,
    again: Option<Again>,
}

/// How an agent whose certificate has run out comes by another: with a token, as on the first day. It shows the same key
/// and gets the same id back, so that its log and its place in the group stay what they are.
#[derive(Debug)]
pub(crate) struct Again {
    /// Must show no certificate.
    pub(crate) cloud: Cloud,
    /// Read at each try: a file may hold a fresh one by then.
    pub(crate) token: Token,
    pub(crate) name: String,
}

impl Renewal {
    /// `cloud` must show the identity's certificate.
    pub(crate) fn new(identity: Arc<Identity>, cloud: Cloud, renewed: mpsc::Sender<()>) -> Self {
        Self { identity, cloud, renewed, again: None }
    }

    /// What to do when the certificate has run out, because the agent was stopped or cut off for longer than its life.
    pub(crate) fn with_token(self, again: Option<Again>) -> Self {
        Self { again, ..self }
    }

    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_fresh() => {}
        }
    }

    async fn keep_fresh(&self) {
        while let Some(plan) = self.plan() {
            while let Some(wait) = plan.wait(SystemTime::now()) {
                sleep(wait.min(LOOK_EVERY)).await;
            }
            self.renew_until_done(&plan).await;
            sleep(APART).await;
        }
    }

    fn plan(&self) -> Option<Plan> {
        match self.identity.validity() {
            Ok(validity) => {
                let expires = validity.not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
                ::metrics::gauge!(metrics::CERTIFICATE_EXPIRY).set(expires.as_secs_f64());
                Some(Plan::new(validity, rand::random()))
            }
            Err(error) => {
                tracing::error!(error = causes(&error), "own certificate cannot be read, renewal stops");
                None
            }
        }
    }

    async fn renew_until_done(&self, plan: &Plan) {
        let mut backoff = plan.backoff();
        while let Err(error) = self.renew().await {
            let wait = backoff.next_wait(rand::random()).max(APART);
            let now = SystemTime::now();
            match plan.urgency(now) {
                Urgency::Calm => tracing::info!(error, ?wait, "certificate not renewed yet"),
                Urgency::Late => {
                    let left = plan.validity.remaining(now);
                    tracing::warn!(error, ?wait, ?left, "certificate runs out and cannot be renewed");
                }
                Urgency::Over => match self.enrol_again().await {
                    Ok(()) => return,
                    Err(why) => tracing::error!(
                        error,
                        why,
                        ?wait,
                        "certificate has expired, no tunnel or peer takes it: start this agent with a valid \
                         registration token of its group, it keeps its id and its log"
                    ),
                },
            }
            sleep(wait).await;
        }
    }

    async fn renew(&self) -> Result<(), String> {
        let csr = self.identity.request().map_err(|error| causes(&error))?;
        let request = v1::RenewRequest { csr: csr.into() };
        let answer = self.cloud.ask(|mut client| {
            let request = request.clone();
            async move { client.renew(request).await }
        });
        let answer = answer.await.map_err(|error: CloudError| error.to_string())?;
        let issued = Issued { certificate: answer.certificate, bundle: answer.bundle };
        self.show(&issued)?;
        tracing::info!(not_after_s = answer.not_after_s, "certificate renewed");
        Ok(())
    }

    /// A gateway that gives another id has forgotten this agent; an id that does not fit the log is not taken.
    async fn enrol_again(&self) -> Result<(), String> {
        let again = self.again.as_ref().ok_or("no registration token is configured")?;
        let csr = self.identity.request().map_err(|error| causes(&error))?;
        let request = enrol::request(&again.token, csr, &again.name).map_err(|error| causes(&error))?;
        let answer = enrol::ask(&again.cloud, &request).await.map_err(|error| error.to_string())?;
        let (facts, issued) = enrol::read_answer(answer).map_err(|error| causes(&error))?;
        self.show(&issued)?;
        tracing::warn!(agent = %facts.agent, "certificate had expired, enrolled again under the same id");
        Ok(())
    }

    fn show(&self, issued: &Issued) -> Result<(), String> {
        self.identity.renew(issued).map_err(|error| causes(&error))?;
        // Full means that the news is on its way already.
        let _ = self.renewed.try_send(());
        Ok(())
    }
}

/// When one certificate is renewed, and how eagerly.
#[derive(Debug, Clone, Copy)]
struct Plan {
    validity: Validity,
    at: SystemTime,
    life: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Calm,
    /// A third of its life or less is left.
    Late,
    Over,
}

impl Plan {
    /// Half life, up to a tenth of the life earlier, so that a group that enrolled together does not renew together.
    fn new(validity: Validity, random: u64) -> Self {
        // Certificates are dated back for skewed clocks; that is no part of their life.
        let born = (validity.not_before + SKEW).min(validity.not_after);
        let life = validity.not_after.duration_since(born).unwrap_or_default();
        let earlier = (life / 10).mul_f64(random as f64 / u64::MAX as f64);
        Self { validity, at: born + life / 2 - earlier, life }
    }

    /// How long it has time; `None` when it is due.
    fn wait(&self, now: SystemTime) -> Option<Duration> {
        self.at.duration_since(now).ok().filter(|wait| !wait.is_zero())
    }

    fn urgency(&self, now: SystemTime) -> Urgency {
        match self.validity.remaining(now) {
            Duration::ZERO => Urgency::Over,
            left if left <= self.life / 3 => Urgency::Late,
            _ => Urgency::Calm,
        }
    }

    /// Several tries fit into what is left, at most one a minute or so for certificates of days.
    fn backoff(&self) -> Backoff {
        let base = (self.life / 50).clamp(APART, Duration::from_secs(30));
        let cap = (self.life / 20).clamp(APART, Duration::from_secs(3_600));
        Backoff::new(base, cap, Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use warren_tunnel::dial::Direct;

    use super::*;
    use crate::{
        cloud::ALPN,
        inspection::GatewayTls,
        testing::{
            Site,
            gateway::{Gateway, TOKEN},
        },
    };

    const DAY: Duration = Duration::from_secs(86_400);

    fn week() -> (SystemTime, Validity) {
        let now = UNIX_EPOCH + 20_000 * DAY;
        (now, Validity { not_before: now - SKEW, not_after: now + 7 * DAY })
    }

    #[test]
    fn renewal_is_due_a_little_before_half_life() {
        let (now, validity) = week();
        let latest = Plan::new(validity, 0);
        assert_eq!(latest.wait(now), Some(7 * DAY / 2));
        let earliest = Plan::new(validity, u64::MAX);
        assert_eq!(earliest.wait(now), Some(7 * DAY / 2 - 7 * DAY / 10));
        assert_eq!(latest.wait(now + 4 * DAY), None);
    }

    #[test]
    fn it_becomes_urgent_at_a_third() {
        let (now, validity) = week();
        let plan = Plan::new(validity, 0);
        assert_eq!(plan.urgency(now + 4 * DAY), Urgency::Calm);
        assert_eq!(plan.urgency(now + 5 * DAY), Urgency::Late);
        assert_eq!(plan.urgency(now + 8 * DAY), Urgency::Over);
    }

    #[test]
    fn the_shortest_certificate_is_renewed_in_its_life() {
        let now = UNIX_EPOCH + 20_000 * DAY;
        let validity = Validity { not_before: now - SKEW, not_after: now + Duration::from_secs(60) };
        let plan = Plan::new(validity, 0);
        assert_eq!(plan.wait(now), Some(Duration::from_secs(30)));
        let mut backoff = plan.backoff();
        let waits: Duration = (0..5).map(|_| backoff.next_wait(u64::MAX)).sum();
        assert!(waits < Duration::from_secs(20), "{waits:?}");
    }

    #[test]
    fn a_clock_far_behind_does_not_renew_in_a_loop() {
        let (now, validity) = week();
        assert!(Plan::new(validity, 0).wait(now - 30 * DAY).is_some());
    }

    #[tokio::test]
    async fn an_expired_agent_with_a_token_gets_its_own_id_back() {
        let site = Arc::new(Site::new());
        let gateway = Gateway::start(site.clone(), 1).await;
        let gateways = vec![gateway.url.parse().unwrap()];
        let identity = site.identity(1, 1);
        let expired = site.issue_at(
            &identity.request().unwrap(),
            identity.facts.group,
            identity.facts.agent,
            SystemTime::now() - DAY,
        );
        identity.renew(&expired).unwrap();
        let (told, mut renewed) = mpsc::channel(1);
        let tls = |shown| GatewayTls::new(identity.gateways.clone(), None, shown, ALPN).unwrap();
        let cloud = Cloud::new(gateways.clone(), Arc::new(Direct), tls(Some(identity.shown.clone())));
        let renewal = Renewal::new(identity.clone(), cloud, told);
        let plan = renewal.plan().unwrap();
        assert_eq!(plan.urgency(SystemTime::now()), Urgency::Over);
        renewal.renew().await.unwrap_err();
        assert_eq!(renewal.enrol_again().await.unwrap_err(), "no registration token is configured");
        let with = |token: &str| {
            let cloud = Cloud::new(gateways.clone(), Arc::new(Direct), tls(None));
            Some(Again { cloud, token: Token::from(token.to_owned()), name: "a".into() })
        };
        let renewal = renewal.with_token(with("old"));
        let refused = renewal.enrol_again().await.unwrap_err();
        assert!(refused.contains("token_rotated"), "{refused}");

        let renewal = renewal.with_token(with(TOKEN));
        renewal.renew_until_done(&plan).await;
        assert_eq!(renewed.try_recv(), Ok(()));
        assert!(identity.validity().unwrap().remaining(SystemTime::now()) > Duration::ZERO);
        renewal.renew().await.unwrap();
        // This gateway gives everybody a new id: that of somebody else is not taken.
        let before = identity.shown.leaf();
        let other = renewal.enrol_again().await.unwrap_err();
        assert!(other.contains("mixed up"), "{other}");
        assert_eq!(identity.shown.leaf(), before);
    }

    #[tokio::test]
    async fn a_renewal_is_shown_and_told() {
        let site = Arc::new(Site::new());
        let gateway = Gateway::start(site.clone(), 1).await;
        let identity = site.identity(1, 1);
        let before = identity.shown.leaf();
        let shown = Some(identity.shown.clone());
        let tls = GatewayTls::new(identity.gateways.clone(), None, shown, ALPN).unwrap();
        let cloud = Cloud::new(vec![gateway.url.parse().unwrap()], Arc::new(Direct), tls);
        let (told, mut renewed) = mpsc::channel(1);
        let renewal = Renewal::new(identity.clone(), cloud, told);
        renewal.renew().await.unwrap();
        renewal.renew().await.unwrap();
        assert_eq!(gateway.renewed(), 2);
        assert_ne!(identity.shown.leaf(), before);
        assert_eq!(renewed.try_recv(), Ok(()));
    }
}
