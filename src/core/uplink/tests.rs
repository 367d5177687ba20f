use super::*;

struct World {
    uplink: Uplink,
    now: Instant,
}

impl World {
    fn new(slots: usize, gateways: usize) -> Self {
        let now = Instant::now();
        Self { uplink: Uplink::new(slots, gateways, now), now }
    }

    fn commands(&mut self) -> Vec<Command> {
        std::iter::from_fn(|| self.uplink.poll_command()).collect()
    }

    fn pass(&mut self, time: Duration) -> Vec<Command> {
        self.now += time;
        self.uplink.handle_timeout(self.now);
        self.commands()
    }

    /// Jumps to what is due next.
    fn step(&mut self) -> Vec<Command> {
        let due = self.uplink.poll_timeout().unwrap();
        self.pass(due.saturating_duration_since(self.now))
    }

    fn up(&mut self, slot: usize, epoch: u64) {
        self.uplink.connected(slot, epoch, self.now);
        self.uplink.verified(slot, epoch, self.now);
    }

    fn end(&mut self, slot: usize, epoch: u64, ending: Ending, random: u64) {
        self.uplink.ended(slot, epoch, ending, self.now, random);
    }

    fn wait_of(&self, slot: usize) -> Duration {
        self.uplink.next_dial(slot).unwrap() - self.now
    }
}

fn dial(slot: usize, gateway: usize, epoch: u64) -> Command {
    Command::Dial { slot, gateway, epoch }
}

#[test]
fn slots_spread_over_the_gateways() {
    let mut world = World::new(4, 2);
    assert_eq!(world.pass(Duration::ZERO), [dial(0, 0, 1)]);
    assert_eq!(world.pass(STAGGER), [dial(1, 1, 2)]);
    assert_eq!(world.pass(STAGGER), [dial(2, 0, 3)]);
    assert_eq!(world.pass(STAGGER), [dial(3, 1, 4)]);
    assert_eq!(world.uplink.poll_timeout(), None, "dials have their own deadlines");
}

#[test]
fn a_slot_leaves_a_gateway_that_fails() {
    let mut world = World::new(1, 3);
    assert_eq!(world.pass(Duration::ZERO), [dial(0, 0, 1)]);
    world.end(0, 1, Ending::Unreachable, 0);
    assert_eq!(world.step(), [dial(0, 1, 2)]);
    world.end(0, 2, Ending::Unreachable, 0);
    assert_eq!(world.step(), [dial(0, 2, 3)]);
    world.end(0, 3, Ending::Unreachable, 0);
    assert_eq!(world.step(), [dial(0, 0, 4)]);
}

#[test]
fn only_a_stable_tunnel_resets_the_backoff() {
    let mut world = World::new(1, 1);
    world.step();
    for epoch in 1..=3 {
        world.end(0, epoch, Ending::Unreachable, u64::MAX);
        world.step();
    }
    world.up(0, 4);
    world.now += Duration::from_secs(1);
    world.end(0, 4, Ending::Lost, u64::MAX);
    assert_eq!(world.wait_of(0).as_millis(), 1_999, "what worked for a second is tried again soon");
    world.step();
    world.up(0, 5);
    world.now += Duration::from_secs(15);
    world.end(0, 5, Ending::Lost, u64::MAX);
    assert_eq!(world.wait_of(0).as_millis(), 499);
}

#[test]
fn while_sessions_wait_no_dial_waits_long() {
    let mut world = World::new(1, 1);
    world.step();
    world.up(0, 1);
    world.now += Duration::from_secs(60);
    let lost = world.now;
    let mut ending = Ending::Lost;
    let mut longest = Duration::ZERO;
    for epoch in 1.. {
        world.end(0, epoch, ending, u64::MAX);
        if world.now - lost >= Duration::from_secs(30) {
            break;
        }
        longest = longest.max(world.wait_of(0));
        world.step();
        ending = Ending::Unreachable;
    }
    assert_eq!(longest.as_secs(), 3);
    assert!(world.wait_of(0).as_secs() >= 15, "nobody waits any more");
}

#[test]
fn trouble_for_people_is_retried_slowly_but_for_ever() {
    let mut world = World::new(1, 1);
    world.step();
    for epoch in 1..=10 {
        world.end(0, epoch, Ending::Revoked, u64::MAX);
        assert!(world.uplink.is_revoked());
        assert!(world.wait_of(0) >= Duration::from_secs(9));
        world.step();
    }
    world.end(0, 11, Ending::Unauthorized, 0);
    assert_eq!(world.wait_of(0), PATIENT_MIN);
    world.step();
    world.end(0, 12, Ending::Fenced, u64::MAX);
    assert_eq!(world.wait_of(0).as_secs(), 299);
    world.uplink.credential_changed(world.now);
    assert_eq!(world.step(), [dial(0, 0, 13)]);
    world.up(0, 13);
    assert!(!world.uplink.is_revoked());
}

#[test]
fn a_tunnel_that_is_never_used_is_recycled_once() {
    let mut world = World::new(1, 1);
    world.step();
    world.uplink.connected(0, 1, world.now);
    assert_eq!(world.pass(VERIFY_WITHIN - Duration::from_millis(1)), []);
    assert_eq!(world.pass(Duration::from_millis(1)), [Command::Recycle { slot: 0, epoch: 1 }]);
    assert_eq!(world.pass(VERIFY_WITHIN), []);
    world.end(0, 1, Ending::Lost, 0);
    assert_eq!(world.step(), [dial(0, 0, 2)]);
}

