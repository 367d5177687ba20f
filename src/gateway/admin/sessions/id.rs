//! How a session is asked for.

use std::str::FromStr;

use warren_core::{id::GatewayId, trace::TraceId};

use crate::admin::error::Problem;

/// What stands behind `warren sessions show`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionId {
    /// One of a gateway: of the one that is asked, if none is named.
    Number {
        number: u64,
        at: Option<GatewayId>,
    },
    Trace(TraceId),
}

impl FromStr for SessionId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        if let Ok(trace) = text.parse() {
            return Ok(Self::Trace(trace));
        }
        let (number, at) = match text.split_once('@') {
            Some((number, at)) => (number, Some(at)),
            None => (text, None),
        };
        match (number.parse(), at.map(str::parse).transpose()) {
            (Ok(number), Ok(at)) => Ok(Self::Number { number, at }),
            _ => Err(Problem::invalid(format!(
                "`{text}` is neither the id of a session, NUMBER or NUMBER@GATEWAY, nor a trace"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_a_number_a_number_at_a_gateway_or_a_trace() {
        let at = Some(GatewayId::from_random(3));
        let text = format!("7@{}", GatewayId::from_random(3));
        assert_eq!(text.parse::<SessionId>().unwrap(), SessionId::Number { number: 7, at });
        assert_eq!("7".parse::<SessionId>().unwrap(), SessionId::Number { number: 7, at: None });
        assert_eq!("07".repeat(16).parse::<SessionId>().unwrap(), SessionId::Trace(TraceId([7; 16])));
        for text in ["", "@", "7@", "7@gwy", "x", "-7", &format!("{text}@")] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
    }
}
