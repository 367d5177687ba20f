//! One GiB by SFTP through the group, put and got back, compared by SHA-256.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    process::Command,
    time::Instant,
};

use warren_cluster_tests::Site;

use crate::server::{Server, free_address, path, run, text};

const SIZE: u64 = 1 << 30;

pub(crate) fn prove() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let home = dir.path();
    let address = free_address();
    for key in ["host", "user"] {
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", path(&home.join(key))]);
    }
    fs::copy(home.join("user.pub"), home.join("authorized")).expect("a key file");
    fs::set_permissions(home.join("authorized"), PermissionsExt::from_mode(0o600)).expect("private");
    fs::create_dir_all("/run/sshd").expect("sshd's own directory");
    let config = format!(
        "ListenAddress {address}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\nStrictModes no\nUsePAM no\n\
         PermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\n",
        path(home)
    );
    fs::write(home.join("sshd_config"), config).expect("a config");
    let mut sshd = Command::new("/usr/sbin/sshd");
    sshd.args(["-D", "-f", path(&home.join("sshd_config")), "-E", path(&home.join("sshd.log"))]);
    let _sshd = Server::start(&mut sshd, address);

    let site = Site::with_agents(3);
    let port = site.resource("files", address);
    let sent = home.join("sent");
    let mut random = File::open("/dev/urandom").expect("random bytes").take(SIZE);
    io::copy(&mut random, &mut File::create(&sent).expect("a file")).expect("a gibibyte");
    let batch = home.join("batch");
    for (what, line) in [
        ("put", format!("put {0}/sent {0}/kept", path(home))),
        ("get", format!("get {0}/kept {0}/got", path(home))),
    ] {
        fs::write(&batch, format!("{line}\n")).expect("a batch file");
        let start = Instant::now();
        let key = format!("IdentityFile={}", path(&home.join("user")));
        run(
            "sftp",
            &[
                "-q",
                "-b",
                path(&batch),
                "-o",
                &key,
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
                "-P",
                &port.port().to_string(),
                &format!("root@{}", port.ip()),
            ],
        );
        let took = start.elapsed();
        println!("{what}: 1 GiB in {took:.1?}, {:.0} MB/s", SIZE as f64 / 1e6 / took.as_secs_f64());
    }
    let sums = run("sha256sum", &[path(&sent), path(&home.join("kept")), path(&home.join("got"))]);
    let sums = text(&sums);
    let mut digests = sums.lines().filter_map(|line| line.split_whitespace().next());
    let first = digests.next().expect("three digests").to_owned();
    assert!(digests.all(|digest| digest == first), "the files differ:\n{sums}");
    println!("sha256 {first}: sent, kept and got are equal");
}
