//! Gateways on one PostgreSQL database, and agents with tunnels to some of them.
//!
//! Needs postgresql; where it is missing this is passed over, but in CI.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::Value;
use warren_cluster_tests::{
    Answer, GROUP, OtherGateway, Postgres, Process, Site, caller, eventually, http, opens::Opens, target,
};

const SOON: Duration = Duration::from_secs(30);
/// How soon what is done at one gateway counts at the other.
const NEWS_WITHIN: Duration = Duration::from_secs(1);
/// How long an open may take while gateways are restarted.
const OPEN_WITHIN: Duration = Duration::from_millis(1_500);
/// Longer than a gateway takes to drain and stop.
const STOPS_WITHIN: Duration = Duration::from_secs(40);

struct World {
    postgres: Postgres,
    site: Site,
    /// The gateways after the first; the callers of each come to another address.
    others: Vec<OtherGateway>,
}

impl World {
    /// Gateways, and agents that are told of all of them.
    fn new(postgres: Postgres, gateways: u8, agents: usize) -> Self {
        let mut world = Self::without_agents(postgres, gateways);
        let urls: Vec<_> = world.others.iter().map(|other| other.url.clone()).collect();
        let more: Vec<&str> = urls.iter().flat_map(|url| ["--gateway", url]).collect();
        for number in 1..=agents {
            world.site.add_agent(&format!("agent-{number}"), &more);
        }
        world.site.wait_for_members(agents);
        world
    }

    fn without_agents(postgres: Postgres, gateways: u8) -> Self {
        let store = postgres.database("warren");
        let key = postgres.data().with_file_name("operator.key");
        let shared = ["--store", &store, "--operator-key-file", key.to_str().unwrap()];
        let site = Site::builder().gateway_args(&shared).start();
        let others = (2..=gateways).map(|number| OtherGateway::start(&site, number, &shared)).collect();
        Self { postgres, site, others }
    }

    /// The CLI as an admin of the second gateway.
    fn at_other(&self, args: &[&str]) -> Answer {
        self.site.run_as(args, &[("WARREN_API", &self.others[0].url)])
    }

    /// Waits until so many members have a tunnel to the second gateway.
    fn other_has(&self, count: usize) {
        eventually("agents have tunnels to the other gateway", SOON, || {
            let status = self.at_other(&["groups", "status", GROUP]).try_json()?;
            let members = status["members"].as_array()?;
            let there = |member: &&Value| member["tunnels"] == 1 && member["status"] == "Active";
            (members.iter().filter(there).count() == count).then_some(())
        });
    }

    /// Callers that were passed on to another gateway, and got to their target.
    fn passed_on(&mut self) -> f64 {
        let gateways = std::iter::once(&mut self.site.gateway);
        let gateways = gateways.chain(self.others.iter_mut().map(|other| &mut other.process));
        let count = |gateway: &mut Process| {
            let metrics = http::metrics(gateway.address("metrics"));
            http::sum(&metrics, "warren_gateway_passed_on_total", "result=\"ok\"")
        };
        gateways.map(count).sum()
    }
}

/// Where the gateway of that number serves what the first serves here.
fn at(number: u8, here: SocketAddr) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, number], here.port()))
}

fn there(here: SocketAddr) -> SocketAddr {
    at(2, here)
}

