//! What is told of one piece of a session's way.

use std::{fmt, sync::Arc, time::SystemTime};

use super::{Sample, SpanId, TraceId};

/// A piece of a session's way that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub trace: TraceId,
    pub id: SpanId,
    /// Whoever asked for it, here or in another process.
    pub parent: Option<SpanId>,
    pub name: &'static str,
    pub kind: Kind,
    pub start: SystemTime,
    pub end: SystemTime,
    pub attributes: Vec<(&'static str, Value)>,
    /// What went wrong, if it counts as an error.
    pub failure: Option<String>,
}

/// Which end of a question it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Was asked.
    Server,
    /// Asked somebody else.
    Client,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Number(u64),
}

/// Takes spans. Never waits: what it has no room for, it drops and counts.
pub trait Sink: Send + Sync {
    fn take(&self, span: Span);
}

/// Where a process tells its spans. Cheap to clone; by default nothing is told.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Telling>>);

struct Telling {
    sample: Sample,
    sink: Box<dyn Sink>,
}

impl Tracer {
    pub fn new(sample: Sample, sink: impl Sink + 'static) -> Self {
        Self(Some(Arc::new(Telling { sample, sink: Box::new(sink) })))
    }

    /// Whether spans of that trace are wanted, to be asked before one is made.
    pub fn follows(&self, trace: TraceId) -> bool {
        self.0.as_ref().is_some_and(|telling| telling.sample.takes(trace))
    }

    pub fn tell(&self, span: Span) {
        if let Some(telling) = &self.0 {
            telling.sink.take(span);
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.0.as_ref().map(|telling| telling.sample)).finish()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}
