//! Config documents as people hand them over.

use std::{
    fs,
    io::{Read, stdin},
    path::Path,
};

use serde_json::Value;
use warren_core::{
    config::GroupConfig,
    fields::{ConfigError, parse_yaml},
};

use crate::exit::Failure;

/// The largest document that is read, in bytes; the gateway takes no larger one either.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The text of a file, or of stdin for `-`.
pub(super) fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(stdin())
    } else {
        let unreadable = || Failure::usage(format!("cannot read `{}`", path.display()));
        Box::new(fs::File::open(path).map_err(|error| unreadable().because(error))?)
    };
    source
        .take(BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("cannot read {}", name_of(path))).because(error))?;
    if text.len() as u64 > BYTES_MAX {
        return Err(Failure::usage(format!("`{}` is larger than {BYTES_MAX} bytes", path.display())).into());
    }
    Ok(text)
}

/// What a file is called in messages.
pub(super) fn name_of(path: &Path) -> String {
    if path == Path::new("-") { "stdin".into() } else { path.display().to_string() }
}

/// The config that a document means; otherwise all of its mistakes.
pub(super) fn check(origin: &str, text: &str) -> Result<GroupConfig, ConfigError> {
    GroupConfig::parse(origin, text)
}

/// A document's content for programs.
pub(super) fn tree(text: &str) -> Result<Value, ConfigError> {
    parse_yaml("the group's config", text)
}
