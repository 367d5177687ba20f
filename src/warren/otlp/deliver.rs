//! Brings batches to the collector.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceResponse, trace_service_client::TraceServiceClient,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status, transport::Channel};
use warren_core::{
    backoff::Backoff,
    trace::{Collector, HeaderError, Otlp, Sample, Span},
};

use super::{
    Fate, Resource,
    headers::Headers,
    message,
    news::{Line, News, may_retry},
    reach,
};
use crate::exit::Failure;

/// How long one batch is tried; then the next one takes its turn, so that what waits is never older than the queue is long.
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Why spans did not arrive.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Collector(#[from] Status),
}

impl Trouble {
    fn may_pass(&self) -> bool {
        match self {
            // The file may be about to be replaced.
            Self::Header(_) => true,
            Self::Collector(status) => may_retry(status),
        }
    }
}

pub(super) struct Delivery {
    collector: Collector,
    client: TraceServiceClient<Channel>,
    headers: Headers,
    sample: Sample,
    resource: Resource,
    news: News,
}

impl Delivery {
    pub(super) fn new(collector: &Collector, otlp: &Otlp) -> Result<Self, Failure> {
        Ok(Self {
            collector: collector.clone(),
            client: TraceServiceClient::new(reach::channel(collector, otlp.ca.as_deref())?),
            headers: Headers::new(otlp.headers.clone()),
            sample: otlp.sample,
            resource: Resource::default(),
            news: News::default(),
        })
    }

    /// The same, and whose spans they are.
    pub(super) fn of(self, resource: Resource) -> Self {
        Self { resource, ..self }
    }

    /// Sends `spans` until they are taken or given up, and counts them. At the end of the process they are sent once.
    pub(super) async fn deliver(&mut self, spans: &[Span], closing: &CancellationToken) {
        let give_up = Instant::now() + GIVE_UP_AFTER;
        let mut backoff = Backoff::new(PAUSE, PAUSE_MAX, Duration::ZERO);
        loop {
            let trouble = match self.send(spans).await {
                Ok(answer) => return self.taken(spans.len(), answer),
                Err(trouble) => trouble,
            };
            if let Some(Line::Away) = self.news.failed(Instant::now()) {
                let collector = &self.collector;
                tracing::warn!(%collector, error = &trouble as &dyn Error, "spans cannot be exported; told again when they are");
            }
            let pause = backoff.next_wait(rand::random());
            let ends = !trouble.may_pass() || closing.is_cancelled() || Instant::now() + pause > give_up;
            if ends {
                return self.failed(spans.len());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = closing.cancelled() => {}
            }
        }
    }

    async fn send(&mut self, spans: &[Span]) -> Result<ExportTraceServiceResponse, Trouble> {
        let mut request = Request::new(message::request(&self.resource, self.sample, spans));
        let sent = self.headers.put_on(request.metadata_mut())?;
        match self.client.export(request).await {
            Ok(answer) => Ok(sent.left_out_of_answer(answer.into_inner())),
            Err(status) => Err(Trouble::Collector(sent.left_out_of(status))),
        }
    }

    fn taken(&mut self, spans: usize, answer: ExportTraceServiceResponse) {
        let partial = answer.partial_success.unwrap_or_default();
        let rejected = u64::try_from(partial.rejected_spans).unwrap_or(0).min(spans as u64);
        Fate::Exported.counter().increment(spans as u64 - rejected);
        Fate::Rejected.counter().increment(rejected);
        if rejected > 0 {
            tracing::debug!(rejected, reason = partial.error_message, "spans not taken by the collector");
        }
        if let Some(Line::Back { after, lost }) = self.news.exported(Instant::now()) {
            let (collector, seconds) = (&self.collector, after.as_secs());
            tracing::info!(%collector, seconds, lost, "spans are exported again");
        }
    }

    fn failed(&mut self, spans: usize) {
        Fate::Failed.counter().increment(spans as u64);
        self.news.lost(spans as u64);
    }
}
