//! SIGTERM, SIGINT and SIGHUP.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::End;

pub(super) struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }

    pub(super) async fn next(&mut self) -> End {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        End::Drained
    }
}

pub(super) struct Hangups(Signal);

impl Hangups {
    pub(super) fn listen() -> anyhow::Result<Self> {
        take(SignalKind::hangup()).map(Self)
    }

    pub(super) async fn next(&mut self) -> Option<()> {
        self.0.recv().await
    }
}

fn take(kind: SignalKind) -> anyhow::Result<Signal> {
    signal(kind).context("cannot listen for signals")
}
