//! What the log is told of the collector: that it is away, once; that it is back, once.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use tonic::{Code, Status};

/// How the collector does, as far as the log was told.
#[derive(Debug, Default)]
pub(super) enum News {
    #[default]
    Well,
    Away {
        since: Instant,
        lost: u64,
    },
}

/// A line for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Away,
    Back { after: Duration, lost: u64 },
}

impl News {
    pub(super) fn failed(&mut self, now: Instant) -> Option<Line> {
        if matches!(self, Self::Away { .. }) {
            return None;
        }
        *self = Self::Away { since: now, lost: 0 };
        Some(Line::Away)
    }

    /// So many spans were given up.
    pub(super) fn lost(&mut self, spans: u64) {
        if let Self::Away { lost, .. } = self {
            *lost += spans;
        }
    }

    pub(super) fn exported(&mut self, now: Instant) -> Option<Line> {
        match std::mem::take(self) {
            Self::Well => None,
            Self::Away { since, lost } => Some(Line::Back { after: now - since, lost }),
        }
    }
}

/// Whether the same message may be taken later: the protocol names the codes; what never became an answer of the collector's
/// is the way's fault.
pub(super) fn may_retry(status: &Status) -> bool {
    let passing = matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
    );
    passing || status.source().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_is_told_once_and_so_is_its_end() {
        let (mut news, begun) = (News::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        assert_eq!(news.exported(at(0)), None);
        assert_eq!(news.failed(at(1)), Some(Line::Away));
        assert_eq!(news.failed(at(2)), None);
        news.lost(512);
        news.lost(3);
        assert_eq!(news.failed(at(3)), None);
        assert_eq!(news.exported(at(61)), Some(Line::Back { after: Duration::from_secs(60), lost: 515 }));
        assert_eq!(news.exported(at(62)), None);
        assert_eq!(news.failed(at(63)), Some(Line::Away), "the next one is told again");
    }

    #[test]
    fn what_will_be_refused_again_is_not_sent_again() {
        assert!(may_retry(&Status::unavailable("")) && may_retry(&Status::deadline_exceeded("")));
        for refused in [Status::invalid_argument(""), Status::unauthenticated(""), Status::unimplemented("")]
        {
            assert!(!may_retry(&refused), "{refused}");
        }
        let broken = Status::from_error(Box::new(std::io::Error::other("connection reset")));
        assert!(may_retry(&broken), "{broken:?}");
    }
}
