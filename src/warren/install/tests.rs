//! Plans on machines of every kind.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::{
    found::{File, Found, Ids},
    is_agents, leave,
    place::{PACKAGED_PROGRAM, PACKAGED_SYSUSERS, PROGRAM, Place},
    plan::{self, Content, Owner, Plan, Step},
    settings, show, unit,
};
use crate::{
    cli::{Cli, Command},
    exit::{self, Exit, Failure},
    install::flags::{InstallArgs, ServiceVerb},
};

const SERVICE: Ids = Ids { uid: 990, gid: 991 };
const FLAGS: &str = "--gateway https://gateway --name a";

fn place() -> Place {
    Place { instance: None }
}

fn args(line: &str) -> InstallArgs {
    let words = ["warren", "agent", "install"].into_iter().chain(line.split_whitespace());
    let Command::Agent(agent) = Cli::try_parse_from(words).unwrap().command else { panic!("an agent") };
    let Some(ServiceVerb::Install(args)) = agent.service else { panic!("an installation") };
    *args
}

fn bare() -> Found {
    Found { program: "/media/usb/warren".into(), ..Found::default() }
}

fn plan(line: &str, found: &Found) -> Result<Plan, (Exit, String)> {
    let args = args(line);
    let place = Place { instance: args.which.instance.clone() };
    let told = |error: anyhow::Error| (exit::of(&error), format!("{error:#}"));
    let settings = settings::settle(&place, &args, found.text(&place.config())).map_err(told)?;
    let token = args.site.token.clone();
    let wish = plan::Wish { settings, token, start: !args.no_start, force: args.force };
    plan::install(&place, &wish, found).map_err(|failure: Failure| told(failure.into()))
}

/// The machine after the plan was carried out and the agent has enrolled.
fn after(plan: &Plan, mut found: Found) -> Found {
    found.service = Some(SERVICE);
    for step in &plan.steps {
        match step {
            Step::Write { path, mode, owner, content } => {
                let (uid, gid) = match owner {
                    Owner::Root => (0, 0),
                    Owner::RootForService => (0, SERVICE.gid),
                    Owner::Service => (SERVICE.uid, SERVICE.gid),
                };
                let content = match content {
                    Content::Text(text) | Content::Secret(text) => text.clone().into_bytes(),
                    Content::Copy(_) => {
                        found.program_is_there = true;
                        Vec::new()
                    }
                };
                found.files.insert(path.clone(), File { content, mode: *mode, uid, gid });
            }
            Step::Folder { path, .. } => {
                found.folders.insert(path.clone());
            }
            Step::Remove(path) => {
                found.files.remove(path);
            }
            Step::Note(_)
            | Step::RemoveFolder(_)
            | Step::RemoveIfEmpty(_)
            | Step::Run(_)
            | Step::CheckLeft => {}
            Step::AwaitReady => (found.active, found.ready, found.enrolled) = (true, true, true),
        }
    }
    (found.enabled, found.unread, found.stale, found.has_left) = (true, false, false, false);
    found.agent = found.enrolled.then(|| "agt-1".to_owned());
    found
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(show::line).collect()
}

fn installed() -> Found {
    after(&plan(&format!("{FLAGS} --token eyJ"), &bare()).unwrap(), bare())
}

