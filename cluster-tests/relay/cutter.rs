use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Connection, Cut, End, Shared, Way, lock};
use crate::{load::Random, wait};

/// Within so many bytes of the moment the cut is made.
const BYTES_MAX: u64 = 64 << 10;

/// Resets connections at regular intervals until it is stopped: each at a random byte of a random direction, or at the
/// end of the interval when it has not come to that byte.
#[derive(Debug)]
pub struct Cutter {
    shared: Arc<Counts>,
    cutting: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    stopped: AtomicBool,
    cuts: AtomicUsize,
    inside: AtomicUsize,
}

impl Cutter {
    pub(super) fn start(relay: Arc<Shared>, interval: Duration, how: Cut, seed: u64) -> Self {
        let shared = Arc::new(Counts::default());
        let counts = shared.clone();
        let cutting = thread::spawn(move || {
            let (mut random, mut due) = (Random::new(seed), Instant::now());
            while !counts.stopped.load(SeqCst) {
                let mut victims = up(&relay);
                if how == Cut::One && !victims.is_empty() {
                    let one = random.below(victims.len() as u64) as usize;
                    victims = vec![victims.swap_remove(one)];
                }
                for victim in &victims {
                    let way = Way::BOTH[random.below(2) as usize];
                    victim.cut_after(way, 1 + random.below(BYTES_MAX), End::Reset);
                }
                due += interval;
                wait::until(due);
                counts.cuts.fetch_add(victims.len(), SeqCst);
                counts.inside.fetch_add(victims.iter().filter(|victim| !victim.is_up()).count(), SeqCst);
                victims.iter().for_each(|victim| victim.cut(End::Reset));
            }
        });
        Self { shared, cutting: Some(cutting) }
    }

    /// Connections cut so far.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(SeqCst)
    }

    /// Those of them that ended at the byte that was drawn, in the midst of what was under way.
    pub fn inside(&self) -> usize {
        self.shared.inside.load(SeqCst)
    }

    /// Ends it, after the interval that has begun; the connections cut.
    pub fn stop(mut self) -> usize {
        self.join();
        self.cuts()
    }

    fn join(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        if let Some(cutting) = self.cutting.take() {
            let _ = cutting.join();
        }
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.join();
    }
}

fn up(relay: &Shared) -> Vec<Connection> {
    lock(&relay.live).iter().filter(|connection| connection.is_up()).cloned().collect()
}
