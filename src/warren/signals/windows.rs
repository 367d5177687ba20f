//! What a console tells its programs, and the service manager its service. Nothing there says "read the file again".

use std::sync::LazyLock;

use anyhow::Context;
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

use tokio_util::sync::CancellationToken;

use super::End;

/// What the service manager said, on a thread of its own.
static DRAIN: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);
static STOP: LazyLock<CancellationToken> = LazyLock::new(CancellationToken::new);

/// The service manager wants an end; also before anybody listens.
pub(crate) fn told_by_service(end: End) {
    match end {
        End::Drained => DRAIN.cancel(),
        End::AtOnce => STOP.cancel(),
    }
}

pub(super) struct Ends {
    interrupt: CtrlC,
    quit: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
    /// The service manager's wish to drain was passed on; it stands for ever.
    drains: bool,
}

impl Ends {
    pub(super) fn listen() -> anyhow::Result<Self> {
        const FAILED: &str = "cannot listen for what the console tells";
        Ok(Self {
            interrupt: ctrl_c().context(FAILED)?,
            quit: ctrl_break().context(FAILED)?,
            close: ctrl_close().context(FAILED)?,
            shutdown: ctrl_shutdown().context(FAILED)?,
            drains: false,
        })
    }

    /// Windows ends a program some seconds after its console was closed or the machine goes down, which no drain outlasts.
    pub(super) async fn next(&mut self) -> End {
        tokio::select! {
            _ = self.interrupt.recv() => End::Drained,
            _ = self.quit.recv() => End::Drained,
            _ = self.close.recv() => End::AtOnce,
            _ = self.shutdown.recv() => End::AtOnce,
            () = STOP.cancelled() => End::AtOnce,
            () = DRAIN.cancelled(), if !self.drains => {
                self.drains = true;
                End::Drained
            }
        }
    }
}

pub(super) struct Hangups;

impl Hangups {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
    pub(super) fn listen() -> anyhow::Result<Self> {
        Ok(Self)
    }

    #[expect(clippy::unused_async, reason = "elsewhere it waits")]
    pub(super) async fn next(&mut self) -> Option<()> {
        None
    }
}
