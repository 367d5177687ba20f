//! Exports spans of sessions to a collector, by OTLP over gRPC, when `--otlp` asks for it.
//!
//! ```text
//! sessions ─▶ Tracer (follows this trace?) ─▶ queue, bounded ─▶ batches ─▶ collector
//!                                               full: dropped      away: tried again for a while, then given up
//! ```
//! Nothing that a collector does, or does not do, holds up a session: a span that finds no room is dropped and counted.

use std::{error::Error, fmt, time::Duration};

use ::metrics::Counter;
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;
use warren_core::trace::{Otlp, Sink, Span, Tracer};

use crate::{exit::Failure, metrics};

mod deliver;
mod headers;
mod message;
mod news;
mod reach;

pub(crate) use message::Resource;

use deliver::Delivery;
use headers::Headers;

/// Spans that wait for the collector.
const QUEUE_MAX: usize = 4_096;
/// Spans in one message.
const BATCH_MAX: usize = 512;
/// How long a batch waits to become full.
const FILL_WITHIN: Duration = Duration::from_secs(1);
/// How long the end of the process waits for what is left.
const FLUSH_WITHIN: Duration = Duration::from_secs(2);

/// What becomes of spans, as the metric has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Exported,
    /// There was no room for it.
    Dropped,
    /// The collector could not be reached for too long, or refused the message.
    Failed,
    /// The collector took the message and not this span.
    Rejected,
}

impl Fate {
    const ALL: [Self; 4] = [Self::Exported, Self::Dropped, Self::Failed, Self::Rejected];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Exported => "exported",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }

    fn counter(self) -> Counter {
        ::metrics::counter!(metrics::OTLP_SPANS_TOTAL, "result" => self.as_str())
    }
}

/// Where the process's spans go, and who exports them once it is known whose they are. Without a collector nothing is told
/// and nobody exports.
pub(crate) fn set_up(otlp: &Otlp) -> Result<(Tracer, Option<Exporter>), Failure> {
    let Some(collector) = &otlp.url else { return Ok((Tracer::default(), None)) };
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let tracer = Tracer::new(otlp.sample, Queue { sender, dropped: Fate::Dropped.counter() });
    let delivery = Delivery::new(collector, otlp)?;
    // A counter that is first seen with its first failure hides that one from every rate.
    for fate in Fate::ALL {
        fate.counter().increment(0);
    }
    tracing::info!(%collector, sample = %otlp.sample, "spans of sessions are exported");
    // It may come later, and is no reason not to carry sessions.
    for error in Headers::new(otlp.headers.clone()).missing() {
        tracing::warn!(%collector, error = &error as &dyn Error, "no spans are exported without this header");
    }
    if otlp.exposes_headers() {
        tracing::warn!(%collector, "whoever is on the way to the collector can read the headers that it is sent, use https://");
    }
    Ok((tracer, Some(Exporter { queue, delivery })))
}

struct Queue {
    sender: mpsc::Sender<Span>,
    dropped: Counter,
}

impl Sink for Queue {
    fn take(&self, span: Span) {
        if self.sender.try_send(span).is_err() {
            self.dropped.increment(1);
        }
    }
}

/// Set up, and not started.
pub(crate) struct Exporter {
    queue: mpsc::Receiver<Span>,
    delivery: Delivery,
}

impl Exporter {
    /// Exports until [`Exporting::finish`], or until what it gives is dropped.
    pub(crate) fn start(self, resource: Resource) -> Exporting {
        let closing = CancellationToken::new();
        let task = tokio::spawn(run(self.queue, self.delivery.of(resource), closing.clone()));
        Exporting { closing, task }
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) struct Exporting {
    closing: CancellationToken,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Exports what is left, for a moment at most; `stop` ends that.
    pub(crate) async fn finish(mut self, stop: &CancellationToken) {
        self.closing.cancel();
        tokio::select! {
            flushed = tokio::time::timeout(FLUSH_WITHIN, &mut self.task) => {
                if flushed.is_err() {
                    tracing::warn!("the last spans were not exported in time");
                }
            }
            () = stop.cancelled() => {}
        }
    }
}

impl Drop for Exporting {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(mut queue: mpsc::Receiver<Span>, mut delivery: Delivery, closing: CancellationToken) {
    loop {
        let batch = next_batch(&mut queue, &closing).await;
        if batch.is_empty() {
            return;
        }
        delivery.deliver(&batch, &closing).await;
    }
}

/// What came, once it is enough or has waited long enough. Empty when nothing comes any more.
async fn next_batch(queue: &mut mpsc::Receiver<Span>, closing: &CancellationToken) -> Vec<Span> {
    let mut batch = Vec::new();
    let mut until = None;
    while batch.len() < BATCH_MAX {
        let room = BATCH_MAX - batch.len();
        if closing.is_cancelled() {
            queue.close();
            while batch.len() < BATCH_MAX
                && let Ok(span) = queue.try_recv()
            {
                batch.push(span);
            }
            break;
        }
        tokio::select! {
            took = queue.recv_many(&mut batch, room) => match took {
                0 => break,
                _ => until = until.or_else(|| Some(Instant::now() + FILL_WITHIN)),
            },
            () = sleep_until(until) => break,
            () = closing.cancelled() => {}
        }
    }
    batch
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
