//! Who this agent is, kept in its data folder.
//!
//! | file | holds | made |
//! |---|---|---|
//! | `agent.key` | the private key | before the first enrolment |
//! | `agent.crt` | the certificate | by enrolment, replaced by renewals |
//! | `roots.pem` | the roots that vouch for the gateway and for peers | likewise |
//! | `agent.json` | the ids | last: with it the agent is enrolled |
//! | `boot` | the number of the last start | by each start |
//! | `peer.port`, `peer.address` | where others were told to connect | by each start that picks or finds it |
//! | `leave` | the wish that the agent leaves its group when it stops | by who uninstalls it, just before; the stop takes it away |
//! | `left` | the id of an agent that has left its group for good | by leaving; the next start forgets all but the last three |
//!
//! All are mode 0600 in a folder of mode 0700 (on Windows the folder's access list holds for all of them), and each is
//! replaced whole, so that a crash leaves the old or the new.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use warren_core::id::{AgentId, GroupId};
use warren_group::Group;
use warren_identity::{
    IdentityError, KeyError, PeerIdentity, PrivateKey, SwappableKey, TlsError, Trust, Validity,
    keyfile::{self, KeyFileError},
    owner, tls,
};

const LEFT: &str = "left";
/// Whoever puts this file into the data folder of an agent that runs has it leave its group for good when it stops within
/// the next minutes.
pub const LEAVE_NOTE: &str = "leave";
/// The stop comes right after the wish. One that does not was given up, and a later stop, such as the machine's, is another.
const LEAVE_NOTE_COUNTS_FOR: Duration = Duration::from_secs(300);

/// Why an agent's identity cannot be read or kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoredIdentityError {
    #[error("cannot {act} `{}`", path.display())]
    Folder { act: &'static str, path: PathBuf, source: io::Error },
    #[error("`{}` does not tell who this agent is, restore it or empty the data folder and enrol again", path.display())]
    Facts { path: PathBuf, source: serde_json::Error },
    #[error("`{}` is missing beside `agent.json`, restore it or empty the data folder and enrol again", path.display())]
    Missing { path: PathBuf },
    #[error("the certificate is of {found}, `agent.json` says {expected}: the data folder is mixed up")]
    MixedUp { found: AgentId, expected: AgentId },
    #[error("cannot use the certificate")]
    Certificate(#[from] IdentityError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error("cannot use the certificate or its roots")]
    Tls(#[from] TlsError),
}

/// The ids that a gateway gave this agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub agent: AgentId,
    pub group: GroupId,
    /// For people; the group may have been renamed since.
    pub group_name: String,
}

/// What a gateway issued, PEM.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) bundle: String,
}

