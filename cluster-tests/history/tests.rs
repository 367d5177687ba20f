//! Histories made by hand, good ones and each kind of bad one, and the search against trying every order.

use super::*;
use crate::load::Random;

/// `invoked ..= returned` in milliseconds.
fn entry(invoked: u64, returned: u64, op: Op, outcome: Outcome) -> Entry {
    let (invoked, returned) = (Duration::from_millis(invoked), Duration::from_millis(returned));
    Entry { client: 0, op, outcome, invoked, returned }
}

fn write(expected: Option<Revision>, document: Document) -> Op {
    Op::Write { expected, document }
}

fn written(revision: Revision) -> Outcome {
    Outcome::Written { revision }
}

fn seen(revision: Revision, document: Document) -> Outcome {
    Outcome::Seen { revision, document }
}

/// Begins with document 0 at revision 0.
fn sound(entries: &[Entry]) -> Sound {
    check(0, 0, entries).unwrap()
}

fn unsound(entries: &[Entry]) -> String {
    check(0, 0, entries).unwrap_err().to_string()
}

#[test]
fn one_after_the_other_is_sound() {
    let told = sound(&[
        entry(0, 1, write(Some(0), 1), written(1)),
        entry(2, 3, Op::Read, seen(1, 1)),
        entry(4, 5, write(Some(0), 2), Outcome::Stale { actual: 1 }),
        entry(6, 7, write(None, 3), written(2)),
        entry(8, 9, write(Some(2), 4), Outcome::Refused),
    ]);
    assert_eq!((told.last, told.written, told.stale, told.refused, told.behind_max), (2, 2, 1, 1, 0));
}

#[test]
fn concurrent_writes_may_come_in_any_order() {
    sound(&[
        entry(0, 9, write(None, 1), written(2)),
        entry(0, 9, write(None, 2), written(1)),
        entry(1, 8, write(Some(0), 3), Outcome::Stale { actual: 1 }),
    ]);
}

#[test]
fn a_lost_acknowledgement_shows() {
    let lost = [
        entry(0, 1, write(Some(0), 1), written(1)),
        // The group forgot it: the next write makes the same revision.
        entry(2, 3, write(Some(0), 2), written(1)),
    ];
    assert!(unsound(&lost).contains("document: 2"), "{}", unsound(&lost));
    let forgotten = [
        entry(0, 1, write(Some(0), 1), written(1)),
        entry(2, 3, write(Some(7), 2), Outcome::Stale { actual: 0 }),
    ];
    unsound(&forgotten);
}

#[test]
fn an_old_read_is_told_and_a_read_of_the_future_shows() {
    let old = sound(&[
        entry(0, 1, write(None, 1), written(1)),
        entry(2, 3, write(None, 2), written(2)),
        entry(4, 5, Op::Read, seen(1, 1)),
        entry(6, 7, Op::Read, seen(0, 0)),
    ]);
    assert_eq!(old.behind_max, 2);
    let future = [entry(0, 1, Op::Read, seen(1, 1)), entry(2, 3, write(None, 1), written(1))];
    assert!(unsound(&future).contains("nobody had written"));
    // It was not decided yet when it was seen: what is before it in the order had not been asked for.
    let undecided = [
        entry(0, 9, write(None, 2), written(2)),
        entry(1, 2, Op::Read, seen(2, 2)),
        entry(3, 4, write(None, 1), written(1)),
    ];
    unsound(&undecided);
}

#[test]
fn a_stale_decision_shows() {
    // Refused for the sake of a revision that was current before another write was acknowledged.
    unsound(&[
        entry(0, 1, write(None, 1), written(1)),
        entry(2, 3, write(None, 2), written(2)),
        entry(4, 5, write(Some(9), 3), Outcome::Stale { actual: 1 }),
    ]);
    // Made on top of a revision that was gone.
    unsound(&[entry(0, 1, write(None, 1), written(1)), entry(2, 3, write(Some(0), 2), written(2))]);
}

#[test]
fn a_write_made_twice_shows() {
    // It was asked for once and is there at two revisions, and nobody else has written.
    unsound(&[
        entry(0, 1, write(None, 1), written(1)),
        entry(2, 3, Op::Read, seen(1, 1)),
        entry(4, 5, Op::Read, seen(2, 1)),
    ]);
    unsound(&[entry(0, 1, write(None, 1), written(1)), entry(2, 3, write(None, 2), written(3))]);
    // Made, its answer lost, and asked for again under its name: told stale by what it has made itself.
    unsound(&[
        entry(0, 1, write(Some(0), 1), Outcome::Stale { actual: 1 }),
        entry(2, 3, Op::Read, seen(1, 1)),
    ]);
}

#[test]
fn a_refused_write_that_is_seen_shows() {
    unsound(&[entry(0, 1, write(Some(0), 1), Outcome::Refused), entry(2, 3, Op::Read, seen(1, 1))]);
}

