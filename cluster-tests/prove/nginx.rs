//! nginx under wrk, directly and through the group.

use std::{fs, process::Command};

use warren_cluster_tests::Site;

use crate::server::{Server, free_address, path, run, text};

pub(crate) fn prove() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let address = free_address();
    fs::write(dir.path().join("index.html"), "x".repeat(612)).expect("a page");
    let config = format!(
        "daemon off; worker_processes 2; pid {0}/pid; error_log {0}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; server {{ listen {address}; root {0}; keepalive_requests 1000000; }} }}\n",
        path(dir.path())
    );
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("readable by nginx");
    let file = dir.path().join("nginx.conf");
    fs::write(&file, config).expect("a config");
    let _nginx = Server::start(Command::new("nginx").args(["-c", path(&file)]), address);

    let site = Site::with_agents(3);
    let port = site.resource("web", address);
    for (what, address) in [("direct", address), ("through the group", port)] {
        let output =
            run("wrk", &["-t2", "-c64", "-d20s", "--latency", &format!("http://{address}/index.html")]);
        println!("-- {what}\n{}", text(&output));
    }
}
