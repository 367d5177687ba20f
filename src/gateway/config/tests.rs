use super::*;

fn parse(text: &str) -> Result<GatewayConfig, ConfigError> {
    GatewayConfig::parse("gateway.yaml", text, &Overrides::default())
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse("").unwrap(), GatewayConfig::default());
}

#[test]
fn what_is_dumped_reads_back() {
    let text = "data_dir: /tmp/w\nlisten: 127.0.0.1:0\npublic_url: https://gw.example\nmetrics: 127.0.0.1:0\n\
                ingress: {host: 0.0.0.0, ports: 20000-20010}\ntunnel: {ping: 500ms, suspect: 1s}\n\
                token_lifetime: 2h\nlimits: {sessions: 7}\nlog: {format: json}\n";
    let config = parse(text).unwrap();
    assert_eq!(config.store, StoreLocation::Sqlite("/tmp/w/gateway.db".into()));
    assert_eq!(parse(&config.dump()).unwrap(), config, "{}", config.dump());
    assert_eq!(parse(&GatewayConfig::default().dump()).unwrap(), GatewayConfig::default());
}

#[test]
fn every_mistake_of_file_and_flags_is_told_at_once() {
    let text = "listen: 127.0.0.1\nlimits:\n  sessions: many\ntunnel: {suspect: 1s}\nstore: postgres://u:se/cret@h/db\n\
                ingres: 1\n";
    let overrides = Overrides {
        ingress_ports: Some("9-1".into()),
        operator_key: Some("short".into()),
        ..Overrides::default()
    };
    let error = GatewayConfig::parse("gateway.yaml", text, &overrides).unwrap_err();
    let paths: Vec<_> = error.problems.iter().map(|problem| problem.path.as_str()).collect();
    let expected = [
        "listen",
        "store",
        "WARREN_OPERATOR_KEY",
        "ingress.ports",
        "tunnel.dead",
        "limits.sessions",
        "ingres",
    ];
    assert_eq!(paths, expected, "{error}");
    assert!(!error.to_string().contains("cret@"), "{error}");
    assert!(error.to_string().contains("percent-encode"), "{error}");
}

#[test]
fn flags_win_over_the_file() {
    let overrides = Overrides {
        data_dir: Some("/srv/w".into()),
        listen: Some("127.0.0.1:9".into()),
        drain: Some("5s".into()),
        ..Overrides::default()
    };
    let config =
        GatewayConfig::parse("f", "listen: 0.0.0.0:1\ndrain: 9s\ndata_dir: /tmp\n", &overrides).unwrap();
    assert_eq!(config.listen.port(), 9);
    assert_eq!(config.drain, Duration::from_secs(5));
    assert_eq!(config.operator_key, OperatorKeySource::File("/srv/w/operator.key".into()));
}

#[test]
fn a_key_from_the_environment_is_never_shown() {
    let key = "0123456789abcdef0123456789abcdef".to_owned();
    let overrides = Overrides { operator_key: Some(key.clone()), ..Overrides::default() };
    let config = GatewayConfig::parse("f", "", &overrides).unwrap();
    assert!(!config.dump().contains(&key));
    assert!(!format!("{config:?} {overrides:?}").contains(&key));
}

#[test]
fn public_urls_have_a_host_and_no_path() {
    for (text, shown) in [
        ("https://gw.example", "https://gw.example"),
        ("https://GW.example:8443/", "https://gw.example:8443"),
        ("https://[::1]:8443", "https://[::1]:8443"),
    ] {
        assert_eq!(text.parse::<PublicUrl>().unwrap().to_string(), shown);
    }
    let of = |text: &str| PublicUrl::of(text.parse().unwrap()).to_string();
    assert_eq!(of("0.0.0.0:8443"), "https://localhost:8443");
    assert_eq!(of("[::1]:443"), "https://[::1]");
    for text in
        ["http://a", "gw.example", "https://", "https://a/b", "https://u@a", "https://a:0", "https://a:"]
    {
        assert!(text.parse::<PublicUrl>().is_err(), "{text}");
    }
}

#[test]
fn a_stores_password_is_never_shown_and_its_file_is() {
    let text = "store: postgres://ann:in-url@db.example/warren\nstore_password_file: /run/secrets/db\n";
    let config = parse(text).unwrap();
    let dump = config.dump();
    assert!(dump.contains("postgres://ann@db.example/warren") && dump.contains("/run/secrets/db"), "{dump}");
    assert!(!format!("{dump}{config:?}").contains("in-url"));
    assert_eq!(parse(&dump).unwrap(), config);
    let overrides = Overrides { store_password: Some("from-env".into()), ..Overrides::default() };
    let config = GatewayConfig::parse("f", text, &overrides).unwrap();
    assert!(!format!("{}{config:?}{overrides:?}", config.dump()).contains("from-env"));
    let error = parse("store_password_file: /run/secrets/db\n").unwrap_err();
    assert_eq!(error.problems[0].path, "store_password_file");
}

#[test]
fn what_the_export_of_spans_needs_is_checked_with_all_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let authority = warren_identity::Authority::generate(std::time::SystemTime::now()).unwrap();
    fs::write(path("ca.pem"), authority.bundle_pem()).unwrap();
    fs::write(path("token"), "Bearer hush\n").unwrap();
    let otlp = |ca: &str| OtlpOverrides {
        url: Some("https://otel".into()),
        ca: Some(path(ca).into()),
        headers: vec![format!("authorization=@{}", path("token"))],
        ..OtlpOverrides::default()
    };
    let overrides = Overrides { otlp: otlp("ca.pem"), ..Overrides::default() };
    let config = GatewayConfig::parse("f", "", &overrides).unwrap();
    assert_eq!(parse(&config.dump()).unwrap(), config, "{}", config.dump());
    assert!(!format!("{}{config:?}{overrides:?}", config.dump()).contains("hush"));

    for (ca, wanted) in [("none.pem", "otlp.ca: cannot read"), ("token", "no root certificate to trust")] {
        let overrides = Overrides { otlp: otlp(ca), ..Overrides::default() };
        let told = GatewayConfig::parse("f", "listen: x\n", &overrides).unwrap_err().to_string();
        assert!(told.contains("2 mistakes") && told.contains(wanted), "{told}");
    }
}
