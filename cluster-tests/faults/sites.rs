//! Groups of which one member, or each, is somewhere else than on this machine as it is.

use crate::{
    Place, Relay, Site,
    netns::{Host, Lan},
};

/// A gateway, and agents that are alone on hosts of a network of their own.
pub(super) fn on_hosts(count: usize) -> (Site, Vec<Host>) {
    let mut lan = Lan::new();
    let mut site = Site::builder().start();
    let hosts: Vec<_> = (0..count).map(|_| lan.host()).collect();
    for (number, host) in (1..).zip(&hosts) {
        site.add_agent_in(&host.place(), &format!("agent-{number}"), &[]);
    }
    site.wait_for_members(count);
    (site, hosts)
}

/// Three agents, the first of which has no other way to the gateway than through the relay.
pub(super) fn one_behind_relay() -> (Site, Relay) {
    let mut site = Site::builder().start();
    let relay = Relay::start(site.listen());
    site.add_agent_through(&relay, "agent-1", &[]);
    (with_two_more(site), relay)
}

/// Three agents, the first of which, and so the group's founder, runs in the place that is made for it.
pub(super) fn one_in<T>(make: impl FnOnce(&Site) -> (T, Place)) -> (Site, T) {
    let mut site = Site::builder().start();
    let (made, place) = make(&site);
    site.add_agent_in(&place, "agent-1", &[]);
    (with_two_more(site), made)
}

fn with_two_more(mut site: Site) -> Site {
    for name in ["agent-2", "agent-3"] {
        site.add_agent(name, &[]);
    }
    site.wait_for_members(3);
    site
}