#[test]
fn an_unknown_write_may_be_made_late_or_never_and_only_once() {
    let unknown = entry(0, 1, write(Some(0), 1), Outcome::Unknown);
    let never = sound(&[unknown, entry(5, 6, write(Some(0), 2), written(1))]);
    assert_eq!((never.unknown, never.unknown_made), (1, 0));
    let late = sound(&[unknown, entry(5, 6, write(Some(1), 2), written(2))]);
    assert_eq!((late.unknown, late.unknown_made), (1, 1));
    let late = entry(5, 6, Op::Read, seen(0, 0));
    sound(&[unknown, late, entry(7, 8, Op::Read, seen(1, 1))]);
    unsound(&[unknown, entry(5, 6, write(Some(1), 2), written(2)), entry(7, 8, Op::Read, seen(3, 1))]);
    // Not before it was asked for.
    unsound(&[entry(0, 1, Op::Read, seen(1, 1)), entry(2, 3, write(Some(0), 1), Outcome::Unknown)]);
}

#[test]
fn long_histories_are_judged_in_a_moment() {
    let mut entries = Vec::new();
    for number in 0..5_000 {
        let at = number * 10;
        // Three clients at once, of whom one wins, and a write of which nobody ever hears.
        entries.push(entry(at, at + 9, write(Some(number), 3 * number + 1), written(number + 1)));
        let actual = number + number % 2;
        entries.push(entry(at, at + 9, write(Some(99_999), 3 * number + 2), Outcome::Stale { actual }));
        if number % 10 == 0 {
            entries.push(entry(at, at + 9, write(Some(number), 3 * number + 3), Outcome::Unknown));
        }
    }
    assert_eq!(sound(&entries).last, 5_000);
    entries.push(entry(60_000, 60_001, write(Some(99_999), 99_998), Outcome::Stale { actual: 4_999 }));
    unsound(&entries);
}

#[test]
fn many_writes_that_nobody_knows_of_are_no_burden() {
    let mut entries: Vec<_> =
        (1..=40).map(|document| entry(0, 1, write(None, document), Outcome::Unknown)).collect();
    for number in 0..500 {
        let at = 10 + number * 10;
        entries.push(entry(at, at + 5, write(Some(number), 100 + number), written(number + 1)));
    }
    // Two of them were made at last, one after the other.
    entries.push(entry(6_000, 6_001, Op::Read, seen(502, 7)));
    assert_eq!(sound(&entries).unknown_made, 2);
    entries.push(entry(7_000, 7_001, Op::Read, seen(501, 7)));
    unsound(&entries);
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let mut verdicts = [0; 2];
    for seed in 0..4_000 {
        let entries = any_history(&mut Random::new(seed * 1_000));
        let found = check(0, 0, &entries).is_ok();
        assert_eq!(found, any_order(&entries), "seed {seed}: {entries:#?}");
        verdicts[usize::from(found)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 400), "both verdicts are tried: {verdicts:?}");
}

/// Few calls, few revisions: right and wrong answers are about as likely.
fn any_history(random: &mut Random) -> Vec<Entry> {
    let count = 2 + random.below(4);
    let mut entries: Vec<Entry> = Vec::new();
    for document in 1..=count {
        let invoked = random.below(8);
        let op = match random.below(4) {
            0 => Op::Read,
            1 => write(None, document),
            _ => write(Some(random.below(3)), document),
        };
        let outcome = match (op, random.below(5)) {
            (Op::Read, _) => seen(random.below(3), random.below(count)),
            (_, 0) => Outcome::Unknown,
            (Op::Write { expected: Some(_), .. }, 1) => Outcome::Stale { actual: random.below(3) },
            (Op::Write { expected: Some(expected), .. }, _) => written(expected + 1),
            (Op::Write { .. }, _) => written(1 + random.below(3)),
        };
        entries.push(entry(invoked, invoked + 1 + random.below(6), op, outcome));
    }
    entries
}

/// Every order of every subset that leaves out nothing but unknown writes.
fn any_order(entries: &[Entry]) -> bool {
    fn place(entries: &[Entry], placed: &mut Vec<usize>, state: (Revision, Document)) -> bool {
        let needed = |entry: &Entry| entry.outcome != Outcome::Unknown;
        let left: Vec<usize> = (0..entries.len()).filter(|index| !placed.contains(index)).collect();
        if !left.iter().any(|&index| needed(&entries[index])) {
            return true;
        }
        left.iter().any(|&index| {
            let entry = &entries[index];
            // Whatever returned before this began has its place already. A read may be of old, so it waits for nobody.
            let waits = |other: &&usize| {
                let earlier = &entries[**other];
                needed(earlier) && entry.op != Op::Read && earlier.returned < entry.invoked
            };
            if left.iter().any(|other| waits(&other)) {
                return false;
            }
            let Some(next) = answer(state, entry) else { return false };
            placed.push(index);
            let fits = place(entries, placed, next);
            placed.pop();
            fits
        })
    }
    place(entries, &mut Vec::new(), (0, 0))
}

/// The model once more, told in another way.
fn answer((revision, document): (Revision, Document), entry: &Entry) -> Option<(Revision, Document)> {
    let Op::Write { expected, document: new } = entry.op else {
        return (entry.outcome == seen(revision, document)).then_some((revision, document));
    };
    let right = expected.is_none() || expected == Some(revision);
    match entry.outcome {
        Outcome::Stale { actual } if !right && actual == revision => Some((revision, document)),
        Outcome::Written { revision: made } if right && made == revision + 1 => Some((made, new)),
        Outcome::Unknown if right => Some((revision + 1, new)),
        _ => None,
    }
}
