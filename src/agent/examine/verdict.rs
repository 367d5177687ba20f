//! What an observation means and what to do about it. Pure: no IO, no clock.

use std::{
    io,
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use warren_core::{
    destination::Target,
    fields::ConfigError,
    state::Verdict,
    vitals::{Vital, Vitals},
};
use warren_group::Profile;
use warren_identity::{Validity, authority};
use warren_tunnel::dial::{DialError, Greeting, Proxy, ProxyFailure, TlsFailure};

use super::{
    Late,
    check::{Check, Hop},
    folder,
    identity::{Known, TokenSeen},
};
use crate::{
    cloud::causes,
    config::{AgentConfig, GatewayUrl},
    enrol::EnrolError,
    inspection,
    targets::DialFailure,
};

/// A clock that is so far off is worth setting right: times in logs of two machines no longer meet.
const CLOCK_OFF: Duration = Duration::from_secs(5);
/// The `Date` header leaves out what is smaller than a second.
const DATE_STEP: Duration = Duration::from_secs(1);

pub(super) fn settings(config: &AgentConfig) -> Check {
    let gateways = config.gateways.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let seen = format!("agent `{}` of {gateways}, data in {}", config.name, config.data_dir.display());
    Check::ok(Hop::Settings, seen)
}

pub(super) fn wrong_settings(error: &ConfigError) -> Check {
    let advice = "set right what is named; `warren doctor` takes the same --config FILE, flags and environment as \
                  `warren agent`, and an installed agent's file is /etc/warren/agent.yaml";
    Check::failed(Hop::Settings, error.to_string(), advice)
}

/// A step that did not come to its end.
pub(super) fn late(hop: Hop, late: Late) -> Check {
    match late {
        Late::NoTime => {
            Check::failed(hop, "not looked at to the end: the time was over", "give more with --timeout")
        }
        Late::Silent { after } => Check::failed(
            hop,
            format!("no answer within {after:?}"),
            "look for what is stuck: a disk on a network, a name service",
        ),
    }
}

pub(super) fn folder(path: &Path, seen: &folder::Seen) -> Check {
    use folder::Seen;
    let shown = path.display();
    let elsewhere = "give a folder that the agent's user may write to with --data-dir, or run as that user";
    match seen {
        Seen::Ours { syncs: Ok(_) } => Check::ok(Hop::Folder, format!("{shown} is ours, and can be written")),
        Seen::Ours { syncs: Err(error) } => {
            let advice = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room on this disk",
                _ => elsewhere,
            };
            Check::failed(Hop::Folder, format!("{shown} cannot be written: {error}"), advice)
        }
        Seen::Others { owner, we: 0 } => {
            Check::ok(Hop::Folder, format!("{shown} belongs to user {owner}; only read, as this is root"))
        }
        Seen::Others { owner, we } => {
            Check::warn(Hop::Folder, format!("{shown} belongs to user {owner}, and this runs as {we}"))
                .advise("run it as the agent's user, or as root")
        }
        Seen::Absent { above, would: Ok(()) } => {
            Check::ok(Hop::Folder, format!("{shown} will be made in {}", above.display()))
        }
        Seen::Absent { above, would: Err(error) } => {
            let seen = format!("{shown} is not there and cannot be made in {}: {error}", above.display());
            Check::failed(Hop::Folder, seen, elsewhere)
        }
        Seen::NotAFolder => Check::failed(Hop::Folder, format!("{shown} is no folder"), elsewhere),
        Seen::Hidden(error) => {
            Check::failed(Hop::Folder, format!("{shown} cannot be looked at: {error}"), elsewhere)
        }
    }
}

/// Judged by the marks that a running agent judges its own disk by; bytes.
pub(super) fn space(used: u64, size: u64) -> Check {
    let mut vitals = Vitals::default();
    vitals.read(Vital::Disk, used, size, 0);
    let (disk, free) = (vitals.of(Vital::Disk), size.saturating_sub(used));
    let seen = format!("{:.1} GB free, {} % used", free as f64 / 1e9, disk.permille() / 10);
    let advice = "make room: a member whose disk is full takes no edits until there is some";
    match disk.verdict {
        Verdict::Up => Check::ok(Hop::Space, seen),
        Verdict::Suspect => Check::warn(Hop::Space, seen).advise(advice),
        Verdict::Down => Check::failed(Hop::Space, seen, advice),
    }
}

/// `syncs` are the times of several, at least one.
pub(super) fn sync(mut syncs: Vec<Duration>, profile: Profile) -> Check {
    syncs.sort_unstable();
    let (median, worst) = (syncs[syncs.len() / 2], syncs[syncs.len() - 1]);
    let seen = format!("{} synced writes: {} in the middle, {} at worst", syncs.len(), ms(median), ms(worst));
    let max = profile.sync_max();
    if median <= max {
        return Check::ok(Hop::Sync, seen).took(median);
    }
    let why = format!(
        "the group's log syncs before each answer, and more than {} makes members of profile {} take a healthy leader for dead",
        ms(max),
        profile.as_str()
    );
    let what = match profile {
        Profile::SlowDisk => "look for what else writes to this disk, or take another one",
        Profile::Lan | Profile::Wan => {
            "look for what else writes to this disk, or give all members of the group profile slow-disk"
        }
    };
    Check::warn(Hop::Sync, seen).took(median).advise(format!("{why}: {what}"))
}

