//! Traces: each session has one from ingress to target, and is told of in spans.
//!
//! Processes that take part in one session never ask each other about its trace. Which traces are followed, and what the span
//! of whoever asked is called, follows from what all of them have anyway:
//! ```text
//! caller ─▶ gateway          session    id: low half of the trace
//!             ├─ attempt                id: trace, gateway, number of the session in its tunnels
//!             │    └─ agent  session    id: follows from the attempt's; the agent knows gateway and number, too
//!             │         └─ dial         id: follows from the session's
//!             └─ pass_on                as an attempt
//!                  └─ other gateway     as an agent, with attempts of its own
//! ```

mod collector;
mod header;
mod id;
mod otlp;
mod sample;
mod span;

pub use collector::{Collector, CollectorError};
pub use header::{Header, HeaderError};
pub use id::{SpanId, TraceId, TraceIdError};
pub use otlp::{Otlp, OtlpOverrides};
pub use sample::{Sample, SampleError};
pub use span::{Kind, Sink, Span, Tracer, Value};
