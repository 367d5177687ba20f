use std::{io, path::Path, time::SystemTime};

use warren_group::Profile;
use warren_identity::Validity;
use warren_tunnel::dial::{DialError, Greeting, ProxyFailure, TlsFailure};

use super::{gateway::of_proxy, identity::certificate, *};
use crate::{
    config::GatewayUrl,
    enrol::EnrolError,
    examine::{
        Status,
        identity::{Known, TokenSeen},
    },
};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn millis(times: &[u64]) -> Vec<Duration> {
    times.iter().map(|ms| Duration::from_millis(*ms)).collect()
}

fn gateway() -> GatewayUrl {
    "https://gw.example".parse().unwrap()
}

fn advice(check: &Check) -> &str {
    check.advice.as_deref().unwrap_or_default()
}

#[test]
fn a_slow_disk_is_told_by_the_profile_and_one_slow_sync_is_none() {
    let status = |times: &[u64], profile| sync(millis(times), profile).status;
    assert_eq!(status(&[1, 2, 3, 400, 500], Profile::Lan), Status::Ok);
    assert_eq!(status(&[50; 5], Profile::Lan), Status::Ok);
    assert_eq!(status(&[51; 5], Profile::Lan), Status::Warn);
    assert_eq!(status(&[300; 5], Profile::SlowDisk), Status::Ok);
    assert_eq!(status(&[301; 5], Profile::SlowDisk), Status::Warn);
    let slow = sync(millis(&[80, 90, 100, 110, 120]), Profile::Lan);
    assert_eq!(slow.ms, Some(Duration::from_millis(100)));
    assert!(advice(&slow).contains("more than 50.0 ms") && advice(&slow).contains("profile slow-disk"));
    assert!(!advice(&sync(millis(&[301; 5]), Profile::SlowDisk)).contains("profile slow-disk:"));
}

#[test]
fn a_disk_is_judged_by_the_marks_of_the_running_agent() {
    let status = |used: u64| space(used * 1_000_000_000, 100_000_000_000).status;
    assert_eq!(
        [status(89), status(90), status(97), status(98)].map(Status::as_str),
        ["ok", "warn", "warn", "failed"]
    );
    assert_eq!(space(89_000_000_000, 100_000_000_000).seen, "11.0 GB free, 89 % used");
}

#[test]
fn a_folder_of_somebody_else_is_only_read() {
    use crate::examine::folder::Seen;
    let of = |seen: Seen| folder(Path::new("/data"), &seen);
    let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
    let check = of(Seen::Others { owner: 998, we: 0 });
    assert_eq!(
        (check.status, &*check.seen),
        (Status::Ok, "/data belongs to user 998; only read, as this is root")
    );
    assert_eq!(of(Seen::Others { owner: 998, we: 1000 }).status, Status::Warn);
    assert_eq!(of(Seen::Absent { above: "/".into(), would: Ok(()) }).status, Status::Ok);
    for failed in [
        Seen::Absent { above: "/".into(), would: Err(denied()) },
        Seen::NotAFolder,
        Seen::Hidden(denied()),
        Seen::Ours { syncs: Err(denied()) },
    ] {
        let check = of(failed);
        assert!(check.status == Status::Failed && advice(&check).contains("--data-dir"), "{check:?}");
    }
    let full = of(Seen::Ours { syncs: Err(io::ErrorKind::StorageFull.into()) });
    assert_eq!(advice(&full), "make room on this disk");
}

#[test]
fn a_certificate_is_told_by_its_end() {
    let validity = Validity { not_before: at(1_000), not_after: at(1_000 + 8 * 86_400) };
    let judged = |now, token| certificate("agt", validity, token, at(now));
    assert_eq!(judged(1_000, false).seen, "agt, its certificate holds for 8 days");
    assert_eq!(judged(1_000 + 6 * 86_400, false).status, Status::Ok);
    let late = judged(1_001 + 6 * 86_400, false);
    assert!(late.status == Status::Warn && advice(&late).contains("renewed"), "{late:?}");
    let ended = judged(1_000 + 9 * 86_400, false);
    assert_eq!((ended.status, &*ended.seen), (Status::Failed, "agt, its certificate ended 24 h ago"));
    assert_eq!(judged(1_000 + 9 * 86_400, true).status, Status::Warn, "it enrols again by itself");
    let early = judged(900, false);
    assert!(early.status == Status::Failed && advice(&early).contains("clock is behind"), "{early:?}");
}

#[test]
fn a_first_start_takes_a_token_that_may_be_good() {
    let group = Some(warren_core::id::GroupId::from_random(1));
    let judged = |token| identity(&Known::New { left: false, token }, at(1_000));
    assert_eq!(judged(Ok(TokenSeen { group, end: Some(4_600) })).status, Status::Ok);
    assert_eq!(judged(Ok(TokenSeen { group, end: None })).status, Status::Ok);
    for (token, said) in [
        (Err(EnrolError::NoToken), "no token is given"),
        (Ok(TokenSeen { group: None, end: None }), "is none"),
        (Ok(TokenSeen { group, end: Some(1_000) }), "has ended"),
        (Ok(TokenSeen { group, end: Some(1) }), "has ended"),
    ] {
        let check = judged(token);
        assert!(check.status == Status::Failed && check.seen.contains(said), "{check:?}");
        assert!(advice(&check).contains("warren tokens create"));
    }
}