#[test]
fn a_draining_gateway_is_left_for_another_while_its_tunnel_lives_on() {
    let mut world = World::new(1, 2);
    world.step();
    world.up(0, 1);
    world.uplink.draining(0, 1, world.now, 0);
    assert_eq!(world.uplink.verified_count(), 0);
    assert_eq!(world.step(), [dial(0, 1, 2)]);
    world.up(0, 2);
    world.end(0, 1, Ending::Closed, 0);
    assert_eq!(world.uplink.verified_count(), 1, "the end of the old tunnel is no news");
}

/// Two slots on gateway 1, because gateway 0 drained.
fn doubled() -> World {
    let mut world = World::new(2, 2);
    world.pass(Duration::ZERO);
    world.pass(STAGGER);
    world.up(0, 1);
    world.up(1, 2);
    world.uplink.draining(0, 1, world.now, u64::MAX);
    assert_eq!(world.step(), [dial(0, 1, 3)], "the one that drains is avoided");
    world.up(0, 3);
    world
}

/// Steps until it looks for gateway 0; gives the slot and the epoch.
fn looks(world: &mut World) -> (usize, u64) {
    for _ in 0..10 {
        match world.step()[..] {
            [] => {}
            [Command::Dial { slot, gateway: 0, epoch }] => return (slot, epoch),
            ref other => panic!("{other:?}"),
        }
    }
    panic!("it never looks");
}

#[test]
fn tunnels_spread_again_when_a_gateway_is_back() {
    let mut world = doubled();
    let due = world.uplink.poll_timeout().unwrap() - world.now;
    let soonest = AVOID_DRAINING - Duration::from_secs(1) + SEEK_MIN;
    assert!(due >= soonest && due <= AVOID_DRAINING + SEEK_MIN + Duration::from_secs(5), "{due:?}");
    // Once the process that drained is gone, another may be there soon.
    world.end(0, 1, Ending::Closed, u64::MAX);
    let due = world.uplink.poll_timeout().unwrap() - world.now;
    assert!(due <= SEEK_MIN + Duration::from_secs(5), "{due:?}");
    for _ in 0..5 {
        let (slot, epoch) = looks(&mut world);
        assert_eq!(world.uplink.verified_count(), 2, "the old connection is kept meanwhile");
        world.end(slot, epoch, Ending::Unreachable, u64::MAX);
        assert_eq!(world.uplink.verified_count(), 2, "and stays when the look came to nothing");
    }
    let (slot, epoch) = looks(&mut world);
    world.up(slot, epoch);
    assert_eq!((slot, world.commands()), (1, vec![Command::Release { slot, epoch: 2 }]));
    assert_eq!(world.uplink.poll_timeout(), None, "spread again, and nothing to look for");
    world.end(slot, 2, Ending::Closed, 0);
    assert_eq!(world.uplink.verified_count(), 2);
}

#[test]
fn a_connection_that_ends_while_another_is_made_leaves_the_slot_to_that() {
    let mut world = doubled();
    let (slot, epoch) = looks(&mut world);
    world.end(slot, 2, Ending::Lost, u64::MAX);
    assert_eq!(world.uplink.verified_count(), 1);
    world.end(slot, epoch, Ending::Unreachable, u64::MAX);
    assert!(world.uplink.next_dial(slot).is_some());
    let mut world = doubled();
    let (slot, epoch) = looks(&mut world);
    world.end(slot, 2, Ending::Lost, u64::MAX);
    world.up(slot, epoch);
    assert_eq!((world.uplink.verified_count(), world.commands()), (2, vec![]));
}

#[test]
fn a_gateway_that_drained_is_better_than_one_that_fails() {
    let mut world = doubled();
    world.end(0, 3, Ending::Lost, 0);
    world.end(1, 2, Ending::Lost, 0);
    let [Command::Dial { gateway: 0, .. }, ..] = world.step()[..] else { panic!("gateway 0 may be back") };
}

#[test]
fn the_only_gateway_is_dialled_even_while_it_drains() {
    let mut world = World::new(1, 1);
    world.step();
    world.up(0, 1);
    world.uplink.draining(0, 1, world.now, 0);
    assert_eq!(world.step(), [dial(0, 0, 2)]);
}

#[test]
fn news_of_older_connections_changes_nothing() {
    let mut world = World::new(1, 1);
    world.step();
    world.end(0, 1, Ending::Lost, 0);
    world.step();
    world.uplink.connected(0, 1, world.now);
    world.uplink.verified(0, 1, world.now);
    assert_eq!(world.uplink.verified_count(), 0);
    world.up(0, 2);
    world.end(0, 1, Ending::Lost, 0);
    assert_eq!(world.uplink.verified_count(), 1);
}

#[test]
fn a_stopped_uplink_dials_no_more() {
    let mut world = World::new(2, 1);
    world.pass(Duration::ZERO);
    world.up(0, 1);
    world.uplink.stop();
    assert_eq!(world.pass(STAGGER), []);
    world.end(0, 1, Ending::Closed, 0);
    assert_eq!(world.uplink.poll_timeout(), None);
    assert_eq!(world.pass(Duration::from_secs(60)), []);
}
