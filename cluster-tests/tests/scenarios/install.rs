//! `warren agent install` and `uninstall` against a real gateway. A script stands for systemd: it starts and stops the real agent
//! from the unit and the settings that were written.

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use serde_json::Value;
use warren_cluster_tests::{
    Answer, Site,
    tools::{Need, are_here},
    warren,
};

/// Commands by their name. The machine's root is in FAKE_ROOT.
const COMMANDS: [(&str, &str); 5] = [
    ("id", "case $1 in -u) exec /usr/bin/id -u;; -g) exec /usr/bin/id -g;; esac"),
    ("systemd-sysusers", r#"echo "systemd-sysusers $*" >>"$FAKE_ROOT/told""#),
    ("userdel", r#"echo "userdel $*" >>"$FAKE_ROOT/told""#),
    ("journalctl", r#"tail -n 12 "$FAKE_ROOT/log""#),
    ("systemctl", SYSTEMCTL),
];
const SYSTEMCTL: &str = r#"
root=$FAKE_ROOT pid=$FAKE_ROOT/pid unit=$FAKE_ROOT/etc/systemd/system/warren-agent.service
runs() { [ -f "$pid" ] && grep -qs '^State:.[^ZX]' "/proc/$(cat "$pid")/status"; }
stop() {
    if runs; then kill "$(cat "$pid")"; while runs; do sleep 0.05; done; fi
    rm -rf "$pid" "$root/run/warren-agent"
}
start() {
    mkdir -p "$root/run/warren-agent" "$root/var/lib/warren"
    sed "s|/etc/warren|$root/etc/warren|" "$root/etc/warren/agent.yaml" >"$root/seen.yaml"
    program=$(sed -n 's|^ExecStart=\([^ ]*\) agent --config /etc/warren/agent.yaml$|\1|p' "$unit")
    env -i setsid "$root$program" agent --config "$root/seen.yaml" --data-dir "$root/var/lib/warren/agent" \
        --ready-file "$root/run/warren-agent/ready.json" </dev/null >>"$root/log" 2>&1 &
    echo $! >"$pid"
}
case $1 in
is-enabled) [ -f "$root/enabled" ]; exit ;;
show) if runs; then echo ActiveState=active; elif [ -f "$pid" ]; then echo ActiveState=failed; else echo ActiveState=inactive; fi; exit ;;
esac
echo "systemctl $*" >>"$root/told"
case $1 in
enable) touch "$root/enabled" ;;
disable) rm -f "$root/enabled"; stop ;;
stop) stop ;;
start) start ;;
restart) stop; start ;;
esac
"#;

/// A machine below a folder of its own.
struct Machine<'a> {
    site: &'a Site,
    root: PathBuf,
    path: String,
}

impl<'a> Machine<'a> {
    fn new(site: &'a Site) -> Self {
        let (root, commands) = (site.path("machine"), site.path("commands"));
        fs::create_dir_all(root.join("run/systemd/system")).unwrap();
        fs::create_dir_all(&commands).unwrap();
        for (name, script) in COMMANDS {
            let file = commands.join(name);
            fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = format!("{}:{}", commands.display(), std::env::var("PATH").unwrap());
        Self { site, root, path }
    }

    /// `warren agent VERB ARGS`.
    fn agent(&self, verb: &str, args: &[&str]) -> Answer {
        let root = self.root.to_str().unwrap();
        let whole = [&["agent", verb, "--root", root], args].concat();
        self.site.run_as(&whole, &[("PATH", &self.path), ("FAKE_ROOT", root)])
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.at(path)).unwrap().mode() & 0o777
    }

    /// What systemd was told since the last look.
    fn told(&self) -> Vec<String> {
        let told = fs::read_to_string(self.at("told")).unwrap_or_default();
        let _ = fs::remove_file(self.at("told"));
        told.lines().map(str::to_owned).collect()
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let systemctl = self.site.path("commands").join("systemctl");
        let _ = Command::new(systemctl).arg("stop").env("FAKE_ROOT", &self.root).status();
    }
}

