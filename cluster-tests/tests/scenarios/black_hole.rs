//! A connection that stays up and carries nothing: nobody is told, so it has to be noticed.

use std::time::Duration;

use warren_cluster_tests::{
    Relay, Site, eventually,
    load::{self, Answers, Interactive},
    relay::{Connection, Way},
};

/// Suspect after 4 s, plus the move, plus slack for a busy machine.
const STALL_MAX: Duration = Duration::from_secs(6);

/// Of the two tunnels the one that carries more at the moment.
fn busiest(relay: &Relay, interactive: &Interactive) -> Connection {
    let traffic = || relay.connections().into_iter().map(|connection| (bytes(&connection), connection));
    let before: Vec<_> = traffic().collect();
    let answered = interactive.answered();
    eventually("there is traffic", Duration::from_secs(10), || {
        (interactive.answered() > answered + 200).then_some(())
    });
    let grown = traffic().zip(before).map(|((now, connection), (before, _))| (now - before, connection));
    grown.max_by_key(|(grown, _)| *grown).unwrap().1
}

fn bytes(connection: &Connection) -> u64 {
    Way::BOTH.iter().map(|way| connection.bytes(*way)).sum()
}

/// Twenty sessions over two tunnels, one of which falls silent: all go on, after a stall that is bounded.
fn one_tunnel_falls_silent(ways: &[Way]) {
    let seed = load::seed(1);
    let (site, relay) = Site::builder().behind_relay(2, "");
    let answers = site.resource("answers", Answers::new().address);
    let interactive = Interactive::start(answers, 20, Duration::from_millis(50), seed);
    let hurt = busiest(&relay, &interactive);
    hurt.black_hole(ways);
    eventually("the agent has another tunnel in its place", Duration::from_secs(15), || {
        let up = relay.connections();
        let fresh = up.iter().filter(|connection| connection.number() != hurt.number()).count();
        (fresh == 2 && site.member(&site.agents[0].id)["tunnels"] == 2).then_some(())
    });
    let before = interactive.answered();
    eventually("sessions go on", Duration::from_secs(10), || {
        (interactive.answered() > before + 200).then_some(())
    });
    let summary = interactive.finish();
    assert!(summary.failures.is_empty(), "SEED={seed}: {:?}", summary.failures);
    let stall = summary.longest_stall();
    assert!(stall > Duration::from_secs(1), "the hole was felt: {stall:?}");
    assert!(stall < STALL_MAX, "SEED={seed}: {stall:?}");
    assert!(site.sessions("answers").iter().all(|session| session["outcome"] != "tunnel_lost"));
}

#[test]
fn sessions_leave_a_tunnel_that_is_silent_both_ways() {
    one_tunnel_falls_silent(&Way::BOTH);
}

#[test]
fn sessions_leave_a_tunnel_that_is_silent_towards_the_gateway() {
    one_tunnel_falls_silent(&[Way::ToGateway]);
}

#[test]
fn sessions_leave_a_tunnel_that_is_silent_towards_the_agent() {
    one_tunnel_falls_silent(&[Way::ToAgent]);
}

#[test]
fn a_short_silence_of_all_tunnels_ends_no_session() {
    let seed = load::seed(2);
    let (site, relay) = Site::builder().behind_relay(2, "");
    let answers = site.resource("answers", Answers::new().address);
    let interactive = Interactive::start(answers, 20, Duration::from_millis(50), seed);
    let id = site.agents[0].id.clone();
    relay.black_hole(&Way::BOTH);
    eventually("the gateway notices", Duration::from_secs(8), || {
        (site.member_status(&id) == "No response").then_some(())
    });
    relay.heal();
    eventually("it is taken back", Duration::from_secs(10), || {
        (site.member_status(&id) == "Active").then_some(())
    });
    let answered = interactive.answered();
    eventually("sessions go on", Duration::from_secs(10), || {
        (interactive.answered() > answered + 200).then_some(())
    });
    let summary = interactive.finish();
    assert!(summary.failures.is_empty(), "SEED={seed}: {:?}", summary.failures);
}
