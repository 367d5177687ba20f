use super::*;

fn overrides() -> Overrides {
    Overrides { gateways: vec!["https://gw.example.com".into()], ..Overrides::default() }
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.yaml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn defaults_need_only_a_gateway() {
    let config = AgentConfig::load(None, overrides()).unwrap();
    assert_eq!(config.gateways[0].to_string(), "https://gw.example.com:443");
    assert_eq!(config.tunnels, 2);
    assert_eq!(config.peer_listen.port(), 7400);
    assert_eq!(config.live.drain, Duration::from_secs(30));
    assert_eq!(config.live.veto.deny.len(), 2);
    assert!(!config.name.is_empty() && config.app.is_none());
}

#[test]
fn five_mistakes_are_told_at_once() {
    let (_folder, path) = file(
        "gateways: [http://gw.example.com]\npeer_listen: 7400\ntunnels: 9\nveto:\n  deny: [10.0.0.0/40]\nprobe: {interval: soon}\nmetrix: 1\n",
    );
    let error = AgentConfig::load(Some(&path), Overrides::default()).unwrap_err().to_string();
    for part in [
        "6 mistakes",
        "gateways[0]: `http://gw.example.com` is not a gateway",
        "peer_listen: invalid socket address",
        "tunnels: expected a whole number from 1 to 8, found 9",
        "veto.deny[0]: `10.0.0.0/40` is not a pattern",
        "probe.interval: `soon` is not a time",
        "metrix: unknown key, did you mean `metrics`?",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn no_gateway_is_a_mistake_of_its_own() {
    let error = AgentConfig::load(None, Overrides::default()).unwrap_err().to_string();
    assert_eq!(
        error,
        "agent settings: 1 mistake\n  gateways: missing, give at least one such as https://gateway.example.com"
    );
}

#[test]
fn overrides_win_over_the_file() {
    let (_folder, path) = file("gateways: [https://a]\nname: file\ntunnels: 3\ndrain: 1m\n");
    let over = Overrides { name: Some("flag".into()), tunnels: Some("4".into()), ..Overrides::default() };
    let config = AgentConfig::load(Some(&path), over).unwrap();
    assert_eq!((config.name.as_str(), config.tunnels), ("flag", 4));
    assert_eq!(config.live.drain, Duration::from_secs(60));
}

#[test]
fn the_quick_start_declares_one_resource() {
    let over = Overrides {
        name: Some("Acme MS SQL".into()),
        app_host: Some("db.corp".into()),
        app_port: Some("1433".into()),
        ..overrides()
    };
    let app = AgentConfig::load(None, over).unwrap().app.unwrap();
    assert_eq!((app.name.as_str(), app.target.to_string().as_str()), ("acme-ms-sql", "db.corp:1433"));
    let half = Overrides { app_host: Some("db.corp".into()), ..overrides() };
    let error = AgentConfig::load(None, half).unwrap_err().to_string();
    assert!(error.contains("app.port: missing"), "{error}");
    let bad = Overrides { app_host: Some("db".into()), app_port: Some("many".into()), ..overrides() };
    let error = AgentConfig::load(None, bad).unwrap_err().to_string();
    assert!(error.contains("1 mistake\n  app.port: expected a whole number"), "{error}");
}

#[test]
fn a_dump_reads_back_and_hides_the_token() {
    let over = Overrides { token: Some("eyJsecret".to_owned().into()), ..overrides() };
    let config = AgentConfig::load(None, over).unwrap();
    let dump = config.dump();
    assert!(!dump.contains("eyJsecret") && !format!("{config:?}").contains("eyJsecret"), "{dump}");
    let (_folder, path) = file(&dump);
    let again = AgentConfig::load(Some(&path), Overrides::default()).unwrap();
    assert_eq!(again.dump(), dump);
}

#[test]
fn a_token_file_is_read_only_when_it_is_needed() {
    let over = Overrides { token: Some("@/nowhere/token".to_owned().into()), ..overrides() };
    let token = AgentConfig::load(None, over).unwrap().token.unwrap();
    assert!(token.read().is_err());
    assert_eq!(Token::from(" abc \n".to_owned()).read().unwrap(), "abc");
}

#[test]
fn a_reload_takes_what_may_change_and_names_the_rest() {
    let (_folder, path) = file("gateways: [https://a]\n");
    let config = AgentConfig::load(Some(&path), Overrides::default()).unwrap();
    std::fs::write(&path, "gateways: [https://b]\nveto: {deny: [10.0.0.1]}\ntunnels: 3\nlog: debug\n")
        .unwrap();
    let reload = config.reload().unwrap();
    assert_eq!(reload.needs_restart, ["gateways", "tunnels"]);
    assert_eq!(reload.live.veto.deny.len(), 1);
    assert_eq!(reload.live.log.as_deref(), Some("debug"));
    std::fs::write(&path, "gateways: {}\n").unwrap();
    assert!(config.reload().is_err(), "the running config stays");
}

#[test]
fn gateways_are_https_with_any_port() {
    for (text, shown) in [
        ("https://gw.corp", "https://gw.corp:443"),
        ("https://gw.corp/", "https://gw.corp:443"),
        ("https://127.0.0.1:8443", "https://127.0.0.1:8443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://[::1]", "https://[::1]:443"),
    ] {
        assert_eq!(text.parse::<GatewayUrl>().unwrap().to_string(), shown);
    }
    for text in ["gw.corp", "http://gw.corp", "https://", "https://gw.corp/path", "https://gw.corp:0"] {
        assert!(text.parse::<GatewayUrl>().is_err(), "{text}");
    }
}

#[test]
fn the_export_of_spans_may_be_wholly_in_the_environment_and_is_not_shown() {
    let otlp = OtlpOverrides {
        url: Some("http://otel".into()),
        environment_headers: Some("authorization=Bearer%20hush".into()),
        ..OtlpOverrides::default()
    };
    let (_folder, path) = file("gateways: [https://a]\notlp: {sample: 0.5}\n");
    let over = Overrides { otlp, ..Overrides::default() };
    let config = AgentConfig::load(Some(&path), over).unwrap();
    assert_eq!(config.otlp.headers[0].name(), "authorization");
    assert_eq!(config.otlp.sample.share(), 0.5);
    assert!(!format!("{}{config:?}", config.dump()).contains("hush"));
    std::fs::write(&path, "gateways: [https://a]\notlp: {sample: 0.5, ca: none.pem}\n").unwrap();
    let told = config.reload().unwrap_err().to_string();
    assert!(told.contains("otlp.ca: only an https:// collector"), "{told}");
    std::fs::write(&path, "gateways: [https://a]\notlp: {sample: 1}\n").unwrap();
    assert_eq!(config.reload().unwrap().needs_restart, ["otlp"]);
}