/// The folder that an identity is kept in.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder if need be, and takes it from everybody but its owner.
    pub(crate) fn open(path: &Path) -> Result<Self, StoredIdentityError> {
        let failed = |act| move |source| StoredIdentityError::Folder { act, path: path.to_owned(), source };
        owner::make_folder(path).map_err(failed("create"))?;
        owner::close_folder(path).map_err(failed("protect"))?;
        Ok(Self(path.to_owned()))
    }

    /// The folder as it is, for who only looks: it is neither made nor protected.
    pub(crate) fn as_it_is(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Whether the agent of this folder has left its group for good: the next start enrols anew.
    pub(crate) fn has_left(&self) -> bool {
        self.path(LEFT).exists()
    }

    /// The key of this folder, made on first use: a start that failed half way goes on with the same key.
    pub(crate) fn key(&self) -> Result<PrivateKey, StoredIdentityError> {
        let path = self.path("agent.key");
        if let Some(key) = PrivateKey::load(&path)? {
            return Ok(key);
        }
        let key = PrivateKey::generate()?;
        key.save(&path)?;
        Ok(key)
    }

    /// The identity that is kept here, or `None` before the first enrolment.
    pub(crate) fn identity(&self, ca: Option<&str>) -> Result<Option<Identity>, StoredIdentityError> {
        let Some(facts) = self.facts()? else { return Ok(None) };
        let key_path = self.path("agent.key");
        let key = PrivateKey::load(&key_path)?.ok_or(StoredIdentityError::Missing { path: key_path })?;
        let issued = Issued { certificate: self.text("agent.crt")?, bundle: self.text("roots.pem")? };
        let identity = Identity {
            shown: SwappableKey::new(&issued.certificate, key.to_rustls())?,
            peers: Trust::from_pem(&issued.bundle)?,
            gateways: Trust::new(tls::gateway_roots(ca, Some(&issued.bundle))?)?,
            ca: ca.map(str::to_owned),
            folder: self.clone(),
            facts,
            key,
        };
        identity.check_owner(&identity.shown, SystemTime::now())?;
        Ok(Some(identity))
    }

    /// Keeps a fresh identity.
    pub(crate) fn keep(&self, facts: &Facts, issued: &Issued) -> Result<(), StoredIdentityError> {
        self.keep_issued(issued)?;
        let path = self.path("agent.json");
        let text = serde_json::to_vec_pretty(facts)
            .map_err(|source| StoredIdentityError::Facts { path: path.clone(), source })?;
        Ok(keyfile::write_private(&path, &text)?)
    }

    /// A number that this folder remembers between starts, such as the port that was picked.
    pub(crate) fn remembered_port(&self) -> Option<u16> {
        fs::read_to_string(self.path("peer.port")).ok()?.trim().parse().ok()
    }

    pub(crate) fn remember_port(&self, port: u16) -> Result<(), StoredIdentityError> {
        Ok(keyfile::write_private(&self.path("peer.port"), format!("{port}\n").as_bytes())?)
    }

    /// The address that others were told last.
    pub(crate) fn remembered_address(&self) -> Option<IpAddr> {
        fs::read_to_string(self.path("peer.address")).ok()?.trim().parse().ok()
    }

    pub(crate) fn remember_address(&self, address: IpAddr) -> Result<(), StoredIdentityError> {
        Ok(keyfile::write_private(&self.path("peer.address"), format!("{address}\n").as_bytes())?)
    }

    /// A number for this start, greater than that of every start before from this folder, and greater than what an
    /// older copy of the folder came to: milliseconds since the Unix epoch above, chance below. The clock alone would
    /// not do: it may have been set back.
    pub(crate) fn next_boot(&self, now: SystemTime, random: u64) -> Result<u64, StoredIdentityError> {
        const CHANCE_BITS: u32 = 20;
        let path = self.path("boot");
        let last: u64 = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let ms = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX).max((last >> CHANCE_BITS) + 1);
        let boot = (ms << CHANCE_BITS) | (random >> (64 - CHANCE_BITS));
        keyfile::write_private(&path, format!("{boot}\n").as_bytes())?;
        Ok(boot)
    }

    /// Whether the agent is wished to leave its group. The wish counts for one stop, whatever comes of it.
    pub(crate) fn take_leave_note(&self, now: SystemTime) -> Result<bool, StoredIdentityError> {
        let path = self.path(LEAVE_NOTE);
        let wished = fs::symlink_metadata(&path).and_then(|about| about.modified());
        match wished.and_then(|wished| fs::remove_file(&path).map(|()| wished)) {
            // After a clock was set back it is not known how long ago that was: the agent stays.
            Ok(wished) => Ok(now.duration_since(wished).is_ok_and(|ago| ago <= LEAVE_NOTE_COUNTS_FOR)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StoredIdentityError::Folder { act: "take away", path, source }),
        }
    }

    /// Notes that the agent has left its group for good. Its id is of no further use, and neither is its key: the gateway
    /// would give it that id again.
    pub(crate) fn note_left(&self, agent: AgentId) -> Result<(), StoredIdentityError> {
        Ok(keyfile::write_private(&self.path(LEFT), format!("{agent}\n").as_bytes())?)
    }

    /// Forgets the identity and the log of an agent that has left, and gives its id; `None` when nobody has. A crash on
    /// the way leaves the note, and so the rest to the next start.
    pub(crate) fn forget_left(&self) -> Result<Option<String>, StoredIdentityError> {
        let path = self.path(LEFT);
        let left = match fs::read_to_string(&path) {
            Ok(left) => left.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoredIdentityError::Folder { act: "read", path, source }),
        };
        let failed = |source| StoredIdentityError::Folder {
            act: "remove what has left from",
            path: self.0.clone(),
            source,
        };
        Group::forget(&self.0).map_err(failed)?;
        for name in ["agent.json", "agent.key", "agent.crt", "roots.pem", LEFT] {
            match fs::remove_file(self.path(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        Ok(Some(left))
    }

    fn keep_issued(&self, issued: &Issued) -> Result<(), StoredIdentityError> {
        // Roots first: a certificate without the root that vouches for it would be of no use.
        keyfile::write_private(&self.path("roots.pem"), issued.bundle.as_bytes())?;
        Ok(keyfile::write_private(&self.path("agent.crt"), issued.certificate.as_bytes())?)
    }

    fn facts(&self) -> Result<Option<Facts>, StoredIdentityError> {
        let path = self.path("agent.json");
        let Some(text) = keyfile::read_private(&path)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|source| StoredIdentityError::Facts { path, source })
    }

    fn text(&self, name: &str) -> Result<String, StoredIdentityError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoredIdentityError::Missing { path })
            }
            Err(source) => Err(StoredIdentityError::Folder { act: "read", path, source }),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// An enrolled agent's identity, ready for TLS. Certificate and roots can be replaced under running connections.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) facts: Facts,
    /// What this agent shows of itself.
    pub(crate) shown: Arc<SwappableKey>,
    /// Who vouches for other members.
    pub(crate) peers: Arc<Trust>,
    /// Who vouches for gateways.
    pub(crate) gateways: Arc<Trust>,
    key: PrivateKey,
    ca: Option<String>,
    folder: Folder,
}

