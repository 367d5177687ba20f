//! Keeps the README's tables equal to the code. `UPDATE=1 cargo test -p warren readme` writes them anew.

use std::{env, fs, path::Path};

use clap::{Command, CommandFactory};
use warren_core::catalogue::Kind;

use crate::{cli::Cli, metrics};

#[test]
fn the_tables_of_the_readme_are_those_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let found = fs::read_to_string(&path).unwrap();
    let mut wanted = found.clone();
    for name in ["gateway", "agent"] {
        let command = Cli::command();
        let command = command.find_subcommand(name).unwrap();
        wanted = replace(&wanted, &format!("flags of warren {name}"), &flags(command, None));
    }
    let command = Cli::command();
    let agent = command.find_subcommand("agent").unwrap();
    let install = agent.find_subcommand("install").unwrap();
    wanted = replace(&wanted, "flags of warren agent install", &flags(install, Some(agent)));
    wanted = replace(&wanted, "metrics", &catalogue());
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, wanted).unwrap();
    } else {
        assert!(found == wanted, "README.md is behind the code: UPDATE=1 cargo test -p warren readme");
    }
}

/// Puts `table` between the two comments that name it.
fn replace(text: &str, name: &str, table: &str) -> String {
    let (before, _, after) = split(text, name);
    format!("{before}{table}{after}")
}

/// What stands between the two comments that name it.
pub(crate) fn between(text: &str, name: &str) -> String {
    split(text, name).1.to_owned()
}

/// The text up to and with the first comment, what it introduces, and the rest from the second comment on.
fn split<'a>(text: &'a str, name: &str) -> (&'a str, &'a str, &'a str) {
    let place = |comment: &str| text.find(comment).unwrap_or_else(|| panic!("the page has no `{comment}`"));
    let begin = format!("<!-- begin: {name} -->\n");
    let (begin, end) = (place(&begin) + begin.len(), place(&format!("<!-- end: {name} -->")));
    (&text[..begin], &text[begin..end], &text[end..])
}

/// The flags of a command that another one, whose table stands above, does not have.
fn flags(command: &Command, above: Option<&Command>) -> String {
    let mut table = String::from("| flag | environment | what |\n|---|---|---|\n");
    let told = |long: &str| {
        above.is_some_and(|above| above.get_arguments().any(|argument| argument.get_long() == Some(long)))
    };
    for argument in
        command.get_arguments().filter(|argument| !argument.is_hide_set() && !argument.is_global_set())
    {
        let Some(long) = argument.get_long().filter(|long| !told(long)) else { continue };
        let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
        let value = value.map(|names| format!(" {}", names[0])).unwrap_or_default();
        let environment = argument.get_env().map(|name| format!("`{}`", name.display())).unwrap_or_default();
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let row = format!("| `--{long}{value}` | {environment} | {help} |\n");
        table.push_str(&escape_bars(&row));
    }
    table
}

/// A bar inside a code span would end the cell.
fn escape_bars(row: &str) -> String {
    row.replace("TOKEN|@FILE", "TOKEN\\|@FILE")
}

fn catalogue() -> String {
    let mut table = String::from("| metric | kind | labels | what |\n|---|---|---|---|\n");
    for metric in metrics::all() {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        table.push_str(&format!(
            "| `{}` | {kind} | {} | {} |\n",
            metric.name,
            metric.labels.join(", "),
            metric.help
        ));
    }
    table
}