#[test]
fn a_clock_is_judged_by_what_the_header_leaves_out() {
    let judged = |ours: [f64; 2]| {
        let [begun, ended] = ours.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds));
        let check = clock(at(10_000), begun, ended);
        (check.status.as_str(), check.seen)
    };
    // The header says 10000 up to the last moment of that second.
    assert_eq!(judged([10_000.9, 10_000.95]).0, "ok");
    assert_eq!(judged([10_005.9, 10_006.0]).0, "ok");
    assert_eq!(judged([10_007.5, 10_007.6]), ("warn", "6 s ahead of the gateway's".to_owned()));
    assert_eq!(judged([9_990.0, 9_990.0]), ("warn", "10 s behind the gateway's".to_owned()));
    assert_eq!(judged([9_990.0, 9_999.0]).0, "ok", "the answer took so long");
    assert_eq!(judged([9_699.0, 9_699.0]), ("failed", "5 min behind the gateway's".to_owned()));
    assert_eq!(judged([20_000.0, 20_000.0]).0, "warn", "what it is issued holds already");
}

#[test]
fn who_signed_a_certificate_that_nobody_trusts_tells_what_to_do() {
    let unknown = || DialError::Tls {
        host: "gw".into(),
        failure: TlsFailure::UnknownIssuer,
        source: "unknown issuer".into(),
    };
    let judged = |issuer: &str| {
        let seen = TlsSeen { issuer: Some(issuer.into()), ..TlsSeen::default() };
        tls(&gateway(), Err(&unknown()), &seen, at(0))
    };
    let ours = judged("CN=Warren gateway authority 0badcafe");
    assert!(ours.seen.contains("0badcafe") && advice(&ours).contains("`warren ca`"), "{ours:?}");
    let proxy = judged("CN=Corp Inspection");
    assert!(proxy.seen.contains("Corp Inspection") && advice(&proxy).contains("exempted"), "{proxy:?}");
    assert!(ours.is_away && proxy.is_away);
}

#[test]
fn a_connection_that_was_opened_is_no_good_although_it_is_up() {
    let seen = TlsSeen { issuer: Some("CN=Corp".into()), is_opened: true, ..TlsSeen::default() };
    let check = tls(&gateway(), Ok(()), &seen, at(0));
    assert!(check.status == Status::Failed && advice(&check).contains("gw.example exempted"), "{check:?}");
    let seen = TlsSeen { is_opened: false, ..seen };
    assert_eq!(tls(&gateway(), Ok(()), &seen, at(0)).status, Status::Ok);
}

#[test]
fn a_gateways_answer_is_told_from_that_of_others() {
    let judged = |status, reason: Option<&str>, enrolled| {
        let reason = reason.map(str::to_owned);
        let greeting = Greeting { status, reason, text: "why\u{1b}[31m".into(), date: None };
        answer(&gateway(), Ok(&greeting), enrolled)
    };
    assert_eq!(judged(400, Some("upgrade"), true).status, Status::Ok);
    assert_eq!(judged(401, Some("no_certificate"), false).status, Status::Ok);
    for (status, reason, enrolled, said) in [
        (401, Some("no_certificate"), true, "exempted"),
        (403, Some("revoked"), true, "new token"),
        (503, Some("stopping"), true, "takes no tunnel now"),
        (400, Some("upgrade"), false, "log"),
        (404, None, true, "no gateway answers so"),
        (200, None, false, "load balancer"),
    ] {
        let check = judged(status, reason, enrolled);
        assert!(check.status == Status::Failed && advice(&check).contains(said), "{check:?}");
        assert!(!check.is_away, "it was reached");
        assert!(!check.seen.contains('\u{1b}'), "what others wrote moves no cursor");
    }
}

#[test]
fn each_failure_of_a_proxy_has_its_remedy() {
    for (failure, said) in [
        (ProxyFailure::Unreachable, "address and port"),
        (ProxyFailure::Credentials { how: "407" }, "password_file"),
        (ProxyFailure::NoCredentials { how: "407" }, "USER@"),
        (ProxyFailure::Forbidden { to: "gw:443".into(), how: "403".into() }, "allow CONNECT"),
        (ProxyFailure::Target { to: "gw:443".into(), how: "503".into() }, "own way"),
        (ProxyFailure::NotAProxy { expected: "HTTP" }, "socks5://"),
    ] {
        assert!(of_proxy(&failure).contains(said), "{failure}");
    }
}

#[test]
fn what_did_not_come_to_its_end_has_failed() {
    for case in [Late::NoTime, Late::Silent { after: Duration::from_secs(5) }] {
        let check = late(Hop::Tcp, case);
        assert!(check.status == Status::Failed && check.advice.is_some(), "{check:?}");
    }
}
