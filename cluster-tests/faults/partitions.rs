//! Members that are cut off from each other while each keeps its tunnels.

use std::time::{Duration, Instant};

use super::{
    Seen,
    reach::{Held, SOON, Terms, WRITABLE, metrics, refused_without_quorum, resources, said, writable},
    sites::on_hosts,
};
use crate::{caller, eventually, hold, netns, target};

/// A cut member's packets, and whatever it asked before, are gone after so long a time.
const CUT: Duration = Duration::from_secs(4);
const HEALED: Duration = Duration::from_secs(5);

/// Row 3.
pub(super) fn one_way(seen: &mut Seen) {
    netns::within(|| {
        let (mut site, hosts) = on_hosts(3);
        let metrics = metrics(&mut site);
        let old = site.leader();
        let stood_before: u64 =
            metrics.iter().filter_map(|address| said(*address)).map(|said| said.stood).sum();
        let mut terms = Terms::default();
        let cut = Instant::now();
        for other in (0..3).filter(|other| *other != old) {
            hosts[other].is_deaf_to(&hosts[old]);
        }
        let mut stepped_down = None;
        eventually("another one leads, and it does not", SOON, || {
            let all: Vec<_> = metrics.iter().map(|address| said(*address)).collect();
            for (member, said) in all.iter().enumerate() {
                said.iter().for_each(|said| terms.note(member, *said));
            }
            let leads = |member: usize| all[member].is_some_and(|said| said.leads && said.quorum);
            if !leads(old) {
                stepped_down.get_or_insert(cut.elapsed());
            }
            (!leads(old) && (0..3).any(leads)).then_some(())
        });
        seen.time("another leads", cut.elapsed(), WRITABLE, SOON);
        let elected = cut.elapsed();
        seen.time("it does not say so any more", stepped_down.unwrap_or_default(), WRITABLE, SOON);
        writable(&site, "through-the-others");
        seen.told("config written after that", cut.elapsed() - elected);
        let stood: u64 = (0..3).filter_map(|member| said(metrics[member])).map(|said| said.stood).sum();
        seen.counted("elections", (stood - stood_before) as usize);
        for (member, address) in metrics.iter().enumerate() {
            said(*address).iter().for_each(|said| terms.note(member, *said));
        }
        hosts.iter().for_each(netns::Host::heals);
        let healed = Instant::now();
        site.wait_for_members(3);
        seen.time("all agree after the end", healed.elapsed(), HEALED, SOON);
        assert_eq!(resources(&site), ["through-the-others"]);
    });
}

/// Row 4.
pub(super) fn isolated(seen: &mut Seen) {
    netns::within(|| {
        let (mut site, hosts) = on_hosts(3);
        let metrics = metrics(&mut site);
        let (leader, lonely) = (site.leader(), (site.leader() + 1) % 3);
        let before = said(metrics[leader]).expect("it answers");
        let stood = said(metrics[lonely]).expect("it answers").stood;
        hosts[lonely].is_isolated();
        let cut = Instant::now();
        let took = writable(&site, "meanwhile");
        seen.time("config written meanwhile", took, WRITABLE, SOON);
        hold("it is alone", CUT.saturating_sub(cut.elapsed()), || true);
        let expected = said(metrics[leader]).expect("it answers").revision;
        hosts[lonely].heals();
        let (_, took) = eventually("it has caught up", SOON, || {
            said(metrics[lonely]).filter(|said| said.revision == expected)
        });
        seen.time("caught up after the end", took, HEALED, SOON);
        site.wait_for_members(3);
        let after = said(metrics[lonely]).expect("it answers");
        seen.count("times that it stood for election", (after.stood - stood) as usize, 0);
        seen.counted("terms more", (after.term - before.term) as usize);
    });
}

/// Row 5.
pub(super) fn each_alone(seen: &mut Seen) {
    netns::within(|| {
        let (site, hosts) = on_hosts(3);
        let echo = site.resource("echo", target::echo());
        let mut held = Held::open(&site, "echo", echo, 30);
        for (one, host) in hosts.iter().enumerate() {
            hosts[one + 1..].iter().for_each(|other| host.is_cut_from(other));
        }
        let cut = Instant::now();
        seen.told("a write refused, with the reason", refused_without_quorum(&site, "alone"));
        let mut opened = 0;
        let rest = CUT.saturating_sub(cut.elapsed()).max(Duration::from_secs(1));
        hold("callers are served", rest, || {
            opened += 1;
            caller::open_echo(echo).is_ok()
        });
        assert!(opened > 5, "{opened} were");
        hosts.iter().for_each(netns::Host::heals);
        let healed = Instant::now();
        writable(&site, "after");
        seen.time("config written after the end", healed.elapsed(), HEALED, SOON);
        seen.count("sessions lost", held.lost(), 0);
        site.wait_for_members(3);
        // The refused one may have been in a log when the cut came, and is there once at most.
        let known = resources(&site);
        assert!(known.iter().filter(|name| *name == "alone").count() <= 1, "{known:?}");
    });
}
