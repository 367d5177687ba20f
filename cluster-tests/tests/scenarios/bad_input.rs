//! Strangers, mistakes and malice: each its own clear answer, and nobody else is disturbed.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use warren_cluster_tests::{GROUP, Site, caller, target, warren};

/// What a process says of its file before it ends for it; each of these keys must be named.
fn told_of(process: &str, file: &str, keys: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.yaml");
    fs::write(&path, file).unwrap();
    let mut command = warren();
    command.arg(process).arg("--config").arg(path).arg("--data-dir").arg(dir.path().join("data"));
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    for key in keys {
        assert!(told.contains(key), "{key} is named: {told}");
    }
    told
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let file =
        "listen: nowhere\ndrain: soon\nlimits:\n  sessions: many\ningress:\n  host: 'a b'\nmetricz: 1\n";
    let told = told_of("gateway", file, &["listen", "drain", "limits.sessions", "ingress.host", "metricz"]);
    assert!(told.contains("5 mistakes"), "{told}");
    let file = "gateways: [ftp://x]\ntunnels: 99\nveto:\n  deny: [1.2.3.4/99]\ndrain: x\nnom: a\n";
    told_of("agent", file, &["gateways[0]", "tunnels", "veto.deny[0]", "drain", "nom"]);
}

#[test]
fn noise_on_the_gateways_port_ends_nothing_but_itself() {
    let site = Site::with_agents(1);
    let echo = site.resource("echo", target::echo());
    let (mut session, _) = caller::open_echo(echo).unwrap();
    let noises: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", &[0xFF; 70_000], &[0x16, 3, 1, 0xFF, 0xFF, 1], b""];
    for noise in noises {
        let mut socket = TcpStream::connect(site.listen()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = socket.write_all(noise);
        let _ = socket.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
    }
    caller::round_trip(&mut session, b"undisturbed").unwrap();
    caller::open_echo(echo).unwrap();
}

#[test]
fn the_admin_api_refuses_strangers_and_lesser_roles() {
    let site = Site::builder().start();
    let stranger = site.run_as(&["groups", "list"], &[("WARREN_TOKEN", "wrn_made-up")]);
    assert_eq!(stranger.code, 3, "{stranger:?}");
    let created = site.json(&["users", "create", "vic", "--role", "viewer"]);
    let token = created["token"].as_str().unwrap();
    let viewer = |args: &[&str]| site.run_as(args, &[("WARREN_TOKEN", token)]);
    viewer(&["groups", "list"]).ok();
    for args in [
        &["groups", "create", "mine"][..],
        &["tokens", "create", "--group", GROUP, "--org-only"],
        &["users", "create", "eve", "--role", "admin"],
    ] {
        let refused = viewer(args);
        assert_eq!(refused.code, 3, "{args:?}: {refused:?}");
    }
    let unreachable = site.run_as(&["groups", "list"], &[("WARREN_API", "https://127.0.0.1:1")]);
    assert_eq!(unreachable.code, 4, "{unreachable:?}");
}
