//! Of which StatefulSet this agent is a pod, and who tells how many pods it should have.

use std::{path::PathBuf, str::FromStr};

use thiserror::Error;
use warren_core::{destination::Target, fields::Fields};

use super::Overrides;

/// Where Kubernetes puts what a pod needs to ask its API.
const ACCOUNT_DEFAULT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What it takes to ask Kubernetes about the own StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    pub pod: Pod,
    /// Host and port of the API.
    pub api: Target,
    /// Folder with `token` and `ca.crt`. Default: where Kubernetes puts it.
    pub account: PathBuf,
}

/// A pod of a StatefulSet: `NAMESPACE/SET-ORDINAL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pod {
    pub namespace: String,
    pub set: String,
    pub ordinal: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a pod of a StatefulSet, expected NAMESPACE/NAME such as site/agent-0")]
pub struct PodError(String);

impl FromStr for Pod {
    type Err = PodError;

    fn from_str(text: &str) -> Result<Self, PodError> {
        let refused = || PodError(text.to_owned());
        let (namespace, pod) = text.split_once('/').ok_or_else(refused)?;
        let (set, ordinal) = pod.rsplit_once('-').ok_or_else(refused)?;
        // Both become parts of a path.
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(plain) && !name.starts_with('.');
        if !is_name(namespace) || !is_name(set) || !ordinal.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(refused());
        }
        let ordinal = ordinal.parse().map_err(|_| refused())?;
        Ok(Self { namespace: namespace.to_owned(), set: set.to_owned(), ordinal })
    }
}

impl std::fmt::Display for Pod {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}-{}", self.namespace, self.set, self.ordinal)
    }
}

/// The section `kubernetes`, or nothing without a pod.
pub(super) fn read(root: &mut Fields<'_>, overrides: &Overrides) -> Option<Kubernetes> {
    if !root.has("kubernetes") {
        // Known all the same, for the hints on misspelt keys.
        root.take("kubernetes");
        return None;
    }
    let mut section = root.section("kubernetes");
    let (has_pod, has_api) = (section.has("pod"), section.has("api"));
    let pod = section.parse("pod");
    let mut api = section.parse("api");
    if let (false, Some(host), Some(port)) = (has_api, &overrides.kubernetes_host, &overrides.kubernetes_port)
    {
        api = port.parse().ok().and_then(|port| Target::new(host, port).ok());
    }
    let account = section.text("account").map_or_else(|| PathBuf::from(ACCOUNT_DEFAULT), PathBuf::from);
    if !has_pod {
        section.note("pod", "missing, give NAMESPACE/NAME of this agent's pod");
    }
    if !has_api && api.is_none() {
        section.note("api", "missing, and KUBERNETES_SERVICE_HOST and _PORT do not say where the API is");
    }
    section.finish();
    Some(Kubernetes { pod: pod?, api: api?, account })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_a_namespace_a_set_and_an_ordinal() {
        let pod: Pod = "site/warren-agent-12".parse().unwrap();
        assert_eq!((pod.namespace.as_str(), pod.set.as_str(), pod.ordinal), ("site", "warren-agent", 12));
        assert_eq!(pod.to_string(), "site/warren-agent-12");
        for text in [
            "agent-0",
            "site/agent",
            "site/agent-x",
            "site/-1",
            "/a-0",
            "a/b/c-0",
            "../a-0",
            "a/b-+1",
            "a/b?-1",
        ] {
            assert!(text.parse::<Pod>().is_err(), "{text}");
        }
    }
}
