//! Sessions outlive the tunnels that carry them: whatever happens to connections, callers and targets see every byte once.

use std::time::{Duration, Instant};

use warren_cluster_tests::{
    Site, caller, eventually, http,
    load::{self, Answers, Bulk, Exchange, Interactive, Running, Sizes},
    relay::{Cut, End},
    target::WatchedEcho,
};

const EVERY: Duration = Duration::from_millis(50);
const SOON: Duration = Duration::from_secs(10);
const MIB: u64 = 1 << 20;

/// Sessions of both kinds, under way.
struct Load {
    exchange: Exchange,
    bulks: Running,
    interactive: Interactive,
}

/// Four sessions that move up to `mib` each way within some eight seconds, and twenty interactive ones.
fn load(site: &Site, mib: u64, seed: u64) -> Load {
    let pace = mib * MIB / 8;
    let exchange = Exchange::start(pace);
    let bulk = site.resource("bulk", exchange.address);
    let answers = site.resource("answers", Answers::new().address);
    // One direction ends long before the other, so that a half-closed session is moved, too.
    let sizes = |number| match number {
        0 => Sizes { up: mib * MIB, down: 3 },
        1 => Sizes { up: 0, down: mib * MIB },
        _ => Sizes { up: mib * MIB, down: mib * MIB },
    };
    let sessions = (0..4).map(|number| Bulk { seed: seed + number, sizes: sizes(number), pace });
    let bulks = Running::start(bulk, sessions);
    let interactive = Interactive::start(answers, 20, EVERY, seed);
    Load { exchange, bulks, interactive }
}

impl Load {
    /// All of it comes to its end, whole.
    fn finish(self, site: &Site, seed: u64) {
        let lost = self.bulks.finish(&self.exchange);
        let summary = self.interactive.finish();
        assert!(lost.is_empty() && summary.failures.is_empty(), "SEED={seed}: {lost:?} {summary:?}");
        for resource in ["bulk", "answers"] {
            eventually("each session is recorded as closed", Duration::from_secs(10), || {
                site.sessions(resource).iter().all(|session| session["outcome"] == "closed").then_some(())
            });
        }
    }
}

/// Sessions that the gateway has cut for a reason.
fn resets(site: &mut Site, reason: &str) -> f64 {
    let metrics = http::metrics(site.gateway.address("metrics"));
    http::sum(&metrics, "warren_gateway_sessions_total", &format!("result=\"{reason}\""))
}

#[test]
fn tunnels_cut_at_random_bytes_again_and_again_lose_nothing() {
    let seed = load::seed(1);
    let (mut site, relay) = Site::builder().behind_relay(2, "");
    let load = load(&site, 24, seed);
    let cutter = relay.cut_every(Duration::from_millis(300), Cut::One, seed);
    eventually("the bulk sessions end", Duration::from_secs(120), || load.bulks.is_finished().then_some(()));
    let inside = cutter.inside();
    let cuts = cutter.stop();
    load.finish(&site, seed);
    assert!(cuts >= 8 && inside >= 4, "{cuts} cuts, {inside} of them in the midst of data");
    assert_eq!(resets(&mut site, "tunnel_lost"), 0.0);
}

#[test]
fn tunnels_closed_in_good_order_by_something_in_between_lose_nothing_either() {
    let seed = load::seed(2);
    let (site, relay) = Site::builder().behind_relay(2, "");
    let load = load(&site, 8, seed);
    for _ in 0..3 {
        let before = load.interactive.answered();
        relay.cut(End::Fin);
        eventually("sessions go on", Duration::from_secs(20), || {
            (load.interactive.answered() > before + 100).then_some(())
        });
    }
    load.finish(&site, seed);
}

#[test]
fn sessions_wait_for_the_only_tunnel_through_an_outage_of_ten_seconds() {
    let seed = load::seed(3);
    let (site, relay) = Site::builder().behind_relay(1, "");
    let load = load(&site, 8, seed);
    relay.refuse();
    relay.cut(End::Reset);
    let start = Instant::now();
    eventually("ten seconds have passed", Duration::from_secs(11), || {
        (start.elapsed() >= Duration::from_secs(10)).then_some(())
    });
    assert_eq!(load.interactive.alive(), 20, "nobody was told to give up");
    let before = load.interactive.answered();
    relay.heal();
    eventually("sessions go on", Duration::from_secs(20), || {
        (load.interactive.answered() > before + 100).then_some(())
    });
    load.finish(&site, seed);
}

#[test]
fn an_outage_beyond_the_wait_resets_sessions_with_a_reason() {
    let builder = Site::builder().gateway_file("tunnel: {resume_within: 2s}\n");
    let (mut site, relay) = builder.behind_relay(1, "resume_within: 2s\n");
    let echo = WatchedEcho::new();
    let port = site.resource("echo", echo.address);
    let mut sessions: Vec<_> = (0..5).map(|_| caller::open_echo(port).unwrap().0).collect();
    relay.refuse();
    relay.cut(End::Reset);
    let start = Instant::now();
    sessions.iter_mut().for_each(|session| caller::wait_for_end(session, SOON).unwrap());
    let took = start.elapsed();
    assert!(took > Duration::from_secs(1), "they waited for a tunnel: {took:?}");
    eventually("the agent lets go of the targets", Duration::from_secs(15), || {
        (echo.open() == 0).then_some(())
    });
    for session in site.sessions("echo") {
        assert_eq!(session["outcome"], "tunnel_lost", "{session}");
        assert!(session["detail"].as_str().unwrap().contains("2s"), "it says how long it waited: {session}");
    }
    assert_eq!(resets(&mut site, "tunnel_lost"), 5.0);
    relay.heal();
    eventually("the agent is back", Duration::from_secs(20), || caller::open_echo(port).ok());
}

#[test]
fn sessions_of_a_killed_agent_are_reset_as_soon_as_its_next_process_comes() {
    let (mut site, _relay) = Site::builder().behind_relay(2, "");
    let port = site.resource("echo", WatchedEcho::new().address);
    let mut sessions: Vec<_> = (0..5).map(|_| caller::open_echo(port).unwrap().0).collect();
    site.agents[0].restart();
    site.agents[0].process.ready();
    let at_once = Duration::from_secs(2);
    sessions.iter_mut().for_each(|session| caller::wait_for_end(session, at_once).unwrap());
    eventually("the reason is recorded", SOON, || {
        let sessions = site.sessions("echo");
        sessions.iter().all(|session| session["outcome"] == "peer_restarted").then_some(())
    });
    assert_eq!(resets(&mut site, "peer_restarted"), 5.0);
    caller::open_echo(port).unwrap();
}

#[test]
fn an_agent_lets_go_of_its_targets_as_soon_as_the_next_gateway_process_comes() {
    let (mut site, _relay) = Site::builder().behind_relay(2, "");
    let echo = WatchedEcho::new();
    let port = site.resource("echo", echo.address);
    let sessions: Vec<_> = (0..5).map(|_| caller::open_echo(port).unwrap().0).collect();
    assert_eq!(echo.open(), 5);
    site.kill_gateway();
    drop(sessions);
    site.restart_gateway();
    site.wait_for_members(1);
    eventually("no target is held open", Duration::from_secs(2), || (echo.open() == 0).then_some(()));
    eventually("the same port serves again", SOON, || caller::open_echo(port).ok());
}