#[test]
fn a_bare_machine_gets_everything_in_order() {
    let plan = plan(&format!("{FLAGS} --token eyJhush"), &bare()).unwrap();
    assert_eq!(
        lines(&plan),
        [
            "write /etc/sysusers.d/warren.conf (mode 0644, of root)",
            "run systemd-sysusers /etc/sysusers.d/warren.conf",
            "make /etc/warren (mode 0755, of root)",
            "write /etc/warren/agent.yaml (mode 0640, of root, for the group warren)",
            "write /usr/local/bin/warren (copy of /media/usb/warren; mode 0755, of root)",
            "write /etc/systemd/system/warren-agent.service (mode 0644, of root)",
            "run systemctl daemon-reload",
            "run systemctl enable warren-agent.service",
            "write /etc/warren/agent.token (secret, not shown; mode 0600, of warren)",
            "run systemctl restart warren-agent.service",
            "wait until the agent serves",
            "remove /etc/warren/agent.token",
        ]
    );
    let shown = show::whole(&plan);
    assert!(shown.contains("    token: \"@/etc/warren/agent.token\"\n"), "{shown}");
    assert!(
        shown.contains("    ExecStart=/usr/local/bin/warren agent --config /etc/warren/agent.yaml\n"),
        "{shown}"
    );
    assert!(!shown.contains("hush") && !format!("{plan:?}").contains("hush"), "{shown}");
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    let found = installed();
    for line in ["", FLAGS, &format!("{FLAGS} --token eyJother")] {
        let again = plan(line, &found).unwrap();
        assert_eq!(lines(&again), ["wait until the agent serves"], "{line}");
        assert!(again.changes.is_empty(), "{again:?}");
    }
    let stopped = Found { active: false, ready: false, ..installed() };
    assert_eq!(
        lines(&plan("", &stopped).unwrap()),
        ["run systemctl restart warren-agent.service", "wait until the agent serves"]
    );
    let mut opened = installed();
    opened.files.get_mut(&place().config()).unwrap().mode = 0o644;
    assert!(lines(&plan("", &opened).unwrap())[0].starts_with("write /etc/warren/agent.yaml"));
}

#[test]
fn an_installation_that_did_not_come_to_its_end_is_gone_on_with() {
    let unread = Found { unread: true, ..installed() };
    assert_eq!(
        lines(&plan("", &unread).unwrap()),
        [
            "run systemctl daemon-reload",
            "run systemctl restart warren-agent.service",
            "wait until the agent serves"
        ]
    );
    let stale = Found { stale: true, ..installed() };
    let again = plan("", &stale).unwrap();
    assert_eq!(lines(&again), ["run systemctl restart warren-agent.service", "wait until the agent serves"]);
    assert_eq!(lines(&plan("", &after(&again, stale)).unwrap()), ["wait until the agent serves"]);
}

#[test]
fn who_is_nobody_needs_a_token() {
    for found in [
        // The settings name a token still that served its purpose.
        Found { enrolled: false, ready: false, active: false, ..installed() },
        Found { has_left: true, enrolled: false, ready: false, active: false, ..installed() },
    ] {
        let (exit, told) = plan("", &found).unwrap_err();
        assert!(exit == Exit::Usage && told.contains("not enrolled yet"), "{told}");
        assert!(plan("--token eyJ", &found).is_ok());
    }
    let file = File {
        content: b"gateways: [https://g]\ntoken: \"@/srv/site.jwt\"\n".to_vec(),
        mode: 0o640,
        uid: 0,
        gid: SERVICE.gid,
    };
    let mut elsewhere = bare();
    elsewhere.files.insert(place().config(), file);
    assert!(plan("", &elsewhere).is_ok());
}

#[test]
fn an_empty_token_is_none() {
    let mut args = args(FLAGS);
    args.site.token = Some(String::new());
    let settings = settings::settle(&place(), &args, None).unwrap();
    assert!(!settings.text.contains("token"), "{}", settings.text);
}

#[test]
fn another_program_is_an_upgrade_and_restarts() {
    let found = Found { program_is_there: false, ..installed() };
    let upgrade = plan("", &found).unwrap();
    assert_eq!(
        lines(&upgrade),
        [
            "write /usr/local/bin/warren (copy of /media/usb/warren; mode 0755, of root)",
            "run systemctl restart warren-agent.service",
            "wait until the agent serves",
        ]
    );
    assert_eq!(upgrade.changes, ["program /usr/local/bin/warren", "warren-agent.service restarted"]);
}

