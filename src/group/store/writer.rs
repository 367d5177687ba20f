//! The one thread that writes: takes what has queued up, makes it durable in one transaction, then tells everybody.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use openraft::storage::LogFlushed;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::disk::{Disk, DiskError, Step};
use crate::{metrics::RAFT_APPEND_SECONDS, raft::Types};

/// Jobs that may wait; whoever asks for one more waits for room, and so slows Raft down.
const QUEUE_MAX: usize = 1_024;
/// Jobs per transaction.
const BATCH_MAX: usize = 256;
/// The commit index is written with whatever is written next, or alone after this long.
const COMMITTED_IDLE: Duration = Duration::from_millis(100);
/// Pause before a full disk is tried again.
const SPACE_RETRY: Duration = Duration::from_millis(500);

/// A handle to the thread. The file is closed when the last handle is dropped, or by [`Writer::close`].
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: Queue,
    room: Arc<Semaphore>,
    /// Ends the wait for space.
    closing: Sender<()>,
    kept: watch::Receiver<Kept>,
    trouble: watch::Receiver<Option<Arc<str>>>,
    busy: Arc<Mutex<Option<Instant>>>,
}

/// Index of the snapshot on disk, or why nothing is written any more.
type Kept = Result<Option<u64>, Arc<DiskError>>;

#[derive(Debug, Clone)]
enum Queue {
    Thread(Sender<Job>),
    /// Whoever asks does the work; empty once it is closed.
    #[cfg(test)]
    Here(Arc<Mutex<Option<Desk>>>),
}

#[derive(Debug)]
struct Job {
    work: Work,
    done: Done,
    _room: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Work {
    Step(Step),
    GiveUp(Arc<DiskError>),
    Close,
}

type Outcome = Result<(), Arc<DiskError>>;

enum Done {
    Flushed(LogFlushed<Types>),
    Told(oneshot::Sender<Outcome>),
    Nobody,
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Flushed(_) => "Flushed",
            Self::Told(_) => "Told",
            Self::Nobody => "Nobody",
        })
    }
}

impl Writer {
    pub(super) fn spawn(disk: Disk, snapshot: Option<u64>) -> io::Result<Self> {
        Self::with(disk, snapshot, |desk| {
            let (queue, jobs) = mpsc::channel();
            thread::Builder::new().name("group-log".to_owned()).spawn(move || desk.run(&jobs))?;
            Ok(Queue::Thread(queue))
        })
    }

    #[cfg(test)]
    pub(super) fn here(disk: Disk, snapshot: Option<u64>) -> io::Result<Self> {
        Self::with(disk, snapshot, |desk| Ok(Queue::Here(Arc::new(Mutex::new(Some(desk))))))
    }

    fn with(
        disk: Disk,
        snapshot: Option<u64>,
        start: impl FnOnce(Desk) -> io::Result<Queue>,
    ) -> io::Result<Self> {
        let (closing, closed) = mpsc::channel();
        let (told, trouble) = watch::channel(None);
        let (keeping, kept) = watch::channel(Ok(snapshot));
        let busy = Arc::default();
        let desk =
            Desk { disk, kept: keeping, committed: None, closed, trouble: told, busy: Arc::clone(&busy) };
        let queue = start(desk)?;
        Ok(Self { queue, room: Arc::new(Semaphore::new(QUEUE_MAX)), closing, kept, trouble, busy })
    }

    /// Why nothing can be written at the moment, or any more.
    pub(crate) fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.borrow().clone()
    }

    /// How long the write has taken that the disk works on at this moment.
    pub(crate) fn busy_for(&self) -> Duration {
        let since = *self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Queues an append; `flushed` hears when it is durable.
    pub(super) async fn append(&self, step: Step, flushed: LogFlushed<Types>) -> Outcome {
        self.send(Work::Step(step), Done::Flushed(flushed)).await
    }

    /// Takes a step and waits until it is durable.
    pub(super) async fn durable(&self, step: Step) -> Outcome {
        let (told, outcome) = oneshot::channel();
        self.send(Work::Step(step), Done::Told(told)).await?;
        outcome.await.unwrap_or_else(|_| Err(Arc::new(DiskError::Closed)))
    }

    /// Takes a step soon.
    pub(super) async fn eventually(&self, step: Step) -> Outcome {
        self.send(Work::Step(step), Done::Nobody).await
    }

    /// Waits until there is a snapshot on disk that reaches to `index`.
    pub(super) async fn covered(&self, index: u64) -> Outcome {
        let mut kept = self.kept.clone();
        let reached = kept.wait_for(|kept| !matches!(kept, Ok(to) if *to < Some(index))).await;
        reached.map_err(|_| Arc::new(DiskError::Closed))?.clone().map(drop)
    }

    /// Ends all writing, for a reason that is not the disk's.
    pub(super) async fn give_up(&self, error: Arc<DiskError>) -> Outcome {
        self.send(Work::GiveUp(error), Done::Nobody).await
    }

    /// Writes what is queued and closes the file, so that it can be opened again.
    pub(crate) async fn close(&self) {
        let (told, outcome) = oneshot::channel();
        // An error means that the thread has ended.
        let _ = self.closing.send(());
        if self.send(Work::Close, Done::Told(told)).await.is_ok() {
            // An error means that the thread has ended and the file is closed.
            let _ = outcome.await;
        }
    }

    async fn send(&self, work: Work, done: Done) -> Outcome {
        let room = self.room.clone().acquire_owned().await.ok();
        let job = Job { work, done, _room: room };
        match &self.queue {
            Queue::Thread(queue) => queue.send(job).map_err(|_| Arc::new(DiskError::Closed)),
            #[cfg(test)]
            Queue::Here(desk) => {
                let mut place = desk.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(desk) = place.as_mut() else { return Err(Arc::new(DiskError::Closed)) };
                if let Some(closed) = desk.serve(vec![job]) {
                    *place = None;
                    let _ = closed.send(Ok(()));
                }
                Ok(())
            }
        }
    }
}

