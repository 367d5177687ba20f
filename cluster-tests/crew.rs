//! Threads that work beside a test until it has seen enough.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
};

/// Threads that end together: when they are told to finish, or when this value is dropped, as it is by a panic. Whoever has
/// a question under way then is not waited for; its answer ends with the processes of the test.
#[derive(Debug)]
pub struct Crew<T> {
    stop: Stop,
    threads: Vec<thread::JoinHandle<T>>,
}

/// Tells a thread when its work is over.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn is_set(&self) -> bool {
        self.0.load(SeqCst)
    }

    fn set(&self) {
        self.0.store(true, SeqCst);
    }
}

impl<T> Default for Crew<T> {
    fn default() -> Self {
        Self { stop: Stop::default(), threads: Vec::new() }
    }
}

impl<T: Send + 'static> Crew<T> {
    /// One more, which looks at what it is given between two deeds.
    pub fn spawn(&mut self, work: impl FnOnce(&Stop) -> T + Send + 'static) {
        let stop = self.stop.clone();
        self.threads.push(thread::spawn(move || work(&stop)));
    }

    /// How many are at work.
    pub fn at_work(&self) -> usize {
        self.threads.iter().filter(|thread| !thread.is_finished()).count()
    }

    /// Tells all that it is over, and waits for what they have under way. In the order in which they began.
    pub fn finish(self) -> Vec<thread::Result<T>> {
        self.stop.set();
        self.wait()
    }

    /// Waits until each has come to an end by itself.
    pub fn wait(mut self) -> Vec<thread::Result<T>> {
        std::mem::take(&mut self.threads).into_iter().map(thread::JoinHandle::join).collect()
    }
}

impl<T> Drop for Crew<T> {
    fn drop(&mut self) {
        self.stop.set();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::catch_unwind,
        sync::mpsc::{RecvTimeoutError, channel},
        time::{Duration, Instant},
    };

    use super::*;
    use crate::wait;

    #[test]
    fn a_panic_ends_the_threads() {
        let (works, ended) = channel::<()>();
        let panicked = catch_unwind(move || {
            let mut crew = Crew::default();
            crew.spawn(move |stop| {
                while !stop.is_set() {
                    wait::until(Instant::now() + Duration::from_millis(1));
                }
                drop(works);
            });
            assert_eq!(crew.at_work(), 0, "it has just begun");
        });
        assert!(panicked.is_err());
        assert_eq!(ended.recv_timeout(Duration::from_secs(10)), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn what_they_bring_is_in_the_order_in_which_they_began() {
        let mut crew = Crew::default();
        for number in 0..3 {
            crew.spawn(move |_| number);
        }
        let brought: Vec<_> = crew.finish().into_iter().map(Result::unwrap).collect();
        assert_eq!(brought, [0, 1, 2]);
    }
}
