//! The time of day, set on one machine.

use std::time::Duration;

use super::{
    Seen,
    reach::{Held, metrics, said, writable},
    sites::one_in,
};
use crate::{Clock, caller, hold, http, target};

const HOUR: i64 = 3_600;
/// Several leases long.
const WATCHED: Duration = Duration::from_millis(1_500);

/// Row 8.
pub(super) fn set_on_one(seen: &mut Seen) {
    // The founder's, so that it is the leader's as a rule.
    let (mut site, clock) = one_in(|_| {
        let clock = Clock::new();
        let place = clock.place();
        (clock, place)
    });
    let echo = site.resource("echo", target::echo());
    let mut held = Held::open(&site, "echo", echo, 30);
    let (metrics, gateway) = (metrics(&mut site), site.gateway.address("metrics"));
    let all = || metrics.iter().filter_map(|address| said(*address)).collect::<Vec<_>>();
    let ended = || http::sum(&http::metrics(gateway), "warren_tunnel_closed_total", "") as usize;
    let (before, ended_before) = (all(), ended());
    for hours in [1, -1, 0] {
        clock.set(hours * HOUR);
        hold("callers are served", WATCHED, || caller::open_echo(echo).is_ok());
        writable(&site, &format!("at-{}", hours + 1));
    }
    let terms = |all: &[super::reach::Said]| all.iter().map(|said| said.term).max().unwrap_or(0);
    seen.count("elections", (terms(&all()) - terms(&before)) as usize, 0);
    seen.count("tunnels that ended", ended() - ended_before, 0);
    seen.count("sessions lost", held.lost(), 0);
}
