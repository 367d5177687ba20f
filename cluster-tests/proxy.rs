//! Real proxies on loopback, each wanting a user and a password: squid, tinyproxy, dante.

use std::{
    fs::{self, File, Permissions},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::{
    eventually,
    tools::{self, Need},
};

/// Whom the proxies let through.
pub const USER: &str = "warren";
/// Letters, dots and dashes are all that tinyproxy takes.
pub const PASSWORD: &str = "open.sesame";
/// [`PASSWORD`] in a URL, in part in other words.
pub const PASSWORD_IN_URL: &str = "open%2Esesame";

/// [`PASSWORD`] as squid's helper reads it, and as a system's account has it.
const APR1: &str = "$apr1$warren00$j8qJdRYVNFkJrfeyANRYO/";
const SHA512: &str =
    "$6$warren00$XKt7nvRrQCI6UMpgvizc04kDXvjcO.7hlXKXwiq9x93AZw/utMc7uKOMsZxhRz3kIER7VD1QTVC8SHPoJ35eA/";
const STARTS_WITHIN: Duration = Duration::from_secs(30);
/// Ports that are tried: another process may take the one that was free a moment ago.
const TRIES: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// HTTP CONNECT.
    Squid,
    /// HTTP CONNECT.
    Tinyproxy,
    /// SOCKS5.
    Dante,
}

impl Kind {
    /// Whether it can run here; see [`tools::are_here`].
    pub fn is_here(self) -> bool {
        match self {
            Self::Squid => tools::are_here(&[Need::Program("squid")]),
            Self::Tinyproxy => tools::are_here(&[Need::Program("tinyproxy")]),
            // Its accounts take a mount namespace.
            Self::Dante => tools::are_here(&[Need::Program("danted"), Need::Root]),
        }
    }
}

/// A proxy in the foreground, with a directory of its own; killed when dropped.
#[derive(Debug)]
pub struct Proxy {
    kind: Kind,
    address: SocketAddr,
    child: Child,
    dir: TempDir,
}

impl Proxy {
    /// Starts a proxy and waits until it listens. Panics when it is not installed.
    pub fn start(kind: Kind) -> Self {
        let dir = tempfile::Builder::new().prefix("warren-proxy-").tempdir().expect("a temporary directory");
        // Squid and dante change to users of theirs.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("a directory of our own");
        for _ in 0..TRIES {
            let address = free_address();
            if let Some(child) = launch(kind, address, dir.path()) {
                return Self { kind, address, child, dir };
            }
        }
        panic!("{kind:?} does not start:\n{}", log_in(dir.path()));
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL without user and password.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.address)
    }

    /// The URL with a user and what comes after it, such as `:password`.
    pub fn url_with(&self, login: &str) -> String {
        format!("{}://{login}@{}", self.scheme(), self.address)
    }

    /// The URL with the login that is good, percent-encoded.
    pub fn good_url(&self) -> String {
        self.url_with(&format!("{USER}:{PASSWORD_IN_URL}"))
    }

    /// SIGKILL to all of its processes, and so to every connection through it.
    pub fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }

    /// Starts it again at the same address.
    pub fn restart(&mut self) {
        self.kill();
        let started = eventually(&format!("{:?} has its port again", self.kind), STARTS_WITHIN, || {
            launch(self.kind, self.address, self.dir.path())
        });
        self.child = started.0;
    }

    /// Everything that it has said; dante and tinyproxy tell of each connection as it begins.
    pub fn log(&self) -> String {
        log_in(self.dir.path())
    }

    const fn scheme(&self) -> &'static str {
        match self.kind {
            Kind::Squid | Kind::Tinyproxy => "http",
            Kind::Dante => "socks5",
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
    }
}

