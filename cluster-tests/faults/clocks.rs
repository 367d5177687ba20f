//! The time of day, set on one machine.

use std::time::Duration;

use super::{
    Seen,
    reach::{DAY, Held, Moment, SOON, metrics, said, time_of_day, writable},
    sites::one_in,
};
use crate::{Clock, Process, caller, eventually, hold, http, target};

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
    seen.counted("it led the group", usize::from(site.leader() == 0));
    let (metrics, gateway) = (metrics(&mut site), site.gateway.address("metrics"));
    let all = || metrics.iter().filter_map(|address| said(*address)).collect::<Vec<_>>();
    let ended = || http::sum(&http::metrics(gateway), "warren_tunnel_closed_total", "") as usize;
    let (before, ended_before) = (all(), ended());
    for hours in [1, -1, 0] {
        clock.set(hours * HOUR);
        assert_eq!(hours_ahead(&site.agents[0].process), hours.rem_euclid(24) as u64, "its clock is set");
        hold("callers are served", WATCHED, || caller::open_echo(echo).is_ok());
        writable(&site, &format!("at-{}", hours + 1));
    }
    let terms = |all: &[super::reach::Said]| all.iter().map(|said| said.term).max().unwrap_or(0);
    seen.count("elections", (terms(&all()) - terms(&before)) as usize, 0);
    seen.count("tunnels that ended", ended() - ended_before, 0);
    seen.count("sessions lost", held.lost(), 0);
}

/// How many of a day's hours the process's clock is ahead of this machine's, by its log, in which it says that it reads its
/// settings again.
fn hours_ahead(process: &Process) -> u64 {
    let told = || {
        let log = process.log();
        log.lines().filter(|line| line.contains("configuration")).filter_map(time_of_day).collect::<Vec<_>>()
    };
    let before = told().len();
    process.hang_up();
    let (at, _) = eventually("it reads its settings again", SOON, || told().get(before).copied());
    let ahead = at + DAY - Moment::now().day;
    (ahead.as_secs_f64() / HOUR as f64).round() as u64 % 24
}
