//! What befalls the site, one after the other: each fault is made, its alerts fire, it is healed, and they end.

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::Value;
use warren_cluster_tests::{
    AgentProcess, GROUP, OtherGateway, caller,
    disk::{SmallDisk, Syncs},
    eventually, hold,
    relay::End,
    target,
    tls::Credentials,
    tunnel::{self, Hello, Tunnel},
};

use super::{Run, SLOW, firing, other_version, strs};

impl Run {
    pub(super) fn calm(&self) {
        self.prometheus.wait_for("all are scraped", "sum(up) == 4", SLOW);
        hold("calm", Duration::from_secs(20), || true);
        // The machine's own disk may be as full as it likes.
        let fired =
            self.prometheus.now("ALERTS{alertname!=\"WarrenDiskNearlyFull\"}").expect("an expression");
        assert!(fired.is_empty(), "alerts while all is well: {fired:?}");
    }

    pub(super) fn drain(&self) {
        self.site.run(&["agents", "drain", "agent-2"]).ok();
        let draining = "warren_gateway_members{status=\"draining\"} > 0";
        self.prometheus.wait_for("the drain is seen", draining, SLOW);
        self.site.run(&["agents", "enable", "agent-2"]).ok();
        self.site.wait_for_members(3);
    }

    pub(super) fn edit(&self) {
        for number in 0..5 {
            self.site.resource(&format!("edit-{number}"), target::echo());
        }
    }

    pub(super) fn cut_tunnels(&self) {
        for _ in 0..3 {
            self.relay.cut(End::Reset);
            hold("sessions go on", Duration::from_secs(3), || true);
        }
        self.site.wait_for_members(3);
    }

    pub(super) fn lose_target(&mut self) {
        self.made = Instant::now();
        let refusing = self.site.resource("refusing", target::refusing());
        let denied = self.site.resource("denied", "127.0.0.99:5432");
        eventually("opens are refused and denied", SLOW, || {
            assert!(caller::ends_silently(refusing) && caller::ends_silently(denied));
            let found = self.prometheus.now(&firing("WarrenTargetsFailing")).expect("an expression");
            (!found.is_empty()).then_some(())
        });
        let alerts = ["WarrenTargetsFailing", "WarrenResourceUnreachable"];
        self.all_fire(&alerts);
        self.made = Instant::now();
        for name in ["refusing", "denied"] {
            self.site.run(&["resources", "delete", name, "--group", GROUP]).ok();
        }
        self.all_end(&alerts);
    }

    pub(super) fn kill_one(&mut self) {
        // Callers that do not lose patience before their sessions are given up.
        let held: Vec<_> = (0..9).map(|_| caller::open_echo(self.echo).expect("all is well")).collect();
        let open: Vec<_> = self.site.sessions("echo");
        let carried = |agent: &AgentProcess| {
            let of_it =
                |session: &&Value| session["outcome"] == "open" && session["member"] == agent.id.as_str();
            open.iter().filter(of_it).count()
        };
        let busiest = (0..3).max_by_key(|index| carried(&self.site.agents[*index])).expect("three members");
        self.kill(&[busiest]);
        let alerts = ["WarrenProcessDown", "WarrenMemberNoResponse", "WarrenGroupAtRisk"];
        self.all_fire(&alerts);
        self.restart(&[busiest]);
        self.fires("WarrenSessionsLost");
        drop(held);
        self.all_end(&alerts);
        self.ends("WarrenSessionsLost");
    }

    pub(super) fn kill_two(&mut self) {
        let leader = self.site.leader();
        let two = [leader, (leader + 1) % 3];
        self.kill(&two);
        self.fires("WarrenGroupNoQuorum");
        self.restart(&two);
        self.ends("WarrenGroupNoQuorum");
    }

    pub(super) fn kill_all(&mut self) {
        self.kill(&[0, 1, 2]);
        let alerts = ["WarrenGroupDown", "WarrenOpensFailingFast", "WarrenOpensFailingSlowly"];
        self.all_fire(&alerts);
        self.restart(&[0, 1, 2]);
        self.all_end(&alerts);
    }