/// `None` when it ends instead of listening.
fn launch(kind: Kind, address: SocketAddr, dir: &Path) -> Option<Child> {
    let mut command = match kind {
        Kind::Squid => squid(address, dir),
        Kind::Tinyproxy => tinyproxy(address, dir),
        Kind::Dante => dante(address, dir),
    };
    let said = File::options().create(true).append(true).open(dir.join("said")).expect("a log");
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(said.try_clone().expect("a file handle"))
        .stderr(said);
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("{kind:?} does not start, install squid, tinyproxy and dante-server: {error}")
    });
    let (listens, _) = eventually(&format!("{kind:?} listens or ends"), STARTS_WITHIN, || {
        if child.try_wait().expect("a child can be waited for").is_some() {
            return Some(false);
        }
        TcpStream::connect(address).is_ok().then_some(true)
    });
    listens.then_some(child)
}

fn squid(address: SocketAddr, dir: &Path) -> Command {
    let at = |name: &str| dir.join(name).display().to_string();
    write(dir, "users", &format!("{USER}:{APR1}\n"));
    let config = format!(
        "http_port {address}\n\
         auth_param basic program {} {}\n\
         auth_param basic children 2 startup=1 idle=1\n\
         acl known proxy_auth REQUIRED\n\
         acl CONNECT method CONNECT\n\
         http_access deny !CONNECT\n\
         http_access allow known\n\
         http_access deny all\n\
         cache deny all\n\
         cache_mem 8 MB\n\
         max_filedescriptors 1024\n\
         access_log stdio:{}\n\
         cache_log {}\n\
         pid_filename {}\n\
         coredump_dir {}\n\
         pinger_enable off\n\
         shutdown_lifetime 0 seconds\n",
        squid_helper().display(),
        at("users"),
        at("access.log"),
        at("log"),
        // One that was killed leaves its file behind, and would keep the next from starting.
        at(&format!("pid-{}", unique())),
        dir.display(),
    );
    let mut command = Command::new("squid");
    command.arg("-N").arg("-f").arg(write(dir, "squid.conf", &config));
    command
}

/// Where Debian and Fedora have it.
fn squid_helper() -> PathBuf {
    let places = ["/usr/lib/squid", "/usr/lib64/squid"].map(|place| Path::new(place).join("basic_ncsa_auth"));
    let found = places.iter().find(|place| place.exists());
    found.unwrap_or_else(|| panic!("squid's basic_ncsa_auth is not installed, looked for {places:?}")).clone()
}

fn tinyproxy(address: SocketAddr, dir: &Path) -> Command {
    let config = format!(
        "Listen {}\nPort {}\nTimeout 600\nMaxClients 100\nBasicAuth {USER} {PASSWORD}\nLogLevel Connect\nLogFile \"{}\"\n",
        address.ip(),
        address.port(),
        dir.join("log").display(),
    );
    let mut command = Command::new("tinyproxy");
    command.arg("-d").arg("-c").arg(write(dir, "tinyproxy.conf", &config));
    command
}

/// Dante's users are the system's accounts. It gets accounts of its own, in a mount namespace, which takes root.
fn dante(address: SocketAddr, dir: &Path) -> Command {
    let passwd = format!(
        "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n{USER}:x:64999:65534::/:/bin/false\n"
    );
    write(dir, "passwd", &passwd);
    write(dir, "shadow", &format!("{USER}:{SHA512}:19000:0:99999:7:::\n"));
    let config = format!(
        "logoutput: {}\n\
         internal: {} port = {}\n\
         external: 127.0.0.1\n\
         clientmethod: none\n\
         socksmethod: username\n\
         user.privileged: root\n\
         user.unprivileged: nobody\n\
         client pass {{\n from: 127.0.0.0/8 to: 0.0.0.0/0\n}}\n\
         socks pass {{\n from: 127.0.0.0/8 to: 0.0.0.0/0\n command: connect\n log: connect error\n}}\n",
        dir.join("log").display(),
        address.ip(),
        address.port(),
    );
    write(dir, "danted.conf", &config);
    let script =
        "mount --bind passwd /etc/passwd && mount --bind shadow /etc/shadow && exec danted -f danted.conf";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).current_dir(dir);
    command
}

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, text).expect("a file of our own");
    path
}

fn log_in(dir: &Path) -> String {
    ["log", "access.log", "said"]
        .map(|name| fs::read(dir.join(name)).unwrap_or_default())
        .map(|text| String::from_utf8_lossy(&text).into_owned())
        .concat()
}

fn unique() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("it is after 1970").as_nanos()
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}