pub(super) fn identity(known: &Known, now: SystemTime) -> Check {
    match known {
        Known::Enrolled { agent, group, group_name, validity, token } => {
            let who = format!("{agent} of group {group_name} ({group})");
            certificate(&who, *validity, *token, now)
        }
        Known::New { left, token } => {
            let state = match left {
                true => "has left its group, and enrols anew at its next start",
                false => "not enrolled yet",
            };
            self::token(state, token, now)
        }
        Known::Broken { why, is_denied: true } => {
            Check::failed(Hop::Identity, why.clone(), "run it as the agent's user, or as root")
        }
        Known::Broken { why, is_denied: false } => Check::failed(
            Hop::Identity,
            why.clone(),
            "restore the data folder; or move it away, and enrol anew with a new token",
        ),
    }
}

/// An agent with a token enrols anew by itself, under the same id.
fn certificate(who: &str, validity: Validity, has_token: bool, now: SystemTime) -> Check {
    let Validity { not_before, not_after } = validity;
    if let Ok(wait) = not_before.duration_since(now)
        && !wait.is_zero()
    {
        let seen = format!("{who}, its certificate holds in {} only", span(wait));
        return Check::failed(Hop::Identity, seen, "this machine's clock is behind: set it right");
    }
    if let Ok(ago) = now.duration_since(not_after) {
        let seen = format!("{who}, its certificate ended {} ago", span(ago));
        let advice =
            "start it with a new token (`warren tokens create`): it keeps its id and its place in the group";
        return match has_token {
            true => Check::warn(Hop::Identity, seen).advise(
                "it enrols again by the token that is given, if the gateway still takes it; else start it with a new one",
            ),
            false => Check::failed(Hop::Identity, seen, advice),
        };
    }
    let remaining = validity.remaining(now);
    let seen = format!("{who}, its certificate holds for {}", span(remaining));
    let life = not_after.duration_since(not_before).unwrap_or_default();
    if remaining < life / 4 {
        let advice =
            "it should have been renewed at half of its life: see that the agent runs and reaches a gateway";
        return Check::warn(Hop::Identity, seen).advise(advice);
    }
    Check::ok(Hop::Identity, seen)
}

fn token(state: &str, token: &Result<TokenSeen, EnrolError>, now: SystemTime) -> Check {
    let new = "make a new token with `warren tokens create --group GROUP`, and give it with --token @FILE";
    let token = match token {
        Ok(token) => token,
        Err(EnrolError::NoToken) => {
            return Check::failed(Hop::Identity, format!("{state}, and no token is given"), new);
        }
        Err(error) => return Check::failed(Hop::Identity, format!("{state}: {}", causes(error)), new),
    };
    let Some(group) = token.group else {
        return Check::failed(Hop::Identity, format!("{state}, and what is given as token is none"), new);
    };
    match token.end.map(|end| end.checked_sub(super::seconds(now))) {
        Some(None | Some(0)) => {
            let seen = format!("{state}, and the token for {group} has ended by this machine's clock");
            Check::failed(Hop::Identity, seen, new)
        }
        Some(Some(left)) => {
            let left = span(Duration::from_secs(left));
            Check::ok(Hop::Identity, format!("{state}; a token for {group} is given, good for {left}"))
        }
        None => Check::ok(Hop::Identity, format!("{state}; a token for {group} is given")),
    }
}

/// `from` is the flag, variable or file that decided, `ignored` what of NO_PROXY means nothing.
pub(super) fn way(proxy: Option<&Proxy>, from: Option<&str>, ignored: &[String]) -> Check {
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

pub(super) fn name(host: &str, found: &io::Result<Vec<IpAddr>>) -> Check {
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
pub(super) fn tcp(place: &str, connected: Result<(), &DialError>, proxy: Option<&Proxy>) -> Check {
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

pub(super) fn proxy(gateway: &GatewayUrl, reached: Result<(), &DialError>) -> Check {
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

fn of_proxy(failure: &ProxyFailure) -> &'static str {
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
pub(super) struct TlsSeen {
    /// Who signed what it showed; absent when it showed nothing.
    pub(super) issuer: Option<String>,
    pub(super) validity: Option<Validity>,
    /// The roots here that vouch for it.
    pub(super) vouched: Option<String>,
    /// Only a root of `extra_ca` does.
    pub(super) is_opened: bool,
}

pub(super) fn tls(
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
pub(super) fn answer(gateway: &GatewayUrl, greeted: Result<&Greeting, &DialError>, enrolled: bool) -> Check {
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
pub(super) fn clock(date: SystemTime, begun: SystemTime, ended: SystemTime) -> Check {
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

/// The quick start's target, as a session would dial it.
pub(super) fn target(target: &Target, dialled: Result<(), &DialFailure>) -> Check {
    let failure = match dialled {
        Ok(()) => return Check::ok(Hop::Target, "connected, under this site's veto").of(target),
        Err(failure) => failure,
    };
    let advice = match failure {
        DialFailure::Dns { .. } => "check the name, and this machine's name service",
        DialFailure::Denied { .. } => "this site's own file forbids it: change the veto, or the target",
        DialFailure::Refused { .. } => "nothing listens there: see that the application runs, and its port",
        DialFailure::Timeout { .. } | DialFailure::Silent { .. } => {
            "nothing comes back: a firewall between this machine and the target, or the target is down"
        }
        _ => "see that this machine has a way there: interface, route, firewall",
    };
    Check::failed(Hop::Target, failure.to_string(), advice).of(target)
}

/// What others wrote, on one line and short.
fn printable(text: &str) -> String {
    const MAX: usize = 200;
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX).collect()
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

/// The two largest units would be more than is needed.
fn span(time: Duration) -> String {
    match time.as_secs() {
        s @ 172_800.. => format!("{} days", s / 86_400),
        s @ 7_200.. => format!("{} h", s / 3_600),
        s @ 120.. => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests;
