use crate::config::AgentConfig;

use super::*;

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.yaml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn load(file: &str, overrides: Overrides) -> Result<AgentConfig, String> {
    let (_folder, path) = written(&format!("gateways: [https://gw.corp, https://10.1.2.3]\n{file}"));
    AgentConfig::load(Some(&path), overrides).map_err(|error| error.to_string())
}

fn given(from: &'static str, url: &str) -> Option<ProxyUrl> {
    Some(ProxyUrl { from, url: url.to_owned() })
}

fn environment(url: &str, no_proxy: &str) -> Overrides {
    Overrides {
        environment_proxy: given("HTTPS_PROXY", url),
        environment_no_proxy: Some(no_proxy.to_owned()),
        ..Overrides::default()
    }
}

/// The proxy, who decided, and the first stop towards both gateways.
fn way(file: &str, overrides: Overrides) -> (Option<String>, Option<String>, [String; 2]) {
    let config = load(file, overrides).unwrap();
    let stop = |index: usize| config.way.first_stop(&config.gateways[index]).0.to_owned();
    (config.way.proxy.as_ref().map(ToString::to_string), config.way.from.clone(), [stop(0), stop(1)])
}

fn through(url: &str, from: &str, stops: [&str; 2]) -> (Option<String>, Option<String>, [String; 2]) {
    (Some(url.to_owned()), Some(from.to_owned()), stops.map(str::to_owned))
}

#[test]
fn an_explicit_proxy_wins_over_the_environment() {
    let file = "proxy: {url: 'http://file:1', no_proxy: [.corp]}\n";
    let env = || environment("env:3", "10.0.0.0/8, 127.*");
    assert_eq!(way("", env()), through("http://env:3", "HTTPS_PROXY", ["env", "10.1.2.3"]));
    assert_eq!(way(file, env()), through("http://file:1", "the file", ["gw.corp", "file"]));
    let flag = || Overrides { proxy: given("--proxy", "socks5://flag:2"), ..env() };
    assert_eq!(way("", flag()), through("socks5://flag:2", "--proxy", ["flag", "flag"]));
    assert_eq!(way(file, flag()), through("socks5://flag:2", "--proxy", ["gw.corp", "flag"]));
    // The file's exceptions go with the environment's proxy, in place of the environment's own.
    let exceptions = "proxy: {no_proxy: ['*.corp:443']}\n";
    assert_eq!(way(exceptions, env()), through("http://env:3", "HTTPS_PROXY", ["gw.corp", "env"]));
    assert_eq!(way("proxy: file:1\n", env()), through("http://file:1", "the file", ["file", "file"]));
    let ignored = load("", env()).unwrap().way.ignored;
    assert_eq!(ignored, ["127.*"]);
}

#[test]
fn none_switches_the_environment_off() {
    let (gw, ip) = ("gw.corp".to_owned(), "10.1.2.3".to_owned());
    let direct = |from: Option<&str>| (None, from.map(str::to_owned), [gw.clone(), ip.clone()]);
    let env = || environment("env:3", "");
    assert_eq!(way("", Overrides::default()), direct(None));
    assert_eq!(way("proxy: none\n", env()), direct(Some("the file")));
    assert_eq!(way("proxy: {url: none}\n", env()), direct(Some("the file")));
    let flag = Overrides { proxy: given("WARREN_PROXY", "none"), ..env() };
    assert_eq!(way("proxy: file:1\n", flag), direct(Some("WARREN_PROXY")));
}

#[test]
fn gateways_are_excepted_as_other_programs_do_it() {
    for (list, passes) in [
        ("gw.corp", [true, false]),
        ("GW.corp:443", [true, false]),
        ("gw.corp:80", [false, false]),
        (".corp", [true, false]),
        ("*.corp", [true, false]),
        ("corp", [false, false]),
        ("10.1.2.3", [false, true]),
        ("10.1.0.0/16:443", [false, true]),
        ("*", [true, true]),
        ("localhost 10.0.0.0/8,gw.corp", [true, true]),
        ("", [false, false]),
    ] {
        let config = load("", environment("env:3", list)).unwrap();
        let found = [0, 1].map(|index| config.way.passes_by(&config.gateways[index]));
        assert_eq!(found, passes, "{list}");
    }
}

