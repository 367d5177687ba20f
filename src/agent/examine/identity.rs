//! Who this agent is by its folder, and whom it would trust as a gateway.

use std::{io, sync::Arc, time::SystemTime};

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::task::spawn_blocking;
use warren_core::id::{AgentId, GroupId};
use warren_identity::{Trust, Validity, tls};

use super::{Check, FOLDER_WITHIN, Sheet, check::Hop, verdict};
use crate::{
    agent::read_roots,
    cloud::causes,
    config::{AgentConfig, Token},
    enrol::{self, EnrolError},
    identity::{Folder, Identity},
    inspection::GatewayTls,
    uplink,
};

/// What the data folder says.
#[derive(Debug)]
pub(super) enum Known {
    Enrolled {
        agent: AgentId,
        group: GroupId,
        group_name: String,
        validity: Validity,
        /// One is given, too.
        token: bool,
    },
    New {
        /// An agent of this folder has left its group.
        left: bool,
        token: Result<TokenSeen, EnrolError>,
    },
    Broken {
        why: String,
        /// We may not read it.
        is_denied: bool,
    },
}

/// What a token says of itself; only a gateway can tell whether that is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenSeen {
    pub(super) group: Option<GroupId>,
    /// Seconds since the Unix epoch.
    pub(super) end: Option<u64>,
}

/// What the agent shows of itself, and whom it trusts.
#[derive(Debug, Default)]
pub(super) struct Own {
    identity: Option<Identity>,
    /// Absent when there are no roots to trust.
    pub(super) tls: Option<GatewayTls>,
    vouchers: Vec<Voucher>,
}

/// Some roots, and where they come from.
#[derive(Debug)]
struct Voucher {
    from: String,
    trust: Arc<Trust>,
}

impl Own {
    pub(super) fn agent(&self) -> Option<AgentId> {
        self.identity.as_ref().map(|identity| identity.facts.agent)
    }

