//! The other members: a port for their calls, and connections to them. Mutual TLS, this group only.

mod dialer;
mod listener;

pub(crate) use dialer::Dialer;
pub(crate) use listener::Listener;

/// Members speak gRPC and nothing else.
const ALPN: &[&str] = &["h2"];

#[cfg(test)]
mod tests;