    pub(super) fn kill_gateway(&mut self) {
        self.made = Instant::now();
        self.site.kill_gateway();
        self.fires("WarrenAgentWithoutTunnel");
        self.made = Instant::now();
        self.site.restart_gateway();
        self.site.wait_for_members(3);
        self.scrape();
        self.ends("WarrenAgentWithoutTunnel");
    }

    /// One more member, on a small disk of its own.
    pub(super) fn fill_disk(&mut self) {
        let disk = SmallDisk::over(&self.site.path("agent-4").join("data"), 16 << 10);
        self.site.add_agent_in(&disk.place(), "agent-4", &[]);
        self.site.wait_for_members(4);
        self.scrape();
        self.prometheus.wait_for("all are scraped", "sum(up) == 5", SLOW);
        self.made = Instant::now();
        disk.fill();
        let mut edits = 0;
        let full = firing("WarrenLogStopped");
        eventually("the log meets the full disk", SLOW, || {
            edits += 1;
            self.site.resource(&format!("full-{edits}"), target::echo());
            let found = self.prometheus.now(&full).expect("an expression");
            (!found.is_empty()).then_some(())
        });
        let alerts = ["WarrenLogStopped", "WarrenDiskNearlyFull", "WarrenConfigLag"];
        self.all_fire(&alerts);
        self.made = Instant::now();
        disk.free();
        self.all_end(&alerts);
        self.lose_last();
    }

    /// Somebody with an agent's credentials and tunnels of his own making.
    pub(super) fn intrude(&mut self) {
        self.site.run(&["groups", "create", "other"]).ok();
        let mut lent = self.site.start_agent("lent", &self.site.token_of("other", &[]), &[]);
        lent.process.ready();
        lent.process.kill();
        let credentials = Credentials::of_agent(&lent.data());
        self.break_protocol(&credentials);
        self.lose_proofs(&credentials);
        self.site.run(&["groups", "delete", "other", "--force"]).ok();
    }

    fn break_protocol(&self, credentials: &Credentials) {
        let hello = Hello { boot: 0x5EED, epoch: 1, slot: 0 };
        let mut tunnel = Tunnel::connect(self.site.listen(), credentials, hello).expect("a tunnel comes up");
        // The gateway may hang up before it has heard all of it.
        let _ = tunnel.say_raw(&tunnel::message(2, &tunnel::frame(99, 0, b"")));
        let counted = "warren_tunnel_protocol_errors_total > 0";
        self.prometheus.wait_for("the broken frame is counted", counted, SLOW);
    }

    /// They come up and carry nothing, as behind a proxy that loses what it is given.
    fn lose_proofs(&mut self, credentials: &Credentials) {
        self.made = Instant::now();
        let silent = firing("WarrenTunnelsUnverified");
        eventually("tunnels are given up unverified", SLOW, || {
            let mut tunnel = Tunnel::upgrade(self.site.listen(), credentials).expect("it is let in");
            tunnel.say(&Hello { boot: 0x51E7, epoch: 1, slot: 0 }.frame()).expect("it is heard");
            let closed = tunnel.closed();
            assert!(closed.is_ok(), "it is told: {closed:?}");
            let found = self.prometheus.now(&silent).expect("an expression");
            (!found.is_empty()).then_some(())
        });
        self.fires("WarrenTunnelsUnverified");
        self.made = Instant::now();
        self.ends("WarrenTunnelsUnverified");
    }

    /// Callers of a second gateway, which no agent has a tunnel to.
    pub(super) fn pass_on(&mut self) {
        self.other = Some(OtherGateway::start(&self.site, 2, &strs(&self.shared)));
        self.scrape();
        let there = SocketAddr::from(([127, 0, 0, 2], self.echo.port()));
        let (mut held, _) =
            eventually("the other gateway passes callers on", SLOW, || caller::open_echo(there).ok()).0;
        let passing = "sum(rate(warren_gateway_passed_on_total[10s])) > 0 and sum(warren_gateway_guests) > 0";
        eventually("it is scraped", SLOW, || {
            caller::open_echo(there).expect("it is passed on");
            caller::round_trip(&mut held, b"it goes on").expect("it is passed on");
            let found = self.prometheus.now(passing).expect("an expression");
            (!found.is_empty()).then_some(())
        });
    }

