//! Groups of one gateway share its root, and nothing else.

use std::{
    io::{self, ErrorKind, Read},
    net::SocketAddr,
    time::Duration,
};

use warren_cluster_tests::{Site, eventually, http, tls::Credentials};

/// What a caller with these credentials hears from a member's peer port.
fn first_words(peer: SocketAddr, id: &str, credentials: &Credentials) -> io::Result<usize> {
    let name = format!("{id}.agent.warren.internal");
    credentials.connect(peer, &name, "h2")?.read(&mut [0; 64])
}

#[test]
fn a_certificate_of_another_group_is_refused_by_peers() {
    let mut site = Site::with_agents(2);
    site.run(&["groups", "create", "other"]).ok();
    let mut foreign = site.start_agent("foreign", &site.token_of("other", &[]), &[]);
    foreign.process.ready();
    let (peer, metrics) = (site.agents[0].process.address("peer"), site.agents[0].process.address("metrics"));
    let id = site.agents[0].id.clone();

    let own = Credentials::of_agent(&site.agents[1].data());
    assert!(first_words(peer, &id, &own).unwrap() > 0, "a member of the group is answered");

    let other = Credentials::of_agent(&foreign.data());
    let refused = first_words(peer, &id, &other);
    let error = refused.expect_err("one of another group is not");
    assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "it is told: {error}");
    assert!(error.to_string().contains("alert"), "in the handshake: {error}");
    eventually("the refusal is counted", Duration::from_secs(5), || {
        let text = http::metrics(metrics);
        (http::sum(&text, "warren_agent_peers_refused_total", "other_group") == 1.0).then_some(())
    });

    // Nor does it show up anywhere but in its own group.
    let members = site.status()["members"].as_array().unwrap().len();
    assert_eq!(members, 2);
    let other = site.json(&["groups", "status", "other"]);
    assert_eq!(other["members"].as_array().map(Vec::len), Some(1), "{other}");
}
