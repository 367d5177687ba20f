//! The hops to a gateway.

use std::{
    io,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use warren_identity::{Validity, authority};
use warren_tunnel::dial::{DialError, Greeting, Proxy, ProxyFailure, TlsFailure};

use super::span;
use crate::{
    cloud::causes,
    config::GatewayUrl,
    examine::check::{Check, Hop},
    inspection,
};

/// A clock that is so far off is worth setting right: times in logs of two machines no longer meet.
const CLOCK_OFF: Duration = Duration::from_secs(5);
/// The `Date` header leaves out what is smaller than a second.
const DATE_STEP: Duration = Duration::from_secs(1);

/// `from` is the flag, variable or file that decided, `ignored` what of NO_PROXY means nothing.
pub(in crate::examine) fn way(proxy: Option<&Proxy>, from: Option<&str>, ignored: &[String]) -> Check {
    let from = from.unwrap_or("nothing said otherwise");
    let seen = match proxy {
        Some(proxy) => format!("through the proxy {proxy} ({from})"),
        None => format!("directly ({from})"),
    };
    match ignored {
        [] => Check::ok(Hop::Way, seen),
        ignored => {
            let advice = format!("NO_PROXY has entries that mean nothing here: {}", ignored.join(" "));
            Check::warn(Hop::Way, seen).advise(advice)
        }
    }
}

pub(in crate::examine) fn name(host: &str, found: &io::Result<Vec<IpAddr>>) -> Check {
    let advice = "check the name in --gateway or --proxy, /etc/resolv.conf, and that this machine reaches its name server";
    match found {
        Ok(found) if found.is_empty() => Check::failed(Hop::Name, format!("{host} has no address"), advice),
        Ok(found) => {
            let found = found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Check::ok(Hop::Name, format!("{host} is {found}"))
        }
        Err(error) => Check::failed(Hop::Name, format!("cannot look {host} up: {error}"), advice),
    }
    .away()
}

/// The connection to the first stop, which is the gateway or a proxy.
pub(in crate::examine) fn tcp(
    place: &str,
    connected: Result<(), &DialError>,
    proxy: Option<&Proxy>,
) -> Check {
    let who = if proxy.is_some() { "the proxy" } else { "the gateway" };
    let error = match connected {
        Ok(()) => return Check::ok(Hop::Tcp, format!("connected to {place}")),
        Err(error) => error,
    };
    let advice = match error {
        DialError::Refused { .. } => {
            format!("nothing listens there: see that {who} runs, and that address and port are right")
        }
        DialError::Timeout { .. } => format!(
            "nothing comes back: have the firewall let this machine out to {place}, and see that {who} is up"
        ),
        _ => format!("see that this machine has a way to {place}: interface, route, firewall"),
    };
    Check::failed(Hop::Tcp, causes(error), advice).away()
}

pub(in crate::examine) fn proxy(gateway: &GatewayUrl, reached: Result<(), &DialError>) -> Check {
    let error = match reached {
        Ok(()) => return Check::ok(Hop::Proxy, format!("it connects us to {gateway}")),
        Err(error) => error,
    };
    let advice = match error {
        DialError::Proxy(error) => of_proxy(&error.failure),
        _ => "see docs/proxies.md",
    };
    Check::failed(Hop::Proxy, causes(error), advice).away()
}

pub(super) fn of_proxy(failure: &ProxyFailure) -> &'static str {
    match failure {
        ProxyFailure::Unreachable => "check address and port of the proxy, and whether it runs",
        ProxyFailure::PasswordFile { .. } => "let the agent's user read proxy.password_file",
        ProxyFailure::Credentials { .. } => "set user and password right, best in proxy.password_file",
        ProxyFailure::NoCredentials { .. } => {
            "put USER@ into the proxy's url, and give a proxy.password_file"
        }
        ProxyFailure::Scheme { .. } => "have this machine let through without a password, or with Basic",
        ProxyFailure::Forbidden { .. } => "have the proxy allow CONNECT to the gateway's host and port",
        ProxyFailure::Target { .. } => "the proxy's own way to the gateway is broken: its DNS, its firewall",
        ProxyFailure::NotAProxy { .. } => {
            "another kind of proxy listens there, or none: try socks5:// or http://"
        }
        ProxyFailure::Answer { .. }
        | ProxyFailure::TooLong { .. }
        | ProxyFailure::Closed
        | ProxyFailure::Broken
        | ProxyFailure::Silent { .. }
        | ProxyFailure::Unspeakable { .. } => "look into the proxy's log; docs/proxies.md has more",
    }
}

