//! `warren config diff`

use std::str::FromStr;

use super::{DiffArgs, document, get};
use crate::{
    client::ApiArgs,
    exit::Failure,
    output::{Format, talk},
    views::ConfigDiff,
};

/// Two revisions; absent ends mean the one before, and the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    from: Option<u64>,
    to: Option<u64>,
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no range of revisions, expected such as 3..7, 3.. or ..7");
        let (from, to) = text.split_once("..").ok_or_else(wrong)?;
        let end = |text: &str| match text {
            "" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| wrong()),
        };
        Ok(Self { from: end(from)?, to: end(to)? })
    }
}

pub(super) async fn run(api: &ApiArgs, args: DiffArgs, format: Format) -> anyhow::Result<()> {
    let group = &args.of.group;
    let (from, to, diff) = if let Some(file) = &args.file {
        let origin = document::name_of(file);
        let wanted = document::check(&origin, &document::read(file)?)?;
        let current = get(&api.connect().await?, group, None).await?;
        let diff = document::check("the group's config", &current.document)?.diff(&wanted);
        (current.revision.to_string(), origin, diff)
    } else {
        let range = args.range.unwrap_or(Range { from: None, to: None });
        let api = api.connect().await?;
        let newer = get(&api, group, range.to).await?;
        let from = range.from.or(newer.revision.checked_sub(1));
        let from = from.ok_or_else(|| Failure::usage("revision 0 has none before it"))?;
        // Before its first change a group has nothing, and no entry in its history that says so.
        let older = match from {
            0 => String::new(),
            from => get(&api, group, Some(from)).await?.document,
        };
        let config = |document: &str| document::check("the group's config", document);
        let diff = config(&older)?.diff(&config(&newer.document)?);
        (from.to_string(), newer.revision.to_string(), diff)
    };
    if diff.is_empty() && format == Format::Table {
        talk(format_args!("nothing differs between {from} and {to}"));
    }
    format.show(&ConfigDiff { from, to, diff })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_may_be_open() {
        assert_eq!("3..7".parse(), Ok(Range { from: Some(3), to: Some(7) }));
        assert_eq!("3..".parse(), Ok(Range { from: Some(3), to: None }));
        assert_eq!("..7".parse(), Ok(Range { from: None, to: Some(7) }));
        for wrong in ["3", "a..b", "3..7..9", "-1.."] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }
}
