//! TLS towards gateways, and those who open it on the way.
//!
//! An inspecting proxy shows a certificate of its own for the gateway's name. Its root stands in `extra_ca`, so that such
//! a connection can be told from a broken one; it is of little use all the same: the proxy cannot show the agent's
//! certificate to the gateway, which then knows nobody.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use warren_identity::{SwappableKey, TlsError, Trust, tls};

use crate::config::GatewayUrl;

/// How connections to gateways are secured. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct GatewayTls {
    config: Arc<ClientConfig>,
    ours: Arc<Trust>,
    /// Of proxies that open TLS.
    extra: Option<Arc<Trust>>,
}

/// The certificates that the other end of one connection showed, leaf first, whether they were trusted or not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shown(Arc<OnceLock<Vec<CertificateDer<'static>>>>);

/// Whether one connection was opened on its way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opened(Arc<AtomicBool>);

impl GatewayTls {
    /// `shown` is the agent's certificate; without one (before the enrolment) nothing is shown.
    pub(crate) fn new(
        ours: Arc<Trust>,
        extra: Option<Arc<Trust>>,
        shown: Option<Arc<SwappableKey>>,
        alpn: &[&str],
    ) -> Result<Self, TlsError> {
        Ok(Self { config: tls::agent_client(ours.clone(), shown, alpn)?, ours, extra })
    }

    /// For one connection; what it came to stands in the second once the handshake is over.
    pub(crate) fn begin(&self) -> (Arc<ClientConfig>, Opened) {
        if self.extra.is_none() {
            return (self.config.clone(), Opened::default());
        }
        let (config, opened, _) = self.begin_watched();
        (config, opened)
    }

    /// As [`Self::begin`], and what was shown stands in the third as soon as it came.
    pub(crate) fn begin_watched(&self) -> (Arc<ClientConfig>, Opened, Shown) {
        let (opened, shown) = (Opened::default(), Shown::default());
        let verifier = Verifier {
            ours: self.ours.server_verifier(),
            extra: self.extra.as_ref().map(|extra| extra.server_verifier()),
            opened: opened.clone(),
            shown: shown.clone(),
        };
        let mut config = ClientConfig::clone(&self.config);
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        (Arc::new(config), opened, shown)
    }
}

impl Shown {
    /// Empty when it did not come so far.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        self.0.get().map(Vec::as_slice).unwrap_or_default()
    }
}

impl Opened {
    pub(crate) fn is_opened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Says so in the log, if it was.
    pub(crate) fn warn(&self, gateway: &GatewayUrl) {
        if self.is_opened() {
            tracing::warn!(
                %gateway,
                "a proxy between us and the gateway opens TLS: only extra_ca vouches for the certificate, and the proxy \
                 reads what it carries; have the gateway's host exempted from inspection"
            );
        }
    }
}

/// What to do when a gateway saw no certificate, although one was shown.
pub(crate) fn advice(gateway: &GatewayUrl) -> String {
    format!(
        "the gateway saw no certificate of this agent: something on the way opens TLS, such as an inspecting proxy or a \
         load balancer; have {} exempted from inspection, or passed through",
        gateway.host()
    )
}

/// Trusts our roots first, and the extra ones where ours do not know the issuer. Keeps what it was shown.
#[derive(Debug)]
struct Verifier {
    ours: Arc<dyn ServerCertVerifier>,
    extra: Option<Arc<dyn ServerCertVerifier>>,
    opened: Opened,
    shown: Shown,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = [leaf].into_iter().chain(intermediates).map(|one| one.clone().into_owned());
        self.shown.0.get_or_init(|| chain.collect());
        let by_ours = self.ours.verify_server_cert(leaf, intermediates, name, ocsp, now);
        let Some(extra) = &self.extra else { return by_ours };
        // The second: an authority of the same name with another key.
        let Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) =
            by_ours
        else {
            return by_ours;
        };
        let by_extra = extra.verify_server_cert(leaf, intermediates, name, ocsp, now);
        self.opened.0.store(by_extra.is_ok(), Ordering::Relaxed);
        by_extra
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.ours.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.ours.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.ours.supported_verify_schemes()
    }
}

#[cfg(test)]
pub(crate) mod tests;
