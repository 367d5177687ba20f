//! Where spans go.

use std::{fmt, net::IpAddr, str::FromStr};

use thiserror::Error;

use crate::destination::Target;

/// What collectors listen on for OTLP over gRPC.
const PORT_DEFAULT: u16 = 4_317;

/// A collector that takes OTLP over gRPC: `http://HOST[:PORT]`, or `https://` for TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    target: Target,
    is_tls: bool,
}

/// The text is not shown: it may have a password in it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "not a collector, expected http://HOST[:PORT] or https://HOST[:PORT] of one that takes OTLP over gRPC, without a path"
)]
pub struct CollectorError;

impl Collector {
    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether nothing that is sent to it leaves this machine.
    pub fn is_on_this_machine(&self) -> bool {
        let host = self.target.host();
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for Collector {
    type Err = CollectorError;

    fn from_str(text: &str) -> Result<Self, CollectorError> {
        let (is_tls, place) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(place), _) => (true, place),
            (None, Some(place)) => (false, place),
            (None, None) => return Err(CollectorError),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let bare = place.strip_prefix('[').and_then(|place| place.strip_suffix(']')).unwrap_or(place);
        let target =
            place.parse().or_else(|_| Target::new(bare, PORT_DEFAULT)).map_err(|_| CollectorError)?;
        Ok(Self { target, is_tls })
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls { "https" } else { "http" }, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_are_read_with_their_port_or_the_usual_one() {
        for (text, shown) in [
            ("http://otel:4317", "http://otel:4317"),
            ("https://otel.example.com/", "https://otel.example.com:4317"),
            ("http://[::1]", "http://[::1]:4317"),
            ("http://[::1]:5", "http://[::1]:5"),
        ] {
            assert_eq!(text.parse::<Collector>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_none_is_refused_and_not_shown() {
        for text in [
            "",
            "otel:4317",
            "grpc://otel",
            "http://",
            "http://otel/v1/traces",
            "http://u:secret@otel",
            "http://otel:0",
        ] {
            let error = text.parse::<Collector>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{text}");
        }
    }
}
