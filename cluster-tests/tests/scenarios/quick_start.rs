//! An agent as a container starts it: nothing but environment variables.

use std::time::Duration;

use warren_cluster_tests::{GROUP, Site, caller, eventually, target};

#[test]
fn the_environment_alone_makes_one_application_reachable() {
    let mut site = Site::builder().start();
    let echo = target::echo();
    let env = [
        ("WARREN_URL", site.url()),
        ("REGISTRATION_JWT", site.token(&[])),
        ("WARREN_CA", site.ca()),
        ("NAME", "Acme SQL Server".to_owned()),
        ("APP_HOST", echo.ip().to_string()),
        ("APP_PORT", echo.port().to_string()),
        // Where a container has its volume and its own network, a test shares the machine.
        ("WARREN_DATA_DIR", site.path("env-data").to_str().unwrap().to_owned()),
        ("WARREN_PEER_LISTEN", "127.0.0.1:0".to_owned()),
    ];
    let mut agent = site.launch_agent("env", vec!["agent".to_owned()], &env);
    agent.process.ready();

    let listed = |site: &Site| site.json(&["resources", "list", "--group", GROUP]);
    let (resource, _) = eventually("the application is a resource", Duration::from_secs(10), || {
        let resource = listed(&site)[0].clone();
        (!resource["listen"].as_str()?.is_empty()).then_some(resource)
    });
    assert_eq!(resource["name"], "acme-sql-server");
    assert_eq!(resource["target"], echo.to_string());
    let listen = resource["listen"].as_str().unwrap().parse().unwrap();
    caller::open_echo(listen).unwrap();
    assert_eq!(site.status()["members"][0]["name"], "Acme SQL Server");

    // The next start finds its identity and declares nothing twice, though its token is worth nothing any more.
    site.run(&["tokens", "rotate", "--group", GROUP]).ok();
    agent.restart();
    agent.process.ready();
    site.agents.push(agent);
    site.wait_for_members(1);
    caller::open_echo(listen).unwrap();
    let history = site.json(&["config", "history", "--group", GROUP]);
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history}");
}
