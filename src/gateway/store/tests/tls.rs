//! The way to a database on another machine: TLS, checked, and a password that is shown nowhere.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use warren_identity::Authority;

use super::*;
use crate::config::{GatewayConfig, Overrides};

#[tokio::test]
async fn a_password_travels_over_tls_that_is_checked() {
    let Some(server) = Postgres::start(&["listen_addresses=127.0.0.1", "password_encryption=scram-sha-256"])
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (authority, root) = (Authority::generate(SystemTime::now()).unwrap(), folder.path().join("root.pem"));
    fs::write(&root, authority.bundle_pem()).unwrap();
    let names = ["localhost".to_owned()];
    let life = Duration::from_secs(3_600);
    let (issued, key) =
        authority.issue_gateway(GatewayId::from_random(1), &names, SystemTime::now(), life).unwrap();
    let [shown, kept] = ["server.crt", "server.key"].map(|file| server.data().join(file));
    fs::write(&shown, &issued.pem).unwrap();
    key.save(&kept).unwrap();
    [shown, kept].iter().for_each(|path| server.give_away(path));
    let hba = "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(server.data().join("pg_hba.conf"), hba).unwrap();
    server.sql("ALTER ROLE warren PASSWORD 'open sesame'");
    server.sql("ALTER SYSTEM SET ssl = on");
    server.sql("SELECT pg_reload_conf()");
    server.database("t");

    let port = server.port();
    let url = |host: &str, more: &str| format!("postgres://warren@{host}:{port}/t?{more}");
    let open = async |url: String, password: Option<&str>| {
        let overrides = Overrides {
            store: Some(url),
            store_password: password.map(str::to_owned),
            ..Overrides::default()
        };
        SqlStore::open(&GatewayConfig::parse("test", "", &overrides).unwrap().store).await
    };
    let checked = format!("sslmode=verify-full&sslrootcert={}", root.display());
    let good = Some("open sesame");
    // The server takes its new settings a moment after it was asked to.
    let mut opened = open(url("localhost", &checked), good).await;
    for _ in 0..500 {
        if opened.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        opened = open(url("localhost", &checked), good).await;
    }
    opened.unwrap().settle("k", "one").await.unwrap();

    let refused = open(url("localhost", &checked), Some("shut sesame")).await.unwrap_err();
    assert!(matches!(refused, StoreError::Open { .. }), "{refused:?}");
    let told = format!("{refused:?} {}", server.log());
    assert!(!told.contains("shut sesame") && !format!("{refused}").contains("sesame"), "{told}");
    let other_name = open(url("127.0.0.1", &checked), good).await;
    assert!(other_name.is_err(), "the certificate is not for this name");
    let unknown_root = open(url("localhost", "sslmode=verify-full"), good).await;
    assert!(unknown_root.is_err(), "nobody vouches for it");
    let plain = open(url("localhost", "sslmode=disable"), good).await;
    assert!(plain.is_err(), "its server takes none without TLS");
}
