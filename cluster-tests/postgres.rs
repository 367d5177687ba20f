//! A real PostgreSQL server of a test's own.

use std::{
    fs::{self, File, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tempfile::TempDir;

use crate::eventually;

/// Where Debian and its kin keep them; the newest is taken.
const VERSIONS: std::ops::RangeInclusive<u32> = 12..=19;
/// Who may do everything, without a password through the socket.
const USER: &str = "warren";
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// A server on a socket below a directory of its own. It ends when it is dropped, and when this process is gone,
/// however that ended: its shell reads the end of its input then.
#[derive(Debug)]
pub struct Postgres {
    dir: TempDir,
    bin: PathBuf,
    port: u16,
    settings: Vec<String>,
    child: Mutex<Option<Child>>,
}

impl Postgres {
    /// Where PostgreSQL is not installed a test says so and ends, unless `WARREN_TEST_ALL` is set, as in CI: then it
    /// fails. `settings` are such as `listen_addresses=127.0.0.1`.
    pub fn start(settings: &[&str]) -> Option<Self> {
        let mut folders =
            VERSIONS.rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
        let Some(bin) = folders.find(|folder| folder.join("postgres").exists()) else {
            assert!(std::env::var_os("WARREN_TEST_ALL").is_none(), "postgresql is not installed");
            #[expect(clippy::print_stderr, reason = "for whoever runs the tests")]
            {
                eprintln!("skipped: postgresql is not installed");
            }
            return None;
        };
        let dir = tempfile::Builder::new().prefix("warren-pg-").tempdir().expect("a temporary directory");
        // It runs as a user of its own.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("a directory of our own");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        let port = port.expect("a free port").port();
        let settings = settings.iter().map(ToString::to_string).collect();
        let server = Self { dir, bin, port, settings, child: Mutex::default() };
        for folder in [server.data(), server.sockets()] {
            fs::create_dir(&folder).expect("a directory of our own");
            server.give_away(&folder);
        }
        let mut make = server.as_its_user(&server.bin.join("initdb"));
        make.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username", USER]);
        make.arg("-D").arg(server.data());
        let made = make.output().expect("initdb runs");
        assert!(made.status.success(), "{made:?}");
        server.begin();
        Some(server)
    }

    /// Begins to serve, the first time or again, and waits until it answers.
    pub fn begin(&self) {
        let mut serve = self.as_its_user(Path::new("sh"));
        serve.args(["-c", r#""$@" & cat >/dev/null; kill -QUIT $!; wait"#, "sh"]);
        serve.arg(self.bin.join("postgres")).arg("-D").arg(self.data());
        let sockets = format!("unix_socket_directories={}", self.sockets().display());
        let port = format!("port={}", self.port);
        let fixed = ["fsync=off", "max_connections=300", "listen_addresses=", &sockets, &port];
        for setting in fixed.into_iter().chain(self.settings.iter().map(String::as_str)) {
            serve.args(["-c", setting]);
        }
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"));
        let log = log.expect("a log can be written");
        serve.stdin(Stdio::piped()).stdout(log.try_clone().expect("a file handle")).stderr(log);
        let child = serve.spawn().expect("postgres starts");
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        eventually("PostgreSQL answers", STARTS_WITHIN, || {
            let mut asked = Command::new(self.bin.join("pg_isready"));
            asked.args(["-q", "-U", USER, "-d", "postgres", "-p", &self.port.to_string(), "-h"]);
            asked.arg(self.sockets()).status().ok().filter(|status| status.success())
        });
    }

    /// Ends at once, and with it every connection.
    pub fn end(&self) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    /// Makes a database, and gives its URL.
    pub fn database(&self, name: &str) -> String {
        self.sql(&format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    /// Does one statement as its administrator.
    pub fn sql(&self, statement: &str) {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-q", "-X", "-U", USER, "-p", &self.port.to_string(), "-c", statement, "-h"]);
        let done = psql.arg(self.sockets()).arg("postgres").output().expect("psql runs");
        assert!(done.status.success(), "{statement}: {done:?}");
    }

    /// Of a database, by the socket.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@localhost:{}/{database}?host={}", self.port, self.sockets().display())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything it has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Its data and configuration.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Makes a file or folder the server's own.
    pub fn give_away(&self, path: &Path) {
        if is_root() {
            let given = Command::new("chown").arg("postgres:").arg(path).status();
            assert!(given.expect("chown runs").success());
        }
    }

    fn sockets(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    /// PostgreSQL does not run as root.
    fn as_its_user(&self, program: &Path) -> Command {
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
        command.current_dir(self.dir.path());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
