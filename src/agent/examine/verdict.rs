//! What an observation means and what to do about it. Pure: no IO, no clock.

use std::time::Duration;

use warren_core::destination::Target;

use super::{
    Late,
    check::{Check, Hop},
};
use crate::targets::DialFailure;

mod gateway;
mod identity;
mod machine;

pub(super) use gateway::{TlsSeen, answer, clock, name, proxy, tcp, tls, way};
pub(super) use identity::identity;
pub(super) use machine::{folder, settings, space, sync, wrong_settings};

/// A step that did not come to its end.
pub(super) fn late(hop: Hop, late: Late) -> Check {
    match late {
        Late::NoTime => {
            Check::failed(hop, "not looked at to the end: the time was over", "give more with --timeout")
        }
        Late::Silent { after } => Check::failed(
            hop,
            format!("no answer within {after:?}"),
            "look for what is stuck: a disk on a network, a name service",
        ),
    }
}

/// The quick start's target, as a session would dial it.
pub(super) fn target(target: &Target, dialled: Result<(), &DialFailure>) -> Check {
    let failure = match dialled {
        Ok(()) => return Check::ok(Hop::Target, "connected, under this site's veto").of(target),
        Err(failure) => failure,
    };
    let advice = match failure {
        DialFailure::Dns { .. } => "check the name, and this machine's name service",
        DialFailure::Denied { .. } => "this site's own file forbids it: change the veto, or the target",
        DialFailure::Refused { .. } => "nothing listens there: see that the application runs, and its port",
        DialFailure::Timeout { .. } | DialFailure::Silent { .. } => {
            "nothing comes back: a firewall between this machine and the target, or the target is down"
        }
        _ => "see that this machine has a way there: interface, route, firewall",
    };
    Check::failed(Hop::Target, failure.to_string(), advice).of(target)
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

/// The two largest units would be more than is needed.
fn span(time: Duration) -> String {
    match time.as_secs() {
        s @ 172_800.. => format!("{} days", s / 86_400),
        s @ 7_200.. => format!("{} h", s / 3_600),
        s @ 120.. => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests;