#[test]
fn other_settings_need_force_and_keep_the_rest() {
    let mut found = installed();
    let file = found.files.get_mut(&place().config()).unwrap();
    file.content = b"# ours\ngateways: [https://gateway]\nname: a\nveto: {deny: [10.0.0.0/8]}\n".to_vec();
    let before = file.content.clone();
    assert!(plan("--name a", &found).unwrap().changes.is_empty(), "people's own file is left as it is");

    let (exit, told) = plan("--name b --proxy http://u:hush@p:1", &found).unwrap_err();
    assert_eq!(exit, Exit::Refused);
    assert!(told.contains("name: a -> b") && told.contains("proxy: nothing -> (not shown)"), "{told}");
    assert!(told.contains("--force") && !told.contains("hush"), "{told}");

    let forced = plan("--name b --force", &found).unwrap();
    let after = after(&forced, found);
    let text = after.text(&place().config()).unwrap();
    assert!(
        text.contains("name: b\n") && text.contains("10.0.0.0/8") && text.contains("https://gateway"),
        "{text}"
    );
    assert_eq!(after.files[&place().former_config()].content, before);
    assert!(forced.changes[0].contains("name: a -> b"), "{forced:?}");
    assert!(lines(&forced).contains(&"run systemctl restart warren-agent.service".to_owned()));
}

#[test]
fn a_packages_files_are_its_own() {
    let mut found =
        Found { packaged: true, program: PACKAGED_PROGRAM.into(), service: Some(SERVICE), ..bare() };
    let file = File { content: unit::SYSUSERS.into(), mode: 0o644, uid: 0, gid: 0 };
    found.files.insert(PACKAGED_SYSUSERS.into(), file);
    let comments = File { content: b"# nothing yet\n".to_vec(), mode: 0o640, uid: 0, gid: SERVICE.gid };
    found.files.insert(place().config(), comments);
    found.folders.insert("/etc/warren".into());
    let plan = plan(&format!("{FLAGS} --token eyJ"), &found).unwrap();
    assert_eq!(
        lines(&plan)[..2],
        [
            "write /etc/warren/agent.yaml (mode 0640, of root, for the group warren)",
            "run systemctl enable warren-agent.service",
        ]
    );
    assert!(
        !lines(&plan).iter().any(|line| line.contains("/etc/systemd") || line.contains(PROGRAM)),
        "{plan:?}"
    );

    // Put there before the package came, it would run the old program for good.
    let former = unit::text(&place(), Path::new(PROGRAM));
    let file = File { content: former.into_bytes(), mode: 0o644, uid: 0, gid: 0 };
    found.files.insert(place().unit_file(), file);
    found.enabled = true;
    let plan = self::plan(&format!("{FLAGS} --token eyJ"), &found).unwrap();
    let steps = [
        "remove /etc/systemd/system/warren-agent.service",
        "run systemctl daemon-reload",
        "run systemctl reenable warren-agent.service",
    ];
    assert!(lines(&plan).windows(3).any(|lines| lines == steps), "{plan:?}");
    found.files.get_mut(&place().unit_file()).unwrap().content = b"[Service]\n# people's own\n".to_vec();
    let plan = self::plan(&format!("{FLAGS} --token eyJ"), &found).unwrap();
    assert!(!lines(&plan).contains(&steps[0].to_owned()), "{plan:?}");

    found.program = "/media/usb/warren".into();
    let (exit, told) = self::plan(&format!("{FLAGS} --token eyJ"), &found).unwrap_err();
    assert!(exit == Exit::Refused && told.contains("/usr/bin/warren"), "{told}");
}

#[test]
fn a_unit_of_somebody_else_needs_force() {
    let mut found = installed();
    found.files.get_mut(&place().unit_file()).unwrap().content =
        b"[Service]\nExecStart=/opt/warren\n".to_vec();
    let (exit, told) = plan("", &found).unwrap_err();
    assert!(exit == Exit::Refused && told.contains("warren-agent.service` is somebody else's"), "{told}");
    let forced = plan("--force", &found).unwrap();
    assert!(lines(&forced).contains(&"run systemctl daemon-reload".to_owned()), "{forced:?}");
}

#[test]
fn a_data_folder_elsewhere_is_opened_to_the_service() {
    let plan = plan(&format!("{FLAGS} --token eyJ --data-dir /data/warren"), &bare()).unwrap();
    let lines = lines(&plan);
    for line in [
        "make /data/warren (mode 0700, of warren)",
        "write /etc/systemd/system/warren-agent.service.d/data-dir.conf (mode 0644, of root)",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line} in {lines:?}");
    }
    let (exit, told) =
        self::plan(&format!("{FLAGS} --token eyJ --data-dir /home/ann/warren"), &bare()).unwrap_err();
    assert!(exit == Exit::Usage && told.contains("cannot see `/home/ann/warren`"), "{told}");
}