#[test]
fn one_command_makes_a_member_and_another_takes_it_away() {
    let site = Site::with_agents(2);
    let machine = Machine::new(&site);
    let token = site.token(&[]);
    let (url, any) = (site.url(), format!("{}:0", site.listen().ip()));
    let flags = ["--gateway", &url, "--name", "installed", "--peer-listen", &any];

    // Looked at first, and nothing is there afterwards.
    let dry = machine.agent("install", &[&flags[..], &["--token", &token, "--dry-run"]].concat()).ok();
    assert!(dry.stdout.contains("NoNewPrivileges=yes") && !dry.stdout.contains(&token), "{dry:?}");
    assert!(!machine.at("etc").exists());

    let done = machine.agent("install", &[&flags[..], &["--token", &token]].concat()).ok();
    let view = done.try_json().unwrap();
    let id = view["agent"].as_str().unwrap();
    site.wait_for_members(3);
    assert_eq!((&view["serves"], site.member(id)["name"].as_str()), (&Value::Bool(true), Some("installed")));
    assert_eq!(
        machine.told(),
        [
            "systemd-sysusers /etc/sysusers.d/warren.conf",
            "systemctl daemon-reload",
            "systemctl enable warren-agent.service",
            "systemctl restart warren-agent.service",
        ]
    );
    let unit = fs::read_to_string(machine.at("etc/systemd/system/warren-agent.service")).unwrap();
    let settings = fs::read_to_string(machine.at("etc/warren/agent.yaml")).unwrap();
    assert!(
        settings.contains("@/etc/warren/agent.token") && settings.contains("/etc/warren/agent.ca.pem"),
        "{settings}"
    );
    for text in [&unit, &settings, &done.stderr, &fs::read_to_string(machine.at("log")).unwrap()] {
        assert!(!text.contains(&token), "the token in {text}");
    }
    assert!(!machine.at("etc/warren/agent.token").exists(), "it has served its purpose");
    assert_eq!((machine.mode("etc/warren/agent.yaml"), machine.mode("usr/local/bin/warren")), (0o640, 0o755));

    // Once more, by whoever is not sure whether it was done.
    let again = machine.agent("install", &[]).ok();
    assert_eq!(again.try_json().unwrap()["changes"], Value::Array(Vec::new()), "{again:?}");
    assert!(machine.told().is_empty());

    // Written since, by hand or by an installation that was cut short.
    let file = fs::File::options().append(true).open(machine.at("etc/warren/agent.yaml")).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
    machine.agent("install", &[]).ok();
    assert_eq!(machine.told(), ["systemctl restart warren-agent.service"]);

    let refused = machine.agent("install", &["--name", "other"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.stderr.contains("name: installed -> other"), "{refused:?}");
    let forced = machine.agent("install", &["--name", "other", "--force"]).ok();
    assert_eq!(forced.try_json().unwrap()["agent"], id, "the identity stays");
    assert_eq!(machine.told(), ["systemctl restart warren-agent.service"]);

    // Away and back again is the same member.
    let away = machine.agent("uninstall", &[]).ok();
    assert!(
        away.try_json().unwrap()["left"] == false && machine.at("etc/warren/agent.yaml").exists(),
        "{away:?}"
    );
    let back = machine.agent("install", &[]).ok();
    assert_eq!(back.try_json().unwrap()["agent"], id);
    site.wait_for_members(3);

    machine.agent("uninstall", &["--leave", "--purge"]).ok();
    let revoked = site.json(&["agents", "show", id]);
    assert_eq!(revoked["status"], "Revoked", "{revoked}");
    site.wait_for_members(2);
    for gone in [
        "etc/warren",
        "var/lib/warren",
        "usr/local/bin/warren",
        "etc/systemd/system/warren-agent.service",
        "etc/sysusers.d/warren.conf",
    ] {
        assert!(!machine.at(gone).exists(), "{gone}");
    }
    assert_eq!(machine.told().last().unwrap(), "userdel warren");
}

#[test]
fn an_agent_that_cannot_serve_is_told_with_its_log() {
    let site = Site::builder().start();
    let machine = Machine::new(&site);
    let any = format!("{}:0", site.listen().ip());
    let line = ["--gateway", &site.url(), "--peer-listen", &any, "--token", "not-a-token"];
    let refused = machine.agent("install", &line);
    // The script does not tell which exit code it was.
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.stderr.contains("ended and is not started again") && refused.stderr.contains("malformed"),
        "{refused:?}"
    );
    assert_eq!((machine.mode("etc/warren/agent.token"), machine.mode("etc/warren")), (0o600, 0o755));

    // Mended by a good one; the only member cannot leave, and goes on.
    let token = site.token(&[]);
    let id = machine.agent("install", &["--token", &token]).ok().try_json().unwrap()["agent"].clone();
    let kept = machine.agent("uninstall", &["--leave"]);
    assert!(kept.code == 3 && kept.stderr.contains("the group did not let the agent go"), "{kept:?}");
    assert_eq!(machine.agent("install", &[]).ok().try_json().unwrap()["agent"], id);
}

#[test]
fn without_systemd_nothing_is_touched() {
    let root = tempfile::tempdir().unwrap();
    let mut command = warren();
    command.args(["agent", "install", "--gateway", "https://g", "--token", "t", "--root"]).arg(root.path());
    let answer = Answer::from(command.output().unwrap());
    assert!(answer.code == 4 && answer.stderr.contains("not run by systemd"), "{answer:?}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn the_job_for_launchd_is_a_property_list() {
    if !are_here(&[Need::Program("python3")]) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let sheet = launchd_sheet(root.path());
    let plist = &sheet[sheet.find("<?xml").unwrap()..sheet.find("</plist>").unwrap() + "</plist>\n".len()];
    let mut python = Command::new("python3")
        .args([
            "-c",
            "import json, plistlib, sys; print(json.dumps(plistlib.loads(sys.stdin.buffer.read())))",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(plist.as_bytes()).unwrap();
    let read = python.wait_with_output().unwrap();
    assert!(read.status.success(), "{plist}");
    let job: Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(job["Label"], "warren.agent");
    assert_eq!(
        job["ProgramArguments"],
        serde_json::json!(["/usr/local/bin/warren", "agent", "--config", "/etc/warren/agent.yaml"])
    );
    assert_eq!((&job["KeepAlive"], &job["Umask"]), (&Value::Bool(true), &Value::from(0o077)));
}

fn launchd_sheet(root: &Path) -> String {
    let mut command = warren();
    command.args([
        "agent",
        "install",
        "--gateway",
        "https://g",
        "--token",
        "t",
        "--for",
        "launchd",
        "--dry-run",
        "--root",
    ]);
    Answer::from(command.arg(root).output().unwrap()).ok().stdout
}
