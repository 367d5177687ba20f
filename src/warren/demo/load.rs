//! Callers by the dozen: a given number of short sessions, or a steady crowd until it is dismissed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    caller::{self, EchoSession},
    ledger::Ledger,
};

/// Callers at once; the bound on what the demo asks of the machine.
const CALLERS: u32 = 24;
/// Callers of the crowd that stay on one session for as long as it lives.
const STAYERS: u32 = 24;
/// Of so many short sessions, one fetches the page.
const WEB_SHARE: u32 = 4;
const ROUND_TRIPS: u32 = 3;
/// Between two messages of a session.
const THINK: Duration = Duration::from_millis(15);
/// Between two sessions of a caller in the crowd.
const REST: Duration = Duration::from_millis(150);
/// After a failure, so that a failing system is not hammered.
const SULK: Duration = Duration::from_millis(50);

/// Where callers go, and where they tell how it went.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) echo: String,
    pub(super) web: String,
    pub(super) ledger: Arc<Ledger>,
}

/// Callers that go on until they are dismissed.
#[derive(Debug)]
pub(super) struct Crowd {
    dismissed: CancellationToken,
    callers: JoinSet<()>,
}

/// Drives `count` sessions, [`CALLERS`] at a time.
pub(super) async fn drive(places: &Places, count: u32) {
    let next = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (places, next) = (places.clone(), next.clone());
        callers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    break;
                }
                places.short_session(number).await;
            }
        });
    }
    while callers.join_next().await.is_some() {}
}

impl Crowd {
    /// Some callers stay on their session, others come and go.
    pub(super) fn gather(places: &Places) -> Self {
        let dismissed = CancellationToken::new();
        let mut callers = JoinSet::new();
        for _ in 0..STAYERS {
            callers.spawn(places.clone().stay(dismissed.clone()));
        }
        for number in 0..CALLERS / 2 {
            callers.spawn(places.clone().come_and_go(number, dismissed.clone()));
        }
        Self { dismissed, callers }
    }

    /// Lets every caller finish what it is at.
    pub(super) async fn dismiss(mut self) {
        self.dismissed.cancel();
        while self.callers.join_next().await.is_some() {}
    }
}

impl Places {
    /// Opens a session and uses it a little. True when all went well.
    async fn short_session(&self, number: u32) -> bool {
        let began = Instant::now();
        if number.is_multiple_of(WEB_SHARE) {
            return match caller::fetch(&self.web).await {
                Ok(()) => {
                    self.ledger.opened();
                    true
                }
                Err(failed) => {
                    self.ledger.failed(began, failed, false);
                    false
                }
            };
        }
        let Some(mut session) = self.open(began).await else { return false };
        for _ in 1..ROUND_TRIPS {
            sleep(THINK).await;
            if let Err(failed) = session.say().await {
                self.ledger.failed(began, failed, true);
                return false;
            }
        }
        true
    }

    /// Opens an echo session and notes how that went.
    pub(super) async fn open(&self, began: Instant) -> Option<EchoSession> {
        match EchoSession::open(&self.echo).await {
            Ok(session) => {
                self.ledger.opened();
                Some(session)
            }
            Err(failed) => {
                self.ledger.failed(began, failed, false);
                None
            }
        }
    }

    async fn stay(self, dismissed: CancellationToken) {
        while !dismissed.is_cancelled() {
            let began = Instant::now();
            if let Some(mut session) = self.open(began).await {
                let lost = loop {
                    sleep(THINK * 2).await;
                    if dismissed.is_cancelled() {
                        return;
                    }
                    if let Err(failed) = session.say().await {
                        break failed;
                    }
                };
                self.ledger.failed(began, lost, true);
            }
            sleep(SULK).await;
        }
    }

    async fn come_and_go(self, first: u32, dismissed: CancellationToken) {
        let mut number = first;
        while !dismissed.is_cancelled() {
            if !self.short_session(number).await {
                sleep(SULK).await;
            }
            number += 1;
            sleep(REST).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{ledger::Totals, targets::Targets};

    #[tokio::test]
    async fn exactly_as_many_sessions_as_asked_are_driven() {
        let targets = Targets::start().await.unwrap();
        let ledger = Arc::new(Ledger::default());
        let places =
            Places { echo: targets.echo.to_string(), web: targets.web.to_string(), ledger: ledger.clone() };
        drive(&places, 50).await;
        assert_eq!(ledger.totals(None), Totals { opened: 50, ..Totals::default() });
        let crowd = Crowd::gather(&places);
        crowd.dismiss().await;
        assert_eq!(ledger.totals(None).failed_open, 0);
    }
}
