//! Real servers as foreground children with a directory of their own, ended with the proof.

use std::{
    ffi::OsStr,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use warren_cluster_tests::eventually;

#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
}

impl Server {
    /// Starts `command` and waits until something answers at `address`.
    pub(crate) fn start(command: &mut Command, address: SocketAddr) -> Self {
        let program = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        eventually(&format!("{} answers", program.display()), Duration::from_secs(30), || {
            TcpStream::connect(address).ok()
        });
        Self { child }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on loopback that is free at the moment.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}

/// Runs a client to its end, which must be a success.
pub(crate) fn run(program: impl AsRef<OsStr>, args: &[&str]) -> Output {
    let program = program.as_ref();
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
    assert!(output.status.success(), "{} {args:?} failed: {}", program.display(), text(&output));
    output
}

/// Both outputs, for people.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}