#[test]
fn what_cannot_work_is_said_before_anything_is_done() {
    for (line, word) in [
        (FLAGS, "not enrolled yet"),
        ("--token eyJ", "gateways: missing"),
        ("--gateway http://plain --token eyJ --metrics nowhere", "metrics"),
        ("--gateway https://g --token eyJ --instance acme", "--peer-listen"),
    ] {
        let (exit, told) = plan(line, &bare()).unwrap_err();
        assert!(exit == Exit::Usage && told.contains(word), "{line}: {told}");
    }
}

#[test]
fn an_instance_has_files_of_its_own() {
    let line = format!("{FLAGS} --token eyJ --instance acme --peer-listen 0.0.0.0:7401 --no-start");
    let plan = plan(&line, &bare()).unwrap();
    let shown = show::whole(&plan);
    for text in [
        "write /etc/warren/agent-acme.yaml (",
        "    data_dir: /var/lib/warren/agent-acme\n",
        "write /etc/warren/agent-acme.token (",
        "write /etc/systemd/system/warren-agent-acme.service (",
        "run systemctl enable warren-agent-acme.service\n",
    ] {
        assert!(shown.contains(text), "{text} in {shown}");
    }
    assert!(lines(&plan).iter().all(|line| !line.contains("restart") && !line.contains("wait")), "{shown}");
}

#[test]
fn the_account_of_a_person_is_neither_used_nor_removed() {
    let found = Found { person: true, service: Some(SERVICE), ..bare() };
    let (exit, told) = plan(&format!("{FLAGS} --token eyJ"), &found).unwrap_err();
    assert!(exit == Exit::Refused && told.contains("somebody's account"), "{told}");
    assert!(plan(&format!("{FLAGS} --token eyJ --force"), &found).is_ok());
    let installed = Found { person: true, ..installed() };
    let plan = leave::uninstall(&place(), &wish(false, true), &installed).unwrap();
    assert!(!lines(&plan).iter().any(|line| line.contains("userdel")), "{plan:?}");
}

fn wish(leave: bool, purge: bool) -> leave::Wish {
    leave::Wish { leave, purge, data_dir: PathBuf::from("/var/lib/warren/agent"), data_is_agents: true }
}

#[test]
fn uninstalling_keeps_identity_and_settings() {
    let plan = leave::uninstall(&place(), &wish(false, false), &installed()).unwrap();
    assert_eq!(
        lines(&plan),
        [
            "run systemctl disable --now warren-agent.service",
            "remove /etc/systemd/system/warren-agent.service",
            "run systemctl daemon-reload",
        ]
    );
    let nothing = leave::uninstall(&place(), &wish(false, false), &bare()).unwrap();
    assert_eq!(nothing, Plan::default());
}

#[test]
fn leaving_comes_before_everything_is_removed() {
    let mut found = installed();
    found.folders.insert("/var/lib/warren/agent".into());
    let plan = leave::uninstall(&place(), &wish(true, true), &found).unwrap();
    assert_eq!(
        lines(&plan),
        [
            "make /var/lib/warren/agent/leave (empty, by warren)",
            "run systemctl stop warren-agent.service",
            "see that the agent has left its group",
            "run systemctl disable --now warren-agent.service",
            "remove /etc/systemd/system/warren-agent.service",
            "run systemctl daemon-reload",
            "remove /var/lib/warren/agent and all in it",
            "remove /etc/warren/agent.yaml",
            "remove /etc/warren if it is empty",
            "remove /var/lib/warren if it is empty",
            "run userdel warren",
            "remove /etc/sysusers.d/warren.conf",
            "remove /usr/local/bin/warren",
        ]
    );
    let stopped = Found { active: false, ..installed() };
    let refused = leave::uninstall(&place(), &wish(true, false), &stopped).unwrap_err();
    assert!(refused.to_string().contains("does not run"), "{refused}");
    // Gone on with after a step that failed: it has left already.
    let halfway = Found { has_left: true, enrolled: false, agent: None, active: false, ..installed() };
    let resumed = leave::uninstall(&place(), &wish(true, true), &halfway).unwrap();
    assert_eq!(lines(&resumed)[0], "run systemctl disable --now warren-agent.service");
}

