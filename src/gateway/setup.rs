//! What a gateway stands on: its folder, its operator key, its store and the keys sealed in that.
//!
//! The first run makes everything and says where the first admin's token lies; later runs open the same. A key that
//! is missing or wrong stops the start: making a new one beside secrets that the old one sealed would lose them.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rand::Rng;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::warn;
use warren_core::id::GatewayId;
use warren_identity::{
    Authority, AuthorityError, OperatorKey, SealError, SealedAuthority, SwappableKey, TlsError, TokenError,
    TokenKey, Trust, authority, keyfile, owner,
};

use crate::{
    config::{GatewayConfig, OperatorKeySource, PublicUrl},
    store::{SqlStore, Store, StoreError},
};

mod admins;

pub use admins::new_admin_token;
use admins::{TOKEN_FILE, first_admin};

const GATEWAY_ID: &str = "gateway_id";
const AUTHORITY: &str = "authority";
const TOKEN_KEY: &str = "token_key";

/// Why a gateway cannot start on its folder and store.
#[derive(Debug, Error)]
pub enum SetupError {
    #[error("cannot {act} `{}`", path.display())]
    Folder { act: &'static str, path: PathBuf, source: io::Error },
    #[error("operator key `{}` is missing, but the store holds secrets that it sealed: put it back", path.display())]
    OperatorKeyMissing { path: PathBuf },
    #[error("operator key cannot be used")]
    OperatorKey(#[source] SealError),
    #[error("store's certificate authority cannot be opened")]
    Authority(#[from] AuthorityError),
    #[error("store's token key cannot be opened")]
    TokenKey(#[from] TokenError),
    #[error("store holds a setting that cannot be read: {key}")]
    Setting { key: &'static str },
    #[error("there is no gateway in `{}` yet, its first start makes an admin and a token", path.display())]
    NoGateway { path: PathBuf },
    #[error("cannot write the admin's token")]
    AdminToken(#[source] keyfile::KeyFileError),
    #[error("cannot keep the gateway's id")]
    OwnId(#[source] keyfile::KeyFileError),
    #[error("gateway's own certificate cannot be used")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An opened store with its keys.
#[derive(Debug, Clone)]
pub struct Foundation {
    pub gateway: GatewayId,
    pub store: Arc<dyn Store>,
    pub authority: Arc<Authority>,
    pub tokens: Arc<TokenKey>,
    /// What agents' certificates are checked against.
    pub trust: Arc<Trust>,
    /// The root to trust, PEM.
    pub ca_path: PathBuf,
    /// The first admin's token; people may have moved it since.
    pub token_path: PathBuf,
}

impl Foundation {
    /// Opens what is there and makes what is missing.
    pub async fn open(config: &GatewayConfig, now: SystemTime) -> Result<Self, SetupError> {
        make_folder(&config.data_dir)?;
        let store: Arc<dyn Store> = Arc::new(SqlStore::open(&config.store).await?);
        let operator = operator_key(&config.operator_key, store.setting(AUTHORITY).await?.is_some())?;
        let authority = open_authority(&*store, &operator, now).await?;
        let tokens = open_token_key(&*store, &operator).await?;
        let gateway = own_id(&*store, &config.data_dir.join(GATEWAY_ID)).await?;
        let (ca_path, token_path) = (config.data_dir.join("ca.pem"), config.data_dir.join(TOKEN_FILE));
        write_public(&ca_path, &authority.bundle_pem())?;
        first_admin(&*store, &token_path).await?;
        Ok(Self {
            gateway,
            store,
            trust: Trust::from_pem(&authority.bundle_pem())?,
            authority: Arc::new(authority),
            tokens: Arc::new(tokens),
            ca_path,
            token_path,
        })
    }

    /// A certificate for the names by which this gateway is reached. Made anew at each start.
    pub fn server_certificate(
        &self,
        public_url: &PublicUrl,
        listen: SocketAddr,
        now: SystemTime,
    ) -> Result<ServerCertificate, SetupError> {
        let names = server_names(public_url, listen);
        let (issued, key) =
            self.authority.issue_gateway(self.gateway, &names, now, authority::GATEWAY_LIFETIME)?;
        Ok(ServerCertificate {
            key: SwappableKey::new(&issued.pem, key.to_rustls())?,
            authority: self.authority.clone(),
            gateway: self.gateway,
            names,
        })
    }
}

/// The certificate that the gateway shows; renewed in place.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    pub key: Arc<SwappableKey>,
    authority: Arc<Authority>,
    gateway: GatewayId,
    names: Vec<String>,
}

impl ServerCertificate {
    /// Replaces it once half of its life is over; connections go on. Says whether it did. To be called every few hours.
    pub fn renew_if_due(&self, now: SystemTime) -> Result<bool, SetupError> {
        let validity = self.key.validity().map_err(AuthorityError::from)?;
        if now < validity.renew_at() {
            return Ok(false);
        }
        let (issued, key) =
            self.authority.issue_gateway(self.gateway, &self.names, now, authority::GATEWAY_LIFETIME)?;
        self.key.swap(&issued.pem, key.to_rustls())?;
        Ok(true)
    }
}

#[derive(Serialize, Deserialize)]
struct StoredAuthority {
    sealed_key: String,
    certificate_pem: String,
}

async fn open_authority(
    store: &dyn Store,
    operator: &OperatorKey,
    now: SystemTime,
) -> Result<Authority, SetupError> {
    let kept = match store.setting(AUTHORITY).await? {
        Some(kept) => kept,
        None => {
            let SealedAuthority { sealed_key, certificate_pem } =
                Authority::generate(now)?.export(operator)?;
            let fresh = serde_json::to_string(&StoredAuthority { sealed_key, certificate_pem })
                .map_err(|_| SetupError::Setting { key: AUTHORITY })?;
            store.settle(AUTHORITY, &fresh).await?
        }
    };
    let StoredAuthority { sealed_key, certificate_pem } =
        serde_json::from_str(&kept).map_err(|_| SetupError::Setting { key: AUTHORITY })?;
    Ok(Authority::import(&SealedAuthority { sealed_key, certificate_pem }, operator)?)
}

async fn open_token_key(store: &dyn Store, operator: &OperatorKey) -> Result<TokenKey, SetupError> {
    let kept = match store.setting(TOKEN_KEY).await? {
        Some(kept) => kept,
        None => store.settle(TOKEN_KEY, &TokenKey::generate()?.export(operator)?).await?,
    };
    Ok(TokenKey::import(&kept, operator)?)
}

/// The gateway's id, which its data directory keeps. A store that nobody else has open had it before the directory did.
async fn own_id(store: &dyn Store, path: &Path) -> Result<GatewayId, SetupError> {
    let unreadable = |_| SetupError::Setting { key: GATEWAY_ID };
    let failed = |act| move |source| SetupError::Folder { act, path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(kept) => return kept.trim().parse().map_err(unreadable),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("read")(error)),
    }
    let fresh = GatewayId::from_random(rand::rng().random());
    let id = match store.is_shared() {
        true => fresh,
        false => store.settle(GATEWAY_ID, &fresh.to_string()).await?.parse().map_err(unreadable)?,
    };
    // Of two starts at once the first one's counts.
    keyfile::create_private(path, format!("{id}\n").as_bytes()).map_err(SetupError::OwnId)?;
    fs::read_to_string(path).map_err(failed("read"))?.trim().parse().map_err(unreadable)
}

fn operator_key(source: &OperatorKeySource, needed: bool) -> Result<OperatorKey, SetupError> {
    match source {
        OperatorKeySource::Text(text) => OperatorKey::from_text(text),
        OperatorKeySource::File(path) if needed && !path.exists() => {
            return Err(SetupError::OperatorKeyMissing { path: path.clone() });
        }
        OperatorKeySource::File(path) => OperatorKey::load_or_create(path),
    }
    .map_err(SetupError::OperatorKey)
}

fn make_folder(path: &Path) -> Result<(), SetupError> {
    let failed = |act| move |source| SetupError::Folder { act, path: path.to_owned(), source };
    owner::make_folder(path).map_err(failed("make the folder"))?;
    if let Some(mode) = owner::loose(&fs::metadata(path).map_err(failed("examine"))?) {
        // On some volumes it cannot be tightened; everything secret in it is 0600 by itself.
        warn!(path = %path.display(), mode = format!("{mode:o}"), "data folder can be reached by group or others");
    }
    Ok(())
}

/// Everybody may read it; written whole, so that a reader never sees half of it.
fn write_public(path: &Path, text: &str) -> Result<(), SetupError> {
    let failed = |act| move |source| SetupError::Folder { act, path: path.to_owned(), source };
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let beside = path.with_extension("pem.new");
    fs::write(&beside, text).map_err(failed("write"))?;
    owner::open_to_readers(&beside).map_err(failed("open to readers"))?;
    fs::rename(&beside, path).map_err(failed("name"))
}

fn server_names(public_url: &PublicUrl, listen: SocketAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let host = Some(public_url.host().to_owned());
    let bound = (!listen.ip().is_unspecified()).then(|| listen.ip().to_string());
    for name in host.into_iter().chain(bound) {
        // An unspecified address is nowhere that one could connect to.
        if !names.contains(&name) && name != "0.0.0.0" && name != "::" {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests;