/// What the other end of TLS showed, and who vouches for it.
#[derive(Debug, Default)]
pub(in crate::examine) struct TlsSeen {
    /// Who signed what it showed; absent when it showed nothing.
    pub(in crate::examine) issuer: Option<String>,
    pub(in crate::examine) validity: Option<Validity>,
    /// The roots here that vouch for it.
    pub(in crate::examine) vouched: Option<String>,
    /// Only a root of `extra_ca` does.
    pub(in crate::examine) is_opened: bool,
}

pub(in crate::examine) fn tls(
    gateway: &GatewayUrl,
    shaken: Result<(), &DialError>,
    seen: &TlsSeen,
    now: SystemTime,
) -> Check {
    let issuer = seen.issuer.as_deref().unwrap_or("nobody");
    let error = match shaken {
        Ok(()) => {
            let vouched = seen.vouched.as_deref().unwrap_or("its roots");
            let holds = seen.validity.map(|validity| span(validity.remaining(now)));
            let holds = holds.map(|left| format!(", for another {left}")).unwrap_or_default();
            let told = format!("signed by {issuer}; {vouched} vouches for it{holds}");
            if seen.is_opened {
                let advice = format!(
                    "a proxy opens TLS on the way, no tunnel passes it: have {} exempted from inspection",
                    gateway.host()
                );
                return Check::failed(Hop::Tls, told, advice);
            }
            return Check::ok(Hop::Tls, told);
        }
        Err(error) => error,
    };
    let (told, advice) = match error {
        DialError::Tls { failure: TlsFailure::UnknownIssuer, .. } => {
            (format!("no root here vouches for its certificate, signed by {issuer}"), of_issuer(gateway, issuer))
        }
        DialError::Tls { failure: TlsFailure::Expired | TlsFailure::NotYetValid, .. } => (
            format!("{}; {}", causes(error), told_validity(seen.validity, now)),
            "set the clock that is wrong, this machine's or the gateway's; if both are right, the gateway needs a new certificate"
                .to_owned(),
        ),
        DialError::Tls { failure: TlsFailure::WrongName, .. } => (
            format!("its certificate, signed by {issuer}, is not for {}", gateway.host()),
            "check the host in --gateway; at the gateway, --public-url names the host that it is reached by".to_owned(),
        ),
        DialError::Timeout { .. } => (
            causes(error),
            "TCP passes and TLS does not: a firewall that looks inside, or no gateway at this port".to_owned(),
        ),
        _ => (
            causes(error),
            "something answers there, but not with TLS 1.3 as a gateway does: check the port, and what stands between"
                .to_owned(),
        ),
    };
    Check::failed(Hop::Tls, told, advice).away()
}

/// Roots of gateways are named as such; anybody else is a proxy, or the authority of a certificate that was bought.
fn of_issuer(gateway: &GatewayUrl, issuer: &str) -> String {
    if issuer.contains(authority::ROOT_NAME) {
        return "that is a gateway's own authority, and another one than --ca holds: give its root, which `warren ca` \
                prints there, with --ca"
            .to_owned();
    }
    format!(
        "if this is a proxy of the site that opens TLS, have {} exempted from inspection (docs/proxies.md); if it is the \
         gateway's authority, give its root with --ca",
        gateway.host()
    )
}

