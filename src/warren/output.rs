//! Data on stdout in the format that was asked for; talk on stderr.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use anyhow::Context;
use serde::Serialize;

use crate::exit::{Exit, Failure};

mod page;

pub(crate) use page::Page;

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people: tables and aligned fields
    #[default]
    Table,
    /// One JSON value
    Json,
    /// One YAML document
    Yaml,
}

/// Something that a command prints: as it serializes, or as a page for people.
pub(crate) trait View: Serialize {
    fn page(&self, page: &mut Page);
}

/// Something of which a command prints many, one line each.
pub(crate) trait Row: Serialize {
    const COLUMNS: &'static [&'static str];
    fn cells(&self) -> Vec<String>;
}

/// Many of a kind: a JSON array, or a table.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct List<T>(pub(crate) Vec<T>);

impl<T: Row> View for List<T> {
    fn page(&self, page: &mut Page) {
        page.table(T::COLUMNS, self.0.iter().map(Row::cells));
    }
}

impl<T> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

impl Format {
    /// Prints `view` on stdout.
    pub(crate) fn show<V: View>(self, view: &V) -> anyhow::Result<()> {
        match self {
            Self::Table => {
                let mut page = Page::new(io::stdout().is_terminal());
                view.page(&mut page);
                print(&page.finish())
            }
            Self::Json | Self::Yaml => self.data(view),
        }
    }

    /// For acts that have little to show: one value for programs, a sentence on stderr for people.
    pub(crate) fn done<V: Serialize>(self, value: &V, sentence: impl fmt::Display) -> anyhow::Result<()> {
        match self {
            Self::Table => {
                talk(sentence);
                Ok(())
            }
            Self::Json | Self::Yaml => self.data(value),
        }
    }

    fn data<V: Serialize>(self, value: &V) -> anyhow::Result<()> {
        let text = match self {
            Self::Yaml => serde_saphyr::to_string(value).context("cannot write the answer as YAML")?,
            Self::Table | Self::Json => {
                serde_json::to_string_pretty(value).context("cannot write the answer as JSON")?
            }
        };
        print(&text)
    }
}

/// Writes `text` to stdout, with a line end if it has none. A reader that went away is no failure.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let written = out.write_all(text.as_bytes()).and_then(|()| out.write_all(end.as_bytes()));
    written.and_then(|()| out.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::new(Exit::Done, "nobody reads stdout").into(),
        _ => anyhow::Error::new(error).context("cannot write to stdout"),
    })
}

/// Tells people something beside the data. Nobody listening is no failure.
pub(crate) fn talk(sentence: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{sentence}");
}

/// Asks back on a terminal; `unasked` is the answer of a script, which cannot be asked.
pub(crate) fn confirmed(question: impl fmt::Display, unasked: bool) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(unasked);
    }
    talk(question);
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "yes" | "y"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Item {
        name: &'static str,
    }

    impl Row for Item {
        const COLUMNS: &'static [&'static str] = &["NAME"];
        fn cells(&self) -> Vec<String> {
            vec![self.name.into()]
        }
    }

    #[test]
    fn a_list_is_an_array_for_programs_and_a_table_for_people() {
        let list = List(vec![Item { name: "db" }]);
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"[{"name":"db"}]"#);
        let mut page = Page::new(false);
        list.page(&mut page);
        assert_eq!(page.finish(), "NAME\ndb\n");
    }
}
