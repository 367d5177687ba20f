//! What the process is told from outside: drain, stop, read the file again.

use std::io;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix::{Ends, Hangups};
#[cfg(windows)]
pub(crate) use windows::told_by_service;
#[cfg(windows)]
use windows::{Ends, Hangups};

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Leave nothing half done; asked for again it is [`End::AtOnce`].
    Drained,
    #[cfg_attr(unix, expect(dead_code, reason = "no signal asks for it at first"))]
    AtOnce,
}

/// Signals as the servers take them. The first SIGTERM or SIGINT drains, the second stops at once; on Windows Ctrl-C and
/// Ctrl-Break do.
#[derive(Debug)]
pub(crate) struct Signals {
    pub(crate) drain: CancellationToken,
    pub(crate) stop: CancellationToken,
    /// One for each SIGHUP, which Windows does not have; those that come while one waits are the same wish.
    pub(crate) reload: mpsc::Receiver<()>,
}

impl Signals {
    /// Takes the signals over from here on; needs the runtime.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let (ends, hangups) = (Ends::listen()?, Hangups::listen()?);
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let (sender, reload) = mpsc::channel(1);
        tokio::spawn(end(ends, drain.clone(), stop.clone()));
        tokio::spawn(pass_on(hangups, sender));
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

async fn end(mut ends: Ends, drain: CancellationToken, stop: CancellationToken) {
    if ends.next().await == End::Drained {
        tracing::info!("draining, a second signal stops at once");
        drain.cancel();
        ends.next().await;
    }
    tracing::info!("stopping at once");
    drain.cancel();
    stop.cancel();
}

async fn pass_on(mut hangups: Hangups, sender: mpsc::Sender<()>) {
    while hangups.next().await.is_some() {
        // Full means that a reload is about to happen anyway.
        let _ = sender.try_send(());
    }
}
