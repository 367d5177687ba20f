use std::{
    thread,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `probe` gives a value, and returns it with the time that took; panics with `what` at the deadline.
pub fn eventually<T>(what: &str, deadline: Duration, probe: impl FnMut() -> Option<T>) -> (T, Duration) {
    within(deadline, probe).unwrap_or_else(|| panic!("not within {deadline:?}: {what}"))
}

/// As [`eventually`], for whom the deadline is an answer, too.
pub fn within<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<(T, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return Some((value, start.elapsed()));
        }
        if start.elapsed() >= deadline {
            return None;
        }
        pause();
    }
}

/// Checks that `probe` stays true for all of `time`.
pub fn hold(what: &str, time: Duration, mut probe: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(probe(), "did not hold for {time:?} (failed after {:?}): {what}", start.elapsed());
        pause();
    }
}

/// Waits for the moment at which something is due, in what paces a load or a relay; a test waits with [`eventually`].
pub(crate) fn until(due: Instant) {
    rest(due.saturating_duration_since(Instant::now()));
}

fn pause() {
    rest(PAUSE);
}

#[expect(clippy::disallowed_methods, reason = "plain blocking code, between two looks or two deeds")]
fn rest(time: Duration) {
    thread::sleep(time);
}
