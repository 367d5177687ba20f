//! Points in time: RFC 3339 for programs, "3m ago" in tables, both the local time and the distance on pages.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::{Serialize, Serializer};

/// A time that may be unknown; serializes as RFC 3339 in UTC, or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(Option<Timestamp>);

impl Moment {
    /// Seconds since the Unix epoch; 0 means unknown.
    pub(crate) fn from_seconds(seconds: u64) -> Self {
        Self::from_millis(seconds.saturating_mul(1_000))
    }

    /// Milliseconds since the Unix epoch; 0 means unknown.
    pub(crate) fn from_millis(millis: u64) -> Self {
        let known = i64::try_from(millis).ok().filter(|millis| *millis != 0);
        Self(known.and_then(|millis| Timestamp::from_millisecond(millis).ok()))
    }

    /// The distance in one or two units, such as `3m ago` or `in 6d 23h`; empty when unknown.
    pub(crate) fn relative(self, now: Timestamp) -> String {
        let Some(at) = self.0 else { return String::new() };
        let ahead = at.duration_since(now);
        match ahead.as_secs() {
            0 => "now".into(),
            seconds if seconds > 0 => format!("in {}", coarse(ahead)),
            _ => format!("{} ago", coarse(ahead.abs())),
        }
    }

    /// As [`Self::relative`], seen from this moment.
    pub(crate) fn ago(self) -> String {
        self.relative(Timestamp::now())
    }

    /// Local date and time to the second, and the distance; empty when unknown.
    pub(crate) fn full(self) -> String {
        let Some(at) = self.0 else { return String::new() };
        let local = at.to_zoned(TimeZone::system());
        format!("{} ({})", local.strftime("%Y-%m-%d %H:%M:%S %:z"), self.ago())
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(at) => serializer.collect_str(&at),
            None => serializer.serialize_none(),
        }
    }
}

/// The largest unit and the one below it.
fn coarse(distance: SignedDuration) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = distance.as_secs();
    let Some(largest) = UNITS.iter().position(|(size, _)| seconds >= *size) else { return "0s".into() };
    let (size, unit) = UNITS[largest];
    let head = format!("{}{unit}", seconds / size);
    match UNITS.get(largest + 1).map(|(below, name)| (seconds % size / below, name)) {
        Some((count, name)) if count > 0 => format!("{head} {count}{name}"),
        _ => head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_has_at_most_two_units() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let relative = |seconds| Moment::from_seconds(seconds).relative(now);
        assert_eq!(relative(1_000_000), "now");
        assert_eq!(relative(1_000_000 - 180), "3m ago");
        assert_eq!(relative(1_000_000 + 7 * 86_400 - 3_600), "in 6d 23h");
        assert_eq!(relative(1_000_000 + 86_400 + 5), "in 1d");
        assert_eq!(relative(0), "");
    }

    #[test]
    fn programs_get_utc_or_null() {
        assert_eq!(serde_json::to_string(&Moment::from_seconds(60)).unwrap(), r#""1970-01-01T00:01:00Z""#);
        assert_eq!(serde_json::to_string(&Moment::from_millis(0)).unwrap(), "null");
        assert_eq!(Moment::from_millis(u64::MAX), Moment::from_millis(0));
    }
}
