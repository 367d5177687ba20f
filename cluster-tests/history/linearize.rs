//! Whether concurrent calls fit one order (linearizability), by the search of Wing and Gong with Lowe's memory of dead ends.
//!
//! It walks along the history and gives a call its place when the object can answer it so; where it meets the answer of a
//! call that has no place yet, it goes back and tries another. What has been tried is a set of calls and the object's
//! state after them; coming there again on another way is of no use.
//!
//! There are crates for this: one needs a benchmark suite at run time, one forgets no dead end and recurses, one has
//! not been touched for years. The search is short, and is compared with trying every order in the tests.

use std::{collections::HashSet, hash::Hash, mem};

use crate::load::Random;

/// One call on the object.
#[derive(Debug, Clone)]
pub(super) struct Call<O> {
    pub(super) op: O,
    pub(super) invoked: u64,
    /// `None` when it may take its place at any later time, or never.
    pub(super) returned: Option<u64>,
}

/// No order fits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stuck<S> {
    /// The longest order found, as positions among the calls, and the object's state after it.
    pub(super) order: Vec<usize>,
    pub(super) state: S,
    /// The call whose answer came while it had no place in that order.
    pub(super) call: usize,
    /// Not all ways were tried.
    pub(super) gave_up: bool,
}

/// Ways that are tried at most: some 100 MB of memory.
const TRIED_MAX: usize = 1_000_000;

/// An order that explains all answers. `step` gives the state after a call that was answered so, `None` if the object
/// in this state would not answer so.
pub(super) fn linearize<S: Clone + Eq + Hash, O>(
    initial: S,
    calls: &[Call<O>],
    step: impl Fn(&S, &O) -> Option<S>,
) -> Result<Vec<usize>, Stuck<S>> {
    let mut line = Line::new(calls);
    let marks = marks(calls.len());
    let mut left = calls.iter().filter(|call| call.returned.is_some()).count();
    let (mut state, mut done) = (initial, 0_u128);
    let mut tried = HashSet::new();
    let mut order: Vec<(usize, S)> = Vec::new();
    let mut stuck: Option<Stuck<S>> = None;
    let mut at = line.first();
    while left > 0 {
        let event = line.events[at];
        let place = if at == line.first()
            && let Some(call) =
                line.front().find(|call| step(&state, &calls[*call].op).as_ref() == Some(&state))
        {
            // A call that changes nothing has its place as soon as it can: whatever order there is with a later place for
            // it, there is one with this.
            Some((call, state.clone()))
        } else if event.is_return {
            None
        } else {
            // Two sets with one fingerprint would lose a way, never make one: 128 bits make that a matter of theory.
            let next = step(&state, &calls[event.call].op)
                .filter(|next| *next != state && tried.insert((done ^ marks[event.call], next.clone())));
            let Some(next) = next else {
                at = line.next[at];
                continue;
            };
            Some((event.call, next))
        };
        if let Some((call, next)) = place {
            order.push((call, mem::replace(&mut state, next)));
            done ^= marks[call];
            left -= usize::from(calls[call].returned.is_some());
            line.lift(call);
            at = line.first();
            continue;
        }
        if stuck.as_ref().is_none_or(|stuck| stuck.order.len() < order.len()) {
            let order = order.iter().map(|(call, _)| *call).collect();
            stuck = Some(Stuck { order, state: state.clone(), call: event.call, gave_up: false });
        }
        let gave_up = tried.len() > TRIED_MAX;
        // Back to the last call that changed something.
        loop {
            let Some((call, before)) = order.pop().filter(|_| !gave_up) else {
                let here = Stuck { order: Vec::new(), state, call: event.call, gave_up };
                return Err(stuck.map_or(here, |stuck| Stuck { gave_up, ..stuck }));
            };
            let changed = before != state;
            state = before;
            done ^= marks[call];
            left += usize::from(calls[call].returned.is_some());
            line.put_back(call);
            if changed {
                at = line.next[line.invocation[call]];
                break;
            }
        }
    }
    Ok(order.into_iter().map(|(call, _)| call).collect())
}

/// A random number for each call; a set is known by the sum of its calls' numbers.
fn marks(count: usize) -> Vec<u128> {
    let mut random = Random::new(0);
    let mut half = move || u128::from(random.bits());
    (0..count).map(|_| half() << 64 | half()).collect()
}

#[derive(Debug, Clone, Copy)]
struct Event {
    call: usize,
    is_return: bool,
}

/// Invocations and answers by time, as a list from which calls are lifted and into which they are put back.
struct Line {
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where each call's two events stand.
    invocation: Vec<usize>,
    answer: Vec<Option<usize>>,
}

impl Line {
    /// Position 0 is the head, and ends the list, too: with nothing left to place, nobody walks there.
    fn new<O>(calls: &[Call<O>]) -> Self {
        let mut timed: Vec<(u64, bool, usize)> = Vec::new();
        for (number, call) in calls.iter().enumerate() {
            timed.push((call.invoked, false, number));
            timed.extend(call.returned.map(|returned| (returned, true, number)));
        }
        // At the same moment invocations come first: the calls are concurrent then.
        timed.sort_unstable();
        let mut events = vec![Event { call: usize::MAX, is_return: false }];
        let (mut invocation, mut answer) = (vec![0; calls.len()], vec![None; calls.len()]);
        for (_, is_return, call) in timed {
            if is_return {
                answer[call] = Some(events.len());
            } else {
                invocation[call] = events.len();
            }
            events.push(Event { call, is_return });
        }
        let count = events.len();
        let next = (0..count).map(|at| (at + 1) % count).collect();
        let previous = (0..count).map(|at| (at + count - 1) % count).collect();
        Self { events, next, previous, invocation, answer }
    }

    fn first(&self) -> usize {
        self.next[0]
    }

    /// Calls that nobody's answer stands before.
    fn front(&self) -> impl Iterator<Item = usize> {
        let walk = std::iter::successors(Some(self.first()), |at| Some(self.next[*at]));
        walk.take_while(|at| *at != 0 && !self.events[*at].is_return).map(|at| self.events[at].call)
    }

    fn lift(&mut self, call: usize) {
        for at in [Some(self.invocation[call]), self.answer[call]].into_iter().flatten() {
            let (before, after) = (self.previous[at], self.next[at]);
            self.next[before] = after;
            self.previous[after] = before;
        }
    }

    /// In the reverse order of lifting.
    fn put_back(&mut self, call: usize) {
        for at in [self.answer[call], Some(self.invocation[call])].into_iter().flatten() {
            let (before, after) = (self.previous[at], self.next[at]);
            self.next[before] = at;
            self.previous[after] = at;
        }
    }
}
