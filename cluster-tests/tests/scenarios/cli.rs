//! The command line as a contract: shapes, exit codes, and edits that do not lose each other.

use std::time::Duration;

use warren_cluster_tests::{GROUP, Site, eventually, target};

#[test]
fn status_and_resources_have_the_promised_fields() {
    let site = Site::with_agents(1);
    let target = target::echo().to_string();
    let created = site.json(&[
        "resources",
        "create",
        "echo",
        "--group",
        GROUP,
        "--target",
        &target,
        "--listen",
        "127.0.0.1:0",
    ]);
    for key in ["name", "group", "listen", "revision"] {
        assert!(!created[key].is_null(), "{key} in {created}");
    }
    let status = site.status();
    for key in ["group", "state", "leader", "revision", "quorum", "members", "resources"] {
        assert!(!status[key].is_null(), "{key} in {status}");
    }
    for key in
        ["id", "name", "status", "role", "revision", "tunnels", "sessions", "weight", "certificate_expires"]
    {
        assert!(!status["members"][0][key].is_null(), "{key} in {status}");
    }
    // The agent serves from its first tunnel on.
    eventually("two tunnels by default", Duration::from_secs(10), || {
        (site.status()["members"][0]["tunnels"] == 2).then_some(())
    });
}

#[test]
fn a_stale_edit_is_refused_and_nothing_is_lost() {
    let site = Site::with_agents(1);
    site.resource("echo", target::echo());
    let file = site.path("config.yaml");
    std::fs::write(&file, "resources: {}\n").unwrap();
    let file = file.to_str().unwrap();
    let stale = site.run(&["config", "set", "--group", GROUP, "--file", file, "--expect-revision", "0"]);
    assert_eq!(stale.code, 3, "{stale:?}");
    assert!(stale.stderr.contains("revision is 1, not 0"), "{stale:?}");
    assert_eq!(site.json(&["config", "get", "--group", GROUP])["revision"], 1);

    site.run(&["config", "set", "--group", GROUP, "--file", file, "--expect-revision", "1"]).ok();
    let history = site.json(&["config", "history", "--group", GROUP]);
    let history = history.as_array().unwrap();
    assert_eq!(history.len(), 2, "{history:?}");
    assert!(history[0]["diff"].to_string().contains("- resource echo"), "newest first: {history:?}");
    let diff = site.run(&["config", "diff", "--group", GROUP, "1..2"]).ok();
    assert!(diff.stdout.contains("- resource echo"), "{diff:?}");
    site.run(&["config", "rollback", "--group", GROUP, "1"]).ok();
    assert_eq!(site.json(&["config", "get", "--group", GROUP])["revision"], 3);

    std::fs::write(site.path("bad.yaml"), "resources:\n  X: {target: 1}\n  y: {policy: best}\n").unwrap();
    let bad = site.path("bad.yaml");
    let wrong = site.run(&["config", "set", "--group", GROUP, "--file", bad.to_str().unwrap()]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    for mistake in ["resources.X", "resources.y.target", "resources.y.policy"] {
        assert!(wrong.stderr.contains(mistake), "{mistake}: {wrong:?}");
    }
}

#[test]
fn unknown_things_are_named() {
    let site = Site::with_agents(1);
    for (args, word) in [
        (&["groups", "status", "nowhere"][..], "nowhere"),
        (&["resources", "show", "nothing", "--group", GROUP], "nothing"),
        (&["agents", "show", "agt-0000000001"], "agt-0000000001"),
    ] {
        let answer = site.run(args);
        assert_eq!(answer.code, 1, "{args:?}: {answer:?}");
        assert!(answer.stderr.contains(word), "{args:?}: {answer:?}");
    }
    assert_eq!(site.run(&["groups", "statos"]).code, 2);
    assert_eq!(site.run(&["completion", "bash"]).code, 0);
}
