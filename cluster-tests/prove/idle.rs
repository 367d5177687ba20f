//! What an idle group costs, and what thousands of idle sessions cost on top.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use warren_cluster_tests::{Process, Site, caller, hold};

const SESSIONS: usize = 5_000;

pub(crate) fn prove() {
    let site = Site::with_agents(3);
    hold("the group idles", Duration::from_secs(30), || true);
    for agent in &site.agents {
        println!("{}: idle at {}", agent.name, mib(&agent.process));
    }
    println!("gateway: idle at {}", mib(&site.gateway));

    let site = Site::with_agents(1);
    let port = site.resource("sink", target());
    drop(caller::open_echo(port));
    let before = (site.gateway.resident_bytes(), site.agents[0].process.resident_bytes());
    let start = Instant::now();
    let mut sessions = Vec::with_capacity(SESSIONS);
    for number in 0..SESSIONS {
        let session = caller::open_echo(port);
        sessions.push(session.unwrap_or_else(|error| panic!("session {number}: {error}")).0);
    }
    println!("{SESSIONS} sessions opened one after another in {:.1?}", start.elapsed());
    hold("they idle", Duration::from_secs(20), || true);
    let per = |now: u64, before: u64| now.saturating_sub(before) as f64 / 1024.0 / SESSIONS as f64;
    println!(
        "gateway: {}, {:.1} KiB a session",
        mib(&site.gateway),
        per(site.gateway.resident_bytes(), before.0)
    );
    let agent = &site.agents[0].process;
    println!("agent: {}, {:.1} KiB a session", mib(agent), per(agent.resident_bytes(), before.1));
    let alive = sessions
        .iter_mut()
        .map(|session| caller::round_trip(session, b"awake"))
        .filter(Result::is_ok)
        .count();
    println!("{alive} of {SESSIONS} answer after idling");
    assert_eq!(alive, SESSIONS);
}

/// Echoes from one thread, so that thousands of sessions cost the target little.
fn target() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    listener.set_nonblocking(true).expect("a listener can be non-blocking");
    thread::spawn(move || {
        let mut sockets = Vec::new();
        let mut buffer = [0; 512];
        hold("the proof runs", Duration::from_secs(600), || {
            while let Ok((socket, _)) = listener.accept() {
                let _ = socket.set_nonblocking(true);
                sockets.push(socket);
                serve(&mut sockets, &mut buffer);
            }
            serve(&mut sockets, &mut buffer);
            true
        });
    });
    address
}

fn serve(sockets: &mut [std::net::TcpStream], buffer: &mut [u8]) {
    for socket in sockets {
        while let Ok(read @ 1..) = socket.read(buffer) {
            let _ = socket.write_all(&buffer[..read]);
        }
    }
}

fn mib(process: &Process) -> String {
    format!("{:.1} MiB resident", process.resident_bytes() as f64 / f64::from(1 << 20))
}
