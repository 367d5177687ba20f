//! Names of traces and spans.

use std::{fmt, num::NonZeroU64, str::FromStr};

use thiserror::Error;

use crate::balance::random::mix;

/// One caller's way, from ingress to target: 16 random bytes. All zero stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

/// One piece of that way. Zero stands for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

/// Why a text is no trace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a trace, expected 32 hexadecimal digits")]
pub struct TraceIdError(String);

impl TraceId {
    pub fn is_none(self) -> bool {
        self.0 == [0; 16]
    }

    fn halves(self) -> (u64, u64) {
        let whole = u128::from_be_bytes(self.0);
        ((whole >> 64) as u64, whole as u64)
    }

    /// The half that sampling goes by.
    pub(super) fn low(self) -> u64 {
        self.halves().1
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for TraceId {
    type Err = TraceIdError;

    fn from_str(text: &str) -> Result<Self, TraceIdError> {
        let refused = || TraceIdError(text.to_owned());
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refused());
        }
        u128::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| refused())
    }
}

/// Keeps spans of different making apart.
#[derive(Clone, Copy)]
enum Made {
    Asked = 1,
    NotAsked = 2,
    Answered = 3,
    Dialled = 4,
}

impl SpanId {
    /// The session at the gateway that its caller came to.
    pub fn root(trace: TraceId) -> Self {
        Self::of(trace.low())
    }

    /// `gateway` asks an agent, or another gateway, for the session that has `number` in its tunnels. A gateway gives a
    /// number once, and a member is tried for one caller by two gateways, or twice by one, only under different ones.
    pub fn asked(trace: TraceId, gateway: u64, number: u64) -> Self {
        Self::mixed(Made::Asked, trace, [gateway, number])
    }

    /// The attempt of that place in the record with that number, for which nobody was asked: its tunnel was gone.
    pub fn not_asked(trace: TraceId, gateway: u64, record: u64, place: u64) -> Self {
        Self::mixed(Made::NotAsked, trace, [gateway, record ^ place.rotate_left(56)])
    }

    /// The session at whoever was asked.
    pub fn answered(self, trace: TraceId) -> Self {
        Self::mixed(Made::Answered, trace, [self.0.get(), 0])
    }

    /// The dial of that session's target.
    pub fn dialled(self, trace: TraceId) -> Self {
        Self::mixed(Made::Dialled, trace, [self.0.get(), 0])
    }

    pub fn bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }

    /// The same in every process and every release: spans of different ones must meet.
    fn mixed(made: Made, trace: TraceId, words: [u64; 2]) -> Self {
        let (high, low) = trace.halves();
        let all = [made as u64, high, low].into_iter().chain(words);
        let mixed = all.fold(0, |sum: u64, word| mix(sum.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ word));
        Self::of(mixed)
    }

    fn of(number: u64) -> Self {
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const TRACE: TraceId = TraceId([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);

    #[test]
    fn a_trace_is_read_as_it_is_shown() {
        let text = TRACE.to_string();
        assert_eq!(text, "0102030405060708090a0b0c0d0e0f10");
        assert_eq!(text.parse(), Ok(TRACE));
        assert_eq!(text.to_uppercase().parse(), Ok(TRACE));
        for wrong in
            ["", "7", &text[1..], "+102030405060708090a0b0c0d0e0f10", "g102030405060708090a0b0c0d0e0f10"]
        {
            assert!(wrong.parse::<TraceId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn spans_are_called_the_same_in_every_release() {
        let hex = |id: SpanId| id.bytes().map(|byte| format!("{byte:02x}")).concat();
        let asked = SpanId::asked(TRACE, 7, 42);
        assert_eq!(hex(SpanId::root(TRACE)), "090a0b0c0d0e0f10");
        assert_eq!(
            [asked, asked.answered(TRACE), asked.answered(TRACE).dialled(TRACE)].map(hex),
            ["d49ba75367517485", "2e1e92fa5787b0f7", "91ce6acb16729cf5"]
        );
    }

    #[test]
    fn no_two_spans_of_a_trace_share_a_name() {
        let mut seen = HashSet::from([SpanId::root(TRACE)]);
        for (gateway, number) in (1..40).flat_map(|gateway| (0..250).map(move |number| (gateway, number))) {
            let asked = SpanId::asked(TRACE, gateway, number);
            let answered = asked.answered(TRACE);
            let others = (0..3).map(|place| SpanId::not_asked(TRACE, gateway, number, place));
            for id in [asked, answered, answered.dialled(TRACE)].into_iter().chain(others) {
                assert!(seen.insert(id), "{gateway} {number}");
            }
        }
    }

    #[test]
    fn no_span_is_called_nothing() {
        assert_eq!(SpanId::root(TraceId([0; 16])).bytes(), [0, 0, 0, 0, 0, 0, 0, 1]);
    }
}
