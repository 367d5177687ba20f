//! The way out: through proxies that let nobody pass without a password, past them, and past gateways that are dead.
//!
//! Needs squid, tinyproxy and dante-server, and root for dante's accounts; a proxy that is missing is passed over, but in CI.

use std::{fs, net::TcpListener, time::Duration};

use warren_cluster_tests::{
    AgentProcess, Site, caller, eventually, http,
    load::{self, Answers, Bulk, Exchange, Interactive, Running, Sizes},
    proxy::{Kind, PASSWORD, PASSWORD_IN_URL, Proxy, USER},
    target,
};

const SOON: Duration = Duration::from_secs(30);
const WRONG: &str = "close-barley";

/// An agent that knows the gateways and its token only by these arguments and variables.
fn launch(site: &Site, name: &str, args: &[&str], env: &[(&str, String)]) -> AgentProcess {
    let data = site.path(name).join("data");
    let (data, token, ca) = (data.to_str().unwrap(), site.token(&[]), site.ca());
    let own = ["agent", "--name", name, "--data-dir", data, "--token", &token, "--ca", &ca];
    let listening = ["--peer-listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let args = own.iter().chain(&listening).chain(args).map(ToString::to_string).collect();
    site.launch_agent(name, args, env)
}

fn wait_for_log(agent: &AgentProcess, text: &str) {
    eventually(&format!("{} says `{text}`", agent.name), SOON, || {
        agent.process.log().contains(text).then_some(())
    });
}

/// Enrols an agent through the proxy, which was given it in some way, and carries bytes both ways.
fn passes(kind: Kind, launched: impl FnOnce(&Site, &Proxy) -> AgentProcess, from: &str) {
    if !kind.is_here() {
        return;
    }
    let site = Site::builder().start();
    let mut proxy = Proxy::start(kind);
    let mut agent = launched(&site, &proxy);
    agent.process.ready();
    let log = agent.process.log();
    assert!(log.contains(&format!("proxy={}", proxy.url())) && log.contains(from), "{log}");
    assert!(!log.contains(PASSWORD) && !log.contains(PASSWORD_IN_URL), "no password in a log: {log}");

    let echo_target = target::echo();
    let echo = site.resource("echo", echo_target);
    caller::echo_whole(echo, 3 << 20).unwrap();
    if kind != Kind::Squid {
        // Both tell of connections as they begin.
        let log = proxy.log();
        let port = |address: std::net::SocketAddr| [":", "."].map(|dot| format!("{dot}{}", address.port()));
        assert!(port(site.listen()).iter().any(|port| log.contains(port)), "the gateway went through: {log}");
        assert!(!port(echo_target).iter().any(|port| log.contains(port)), "the target did not: {log}");
    }

    proxy.kill();
    let metrics = agent.process.address("metrics");
    let tunnels = || http::sum(&http::metrics(metrics), "warren_agent_tunnels", "");
    eventually("no tunnel outlives the proxy", SOON, || (tunnels() == 0.0).then_some(()));
    wait_for_log(&agent, &format!("proxy {} cannot be reached", proxy.url()));
    proxy.restart();
    eventually("tunnels are back with the proxy", SOON, || (tunnels() == 2.0).then_some(()));
    caller::echo_whole(echo, 1 << 10).unwrap();
}

#[test]
fn an_agent_enrols_and_serves_through_squid() {
    passes(
        Kind::Squid,
        |site, proxy| launch(site, "a", &["--gateway", &site.url(), "--proxy", &proxy.good_url()], &[]),
        "--proxy",
    );
}

#[test]
fn an_agent_enrols_and_serves_through_tinyproxy() {
    passes(
        Kind::Tinyproxy,
        |site, proxy| {
            let env = [("HTTPS_PROXY", proxy.good_url()), ("NO_PROXY", "10.0.0.0/8".into())];
            launch(site, "a", &["--gateway", &site.url()], &env)
        },
        "HTTPS_PROXY",
    );
}

#[test]
fn an_agent_enrols_and_serves_through_dante() {
    passes(
        Kind::Dante,
        |site, proxy| {
            let (file, password) = (site.path("agent.yaml"), site.path("password"));
            fs::write(&password, format!("{PASSWORD}\n")).unwrap();
            let text = format!(
                "gateways: ['{}']\nproxy: {{url: '{}', password_file: '{}'}}\n",
                site.url(),
                proxy.url_with(USER),
                password.display()
            );
            fs::write(&file, text).unwrap();
            launch(site, "a", &["--config", file.to_str().unwrap()], &[])
        },
        "the file",
    );
}

#[test]
fn a_wrong_password_is_told_with_the_proxys_name() {
    let site = Site::builder().start();
    for (kind, how) in [(Kind::Squid, "407"), (Kind::Tinyproxy, "401"), (Kind::Dante, "SOCKS5")] {
        if !kind.is_here() {
            continue;
        }
        let proxy = Proxy::start(kind);
        let wrong = proxy.url_with(&format!("{USER}:{WRONG}"));
        let name = format!("{kind:?}");
        let agent = launch(&site, &name, &["--gateway", &site.url()], &[("WARREN_PROXY", wrong)]);
        wait_for_log(&agent, &format!("proxy {} refused our user name or password ({how}", proxy.url()));
        let log = agent.process.log();
        assert!(!log.contains(WRONG), "no password in a log: {log}");
        assert!(!agent.process.is_ready());
    }
    if !Kind::Squid.is_here() {
        return;
    }
    let none = Proxy::start(Kind::Squid);
    let agent = launch(&site, "nobody", &["--gateway", &site.url(), "--proxy", &none.url()], &[]);
    wait_for_log(&agent, &format!("proxy {} asks for a user name and password", none.url()));
}

#[test]
fn a_password_that_changes_counts_without_a_restart() {
    if !Kind::Squid.is_here() {
        return;
    }
    let site = Site::builder().start();
    let mut proxy = Proxy::start(Kind::Squid);
    let (file, password) = (site.path("agent.yaml"), site.path("password"));
    fs::write(&password, PASSWORD).unwrap();
    let text =
        format!("proxy: {{url: '{}', password_file: '{}'}}\n", proxy.url_with(USER), password.display());
    fs::write(&file, text).unwrap();
    let args = ["--gateway", &site.url(), "--config", file.to_str().unwrap()];
    let mut agent = launch(&site, "a", &args, &[]);
    agent.process.ready();

    fs::write(&password, WRONG).unwrap();
    proxy.restart();
    let metrics = agent.process.address("metrics");
    let (refused, _) = eventually("it is not ready, and says why", SOON, || {
        let (status, body) = http::get(metrics, "/readyz").ok()?;
        (status == 503).then_some(body)
    });
    assert!(refused.contains("the proxy does not let this agent through"), "{refused}");
    let counted = http::sum(&http::metrics(metrics), "warren_agent_reconnects_total", "proxy_refused");
    assert!(counted >= 1.0, "refusals are counted");

    fs::write(&password, PASSWORD).unwrap();
    eventually("it is ready again", Duration::from_secs(60), || {
        (http::get(metrics, "/readyz").ok()?.0 == 200).then_some(())
    });
}

#[test]
fn no_proxy_and_none_go_past_a_proxy_of_the_environment() {
    let site = Site::builder().start();
    let nowhere = format!("http://{}", target::refusing());
    let env = |no_proxy: &str| [("HTTPS_PROXY", nowhere.clone()), ("NO_PROXY", no_proxy.to_owned())];
    let gateway = site.url();
    let stuck = launch(&site, "stuck", &["--gateway", &gateway], &env("10.0.0.0/8"));
    let mut excepted = launch(&site, "excepted", &["--gateway", &gateway], &env("10.0.0.0/8,127.0.0.0/8"));
    let mut off = launch(&site, "off", &["--gateway", &gateway, "--proxy", "none"], &env(""));
    excepted.process.ready();
    off.process.ready();
    wait_for_log(&stuck, &format!("proxy {nowhere} cannot be reached"));
    assert!(!stuck.process.is_ready());
    assert!(excepted.process.log().contains("reached without the proxy"), "{}", excepted.process.log());
    assert!(off.process.log().contains("reached directly"), "{}", off.process.log());
}

#[test]
fn a_dead_and_a_silent_gateway_are_passed_over() {
    let site = Site::builder().start();
    // The kernel takes connections, nobody speaks.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("https://{}", silent.local_addr().unwrap());
    let dead = format!("https://{}", target::refusing());
    let args = ["--gateway", &dead, "--gateway", &silent, "--gateway", &site.url()];
    let mut agent = launch(&site, "a", &args, &[]);
    agent.process.ready();
    let echo = site.resource("echo", target::echo());
    caller::echo_whole(echo, 1 << 16).unwrap();
}

/// Sessions of both kinds over restarts of the proxy that all tunnels go through.
fn restart_keeps_sessions(kind: Kind) {
    if !kind.is_here() {
        return;
    }
    let site = Site::builder().start();
    let mut proxy = Proxy::start(kind);
    let mut agent = launch(&site, "a", &["--gateway", &site.url(), "--proxy", &proxy.good_url()], &[]);
    agent.process.ready();
    let (seed, pace, bytes) = (load::seed(1), 16 << 20, 32 << 20);
    let exchange = Exchange::start(pace);
    let bulk = site.resource("bulk", exchange.address);
    let answers = site.resource("answers", Answers::new().address);
    let sizes = Sizes { up: bytes, down: bytes };
    let bulks = (0..2).map(|number| Bulk { seed: seed + number, sizes, pace });
    let bulks = Running::start(bulk, bulks);
    let interactive = Interactive::start(answers, 8, Duration::from_millis(20), seed);
    let metrics = agent.process.address("metrics");
    for _ in 0..2 {
        eventually("both tunnels are up", SOON, || {
            (http::sum(&http::metrics(metrics), "warren_agent_tunnels", "") == 2.0).then_some(())
        });
        let (moved, answered) = (bulks.moved(), interactive.answered());
        proxy.restart();
        eventually("everything moves on", SOON, || {
            (bulks.moved() > moved && interactive.answered() > answered + 100).then_some(())
        });
    }
    let (lost, summary) = (bulks.finish(&exchange), interactive.finish());
    assert!(lost.is_empty() && summary.failures.is_empty(), "SEED={seed}: {lost:?} {summary:?}");
    let reconnects = http::sum(&http::metrics(metrics), "warren_agent_reconnects_total", "");
    assert!(reconnects >= 4.0, "each restart took both tunnels: {reconnects}");
}

#[test]
fn a_restart_of_squid_keeps_sessions() {
    restart_keeps_sessions(Kind::Squid);
}

#[test]
fn a_restart_of_tinyproxy_keeps_sessions() {
    restart_keeps_sessions(Kind::Tinyproxy);
}

#[test]
fn a_restart_of_dante_keeps_sessions() {
    restart_keeps_sessions(Kind::Dante);
}
