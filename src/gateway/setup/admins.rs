//! The admin whom nobody had to make, and the way back in when its token is lost.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rand::Rng;
use tracing::info;
use warren_core::id::{Name, UserId};
use warren_identity::{keyfile, secret};

use super::SetupError;
use crate::{
    admin::{audit, now_s},
    config::{GatewayConfig, StoreLocation},
    store::{SqlStore, Store, StoreError, UserRecord, UserRole},
};

/// In the data folder; holds the token of [`NAME`].
pub(super) const TOKEN_FILE: &str = "admin.token";
const NAME: &str = "admin";

/// Makes the first admin when there is no user yet.
pub(super) async fn first_admin(store: &dyn Store, token_path: &Path) -> Result<(), SetupError> {
    if !store.users().await?.is_empty() {
        return Ok(());
    }
    // The file first: a crash in between leaves no user whose token nobody knows.
    let hash = write_token(token_path)?;
    match store.create_user(&admin(hash)).await {
        Ok(()) => info!(path = %token_path.display(), "first admin made, its token is in the file"),
        // Another gateway on the same store was faster; what we wrote opens nothing.
        Err(StoreError::Taken { .. }) => {
            fs::remove_file(token_path).map_err(|source| SetupError::Folder {
                act: "remove",
                path: token_path.to_owned(),
                source,
            })?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Gives the user `admin` another token, in `admin.token` of the data folder, and returns that path; the one before opens
/// nothing any more. Makes the user an admin, or makes it, if it is none. Works beside a gateway that runs.
///
/// No token is asked for: whoever may write the store's file may do anything to it.
pub async fn new_admin_token(config: &GatewayConfig) -> Result<PathBuf, SetupError> {
    if let StoreLocation::Sqlite(path) = &config.store
        && !path.exists()
    {
        return Err(SetupError::NoGateway { path: path.clone() });
    }
    let store = SqlStore::open_as_it_is(&config.store).await?;
    let token_path = config.data_dir.join(TOKEN_FILE);
    let user = admin(write_token(&token_path)?);
    store.replace_user(&user).await?;
    audit::write(&store, "whoever holds the store", "users.new-token", NAME, "ok").await;
    store.close().await;
    Ok(token_path)
}

/// Writes a new token; returns its hash.
fn write_token(path: &Path) -> Result<[u8; 32], SetupError> {
    let token = secret::new_secret();
    keyfile::write_private(path, format!("{token}\n").as_bytes()).map_err(SetupError::AdminToken)?;
    Ok(secret::hash_secret(&token))
}

fn admin(token_hash: [u8; 32]) -> UserRecord {
    let name: Name = NAME.parse().expect("a constant that is a name");
    let id = UserId::from_random(rand::rng().random());
    UserRecord { id, name, role: UserRole::Admin, created_s: now_s(), token_hash }
}
