use std::{
    thread,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(20);

/// Waits until `probe` gives a value, and returns it with the time that took; panics with `what` at the deadline.
pub fn eventually<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> (T, Duration) {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return (value, start.elapsed());
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
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

#[expect(clippy::disallowed_methods, reason = "between two looks at a predicate, in plain blocking code")]
fn pause() {
    thread::sleep(PAUSE);
}