impl Identity {
    /// A certificate request of this agent's key, DER.
    pub(crate) fn request(&self) -> Result<Vec<u8>, StoredIdentityError> {
        Ok(self.key.csr_der()?)
    }

    pub(crate) fn validity(&self) -> Result<Validity, StoredIdentityError> {
        Ok(self.shown.validity()?)
    }

    /// Keeps what was issued and shows it from the next handshake on. What does not fit this agent changes nothing.
    pub(crate) fn renew(&self, issued: &Issued) -> Result<(), StoredIdentityError> {
        let peers = tls::roots_from_pem(&issued.bundle)?;
        let gateways = tls::gateway_roots(self.ca.as_deref(), Some(&issued.bundle))?;
        let fresh = SwappableKey::new(&issued.certificate, self.key.to_rustls())?;
        self.check_owner(&fresh, SystemTime::now())?;
        self.folder.keep_issued(issued)?;
        self.peers.swap(peers)?;
        self.gateways.swap(gateways)?;
        Ok(self.shown.swap(&issued.certificate, self.key.to_rustls())?)
    }

    /// An expired certificate is loaded all the same: the group's config is still there to be read and repaired.
    fn check_owner(&self, shown: &SwappableKey, now: SystemTime) -> Result<(), StoredIdentityError> {
        let found = match PeerIdentity::from_leaf(&shown.leaf(), now) {
            Ok(peer) => peer.agent,
            Err(IdentityError::Expired { agent, .. } | IdentityError::NotYetValid { agent, .. }) => agent,
            Err(error) => return Err(error.into()),
        };
        if found == self.facts.agent {
            Ok(())
        } else {
            Err(StoredIdentityError::MixedUp { found, expected: self.facts.agent })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use warren_identity::{AgentRequest, Authority};

    use super::*;

    fn facts(number: u64) -> Facts {
        let group = GroupId::from_random(1);
        Facts { agent: AgentId::from_random(number), group, group_name: "site".into() }
    }

    fn issue(authority: &Authority, facts: &Facts, csr: &[u8]) -> Issued {
        let request = AgentRequest::parse(csr).unwrap();
        let lifetime = Duration::from_secs(3_600);
        let now = SystemTime::now();
        let issued = authority.issue_agent(&request, facts.group, facts.agent, now, lifetime).unwrap();
        Issued { certificate: issued.pem, bundle: authority.bundle_pem() }
    }

    #[test]
    fn an_identity_is_kept_and_renewed() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(&place.path().join("deep/data")).unwrap();
        let authority = Authority::generate(SystemTime::now()).unwrap();
        let ca = authority.bundle_pem();
        assert!(folder.identity(Some(&ca)).unwrap().is_none());
        let csr = folder.key().unwrap().csr_der().unwrap();
        folder.keep(&facts(7), &issue(&authority, &facts(7), &csr)).unwrap();

        let identity = folder.identity(Some(&ca)).unwrap().unwrap();
        assert_eq!(identity.facts, facts(7));
        let before = identity.shown.leaf();
        let renewed = issue(&authority, &facts(7), &identity.request().unwrap());
        identity.renew(&renewed).unwrap();
        assert_ne!(identity.shown.leaf(), before);
        let again = folder.identity(Some(&ca)).unwrap().unwrap();
        assert_eq!(again.shown.leaf(), identity.shown.leaf());
        let mode = fs::metadata(folder.path("agent.crt")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_later_start_has_a_greater_number_whatever_the_clock_says() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let now = UNIX_EPOCH + Duration::from_millis(1_800_000_000_000);
        let first = folder.next_boot(now, u64::MAX).unwrap();
        let second = folder.next_boot(now - Duration::from_secs(3_600), 0).unwrap();
        assert!(second > first, "the clock was set back");
        let later = folder.next_boot(now + Duration::from_secs(1), 0).unwrap();
        assert!(later > second);
        // A copy of the folder that starts later is told from this one.
        fs::write(folder.path("boot"), first.to_string()).unwrap();
        assert!(folder.next_boot(now + Duration::from_secs(2), 0).unwrap() > later);
    }

    #[test]
    fn an_agent_that_has_left_is_forgotten_and_the_next_one_has_another_key() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        assert_eq!(folder.forget_left().unwrap(), None);
        let authority = Authority::generate(SystemTime::now()).unwrap();
        let csr = folder.key().unwrap().csr_der().unwrap();
        folder.keep(&facts(7), &issue(&authority, &facts(7), &csr)).unwrap();
        folder.remember_port(7_400).unwrap();
        fs::write(folder.path("group.redb"), "its log").unwrap();
        let left = folder.identity(Some(&authority.bundle_pem())).unwrap().unwrap().facts.agent;
        folder.note_left(left).unwrap();

        assert_eq!(folder.forget_left().unwrap(), Some(left.to_string()));
        assert!(folder.identity(Some(&authority.bundle_pem())).unwrap().is_none());
        assert!(!folder.path("group.redb").exists());
        assert_ne!(folder.key().unwrap().csr_der().unwrap(), csr);
        assert_eq!(folder.remembered_port(), Some(7_400));
        assert_eq!(folder.forget_left().unwrap(), None);
    }

    #[test]
    fn the_wish_to_leave_counts_once() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let note = place.path().join(LEAVE_NOTE);
        assert!(!folder.take_leave_note(SystemTime::now()).unwrap());
        fs::write(&note, "").unwrap();
        assert!(folder.take_leave_note(SystemTime::now()).unwrap());
        assert!(!folder.take_leave_note(SystemTime::now()).unwrap());
    }

