//! `warren config edit`

use std::{env, io::Write, path::Path, process::Stdio};

use anyhow::Context;
use tokio::process::Command;

use super::{document, get, set};
use crate::{
    client::Api,
    exit::Failure,
    output::{Format, talk},
};

/// Opens the current document in the editor and sends what comes back, unless the group has changed meanwhile.
pub(super) async fn run(api: &Api, group: String, format: Format) -> anyhow::Result<()> {
    let current = get(api, &group, None).await?;
    let mut file = tempfile::Builder::new()
        .prefix(&format!("warren-{group}-"))
        .suffix(".yaml")
        .tempfile()
        .context("cannot make a file to edit")?;
    file.write_all(current.document.as_bytes()).context("cannot write the file to edit")?;
    open_editor(file.path()).await?;
    let text = document::read(file.path())?;
    if text == current.document {
        talk("nothing was changed");
        return Ok(());
    }
    let outcome = match document::check(&group, &text) {
        Ok(_) => set(api, group, text, Some(current.revision), format).await,
        Err(mistakes) => Err(mistakes.into()),
    };
    // Work must not be lost to a mistake in it, or to somebody who was faster.
    if outcome.is_err()
        && let Ok((_, path)) = file.keep()
    {
        talk(format_args!("what you wrote is kept in {}", path.display()));
    }
    outcome
}

async fn open_editor(path: &Path) -> anyhow::Result<()> {
    let editor =
        ["VISUAL", "EDITOR"].into_iter().find_map(|name| env::var(name).ok().filter(|text| !text.is_empty()));
    let editor = editor.unwrap_or_else(|| "vi".into());
    // Through the shell, because people put arguments into the variable.
    let status = Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "sh"])
        .arg(path)
        .stdin(Stdio::inherit())
        .status()
        .await
        .with_context(|| format!("cannot run the editor `{editor}`"))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::usage(format!("the editor `{editor}` ended with {status}, nothing was changed")).into())
    }
}