/// The thread's own things.
#[derive(Debug)]
struct Desk {
    disk: Disk,
    kept: watch::Sender<Kept>,
    /// A commit index that is not on disk yet.
    committed: Option<Step>,
    closed: Receiver<()>,
    trouble: watch::Sender<Option<Arc<str>>>,
    busy: Arc<Mutex<Option<Instant>>>,
}

impl Desk {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let first = if self.committed.is_some() {
                jobs.recv_timeout(COMMITTED_IDLE)
            } else {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            let first = match first {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.write(Vec::new());
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let _ = self.write(Vec::new());
                    return;
                }
            };
            let batch: Vec<Job> = std::iter::once(first).chain(jobs.try_iter().take(BATCH_MAX - 1)).collect();
            if let Some(closed) = self.serve(batch) {
                drop(self);
                let _ = closed.send(Ok(()));
                return;
            }
        }
    }

    /// Does a batch. Answers who wants to hear of the close, if it was asked for; what queued behind it is dropped.
    fn serve(&mut self, batch: Vec<Job>) -> Option<oneshot::Sender<Outcome>> {
        let (mut steps, mut waiting, mut closing) = (Vec::new(), Vec::new(), None);
        let snapshot = self.kept.borrow().clone().ok().flatten();
        for job in batch {
            match (job.work, job.done) {
                (Work::Close, Done::Told(told)) => {
                    closing = Some(told);
                    break;
                }
                (Work::Close, _) => break,
                (Work::GiveUp(error), _) => self.fail(error),
                (Work::Step(step @ Step::Committed(_)), _) => self.committed = Some(step),
                (Work::Step(Step::Snapshot(_, index)), done) if index < snapshot => waiting.push(done),
                (Work::Step(step), done) => {
                    steps.push(step);
                    waiting.push(done);
                }
            }
        }
        let outcome = if steps.is_empty() && closing.is_none() { self.standing() } else { self.write(steps) };
        for done in waiting {
            match done {
                Done::Flushed(flushed) => flushed.log_io_completed(outcome.clone().map_err(io::Error::other)),
                // Who asked may have stopped waiting; the step is done all the same.
                Done::Told(told) => drop(told.send(outcome.clone())),
                Done::Nobody => {}
            }
        }
        closing
    }

    fn standing(&self) -> Outcome {
        self.kept.borrow().clone().map(drop)
    }

    fn write(&mut self, steps: Vec<Step>) -> Outcome {
        self.standing()?;
        if steps.is_empty() && self.committed.is_none() {
            return Ok(());
        }
        let started = Instant::now();
        self.busy(Some(started));
        let written = self.persist(&steps);
        self.busy(None);
        metrics::histogram!(RAFT_APPEND_SECONDS).record(started.elapsed());
        self.committed = None;
        if let Err(error) = written {
            let error = Arc::new(error);
            self.fail(error.clone());
            return Err(error);
        }
        let newest = steps.iter().filter_map(|step| match step {
            Step::Snapshot(_, index) => *index,
            _ => None,
        });
        if let Some(newest) = newest.max() {
            self.kept.send_modify(|kept| {
                if let Ok(to) = kept {
                    *to = (*to).max(Some(newest));
                }
            });
        }
        Ok(())
    }

    fn fail(&self, error: Arc<DiskError>) {
        let told = with_cause(&error);
        tracing::error!(error = told, "the group's log failed: this member stops");
        self.trouble.send_replace(Some(told.into()));
        drop(self.kept.send_replace(Err(error)));
    }

    fn busy(&self, since: Option<Instant>) {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Writes, and waits for space when there is none.
    fn persist(&mut self, steps: &[Step]) -> Result<(), DiskError> {
        loop {
            match self.disk.write(steps.iter().chain(&self.committed)) {
                Err(error @ DiskError::Full(_)) => {
                    if self.trouble.borrow().is_none() {
                        let told = with_cause(&error);
                        tracing::error!(
                            error = told,
                            "this member takes no part in its group until there is space"
                        );
                        self.trouble.send_replace(Some(told.into()));
                    }
                    match self.closed.recv_timeout(SPACE_RETRY) {
                        Err(RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => return Err(error),
                    }
                }
                Ok(()) => {
                    if self.trouble.send_replace(None).is_some() {
                        tracing::info!("there is space again: this member takes part in its group");
                    }
                    return Ok(());
                }
                failed => return failed,
            }
        }
    }
}

fn with_cause(error: &DiskError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
