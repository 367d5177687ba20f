//! A real PostgreSQL server of our own, on a socket below a temporary directory.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::config::StoreLocation;

/// Debian's and others' places; the newest first.
const VERSIONS: std::ops::RangeInclusive<u32> = 12..=19;

/// Runs until it is dropped, or until this process is gone, however it ends: then its shell reads the end of its input.
pub(super) struct Server {
    dir: TempDir,
    bin: PathBuf,
    port: u16,
    more: Vec<String>,
    child: Mutex<Option<Child>>,
    databases: AtomicU32,
}

impl Server {
    /// One for all tests that run at a time. Where PostgreSQL is not installed a test says so and ends, unless
    /// `WARREN_TEST_ALL` is set, as in CI.
    pub(super) fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start(&[])?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    /// One with further settings, `name=value`.
    pub(super) fn start(more: &[&str]) -> Option<Self> {
        let folders =
            VERSIONS.rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
        let Some(bin) = folders.into_iter().find(|folder| folder.join("postgres").exists()) else {
            assert!(std::env::var_os("WARREN_TEST_ALL").is_none(), "postgresql is not installed");
            eprintln!("skipped: postgresql is not installed");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("warren-pg-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let more = more.iter().map(ToString::to_string).collect();
        let server = Self { dir, bin, port, more, child: Mutex::default(), databases: AtomicU32::new(0) };
        for folder in [server.data(), server.sockets()] {
            fs::create_dir(&folder).unwrap();
            server.give_away(&folder);
        }
        let data = server.data();
        let initdb = server.bin.join("initdb");
        let made = server
            .as_its_user(&initdb)
            .args([
                "--no-sync",
                "--auth=trust",
                "--username=warren",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "-D",
            ])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        server.begin();
        Some(server)
    }

    /// Begins to serve, the first time or again.
    pub(super) fn begin(&self) {
        let mut serve = self.as_its_user(Path::new("sh"));
        serve.args(["-c", r#""$@" & cat >/dev/null; kill -QUIT $!; wait"#, "sh"]);
        serve.arg(self.bin.join("postgres")).arg("-D").arg(self.data());
        let sockets = format!("unix_socket_directories={}", self.sockets().display());
        let port = format!("port={}", self.port);
        let fixed = ["fsync=off", "max_connections=300", "listen_addresses=", &sockets, &port];
        for setting in fixed.into_iter().chain(self.more.iter().map(String::as_str)) {
            serve.args(["-c", setting]);
        }
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        serve.stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        *self.child.lock().unwrap() = Some(serve.spawn().unwrap());
    }

    /// Ends at once, and with it every connection.
    pub(super) fn end(&self) {
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    /// Waits until it answers.
    pub(super) async fn answers(&self) -> PgConnection {
        let url = self.url("postgres");
        let mut connected = None;
        for _ in 0..500 {
            match PgConnection::connect(&url).await {
                Ok(connection) => {
                    connected = Some(connection);
                    break;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        connected.unwrap_or_else(|| panic!("no server: {}", self.log()))
    }

    /// A new database of its own.
    pub(super) async fn database(&self) -> StoreLocation {
        let name = format!("t{}", self.databases.fetch_add(1, Relaxed));
        let mut admin = self.answers().await;
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        self.url(&name).parse().unwrap()
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres://warren@/{database}?host={}", self.sockets().display())
            .replace("@/", &format!("@localhost:{}/", self.port))
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Makes a file or folder its own.
    pub(super) fn give_away(&self, path: &Path) {
        if is_root() {
            assert!(Command::new("chown").arg("postgres:").arg(path).status().unwrap().success());
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

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}
