//! Which traces are followed.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::TraceId;

/// The share of traces that are followed, 0 to 1.
///
/// The trace itself decides, by the 56 bits that W3C's trace context calls random: all processes with one share follow the
/// same traces, and one with a smaller share follows some of those of one with a larger. Collectors that sample by the same
/// bits go on from there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample(f64);

/// Why a text is no share.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a share of the traces, expected a number from 0 to 1 such as 0.05")]
pub struct SampleError(String);

/// It is never NaN.
impl Eq for Sample {}

const RANDOM_BITS: u32 = 56;

impl Sample {
    pub const ALL: Self = Self(1.0);

    pub fn takes(self, trace: TraceId) -> bool {
        let random = trace.low() & ((1 << RANDOM_BITS) - 1);
        !trace.is_none() && random >= self.threshold()
    }

    /// The lowest random bits that are followed, as OpenTelemetry's `th` has it.
    pub fn threshold(self) -> u64 {
        ((1.0 - self.0) * (1_u64 << RANDOM_BITS) as f64) as u64
    }

    pub fn share(self) -> f64 {
        self.0
    }
}

impl FromStr for Sample {
    type Err = SampleError;

    fn from_str(text: &str) -> Result<Self, SampleError> {
        let share = text.trim().parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Self).ok_or_else(|| SampleError(text.to_owned()))
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evenly spread, from one seed.
    fn traces() -> impl Iterator<Item = TraceId> {
        let spread = |n: u128| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        (1..=10_000).map(move |n| TraceId(spread(n).to_be_bytes()))
    }

    #[test]
    fn about_the_share_is_followed() {
        for (text, at_least, at_most) in
            [("0", 0, 0), ("0.1", 900, 1_100), ("0.5", 4_800, 5_200), ("1", 10_000, 10_000)]
        {
            let sample: Sample = text.parse().unwrap();
            let taken = traces().filter(|trace| sample.takes(*trace)).count();
            assert!((at_least..=at_most).contains(&taken), "{text}: {taken}");
        }
    }

    #[test]
    fn whoever_follows_less_follows_some_of_the_same() {
        let (few, many): (Sample, Sample) = ("0.1".parse().unwrap(), "0.3".parse().unwrap());
        assert!(traces().all(|trace| many.takes(trace) || !few.takes(trace)));
    }

    #[test]
    fn what_is_no_trace_is_not_followed() {
        assert!(!Sample::ALL.takes(TraceId([0; 16])));
    }

    #[test]
    fn only_shares_are_read() {
        assert_eq!("1".parse(), Ok(Sample::ALL));
        for text in ["", "-0.1", "1.01", "NaN", "inf", "10%", "all"] {
            assert!(text.parse::<Sample>().is_err(), "{text}");
        }
    }
}