#[test]
fn mistakes_are_told_together_and_without_secrets() {
    let flag = || Overrides { proxy: given("--proxy", "https://u:secret@p"), ..Overrides::default() };
    let cases = [
        (
            "proxy: {url: 'ftp://u:secret@p', no_proxy: [a b], urls: x}\n",
            Overrides::default(),
            vec![
                "3 mistakes",
                "proxy.url: not a proxy, expected http://",
                "proxy.no_proxy[0]: `a b` is not a pattern",
                "proxy.urls: unknown key, did you mean `url`?",
            ],
        ),
        (
            "proxy: 'socks5://u@p'\n",
            Overrides::default(),
            vec!["1 mistake", "proxy: SOCKS5 takes a user name"],
        ),
        ("proxy: [a]\n", Overrides::default(), vec!["proxy: expected a section with keys, found a list"]),
        ("", flag(), vec!["1 mistake", "proxy: a proxy that is itself reached by TLS"]),
        ("", environment("http://u:secret@", ""), vec!["1 mistake", "HTTPS_PROXY: not a proxy"]),
        ("proxy: {url: 'http://u:secret@p', password_file: /x}\n", Overrides::default(), vec!["given twice"]),
        (
            "proxy: {url: 'http://u@p', password_file: /nowhere/p}\n",
            Overrides::default(),
            vec!["proxy.password_file: cannot read `/nowhere/p`"],
        ),
        (
            "proxy: {password_file: /x}\n",
            Overrides::default(),
            vec!["proxy.password_file: there is no proxy"],
        ),
        ("proxy: {url: 'http://u:secret@p'\n", Overrides::default(), vec!["1 mistake"]),
        ("extra_ca: [/nowhere/ca]\n", Overrides::default(), vec!["extra_ca[0]: cannot read `/nowhere/ca`"]),
    ];
    for (file, overrides, parts) in cases {
        let error = load(file, overrides).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{part} in {error}");
        }
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_password_file_is_for_a_user_without_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret\n").unwrap();
    let file = |url: &str| format!("proxy: {{url: '{url}', password_file: '{}'}}\n", secret.display());
    let used = |file: &str, over: Overrides| {
        load(file, over).unwrap().way.proxy.unwrap().password_file().map(PathBuf::as_path) == Some(&*secret)
    };
    let flag = |url: &str| Overrides { proxy: given("--proxy", url), ..Overrides::default() };
    assert!(used(&file("http://u@p"), Overrides::default()));
    assert!(used(&file("socks5://u@p"), Overrides::default()));
    assert!(used(&file("http://u@p"), flag("socks5://v@q")));
    assert!(!used(&file("http://u@p"), flag("http://v:w@q")));
    assert!(!used(&file("http://u@p"), flag("http://q")));
}

#[test]
fn a_dump_reads_back_and_hides_the_password() {
    let file = "proxy: {url: 'http://u:secret@p:3128', no_proxy: [.corp, 10.0.0.0/8]}\n";
    let config = load(file, environment("http://e:secret@e", "")).unwrap();
    let dump = config.dump();
    assert!(!format!("{dump}{config:?}").contains("secret"), "{dump}");
    let again = |dump: &str| {
        let (_folder, path) = written(dump);
        AgentConfig::load(Some(&path), environment("env:3", "")).unwrap().dump()
    };
    assert_eq!(again(&dump), dump);
    let none = load("proxy: none\n", Overrides::default()).unwrap().dump();
    assert!(none.contains("proxy: none"), "{none}");
    assert_eq!(again(&none), none);
}

#[test]
fn a_change_counts_from_the_next_start() {
    let (_folder, path) = written("gateways: [https://gw]\n");
    let config = AgentConfig::load(Some(&path), environment("env:3", "")).unwrap();
    assert!(config.reload().unwrap().needs_restart.is_empty());
    fs::write(&path, "gateways: [https://gw]\nproxy: http://env:3\n").unwrap();
    assert!(config.reload().unwrap().needs_restart.is_empty(), "the same proxy, whoever names it");
    fs::write(&path, "gateways: [https://gw]\nproxy: http://other:3\n").unwrap();
    assert_eq!(config.reload().unwrap().needs_restart, ["proxy"]);
}