fn told_validity(validity: Option<Validity>, now: SystemTime) -> String {
    let Some(Validity { not_before, not_after }) = validity else { return "it was not seen".to_owned() };
    match (not_before.duration_since(now), now.duration_since(not_after)) {
        (Ok(wait), _) if !wait.is_zero() => format!("by this machine's clock it begins in {}", span(wait)),
        (_, Ok(ago)) => format!("by this machine's clock it ended {} ago", span(ago)),
        _ => "by this machine's clock it holds".to_owned(),
    }
}

/// What the gateway says to an agent that is `enrolled` or has no certificate to show yet.
pub(in crate::examine) fn answer(
    gateway: &GatewayUrl,
    greeted: Result<&Greeting, &DialError>,
    enrolled: bool,
) -> Check {
    let greeting = match greeted {
        Ok(greeting) => greeting,
        Err(DialError::Tls { failure: failure @ TlsFailure::OurCertificate(_), .. }) => {
            return Check::failed(
                Hop::Answer,
                failure.to_string(),
                "this agent is another gateway's, or its certificate has ended: enrol it here with a new token and an empty \
                 data folder",
            );
        }
        Err(error) => {
            let advice =
                "TLS passes and HTTP does not: look into the gateway's log, and for what stands between";
            return Check::failed(Hop::Answer, causes(error), advice).away();
        }
    };
    let Greeting { status, reason, text, .. } = greeting;
    let told = format!("it answers {status}: {}", printable(text));
    if reason.is_none() {
        let advice =
            "no gateway answers so: check host and port, and whether a load balancer answers in its place";
        return Check::failed(Hop::Answer, told, advice);
    }
    match (status, enrolled) {
        (400, true) => Check::ok(Hop::Answer, "the gateway takes this agent's certificate"),
        (401, false) => Check::ok(Hop::Answer, "the gateway answers, and asks who this is"),
        (401, true) => Check::failed(Hop::Answer, told, inspection::advice(gateway)),
        (403, _) => Check::failed(
            Hop::Answer,
            told,
            "the gateway does not want this agent: stop it, empty its data folder, and enrol it with a new token",
        ),
        (503, _) => Check::failed(
            Hop::Answer,
            told,
            "the gateway is there and takes no tunnel now: its log says why; if it stops, wait for the next",
        ),
        _ => Check::failed(Hop::Answer, told, "look into the gateway's log"),
    }
}

/// `date` is the gateway's clock, of which the rest of the second is not known; ours was read at `begun` before it was
/// asked, and at `ended` after it had answered. A gap that this alone could explain is none.
pub(in crate::examine) fn clock(date: SystemTime, begun: SystemTime, ended: SystemTime) -> Check {
    let ahead = begun.duration_since(date + DATE_STEP).unwrap_or_default();
    let behind = date.duration_since(ended).unwrap_or_default();
    let advice = "set this machine's clock by NTP, or the gateway's";
    if behind > authority::SKEW {
        let seen = format!("{} behind the gateway's", span(behind));
        let why = format!("a fresh certificate is dated back by {} only", span(authority::SKEW));
        return Check::failed(Hop::Clock, seen, format!("{advice}: {why}, and would not hold here yet"));
    }
    let off = ahead.max(behind);
    if off > CLOCK_OFF {
        let way = if ahead > behind { "ahead of" } else { "behind" };
        let seen = format!("{} {way} the gateway's", span(off));
        return Check::warn(Hop::Clock, seen)
            .advise(format!("{advice}: certificates begin and end by it, and logs do not match"));
    }
    let within = if off.is_zero() { DATE_STEP } else { off };
    Check::ok(Hop::Clock, format!("within {} of the gateway's", span(within.max(DATE_STEP))))
}

/// What others wrote, on one line and short.
fn printable(text: &str) -> String {
    const MAX: usize = 200;
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX).collect()
}
