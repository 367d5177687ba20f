use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

/// Where a process runs: what its command line begins with, its environment, the address that it listens on, and which
/// program it is.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) prefix: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) address: IpAddr,
    /// Another one than that under test.
    pub(crate) binary: Option<PathBuf>,
}

impl Default for Place {
    /// This machine as it is.
    fn default() -> Self {
        Self { prefix: Vec::new(), env: Vec::new(), address: Ipv4Addr::LOCALHOST.into(), binary: None }
    }
}

impl Place {
    /// This machine, with another version of the program.
    pub fn running(binary: impl Into<PathBuf>) -> Self {
        Self { binary: Some(binary.into()), ..Self::default() }
    }

    /// With one more variable in the environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}