    /// Where the roots come from that vouch for `chain`, the first of several.
    pub(super) fn voucher(&self, chain: &[CertificateDer<'_>], host: &str) -> Option<&str> {
        let ((leaf, between), name) = (chain.split_first()?, ServerName::try_from(host).ok()?);
        let vouches = |voucher: &&Voucher| {
            let verifier = voucher.trust.server_verifier();
            verifier.verify_server_cert(leaf, between, &name, &[], UnixTime::now()).is_ok()
        };
        self.vouchers.iter().find(vouches).map(|voucher| &*voucher.from)
    }
}

pub(super) async fn look<T: FnMut(&Check)>(config: &AgentConfig, sheet: &mut Sheet<T>) -> Own {
    let reading = {
        let config = config.clone();
        spawn_blocking(move || read(&config))
    };
    match sheet.step(FOLDER_WITHIN, reading).await {
        Ok(timed) => match timed.came {
            Ok((known, roots, own)) => {
                sheet.note(verdict::identity(&known, SystemTime::now()));
                sheet.note(roots);
                own
            }
            Err(panicked) => {
                let why = io::Error::from(panicked).to_string();
                let known = Known::Broken { why, is_denied: false };
                sheet.note(verdict::identity(&known, SystemTime::now()));
                Own::default()
            }
        },
        Err(late) => {
            sheet.note(verdict::late(Hop::Identity, late));
            Own::default()
        }
    }
}

fn read(config: &AgentConfig) -> (Known, Check, Own) {
    let given = given_roots(config);
    let (known, identity) = own_identity(config, given.as_ref().ok().and_then(Option::as_deref));
    let mut own = Own { identity, ..Own::default() };
    let roots = match given.and_then(|given| trust(config, given.as_deref(), &mut own)) {
        Ok(()) => {
            let from: Vec<_> = own.vouchers.iter().map(|voucher| &*voucher.from).collect();
            Check::ok(Hop::Roots, format!("gateways are vouched for by {}", from.join(", or ")))
        }
        Err(why) => {
            let advice = "give a readable file with the gateway's root, PEM, with --ca; `warren ca` prints it at the gateway";
            Check::failed(Hop::Roots, why, advice)
        }
    };
    (known, roots, own)
}

/// The text of `ca`, with at least one root in it.
fn given_roots(config: &AgentConfig) -> Result<Option<String>, String> {
    let Some(path) = &config.ca else { return Ok(None) };
    let text = read_roots(path).map_err(|error| causes(&error))?;
    let unusable = |error| format!("cannot trust what is in `{}`: {}", path.display(), causes(&error));
    tls::roots_from_pem(&text).map_err(unusable)?;
    Ok(Some(text))
}

fn own_identity(config: &AgentConfig, ca: Option<&str>) -> (Known, Option<Identity>) {
    let folder = Folder::as_it_is(&config.data_dir);
    let token = || config.token.as_ref().ok_or(EnrolError::NoToken).and_then(see_token);
    if folder.has_left() {
        return (Known::New { left: true, token: token() }, None);
    }
    let broken = |error: &(dyn std::error::Error + 'static)| {
        let mut chain = std::iter::successors(Some(error), |error| error.source());
        let is_denied = chain.any(|cause| {
            let io = cause.downcast_ref::<io::Error>();
            io.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        });
        (Known::Broken { why: causes(error), is_denied }, None)
    };
    let identity = match folder.identity(ca) {
        Ok(Some(identity)) => identity,
        Ok(None) => return (Known::New { left: false, token: token() }, None),
        Err(error) => return broken(&error),
    };
    let validity = match identity.validity() {
        Ok(validity) => validity,
        Err(error) => return broken(&error),
    };
    let facts = &identity.facts;
    let known = Known::Enrolled {
        agent: facts.agent,
        group: facts.group,
        group_name: facts.group_name.clone(),
        validity,
        token: config.token.as_ref().is_some_and(|token| token.read().is_ok()),
    };
    (known, Some(identity))
}

fn see_token(token: &Token) -> Result<TokenSeen, EnrolError> {
    let text = enrol::read_token(token)?;
    Ok(TokenSeen { group: enrol::claimed_group(&text), end: enrol::claimed_end(&text) })
}

/// As a start would trust: `given` or the system's, what came with the certificate, and those of proxies.
fn trust(config: &AgentConfig, given: Option<&str>, own: &mut Own) -> Result<(), String> {
    let failed = |error: warren_identity::TlsError| causes(&error);
    let mut vouchers = Vec::new();
    let mut add = |from: String, trust| vouchers.push(Voucher { from, trust });
    match (given, &config.ca) {
        (Some(pem), Some(path)) => {
            add(format!("`{}`", path.display()), Trust::from_pem(pem).map_err(failed)?)
        }
        _ => match tls::native_roots() {
            Ok(roots) => add("the system's roots".to_owned(), Trust::new(roots).map_err(failed)?),
            // What came with the certificate will do.
            Err(_) if own.identity.is_some() => {}
            Err(error) => return Err(causes(&error)),
        },
    }
    if let Some(identity) = &own.identity {
        add("the roots that came with the certificate".to_owned(), identity.peers.clone());
    }
    for path in &config.extra_ca {
        add(
            format!("`{}` (extra_ca)", path.display()),
            Trust::from_pem(&read_roots(path).map_err(|error| causes(&error))?).map_err(failed)?,
        );
    }
    let ours = match &own.identity {
        Some(identity) => identity.gateways.clone(),
        None => Trust::new(tls::gateway_roots(given, None).map_err(failed)?).map_err(failed)?,
    };
    let shown = own.identity.as_ref().map(|identity| identity.shown.clone());
    let extra = crate::agent::extra_roots(config).map_err(|error| causes(&error))?;
    own.tls = Some(GatewayTls::new(ours, extra, shown, uplink::ALPN).map_err(failed)?);
    own.vouchers = vouchers;
    Ok(())
}
