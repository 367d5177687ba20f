//! What the process is told from outside: drain, stop, read the file again.

use std::io;

use anyhow::Context;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// Signals as the servers take them. The first SIGTERM or SIGINT drains, the second stops at once.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) drain: CancellationToken,
    pub(crate) stop: CancellationToken,
    /// One for each SIGHUP; those that come while one waits are the same wish.
    pub(crate) reload: mpsc::Receiver<()>,
}

impl Signals {
    /// Takes the signals over from here on; needs the runtime.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let take = |kind| signal(kind).context("cannot listen for signals");
        let (terminate, interrupt) = (take(SignalKind::terminate())?, take(SignalKind::interrupt())?);
        let hangup = take(SignalKind::hangup())?;
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let (sender, reload) = mpsc::channel(1);
        tokio::spawn(end(terminate, interrupt, drain.clone(), stop.clone()));
        tokio::spawn(pass_on(hangup, sender));
        Ok(Self { drain, stop, reload })
    }

    /// Stops at once when stdin ends, as it does when the parent that holds its other end is gone.
    pub(crate) fn stop_with_stdin(&self) {
        let (drain, stop) = (self.drain.clone(), self.stop.clone());
        // A thread, because a blocking read among the runtime's would hold up its end.
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            drain.cancel();
            stop.cancel();
        });
    }
}

async fn end(
    mut terminate: Signal,
    mut interrupt: Signal,
    drain: CancellationToken,
    stop: CancellationToken,
) {
    for (token, told) in [(drain, "draining, a second signal stops at once"), (stop, "stopping at once")] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("{told}");
        token.cancel();
    }
}

async fn pass_on(mut hangup: Signal, sender: mpsc::Sender<()>) {
    while hangup.recv().await.is_some() {
        // Full means that a reload is about to happen anyway.
        let _ = sender.try_send(());
    }
}
