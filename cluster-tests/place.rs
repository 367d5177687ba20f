use std::net::{IpAddr, Ipv4Addr};

/// Where a process runs: what its command line begins with, its environment, and the address that it listens on.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) prefix: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) address: IpAddr,
}

impl Default for Place {
    /// This machine as it is.
    fn default() -> Self {
        Self { prefix: Vec::new(), env: Vec::new(), address: Ipv4Addr::LOCALHOST.into() }
    }
}

impl Place {
    /// With one more variable in the environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}
