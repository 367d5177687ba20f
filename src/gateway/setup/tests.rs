use std::{error::Error, os::unix::fs::PermissionsExt};

use warren_identity::secret;

use super::*;
use crate::{
    config::Overrides,
    store::{UserRecord, UserRole},
};

fn config(folder: &Path) -> GatewayConfig {
    let overrides = Overrides { data_dir: Some(folder.to_owned()), ..Overrides::default() };
    GatewayConfig::parse("test", "", &overrides).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn causes(error: &dyn Error) -> String {
    let cause = error.source().map(causes).unwrap_or_default();
    format!("{error}; {cause}")
}

#[tokio::test]
async fn a_second_start_finds_what_the_first_made() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("data"));
    let now = SystemTime::now();
    let first = Foundation::open(&config, now).await.unwrap();
    let token = fs::read_to_string(&first.token_path).unwrap();
    let second = Foundation::open(&config, now).await.unwrap();
    assert_eq!(first.gateway, second.gateway);
    assert_eq!(first.authority.certificate_pem(), second.authority.certificate_pem());
    assert_eq!(first.tokens.verifier(), second.tokens.verifier());
    assert_eq!(fs::read_to_string(&second.ca_path).unwrap(), second.authority.bundle_pem());
    let user = second.store.user_by_token(&secret::hash_secret(token.trim())).await.unwrap().unwrap();
    assert_eq!((user.name.as_str(), user.role), ("admin", UserRole::Admin));
    assert_eq!(second.store.users().await.unwrap().len(), 1);
    for (name, expected) in
        [("", 0o700), ("operator.key", 0o600), ("gateway.db", 0o600), ("admin.token", 0o600)]
    {
        assert_eq!(mode(&config.data_dir.join(name)), expected, "{name}");
    }
}

#[tokio::test]
async fn a_lost_admin_token_is_replaced_beside_a_gateway_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder.path().join("data"));
    let none = new_admin_token(&config).await.unwrap_err();
    assert!(matches!(none, SetupError::NoGateway { .. }));
    assert!(!config.data_dir.exists(), "nothing is made in a folder that was mistyped");
    let running = Foundation::open(&config, SystemTime::now()).await.unwrap();
    let read = || fs::read_to_string(&running.token_path).unwrap().trim().to_owned();
    let who = async |token: &str| running.store.user_by_token(&secret::hash_secret(token)).await.unwrap();
    let (lost, was) = (read(), running.store.users().await.unwrap());
    fs::remove_file(&running.token_path).unwrap();
    assert_eq!(new_admin_token(&config).await.unwrap(), running.token_path);
    assert_eq!(mode(&running.token_path), 0o600);
    assert!(who(&lost).await.is_none());
    let user = who(&read()).await.unwrap();
    assert_eq!(UserRecord { token_hash: was[0].token_hash, ..user }, was[0]);
    let entry = running.store.audit(1).await.unwrap().remove(0);
    assert_eq!((entry.action.as_str(), entry.subject.as_str()), ("users.new-token", "admin"));
    // Also when it was deleted, or somebody else has its name.
    let other = UserRecord { name: "ann".parse().unwrap(), ..was[0].clone() };
    let other = UserRecord { id: warren_core::id::UserId::from_random(9), token_hash: [9; 32], ..other };
    running.store.create_user(&other).await.unwrap();
    running.store.delete_user(was[0].id).await.unwrap();
    new_admin_token(&config).await.unwrap();
    assert_eq!(who(&read()).await.unwrap().role, UserRole::Admin);
}

#[tokio::test]
async fn a_wrong_or_missing_operator_key_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    Foundation::open(&config, SystemTime::now()).await.unwrap();
    let other = "another operator key of the right length".to_owned();
    let wrong = GatewayConfig { operator_key: OperatorKeySource::Text(other), ..config.clone() };
    let error = Foundation::open(&wrong, SystemTime::now()).await.unwrap_err();
    assert!(causes(&error).contains("was sealed under operator key"), "{}", causes(&error));
    fs::remove_file(folder.path().join("operator.key")).unwrap();
    let error = Foundation::open(&config, SystemTime::now()).await.unwrap_err();
    assert!(matches!(error, SetupError::OperatorKeyMissing { .. }));
    assert!(!folder.path().join("operator.key").exists(), "no new key is made beside sealed secrets");
}

#[tokio::test]
async fn the_certificate_names_what_the_gateway_is_reached_by_and_is_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let foundation = Foundation::open(&config(folder.path()), now).await.unwrap();
    let url: PublicUrl = "https://gw.example:8443".parse().unwrap();
    let names = server_names(&url, "0.0.0.0:443".parse().unwrap());
    assert_eq!(names, ["localhost", "127.0.0.1", "gw.example"]);
    let certificate = foundation.server_certificate(&url, "10.0.0.1:443".parse().unwrap(), now).unwrap();
    assert!(!certificate.renew_if_due(now).unwrap());
    let before = certificate.key.leaf();
    assert!(certificate.renew_if_due(now + authority::GATEWAY_LIFETIME / 2).unwrap());
    assert_ne!(certificate.key.leaf(), before);
}