#[test]
fn what_is_done_at_one_gateway_counts_at_the_other_within_a_second() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let mut world = World::new(postgres, 2, 2);
    world.other_has(2);
    let echo = world.site.resource("echo", target::echo());
    let (_, took) = eventually("the other serves it", SOON, || caller::open_echo(there(echo)).ok());
    assert!(took < NEWS_WITHIN, "a resource after {took:?}");

    let target = target::echo().to_string();
    let made = world.at_other(&["resources", "create", "second", "--group", GROUP, "--target", &target]).ok();
    let second: SocketAddr = made.try_json().unwrap()["listen"].as_str().unwrap().parse().unwrap();
    assert_eq!(second.ip(), std::net::IpAddr::from([127, 0, 0, 2]));
    let here = SocketAddr::from(([127, 0, 0, 1], second.port()));
    let (_, took) = eventually("the first serves it", SOON, || caller::open_echo(here).ok());
    assert!(took < NEWS_WITHIN, "a resource after {took:?}");

    let (_session, _) = caller::open_echo(here).unwrap();
    let listed = world.at_other(&["sessions", "list", "--resource", "second"]).ok().try_json().unwrap();
    let first = world.site.json(&["sessions", "list", "--resource", "second"])[0].clone();
    assert_eq!((&listed[0]["id"], &listed[0]["trace"]), (&first["id"], &first["trace"]), "as at the first");
    let gateway = world.site.gateway.ready()["id"].clone();
    let id = first["id"].as_str().unwrap();
    assert_eq!(Some(id.split_once('@').unwrap().1), gateway.as_str(), "which has it");
    let shown = world.at_other(&["sessions", "show", id]).ok().try_json().unwrap();
    assert_eq!((&shown["trace"], &shown["outcome"]), (&first["trace"], &"open".into()));

    world.site.run(&["resources", "delete", "echo", "--group", GROUP]).ok();
    let (_, took) = eventually("the other has closed it", SOON, || caller::connect(there(echo)).err());
    assert!(took < NEWS_WITHIN, "a resource less after {took:?}");

    let vic = world.site.json(&["users", "create", "vic", "--role", "viewer"]);
    let token = vic["token"].as_str().unwrap().to_owned();
    let as_vic = [("WARREN_API", world.others[0].url.as_str()), ("WARREN_TOKEN", &token)];
    world.site.run_as(&["groups", "list"], &as_vic).ok();
    world.site.run(&["users", "delete", "vic"]).ok();
    assert_eq!(world.site.run_as(&["groups", "list"], &as_vic).code, 3);

    let metrics = world.site.agents[1].process.address("metrics");
    let tunnels = || http::sum(&http::metrics(metrics), "warren_agent_tunnels", "");
    assert_eq!(tunnels(), 2.0, "one to each gateway");
    world.at_other(&["agents", "revoke", "agent-2"]).ok();
    let (_, took) = eventually("both have cut it", SOON, || (tunnels() == 0.0).then_some(()));
    assert!(took < NEWS_WITHIN, "a revocation after {took:?}");
    caller::open_echo(here).unwrap();
}

#[test]
fn a_database_that_is_away_ends_no_session_and_keeps_no_new_one_out() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let mut world = World::new(postgres, 2, 1);
    world.other_has(1);
    let echo = world.site.resource("echo", target::echo());
    eventually("the other serves it", SOON, || caller::open_echo(there(echo)).ok());
    let mut sessions = [echo, there(echo)].map(|at| caller::open_echo(at).unwrap().0);

    world.postgres.end();
    let refused = world.site.run(&["groups", "list"]);
    assert!(refused.code != 0 && refused.stderr.contains("store does not answer"), "{refused:?}");
    for (session, at) in sessions.iter_mut().zip([echo, there(echo)]) {
        caller::round_trip(session, b"as before").unwrap();
        caller::open_echo(at).unwrap();
    }
    // An agent that was known comes back through either.
    world.site.agents[0].restart();
    world.site.agents[0].process.ready();
    eventually("sessions are opened on it", SOON, || caller::open_echo(echo).ok());

    world.postgres.begin();
    eventually("the store answers again", SOON, || {
        (world.site.run(&["groups", "list"]).code == 0).then_some(())
    });
    world.site.resource("second", target::echo());
}

#[test]
fn an_agent_that_knows_one_gateway_is_reached_through_every_one() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let mut world = World::without_agents(postgres, 3);
    world.site.add_agent("agent-1", &[]);
    world.site.wait_for_members(1);
    let echo = world.site.resource("echo", target::echo());
    for number in [2, 3] {
        eventually("it is served", SOON, || caller::open_echo(at(number, echo)).ok());
        caller::echo_whole(at(number, echo), 3_000_000).unwrap();
    }
    assert!(world.passed_on() >= 4.0);
    let (mut session, _) = caller::open_echo(there(echo)).unwrap();
    let shown = world.at_other(&["sessions", "list"]).try_json().unwrap();
    assert!(shown.to_string().contains("at gwy-"), "{shown}");

    // Nobody is left to ask.
    world.site.kill_gateway();
    assert!(caller::ends_silently(there(echo)));
    world.site.restart_gateway();
    eventually("it is served again", SOON, || caller::open_echo(there(echo)).ok());
    let cut = caller::round_trip(&mut session, b"are you still there?").unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset, "a cut is not an end");
}