    #[test]
    fn a_wish_whose_stop_did_not_come_is_void() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let note = place.path().join(LEAVE_NOTE);
        for (later, counts) in [(0, true), (299, true), (301, false), (86_400, false)] {
            fs::write(&note, "").unwrap();
            let wished = fs::metadata(&note).unwrap().modified().unwrap();
            let now = wished + Duration::from_secs(later);
            assert_eq!(folder.take_leave_note(now).unwrap(), counts, "{later} s later");
            assert!(!note.exists());
        }
        fs::write(&note, "").unwrap();
        assert!(!folder.take_leave_note(UNIX_EPOCH).unwrap(), "from the future");
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let authority = Authority::generate(SystemTime::now()).unwrap();
        let csr = folder.key().unwrap().csr_der().unwrap();
        folder.keep(&facts(7), &issue(&authority, &facts(7), &csr)).unwrap();
        let identity = folder.identity(Some(&authority.bundle_pem())).unwrap().unwrap();
        let before = identity.shown.leaf();
        let other_agent = issue(&authority, &facts(8), &csr);
        assert!(matches!(identity.renew(&other_agent), Err(StoredIdentityError::MixedUp { .. })));
        let other_key = issue(&authority, &facts(7), &PrivateKey::generate().unwrap().csr_der().unwrap());
        assert!(matches!(identity.renew(&other_key), Err(StoredIdentityError::Tls(_))));
        assert_eq!(identity.shown.leaf(), before);
        fs::remove_file(folder.path("agent.crt")).unwrap();
        assert!(matches!(folder.identity(None), Err(StoredIdentityError::Missing { .. })));
    }
}