    /// Noise at both ports.
    pub(super) fn strangers(&mut self) {
        let peer = self.site.agents[0].process.address("peer");
        for address in [self.site.listen(), peer] {
            for _ in 0..10 {
                let mut socket = caller::connect(address).expect("the port is open");
                let _ = socket.write_all(b"GET / HTTP/1.1\r\n\r\n");
            }
        }
        hold("it is scraped", Duration::from_secs(5), || true);
    }

    /// One member hears nothing of the others.
    pub(super) fn cut_off(&mut self) {
        let deaf = (self.site.leader() + 1) % 3;
        let peer = self.site.agents[deaf].process.address("peer");
        self.made = Instant::now();
        self.firewall.drop_port(peer.port());
        self.fires("WarrenMemberCutOff");
        self.made = Instant::now();
        self.firewall.clear();
        self.ends("WarrenMemberCutOff");
    }

    /// Whoever leads is frozen until another does.
    pub(super) fn freeze_leaders(&mut self) {
        // Those that were killed before must not count.
        let calm = "max(increase(warren_raft_leader_changes_total[60s])) < 1";
        self.prometheus.wait_for("earlier elections are past", calm, SLOW * 2);
        self.made = Instant::now();
        let unsteady = firing("WarrenLeaderUnsteady");
        eventually("the leaders are noticed", SLOW * 2, || {
            let leader = self.site.leader();
            let leader = &self.site.agents[leader];
            leader.process.freeze();
            let another = format!("max(warren_raft_is_leader{{instance!=\"{}\"}}) == 1", leader.name);
            self.prometheus.wait_for("another leads", &another, SLOW);
            leader.process.thaw();
            let found = self.prometheus.now(&unsteady).expect("an expression");
            (!found.is_empty()).then_some(())
        });
        self.fires("WarrenLeaderUnsteady");
        self.made = Instant::now();
        self.site.wait_for_members(3);
        self.ends("WarrenLeaderUnsteady");
    }

    pub(super) fn slow_disk(&mut self) {
        let slow = (self.site.leader() + 1) % 3;
        let syncs = Syncs::delayed(&self.site.agents[slow].process, Duration::from_millis(200));
        self.made = Instant::now();
        let mut edits = 0;
        let firing = firing("WarrenSlowDisk");
        eventually("the slow disk is noticed", SLOW, || {
            edits += 1;
            self.site.resource(&format!("slow-{edits}"), target::echo());
            let found = self.prometheus.now(&firing).expect("an expression");
            (!found.is_empty()).then_some(())
        });
        self.fires("WarrenSlowDisk");
        drop(syncs);
        self.made = Instant::now();
        self.ends("WarrenSlowDisk");
        for number in 1..=edits {
            self.site.run(&["resources", "delete", &format!("slow-{number}"), "--group", GROUP]).ok();
        }
    }

    /// A gateway that lends certificates for a minute only, until it is set right; agents renew theirs at half of that.
    pub(super) fn shorten_certificates(&mut self) {
        self.configure_gateway("certificate_lifetime: 1m\n");
        self.site.add_agent("agent-5", &[]);
        self.site.wait_for_members(4);
        self.made = Instant::now();
        self.scrape();
        let alerts = ["WarrenCertificateExpiring", "WarrenCertificateEnds"];
        self.all_fire(&alerts);
        self.made = Instant::now();
        self.configure_gateway("");
        self.site.wait_for_members(4);
        self.scrape();
        self.all_end(&alerts);
        self.lose_last();
    }

    /// Revokes the member that came last.
    fn lose_last(&mut self) {
        let last = self.site.agents.pop().expect("it was just added");
        self.site.run(&["agents", "revoke", &last.id]).ok();
        drop(last);
        self.scrape();
    }

    fn configure_gateway(&mut self, yaml: &str) {
        fs::write(self.site.path("gateway.yaml"), yaml).expect("the site's directory can be written");
        self.site.kill_gateway();
        self.site.restart_gateway();
    }

    /// A member of another version, if there is a program of one.
    pub(super) fn mix_versions(&mut self) {
        let Some(place) = other_version() else { return };
        self.made = Instant::now();
        self.site.add_agent_in(&place, "agent-6", &[]);
        self.site.wait_for_members(4);
        self.scrape();
        self.fires("WarrenVersionSkew");
        self.made = Instant::now();
        self.lose_last();
        self.ends("WarrenVersionSkew");
    }
}
