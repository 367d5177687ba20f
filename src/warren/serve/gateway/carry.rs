//! A whole store, out of one place and into another.

use std::{
    io::{self, Read, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use serde::Serialize;
use warren_gateway::{
    config::StoreLocation,
    store::{Counts, SqlStore, Store, Whole},
};
use warren_identity::keyfile;

use crate::{
    exit::Failure,
    output::{Format, talk},
};

/// Stands for stdin and stdout.
const STREAM: &str = "-";

#[derive(Debug, Serialize)]
struct Carried {
    store: String,
    file: String,
    rows: Counts,
}

pub(super) async fn export(location: &StoreLocation, file: &Path, format: Format) -> anyhow::Result<()> {
    let store = SqlStore::open_as_it_is(location).await?;
    let whole = store.export().await?;
    store.close().await;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let text = whole.to_text(now_s);
    let carried = Carried::new(location, file, &whole);
    let sentence = carried.sentence("exported from");
    if file == Path::new(STREAM) {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to stdout")?;
        talk(sentence);
        return Ok(());
    }
    // Whole or not at all, and for its owner only: it has all that the store has.
    keyfile::write_private(file, text.as_bytes()).context("cannot write the export")?;
    talk(format_args!("{sentence}; its secrets stay sealed: keep the operator key, apart from it"));
    carried.show(format)
}

pub(super) async fn import(location: &StoreLocation, file: &Path, format: Format) -> anyhow::Result<()> {
    let text = read(file)?;
    let whole = Whole::from_text(&text)
        .map_err(|error| Failure::usage(format_args!("`{}` {error}", file.display())))?;
    let store = SqlStore::open(location).await?;
    store.import(&whole).await?;
    store.close().await;
    let carried = Carried::new(location, file, &whole);
    let sentence = carried.sentence("imported into");
    talk(format_args!(
        "{sentence}; start gateways on it with the operator key of the store that it came from"
    ));
    carried.show(format)
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new(STREAM) {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).context("cannot read stdin")?;
        return Ok(text);
    }
    let read = std::fs::read_to_string(file);
    read.map_err(|error| {
        Failure::usage(format_args!("cannot read `{}`", file.display())).because(error).into()
    })
}

impl Carried {
    fn new(location: &StoreLocation, file: &Path, whole: &Whole) -> Self {
        Self { store: location.to_string(), file: file.display().to_string(), rows: whole.counts() }
    }

    fn sentence(&self, done: &str) -> String {
        let count = |table: &str| self.rows.get(table).copied().unwrap_or_default();
        let rows: usize = self.rows.values().sum();
        format!(
            "{rows} rows {done} {}, among them {} groups, {} agents, {} users",
            self.store,
            count("groups"),
            count("agents"),
            count("users")
        )
    }

    /// The sentence was told already.
    fn show(&self, format: Format) -> anyhow::Result<()> {
        match format {
            Format::Table => Ok(()),
            Format::Json | Format::Yaml => format.done(self, ""),
        }
    }
}