#[test]
fn a_drop_in_goes_with_its_folder_and_systemd_is_told() {
    let found =
        after(&plan(&format!("{FLAGS} --token eyJ --data-dir /data/warren"), &bare()).unwrap(), bare());
    let mut of_package = Found { packaged: true, ..found };
    of_package.files.remove(&place().unit_file());
    let plan = leave::uninstall(&place(), &wish(false, false), &of_package).unwrap();
    assert_eq!(
        lines(&plan)[1..],
        [
            "remove /etc/systemd/system/warren-agent.service.d/data-dir.conf",
            "remove /etc/systemd/system/warren-agent.service.d if it is empty",
            "run systemctl daemon-reload",
        ]
    );
}

#[test]
fn only_an_agents_folder_may_be_purged() {
    let folder = tempfile::tempdir().unwrap();
    assert!(is_agents(&folder.path().join("absent")).unwrap());
    for name in
        ["agent.key", "boot", "group.redb", "group.lock", "peer.port", "roots.pem", "boot.7sFq-x_A.new"]
    {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    assert!(is_agents(folder.path()).unwrap());
    std::fs::create_dir(folder.path().join("photos")).unwrap();
    assert!(!is_agents(folder.path()).unwrap());
}

#[test]
fn what_others_need_is_not_purged() {
    let mut found = Found { neighbours: true, ..installed() };
    let plan = leave::uninstall(&place(), &wish(false, true), &found).unwrap();
    let shared = ["userdel", "sysusers", PROGRAM, "/etc/warren if"];
    assert!(lines(&plan).iter().all(|line| shared.iter().all(|word| !line.contains(word))), "{plan:?}");

    found.folders.insert(Path::new("/var/lib/warren/agent").to_owned());
    let strangers = leave::Wish { data_is_agents: false, ..wish(false, true) };
    let refused = leave::uninstall(&place(), &strangers, &found).unwrap_err();
    assert!(refused.to_string().contains("holds more than an agent's data"), "{refused}");
}

#[test]
fn what_the_settings_name_is_found_from_the_services_folder_and_headers_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let here = std::env::current_dir().unwrap();
    let up = "../".repeat(here.components().count() - 1);
    let name = format!("{up}{}", folder.path().strip_prefix("/").unwrap().display());
    let authority = warren_identity::Authority::generate(std::time::SystemTime::now()).unwrap();
    std::fs::write(folder.path().join("ca.pem"), authority.bundle_pem()).unwrap();
    std::fs::write(folder.path().join("token"), "hush").unwrap();
    let config = folder.path().join("more.yaml");
    let otlp = |key: &str| {
        format!(
            "otlp:\n  url: https://otel\n  ca: {name}/ca.pem\n  headers: [authorization=@{name}/token, x-key={key}]\n"
        )
    };
    std::fs::write(&config, otlp("hush")).unwrap();
    let line = format!("{FLAGS} --config {}", config.display());
    let found = after(&plan(&format!("{line} --token eyJ"), &bare()).unwrap(), bare());
    let text = found.text(&place().config()).unwrap();
    let whole = here.join(&name);
    assert!(text.contains(&format!("ca: {}/ca.pem", whole.display())), "{text}");
    assert!(text.contains(&format!("authorization=@{}/token", whole.display())), "{text}");
    assert!(text.contains("x-key=hush"), "{text}");

    std::fs::write(&config, otlp("quiet")).unwrap();
    let (exit, told) = plan(&line, &found).unwrap_err();
    assert!(exit == Exit::Refused && told.contains("otlp: (not shown) -> (not shown)"), "{told}");
    let shown = show::whole(&plan(&format!("{line} --force"), &found).unwrap());
    assert!(!shown.contains("quiet") && !shown.contains("hush"), "{shown}");
}
