//! What a console tells its programs. Nothing there says "read the file again".

use anyhow::Context;
use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

use super::End;

pub(super) struct Ends {
    interrupt: CtrlC,
    quit: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Ends {
    pub(super) fn listen() -> anyhow::Result<Self> {
        const FAILED: &str = "cannot listen for what the console tells";
        Ok(Self {
            interrupt: ctrl_c().context(FAILED)?,
            quit: ctrl_break().context(FAILED)?,
            close: ctrl_close().context(FAILED)?,
            shutdown: ctrl_shutdown().context(FAILED)?,
        })
    }

    /// Windows ends a program some seconds after its console was closed or the machine goes down, which no drain outlasts.
    pub(super) async fn next(&mut self) -> End {
        tokio::select! {
            _ = self.interrupt.recv() => End::Drained,
            _ = self.quit.recv() => End::Drained,
            _ = self.close.recv() => End::AtOnce,
            _ = self.shutdown.recv() => End::AtOnce,
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