#[test]
fn any_gateway_answers_for_a_group_whose_agents_have_tunnels_to_another_one() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let mut world = World::without_agents(postgres, 2);
    for name in ["agent-1", "agent-2"] {
        world.site.add_agent(name, &[]);
    }
    world.site.wait_for_members(2);
    let begun = Instant::now();
    let status = world.at_other(&["groups", "status", GROUP]).try_json().unwrap();
    println!("a status from the other gateway after {:?}", begun.elapsed());
    let is_active = |member: &Value| member["tunnels"] == 2 && member["status"] == "Active";
    assert!(status["members"].as_array().unwrap().iter().all(is_active), "{status}");

    let target = target::echo().to_string();
    let begun = Instant::now();
    let made = world.at_other(&["resources", "create", "echo", "--group", GROUP, "--target", &target]).ok();
    println!("a resource made through it after {:?}", begun.elapsed());
    let echo: SocketAddr = made.try_json().unwrap()["listen"].as_str().unwrap().parse().unwrap();
    for number in [1, 2] {
        eventually("it is served", SOON, || caller::open_echo(at(number, echo)).ok());
    }
    let config = world.at_other(&["config", "get", "--group", GROUP]).ok();
    assert!(config.stdout.contains("echo"), "{config:?}");
    world.at_other(&["agents", "drain", "agent-1"]).ok();
    let shown = world.site.json(&["groups", "status", GROUP]).to_string();
    assert!(shown.contains("Draining"), "{shown}");
    let refused = world.at_other(&["agents", "drain", "agent-2"]);
    assert_eq!(refused.code, 3, "the last one stays: {refused:?}");
    world.at_other(&["agents", "enable", "agent-1"]).ok();

    world.site.kill_gateway();
    let nobody = world.at_other(&["config", "get", "--group", GROUP]);
    assert!(nobody.code == 4 && nobody.stderr.contains("or to another one"), "{nobody:?}");
}

/// Each agent has two tunnels, so that one of the three gateways has none of it. The next gateway is restarted as soon as
/// one is ready, long before agents are back at it.
#[test]
fn three_gateways_are_restarted_one_after_the_other_and_no_caller_of_several_addresses_fails() {
    let Some(postgres) = Postgres::start(&[]) else { return };
    let mut world = World::new(postgres, 3, 2);
    let echo = world.site.resource("echo", target::echo());
    let addresses = [1, 2, 3].map(|number| at(number, echo));
    for address in addresses {
        eventually("it is served", SOON, || caller::open_echo(address).ok());
    }
    assert!(world.passed_on() > 0.0, "one of the gateways has no agent of its own");
    // A hundred opens a second.
    let opens = Opens::at_any(&addresses, 20, Duration::from_millis(200));
    world.site.gateway.terminate();
    world.site.gateway.wait(STOPS_WITHIN);
    world.site.restart_gateway();
    for other in &mut world.others {
        other.process.terminate();
        other.process.wait(STOPS_WITHIN);
        other.restart(&world.site);
    }
    let restarted = opens.count();
    eventually("callers go on", SOON, || (opens.count() > restarted + 200).then_some(()));
    let opens = opens.finish();
    let failed: Vec<_> = opens.iter().filter(|opened| opened.outcome.is_err()).collect();
    assert!(failed.is_empty() && opens.len() > 100, "{} of {}: {failed:#?}", failed.len(), opens.len());
    let moved = opens.iter().filter(|opened| opened.tried > 1).count();
    let slowest = opens.iter().max_by_key(|opened| opened.took).unwrap();
    println!("{} opens, {moved} at another address than the first, slowest {:?}", opens.len(), slowest.took);
    assert!(slowest.took < OPEN_WITHIN, "{slowest:?}");
}
