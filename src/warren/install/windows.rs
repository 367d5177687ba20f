//! Windows: the same words are understood, and refused with what to do instead.

use crate::{exit::Failure, output::Format};

mod flags;

pub(crate) use flags::ServiceVerb;

/// Nothing is hidden: on Windows only the same user and administrators see another program's command line.
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn hide_secrets() -> anyhow::Result<()> {
    Ok(())
}

#[expect(clippy::unused_async, reason = "elsewhere it waits")]
pub(crate) async fn run(_verb: ServiceVerb, _format: Format) -> anyhow::Result<()> {
    let told = "no service is made on Windows: have what starts programs there run `warren agent` with the same flags";
    Err(Failure::unreachable(told).into())
}
