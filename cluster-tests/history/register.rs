//! The model: a document under a revision that grows by one with each write.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    Document, Entry, LOOK_BACK, Op, Outcome, Revision,
    linearize::{Call, linearize},
};

/// What a sound history came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sound {
    pub last: Revision,
    pub written: usize,
    pub stale: usize,
    pub refused: usize,
    pub unknown: usize,
    /// Of the unknown ones, how many have a place in the order.
    pub unknown_made: usize,
    pub seen: usize,
    /// The most revisions that a read was behind what had been acknowledged before it began.
    pub behind_max: u64,
}

/// Why a history cannot be the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsound(pub String);

impl fmt::Display for Unsound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Judges a history that began with `document` at `revision`.
pub(super) fn check(revision: Revision, document: Document, entries: &[Entry]) -> Result<Sound, Unsound> {
    let calls = calls(document, entries)?;
    let known = known(revision, document, entries)?;
    let order = linearize((revision, document), &calls, |state, entry| step(&known, *state, entry));
    let order = order.map_err(|stuck| {
        let (at, holds) = stuck.state;
        let (placed, call) = (stuck.order.len(), calls[stuck.call].op);
        let verdict = if stuck.gave_up { "no order was found in good time that explains" } else { "no order of all calls explains" };
        Unsound(format!(
            "{verdict} this answer: {call:?}; the longest one places {placed} calls and then is at revision {at} with \
             document {holds}"
        ))
    })?;
    let count = |fits: fn(&Outcome) -> bool| entries.iter().filter(|entry| fits(&entry.outcome)).count();
    let made = order.iter().filter_map(|&call| step_of(&calls[call].op));
    Ok(Sound {
        last: made.clone().fold(revision, |last, _| last + 1),
        written: count(|outcome| matches!(outcome, Outcome::Written { .. })),
        stale: count(|outcome| matches!(outcome, Outcome::Stale { .. })),
        refused: count(|outcome| matches!(outcome, Outcome::Refused)),
        unknown: count(|outcome| matches!(outcome, Outcome::Unknown)),
        unknown_made: made.filter(|outcome| matches!(outcome, Outcome::Unknown)).count(),
        seen: count(|outcome| matches!(outcome, Outcome::Seen { .. })),
        behind_max: behind_max(revision, entries),
    })
}

/// The outcome of a call that changed the object.
fn step_of(entry: &Entry) -> Option<Outcome> {
    matches!(entry.outcome, Outcome::Written { .. } | Outcome::Unknown).then_some(entry.outcome)
}

/// What revisions are, as far as somebody was told: each is one document for ever.
fn known(
    revision: Revision,
    document: Document,
    entries: &[Entry],
) -> Result<BTreeMap<Revision, Document>, Unsound> {
    let mut known = BTreeMap::from([(revision, document)]);
    for entry in entries {
        let ((Op::Write { document, .. }, Outcome::Written { revision })
        | (_, Outcome::Seen { revision, document })) = (entry.op, entry.outcome)
        else {
            continue;
        };
        let other = *known.entry(revision).or_insert(document);
        if other != document {
            return Err(Unsound(format!(
                "revision {revision} is document {other} and document {document}, says {entry:?}"
            )));
        }
    }
    Ok(known)
}

fn step(
    known: &BTreeMap<Revision, Document>,
    state: (Revision, Document),
    entry: &Entry,
) -> Option<(Revision, Document)> {
    let (revision, _) = state;
    match (entry.op, entry.outcome) {
        (Op::Write { expected, document }, Outcome::Written { revision: made }) => {
            let fits = expected.is_none_or(|expected| expected == revision) && made == revision + 1;
            fits.then_some((made, document))
        }
        // One that would not have been made needs no place. What is known of the revision that it would make spares the
        // search most of the ways it could go.
        (Op::Write { expected, document }, Outcome::Unknown) => {
            let fits = expected.is_none_or(|expected| expected == revision)
                && known.get(&(revision + 1)).is_none_or(|known| *known == document);
            fits.then_some((revision + 1, document))
        }
        (Op::Write { expected: Some(expected), .. }, Outcome::Stale { actual }) => {
            (expected != revision && actual == revision).then_some(state)
        }
        (Op::Read, Outcome::Seen { revision, document }) => (state == (revision, document)).then_some(state),
        _ => None,
    }
}

/// What needs a place. A read may be old: it may have its place at any time since its document was written.
fn calls(initial: Document, entries: &[Entry]) -> Result<Vec<Call<Entry>>, Unsound> {
    let mut written = BTreeMap::from([(initial, Duration::ZERO)]);
    for entry in entries {
        if let Op::Write { document, .. } = entry.op
            && written.insert(document, entry.invoked).is_some()
        {
            return Err(Unsound(format!("document {document} was written by two calls: {entry:?}")));
        }
    }
    let mut calls = Vec::new();
    // Of those that saw the same, the first to return says it all.
    let mut seen: BTreeMap<(Revision, Document), Entry> = BTreeMap::new();
    for entry in entries {
        let call = |returned| Call { op: *entry, invoked: micros(entry.invoked), returned };
        match entry.outcome {
            Outcome::Written { .. } | Outcome::Stale { .. } => calls.push(call(Some(micros(entry.returned)))),
            Outcome::Unknown => calls.push(call(None)),
            Outcome::Seen { revision, document } => {
                let first = seen.entry((revision, document)).or_insert(*entry);
                if entry.returned < first.returned {
                    *first = *entry;
                }
            }
            Outcome::Refused | Outcome::Unseen => {}
        }
    }
    for ((_, document), entry) in seen {
        let since = written.get(&document).copied();
        let invoked = since
            .filter(|since| *since <= entry.returned)
            .ok_or_else(|| Unsound(format!("a read saw a document that nobody had written: {entry:?}")))?;
        calls.push(Call { op: entry, invoked: micros(invoked), returned: Some(micros(entry.returned)) });
    }
    Ok(calls)
}

fn behind_max(initial: Revision, entries: &[Entry]) -> u64 {
    let mut acknowledged: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry.outcome {
            Outcome::Written { revision } => Some((entry.returned, revision)),
            _ => None,
        })
        .collect();
    acknowledged.sort_unstable();
    let mut newest = initial;
    for (_, revision) in &mut acknowledged {
        newest = newest.max(*revision);
        *revision = newest;
    }
    let before = |moment: Duration| {
        let count = acknowledged.partition_point(|(returned, _)| *returned < moment);
        count.checked_sub(1).map_or(initial, |last| acknowledged[last].1)
    };
    let behind = entries.iter().filter_map(|entry| match entry.outcome {
        Outcome::Seen { revision, .. } if entry.client != LOOK_BACK => {
            Some(before(entry.invoked).saturating_sub(revision))
        }
        _ => None,
    });
    behind.max().unwrap_or(0)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
