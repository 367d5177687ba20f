//! Scripts to start fuzzing the machine from: lives of sessions and tunnels, and one of each frame of a peer.

use warren_tunnel::frame::FrameType;

type Seed = (String, Vec<u8>);

const GATEWAY: u8 = 0;
const AGENT: u8 = 1;
const CARRY_ALL: [u8; 1] = [20];

/// For the target `machine`. The codes are those of its `step`.
pub(crate) fn machine() -> Vec<Seed> {
    let opened = [&open(0)[..], &CARRY_ALL, &ANSWER, &CARRY_ALL].concat();
    let written = [&opened[..], &write(GATEWAY, 5), &write(AGENT, 4)].concat();
    let over = [&finish(GATEWAY)[..], &finish(AGENT), &CARRY_ALL, &read(GATEWAY), &read(AGENT)].concat();
    let lost = [lose(0, GATEWAY), lose(0, AGENT)].concat();
    let again = [&connect(1)[..], &CARRY_ALL].concat();
    // The first ping takes 100 ms, and then each window is read at once.
    let round = [&write(AGENT, 7)[..], &CARRY_ALL, &read(GATEWAY), &CARRY_ALL].concat();
    let grown = [&carry(0, AGENT, 7)[..], &pass(2), &opened, &round.repeat(8)].concat();
    let lives: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", vec![]),
        ("open-and-answer", opened.clone()),
        ("open-and-refuse", [&open(0)[..], &CARRY_ALL, &[3, 7, 0]].concat()),
        ("whole-life", [&written[..], &CARRY_ALL, &over, &release(AGENT), &release(GATEWAY)].concat()),
        ("half-close", [&opened[..], &finish(GATEWAY), &CARRY_ALL, &write(AGENT, 5), &CARRY_ALL].concat()),
        ("reset", [&written[..], &[30, AGENT, 0], &CARRY_ALL].concat()),
        (
            "slow-reader",
            [&opened[..], &write(GATEWAY, 7), &CARRY_ALL, &write(GATEWAY, 7), &CARRY_ALL].concat(),
        ),
        ("two-tunnels", [&connect(1)[..], &open(1), &opened, &write(GATEWAY, 5)].concat()),
        ("lost-and-resumed", [&written[..], &CARRY_ALL, &lost, &again].concat()),
        ("lost-in-flight", [&written[..], &carry(0, AGENT, 4), &lost, &again, &read(AGENT)].concat()),
        ("moved-at-once", [&connect(1)[..], &written, &lost, &CARRY_ALL].concat()),
        ("half-open", [&connect(1)[..], &written, &lose(0, AGENT), &CARRY_ALL].concat()),
        ("open-lost", [&open(0)[..], &write(GATEWAY, 3), &lost, &again, &ANSWER].concat()),
        ("answer-lost", [&open(0)[..], &CARRY_ALL, &ANSWER, &lost, &again].concat()),
        ("fin-lost", [&opened[..], &finish(GATEWAY), &carry(0, AGENT, 1), &lost, &again].concat()),
        (
            "black-hole",
            [&connect(1)[..], &written, &cut(0), &pass(5), &CARRY_ALL, &pass(5), &pass(5)].concat(),
        ),
        ("grown-and-moved", [&grown[..], &lost, &again].concat()),
        ("too-long-without", [&written[..], &lost, &pass(7), &connect(1), &CARRY_ALL].concat()),
        ("recycled", [&written[..], &connect(1), &[29, 0, GATEWAY, 0], &CARRY_ALL].concat()),
        ("shut-down", [&written[..], &[29, 0, AGENT, 2], &CARRY_ALL].concat()),
        // All that the window allowed was read while the session was on no tunnel.
        (
            "read-while-parked",
            [&opened[..], &write(GATEWAY, 7), &CARRY_ALL, &lost, &read(AGENT), &again].concat(),
        ),
        // Cut behind a resume that never left, on a tunnel that says goodbye.
        (
            "reset-behind-a-resume",
            [&opened[..], &lost, &connect(1), &[30, GATEWAY, 0, 29, 1, GATEWAY, 0], &CARRY_ALL].concat(),
        ),
    ];
    // Small windows and frames, a queue of several windows, and memory enough.
    let named = |(name, life): (&str, Vec<u8>)| (name.to_owned(), [&[0, 0, 1, 0][..], &life].concat());
    lives.into_iter().map(named).collect()
}

/// For the target `peer`. The codes are those of its `step`.
pub(crate) fn peer() -> Vec<Seed> {
    const FIRST: u8 = 0;
    const SAY: u8 = 27;
    let frame = |kind: FrameType| [0, FIRST, FIRST, kind.code() - FrameType::ALL[0].code()];
    let mut seeds = Vec::new();
    for (role, name) in [(0, "agent"), (1, "gateway")] {
        let start = [0, 0, 0, role];
        // The agent is asked for a session, the gateway asks for one itself.
        let open = match role {
            0 => [&frame(FrameType::Open)[..], &[0, 18, FIRST, 0, SAY]].concat(),
            _ => [&[16, FIRST, FIRST, 0, SAY][..], &frame(FrameType::OpenAck), &[0, 0]].concat(),
        };
        let live = [&start[..], &open].concat();
        for kind in FrameType::ALL {
            seeds.push((
                format!("{name}-{}", kind.as_str()),
                [&live[..], &frame(*kind), &[0; 6], &[SAY]].concat(),
            ));
        }
        let data = [&frame(FrameType::Data)[..], &[0, 2, 20, FIRST, 2, SAY, 22, FIRST, 3, SAY]].concat();
        seeds.push((format!("{name}-data-both-ways"), [&live[..], &data, &data, &[24, FIRST, SAY]].concat()));
        let lost = [31, FIRST, 0, 30, 0];
        for kind in [FrameType::Resume, FrameType::ResumeAck, FrameType::Settled, FrameType::Forsaken] {
            let resumed = [&live[..], &data, &lost, &frame(kind), &[0; 6], &[SAY]].concat();
            seeds.push((format!("{name}-lost-then-{}", kind.as_str()), resumed));
        }
    }
    seeds
}

const ANSWER: [u8; 3] = [3, 0, 0];

fn open(line: u8) -> [u8; 3] {
    [0, line, 0]
}

fn write(side: u8, length: u8) -> [u8; 4] {
    [6, length, side, 0]
}

fn read(side: u8) -> [u8; 4] {
    [11, 7, side, 0]
}

fn finish(side: u8) -> [u8; 3] {
    [15, side, 0]
}

fn release(side: u8) -> [u8; 3] {
    [31, side, 0]
}

fn carry(line: u8, side: u8, length: u8) -> [u8; 4] {
    [17, line, side, length]
}

fn pass(time: u8) -> [u8; 2] {
    [22, time]
}

fn cut(line: u8) -> [u8; 3] {
    [25, line, 0]
}

fn lose(line: u8, side: u8) -> [u8; 3] {
    [26, line, side]
}

/// Lines 1 and 2, then 0: the first is there from the start.
fn connect(line: u8) -> [u8; 3] {
    [27, line - 1, 0]
}
